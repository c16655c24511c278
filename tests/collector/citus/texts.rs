//! All SQL of the program, as it stands in its files: `.sql` files whole, and every string literal of its code.

use std::fs;
use std::path::{Path, PathBuf};

/// A text, and where it is.
pub struct Text {
    pub place: String,
    /// Without comments but those that excuse, in small letters, on one line.
    pub sql: String,
}

/// Of everything below `directories` of the repository.
pub fn all(directories: &[&str]) -> Vec<Text> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for directory in directories {
        walk(&root.join(directory), &mut files);
    }
    files.sort();
    let mut texts = Vec::new();
    for file in files {
        let place = file.strip_prefix(root).expect("below it").display().to_string();
        let text = fs::read_to_string(&file).expect("readable");
        if file.extension().is_some_and(|extension| extension == "sql") {
            texts.push(Text { sql: plain(&text), place });
        } else {
            let literals = literals(&text).into_iter();
            texts.extend(literals.map(|(line, text)| Text { place: format!("{place}:{line}"), sql: plain(&text) }));
        }
    }
    texts
}

fn walk(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            walk(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "sql" || extension == "rs") {
            files.push(path);
        }
    }
}

/// A comment `citus: ...` stays: it excuses.
pub fn plain(sql: &str) -> String {
    let lines = sql.lines().map(|line| match line.split_once("--") {
        Some((code, comment)) if !comment.contains("citus:") => code,
        _ => line,
    });
    lines.flat_map(str::split_whitespace).collect::<Vec<_>>().join(" ").to_lowercase()
}

/// Every string literal of Rust code with the line on which it begins.
pub fn literals(code: &str) -> Vec<(usize, String)> {
    let bytes = code.as_bytes();
    let (mut found, mut at, mut line) = (Vec::new(), 0, 1);
    let starts = |at: usize, text: &str| code.as_bytes()[at..].starts_with(text.as_bytes());
    while at < bytes.len() {
        if starts(at, "//") {
            at += code[at..].find('\n').unwrap_or(code.len() - at);
        } else if starts(at, "/*") {
            let end = at + code[at..].find("*/").map_or(code.len() - at, |end| end + 2);
            line += code[at..end].matches('\n').count();
            at = end;
        } else if starts(at, "'\"'") || starts(at, "'\\''") || starts(at, "'\\\"'") {
            // Quotes as characters; a lifetime is none.
            at += if starts(at, "'\"'") { 3 } else { 4 };
        } else if bytes[at] == b'"' || starts(at, "r\"") || starts(at, "r#\"") {
            let (open, close) = if bytes[at] == b'"' {
                (1, "\"")
            } else if starts(at, "r\"") {
                (2, "\"")
            } else {
                (3, "\"#")
            };
            let (is_raw, began) = (open > 1, line);
            let start = at + open;
            let mut end = start;
            while end < bytes.len() && !starts(end, close) {
                end += if !is_raw && bytes[end] == b'\\' { 2 } else { 1 };
            }
            let text = &code[start..end.min(code.len())];
            line += text.matches('\n').count();
            at = end + close.len();
            let text = if is_raw {
                text.to_owned()
            } else {
                text.replace("\\n", "\n").replace("\\\n", "\n").replace("\\\"", "\"")
            };
            found.push((began, text));
        } else {
            line += usize::from(bytes[at] == b'\n');
            at += 1;
        }
    }
    found
}

#[test]
fn literals_are_found_whatever_stands_around_them() {
    let code = "// \"no\"\nlet a = \"select \\\"x\\\" \\\n  from y\"; /* \"no\" */ let q = '\"'; b('\\''); c(r#\"raw \"it\" \\ \"#, r\"\\m\");\nd(\"end\")";
    let found = literals(code);
    let texts: Vec<&str> = found.iter().map(|(_, text)| text.as_str()).collect();
    assert_eq!(texts, ["select \"x\" \n  from y", "raw \"it\" \\ ", "\\m", "end"]);
    assert_eq!(found.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [2, 3, 3, 4]);
    assert_eq!(plain("Select 1 -- no\n  -- citus: why\nfrom X"), "select 1 -- citus: why from x");
}
