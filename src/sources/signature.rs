//! Whether a webhook comes from whom it says: how each service signs, always by HMAC with a shared secret.
//!
//! ```text
//! service     headers                                                        signed, with
//! stripe      Stripe-Signature: t=SECONDS,v1=HEX[,v1=HEX...]                 "SECONDS.BODY", SHA-256
//! github      X-Hub-Signature-256: sha256=HEX                                BODY, SHA-256
//! shopify     X-Shopify-Hmac-Sha256: BASE64                                  BODY, SHA-256
//! slack       X-Slack-Signature: v0=HEX, X-Slack-Request-Timestamp: SECONDS  "v0:SECONDS:BODY", SHA-256
//! intercom    X-Hub-Signature: sha1=HEX                                      BODY, SHA-1
//! standard    Webhook-Signature: v1,BASE64[ v1,BASE64...],                   "ID.SECONDS.BODY", SHA-256
//!             Webhook-Id: ID, Webhook-Timestamp: SECONDS (or Svix-...)
//! ```
//!
//! The secret's text is the key; that of `standard` is base64 behind `whsec_`. While a service changes its secret, it may sign
//! with both, and so there may be several signatures; of other versions than these they are passed over.
//!
//! Sources: <https://docs.stripe.com/webhooks/signature>,
//! <https://docs.github.com/webhooks/using-webhooks/validating-webhook-deliveries>,
//! <https://shopify.dev/docs/apps/build/webhooks/verify-deliveries>,
//! <https://docs.slack.dev/authentication/verifying-requests-from-slack>,
//! <https://developers.intercom.com/docs/webhooks/webhook-notifications>,
//! <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use data_encoding::HEXLOWER_PERMISSIVE;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::Sha256;

use crate::decode::webhook::{Headers, Service};

/// How far a signature's time may be from ours: what every one of these services recommends. Later, a request that somebody
/// has recorded is worth nothing.
const TOLERANCE_S: u64 = 5 * 60;
/// Signatures that are looked at: a service in the midst of a change sends two.
const CLAIMS_MAX: usize = 16;
/// Before the base64 of a secret of `standard`.
const STANDARD_PREFIX: &str = "whsec_";

/// Why a webhook is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("the webhook has no {0}: its source takes only those that are signed; set the same secret at the service")]
    Missing(&'static str),
    #[error("{0} is not written as that service does: is the source's scheme another one? see `weir source list`")]
    Malformed(&'static str),
    #[error(
        "the webhook was signed more than {TOLERANCE_S} seconds from now: somebody has sent an old one again, or a clock is wrong"
    )]
    Stale,
    #[error(
        "no secret of the source makes this signature: set the one that the service shows by `weir source webhook`; \
         a proxy must not change the body"
    )]
    Wrong,
}

/// What a request claims.
struct Signed {
    /// Before the body, in what was signed.
    prefix: String,
    seconds: Option<i64>,
    signatures: Vec<Vec<u8>>,
}

/// The key that a secret stands for; the error says what it should be.
pub fn key_of(service: Service, secret: &str) -> Result<Vec<u8>, &'static str> {
    if service != Service::Standard {
        return Ok(secret.as_bytes().to_vec());
    }
    let encoded = secret.strip_prefix(STANDARD_PREFIX).unwrap_or(secret);
    STANDARD.decode(encoded).map_err(|_| "base64, mostly behind whsec_")
}

/// Whether one of the service's `keys` has signed `body` just now, by the clock `now_s`.
pub fn verify<'k, 'h>(
    service: Service,
    keys: impl Iterator<Item = &'k [u8]>,
    headers: &impl Headers<'h>,
    body: &[u8],
    now_s: i64,
) -> Result<(), Fault> {
    let signed = Signed::read(service, headers)?;
    if signed.seconds.is_some_and(|seconds| seconds.abs_diff(now_s) > TOLERANCE_S) {
        return Err(Fault::Stale);
    }
    let is_of = |key: &[u8]| match service {
        Service::Intercom => signed.is_made_by::<Hmac<Sha1>>(key, body),
        _ => signed.is_made_by::<Hmac<Sha256>>(key, body),
    };
    for key in keys {
        if is_of(key) {
            return Ok(());
        }
    }
    Err(Fault::Wrong)
}

impl Signed {
    fn read<'h>(service: Service, headers: &impl Headers<'h>) -> Result<Self, Fault> {
        let header =
            |label, names: &[&str]| headers.first(names).ok_or(Fault::Missing(label)).map(|value| (label, value));
        let (label, value) = match service {
            Service::Stripe => header("Stripe-Signature", &["stripe-signature"]),
            Service::Github => header("X-Hub-Signature-256", &["x-hub-signature-256"]),
            Service::Shopify => header("X-Shopify-Hmac-Sha256", &["x-shopify-hmac-sha256"]),
            Service::Slack => header("X-Slack-Signature", &["x-slack-signature"]),
            Service::Intercom => header("X-Hub-Signature", &["x-hub-signature"]),
            Service::Standard => header("Webhook-Signature", &["webhook-signature", "svix-signature"]),
        }?;
        let hex = |prefix: &str, text: &str| HEXLOWER_PERMISSIVE.decode(text.strip_prefix(prefix)?.as_bytes()).ok();
        let base64 = |prefix: &str, text: &str| STANDARD.decode(text.strip_prefix(prefix)?).ok();
        let (prefix, seconds, signatures): (_, _, Vec<_>) = match service {
            Service::Stripe => {
                let parts = || value.split(',').map(str::trim);
                let time = parts().find_map(|part| part.strip_prefix("t=")).ok_or(Fault::Malformed(label))?;
                let signatures = parts().filter_map(|part| hex("v1=", part)).take(CLAIMS_MAX);
                (format!("{time}."), Some(time), signatures.collect())
            }
            Service::Slack => {
                let (_, time) = header("X-Slack-Request-Timestamp", &["x-slack-request-timestamp"])?;
                (format!("v0:{time}:"), Some(time), hex("v0=", value).into_iter().collect())
            }
            Service::Standard => {
                let (_, id) = header("Webhook-Id", &["webhook-id", "svix-id"])?;
                let (_, time) = header("Webhook-Timestamp", &["webhook-timestamp", "svix-timestamp"])?;
                let signatures = value.split(' ').filter_map(|part| base64("v1,", part)).take(CLAIMS_MAX);
                (format!("{id}.{time}."), Some(time), signatures.collect())
            }
            Service::Github => (String::new(), None, hex("sha256=", value).into_iter().collect()),
            Service::Intercom => (String::new(), None, hex("sha1=", value).into_iter().collect()),
            Service::Shopify => (String::new(), None, base64("", value).into_iter().collect()),
        };
        let seconds = seconds.map(|time| time.parse().map_err(|_| Fault::Malformed(label))).transpose()?;
        if signatures.is_empty() {
            return Err(Fault::Malformed(label));
        }
        Ok(Self { prefix, seconds, signatures })
    }

    /// In constant time, as `verify_slice` promises: how much of a guess is right cannot be seen.
    fn is_made_by<M: Mac + KeyInit + Clone>(&self, key: &[u8], body: &[u8]) -> bool {
        let Ok(mut mac) = <M as KeyInit>::new_from_slice(key) else { return false };
        mac.update(self.prefix.as_bytes());
        mac.update(body);
        self.signatures.iter().any(|signature| mac.clone().verify_slice(signature).is_ok())
    }
}

#[cfg(test)]
mod tests;
