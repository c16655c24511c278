//! What colleagues cost: single events on a schedule, while a hundred people at once sign in to the console and run a query
//! each; and while nobody does, in turn. Only the generator's latencies by section are compared.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use futures_util::future::try_join_all;
use http_body_util::BodyExt;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{HeaderMap, Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio_postgres::NoTls;

use weir::analyst::person;
use weir::analyst::settings::Analyst;
use weir::journal::Durability;
use weir::priority::make_way;

use crate::client::{self, Load, Pace};
use crate::collector::Collector;
use crate::measure::{Bench, refuse_refusals};
use crate::traffic::Shape;
use crate::verify;

/// At the same time.
const PEOPLE: usize = 100;
/// After each wave, as long as it took, and at least this long.
const QUIET: Duration = Duration::from_secs(3);
const PASSWORD: &str = "correct horse battery staple";
/// As `scripts/with-postgres` has it: only its members are asked for a password, without which nobody may sign in.
const ASKED: &str = "weir_test_people";
/// What the last seconds brought: an index scan of some thousand rows.
const QUERY: &str = "select path, count(*) from analytics.page_views where occurred_at > now() - interval '2 seconds' \
                     group by 1 order by 2 desc limit 20";
/// Sections of the load.
const NOBODY: usize = 0;
const EVERYBODY: usize = 1;

/// Latencies of events with and without people, in milliseconds.
#[derive(Debug, Serialize)]
pub struct ConsoleResult {
    pub requests_per_second: f64,
    pub quiet_p50_ms: f64,
    pub quiet_p99_ms: f64,
    pub busy_p50_ms: f64,
    pub busy_p99_ms: f64,
    pub waves: usize,
    /// From the first sign-in of a wave to its last result.
    pub wave_s: f64,
    pub remarks: Vec<String>,
}

impl Bench {
    /// Waves of people, for as long as a phase lasts.
    pub async fn console(&self, superuser_url: &str, requests_per_second: f64) -> anyhow::Result<ConsoleResult> {
        let client = self.database.client().await?;
        let people = self.people(superuser_url).await.context("people")?;
        let collector = Collector::start(&self.weir, &self.database.url, &self.dir, Durability::Journal).await?;
        let load = self.load(collector.public, Shape::Single, 200);
        self.warm_up(&load, &client).await?;
        let before = verify::committed(&client).await?;
        let load = Load {
            pace: Pace::Schedule { requests_per_second },
            first_stream: self.streams(self.connections),
            duration: Duration::from_secs(3_600),
            ..load
        };
        let control = Arc::clone(&load.control);
        let generator = tokio::spawn(client::run(load));
        let (started, mut waves, mut busy) = (Instant::now(), 0, Duration::ZERO);
        let all_came = async {
            while started.elapsed() < self.duration {
                control.section.store(NOBODY, Ordering::Relaxed);
                tokio::time::sleep(QUIET.max(if waves == 0 { Duration::ZERO } else { busy / waves })).await;
                control.section.store(EVERYBODY, Ordering::Relaxed);
                let began = Instant::now();
                wave(collector.admin, &people).await?;
                busy += began.elapsed();
                waves += 1;
            }
            Ok::<_, anyhow::Error>(())
        }
        .await;
        control.stop.cancel();
        let outcome = generator.await??;
        all_came?;
        refuse_refusals(&outcome)?;
        verify::wait_for_commit(&client, before + outcome.events()).await?;
        self.verify(&client, &outcome.answered).await?;
        let of = |section: usize, quantile: f64| {
            outcome
                .timing
                .get(section)
                .map_or(0.0, |timing| timing.latency.value_at_quantile(quantile) as f64 / 1_000.0)
        };
        let result = ConsoleResult {
            requests_per_second,
            quiet_p50_ms: of(NOBODY, 0.5),
            quiet_p99_ms: of(NOBODY, 0.99),
            busy_p50_ms: of(EVERYBODY, 0.5),
            busy_p99_ms: of(EVERYBODY, 0.99),
            waves: waves as usize,
            wave_s: busy.as_secs_f64() / f64::from(waves.max(1)),
            remarks: collector.stop().await?,
        };
        remove(superuser_url, &people).await?;
        Ok(result)
    }

    /// A role for each.
    async fn people(&self, superuser_url: &str) -> anyhow::Result<Vec<String>> {
        let pool = self.database.weir()?;
        let (server, _) = superuser_url.rsplit_once('/').context("the superuser's URL has no database")?;
        let (_, name) = self.database.url.rsplit_once('/').context("a URL without a database")?;
        let settings = Analyst { admin_url: format!("{server}/{name}"), ..Analyst::default() };
        let superuser = connect(superuser_url).await?;
        let sql = format!("do $$ begin create role {ASKED}; exception when duplicate_object then null; end $$");
        superuser.batch_execute(&sql).await?;
        let mut people = Vec::new();
        for number in 0..PEOPLE {
            let role = format!("{name}_{number}");
            person::add(&pool, &settings, &role, false, Some(PASSWORD)).await?;
            // Of an earlier round.
            superuser.batch_execute(&format!("grant {ASKED} to {role}; alter role {role} login")).await?;
            people.push(role);
        }
        pool.close();
        Ok(people)
    }
}

async fn connect(url: &str) -> anyhow::Result<tokio_postgres::Client> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

/// Roles outlive the database.
async fn remove(superuser_url: &str, people: &[String]) -> anyhow::Result<()> {
    let superuser = connect(superuser_url).await?;
    for role in people {
        // What is left of them in the database goes with it.
        superuser.batch_execute(&format!("alter role {role} nologin")).await?;
    }
    Ok(())
}

/// Everybody at once. Their browsers are on other machines: here they are together on one thread, which makes way for the one that
/// sends events. (A hundred threads outweigh it, however much each of them makes way.)
async fn wave(admin: SocketAddr, people: &[String]) -> anyhow::Result<()> {
    let people = people.to_vec();
    let all = move || {
        make_way();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(try_join_all(people.iter().map(|role| visit(admin, role)))).map(drop)
    };
    // Not one of a runtime's threads: those are used again.
    let (ended, end) = oneshot::channel();
    thread::spawn(move || ended.send(all()));
    end.await.context("the visits panicked")?
}

/// Signs in, runs the query, reads the result, and signs out.
async fn visit(admin: SocketAddr, role: &str) -> anyhow::Result<()> {
    let mut browser = Browser::open(admin).await?;
    let form: String = url::form_urlencoded::Serializer::new(String::new())
        .append_pair("role", role)
        .append_pair("password", PASSWORD)
        .finish();
    let (status, head, _) =
        browser.ask(Method::POST, "/sign-in", &[("content-type", "application/x-www-form-urlencoded")], form).await?;
    ensure!(status == StatusCode::SEE_OTHER, "signing in: {status}");
    let cookie = head.get("set-cookie").context("no cookie")?.to_str()?;
    browser.cookie = cookie.split(';').next().unwrap_or_default().to_owned();
    let page = browser.get("/sql").await?;
    let (_, rest) = page.split_once("name=\"csrf\" content=\"").context("no token")?;
    let csrf = rest.split('"').next().unwrap_or_default();
    let headers = [("x-csrf-token", csrf), ("content-type", "application/json")];
    let (status, _, begun) =
        browser.ask(Method::POST, "/sql/runs", &headers, json!({ "sql": QUERY }).to_string()).await?;
    ensure!(status == StatusCode::ACCEPTED, "a run: {status}");
    let begun: Value = serde_json::from_str(&begun)?;
    let run = begun["run"].as_str().context("no run")?;
    loop {
        let state: Value = serde_json::from_str(&browser.get(&format!("/sql/runs/{run}?wait=20")).await?)?;
        match state["state"].as_str() {
            Some("running") => {}
            Some("done") => {
                let id = state["results"][0].as_str().context("no result")?;
                browser.get(&format!("/r/{id}.json")).await?;
                return Ok(());
            }
            _ => bail!("the query failed: {state}"),
        }
    }
}

/// One connection, and who is signed in there.
struct Browser {
    requests: SendRequest<String>,
    admin: SocketAddr,
    cookie: String,
}

impl Browser {
    async fn open(admin: SocketAddr) -> anyhow::Result<Self> {
        let (requests, connection) = http1::handshake(TokioIo::new(TcpStream::connect(admin).await?)).await?;
        tokio::spawn(connection);
        Ok(Self { requests, admin, cookie: String::new() })
    }

    async fn ask(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: String,
    ) -> anyhow::Result<(StatusCode, HeaderMap, String)> {
        let mut request = Request::builder().method(method).uri(path).header("host", self.admin.to_string());
        request = request.header("origin", format!("http://{}", self.admin)).header("cookie", &self.cookie);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (head, body) = self.requests.send_request(request.body(body)?).await?.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok((head.status, head.headers, String::from_utf8(body.into())?))
    }

    async fn get(&mut self, path: &str) -> anyhow::Result<String> {
        let (status, _, body) = self.ask(Method::GET, path, &[], String::new()).await?;
        ensure!(status == StatusCode::OK, "{path}: {status}");
        Ok(body)
    }
}
