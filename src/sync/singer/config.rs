//! A tap's `config.json`: what it needs to know, secrets among it.
//!
//! It has to be readable by its owner alone. A text `"${NAME}"` in it stands for an environment variable, so that secrets may
//! come from where the operator keeps them. What is handed to the tap is a file of the run's own, with the texts in place,
//! which is gone when the run is.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::disk::write_private;

/// Shorter texts stand in logs by chance.
const SECRET_CHARS_MIN: usize = 6;
/// What is shown in a secret's place.
const HIDDEN: &str = "***";

/// Why a tap's settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TapConfigError {
    #[error("{0}: {1}")]
    Io(PathBuf, std::io::Error),
    #[error("{0} can be read by others: chmod 600 {0}")]
    Open(String),
    #[error("{0} is no JSON object: {1}")]
    NotJson(PathBuf, String),
    #[error("{0} asks for the environment variable {1}, which is not set")]
    NoVariable(PathBuf, String),
}

/// Settings as the tap gets them.
#[derive(Debug)]
pub struct TapConfig {
    value: Value,
    /// Texts that must not be shown.
    secrets: Vec<String>,
}

impl TapConfig {
    /// Reads them; `variable` looks into the environment.
    pub fn read(file: &Path, variable: impl Fn(&str) -> Option<String>) -> Result<Self, TapConfigError> {
        let io = |error| TapConfigError::Io(file.to_owned(), error);
        let mode = fs::metadata(file).map_err(io)?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(TapConfigError::Open(file.display().to_string()));
        }
        let text = fs::read(file).map_err(io)?;
        let mut value: Value = serde_json::from_slice(&text)
            .map_err(|error| TapConfigError::NotJson(file.to_owned(), error.to_string()))?;
        if !value.is_object() {
            return Err(TapConfigError::NotJson(file.to_owned(), "something else".to_owned()));
        }
        let mut secrets = Vec::new();
        fill(&mut value, &variable, &mut secrets).map_err(|name| TapConfigError::NoVariable(file.to_owned(), name))?;
        // A longer one first: one may be a part of another.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        Ok(Self { value, secrets })
    }

    /// Nothing is set.
    pub fn empty() -> Self {
        Self { value: Value::Object(serde_json::Map::new()), secrets: Vec::new() }
    }

    /// Writes them for a tap to read.
    pub fn write(&self, file: &Path) -> Result<(), TapConfigError> {
        write_private(file, self.value.to_string().as_bytes())
            .map_err(|error| TapConfigError::Io(file.to_owned(), error))
    }

    /// What may be shown of a text.
    pub fn hide(&self, text: &str) -> String {
        self.secrets.iter().fold(text.to_owned(), |text, secret| text.replace(secret, HIDDEN))
    }
}

/// Puts variables in place and gathers what must not be shown; `Err` names a variable that is not set.
fn fill(
    value: &mut Value,
    variable: &impl Fn(&str) -> Option<String>,
    secrets: &mut Vec<String>,
) -> Result<(), String> {
    match value {
        Value::String(text) => {
            if let Some(name) = text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')) {
                *text = variable(name).ok_or_else(|| name.to_owned())?;
            }
            // Of names of the program's own, such as start_date, nobody can tell which are harmless: times are.
            if text.len() >= SECRET_CHARS_MIN && super::value::time_of(text).is_none() {
                secrets.push(text.clone());
            }
            Ok(())
        }
        Value::Array(items) => items.iter_mut().try_for_each(|item| fill(item, variable, secrets)),
        Value::Object(members) => members.values_mut().try_for_each(|item| fill(item, variable, secrets)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str, mode: u32) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("config.json");
        fs::write(&file, text).expect("written");
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).expect("set");
        (dir, file)
    }

    #[test]
    fn variables_are_put_in_place_and_nothing_secret_is_shown() {
        let text = r#"{"a":{"key":"${KEY}"},"start_date":"2026-01-01T00:00:00Z","list":["sk_live_12"]}"#;
        let (dir, file) = written(text, 0o600);
        let config = TapConfig::read(&file, |name| (name == "KEY").then(|| "sk_live_123456".to_owned())).expect("read");
        let shown = config.hide("refused: sk_live_123456, sk_live_12, since 2026-01-01T00:00:00Z");
        assert_eq!(shown, "refused: ***, ***, since 2026-01-01T00:00:00Z");
        let copy = dir.path().join("copy");
        config.write(&copy).expect("written");
        assert!(fs::read_to_string(&copy).expect("there").contains("sk_live_123456"));
        assert_eq!(fs::metadata(&copy).expect("there").permissions().mode() & 0o777, 0o600);
        let error = TapConfig::read(&file, |_| None).expect_err("not set").to_string();
        assert!(error.contains("environment variable KEY"), "{error}");
    }

    #[test]
    fn what_others_can_read_is_refused() {
        let (_dir, file) = written("{}", 0o640);
        let error = TapConfig::read(&file, |_| None).expect_err("open").to_string();
        assert!(error.contains("chmod 600"), "{error}");
        let (_dir, file) = written("[]", 0o600);
        assert!(matches!(TapConfig::read(&file, |_| None), Err(TapConfigError::NotJson(..))));
    }
}
