//! Lists, page by page at one revision.

use etcd_client::{GetOptions, GetResponse};

use super::space::{Range, revision, versioned};
use super::{Client, Connection, Failed, fault};
use crate::error::{MetaStoreError, Result};
use crate::store::{Snapshot, Versioned};

/// An answer of this size is neither slow nor many.
const PAGE_BYTES: usize = 1 << 20;
const FIRST_PAGE: i64 = 256;
const LARGEST_PAGE: i64 = 10_000;
/// A list that takes longer than the revisions are kept begins again so often.
const ATTEMPTS: usize = 3;

/// The entries of one page; `None` if the revision is no longer kept.
type Page = Option<GetResponse>;

pub(super) async fn list(connection: &Connection, prefix: &str) -> Result<Snapshot> {
    for _ in 0..ATTEMPTS {
        if let Some(snapshot) = attempt(connection, connection.space.range(prefix)).await? {
            return Ok(snapshot);
        }
        tracing::debug!(prefix, "the revision of a list was compacted meanwhile; again");
    }
    let detail = "its revisions are compacted faster than they are listed";
    Err(fault::unavailable(&connection.place, detail))
}

async fn attempt(connection: &Connection, mut range: Range) -> Result<Option<Snapshot>> {
    let (mut at, mut size) = (0, FIRST_PAGE);
    let mut snapshot: Option<Snapshot> = None;
    loop {
        let (page, read) = page(connection, &range, at, size).await?;
        let Some(page) = page else { return Ok(None) };
        let header = page.header().ok_or_else(|| strange(connection, "an answer has no revision"))?;
        let snapshot = snapshot.get_or_insert_with(|| {
            at = header.revision();
            Snapshot { revision: revision(at), entries: Vec::new() }
        });
        for found in page.kvs() {
            snapshot
                .entries
                .push((connection.space.decode(&connection.place, found.key())?, versioned(found)));
        }
        match page.kvs().last() {
            Some(last) if page.more() => range = range.after(last.key()),
            _ => return Ok(Some(std::mem::replace(snapshot, Snapshot { revision: 0, entries: Vec::new() }))),
        }
        size = next_size(read, page.kvs().iter().map(|it| it.key().len() + it.value().len()).sum());
    }
}

/// A page, and the number of entries that it may have: as many as asked for, or fewer if these are too long together.
async fn page(connection: &Connection, range: &Range, at: i64, mut size: i64) -> Result<(Page, i64)> {
    loop {
        let options = GetOptions::new().with_range(range.end.clone()).with_revision(at).with_limit(size);
        let ask = |client: Client| {
            let (start, options) = (range.start.clone(), options.clone());
            async move {
                let found = client.kv().get(start, Some(options)).await;
                match found {
                    Ok(page) => Ok(Some(Some(page))),
                    Err(error) if fault::is_compacted(&error) => Ok(Some(None)),
                    Err(error) if fault::is_too_long(&error) && size > 1 => Ok(None),
                    Err(error) => Err(Failed::Etcd(error)),
                }
            }
        };
        if let Some(page) = connection.ask(ask).await? {
            return Ok((page, size));
        }
        size = (size / 2).max(1);
    }
}

/// How many entries to ask for after a page of so many had so many bytes.
fn next_size(entries: i64, bytes: usize) -> i64 {
    let each = bytes / usize::try_from(entries).unwrap_or(1).max(1) + 1;
    let fitting = i64::try_from(PAGE_BYTES / each).unwrap_or(LARGEST_PAGE);
    fitting.clamp(1, LARGEST_PAGE)
}

/// The value of one key.
pub(super) async fn get(connection: &Connection, key: &str) -> Result<Option<Versioned>> {
    let key = connection.space.encode(key);
    let ask = |client: Client| {
        let key = key.clone();
        async move { client.kv().get(key, None).await.map_err(Failed::Etcd) }
    };
    Ok(connection.ask(ask).await?.kvs().first().map(versioned))
}

/// The store's revision, as of a read that the leader took part in.
pub(super) async fn now(connection: &Connection) -> Result<u64> {
    let key = connection.space.encode("");
    let ask = |client: Client| {
        let (key, options) = (key.clone(), GetOptions::new().with_keys_only());
        async move { client.kv().get(key, Some(options)).await.map_err(Failed::Etcd) }
    };
    let answer = connection.ask(ask).await?;
    let header = answer.header().ok_or_else(|| strange(connection, "an answer has no revision"))?;
    Ok(revision(header.revision()))
}

fn strange(connection: &Connection, detail: &str) -> MetaStoreError {
    MetaStoreError::Engine { place: connection.place.clone(), detail: detail.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_of_about_one_size() {
        assert_eq!(next_size(256, 256 * 1023), 1024);
        assert_eq!(next_size(1, 2 << 20), 1);
        assert_eq!(next_size(256, 0), LARGEST_PAGE);
        assert_eq!(next_size(0, 0), LARGEST_PAGE);
    }
}
