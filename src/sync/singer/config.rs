//! A tap's `config.json`: what it needs to know, secrets among it.
//!
//! It has to be readable by its owner alone. A text `"${NAME}"` in it stands for an environment variable, so that secrets may
//! come from where the operator keeps them. What is handed to the tap is a file of the run's own, with the texts in place,
//! which is gone when the run is. Some taps write into it: a refresh token that is good only once is replaced by the next one.
//! What they change there is kept.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

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

    /// Writes them for a tap to read.
    pub fn write(&self, file: &Path) -> Result<(), TapConfigError> {
        write_private(file, self.value.to_string().as_bytes())
            .map_err(|error| TapConfigError::Io(file.to_owned(), error))
    }

    /// Keeps in `file` what the tap has changed in `given`, its copy. Returns whether that was anything.
    pub fn keep(&self, file: &Path, given: &Path) -> Result<bool, TapConfigError> {
        merge(file, given, |_, name, value| self.value.get(name) != Some(value))
    }

    /// As [`Self::keep`], after a run that came to no end: its copy is still there.
    pub fn keep_of_lost_run(file: &Path, given: &Path) -> Result<bool, TapConfigError> {
        let modified = |file: &Path| fs::metadata(file).and_then(|found| found.modified()).ok();
        // Settings that a person has changed since are right.
        if modified(given) <= modified(file) {
            return Ok(false);
        }
        // What a variable held then is not known.
        merge(file, given, |settings, name, value| {
            settings.get(name) != Some(value)
                && settings.get(name).and_then(Value::as_str).is_none_or(|text| variable_of(text).is_none())
        })
    }

    /// What may be shown of a text.
    pub fn hide(&self, text: &str) -> String {
        self.secrets.iter().fold(text.to_owned(), |text, secret| text.replace(secret, HIDDEN))
    }
}

/// Puts what has changed in `given` into `file`.
fn merge(
    file: &Path,
    given: &Path,
    is_changed: impl Fn(&Map<String, Value>, &str, &Value) -> bool,
) -> Result<bool, TapConfigError> {
    let io = |error| TapConfigError::Io(file.to_owned(), error);
    // A tap that was killed while it wrote leaves half of it.
    let Some(Value::Object(given)) = fs::read(given).ok().and_then(|text| serde_json::from_slice(&text).ok()) else {
        return Ok(false);
    };
    let text = fs::read(file).map_err(io)?;
    let mut settings: Map<String, Value> =
        serde_json::from_slice(&text).map_err(|error| TapConfigError::NotJson(file.to_owned(), error.to_string()))?;
    let changed: Vec<_> = given.into_iter().filter(|(name, value)| is_changed(&settings, name, value)).collect();
    if changed.is_empty() {
        return Ok(false);
    }
    settings.extend(changed);
    write_private(file, Value::Object(settings).to_string().as_bytes()).map_err(io)?;
    Ok(true)
}

/// The variable that a text stands for.
fn variable_of(text: &str) -> Option<&str> {
    text.strip_prefix("${")?.strip_suffix('}')
}

/// Puts variables in place and gathers what must not be shown; `Err` names a variable that is not set.
fn fill(
    value: &mut Value,
    variable: &impl Fn(&str) -> Option<String>,
    secrets: &mut Vec<String>,
) -> Result<(), String> {
    match value {
        Value::String(text) => {
            if let Some(name) = variable_of(text) {
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
    fn what_a_tap_changes_is_kept() {
        let (dir, file) = written(r#"{"token":"first","key":"${KEY}","old":{"a":1}}"#, 0o600);
        let config = TapConfig::read(&file, |_| Some("from the environment".to_owned())).expect("read");
        let copy = dir.path().join("copy");
        let kept = || serde_json::from_slice::<Value>(&fs::read(&file).expect("there")).expect("JSON");
        config.write(&copy).expect("written");
        assert!(!config.keep(&file, &copy).expect("compared"));
        fs::write(&copy, r#"{"token":"second","key":"from the environment","old":{"a":1}}"#).expect("written");
        assert!(config.keep(&file, &copy).expect("kept"));
        assert_eq!(kept(), serde_json::json!({"token": "second", "key": "${KEY}", "old": {"a": 1}}));
        assert_eq!(fs::metadata(&file).expect("there").permissions().mode() & 0o777, 0o600);
        fs::write(&copy, r#"{"token":"thi"#).expect("written");
        assert!(!config.keep(&file, &copy).expect("half of it is nothing"));
    }

    #[test]
    fn what_a_lost_run_has_changed_is_kept_unless_a_person_came_after() {
        let (dir, file) = written(r#"{"token":"first","key":"${KEY}"}"#, 0o600);
        let copy = dir.path().join("copy");
        fs::write(&copy, r#"{"token":"second","key":"of then"}"#).expect("written");
        let at = |file: &Path, second| {
            let file = fs::File::options().write(true).open(file).expect("there");
            file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(second)).expect("set");
        };
        at(&file, 2_000);
        at(&copy, 1_000);
        assert!(!TapConfig::keep_of_lost_run(&file, &copy).expect("compared"));
        at(&copy, 3_000);
        assert!(TapConfig::keep_of_lost_run(&file, &copy).expect("kept"));
        let kept: Value = serde_json::from_slice(&fs::read(&file).expect("there")).expect("JSON");
        assert_eq!(kept, serde_json::json!({"token": "second", "key": "${KEY}"}));
        assert!(!TapConfig::keep_of_lost_run(&file, &dir.path().join("none")).expect("nothing there"));
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
