//! Patterns of names: `public.*`, `*.users`, `public.users.pass*`. A `*` is any text within a part.

/// More parts of a part than anyone writes: matching takes as long as they are many.
const STARS_MAX: usize = 8;

/// See the module.
#[derive(Debug)]
pub struct Pattern<'a>(Vec<&'a str>);

impl<'a> Pattern<'a> {
    /// Takes a pattern of so many parts.
    pub fn parse(text: &'a str, parts: usize) -> Result<Self, String> {
        let found: Vec<&str> = text.split('.').collect();
        let is_bad = |part: &&str| part.is_empty() || part.matches('*').count() > STARS_MAX;
        if found.len() != parts || found.iter().any(is_bad) {
            let shape = ["schema", "table", "column"][..parts.min(3)].join(".");
            return Err(format!("{text:?} is not of the form {shape}"));
        }
        Ok(Self(found))
    }

    pub fn matches(&self, names: &[&str]) -> bool {
        self.0.len() == names.len() && self.0.iter().zip(names).all(|(part, name)| fits(part, name))
    }
}

fn fits(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((before, rest)) => name.strip_prefix(before).is_some_and(|name| {
            name.char_indices().map(|(at, _)| at).chain([name.len()]).any(|at| fits(rest, &name[at..]))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_any_text_within_a_part() {
        for (pattern, name, is_match) in [
            ("public.*", "public.users", true),
            ("public.*", "billing.users", false),
            ("*.us*rs", "b.users", true),
            ("*.us*rs", "b.user", false),
            ("a.*_old*", "a.x_old", true),
        ] {
            let names: Vec<&str> = name.split('.').collect();
            assert_eq!(Pattern::parse(pattern, 2).expect("good").matches(&names), is_match, "{pattern} {name}");
        }
        assert!(Pattern::parse("users", 2).is_err());
        assert!(Pattern::parse("public.", 2).is_err());
    }
}
