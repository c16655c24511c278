//! The documentation as a site and as files: nothing in it leads nowhere, and the commands of the quickstarts do what they say.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::Value;
use tokio::process::Command;
use weir::docs::library::{OPENAPI, PAGES};
use weir::docs::markdown::render;

use crate::support::http;
use crate::support::{TestDatabase, browser, collector, first_source};

/// All that needs no browser takes milliseconds.
const BROWSER_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(120);

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(file: &str) -> String {
    std::fs::read_to_string(root().join(file)).expect(file)
}

/// The values of an attribute in HTML that weir has made.
fn values<'h>(html: &'h str, attribute: &str) -> Vec<&'h str> {
    let begin = format!(" {attribute}=\"");
    html.split(&begin).skip(1).filter_map(|rest| rest.split('"').next()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_site_is_open_and_no_link_of_it_is_dead() {
    let token = "0123456789abcdef0123456789abcdef";
    let (_database, collector, _journal) = collector(|config| token.clone_into(&mut config.admin.token)).await;
    let admin = collector.admin;
    assert_eq!(http::get(admin, "/metrics", &[]).await.status, 401, "the token is asked for");
    assert_eq!(http::get(admin, "/docs", &[]).await.header("location"), Some("/docs/"));
    let mut anchors: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut links = BTreeSet::new();
    let slugs = PAGES.iter().map(|page| page.slug).chain(["contents"]);
    for path in slugs.map(|slug| format!("/docs/{slug}")) {
        let answer = http::get(admin, &path, &["accept: text/html"]).await;
        assert_eq!((answer.status, answer.header("content-type")), (200, Some("text/html; charset=utf-8")), "{path}");
        let policy = answer.header("content-security-policy").expect("a policy");
        assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
        assert_eq!(answer.header("x-frame-options"), Some("DENY"));
        let html = answer.text();
        assert!(
            !html.contains(" style=") && !html.contains("<img"),
            "{path}: the policy forbids styles, and images are not kept"
        );
        assert!(html.contains(r#"href="/docs/" aria-current="#), "{path}: the bar says where one is");
        anchors.insert(path.clone(), values(&html, "id").into_iter().map(ToOwned::to_owned).collect());
        let own = values(&html, "href").into_iter().chain(values(&html, "src"));
        links.extend(own.map(|link| if link.starts_with('#') { format!("{path}{link}") } else { link.to_owned() }));
    }
    assert!(links.len() > 200, "{}", links.len());
    for link in links.iter().filter(|link| link.starts_with("/docs")) {
        let (path, anchor) = link.split_once('#').map_or((link.as_str(), None), |(path, anchor)| (path, Some(anchor)));
        let Some(known) = anchors.get(path) else {
            assert_eq!(http::get(admin, path, &[]).await.status, 200, "{link}");
            continue;
        };
        assert!(anchor.is_none_or(|anchor| known.contains(anchor)), "{link}");
    }
    let openapi = http::get(admin, "/docs/openapi.json", &[]).await;
    assert_eq!((openapi.text().as_str(), openapi.header("content-type")), (OPENAPI, Some("application/json")));
    for (path, status) in [("/docs/nothing", 404), ("/docs/nothing/else", 401), ("/docs/%2e%2e/weir.toml", 401)] {
        let answer = http::get(admin, path, &[]).await;
        assert_eq!(answer.status, status, "{path}: {}", answer.text());
    }
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_site_is_there_without_the_console() {
    let (_database, collector, _journal) = collector(|config| config.console.enabled = false).await;
    let page = http::get(collector.admin, "/docs/cookbook", &[]).await;
    assert_eq!(page.status, 200);
    let style =
        values(&page.text(), "href").into_iter().find(|link| link.contains("/docs.css")).expect("a style").to_owned();
    let style = http::get(collector.admin, &style, &["accept-encoding: gzip"]).await;
    assert_eq!((style.status, style.header("content-encoding")), (200, Some("gzip")));
    assert!(http::get(collector.admin, "/", &[]).await.text().contains("/docs/"));
    collector.stop().await;
}

/// Those for people: in the repository's own directories.
fn markdown_files() -> Vec<String> {
    let directories = ["", "docs", "schema", "js-snippet", "console", "deploy", "tests/sdk"];
    let files = directories.iter().flat_map(|directory| {
        let entries = std::fs::read_dir(root().join(directory)).into_iter().flatten();
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        names
            .filter(|name| Path::new(name).extension().is_some_and(|end| end == "md"))
            .map(move |name| if directory.is_empty() { name } else { format!("{directory}/{name}") })
    });
    files.collect()
}

#[test]
fn no_link_in_a_file_is_dead() {
    let pages: BTreeMap<String, _> =
        PAGES.iter().map(|page| (format!("/docs/{}", page.slug), render(&page.markdown(), page.file))).collect();
    let has =
        |headings: &[weir::docs::markdown::Heading], anchor: &str| headings.iter().any(|heading| heading.id == anchor);
    let mut seen = 0;
    for file in markdown_files() {
        let rendered = render(&read(&file), &file);
        let html = rendered.body.into_string();
        for link in values(&html, "href") {
            seen += 1;
            let (path, anchor) = link.split_once('#').map_or((link, None), |(path, anchor)| (path, Some(anchor)));
            let headings = match path {
                "" => &rendered.headings,
                path if path.starts_with("/docs/") && path != "/docs/openapi.json" => {
                    &pages.get(path).unwrap_or_else(|| panic!("{file}: {link}")).headings
                }
                _ => continue,
            };
            assert!(anchor.is_none_or(|anchor| has(headings, anchor)), "{file}: {link}");
        }
        for title in values(&html, "title") {
            let Some(target) = title.strip_suffix(" in the repository") else { continue };
            assert!(root().join(target).exists(), "{file} links to {target}");
        }
    }
    assert!(seen > 150, "{seen} links");
    // Every page of docs/ is on the site.
    let on_site: BTreeSet<&str> = PAGES.iter().map(|page| page.file).collect();
    for file in markdown_files().iter().filter(|file| file.starts_with("docs/")) {
        assert!(on_site.contains(file.as_str()), "{file} is not on the site: src/docs/library.rs");
    }
}

/// The blocks of a page in these languages, in order.
fn blocks(page: &str, languages: &[&str]) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for part in page.split("\n```").skip(1).step_by(2) {
        let (language, code) = part.split_once('\n').expect("a block");
        if languages.contains(&language) {
            found.push((language.to_owned(), code.to_owned()));
        }
    }
    found
}

/// Runs a block as a person does; what it prints.
async fn shell(code: &str, directory: &Path, variables: &[(&str, &str)]) -> String {
    let mut path = vec![directory.to_owned()];
    path.extend(std::env::var_os("WEIR_TEST_POSTGRES_BIN").map(PathBuf::from));
    path.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    let output = Command::new("sh")
        .args(["-eu", "-c", code])
        .current_dir(directory)
        .env("PATH", std::env::join_paths(path).expect("a PATH"))
        .envs(variables.iter().copied())
        .kill_on_drop(true)
        .output()
        .await
        .expect("a shell");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{code}\n{said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

/// A directory in which `weir` is this one.
fn with_weir() -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_weir"), directory.path().join("weir")).expect("a link");
    directory
}

#[tokio::test(flavor = "multi_thread")]
async fn the_backends_commands_are_answered_as_the_page_says() {
    let (database, collector, _journal) = collector(|_| {}).await;
    let directory = with_weir();
    let page = read("docs/quickstart-backend.md")
        .replace("https://collector.example", &format!("http://{}", collector.address))
        .replace("sk_...", &collector.keys.secret_key);
    let mut said = None;
    let mut compared = 0;
    for (language, code) in blocks(&page, &["sh", "json"]) {
        if language == "sh" {
            let answer: Value = serde_json::from_str(&shell(&code, directory.path(), &[]).await).expect("JSON");
            assert!(answer.get("error").is_none(), "{answer}");
            said = Some(answer);
            continue;
        }
        let expected: Value = serde_json::from_str(&code).expect("JSON");
        assert_eq!(said.take(), Some(expected), "{code}");
        compared += 1;
    }
    assert_eq!(compared, 3);
    database.until_stored(2).await;
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operators_commands_run() {
    let database = TestDatabase::of("createrole").await;
    first_source(&database.url).await;
    let directory = with_weir();
    // Roles are the whole server's.
    let alice = format!("{}_alice", database.name);
    let page = read("docs/quickstart-operator.md").replace("alice", &alice);
    let blocks = blocks(&page, &["sh"]);
    let mut said = String::new();
    for (_, code) in &blocks {
        said += &shell(code, directory.path(), &[("DATABASE_URL", &database.url), ("WEIR_LOG", "error")]).await;
    }
    assert_eq!(blocks.len(), 4);
    for expected in ["pk_", "sk_", "https://shop.example", &alice, "unexplained", "the quarantine is empty"] {
        assert!(said.contains(expected), "{expected}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_web_pages_line_is_the_one_that_frameworks_were_run_with() {
    let (database, collector, _journal) = collector(|_| {}).await;
    let html = |file: &str, language: &str| blocks(&read(file), &[language]).remove(0).1;
    assert_eq!(html("docs/quickstart-web.md", "html index.html"), html("docs/snippet.md", "html index.html"));
    let image = html("docs/quickstart-web.md", "html mail.html").replace("pk_...", &collector.keys.public_key);
    let path = values(&image, "src")[0].strip_prefix("https://collector.example").expect("the collector").to_owned();
    let answer = http::get(collector.address, &path, &[]).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("image/gif")));
    database
        .until("select count(*) from analytics.events where name = 'open' and properties ->> 'mail' = 'weekly'", 1)
        .await;
    collector.stop().await;
}

/// In both themes, as wide as a phone, without scripts, and as somebody uses it who does not see.
#[tokio::test(flavor = "multi_thread")]
async fn pages_are_for_every_reader() {
    let Some(mut program) = browser::program("console/docs.mjs") else { return };
    let (_database, collector, _journal) = collector(|_| {}).await;
    let slugs: Vec<&str> = PAGES.iter().map(|page| page.slug).chain(["contents", "nothing"]).collect();
    program.arg(format!("http://{}", collector.admin)).args(slugs);
    browser::said(&mut program, BROWSER_TIMEOUT).await;
    collector.stop().await;
}
