//! Sessions: what `SET` leaves behind. A session is named by the cookie `arrow_flight_session_id`, which clients that
//! keep cookies send back, and otherwise by the connection.

use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use lru::LruCache;
use parking_lot::Mutex;
use polarway_engine::settings::Settings;

/// Flight's conventional cookie for sessions.
pub const COOKIE: &str = "arrow_flight_session_id";

/// Sessions kept; the one unused longest is forgotten first.
const KEPT: NonZeroUsize = NonZeroUsize::new(10_000).unwrap();
const IDLE: Duration = Duration::from_secs(24 * 3600);

/// See the module's page. Sessions without settings take no space.
#[derive(Debug)]
pub struct Sessions {
    settings: Mutex<LruCache<String, (Settings, Instant)>>,
}

impl Default for Sessions {
    fn default() -> Self {
        Self { settings: Mutex::new(LruCache::new(KEPT)) }
    }
}

impl Sessions {
    pub fn settings(&self, session: &str) -> Settings {
        let mut all = self.settings.lock();
        match all.get_mut(session) {
            Some((settings, used)) if used.elapsed() < IDLE => {
                *used = Instant::now();
                settings.clone()
            }
            _ => Settings::new(),
        }
    }

    pub fn set(&self, session: &str, name: &str, value: &str) {
        let mut all = self.settings.lock();
        let (settings, used) =
            all.get_or_insert_mut(session.to_owned(), || (Settings::new(), Instant::now()));
        settings.insert(name.to_owned(), value.to_owned());
        *used = Instant::now();
    }

    pub fn reset(&self, session: &str, name: &str) {
        if let Some((settings, _)) = self.settings.lock().get_mut(session) {
            settings.remove(name);
        }
    }
}

/// The session id in a `cookie` header.
pub fn from_cookies(header: &str) -> Option<&str> {
    header.split(';').find_map(|pair| {
        let (name, value) = pair.trim().split_once('=')?;
        let value = value.trim_matches('"');
        let valid = !value.is_empty() && value.len() <= 64 && value.bytes().all(|b| b.is_ascii_graphic());
        (name == COOKIE && valid).then_some(value)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_belong_to_their_session() {
        let sessions = Sessions::default();
        sessions.set("a", "polarway.route", "staged");
        assert_eq!(sessions.settings("a").get("polarway.route").unwrap(), "staged");
        assert!(sessions.settings("b").is_empty());
        sessions.reset("a", "polarway.route");
        assert!(sessions.settings("a").is_empty());
    }

    #[test]
    fn the_cookie_is_found_among_others() {
        assert_eq!(from_cookies("x=1; arrow_flight_session_id=abc; y=2"), Some("abc"));
        assert_eq!(from_cookies("arrow_flight_session_id=\"abc\""), Some("abc"));
        assert_eq!(from_cookies("arrow_flight_session_id="), None);
        assert_eq!(from_cookies("session=abc"), None);
    }
}
