//! People who sign in to the console.

use std::net::SocketAddr;

use serde_json::Value;
use weir::analyst::person;
use weir::analyst::settings::Analyst;
use weir::database::Database;

use super::http::{self, Answer};
use super::{TestDatabase, connect, superuser_url};

pub const PASSWORD: &str = "correct horse battery staple";
/// As `scripts/with-postgres` has it: only its members are asked for a password.
const ASKED: &str = "weir_test_people";

/// Somebody with a role of their own.
pub struct Person {
    pub role: String,
    admin: SocketAddr,
    pub cookie: String,
    pub csrf: String,
}

/// As those who run `weir analyst` have it: a superuser at that database.
pub fn admin_settings(database: &TestDatabase) -> Analyst {
    let superuser = superuser_url();
    let (server, _) = superuser.rsplit_once('/').expect("a URL with a database");
    Analyst { admin_url: format!("{server}/{}", database.name), ..Analyst::default() }
}

/// Makes a role for somebody called `name`; roles belong to the whole server, so it has the database's name, too.
pub async fn role(database: &TestDatabase, name: &str, is_operator: bool) -> String {
    let role = format!("{}_{name}", database.name);
    let pool = Database::new(&super::settings(&database.url), 1).expect("a valid URL");
    person::add(&pool, &admin_settings(database), &role, is_operator, Some(PASSWORD)).await.expect("added");
    ask_for_password(&role).await;
    role
}

/// Has the server ask `role` for a password.
pub async fn ask_for_password(role: &str) {
    let superuser = connect(&superuser_url()).await;
    let sql = format!(
        "do $$ begin create role {ASKED}; exception when duplicate_object or unique_violation then null; end $$;
         grant {ASKED} to {role}"
    );
    superuser.batch_execute(&sql).await.expect("granted");
}

/// Sends the form of the sign-in page.
pub async fn sign_in(admin: SocketAddr, role: &str, password: &str) -> Answer {
    let form = form(&[("role", role), ("password", password), ("next", "/sql")]);
    post(admin, "/sign-in", &["accept: text/html"], FORM, &form).await
}

const FORM: &str = "content-type: application/x-www-form-urlencoded";
const JSON: &str = "content-type: application/json";

pub fn form(fields: &[(&str, &str)]) -> String {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish()
}

/// Posts as a page of the console's does.
pub async fn post(admin: SocketAddr, path: &str, headers: &[&str], content_type: &str, body: &str) -> Answer {
    let headers: Vec<&str> = headers.iter().copied().chain([content_type, "origin: http://test"]).collect();
    http::post(admin, path, &headers, body.as_bytes()).await
}

impl Person {
    /// A new role, signed in.
    pub async fn new(database: &TestDatabase, admin: SocketAddr, name: &str, is_operator: bool) -> Self {
        let role = role(database, name, is_operator).await;
        Self::of(admin, role).await
    }

    /// Signs in with a role that is there.
    pub async fn of(admin: SocketAddr, role: String) -> Self {
        let answer = sign_in(admin, &role, PASSWORD).await;
        assert_eq!(answer.status, 303, "{}", answer.text());
        let cookie =
            answer.header("set-cookie").and_then(|cookie| cookie.split(';').next()).expect("a cookie").to_owned();
        let mut person = Self { role, admin, cookie, csrf: String::new() };
        let page = person.page("/account").await.text();
        let (_, rest) = page.split_once("name=\"csrf\" content=\"").expect("a token");
        rest.split('"').next().expect("a token").clone_into(&mut person.csrf);
        person
    }

    fn cookie(&self) -> String {
        format!("cookie: {}", self.cookie)
    }

    /// Opens a page.
    pub async fn page(&self, path: &str) -> Answer {
        http::get(self.admin, path, &[&self.cookie(), "accept: text/html"]).await
    }

    /// Asks as a script of a page does.
    pub async fn get(&self, path: &str) -> Answer {
        http::get(self.admin, path, &[&self.cookie()]).await
    }

    /// Sends a form of a page.
    pub async fn submit(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let fields: Vec<_> = fields.iter().copied().chain([("csrf", self.csrf.as_str())]).collect();
        post(self.admin, path, &[&self.cookie(), "accept: text/html"], FORM, &form(&fields)).await
    }

    /// Sends JSON as a page's script does.
    pub async fn send(&self, path: &str, body: &Value) -> Answer {
        let csrf = format!("x-csrf-token: {}", self.csrf);
        post(self.admin, path, &[&self.cookie(), &csrf], JSON, &body.to_string()).await
    }

    /// Runs SQL; returns how that ended.
    pub async fn run(&self, sql: &str) -> Value {
        self.run_with(&serde_json::json!({ "sql": sql })).await
    }

    /// As [`Self::run`], with all that a page sends.
    pub async fn run_with(&self, body: &Value) -> Value {
        let begun = self.send("/sql/runs", body).await;
        assert_eq!(begun.status, 202, "{}", begun.text());
        let run = begun.json()["run"].as_str().expect("a run").to_owned();
        loop {
            let state = self.get(&format!("/sql/runs/{run}?wait=20")).await.json();
            if state["state"] != "running" {
                return state;
            }
        }
    }

    /// Runs SQL that gives one result; returns that.
    pub async fn result(&self, sql: &str) -> Value {
        let ended = self.run(sql).await;
        assert_eq!(ended["state"], "done", "{sql}: {ended}");
        let id = ended["results"][0].as_str().expect("a result");
        self.get(&format!("/r/{id}.json")).await.json()
    }
}
