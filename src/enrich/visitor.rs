//! Visitors without cookies: a hash that is the same for one day and means nothing afterwards.
//!
//! `visitor id = first 96 bits of SHA-256(salt of the day, source, address, user agent)`. The salt is random, shared by
//! all collectors through the database, and destroyed two days later; then nobody, weir's operator included, can tell
//! whose id it was.

use std::collections::BTreeMap;
use std::net::IpAddr;

use arc_swap::ArcSwap;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use tokio_postgres::types::Type;

use crate::clock::Day;
use crate::database::{Database, DatabaseError};

const KEEP: &str = include_str!("sql/salts_keep.sql");
const READ: &str = include_str!("sql/salts_read.sql");
/// 96 bits: two of a million visitors a day share an id once in a hundred million billion days.
const ID_BYTES: usize = 12;

type Salt = [u8; 32];

/// The salts of today and tomorrow.
pub struct Salts {
    by_day: ArcSwap<BTreeMap<Day, Salt>>,
    /// Until the database has been heard: ids then differ between collectors and restarts.
    own: Salt,
}

impl Salts {
    pub fn new() -> Result<Self, getrandom::Error> {
        Ok(Self { by_day: ArcSwap::default(), own: random_salt()? })
    }

    /// Makes the salts of today and tomorrow, destroys those of the day before yesterday and older, and reads the rest.
    pub async fn refresh(&self, database: &Database, today: Day) -> Result<(), DatabaseError> {
        let salts: Vec<Vec<u8>> = (0..2)
            .map(|_| random_salt().map(|salt| salt.to_vec()))
            .collect::<Result<_, _>>()
            .map_err(|error| DatabaseError::Migration(format!("no random bytes: {error}")))?;
        let client = database.client().await?;
        client.execute_typed(KEEP, &[(&today, Type::INT4), (&salts, Type::BYTEA_ARRAY)]).await?;
        let mut by_day = BTreeMap::new();
        for row in client.query_typed(READ, &[]).await? {
            if let Ok(salt) = Salt::try_from(row.try_get::<_, &[u8]>("salt")?) {
                by_day.insert(row.try_get("day")?, salt);
            }
        }
        self.by_day.store(by_day.into());
        Ok(())
    }

    /// The id of an anonymous visitor on `day`.
    pub fn visitor_id(&self, day: Day, source: &str, ip: IpAddr, user_agent: &str) -> String {
        let mut hash = Sha256::new();
        if let Some(salt) = self.by_day.load().get(&day) {
            hash.update(salt);
        } else {
            hash.update(self.own);
            hash.update(day.to_be_bytes());
        }
        for part in [source, user_agent] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        match ip {
            IpAddr::V4(ip) => hash.update(ip.octets()),
            IpAddr::V6(ip) => hash.update(ip.octets()),
        }
        let digest: [u8; 32] = hash.finalize().into();
        URL_SAFE_NO_PAD.encode(&digest[..ID_BYTES])
    }
}

fn random_salt() -> Result<Salt, getrandom::Error> {
    let mut salt = Salt::default();
    getrandom::fill(&mut salt)?;
    Ok(salt)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_stable_for_a_day_and_differs_by_every_part() {
        let salts = Salts::new().expect("random bytes");
        let ip = IpAddr::from([203, 0, 113, 7]);
        let id = salts.visitor_id(1, "web", ip, "UA");
        assert_eq!(id.len(), 16);
        assert_eq!(id, salts.visitor_id(1, "web", ip, "UA"));
        for other in [
            salts.visitor_id(2, "web", ip, "UA"),
            salts.visitor_id(1, "app", ip, "UA"),
            salts.visitor_id(1, "web", IpAddr::from([203, 0, 113, 8]), "UA"),
            salts.visitor_id(1, "web", ip, "AU"),
            Salts::new().expect("random bytes").visitor_id(1, "web", ip, "UA"),
        ] {
            assert_ne!(id, other);
        }
    }
}
