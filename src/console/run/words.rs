//! SQL taken apart as far as is needed to see where a statement ends: quotes, comments, and words.
//!
//! As PostgreSQL's own scanner, `src/backend/parser/scan.l`, with `standard_conforming_strings` on.

/// What stands at one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A name without quotes, or a keyword.
    Word,
    /// A text, a quoted name, or a text between dollars.
    Quoted,
    Comment,
    Space,
    /// `{{name}}`: a parameter.
    Placeholder,
    /// Any other character.
    Other,
}

/// One piece: its kind, and where it ends (in bytes).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    pub kind: Kind,
    pub start: usize,
    pub end: usize,
}

fn is_word_start(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80
}

fn is_space(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == 0x0b
}

fn is_word(byte: u8) -> bool {
    is_word_start(byte) || byte.is_ascii_digit() || byte == b'$'
}

/// The pieces of `sql`, one after the other, without a gap. What is not closed goes to the end.
pub struct Pieces<'a> {
    sql: &'a str,
    at: usize,
}

impl<'a> Pieces<'a> {
    pub fn of(sql: &'a str) -> Self {
        Self { sql, at: 0 }
    }

    fn rest(&self, from: usize) -> &'a [u8] {
        self.sql.as_bytes().get(from..).unwrap_or_default()
    }

    /// Behind the first `end` from `from` on, else the end of all.
    fn behind(&self, from: usize, end: &str) -> usize {
        let found = self.sql.get(from..).and_then(|rest| rest.find(end));
        found.map_or(self.sql.len(), |place| from + place + end.len())
    }

    fn while_true(&self, from: usize, holds: impl Fn(u8) -> bool) -> usize {
        from + self.rest(from).iter().take_while(|byte| holds(**byte)).count()
    }

    /// Behind the closing `quote` of what was opened before `from`.
    fn quoted(&self, from: usize, quote: u8, has_escapes: bool) -> usize {
        let bytes = self.sql.as_bytes();
        let mut at = from;
        while at < bytes.len() {
            if has_escapes && bytes[at] == b'\\' {
                at += 2;
            } else if bytes[at] != quote {
                at += 1;
            } else if bytes.get(at + 1) == Some(&quote) {
                at += 2;
            } else if let (b'\'', Some(next)) = (quote, self.continuation(at + 1)) {
                // By the same rules as it began.
                at = next;
            } else {
                return at + 1;
            }
        }
        bytes.len()
    }

    /// Where a text goes on that ended before `from`: behind a quote after the end of a line, as SQL has it.
    fn continuation(&self, from: usize) -> Option<usize> {
        let (mut at, mut has_newline) = (from, false);
        loop {
            match self.rest(at) {
                [b'\n' | b'\r', ..] => (at, has_newline) = (at + 1, true),
                [byte, ..] if is_space(*byte) => at += 1,
                [b'-', b'-', ..] => (at, has_newline) = (self.behind_line(at), true),
                [b'\'', ..] if has_newline => return Some(at + 1),
                _ => return None,
            }
        }
    }

    /// Behind the end of the line.
    fn behind_line(&self, from: usize) -> usize {
        let end = self.rest(from).iter().position(|byte| matches!(byte, b'\n' | b'\r'));
        end.map_or(self.sql.len(), |place| from + place + 1)
    }

    fn block_comment(&self, from: usize) -> usize {
        let (mut at, mut depth) = (from + 2, 1);
        loop {
            match self.rest(at) {
                [] => return self.sql.len(),
                [b'/', b'*', ..] => (at, depth) = (at + 2, depth + 1),
                [b'*', b'/', ..] if depth == 1 => return at + 2,
                [b'*', b'/', ..] => (at, depth) = (at + 2, depth - 1),
                _ => at += 1,
            }
        }
    }

    /// `$tag$`, if that is what stands here.
    fn dollar_tag(&self, from: usize) -> Option<&'a str> {
        let start = from + 1;
        let end = match self.rest(start) {
            [first, ..] if is_word_start(*first) => self.while_true(start, |byte| is_word(byte) && byte != b'$'),
            _ => start,
        };
        (self.rest(end).first() == Some(&b'$')).then(|| &self.sql[from..=end])
    }

    fn placeholder(&self, from: usize) -> Option<usize> {
        let inside = self.sql.get(from + 2..)?;
        let close = inside.find("}}")?;
        is_parameter(inside[..close].trim()).then_some(from + 2 + close + 2)
    }
}

/// Whether a parameter may be called so.
pub fn is_parameter(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    name.as_bytes().first().is_some_and(|first| !first.is_ascii_digit()) && name.bytes().all(is_plain)
}

impl Iterator for Pieces<'_> {
    type Item = Piece;

    fn next(&mut self) -> Option<Piece> {
        let start = self.at;
        let (kind, end) = match self.rest(start) {
            [] => return None,
            [b'-', b'-', ..] => (Kind::Comment, self.behind_line(start)),
            [b'/', b'*', ..] => (Kind::Comment, self.block_comment(start)),
            [b'e' | b'E', b'\'', ..] => (Kind::Quoted, self.quoted(start + 2, b'\'', true)),
            [b'u' | b'U', b'&', quote @ (b'\'' | b'"'), ..] => (Kind::Quoted, self.quoted(start + 3, *quote, false)),
            [b'b' | b'B' | b'x' | b'X' | b'n' | b'N', b'\'', ..] => {
                (Kind::Quoted, self.quoted(start + 2, b'\'', false))
            }
            [quote @ (b'\'' | b'"'), ..] => (Kind::Quoted, self.quoted(start + 1, *quote, false)),
            [b'$', ..] => match self.dollar_tag(start) {
                Some(tag) => (Kind::Quoted, self.behind(start + tag.len(), tag)),
                None => (Kind::Other, start + 1),
            },
            [b'{', b'{', ..] => match self.placeholder(start) {
                Some(end) => (Kind::Placeholder, end),
                None => (Kind::Other, start + 1),
            },
            [first, ..] if is_word_start(*first) => (Kind::Word, self.while_true(start, is_word)),
            // With what follows it: in `1e5` and `$1` there is no word.
            [first, ..] if first.is_ascii_digit() => (Kind::Other, self.while_true(start, is_word)),
            [first, ..] if is_space(*first) => (Kind::Space, self.while_true(start, is_space)),
            _ => (Kind::Other, start + 1),
        };
        // A backslash may have been the last byte.
        let end = end.min(self.sql.len());
        self.at = end;
        Some(Piece { kind, start, end })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn kinds(sql: &str) -> Vec<(Kind, &str)> {
        Pieces::of(sql)
            .map(|piece| (piece.kind, &sql[piece.start..piece.end]))
            .filter(|(kind, _)| *kind != Kind::Space)
            .collect()
    }

    #[test]
    fn quotes_and_comments_end_where_postgresql_ends_them() {
        use Kind::{Comment, Other, Placeholder, Quoted, Word};
        for (sql, expected) in [
            ("'a''b' c", vec![(Quoted, "'a''b'"), (Word, "c")]),
            (r"'a\' c", vec![(Quoted, r"'a\'"), (Word, "c")]),
            (r"E'a\'b' c", vec![(Quoted, r"E'a\'b'"), (Word, "c")]),
            (r"te'a\' c", vec![(Word, "te"), (Quoted, r"'a\'"), (Word, "c")]),
            (r#"u&"a""b" c"#, vec![(Quoted, r#"u&"a""b""#), (Word, "c")]),
            ("/* a /* b */ c */ d", vec![(Comment, "/* a /* b */ c */"), (Word, "d")]),
            ("-- a\rb", vec![(Comment, "-- a\r"), (Word, "b")]),
            ("E'a' -- c\n '\\' b' c", vec![(Quoted, "E'a' -- c\n '\\' b'"), (Word, "c")]),
            ("'a' 'b'", vec![(Quoted, "'a'"), (Quoted, "'b'")]),
            ("-- a\nb", vec![(Comment, "-- a\n"), (Word, "b")]),
            ("$$a;$b$c$$ d", vec![(Quoted, "$$a;$b$c$$"), (Word, "d")]),
            ("$x$a$$b$x$ d", vec![(Quoted, "$x$a$$b$x$"), (Word, "d")]),
            ("a$$b", vec![(Word, "a$$b")]),
            ("$1$2", vec![(Other, "$"), (Other, "1$2")]),
            (
                "{{ since }}{{A}}",
                vec![(Placeholder, "{{ since }}"), (Other, "{"), (Other, "{"), (Word, "A"), (Other, "}"), (Other, "}")],
            ),
            ("'{{a}}'", vec![(Quoted, "'{{a}}'")]),
            ("'open", vec![(Quoted, "'open")]),
            (r"e'\", vec![(Quoted, r"e'\")]),
            ("é1", vec![(Word, "é1")]),
        ] {
            assert_eq!(kinds(sql), expected, "{sql}");
        }
    }

    proptest! {
        #[test]
        fn the_pieces_together_are_the_text(sql in r#"([a-z0-9$;' "\\{}*/-]|--|\$\$|\{\{|\}\}|E'|é|\n){0,40}"#) {
            let mut at = 0;
            for piece in Pieces::of(&sql) {
                prop_assert_eq!(piece.start, at);
                prop_assert!(piece.end > at && sql.is_char_boundary(piece.end));
                at = piece.end;
            }
            prop_assert_eq!(at, sql.len());
        }
    }
}
