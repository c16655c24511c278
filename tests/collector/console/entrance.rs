//! Who comes in, and whose requests are believed.

use weir::analyst::person;
use weir::config::Config;
use weir::database::Database;

use crate::support::people::{self, PASSWORD, Person, sign_in};
use crate::support::{collector, connect, eventually, http};

#[tokio::test(flavor = "multi_thread")]
async fn people_sign_in_with_their_own_password_and_nobody_else_does() {
    let (database, collector, _journal) = collector(|_| {}).await;
    let admin = collector.admin;
    let alice = people::role(&database, "alice", false).await;

    let page = http::get(admin, "/r/abc?x=1", &["accept: text/html"]).await;
    assert_eq!((page.status, page.header("location")), (303, Some("/sign-in?next=%2Fr%2Fabc%3Fx%3D1")));
    let script = http::get(admin, "/live/data", &[]).await;
    assert_eq!((script.status, script.json()["error"]["message"].as_str()), (401, Some("sign in first")));
    // Pages that anyone sees.
    assert_eq!(http::get(admin, "/sign-in", &["accept: text/html"]).await.status, 200);
    assert_eq!(http::get(admin, "/healthz", &[]).await.status, 200);

    for (role, password) in
        [(alice.as_str(), "wrong"), (alice.as_str(), ""), ("nobody_here", PASSWORD), ("", ""), ("a\0b", "c")]
    {
        let answer = sign_in(admin, role, password).await;
        assert_eq!(answer.status, 401, "{role}");
        assert!(answer.header("set-cookie").is_none());
        assert!(answer.text().contains("role or password is wrong"), "{}", answer.text());
    }
    let answer = sign_in(admin, &alice, PASSWORD).await;
    assert_eq!((answer.status, answer.header("location")), (303, Some("/sql")));
    let cookie = answer.header("set-cookie").expect("a cookie");
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
    assert!(!cookie.contains("Secure"), "over plain HTTP it would not be kept");
    let form = people::form(&[("role", &alice), ("password", PASSWORD)]);
    let headers =
        ["host: weir.example", "origin: https://weir.example", "content-type: application/x-www-form-urlencoded"];
    let over_tls =
        http::post(admin, "/sign-in", &[&headers[..], &["sec-fetch-site: same-origin"]].concat(), form.as_bytes())
            .await;
    assert!(over_tls.header("set-cookie").is_some_and(|cookie| cookie.contains("Secure")), "{}", over_tls.shown());

    // weir's own role and the server's superuser are no people.
    people::ask_for_password(&database.name).await;
    let owner = sign_in(admin, &database.name, "secret").await;
    assert_eq!(owner.status, 403);
    assert!(owner.text().contains("is not among the analysts"), "{}", owner.text());

    let accounts = Person::of(admin, alice.clone()).await;
    assert_eq!(accounts.page("/nothing").await.status, 404);
    assert_eq!(accounts.submit("/sign-out", &[]).await.status, 303);
    assert_eq!(accounts.get("/live/data").await.status, 401, "the session is over");
    let told = database.rows("select role, action from console.audit order by audit_id").await;
    assert!(told.contains(&format!("{alice}|signed in")) && told.contains(&format!("{alice}|was refused")), "{told:?}");
    collector.stop().await;
}

/// As with `trust` in `pg_hba.conf`, which also the tests' server has for all but some.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_asks_nobody_for_a_password_lets_nobody_in() {
    let (database, collector, _journal) = collector(|_| {}).await;
    let mut settings = Config::default().database;
    database.url.clone_into(&mut settings.url);
    let pool = Database::new(&settings, 1).expect("a valid URL");
    let alice = format!("{}_alice", database.name);
    person::add(&pool, &people::admin_settings(&database), &alice, false, Some(PASSWORD)).await.expect("added");
    for password in [PASSWORD, "anything"] {
        let answer = sign_in(collector.admin, &alice, password).await;
        assert_eq!(answer.status, 403);
        assert!(answer.text().contains("without looking at the password"), "{}", answer.text());
    }
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn passwords_are_not_guessed() {
    let (database, collector, _journal) = collector(|_| {}).await;
    let alice = people::role(&database, "alice", false).await;
    let mut refused = None;
    for _ in 0..8 {
        let answer = sign_in(collector.admin, &alice, "wrong").await;
        if answer.status == 429 {
            refused = Some(answer);
            break;
        }
        assert_eq!(answer.status, 401);
    }
    let refused = refused.expect("too many attempts");
    assert!(refused.header("retry-after").is_none() || refused.text().contains("try again in"), "{}", refused.shown());
    assert_eq!(sign_in(collector.admin, &alice, PASSWORD).await.status, 429, "not even the right one");
    // Somebody else is not in the way of them.
    let bob = people::role(&database, "bob", false).await;
    assert_eq!(sign_in(collector.admin, &bob, PASSWORD).await.status, 303);
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_consoles_own_pages_send_forms() {
    let (database, collector, _journal) = collector(|_| {}).await;
    let admin = collector.admin;
    let alice = Person::new(&database, admin, "alice", false).await;
    let bob = Person::new(&database, admin, "bob", false).await;
    let cookie = format!("cookie: {}", alice.cookie);
    let (form, json) = ("content-type: application/x-www-form-urlencoded", "content-type: application/json");
    let token = format!("x-csrf-token: {}", alice.csrf);
    let anothers = format!("x-csrf-token: {}", bob.csrf);
    let body = r#"{"sql":"select 1"}"#;
    let (own, evil) = ("origin: http://test", "origin: https://evil.example");
    for (headers, expected) in [
        (&[cookie.as_str(), json, own, token.as_str()][..], 202),
        (&[cookie.as_str(), json, "sec-fetch-site: same-origin", token.as_str()], 202),
        (&[cookie.as_str(), json, token.as_str()], 403),
        (&[cookie.as_str(), json, evil, token.as_str()], 403),
        (&[cookie.as_str(), json, own, "sec-fetch-site: cross-site", token.as_str()], 403),
        (&[cookie.as_str(), json, own], 403),
        (&[cookie.as_str(), json, own, anothers.as_str()], 403),
        (&[cookie.as_str(), form, own], 403),
        (&[json, own, token.as_str()], 401),
    ] {
        let answer = http::post(admin, "/sql/runs", headers, body.as_bytes()).await;
        assert_eq!(answer.status, expected, "{headers:?}: {}", answer.text());
    }
    // From a chat a browser sends no strict cookie: it is told to ask once more, from here.
    let from_chat = ["accept: text/html", "sec-fetch-site: cross-site", "sec-fetch-mode: navigate"];
    let again = http::get(admin, "/r/abc", &from_chat).await;
    assert_eq!((again.status, again.header("refresh")), (200, Some("0")));
    let page = alice.page("/sql").await;
    for (header, holds) in [
        ("content-security-policy", "default-src 'none'"),
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("referrer-policy", "same-origin"),
        ("cache-control", "no-store"),
    ] {
        assert!(page.header(header).is_some_and(|value| value.contains(holds)), "{header}: {:?}", page.header(header));
    }
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_who_is_disabled_is_out_within_seconds() {
    let (database, collector, _journal) = collector(|_| {}).await;
    let alice = Person::new(&database, collector.admin, "alice", false).await;
    assert_eq!(alice.get("/live/data").await.status, 200);
    let mut settings = Config::default().database;
    database.url.clone_into(&mut settings.url);
    let pool = Database::new(&settings, 1).expect("a valid URL");
    person::set_enabled(&pool, &people::admin_settings(&database), &alice.role, false).await.expect("disabled");
    // No connection for it any more, at once.
    let ended = alice.run("select 1").await;
    assert_eq!(ended["state"], "failed", "{ended}");
    eventually("the session is over", async || alice.get("/live/data").await.status == 401).await;
    assert_eq!(sign_in(collector.admin, &alice.role, PASSWORD).await.status, 401);
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_wherever_its_password_was_changed() {
    let (database, collector, _journal) = collector(|config| config.console.password_check_s = 0).await;
    let alice = Person::new(&database, collector.admin, "alice", false).await;
    assert_eq!(alice.get("/live/data").await.status, 200);
    let mut settings = Config::default().database;
    database.url.clone_into(&mut settings.url);
    let pool = Database::new(&settings, 1).expect("a valid URL");
    person::rotate(&pool, &people::admin_settings(&database), &alice.role, None).await.expect("rotated");
    assert_eq!(alice.get("/live/data").await.status, 401);
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_changes_the_password_and_ends_other_sessions() {
    let (database, collector, _journal) = collector(|_| {}).await;
    let admin = collector.admin;
    let alice = Person::new(&database, admin, "alice", false).await;
    let phone = Person::of(admin, alice.role.clone()).await;
    assert_eq!(alice.submit("/account/sessions/end-others", &[]).await.status, 303);
    assert_eq!(phone.get("/live/data").await.status, 401);
    assert_eq!(alice.get("/live/data").await.status, 200);

    let new = "another horse battery staple";
    for (current, again, told) in
        [("wrong", new, "the current password is another one"), (PASSWORD, "different", "the two new passwords differ")]
    {
        let answer = alice.submit("/account/password", &[("current", current), ("new", new), ("again", again)]).await;
        assert_eq!(answer.status, 400);
        assert!(answer.text().contains(told), "{}", answer.text());
    }
    let short = alice.submit("/account/password", &[("current", PASSWORD), ("new", "short"), ("again", "short")]).await;
    assert!(short.text().contains("at least 12 characters"), "{}", short.text());
    let changed = alice.submit("/account/password", &[("current", PASSWORD), ("new", new), ("again", new)]).await;
    assert_eq!((changed.status, changed.header("location")), (303, Some("/sign-in")));
    assert_eq!(alice.get("/live/data").await.status, 401, "she signs in again");
    assert_eq!(sign_in(admin, &alice.role, PASSWORD).await.status, 401);
    assert_eq!(sign_in(admin, &alice.role, new).await.status, 303);
    // It is PostgreSQL's own.
    let url = database
        .url
        .replace(&format!("{}:secret@", database.name), &format!("{}:{}@", alice.role, new.replace(' ', "%20")));
    drop(connect(&url).await);
    collector.stop().await;
}
