//! `ClickHouse` over HTTP: a statement goes in, text or an error comes back.

use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderValue};
use reqwest::{Body, Client, Url};

use super::ClickHouseError;
use super::settings::ClickHouse;
use crate::database::chain;
use crate::outbound;

/// Reading a whole day to sum it up takes the longest. `ClickHouse` itself gives up before: it would go on with nobody there.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(300);
const SELECT_SECONDS_MAX: &str = "240";
/// Shorter than `ClickHouse` keeps a connection without a request, by default three seconds: it must not end as one is sent.
const IDLE_MAX: Duration = Duration::from_secs(2);
/// The longest answer that is asked for is a page of ids.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Of what it says of an error.
const ERROR_CHARS_MAX: usize = 500;
/// A list of ids is longer than what a statement may have by default.
const QUERY_BYTES_MAX: &str = "16777216";

/// See the module.
#[derive(Debug, Clone)]
pub struct Http {
    client: Client,
    url: Url,
    headers: HeaderMap,
}

impl Http {
    pub fn new(settings: &ClickHouse) -> Result<Self, ClickHouseError> {
        let no_tls = |error: outbound::Error| ClickHouseError::Tls(chain(error.as_ref()));
        let client = outbound::client(REQUEST_TIMEOUT).map_err(no_tls)?.pool_idle_timeout(IDLE_MAX).build();
        let client = client.map_err(|error| no_tls(Box::new(error)))?;
        let url = Url::parse(&settings.url).map_err(|error| ClickHouseError::Away(error.to_string()))?;
        let mut headers = HeaderMap::new();
        for (name, value) in [("x-clickhouse-user", &settings.user), ("x-clickhouse-key", &settings.password)] {
            let mut value = HeaderValue::from_str(value).map_err(|_| ClickHouseError::BadLogin)?;
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        Ok(Self { client, url, headers })
    }

    /// The rows of a statement, columns separated by tabs, as `ClickHouse` escapes them.
    pub async fn rows(&self, sql: &str) -> Result<Vec<Vec<String>>, ClickHouseError> {
        let text = self
            .send(&[("max_execution_time", SELECT_SECONDS_MAX)], Body::from(format!("{sql} format TabSeparated")))
            .await?;
        Ok(text.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect())
    }

    /// The one value that a statement gives.
    pub async fn value(&self, sql: &str) -> Result<String, ClickHouseError> {
        let mut rows = self.rows(sql).await?;
        let mut row = if rows.is_empty() { Vec::new() } else { rows.swap_remove(0) };
        if row.is_empty() { Ok(String::new()) } else { Ok(row.swap_remove(0)) }
    }

    /// A statement that gives nothing.
    pub async fn execute(&self, sql: String, settings: &[(&str, &str)]) -> Result<(), ClickHouseError> {
        self.send(settings, Body::from(sql)).await.map(drop)
    }

    /// An insert: the statement in the address, the rows in the body.
    pub async fn insert(
        &self,
        statement: &str,
        settings: &[(&str, &str)],
        rows: Vec<u8>,
    ) -> Result<(), ClickHouseError> {
        let settings: Vec<(&str, &str)> = settings.iter().copied().chain([("query", statement)]).collect();
        self.send(&settings, Body::from(rows)).await.map(drop)
    }

    async fn send(&self, settings: &[(&str, &str)], body: Body) -> Result<String, ClickHouseError> {
        let away = |error: reqwest::Error| {
            if error.is_timeout() && !error.is_connect() {
                return ClickHouseError::Late { seconds: REQUEST_TIMEOUT.as_secs() };
            }
            ClickHouseError::Away(chain(&error.without_url()))
        };
        let mut url = self.url.clone();
        url.query_pairs_mut()
            // What fails in the midst of an answer would otherwise be said at its end, after a 200.
            .append_pair("wait_end_of_query", "1")
            .append_pair("max_query_size", QUERY_BYTES_MAX)
            .extend_pairs(settings);
        let request = self.client.post(url).headers(self.headers.clone()).body(body);
        let mut answer = request.send().await.map_err(away)?;
        let mut bytes = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(away)? {
            if bytes.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(ClickHouseError::TooMuch { bytes_max: ANSWER_BYTES_MAX });
            }
            bytes.extend_from_slice(&chunk);
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if answer.status().is_success() {
            return Ok(text);
        }
        Err(ClickHouseError::Refused {
            status: answer.status().as_u16(),
            code: code(&text),
            text: text.trim().chars().take(ERROR_CHARS_MAX).collect(),
        })
    }
}

/// `Code: 60, e.displayText() = ...`, in newer versions with a point.
fn code(text: &str) -> Option<u32> {
    let digits = text.trim_start().strip_prefix("Code: ")?;
    digits.split(|other: char| !other.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_have_a_code() {
        assert_eq!(code("Code: 60, e.displayText() = DB::Exception: Table"), Some(60));
        assert_eq!(code("Code: 516. DB::Exception: default"), Some(516));
        assert_eq!(code("<html>"), None);
    }
}
