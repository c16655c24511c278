//! From the text in the editor to the statements that are sent: parted at semicolons, with the values of parameters put in.
//!
//! `{{since}}` stands for a value that whoever runs the query gives. It becomes a quoted text, which takes the type that is
//! wanted where it stands, as a parameter of a prepared statement does; so a value can never become SQL.

use std::collections::BTreeMap;

use super::words::{Kind, Piece, Pieces};
use crate::database::text::literal;

/// Longer texts are not written by hand.
pub const SQL_BYTES_MAX: usize = 256 * 1024;
const STATEMENTS_MAX: usize = 100;
const VALUE_BYTES_MAX: usize = 64 * 1024;

/// Why a text cannot be sent.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum StatementError {
    #[error("there is nothing to run")]
    Nothing,
    #[error("the text is longer than {SQL_BYTES_MAX} bytes, or holds a zero byte")]
    TooLong,
    #[error("there are more than {STATEMENTS_MAX} statements")]
    TooMany,
    #[error("there is no value for {{{{{0}}}}}")]
    NoValue(String),
    #[error("the value for {{{{{0}}}}} holds a zero byte, or is longer than {VALUE_BYTES_MAX} bytes")]
    BadValue(String),
    #[error("write {{{{{0}}}}} without quotes around it: it becomes a text by itself")]
    WithinQuotes(String),
}

/// One statement as it is sent.
#[derive(Debug, PartialEq, Eq)]
pub struct Statement {
    pub text: String,
    /// Where pieces of `text` come from, by characters: place there, place in the source, and whether it is a value.
    origins: Vec<(usize, usize, bool)>,
    /// Nothing that it is made of writes, so it may be ended before all rows are read.
    pub is_plain_read: bool,
    /// Its first words, as a name for it.
    pub name: String,
}

impl Statement {
    /// The character of the source, from 1, that PostgreSQL means by `position` in the text that was sent.
    pub fn position(&self, position: usize) -> usize {
        let at = position.saturating_sub(1);
        let origin = self.origins.iter().rev().find(|(sent, ..)| *sent <= at);
        origin.map_or(1, |(sent, source, is_value)| 1 + source + if *is_value { 0 } else { at - sent })
    }
}

/// The names of all parameters, in the order of their first use.
pub fn parameters(sql: &str) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for piece in Pieces::of(sql).filter(|piece| piece.kind == Kind::Placeholder) {
        let name = name_of(sql, piece);
        if !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }
    names
}

fn name_of(sql: &str, piece: Piece) -> &str {
    sql[piece.start..piece.end].trim_matches(['{', '}']).trim()
}

/// The statements of `sql`, with `values` for its parameters.
pub fn parse(sql: &str, values: &BTreeMap<String, String>) -> Result<Vec<Statement>, StatementError> {
    if sql.len() > SQL_BYTES_MAX || sql.contains('\0') {
        return Err(StatementError::TooLong);
    }
    let (mut statements, mut making) = (Vec::new(), Making::default());
    let mut source_chars = 0;
    for piece in Pieces::of(sql) {
        let text = &sql[piece.start..piece.end];
        match piece.kind {
            Kind::Other if text == ";" && making.is_whole() => statements.extend(std::mem::take(&mut making).finish()),
            Kind::Placeholder => {
                let name = name_of(sql, piece);
                let value = values.get(name).ok_or_else(|| StatementError::NoValue(name.to_owned()))?;
                if value.contains('\0') || value.len() > VALUE_BYTES_MAX {
                    return Err(StatementError::BadValue(name.to_owned()));
                }
                // Apart from what stands beside it: an `e` before a quote would change its meaning.
                making.push(&format!(" {} ", literal(value)), source_chars, true);
            }
            Kind::Quoted => {
                if let Some(name) = parameter_within(text) {
                    return Err(StatementError::WithinQuotes(name));
                }
                making.push(text, source_chars, false);
                making.see(text);
            }
            Kind::Comment | Kind::Space => making.push(text, source_chars, false),
            Kind::Word | Kind::Other => {
                making.push(text, source_chars, false);
                making.see(text);
            }
        }
        source_chars += text.chars().count();
        if statements.len() > STATEMENTS_MAX {
            return Err(StatementError::TooMany);
        }
    }
    statements.extend(making.finish());
    if statements.is_empty() {
        return Err(StatementError::Nothing);
    }
    Ok(statements)
}

/// A parameter that stands within quotes where it cannot be one. Between dollars there may be another language.
fn parameter_within(quoted: &str) -> Option<String> {
    if quoted.starts_with('$') {
        return None;
    }
    let inside = quoted.trim_start_matches(|first| first != '\'' && first != '"').get(1..)?;
    let place = inside.find("{{")?;
    let piece = Pieces::of(&inside[place..]).next().filter(|piece| piece.kind == Kind::Placeholder)?;
    Some(name_of(&inside[place..], piece).to_owned())
}

/// A statement that is being read.
#[derive(Default)]
struct Making {
    text: String,
    chars: usize,
    origins: Vec<(usize, usize, bool)>,
    /// What it begins with, in small letters.
    first_words: Vec<String>,
    has_code: bool,
    writes: bool,
    parens: i32,
    /// Of `begin atomic … end` in a function's body.
    blocks: i32,
}

/// How many words tell what a statement does: `create or replace function`.
const NAMING_WORDS: usize = 4;

impl Making {
    fn push(&mut self, text: &str, source_chars: usize, is_value: bool) {
        if self.text.is_empty() && !is_value && text.trim().is_empty() {
            return;
        }
        // Neighbours from one stretch of the source need one entry.
        let goes_on = self.origins.last().is_some_and(|(sent, source, was_value)| {
            !was_value && !is_value && source_chars - source == self.chars - sent
        });
        if !goes_on {
            self.origins.push((self.chars, source_chars, is_value));
        }
        self.has_code |= is_value;
        self.text.push_str(text);
        self.chars += text.chars().count();
    }

    /// Takes note of a piece that is no comment.
    fn see(&mut self, text: &str) {
        self.has_code = true;
        match text {
            "(" => self.parens += 1,
            ")" => self.parens -= 1,
            _ => {}
        }
        let word = text.to_ascii_lowercase();
        self.writes |= matches!(word.as_str(), "insert" | "update" | "delete" | "merge" | "into");
        if self.first_words.len() < NAMING_WORDS && word.bytes().all(|byte| byte.is_ascii_alphabetic()) {
            self.first_words.push(word.clone());
        }
        if self.makes_routine() {
            match word.as_str() {
                "begin" => self.blocks += 1,
                "case" if self.blocks > 0 => self.blocks += 1,
                "end" if self.blocks > 0 => self.blocks -= 1,
                _ => {}
            }
        }
    }

    fn makes_routine(&self) -> bool {
        let mut words = self.first_words.iter().map(String::as_str).filter(|word| !matches!(*word, "or" | "replace"));
        words.next() == Some("create") && matches!(words.next(), Some("function" | "procedure"))
    }

    /// Whether a semicolon ends it here.
    fn is_whole(&self) -> bool {
        self.parens <= 0 && self.blocks == 0
    }

    fn finish(self) -> Option<Statement> {
        let is_read = self
            .first_words
            .first()
            .is_some_and(|word| matches!(word.as_str(), "select" | "with" | "table" | "values"));
        self.has_code.then(|| Statement {
            text: self.text,
            origins: self.origins,
            is_plain_read: is_read && !self.writes,
            name: self.first_words.iter().take(2).map(|word| word.to_ascii_uppercase()).collect::<Vec<_>>().join(" "),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn texts(sql: &str) -> Vec<String> {
        let parsed = parse(sql, &values(&[("a", "x"), ("since", "2026-01-01")])).expect("statements");
        parsed.into_iter().map(|statement| statement.text).collect()
    }

    #[test]
    fn statements_end_at_semicolons_that_end_them() {
        for (sql, expected) in [
            ("select 1", vec!["select 1"]),
            (" select 1;\n select 2; ", vec!["select 1", "select 2"]),
            ("select ';'; select $$;$$ -- ;\n", vec!["select ';'", "select $$;$$ -- ;\n"]),
            ("-- only a note\nselect 1;-- and after\n", vec!["-- only a note\nselect 1"]),
            (
                "create rule r as on insert to t do (select 1; select 2); select 3",
                vec!["create rule r as on insert to t do (select 1; select 2)", "select 3"],
            ),
            (
                "create or replace function f() returns int begin atomic select case when true then 1 end; select 2; end; select 3",
                vec![
                    "create or replace function f() returns int begin atomic select case when true then 1 end; select 2; end",
                    "select 3",
                ],
            ),
            ("begin; select 1; end", vec!["begin", "select 1", "end"]),
        ] {
            assert_eq!(texts(sql), expected, "{sql}");
        }
        assert_eq!(parse("-- nothing\n;;", &values(&[])), Err(StatementError::Nothing));
    }

    #[test]
    fn a_value_is_never_sql() {
        let given = values(&[("a", "x'; drop table t; --"), ("b", r"\'; drop table t; --")]);
        let statements = parse("select {{a}}, {{ b }}, E{{a}}", &given).expect("statements");
        assert_eq!(statements.len(), 1);
        assert_eq!(
            statements[0].text,
            r"select  'x''; drop table t; --' ,  E'\\''; drop table t; --' , E 'x''; drop table t; --' "
        );
        let no_quotes = Err(StatementError::WithinQuotes("a".to_owned()));
        assert_eq!(parse("select '{{a}}'", &given), no_quotes);
        assert_eq!(parse(r#"select "x{{a}}""#, &given), no_quotes);
        assert_eq!(parse("select {{c}}", &given), Err(StatementError::NoValue("c".to_owned())));
        assert!(parse("select 1 /* {{c}} */ -- {{c}}\n", &given).is_ok(), "a comment asks for nothing");
        assert_eq!(parameters("select {{b}} -- {{x}}\n, {{a}}, {{b}}"), ["b", "a"]);
    }

    #[test]
    fn a_position_is_told_in_the_source() {
        let source = "select 1;\n -- é\n select {{since}}, wrong";
        let statements = parse(source, &values(&[("since", "2026-01-01")])).expect("statements");
        let second = &statements[1];
        let sent = second.text.find("wrong").map(|at| second.text[..at].chars().count() + 1).expect("there");
        let expected = source.chars().collect::<String>().find("wrong").map(|at| source[..at].chars().count() + 1);
        assert_eq!(Some(second.position(sent)), expected);
        let in_value = second.text.find("2026").expect("there");
        assert_eq!(second.position(in_value), source[..source.find("{{").expect("there")].chars().count() + 1);
    }

    #[test]
    fn only_what_cannot_write_may_be_ended_early() {
        for (sql, expected) in [
            ("select * from t", true),
            ("with a as (select 1) table a", true),
            ("with a as (delete from t returning *) select * from a", false),
            ("insert into t values (1) returning *", false),
            ("select * into t from u", false),
            ("explain select 1", false),
        ] {
            assert_eq!(parse(sql, &values(&[])).expect("a statement")[0].is_plain_read, expected, "{sql}");
        }
    }
}
