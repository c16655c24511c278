//! What a developer would write first: an axum handler that parses the event and inserts it, a statement an event.

use std::io::Write as _;

use anyhow::Context;
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use axum::serve::ListenerExt;
use deadpool_postgres::{ManagerConfig, Pool, PoolConfig, RecyclingMethod, Runtime};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_postgres::NoTls;

/// The hidden command by which the load test runs this as a process of its own.
pub const COMMAND: &str = "naive-server";

const CREATE: &str = "create schema if not exists peer;
    create table if not exists peer.events (
        id uuid primary key default gen_random_uuid(), received_at timestamptz default now(), name text, message_id text,
        visitor_id text, url text, referrer text, title text, properties jsonb, ip text, user_agent text)";
const INSERT: &str =
    "insert into peer.events (name, message_id, visitor_id, url, referrer, title, properties, user_agent)
    values ($1, $2, $3, $4, $5, $6, $7::text::jsonb, $8)";
/// As many as PostgreSQL works on at once on the machines that this is for, and some that wait.
const CONNECTIONS: usize = 16;

/// Prints its address, and serves until it is ended.
pub async fn serve() -> anyhow::Result<()> {
    let url = std::env::var("DATABASE_URL").context("DATABASE_URL")?;
    let config = deadpool_postgres::Config {
        url: Some(url),
        manager: Some(ManagerConfig { recycling_method: RecyclingMethod::Fast }),
        pool: Some(PoolConfig::new(CONNECTIONS)),
        ..deadpool_postgres::Config::default()
    };
    let pool = config.create_pool(Some(Runtime::Tokio1), NoTls)?;
    pool.get().await?.batch_execute(CREATE).await?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    std::io::stdout().flush()?;
    let listener = listener.tap_io(|stream| {
        let _ = stream.set_nodelay(true);
    });
    Ok(axum::serve(listener, Router::new().route("/v1/events", post(insert)).with_state(pool)).await?)
}

async fn insert(State(pool): State<Pool>, headers: HeaderMap, body: String) -> Result<&'static str, StatusCode> {
    let user_agent = headers.get("user-agent").and_then(|value| value.to_str().ok());
    let body: Value = serde_json::from_str(&body).map_err(|_| StatusCode::BAD_REQUEST)?;
    let failed = |_| StatusCode::SERVICE_UNAVAILABLE;
    let client = pool.get().await.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
    let statement = client.prepare_cached(INSERT).await.map_err(failed)?;
    for event in body["events"].as_array().ok_or(StatusCode::BAD_REQUEST)? {
        let text = |name: &str| event[name].as_str();
        let properties = event.get("properties").map(Value::to_string);
        let row: [&(dyn tokio_postgres::types::ToSql + Sync); 8] = [
            &text("name"),
            &text("id"),
            &text("visitor_id"),
            &text("url"),
            &text("referrer"),
            &text("title"),
            &properties,
            &user_agent,
        ];
        client.execute(&statement, &row).await.map_err(failed)?;
    }
    Ok("{}")
}
