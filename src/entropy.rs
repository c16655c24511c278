//! Randomness as a parameter, so that a simulation can repeat itself.

use std::io;
use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use uuid::Uuid;

/// Where random bytes come from.
pub trait Entropy: Send + Sync {
    fn fill(&self, bytes: &mut [u8]) -> io::Result<()>;
}

/// The operating system's generator.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&self, bytes: &mut [u8]) -> io::Result<()> {
        getrandom::fill(bytes).map_err(io::Error::other)
    }
}

/// A random UUID, version 4.
pub fn random_id(entropy: &dyn Entropy) -> io::Result<Uuid> {
    let mut bytes = [0; 16];
    entropy.fill(&mut bytes)?;
    Ok(uuid::Builder::from_random_bytes(bytes).into_uuid())
}

/// `BYTES` random bytes as text that is safe in URLs, cookies, shells and SQL. Guessing is hopeless from 16 on.
pub fn secret<const BYTES: usize>(entropy: &dyn Entropy) -> io::Result<String> {
    let mut bytes = [0; BYTES];
    entropy.fill(&mut bytes)?;
    Ok(BASE64URL_NOPAD.encode(&bytes))
}

/// Between half of `duration` and the whole: lanes and collectors must not knock in step.
pub fn jitter(entropy: &dyn Entropy, duration: Duration) -> Duration {
    let mut random = [0];
    // Without randomness there is no jitter, and no harm.
    let _ = entropy.fill(&mut random);
    duration.mul_f64(0.5 + f64::from(random[0]) / 510.0)
}
