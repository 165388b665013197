//! What remote stores answered a short while ago, for planning and for the check of cached plans alike.
//!
//! A cached plan is checked against a listing, so whatever is planned must not come from an older listing than the one
//! its fingerprint was taken from: the plan would pass for current and not be. Three rules see to it. Of all listings
//! that cover a prefix the newest counts. One that could not be kept leaves a mark, and so hides older ones of parts of
//! it. What has to go goes oldest first.

use std::collections::HashMap;
use std::iter::successors;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{Error, ObjectMeta, Result};
use parking_lot::Mutex;

/// A listing of more objects than this is not kept.
pub const MAX_LISTING: usize = 50_000;
/// Objects of all kept listings of a store; about 300 bytes each.
const MAX_OBJECTS: usize = 200_000;
const MAX_ENTRIES: usize = 4096;

/// Listings and sizes of objects of one store, each trusted for the same time.
#[derive(Debug)]
pub struct Listings {
    ttl: Duration,
    entries: Mutex<HashMap<Key, Entry>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    /// All objects below a prefix.
    Below(Path),
    Object(Path),
}

#[derive(Debug)]
struct Entry {
    /// When the store was asked, and not when it had answered.
    asked: Instant,
    /// `None` for a listing that was too long.
    objects: Option<Arc<[ObjectMeta]>>,
}

impl Entry {
    fn weight(&self) -> usize {
        self.objects.as_ref().map_or(0, |objects| objects.len())
    }
}

impl Listings {
    pub fn new(ttl: Duration) -> Self {
        Self { ttl, entries: Mutex::default() }
    }

    /// The objects below `prefix`, from a listing of it or of a prefix above it.
    pub fn below(&self, prefix: &Path, now: Instant) -> Option<Vec<ObjectMeta>> {
        let (listed, objects) = {
            let entries = self.entries.lock();
            let (listed, entry) = ancestors(prefix)
                .filter_map(|path| entries.get(&Key::Below(path.clone())).map(|entry| (path, entry)))
                .filter(|(_, entry)| self.is_fresh(entry, now))
                .max_by_key(|(_, entry)| entry.asked)?;
            (listed, Arc::clone(entry.objects.as_ref()?))
        };
        if listed == *prefix {
            return Some(objects.to_vec());
        }
        let is_below =
            |object: &&ObjectMeta| object.location != *prefix && object.location.prefix_matches(prefix);
        Some(objects.iter().filter(is_below).cloned().collect())
    }

    /// The object at `path`.
    pub fn object(&self, path: &Path, now: Instant) -> Option<ObjectMeta> {
        let entries = self.entries.lock();
        let entry = entries.get(&Key::Object(path.clone()))?;
        if !self.is_fresh(entry, now) {
            return None;
        }
        entry.objects.as_ref()?.first().cloned()
    }

    /// Keeps what the store said of one object.
    pub fn keep_object(&self, path: &Path, asked: Instant, object: ObjectMeta) {
        self.keep(Key::Object(path.clone()), asked, Some(Arc::from([object])));
    }

    /// Passes on what a store lists below `prefix`, and keeps it.
    pub fn keep_below(
        self: Arc<Self>,
        prefix: Path,
        asked: Instant,
        mut objects: BoxStream<'static, Result<ObjectMeta>>,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        stream::once(async move {
            let mut whole: Vec<ObjectMeta> = vec![];
            while whole.len() <= MAX_LISTING {
                match objects.try_next().await? {
                    Some(object) => whole.push(object),
                    None => {
                        self.keep(Key::Below(prefix), asked, Some(Arc::from(whole.as_slice())));
                        return Ok::<_, Error>(replay(whole));
                    }
                }
            }
            self.keep(Key::Below(prefix), asked, None);
            Ok(replay(whole).chain(objects).boxed())
        })
        .try_flatten()
        .boxed()
    }

    /// An object is gone that was listed: what is known of it and around it is out of date.
    pub fn forget(&self, path: &Path, now: Instant) {
        let mut entries = self.entries.lock();
        entries.remove(&Key::Object(path.clone()));
        for prefix in ancestors(path) {
            if let Some(entry) = entries.get_mut(&Key::Below(prefix)) {
                *entry = Entry { asked: now, objects: None };
            }
        }
    }

    fn keep(&self, key: Key, asked: Instant, objects: Option<Arc<[ObjectMeta]>>) {
        let mut entries = self.entries.lock();
        entries.retain(|_, entry| self.is_fresh(entry, asked));
        if entries.get(&key).is_some_and(|kept| kept.asked >= asked) {
            return;
        }
        entries.insert(key, Entry { asked, objects });
        while entries.len() > MAX_ENTRIES || entries.values().map(Entry::weight).sum::<usize>() > MAX_OBJECTS
        {
            let oldest = entries.iter().min_by_key(|(_, entry)| entry.asked).map(|(key, _)| key.clone());
            match oldest {
                Some(oldest) => entries.remove(&oldest),
                None => return,
            };
        }
    }

    fn is_fresh(&self, entry: &Entry, now: Instant) -> bool {
        now.saturating_duration_since(entry.asked) < self.ttl
    }
}

/// A listing from memory.
pub fn replay(objects: Vec<ObjectMeta>) -> BoxStream<'static, Result<ObjectMeta>> {
    stream::iter(objects.into_iter().map(Ok)).boxed()
}

/// `path` and the prefixes above it.
fn ancestors(path: &Path) -> impl Iterator<Item = Path> {
    successors(Some(path.clone()), Path::parent)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(5);

    fn object(path: &str) -> ObjectMeta {
        ObjectMeta {
            location: Path::from(path),
            last_modified: std::time::SystemTime::UNIX_EPOCH.into(),
            size: 1,
            e_tag: None,
            version: None,
        }
    }

    async fn list(listings: &Arc<Listings>, prefix: &str, asked: Instant, paths: &[&str]) {
        let objects: Vec<_> = paths.iter().map(|path| Ok(object(path))).collect();
        let kept = Arc::clone(listings).keep_below(Path::from(prefix), asked, stream::iter(objects).boxed());
        assert_eq!(kept.try_collect::<Vec<_>>().await.unwrap().len(), paths.len());
    }

    fn below(listings: &Listings, prefix: &str, now: Instant) -> Option<Vec<String>> {
        let objects = listings.below(&Path::from(prefix), now)?;
        Some(objects.into_iter().map(|object| object.location.to_string()).collect())
    }

    #[tokio::test]
    async fn a_listing_serves_what_lies_below_it_until_it_is_old() {
        let listings = Arc::new(Listings::new(TTL));
        let start = Instant::now();
        list(&listings, "t", start, &["t/y=1/a", "t/y=10/b", "t/y=1"]).await;
        assert_eq!(below(&listings, "t", start).unwrap().len(), 3);
        assert_eq!(below(&listings, "t/y=1", start).unwrap(), ["t/y=1/a"]);
        assert_eq!(below(&listings, "t/y=2", start).unwrap(), Vec::<String>::new());
        for other in ["", "tt", "u"] {
            assert_eq!(below(&listings, other, start), None, "{other}");
        }
        assert!(below(&listings, "t", start + TTL / 2).is_some());
        assert_eq!(below(&listings, "t", start + TTL), None);
    }

    #[tokio::test]
    async fn the_newest_listing_counts() {
        let listings = Arc::new(Listings::new(TTL));
        let start = Instant::now();
        let later = start + Duration::from_secs(1);
        list(&listings, "t/y=1", start, &["t/y=1/old"]).await;
        list(&listings, "t", later, &["t/y=1/new"]).await;
        assert_eq!(below(&listings, "t/y=1", later).unwrap(), ["t/y=1/new"]);
        // An answer that comes late to an earlier question changes nothing.
        list(&listings, "t", start, &["t/y=1/old"]).await;
        assert_eq!(below(&listings, "t", later).unwrap(), ["t/y=1/new"]);
    }

    #[tokio::test]
    async fn a_listing_that_is_too_long_hides_older_ones() {
        let listings = Arc::new(Listings::new(TTL));
        let start = Instant::now();
        let later = start + Duration::from_secs(1);
        list(&listings, "t/y=1", start, &["t/y=1/old"]).await;
        let many: Vec<String> = (0..=MAX_LISTING + 3).map(|number| format!("t/{number}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        list(&listings, "t", later, &many).await;
        assert_eq!(below(&listings, "t", later), None);
        assert_eq!(below(&listings, "t/y=1", later), None);
    }

    #[tokio::test]
    async fn what_is_kept_is_bounded_and_the_oldest_goes_first() {
        let listings = Arc::new(Listings::new(Duration::from_secs(3600)));
        let start = Instant::now();
        for number in 0..MAX_ENTRIES as u64 + 2 {
            let asked = start + Duration::from_millis(number);
            listings.keep_object(&Path::from(format!("o/{number}")), asked, object("o"));
        }
        assert_eq!(listings.entries.lock().len(), MAX_ENTRIES);
        let now = start + Duration::from_secs(60);
        assert!(listings.object(&Path::from("o/1"), now).is_none());
        assert!(listings.object(&Path::from("o/2"), now).is_some());
    }

    #[tokio::test]
    async fn an_object_that_is_gone_makes_its_listings_old() {
        let listings = Arc::new(Listings::new(TTL));
        let start = Instant::now();
        list(&listings, "t", start, &["t/a", "t/b"]).await;
        list(&listings, "u", start, &["u/a"]).await;
        listings.keep_object(&Path::from("t/a"), start, object("t/a"));
        let later = start + Duration::from_secs(1);
        listings.forget(&Path::from("t/a"), later);
        assert_eq!(below(&listings, "t", later), None);
        assert!(listings.object(&Path::from("t/a"), later).is_none());
        assert!(below(&listings, "u", later).is_some());
    }
}
