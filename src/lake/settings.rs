//! `[lake]`: where days that are over are written as Parquet.

use serde::{Deserialize, Serialize};

use super::store::{Place, StoreError};
use crate::config::ConfigError;

/// Closed days on a directory or an S3-compatible store. Credentials come from the environment alone: `AWS_ACCESS_KEY_ID`
/// and its kin.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Lake {
    /// `file:///DIR` or `s3://BUCKET/PREFIX`; empty: there is no lake.
    pub url: String,
    /// Of a store that is not Amazon's, as `https://minio.example:9000`; `http://` is not encrypted.
    pub endpoint: String,
    pub region: String,
    /// How long after its end (UTC) a day counts as over.
    pub close_after_hours: u32,
    /// How long a day that is in the lake waits with what came late, so that it is not written again for each late event.
    pub late_after_hours: u32,
}

impl Default for Lake {
    fn default() -> Self {
        Self {
            url: String::new(),
            endpoint: String::new(),
            region: String::new(),
            close_after_hours: 2,
            late_after_hours: 24,
        }
    }
}

impl Lake {
    /// Waiting longer than a year is no waiting.
    const HOURS_MAX: u32 = 366 * 24;

    pub fn is_set(&self) -> bool {
        !self.url.is_empty()
    }

    /// Checks what types cannot say.
    pub fn check(&self) -> Result<(), ConfigError> {
        for (setting, hours) in
            [("lake.close_after_hours", self.close_after_hours), ("lake.late_after_hours", self.late_after_hours)]
        {
            if hours > Self::HOURS_MAX {
                let reason = "a year at most";
                return Err(ConfigError::OutOfRange { setting, value: hours.to_string(), reason });
            }
        }
        if !self.is_set() {
            return Ok(());
        }
        match Place::of(&self.url) {
            Err(StoreError::BadUrl { url, reason }) => {
                Err(ConfigError::OutOfRange { setting: "lake.url", value: format!("{url:?}"), reason })
            }
            Ok(_) | Err(_) => Ok(()),
        }
    }
}
