//! A tap's `catalog.json`: its streams, and which of them are wanted.
//!
//! ```json
//! {"streams":[{"tap_stream_id":"users","stream":"users","schema":{},
//!   "metadata":[{"breadcrumb":[],"metadata":{"selected":true}},
//!               {"breadcrumb":["properties","email"],"metadata":{"inclusion":"available","selected":true}}]}]}
//! ```

use serde_json::{Map, Value, json};

/// Why a catalog is of no use.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    #[error("what the tap discovered is no catalog: {0}")]
    NotOne(String),
    #[error("the tap has no stream {0}; it has {1}")]
    NoStream(String, String),
}

/// The name that people know a stream by.
fn name(stream: &Value) -> Option<&str> {
    stream.get("tap_stream_id").or_else(|| stream.get("stream")).and_then(Value::as_str)
}

/// Marks the streams to be read, all where none is named; returns the catalog and their names.
pub fn select(discovered: &str, wanted: &[String]) -> Result<(String, Vec<String>), CatalogError> {
    let not_one = |reason: &str| CatalogError::NotOne(reason.to_owned());
    let mut catalog: Value = serde_json::from_str(discovered).map_err(|error| not_one(&error.to_string()))?;
    let streams =
        catalog.get_mut("streams").and_then(Value::as_array_mut).ok_or_else(|| not_one("it has no streams"))?;
    let names: Vec<String> = streams.iter().filter_map(name).map(str::to_owned).collect();
    if let Some(missing) = wanted.iter().find(|wanted| !names.contains(wanted)) {
        return Err(CatalogError::NoStream(missing.clone(), names.join(", ")));
    }
    let mut selected = Vec::new();
    for stream in streams {
        let Some(name) = name(stream).map(str::to_owned) else { continue };
        let is_wanted = wanted.is_empty() || wanted.contains(&name);
        mark(stream, is_wanted);
        if is_wanted {
            selected.push(name);
        }
    }
    Ok((catalog.to_string(), selected))
}

/// The stream, and each of its properties: what a tap takes for granted where nothing is said differs from tap to tap.
fn mark(stream: &mut Value, is_wanted: bool) {
    let Some(stream) = stream.as_object_mut() else { return };
    let metadata = stream.entry("metadata").or_insert_with(|| json!([]));
    let Some(entries) = metadata.as_array_mut() else { return };
    let is_root = |entry: &Value| entry.get("breadcrumb").and_then(Value::as_array).is_some_and(Vec::is_empty);
    if !entries.iter().any(is_root) {
        entries.push(json!({"breadcrumb": [], "metadata": {}}));
    }
    for entry in entries {
        let root = is_root(entry);
        let Some(facts) = entry.get_mut("metadata").and_then(Value::as_object_mut) else { continue };
        let is_unsupported = facts.get("inclusion").and_then(Value::as_str) == Some("unsupported");
        if root || !is_unsupported && is_wanted {
            facts.insert("selected".to_owned(), is_wanted.into());
        }
        if root {
            choose_replication(facts);
        }
    }
}

/// How the stream is read, where the tap leaves that to whoever selects: what is new where it can tell, else all. Salesforce's
/// tap would else read everything each time.
fn choose_replication(facts: &mut Map<String, Value>) {
    if ["forced-replication-method", "replication-method"].iter().any(|name| facts.contains_key(*name)) {
        return;
    }
    let key = facts.get("valid-replication-keys").and_then(|keys| keys.get(0)).filter(|key| key.is_string()).cloned();
    let method = if key.is_some() { "INCREMENTAL" } else { "FULL_TABLE" };
    facts.insert("replication-method".to_owned(), method.into());
    if let Some(key) = key {
        facts.insert("replication-key".to_owned(), key);
    }
}

/// The properties that a tap says are missing from its settings, as singer-python words it.
pub fn missing_keys(said: &str) -> Vec<String> {
    let Some(at) = said.find("missing required keys: [") else { return Vec::new() };
    let list = &said[at..];
    let list = &list[list.find('[').map_or(0, |at| at + 1)..list.find(']').unwrap_or(list.len())];
    list.split(',').map(|key| key.trim().trim_matches(['\'', '"']).to_owned()).filter(|key| !key.is_empty()).collect()
}

/// The settings that a tap of Meltano's SDK needs and `config`, a JSON object, has not, by what it says of itself.
pub fn missing_of_about(about: &str, config: &str) -> Vec<String> {
    let [about, config] = [about, config].map(|text| serde_json::from_str::<Value>(text).unwrap_or_default());
    let required = about.pointer("/settings/required").and_then(Value::as_array);
    let names = required.into_iter().flatten().filter_map(Value::as_str);
    names.filter(|name| config.get(name).is_none()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_selected_with_their_properties() {
        let discovered = json!({"streams": [
            {"tap_stream_id": "a", "schema": {}, "metadata": [
                {"breadcrumb": [], "metadata": {"inclusion": "available"}},
                {"breadcrumb": ["properties", "x"], "metadata": {"inclusion": "unsupported"}},
                {"breadcrumb": ["properties", "y"], "metadata": {"inclusion": "available"}}]},
            {"stream": "b", "schema": {}},
        ]});
        let (catalog, names) = select(&discovered.to_string(), &["a".to_owned()]).expect("a catalog");
        assert_eq!(names, ["a"]);
        let catalog: Value = serde_json::from_str(&catalog).expect("JSON");
        let fact = |path: &str| catalog.pointer(path).cloned();
        assert_eq!(fact("/streams/0/metadata/0/metadata/selected"), Some(true.into()));
        assert_eq!(fact("/streams/0/metadata/1/metadata/selected"), None);
        assert_eq!(fact("/streams/0/metadata/2/metadata/selected"), Some(true.into()));
        assert_eq!(fact("/streams/1/metadata/0/metadata/selected"), Some(false.into()));
        let (_, names) = select(&discovered.to_string(), &[]).expect("a catalog");
        assert_eq!(names, ["a", "b"]);
        let error = select(&discovered.to_string(), &["c".to_owned()]).expect_err("none").to_string();
        assert_eq!(error, "the tap has no stream c; it has a, b");
    }

    #[test]
    fn what_a_tap_leaves_open_is_chosen() {
        let discovered = json!({"streams": [
            {"stream": "new", "metadata": [{"breadcrumb": [], "metadata": {"valid-replication-keys": ["at", "id"]}}]},
            {"stream": "all", "metadata": [{"breadcrumb": [], "metadata": {"valid-replication-keys": []}}]},
            {"stream": "own", "metadata": [{"breadcrumb": [], "metadata": {
                "forced-replication-method": "FULL_TABLE", "valid-replication-keys": ["at"]}}]},
        ]});
        let (catalog, _) = select(&discovered.to_string(), &[]).expect("a catalog");
        let catalog: Value = serde_json::from_str(&catalog).expect("JSON");
        let facts: Vec<_> = (0..3).map(|at| &catalog["streams"][at]["metadata"][0]["metadata"]).collect();
        assert_eq!(
            (&facts[0]["replication-method"], &facts[0]["replication-key"]),
            (&json!("INCREMENTAL"), &json!("at"))
        );
        assert_eq!(
            (&facts[1]["replication-method"], &facts[1]["replication-key"]),
            (&json!("FULL_TABLE"), &json!(null))
        );
        assert_eq!((&facts[2]["replication-method"], &facts[2]["replication-key"]), (&json!(null), &json!(null)));
    }

    #[test]
    fn what_a_tap_says_of_itself_names_what_it_needs() {
        let about = r#"{"name":"tap-x","settings":{"type":"object","properties":{},"required":["path","key"]}}"#;
        assert_eq!(missing_of_about(about, r#"{"key":"k"}"#), ["path"]);
        assert!(missing_of_about("usage: tap-stripe", "{}").is_empty());
    }

    #[test]
    fn missing_settings_are_understood() {
        let said = "Exception: Config is missing required keys: ['client_secret', 'account_id']\n";
        assert_eq!(missing_keys(said), ["client_secret", "account_id"]);
        assert!(missing_keys("Traceback").is_empty());
    }
}
