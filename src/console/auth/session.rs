//! Who is signed in.
//!
//! A session holds the person's password, because every query logs in anew as that person. It lives in this process's
//! memory and nowhere else: after a restart people sign in again.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use data_encoding::BASE64URL_NOPAD;
use sha2::{Digest, Sha256};

use crate::console::lock;
use crate::entropy::{self, Entropy};

/// Of one person, on all their devices; the one used longest ago goes.
const PERSON_SESSIONS_MAX: usize = 10;
/// Of everyone: some hundred bytes each.
const SESSIONS_MAX: usize = 10_000;
/// However busy: then the password is asked again.
const LIFETIME: Duration = Duration::from_secs(7 * 24 * 3_600);
/// How long it is believed that a person may still be here. `weir analyst disable` works within this.
const STANDING_AGE_MAX: Duration = Duration::from_secs(10);
const TOKEN_BYTES: usize = 32;

/// One person on one device.
pub struct Session {
    pub role: String,
    pub password: String,
    /// What forms carry, so that no other site can send them.
    pub csrf: String,
    pub address: IpAddr,
    pub agent: String,
    pub opened: Instant,
    id: Id,
    changing: Mutex<Changing>,
}

struct Changing {
    seen: Instant,
    checked: Instant,
    proved: Instant,
    is_operator: bool,
}

type Id = [u8; 32];

/// All sessions of this process. Tokens are known by their hashes.
pub struct Sessions {
    by_id: Mutex<HashMap<Id, Arc<Session>>>,
    idle_max: Duration,
}

fn id_of(token: &str) -> Id {
    Sha256::digest(token.as_bytes()).into()
}

/// Of a session, or a link.
pub fn secret(entropy: &dyn Entropy) -> io::Result<String> {
    entropy::secret::<TOKEN_BYTES>(entropy)
}

/// What a new session begins with.
pub struct Opening {
    pub role: String,
    pub password: String,
    pub is_operator: bool,
    pub address: IpAddr,
    pub agent: String,
}

impl Session {
    /// Whether this person may operate weir, as last known.
    pub fn is_operator(&self) -> bool {
        lock(&self.changing).is_operator
    }

    /// Seconds since the last request.
    pub fn idle_s(&self) -> u64 {
        lock(&self.changing).seen.elapsed().as_secs()
    }

    /// Whether it is time to ask again what this person may do.
    pub fn needs_check(&self) -> bool {
        lock(&self.changing).checked.elapsed() > STANDING_AGE_MAX
    }

    /// Whether it is time to try the password again. Then others need not, for a while.
    pub fn takes_proof(&self, age_max: Duration) -> bool {
        let mut changing = lock(&self.changing);
        let is_time = changing.proved.elapsed() > age_max;
        if is_time {
            changing.proved = Instant::now();
        }
        is_time
    }

    pub fn checked(&self, is_operator: bool) {
        let mut changing = lock(&self.changing);
        (changing.checked, changing.is_operator) = (Instant::now(), is_operator);
    }

    /// What the person's own page calls it; tells nothing about the token.
    pub fn label(&self) -> String {
        BASE64URL_NOPAD.encode(&self.id[..9])
    }
}

impl Sessions {
    /// Ends each that was not used for `idle_max`.
    pub fn new(idle_max: Duration) -> Self {
        Self { by_id: Mutex::default(), idle_max }
    }

    /// A new session, and its token.
    pub fn open(&self, opening: Opening, entropy: &dyn Entropy) -> io::Result<(String, Arc<Session>)> {
        let token = secret(entropy)?;
        let now = Instant::now();
        let session = Arc::new(Session {
            role: opening.role,
            password: opening.password,
            csrf: secret(entropy)?,
            address: opening.address,
            agent: opening.agent,
            opened: now,
            id: id_of(&token),
            changing: Mutex::new(Changing { seen: now, checked: now, proved: now, is_operator: opening.is_operator }),
        });
        let mut by_id = lock(&self.by_id);
        by_id.retain(|_, session| self.is_alive(session));
        make_room(&mut by_id, PERSON_SESSIONS_MAX, |other| other.role == session.role);
        make_room(&mut by_id, SESSIONS_MAX, |_| true);
        by_id.insert(session.id, Arc::clone(&session));
        Ok((token, session))
    }

    fn is_alive(&self, session: &Session) -> bool {
        session.opened.elapsed() < LIFETIME && lock(&session.changing).seen.elapsed() < self.idle_max
    }

    /// The session of this token, which is used now.
    pub fn find(&self, token: &str) -> Option<Arc<Session>> {
        let session = lock(&self.by_id).get(&id_of(token)).cloned()?;
        if !self.is_alive(&session) {
            self.end(&session);
            return None;
        }
        lock(&session.changing).seen = Instant::now();
        Some(session)
    }

    pub fn end(&self, session: &Session) {
        lock(&self.by_id).remove(&session.id);
    }

    /// Ends all of a person's, but for `kept`.
    pub fn end_others(&self, kept: &Session) {
        lock(&self.by_id).retain(|id, session| session.role != kept.role || *id == kept.id);
    }

    /// Ends all of a person's.
    pub fn end_all(&self, role: &str) {
        lock(&self.by_id).retain(|_, session| session.role != role);
    }

    /// A person's, the one used last first.
    pub fn of(&self, role: &str) -> Vec<Arc<Session>> {
        let mut of: Vec<_> = lock(&self.by_id).values().filter(|session| session.role == role).cloned().collect();
        of.retain(|session| self.is_alive(session));
        of.sort_by_key(|session| session.idle_s());
        of
    }
}

/// Removes those used longest ago, until one more fits.
fn make_room(by_id: &mut HashMap<Id, Arc<Session>>, most: usize, is_meant: impl Fn(&Session) -> bool) {
    while by_id.values().filter(|session| is_meant(session)).count() >= most {
        let oldest = by_id.iter().filter(|(_, session)| is_meant(session)).max_by_key(|(_, session)| session.idle_s());
        let Some(id) = oldest.map(|(id, _)| *id) else { break };
        by_id.remove(&id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::SystemEntropy;

    fn open(sessions: &Sessions, role: &str) -> (String, Arc<Session>) {
        let opening = Opening {
            role: role.to_owned(),
            password: "secret".to_owned(),
            is_operator: false,
            address: IpAddr::from([127, 0, 0, 1]),
            agent: String::new(),
        };
        sessions.open(opening, &SystemEntropy).expect("random bytes")
    }

    #[test]
    fn a_token_is_good_until_its_session_ends() {
        let sessions = Sessions::new(Duration::from_secs(60));
        let (token, session) = open(&sessions, "alice");
        assert_eq!(sessions.find(&token).expect("found").role, "alice");
        assert!(sessions.find(&session.label()).is_none());
        sessions.end(&session);
        assert!(sessions.find(&token).is_none());
        let idle = Sessions::new(Duration::ZERO);
        let (token, _) = open(&idle, "alice");
        assert!(idle.find(&token).is_none(), "unused for too long");
    }

    #[test]
    fn one_person_has_few_and_never_takes_anothers() {
        let sessions = Sessions::new(Duration::from_secs(60));
        let (bobs, _) = open(&sessions, "bob");
        let tokens: Vec<String> = (0..PERSON_SESSIONS_MAX + 5).map(|_| open(&sessions, "alice").0).collect();
        let alive = tokens.iter().filter(|token| sessions.find(token).is_some()).count();
        assert_eq!(alive, PERSON_SESSIONS_MAX);
        let last = sessions.find(tokens.last().expect("some")).expect("the newest stays");
        sessions.end_others(&last);
        assert_eq!(sessions.of("alice").len(), 1);
        assert!(sessions.find(&bobs).is_some());
    }
}
