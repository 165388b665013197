//! Tests of the whole log on simulated storage; those of one part are beside it.

mod chaos;
mod damage;
mod faults;
mod flow;
mod sim;

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::{Position, Recovered, Wal, WalError, WalOptions};

fn options(directory: &Path) -> WalOptions {
    WalOptions { directory: directory.to_owned(), segment_bytes: 400, max_bytes: 1 << 30, queue: 4096 }
}

/// Runs on this thread: nothing here needs timers or the network.
fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work)
}

/// A payload that no other record has, and that says whether a byte of it changed.
fn payload(id: u64, len: usize) -> Bytes {
    let mut bytes = id.to_le_bytes().to_vec();
    bytes.extend((0..len as u64).map(|i| (id.wrapping_mul(31) + i) as u8));
    Bytes::from(bytes)
}

/// The id of a payload, after checking the rest of it.
fn id_of(bytes: &[u8]) -> u64 {
    let id = u64::from_le_bytes(bytes[..8].try_into().unwrap());
    assert_eq!(bytes, payload(id, bytes.len() - 8), "payload of record {id} changed");
    id
}

type Replayed = Vec<(Position, Vec<u8>)>;

fn reopen(disk: Arc<dyn super::disk::Disk>, at: &Path) -> Result<(Wal, Recovered, Replayed), WalError> {
    reopen_with(disk, options(at))
}

fn reopen_with(
    disk: Arc<dyn super::disk::Disk>,
    options: WalOptions,
) -> Result<(Wal, Recovered, Replayed), WalError> {
    let mut replayed = Replayed::new();
    let (wal, recovered) = Wal::open_on(disk, options, |position, bytes| {
        replayed.push((position, bytes.to_vec()));
        Ok(())
    })?;
    assert_eq!(recovered.records, replayed.len() as u64);
    assert_eq!(recovered.bytes, replayed.iter().map(|(_, bytes)| bytes.len() as u64).sum::<u64>());
    let mut next = recovered.begin;
    for (position, bytes) in &replayed {
        assert_eq!(*position, next, "positions must follow each other");
        next = position.after(bytes.len());
    }
    assert_eq!(wal.end(), next);
    Ok((wal, recovered, replayed))
}

fn ids(replayed: &Replayed) -> Vec<u64> {
    replayed.iter().map(|(_, bytes)| id_of(bytes)).collect()
}
