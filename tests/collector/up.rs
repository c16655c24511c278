//! `weir up` as a person runs it: the real program, its private PostgreSQL, stopped, continued, killed.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use sha2::{Digest, Sha384};
use weir::analyst::{self, login};

use crate::support::http::{self, Answer};
use crate::support::{browser, connect, eventually};

struct Up {
    child: Child,
    ready: Value,
}

impl Up {
    fn start(data_dir: &Path) -> Self {
        Self::start_on(data_dir, "127.0.0.1:0")
    }

    fn start_on(data_dir: &Path, address: &str) -> Self {
        let mut child = command_on(data_dir, address).spawn().expect("the program starts");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("piped");
        BufReader::new(stdout).read_line(&mut line).expect("readable");
        let ready = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"));
        Self { child, ready }
    }

    fn text(&self, name: &str) -> &str {
        self.ready[name].as_str().unwrap_or_else(|| panic!("no {name} in {}", self.ready))
    }

    async fn post(&self, body: &str) -> Answer {
        let address = self.text("url").trim_start_matches("http://").parse().expect("an address");
        let key = format!("authorization: Bearer {}", self.text("secret_key"));
        http::post(address, "/v1/events", &[&key], body.as_bytes()).await
    }

    async fn until_stored(&self, expected: i64) {
        let client = connect(self.text("database_url")).await;
        eventually("rows arrive", async || {
            let row = client.query_one("select count(*) from analytics.events", &[]).await.expect("counted");
            row.get::<_, i64>(0) == expected
        })
        .await;
    }

    /// Ctrl-C.
    fn interrupt(mut self) {
        let status = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status().expect("kill runs");
        assert!(status.success());
        assert!(self.child.wait().expect("it ends").success());
    }
}

fn command(data_dir: &Path) -> Command {
    command_on(data_dir, "127.0.0.1:0")
}

fn command_on(data_dir: &Path, address: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
    command
        .args(["up", "--json", "--listen", address, "--admin-listen", "127.0.0.1:0", "--data-dir"])
        .arg(data_dir)
        .env_remove("DATABASE_URL")
        .env("USER", "ada")
        .current_dir(std::env::temp_dir())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    if let Some(programs) = std::env::var_os("WEIR_TEST_POSTGRES_BIN") {
        command.env("WEIR_POSTGRES_BIN", programs);
    }
    command
}

/// The private server's process, by its own pid file.
fn postmaster(data_dir: &Path) -> Option<String> {
    let file = std::fs::read_to_string(data_dir.join("postgres/postmaster.pid")).ok()?;
    file.lines().next().map(str::to_owned)
}

fn data_dir() -> tempfile::TempDir {
    let mut builder = tempfile::Builder::new();
    // As a person's directory is: the server's own user may pass.
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755));
    builder.prefix("weir-up.").tempdir_in("/tmp").expect("a directory")
}

#[tokio::test(flavor = "multi_thread")]
async fn up_stops_continues_and_survives_a_crash() {
    let directory = data_dir();
    let data_dir = directory.path().join("weir-data");
    let up = Up::start(&data_dir);
    let keys = (up.text("public_key").to_owned(), up.text("secret_key").to_owned());
    assert!(keys.0.starts_with("pk_") && keys.1.starts_with("sk_"));
    assert!(up.text("admin_url").starts_with("http://127.0.0.1:"));
    assert_eq!(up.post(r#"{"name":"first"}"#).await.status, 200);
    up.until_stored(1).await;

    let second = command(&data_dir).output().expect("it runs");
    assert!(!second.status.success(), "one at a time");
    up.interrupt();
    assert_eq!(postmaster(&data_dir), None, "PostgreSQL is stopped");

    let started = Instant::now();
    let mut up = Up::start(&data_dir);
    eprintln!("ready on an existing data directory after {:?}", started.elapsed());
    assert_eq!((up.text("public_key"), up.text("secret_key")), (keys.0.as_str(), keys.1.as_str()));
    assert_eq!(up.post(r#"{"name":"second"}"#).await.status, 200);
    up.until_stored(2).await;

    // weir alone is killed: its PostgreSQL lives on and is taken over.
    up.child.kill().expect("ours to kill");
    up.child.wait().expect("it ends");
    let orphan = postmaster(&data_dir).expect("PostgreSQL runs on");
    let mut up = Up::start(&data_dir);
    assert_eq!(postmaster(&data_dir), Some(orphan.clone()));
    assert_eq!(up.post(r#"{"name":"third"}"#).await.status, 200);

    // Both are killed: a stale pid file and an unclean cluster.
    up.child.kill().expect("ours to kill");
    up.child.wait().expect("it ends");
    let killed = Command::new("kill").args(["-KILL", &orphan]).status().expect("kill runs");
    assert!(killed.success());
    eventually("the server is gone", async || !Path::new("/proc").join(&orphan).exists()).await;
    let up = Up::start(&data_dir);
    up.until_stored(3).await;
    up.interrupt();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chosen_port_is_used_or_told_to_be_taken() {
    let directory = data_dir();
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = free.local_addr().expect("bound").to_string();
    let refused =
        command_on(&directory.path().join("refused"), &address).stderr(Stdio::piped()).output().expect("it runs");
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && told.contains("cannot listen on"), "{told}");
    drop(free);
    let up = Up::start_on(&directory.path().join("weir-data"), &address);
    assert_eq!(up.text("url"), format!("http://{address}"));
    assert_eq!(up.post(r#"{"name":"a"}"#).await.status, 200);
    up.interrupt();
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_find_the_database_of_up() {
    let directory = data_dir();
    let data_dir = directory.path().join("weir-data");
    let up = Up::start(&data_dir);
    let weir = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_weir"))
            .args(arguments)
            .arg("--data-dir")
            .arg(&data_dir)
            .env_remove("DATABASE_URL")
            .current_dir(directory.path())
            .output()
            .expect("it runs");
        (
            output.status.success(),
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)),
        )
    };
    let (ok, text) = weir(&["source", "add", "shop", "--origin", "https://shop.example"]);
    assert!(ok && text.contains("pk_") && text.contains("sk_"), "{text}");
    // The pinned text is what the collector serves.
    let tag = text.lines().find(|line| line.contains("integrity")).expect("a line for pages");
    let attribute = |name: &str| tag.split_once(&format!("{name}=\"")).and_then(|(_, rest)| rest.split('"').next());
    let path = attribute("src").expect("an address").trim_start_matches("https://COLLECTOR");
    let address = up.text("url").trim_start_matches("http://").parse().expect("an address");
    let script = http::get(address, path, &[]).await;
    assert!(script.header("cache-control").is_some_and(|value| value.contains("immutable")), "{path}");
    let hash = STANDARD.encode(Sha384::digest(&script.body));
    assert_eq!(attribute("integrity"), Some(format!("sha384-{hash}").as_str()));
    let (ok, text) = weir(&["source", "add", "shop"]);
    assert!(!ok && text.contains("exists already"), "{text}");
    let (ok, text) = weir(&["source", "list"]);
    assert!(ok && text.contains("shop\tenabled\thttps://shop.example\tpublic pk_"), "{text}");
    let (ok, text) = weir(&["source", "rotate", "shop", "--kind", "secret"]);
    assert!(ok && text.contains("sk_"), "{text}");
    let (ok, text) = weir(&["source", "disable", "shop"]);
    assert!(ok, "{text}");
    let (ok, text) = weir(&["quarantine", "list"]);
    assert!(ok && text.contains("empty"), "{text}");
    let (ok, text) = weir(&["quarantine", "replay"]);
    assert!(ok && text.contains("0 stored"), "{text}");
    up.interrupt();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_person_is_made_once() {
    let directory = data_dir();
    let data_dir = directory.path().join("weir-data");
    let up = Up::start(&data_dir);
    let sign_in = async |up: &Up, password: &str| {
        let url = login::url(up.text("database_url"), "ada", password);
        tokio_postgres::connect(&url, tokio_postgres::NoTls).await
    };
    let (role, password) = (up.text("console_role").to_owned(), up.text("console_password").to_owned());
    assert_eq!(role, "ada");
    assert!(sign_in(&up, "not this one").await.is_err(), "the server asks for passwords");
    let (ada, connection) = sign_in(&up, &password).await.expect("signed in");
    tokio::spawn(connection);
    ada.batch_execute("select count(*) from events").await.expect("reads");
    ada.batch_execute("set temp_file_limit = '9GB'").await.expect_err("the limit is one");
    let limit: String = ada.query_one("show temp_file_limit", &[]).await.expect("asked").get(0);
    assert_eq!(limit, "5GB");
    let weir = connect(up.text("database_url")).await;
    let standing = analyst::standing(&weir, "ada").await.expect("asked");
    assert!(standing.is_analyst && standing.is_operator);
    assert_eq!(analyst::usage::missing(&weir).await.expect("asked"), None, "statements are counted");

    let command_line = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_weir"))
            .arg("analyst")
            .args(arguments)
            .arg("--data-dir")
            .arg(&data_dir)
            .env_remove("DATABASE_URL")
            .current_dir(directory.path())
            .output()
            .expect("it runs");
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(said).expect("text"))
    };
    let (ok, text) = command_line(&["add", "bob"]);
    let url = text.lines().find_map(|line| line.strip_prefix("psql '")?.strip_suffix('\'')).expect("a line for psql");
    assert!(ok, "{text}");
    connect(url).await.batch_execute("create table t as select 1 as a").await.expect("bob's own");
    let (ok, text) = command_line(&["remove", "bob"]);
    assert!(!ok && text.contains("table bob.t"), "{text}");
    let (ok, text) = command_line(&["list"]);
    assert!(ok && text.contains("operator") && text.contains("bob"), "{text}");
    let (ok, text) = command_line(&["list", "--json"]);
    let listed: Value = serde_json::from_str(&text).expect("JSON");
    assert!(ok && listed[0]["name"] == "ada" && listed[0]["is_operator"] == true, "{text}");
    let (ok, text) = command_line(&["usage", "--weeks", "2"]);
    assert!(ok && !text.contains("not counted"), "{text}");
    let (ok, text) = command_line(&["grant", "bob", "stripe"]);
    assert!(!ok && text.contains("no synced schema stripe"), "{text}");
    let (ok, text) = command_line(&["grant", "bob"]);
    assert!(!ok && text.contains("name a person and a schema"), "{text}");
    up.interrupt();

    let up = Up::start(&data_dir);
    assert_eq!((up.text("console_role"), up.text("console_password")), ("ada", password.as_str()));
    let (ada, connection) = sign_in(&up, &password).await.expect("signed in");
    tokio::spawn(connection);
    analyst::set_password(&ada, "one of my own choice").await.expect("set");
    up.interrupt();
    let up = Up::start(&data_dir);
    assert_eq!((up.text("console_role"), up.ready.get("console_password")), ("ada", None));
    let (ok, text) = command_line(&["remove", "ada"]);
    assert!(ok, "{text}");
    up.interrupt();
    let up = Up::start(&data_dir);
    assert_eq!(up.ready.get("console_role"), None, "whoever is removed stays so");
    up.interrupt();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_real_browser_sends_arrives() {
    let Some(mut program) = browser::program("js-snippet/test/browser.mjs") else { return };
    let directory = data_dir();
    let up = Up::start(&directory.path().join("weir-data"));
    let program = program.args(["--collector", up.text("url"), "--key", up.text("public_key")]);
    let said = browser::said(program, browser::TIMEOUT).await;
    let expected: Vec<Value> = serde_json::from_str(&said.out).expect("one line of JSON");
    assert!(expected.len() >= 7);
    up.until_stored(expected.len() as i64).await;

    let client = connect(up.text("database_url")).await;
    let sql = "select to_jsonb(e)::text from analytics.events e order by occurred_at, kind";
    let rows = client.query(sql, &[]).await.expect("rows");
    let mut rows: Vec<Value> = rows.iter().map(|row| serde_json::from_str(row.get(0)).expect("JSON")).collect();
    for event in &expected {
        let at = rows
            .iter()
            .position(|row| {
                let path = row["path"].as_str().unwrap_or_default();
                let path = row["query"].as_str().map_or(path.to_owned(), |query| format!("{path}?{query}"));
                row["kind"] == event["type"]
                    && row["name"] == event.get("name").cloned().unwrap_or_default()
                    && path == event["path"]
                    && row["referrer"].as_str().unwrap_or_default() == event["referrer"].as_str().unwrap_or_default()
                    && row["properties"] == event.get("properties").cloned().unwrap_or_default()
            })
            .unwrap_or_else(|| panic!("{event} is not among {rows:#?}"));
        let row = rows.remove(at);
        assert_eq!((&row["browser"], &row["source"], &row["is_bot"]), (&"Chrome".into(), &"web".into(), &false.into()));
        assert!(row["visitor_id"].is_string() && row["screen"].is_string() && row["language"].is_string(), "{row}");
        assert_eq!(row["ip"], "127.0.0.0/24");
    }
    let campaign = "select count(*) from analytics.page_views where utm_source is not null";
    assert!(client.query_one(campaign, &[]).await.expect("counted").get::<_, i64>(0) >= 1);
    up.interrupt();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_shows_what_is_done_on_it_as_rows() {
    let Some(mut program) = browser::program("js-snippet/test/demo.mjs") else { return };
    let directory = data_dir();
    let up = Up::start(&directory.path().join("weir-data"));
    browser::said(program.args(["--admin", up.text("admin_url")]), browser::TIMEOUT).await;
    up.interrupt();
}

/// As the README has it, from the first start to a link that a colleague opens.
#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_comes_to_a_shared_link() {
    let Some(mut program) = browser::program("console/journey.mjs") else { return };
    let directory = data_dir();
    let data_dir = directory.path().join("weir-data");
    let up = Up::start(&data_dir);
    let mut adding = Command::new(env!("CARGO_BIN_EXE_weir"))
        .arg("--data-dir")
        .arg(&data_dir)
        .args(["analyst", "add", "bob", "--password-file", "-"])
        .env_remove("DATABASE_URL")
        .stdin(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let password = "correct horse battery staple";
    std::io::Write::write_all(&mut adding.stdin.take().expect("piped"), password.as_bytes()).expect("written");
    assert!(adding.wait().expect("it ends").success());
    let first = format!("{}:{}", up.text("console_role"), up.text("console_password"));
    program.args(["--admin", up.text("admin_url"), "--first", &first, "--second", &format!("bob:{password}")]);
    if let Some(shots) = std::env::var_os("WEIR_TEST_SCREENSHOTS") {
        program.arg("--screenshots").arg(shots);
    }
    let said = browser::said(&mut program, browser::TIMEOUT).await;
    eprintln!("{}", said.out);
    up.interrupt();
}
