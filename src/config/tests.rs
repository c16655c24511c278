use super::*;

#[test]
fn the_documented_file_is_the_default() {
    let file = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/weir.toml"));
    let documented: Config = Figment::from(Toml::file_exact(file)).extract().expect("weir.toml is valid");
    assert_eq!(documented, Config::default());
}

#[test]
fn the_documented_file_names_every_setting() {
    let text = include_str!("../../weir.toml");
    let default = serde_json::to_value(Config::default()).expect("serializes");
    for (table, settings) in default.as_object().expect("tables") {
        for setting in settings.as_object().expect("settings").keys() {
            let named = text.lines().any(|line| line.trim_start_matches("# ").starts_with(&format!("{setting} =")));
            assert!(named, "{table}.{setting} is not in weir.toml");
        }
    }
}

#[test]
fn defaults_pass_the_check_and_nonsense_does_not() {
    Config::default().check().expect("defaults are fine");
    let mut config = Config::default();
    config.flush.lanes = 0;
    let error = config.check().expect_err("no lanes").to_string();
    assert!(error.contains("flush.lanes"), "{error}");
}

#[test]
fn names_of_ones_own_for_the_snippet() {
    for (script, endpoint, is_fine) in [
        ("/assets/site.js", "/api/m", true),
        ("/x", "/y", true),
        ("/x", "/x.full", false),
        ("/x.js", "/w.00000000.js", false),
        ("/w.00000000.js", "/y", false),
        ("/w.js", "/v1/events", true),
        ("w.js", "/v1/events", false),
        ("/a//b.js", "/v1/events", false),
        ("/a/../b.js", "/v1/events", false),
        ("/{a}.js", "/v1/events", false),
        ("/é.js", "/v1/events", false),
        ("/", "/v1/events", false),
        ("/v1/events", "/v1/events", false),
        ("/w.full.js", "/v1/events", false),
        ("/w.js", "/api/event", false),
        ("/w.js", "/w.js", false),
        ("/a.js", "/a.js", false),
        ("/a.js", "/i", false),
    ] {
        let mut config = Config::default();
        (config.receive.script_path, config.receive.endpoint_path) = (script.to_owned(), endpoint.to_owned());
        let checked = config.check();
        assert_eq!(checked.is_ok(), is_fine, "{script} {endpoint}: {checked:?}");
    }
    let mut config = Config::default();
    config.receive.endpoint_path = "/api/event".to_owned();
    config.receive.formats.clear();
    config.check().expect("nobody else is there");
}

#[test]
fn rules_of_retention_are_read_and_looked_at() {
    let read = |text: &str| -> Result<Config, ConfigError> {
        let figment = Figment::from(Serialized::defaults(Config::default())).merge(Toml::string(text));
        let config: Config = figment.extract().map_err(|error| ConfigError::Unreadable(Box::new(error)))?;
        config.check().map(|()| config)
    };
    let config = read(
        "[retention]\nevents = \"13 months\"\n[[retention.rules]]\nsource = \"app\"\nkind = \"click\"\nkeep = \"90 days\"",
    );
    let retention = config.expect("it is fine").retention;
    assert_eq!(retention.events.to_string(), "13 months");
    assert_eq!(retention.rules[0].keep.to_string(), "90 days");
    for (rules, said) in [
        (r#"[{ keep = "1 day" }]"#, "rule 1 of retention.rules names neither"),
        (r#"[{ kind = "a", keep = "1 day" }, { kind = "a", keep = "2 days" }]"#, "rule 2 of retention.rules never"),
        (r#"[{ kind = "a", keep = "soon" }]"#, "\"soon\" is no time to keep events for"),
        (r#"[{ kind = "a" }]"#, "keep"),
        (r#"[{ kind = "a", name = "b", keep = "1 day" }]"#, "name"),
    ] {
        let error = read(&format!("[retention]\nrules = {rules}")).expect_err(rules).to_string();
        assert!(error.contains(said), "{error}");
    }
}

#[test]
fn the_admin_listener_is_private_or_has_a_token() {
    let long = "0123456789abcdef";
    for (listen, token, is_fine) in [
        ("127.0.0.1:8081", "", true),
        ("127.8.8.8:0", "", true),
        ("[::1]:8081", "", true),
        ("[::ffff:127.0.0.1]:8081", "", true),
        ("0.0.0.0:8081", "", false),
        ("[::]:8081", "", false),
        ("10.0.0.1:8081", "", false),
        ("[::ffff:10.0.0.1]:8081", "", false),
        ("0.0.0.0:8081", long, true),
        ("127.0.0.1:8081", long, true),
        ("0.0.0.0:8081", &long[1..], false),
        ("127.0.0.1:8081", &long[1..], false),
        ("127.0.0.1:8081", "0123456789 abcdef", false),
        ("127.0.0.1:8081", "0123456789abcdéf", false),
        ("127.0.0.1:8081", "0123456789abcdef\n", false),
    ] {
        let mut config = Config::default();
        config.admin.listen = listen.parse().expect("an address");
        token.clone_into(&mut config.admin.token);
        let checked = config.check().and_then(|()| config.admin.check_address(config.admin.listen));
        assert_eq!(checked.is_ok(), is_fine, "{listen} {token:?}");
        if let Err(error) = checked {
            let error = error.to_string();
            assert!(error.contains("admin.token"), "{error}");
            assert!(token.is_empty() || !error.contains(token), "the token is told: {error}");
        }
    }
}
