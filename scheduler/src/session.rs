//! Sessions: what `SET` leaves behind. A session is named by the cookie `arrow_flight_session_id`, which clients that
//! keep cookies send back, and otherwise by the connection. Where several schedulers share their metadata, what a client
//! with a cookie has set at one of them holds at all of them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use lru::LruCache;
use parking_lot::Mutex;
use polarway_common::Error;
use polarway_common::clock::unix_millis;
use polarway_engine::settings::Settings;
use polarway_metastore::follow::{Follower, Seen};
use polarway_metastore::{EventKind, Key, KeyPrefix, MetaStore, Txn};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

/// Flight's conventional cookie for sessions.
pub const COOKIE: &str = "arrow_flight_session_id";

/// Sessions kept; of the caller who has most of them the one unused longest is forgotten first.
const KEPT: usize = 10_000;
const IDLE: Duration = Duration::from_secs(24 * 3600);

/// What is shared of a session goes after this; it counts from the last `SET`.
const SHARED_FOR: Duration = Duration::from_secs(7 * 24 * 3600);

/// What sessions with a cookie are called; others belong to a connection.
const BY_COOKIE: &str = "cookie:";
const BY_CONNECTION: &str = "connection:";

/// See the module's page. Sessions without settings take no space.
#[derive(Debug)]
pub struct Sessions {
    settings: Mutex<Held>,
    shared: Option<Arc<dyn MetaStore>>,
}

/// What the metadata store has of a session.
#[derive(Debug, Serialize, Deserialize)]
struct Stored {
    settings: Settings,
    /// Milliseconds since 1970.
    set_at: u64,
}

/// The name of the session with this cookie of the caller that [`Caller::owner`](polarway_common::Caller::owner) names.
pub fn by_cookie(caller: &str, id: &str) -> String {
    match caller {
        "" => format!("{BY_COOKIE}{id}"),
        // No cookie has a blank.
        caller => format!("{BY_COOKIE}{caller} {id}"),
    }
}

/// The name of the same caller's session on a connection, which others may share: proxies do so.
pub fn by_connection(caller: &str, id: u64) -> String {
    match caller {
        "" => format!("{BY_CONNECTION}{id}"),
        caller => format!("{BY_CONNECTION}{caller} {id}"),
    }
}

/// Whose session this is.
fn owner_of(session: &str) -> &str {
    let named = session.strip_prefix(BY_COOKIE).or_else(|| session.strip_prefix(BY_CONNECTION));
    named.and_then(|named| named.split_once(' ')).map_or("", |(caller, _)| caller)
}

/// What a session has set, and when it was used last.
type Session = (Settings, Instant);

/// Sessions by caller: one who opens many pushes out its own.
#[derive(Debug)]
struct Held {
    most: usize,
    count: usize,
    /// None of them is empty.
    of: HashMap<String, LruCache<String, Session>>,
}

impl Held {
    fn new(most: usize) -> Self {
        Self { most, count: 0, of: HashMap::new() }
    }

    fn get_mut(&mut self, session: &str) -> Option<&mut Session> {
        self.of.get_mut(owner_of(session))?.get_mut(session)
    }

    fn put(&mut self, session: &str, held: Session) {
        let owner = owner_of(session);
        let is_new = self.of.get(owner).is_none_or(|sessions| !sessions.contains(session));
        if is_new && self.count >= self.most {
            self.make_room_for(owner);
        }
        self.count += usize::from(is_new);
        let sessions = self.of.entry(owner.to_owned()).or_insert_with(LruCache::unbounded);
        sessions.put(session.to_owned(), held);
    }

    fn make_room_for(&mut self, owner: &str) {
        let most = self.of.iter_mut().max_by_key(|(caller, sessions)| {
            let ours = caller.as_str() == owner;
            (sessions.len() + usize::from(ours), ours)
        });
        let Some((caller, sessions)) = most else { return };
        let caller = caller.clone();
        self.count -= usize::from(sessions.pop_lru().is_some());
        if sessions.is_empty() {
            self.of.remove(&caller);
        }
    }
}

impl Sessions {
    /// Of this process alone, unless there is a store to share them by.
    pub fn new(shared: Option<Arc<dyn MetaStore>>) -> Self {
        Self { settings: Mutex::new(Held::new(KEPT)), shared }
    }

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

    pub async fn set(&self, session: &str, name: &str, value: &str) {
        self.set_here(session, name, value);
        self.share(session).await;
    }

    fn set_here(&self, session: &str, name: &str, value: &str) {
        let mut all = self.settings.lock();
        let mut settings = all.get_mut(session).map(|(settings, _)| settings.clone()).unwrap_or_default();
        settings.insert(name.to_owned(), value.to_owned());
        all.put(session, (settings, Instant::now()));
    }

    pub async fn reset(&self, session: &str, name: &str) {
        if let Some((settings, _)) = self.settings.lock().get_mut(session) {
            settings.remove(name);
        }
        self.share(session).await;
    }

    /// Tells the others. A store that is away leaves a session to this process.
    async fn share(&self, session: &str) {
        let (Some(meta), true) = (&self.shared, session.starts_with(BY_COOKIE)) else { return };
        let key = Key::Session { id: session.to_owned() }.encode();
        let settings = self.settings(session);
        let txn = match serde_json::to_vec(&Stored { settings, set_at: unix_millis(SystemTime::now()) }) {
            Ok(stored) => Txn::new().put(key, stored),
            Err(error) => return tracing::warn!(%error, "a session cannot be written"),
        };
        if let Err(error) = meta.txn(txn).await {
            tracing::warn!(%error, "other schedulers do not know what a session has set");
        }
    }

    /// Learns what others were told, until `stop`.
    pub async fn follow(&self, stop: CancellationToken) -> Result<(), Error> {
        let Some(meta) = &self.shared else { return Ok(()) };
        let mut sessions = Follower::new(Arc::clone(meta), KeyPrefix::Sessions.encode());
        loop {
            let seen = tokio::select! {
                seen = sessions.next() => seen,
                () = stop.cancelled() => return Ok(()),
            };
            match seen {
                Seen::All(entries) => {
                    for (key, found) in entries {
                        if !self.learn(&key, &found.value)
                            && let Err(error) = meta.txn(Txn::new().delete(key)).await
                        {
                            tracing::debug!(%error, "an old session was not removed");
                        }
                    }
                }
                Seen::One(event) => {
                    if let EventKind::Put(value) = event.kind {
                        self.learn(&event.key, &value);
                    }
                }
            }
        }
    }

    /// Whether it is worth keeping.
    fn learn(&self, key: &str, value: &[u8]) -> bool {
        let (Ok(Key::Session { id }), Ok(stored)) =
            (Key::decode(key), serde_json::from_slice::<Stored>(value))
        else {
            return false;
        };
        if u128::from(unix_millis(SystemTime::now()).saturating_sub(stored.set_at)) >= SHARED_FOR.as_millis()
        {
            return false;
        }
        self.settings.lock().put(&id, (stored.settings, Instant::now()));
        true
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
    use polarway_metastore::EmbeddedMetaStore;

    use super::*;

    #[tokio::test]
    async fn settings_belong_to_their_session() {
        let sessions = Sessions::new(None);
        sessions.set("a", "polarway.route", "staged").await;
        assert_eq!(sessions.settings("a").get("polarway.route").unwrap(), "staged");
        assert!(sessions.settings("b").is_empty());
        sessions.reset("a", "polarway.route").await;
        assert!(sessions.settings("a").is_empty());
    }

    #[tokio::test]
    async fn what_was_set_at_one_scheduler_holds_at_another() {
        let directory = tempfile::tempdir().unwrap();
        let store = EmbeddedMetaStore::open(directory.path().join("meta.redb")).await.unwrap();
        let store: Arc<dyn MetaStore> = Arc::new(store);
        let one = Sessions::new(Some(Arc::clone(&store)));
        let other = Arc::new(Sessions::new(Some(store)));
        one.set(&by_cookie("", "before"), "polarway.route", "staged").await;
        one.set("connection", "polarway.route", "staged").await;
        let stop = CancellationToken::new();
        let following = tokio::spawn({
            let (other, stop) = (Arc::clone(&other), stop.clone());
            async move { other.follow(stop).await }
        });
        one.set(&by_cookie("", "after"), "polarway.route", "direct").await;
        let value = |session: &str| other.settings(session).get("polarway.route").cloned();
        while value(&by_cookie("", "after")).is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(value(&by_cookie("", "before")).as_deref(), Some("staged"));
        assert_eq!(value("connection"), None);
        one.reset(&by_cookie("", "after"), "polarway.route").await;
        while value(&by_cookie("", "after")).is_some() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        stop.cancel();
        following.await.unwrap().unwrap();
    }

    #[test]
    fn row_47_who_opens_many_sessions_pushes_out_its_own() {
        let mut held = Held::new(10);
        let new = || (Settings::new(), Instant::now());
        let (mine, here) = (by_cookie("beta/ana", "7"), by_connection("bob", 7));
        held.put(&mine, new());
        held.put(&here, new());
        for number in 0..1000 {
            held.put(&by_cookie("acme/ana", &number.to_string()), new());
        }
        assert!(held.get_mut(&mine).is_some() && held.get_mut(&here).is_some());
        assert!(held.get_mut(&by_cookie("acme/ana", "991")).is_none());
        assert!(held.get_mut(&by_cookie("acme/ana", "992")).is_some());
        // Who comes later has as much room as who was there before.
        for number in 0..1000 {
            held.put(&by_connection("", number), new());
        }
        let left = |owner: &str| held.of[owner].len();
        assert_eq!((left("beta/ana"), left("bob"), left("acme/ana"), left("")), (1, 1, 4, 4));
        assert_eq!(held.count, 10);
        held.put(&mine, new());
        assert_eq!(held.count, 10);
    }

    #[test]
    fn row_47_a_session_is_one_callers() {
        let names = ["", "ana", "acme/ana"];
        let all: std::collections::HashSet<String> =
            names.iter().flat_map(|name| [by_cookie(name, "7"), by_connection(name, 7)]).collect();
        assert_eq!(all.len(), 2 * names.len());
        for name in names {
            assert_eq!((owner_of(&by_cookie(name, "7:1")), owner_of(&by_connection(name, 7))), (name, name));
        }
    }

    #[test]
    fn the_cookie_is_found_among_others() {
        assert_eq!(from_cookies("x=1; arrow_flight_session_id=abc; y=2"), Some("abc"));
        assert_eq!(from_cookies("arrow_flight_session_id=\"abc\""), Some("abc"));
        assert_eq!(from_cookies("arrow_flight_session_id="), None);
        assert_eq!(from_cookies("session=abc"), None);
    }
}
