//! Saved queries: versions, forks, what others may do with them, and schedules.

use serde_json::{Value, json};

use weir::analyst::remove::{self, Belongings};

use crate::support::people::{self, Person};
use crate::support::{collector, eventually, http};

async fn save(person: &Person, title: &str, sql: &str, shares_results: bool) -> String {
    let body = json!({"title": title, "description": "", "sql": sql, "chart": null, "shares_results": shares_results});
    let answer = person.send("/queries", &body).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["slug"].as_str().expect("a slug").to_owned()
}

async fn run(person: &Person, slug: &str, sql: &str) -> Value {
    person.run_with(&json!({"sql": sql, "query": slug})).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_keeps_every_text_it_had() {
    let (database, collector, _journal) = collector(|_| {}).await;
    let alice = Person::new(&database, collector.admin, "alice", false).await;
    let bob = Person::new(&database, collector.admin, "bob", false).await;
    let before = alice.result("select 1 as first").await;
    let slug = save(&alice, "Weekly signups, by plan", "select 1 as first", false).await;
    assert_eq!(slug, "weekly-signups-by-plan");
    assert!(
        alice.page(&format!("/q/{slug}")).await.text().contains(before["id"].as_str().expect("an id")),
        "what it came to before it was saved"
    );
    assert_eq!(save(&alice, "Weekly signups, by plan", "select 2", false).await, "weekly-signups-by-plan-2");
    let changed =
        json!({"title": "Weekly signups", "description": "d", "sql": "select 2 as second", "chart": {"type": "bars"}});
    assert_eq!(alice.send(&format!("/q/{slug}/versions"), &changed).await.json()["version"], 2);
    let (newest, first) =
        (bob.page(&format!("/q/{slug}")).await.text(), bob.page(&format!("/q/{slug}?version=1")).await.text());
    assert!(
        newest.contains("select 2 as second") && newest.contains("2 of 2") && newest.contains("Weekly signups"),
        "{newest}"
    );
    assert!(first.contains("select 1 as first") && first.contains("1 of 2"), "{first}");
    assert_eq!(bob.page(&format!("/q/{slug}?version=3")).await.status, 404);
    for (path, body) in
        [("versions", &changed), ("delete", &json!({})), ("schedule", &json!({"every": "1h"})), ("link", &json!({}))]
    {
        let refused = bob.send(&format!("/q/{slug}/{path}"), body).await;
        assert_eq!(refused.status, 403, "{path}: it is alice's");
    }
    for (body, told) in [
        (json!({"title": " ", "sql": "select 1"}), "needs a title"),
        (json!({"title": "a", "description": "x".repeat(20_000), "sql": "select 1"}), "description is longer"),
    ] {
        let refused = alice.send("/queries", &body).await;
        assert!(refused.status == 400 && refused.text().contains(told), "{}", refused.text());
    }
    let fork = bob.page(&format!("/sql?query={slug}")).await.text();
    assert!(fork.contains("select 2 as second") && fork.contains("Weekly signups (copy)"), "{fork}");
    let forked = json!({"title": "Bob's", "sql": "select 2 as second", "forked_from": slug});
    let forked = bob.send("/queries", &forked).await.json()["slug"].as_str().expect("a slug").to_owned();
    assert!(bob.page(&format!("/q/{forked}")).await.text().contains(&format!("href=\"/q/{slug}\"")));
    let found = alice.page("/queries?q=SECOND").await.text();
    assert!(found.contains(&slug) && found.contains(&forked), "{found}");
    assert!(!alice.page("/queries?of=mine").await.text().contains(&forked));
    alice.submit(&format!("/q/{slug}/delete"), &[]).await;
    assert_eq!(alice.page(&format!("/q/{slug}")).await.status, 404);
    assert_eq!(
        alice.page(&format!("/r/{}", before["id"].as_str().expect("an id"))).await.status,
        200,
        "the result stays"
    );
    collector.stop().await;
}

/// A colleague's text that is run by its button must not act with the rights of whoever presses it.
#[tokio::test(flavor = "multi_thread")]
async fn anothers_query_only_reads() {
    let (database, collector, _journal) = collector(|_| {}).await;
    let alice = Person::new(&database, collector.admin, "alice", false).await;
    let bob = Person::new(&database, collector.admin, "bob", false).await;
    alice.run("create table mine (n int); insert into mine values (1)").await;
    let mine = format!("{}.mine", alice.role);
    for (number, (sql, is_refused)) in [
        (format!("select * from {mine}"), false),
        (format!("insert into {mine} values (2)"), true),
        (format!("grant all on {mine} to public"), true),
        (format!("with gone as (delete from {mine} returning n) select * from gone"), true),
        (format!("select 1; drop table {mine}"), true),
        (format!("commit; drop table {mine}"), true),
        (format!("do $$ begin execute 'drop table {mine}'; end $$"), true),
        (format!("do $$ begin commit; execute 'drop table {mine}'; end $$"), true),
        ("set transaction read write".to_owned(), true),
        (format!("select set_config('transaction_read_only', 'off', true), (select count(*) from {mine})"), true),
    ]
    .into_iter()
    .enumerate()
    {
        let slug = save(&bob, &format!("query {number}"), &sql, false).await;
        let begun = alice.send("/sql/runs", &json!({"sql": sql, "query": slug})).await;
        let ended = match begun.status {
            202 => run(&alice, &slug, &sql).await,
            _ => json!({"state": "failed", "error": begun.json()["error"]}),
        };
        assert_eq!(ended["state"] == "failed", is_refused, "{sql}: {ended}");
    }
    assert_eq!(alice.result("select * from mine").await["rows"], json!([["1"]]));
    // Neither as a part of it, nor as browsers change it on the way, nor from the page of one that is gone.
    let insert = format!("insert into {mine} values (2)");
    let slug = save(&bob, "A query", &format!("\n\r\n{insert};\rselect 1"), false).await;
    for sql in [insert.clone(), format!("{insert}; select 1")] {
        let answer = alice.send("/sql/runs", &json!({"sql": sql, "query": slug})).await;
        let is_refused = answer.status == 400 || run(&alice, &slug, &sql).await["state"] == "failed";
        assert!(is_refused, "{sql}: {}", answer.text());
    }
    bob.submit(&format!("/q/{slug}/delete"), &[]).await;
    assert_eq!(alice.send("/sql/runs", &json!({"sql": insert, "query": slug})).await.status, 404);
    let ended = alice.run_with(&json!({"sql": insert, "is_foreign": true})).await;
    assert_eq!(ended["state"], "failed", "{ended}");
    // The editor says so of what it opens.
    let slug = save(&bob, "Another query", "select 1", false).await;
    let shared = bob.result("select 2").await["id"].as_str().expect("an id").to_owned();
    bob.submit(&format!("/r/{shared}/visibility"), &[("visibility", "colleagues")]).await;
    for path in [format!("/q/{slug}"), format!("/sql?query={slug}"), format!("/sql?result={shared}")] {
        assert!(alice.page(&path).await.text().contains(" data-foreign"), "{path}");
        assert!(!bob.page(&path).await.text().contains(" data-foreign"), "{path}");
    }
    // As her own text it may.
    assert_eq!(alice.run(&insert).await["state"], "done");
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_query_comes_to_is_shown_as_its_owner_chose() {
    let (database, collector, _journal) = collector(|_| {}).await;
    let alice = Person::new(&database, collector.admin, "alice", false).await;
    let bob = Person::new(&database, collector.admin, "bob", false).await;
    let sql = "select current_user::text as who";
    let hidden = save(&alice, "Hidden", sql, false).await;
    let shared = save(&alice, "Shared", sql, true).await;
    for slug in [&hidden, &shared] {
        run(&alice, slug, sql).await;
    }
    let shows =
        async |person: &Person, slug: &str| person.page(&format!("/q/{slug}")).await.text().contains("data-result=");
    assert!(shows(&alice, &hidden).await && !shows(&bob, &hidden).await);
    assert!(shows(&bob, &shared).await);
    // What bob may read, alice has not chosen to show around.
    run(&bob, &shared, sql).await;
    assert!(
        bob.page(&format!("/q/{shared}")).await.text().contains(&format!("<td>{}</td>", bob.role)),
        "his own, newest"
    );
    assert!(
        alice.page(&format!("/q/{shared}")).await.text().contains(&format!("<td>{}</td>", alice.role)),
        "not bob's"
    );

    alice.submit(&format!("/q/{shared}/link"), &[]).await;
    let text = alice.page(&format!("/q/{shared}")).await.text();
    let (_, rest) = text.split_once("=IMPORTDATA(&quot;http://test").expect("a link");
    let link = rest.split("&quot;").next().expect("a link").to_owned();
    assert_eq!(
        http::get(collector.admin, &link, &[]).await.text(),
        format!("who\r\n{}\r\n", alice.role),
        "never what others made"
    );
    assert_eq!(http::get(collector.admin, &link.replace("key=", "key=x"), &[]).await.status, 404);
    let other = link.replace(&shared, &hidden);
    assert_eq!(http::get(collector.admin, &other, &[]).await.status, 404);
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_of_one_moment_all_run() {
    let (database, collector, _journal) = collector(|config| config.console.queries_max = 2).await;
    let alice = Person::new(&database, collector.admin, "alice", false).await;
    for number in 0..8 {
        let slug = save(&alice, &format!("Number {number}"), &format!("select {number}, pg_sleep(0.1)"), false).await;
        assert_eq!(alice.submit(&format!("/q/{slug}/schedule"), &[("every", "15 6 * * *")]).await.status, 303);
    }
    // A moment that has long gone is still one run.
    let due = "update console.queries set next_run_at = now() - interval '3 hours'";
    database.client.batch_execute(due).await.expect("aged");
    database.until("select count(*) from console.results", 8).await;
    assert_eq!(
        database
            .rows("select count(*), count(schedule_error), bool_and(next_run_at > now()) from console.queries")
            .await,
        ["8|0|t"]
    );
    database.until("select count(*) from console.runs where state = 'done'", 8).await;
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_runs_with_its_owners_rights_while_they_are_away() {
    let (database, collector, _journal) = collector(|_| {}).await;
    let alice = Person::new(&database, collector.admin, "alice", false).await;
    let slug =
        save(&alice, "Who", "select current_user::text as who, set_config('role', 'none', false) as role", true).await;
    for (every, told) in [("often", "is no schedule"), ("5s", "once a minute"), ("* * * * * *", "is no schedule")] {
        let refused = alice.submit(&format!("/q/{slug}/schedule"), &[("every", every)]).await;
        assert!(refused.status == 400 && refused.text().contains(told), "{every}: {}", refused.text());
    }
    let asks = save(&alice, "Asks", "select {{since}}", true).await;
    let refused = alice.submit(&format!("/q/{asks}/schedule"), &[("every", "1h")]).await;
    assert!(refused.text().contains("nobody is there to give a value for since"), "{}", refused.text());
    assert_eq!(alice.submit(&format!("/q/{slug}/schedule"), &[("every", "1h")]).await.status, 303);
    assert_eq!(
        database
            .rows("select cron, next_run_at > now() + interval '59 minutes' from console.queries where slug = 'who'")
            .await,
        ["1h|t"]
    );
    // The hour is over, and alice is not there.
    alice.submit("/sign-out", &[]).await;
    database
        .client
        .batch_execute("update console.queries set next_run_at = now() where slug = 'who'")
        .await
        .expect("aged");
    database.until("select count(*) from console.results where role like '%_alice'", 1).await;
    database.until("select count(*) from console.runs where kind = 'schedule' and state = 'done'", 1).await;
    let bob = Person::new(&database, collector.admin, "bob", false).await;
    let page = bob.page(&format!("/q/{slug}")).await.text();
    assert!(page.contains(&format!("<td>{}</td>", alice.role)), "{page}");
    assert_eq!(
        database
            .rows("select next_run_at > now() + interval '59 minutes' from console.queries where slug = 'who'")
            .await,
        ["t"]
    );

    // Its login is the person's, and nothing more.
    let alice = Person::of(collector.admin, alice.role.clone()).await;
    let reach = "select has_schema_privilege(current_user, 'weir', 'usage') or pg_has_role(current_user, 'pg_read_all_data', 'usage') as more,
                        (select string_agg(r.rolname, ',' order by r.rolname) from pg_auth_members m join pg_roles r on r.oid = m.roleid
                          where m.member = (select oid from pg_roles where rolname = session_user)) as of";
    let reach = save(&alice, "Reach", reach, true).await;
    alice.submit(&format!("/q/{reach}/schedule"), &[("every", "1h")]).await;
    let fails = save(&alice, "Fails", "select * from weir.salts", true).await;
    alice.submit(&format!("/q/{fails}/schedule"), &[("every", "15 6 * * *")]).await;
    database
        .client
        .batch_execute("update console.queries set next_run_at = now() where slug in ('reach', 'fails')")
        .await
        .expect("aged");
    eventually("both have run", async || {
        alice.page(&format!("/q/{reach}")).await.text().contains("data-result=")
            && alice.page(&format!("/q/{fails}")).await.text().contains("permission denied for schema weir")
    })
    .await;
    let page = alice.page(&format!("/q/{reach}")).await.text();
    assert!(page.contains("<td>f</td>") && page.contains(&format!("<td>{}</td>", alice.role)), "{page}");
    // A secret link ends with whoever made it, and whoever has the same name later finds nothing.
    alice.submit(&format!("/q/{slug}/link"), &[]).await;
    let text = alice.page(&format!("/q/{slug}")).await.text();
    let (_, rest) = text.split_once("=IMPORTDATA(&quot;http://test").expect("a link");
    let link = rest.split("&quot;").next().expect("a link").to_owned();
    assert_eq!(http::get(collector.admin, &link, &[]).await.status, 200);
    // Whoever is disabled has no schedules either.
    let sql = format!("alter role {} nologin", alice.role);
    crate::support::connect(&crate::support::superuser_url()).await.batch_execute(&sql).await.expect("disabled");
    database
        .client
        .batch_execute("update console.queries set next_run_at = now() where slug = 'who'")
        .await
        .expect("aged");
    database
        .until("select count(*) from console.queries where slug = 'who' and schedule_error like '%may not log in%'", 1)
        .await;
    assert_eq!(http::get(collector.admin, &link, &[]).await.status, 404);
    let mut settings = weir::config::Config::default().database;
    database.url.clone_into(&mut settings.url);
    let pool = weir::database::Database::new(&settings, 1).expect("a valid URL");
    let admin = people::admin_settings(&database);
    remove::remove(&pool, &admin, &alice.role, Belongings::Refuse).await.expect("removed");
    let again = Person::new(&database, collector.admin, "alice", false).await;
    assert!(!again.page("/queries?of=mine").await.text().contains(&format!("/q/{slug}")));
    assert!(again.page("/results").await.text().contains("No result yet"));
    assert_eq!(again.get("/sql/history").await.json(), json!([]));
    assert_eq!(again.submit(&format!("/q/{slug}/delete"), &[]).await.status, 403);
    collector.stop().await;
}
