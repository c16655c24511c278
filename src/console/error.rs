//! What goes wrong in the console, and as what a browser hears of it: the one place where that becomes a status.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::auth::throttle::TooOften;
use crate::analyst::AnalystError;
use crate::database::DatabaseError;
use crate::database::login::LoginError;
use crate::flush::FlushError;
use crate::retention::RetentionError;
use crate::rollup::RollupError;
use crate::sources::SourceError;

/// Why a page or an action was refused.
#[derive(Debug, thiserror::Error)]
pub enum ConsoleError {
    #[error("sign in first")]
    SignedOut,
    #[error("{0}")]
    Forbidden(String),
    #[error("there is nothing here, or it is not for you")]
    NotFound,
    #[error("{0}")]
    BadRequest(String),
    #[error("{0}")]
    TooOften(TooOften),
    #[error("{0}")]
    Busy(String),
    #[error("{0}")]
    Login(#[from] LoginError),
    #[error("{0}")]
    Database(#[from] DatabaseError),
    #[error("the operating system gave no random bytes: {0}")]
    Random(#[from] std::io::Error),
    #[error("{0}")]
    Internal(String),
}

impl From<AnalystError> for ConsoleError {
    fn from(error: AnalystError) -> Self {
        match error {
            AnalystError::Database(error) => Self::Database(error),
            other => Self::BadRequest(other.to_string()),
        }
    }
}

impl From<RollupError> for ConsoleError {
    fn from(error: RollupError) -> Self {
        match error {
            RollupError::Database(error) => Self::Database(error),
            other => Self::BadRequest(other.to_string()),
        }
    }
}

impl From<SourceError> for ConsoleError {
    fn from(error: SourceError) -> Self {
        match error {
            SourceError::Database(error) => Self::Database(error),
            other => Self::BadRequest(other.to_string()),
        }
    }
}

impl From<RetentionError> for ConsoleError {
    fn from(error: RetentionError) -> Self {
        match error {
            RetentionError::Database(error) => Self::Database(error),
            other => Self::BadRequest(other.to_string()),
        }
    }
}

impl From<FlushError> for ConsoleError {
    fn from(error: FlushError) -> Self {
        match error {
            FlushError::Transient(error) => Self::Database(error),
            other => Self::BadRequest(other.to_string()),
        }
    }
}

impl From<tokio_postgres::Error> for ConsoleError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Database(error.into())
    }
}

/// What the guard makes a page or JSON of, as the browser wants it.
#[derive(Clone)]
pub struct Told(pub String);

impl ConsoleError {
    fn status(&self) -> StatusCode {
        match self {
            Self::SignedOut | Self::Login(LoginError::Refused) => StatusCode::UNAUTHORIZED,
            Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::BadRequest(_) => StatusCode::BAD_REQUEST,
            // What PostgreSQL says of a value: class 22, data exceptions.
            Self::Database(error) if error.sqlstate().is_some_and(|state| state.code().starts_with("22")) => {
                StatusCode::BAD_REQUEST
            }
            Self::TooOften(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Busy(_) | Self::Login(_) | Self::Database(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Random(_) | Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl IntoResponse for ConsoleError {
    fn into_response(self) -> Response {
        let status = self.status();
        if status.is_server_error() {
            tracing::warn!(error = %self, "the console could not answer");
        }
        let mut response = status.into_response();
        if let Self::TooOften(too_often) = &self
            && let Ok(value) = HeaderValue::try_from(too_often.wait_s.to_string())
        {
            response.headers_mut().insert(header::RETRY_AFTER, value);
        }
        response.extensions_mut().insert(Told(self.to_string()));
        response
    }
}
