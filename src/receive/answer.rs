//! What a client is told: the one place where outcomes become status codes.
//!
//! `400`, `401`, `403`, `413`, `415`: permanent, sending the same again will not help. `408`, `429`, `503`: send it
//! again, with `Retry-After`. A success can only be made from the journal's proof that the sync has happened.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::rates::{Sender, TooOften};
use super::webhook::WebhookError;
use crate::decode::{DecodeError, Refusal};
use crate::journal::{Durability, Durable, JournalError};

/// The answer to `POST /v1/events`.
#[expect(clippy::struct_field_names, reason = "the names of the wire")]
#[derive(Debug, Serialize)]
pub struct Accepted {
    /// Events that are safe now, duplicates among them.
    accepted: usize,
    /// Of these, known already from an earlier sending.
    duplicate: u32,
    rejected: Vec<Rejected>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'static str>,
}

/// `200` for what outlives this process, `202` for what does not.
pub fn success(durable: &Durable) -> StatusCode {
    match durable.stage() {
        Durability::Journal | Durability::Database => StatusCode::OK,
        Durability::Memory => StatusCode::ACCEPTED,
    }
}

/// One event that was not taken.
#[derive(Debug, Serialize)]
pub struct Rejected {
    /// Its place in the request, from 0.
    pub index: usize,
    pub reason: String,
}

impl Accepted {
    /// Some events are safe: `durable` proves it, and says how safe. The status code is the promise.
    pub fn durable(accepted: usize, duplicate: u32, rejected: Vec<Rejected>, durable: &Durable) -> Response {
        json(success(durable), &Self { accepted, duplicate, rejected, error: None })
    }

    /// Nothing was taken: `400` where the sender is at fault, else `200`.
    pub fn none(rejected: Vec<Rejected>, is_fault: bool) -> Response {
        let (status, error) =
            if is_fault { (StatusCode::BAD_REQUEST, Some("rejected")) } else { (StatusCode::OK, None) };
        json(status, &Self { accepted: 0, duplicate: 0, rejected, error })
    }
}

/// Why a request got no success.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    #[error("{0}")]
    Decode(#[from] DecodeError),
    #[error("the body does not decompress: {0}")]
    BadCompression(String),
    #[error(
        "the request has no write key: send it as `Authorization: Bearer KEY`, `?key=KEY`, or `\"key\"` in the body"
    )]
    NoKey,
    #[error("the write key is unknown, expired, or its source is disabled: see `weir source list`")]
    UnknownKey,
    #[error("the key's source does not take events from the origin {0}: see `weir source add --origin`")]
    WrongOrigin(String),
    #[error("no such address; events go to POST /v1/events")]
    NotFound,
    #[error("this address does not take {0}")]
    WrongMethod(String),
    #[error("the body is longer than {0} bytes; send fewer events at once")]
    TooLarge(usize),
    #[error("content type {0:?} is not understood; send application/json, application/x-ndjson or text/plain")]
    WrongContentType(String),
    #[error("content encoding {0:?} is not understood; send identity, gzip or zstd")]
    WrongEncoding(String),
    #[error("the body took longer than {0} s")]
    TooSlow(u64),
    #[error("the connection broke while the body was read")]
    Broken,
    #[error("too much in flight: send again shortly")]
    Overloaded,
    #[error("{0}")]
    TooOften(TooOften),
    #[error("the transfer encoding is not understood; send a content-length, or only `chunked`")]
    WrongTransferEncoding,
    #[error("not taken: {0}")]
    Journal(#[from] JournalError),
    #[error("{0}")]
    Refused(#[from] Refusal),
    #[error("{0}")]
    Webhook(#[from] WebhookError),
}

impl RequestError {
    fn status(&self) -> StatusCode {
        match self {
            Self::Decode(DecodeError::TooManyEvents(_)) | Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Decode(_)
            | Self::BadCompression(_)
            | Self::Broken
            | Self::WrongTransferEncoding
            | Self::Refused(_) => StatusCode::BAD_REQUEST,
            // Shopify demands 401 for a signature that is wrong, and others take it for the same.
            Self::NoKey | Self::UnknownKey | Self::Webhook(_) => StatusCode::UNAUTHORIZED,
            Self::WrongOrigin(_) => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::WrongMethod(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::WrongContentType(_) | Self::WrongEncoding(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooSlow(_) => StatusCode::REQUEST_TIMEOUT,
            Self::TooOften(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Overloaded | Self::Journal(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The word for machines, and the `reason` in metrics.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Decode(DecodeError::TooManyEvents(_)) => "too_many_events",
            Self::Decode(_) => "malformed",
            Self::BadCompression(_) => "bad_compression",
            Self::NoKey => "no_key",
            Self::UnknownKey => "unknown_key",
            Self::WrongOrigin(_) => "wrong_origin",
            Self::NotFound => "not_found",
            Self::WrongMethod(_) => "wrong_method",
            Self::TooLarge(_) => "too_large",
            Self::WrongContentType(_) => "wrong_content_type",
            Self::WrongEncoding(_) => "wrong_encoding",
            Self::TooSlow(_) => "too_slow",
            Self::Broken => "broken",
            Self::Overloaded => "overloaded",
            Self::TooOften(TooOften { sender: Sender::Key, .. }) => "key_too_often",
            Self::TooOften(TooOften { sender: Sender::Network(_), .. }) => "network_too_often",
            Self::WrongTransferEncoding => "wrong_transfer_encoding",
            Self::Journal(JournalError::QueueFull) => "queue_full",
            Self::Journal(JournalError::JournalFull) => "journal_full",
            Self::Journal(JournalError::Disk(_)) => "disk",
            Self::Journal(JournalError::DatabaseAway) => "database_away",
            Self::Journal(JournalError::Closed) => "shutting_down",
            Self::Refused(_) => "rejected",
            Self::Webhook(error) => error.code(),
        }
    }

    /// Seconds after which sending again may help.
    fn retry_after_s(&self) -> Option<u16> {
        match self {
            Self::Overloaded | Self::TooSlow(_) | Self::Journal(JournalError::QueueFull | JournalError::Closed) => {
                Some(1)
            }
            // A full journal drains by megabytes a second once the database is back.
            Self::Journal(JournalError::JournalFull | JournalError::Disk(_)) => Some(10),
            Self::Journal(JournalError::DatabaseAway) => Some(5),
            Self::TooOften(too_often) => Some(too_often.retry_after_s()),
            _ => None,
        }
    }
}

impl IntoResponse for RequestError {
    fn into_response(self) -> Response {
        let mut response = refusal(self.status(), self.code(), &self.to_string());
        if let Some(seconds) = self.retry_after_s() {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        if matches!(self, Self::NoKey | Self::UnknownKey | Self::Webhook(_)) {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if matches!(self, Self::TooLarge(_) | Self::TooSlow(_) | Self::Overloaded | Self::WrongTransferEncoding) {
            // The rest of the body is not worth reading.
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// The body of every refusal: a word for machines, and what a person can do.
pub fn refusal(status: StatusCode, error: &str, reason: &str) -> Response {
    #[derive(Serialize)]
    struct Wire<'a> {
        error: &'a str,
        reason: &'a str,
    }
    json(status, &Wire { error, reason })
}

/// A JSON answer.
pub fn json<T: Serialize>(status: StatusCode, value: &T) -> Response {
    // Plain structs of text and numbers always serialize.
    let body = serde_json::to_vec(value).unwrap_or_default();
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
