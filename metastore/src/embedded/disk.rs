//! The durable side: redb, and the only place that knows it.

use std::fs::File;
use std::path::Path;

use bytes::Bytes;
use redb::backends::InMemoryBackend;
use redb::{Builder, Database, ReadableDatabase, ReadableTable, TableDefinition};

use super::mirror::Changes;
use crate::error::{MetaStoreError, Result};
use crate::store::{EventKind, Versioned};

/// Key to the revision of its last write and its value.
const ENTRIES: TableDefinition<&str, (u64, &[u8])> = TableDefinition::new("entries");

/// Key to the lease that it goes with. Leases themselves are kept in memory only.
const LEASED: TableDefinition<&str, u64> = TableDefinition::new("leased");

/// Facts about the store itself.
const FACTS: TableDefinition<&str, u64> = TableDefinition::new("facts");
const REVISION: &str = "revision";
const FORMAT: &str = "format";
/// How often the store has been opened.
const OPENED: &str = "opened";

/// The layout of the tables above.
const FORMAT_VERSION: u64 = 2;
/// The same without leases, which is brought up to date when it is opened.
const FORMAT_WITHOUT_LEASES: u64 = 1;

/// Reads are served from the mirror, so redb needs little memory of its own.
const CACHE_BYTES: usize = 8 << 20;

#[derive(Debug)]
pub(super) struct Disk {
    place: String,
    database: Database,
    opened: u64,
}

/// What preparing a store found.
enum Prepared {
    /// The store can be used; how often it has been opened, with this time.
    Opened(u64),
    /// It is left as it was.
    ForeignFormat(u64),
}

impl Disk {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let place = path.display().to_string();
        let io = |source| MetaStoreError::Io { place: place.clone(), source };
        let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty());
        let directory = directory.unwrap_or(Path::new("."));
        std::fs::create_dir_all(directory).map_err(io)?;
        // The file is small, so that to check it costs little, and what stands in it is worth it.
        let database = builder().set_check_integrity_on_open(true).create(path);
        let database = database.map_err(|error| classify(&place, error))?;
        // Without it a new file's name, and all that is committed to it, can be lost with the machine's power.
        File::open(directory).and_then(|directory| directory.sync_all()).map_err(io)?;
        Self::prepared(database, place)
    }

    pub(super) fn in_memory() -> Result<Self> {
        let place = "in memory".to_owned();
        let database = builder().create_with_backend(InMemoryBackend::new());
        Self::prepared(database.map_err(|error| classify(&place, error))?, place)
    }

    fn prepared(database: Database, place: String) -> Result<Self> {
        match prepare(&database).map_err(|error| classify(&place, error))? {
            Prepared::Opened(opened) => Ok(Self { place, database, opened }),
            Prepared::ForeignFormat(format) => {
                let detail =
                    format!("it has format {format}, and this version reads format {FORMAT_VERSION}");
                Err(MetaStoreError::Corrupt { place, detail })
            }
        }
    }

    /// How often the store has been opened, with this time.
    pub(super) fn opened(&self) -> u64 {
        self.opened
    }

    pub(super) fn place(&self) -> &str {
        &self.place
    }

    /// The revision and every entry.
    pub(super) fn load(&self) -> Result<(u64, Vec<(String, Versioned)>)> {
        load(&self.database).map_err(|error| classify(&self.place, error))
    }

    /// Makes the changes durable; returns once they are.
    pub(super) fn commit(&self, changes: &Changes) -> Result<()> {
        commit(&self.database, changes).map_err(|error| classify(&self.place, error))
    }
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE_BYTES);
    builder
}

/// Creates the tables of a new store, and deletes what went with leases when the store was last open: nobody has kept
/// them alive since.
fn prepare(database: &Database) -> Result<Prepared, redb::Error> {
    let transaction = database.begin_write()?;
    let opened = {
        let mut facts = transaction.open_table(FACTS)?;
        let format = facts.get(FORMAT)?.map(|format| format.value());
        match format {
            None | Some(FORMAT_VERSION | FORMAT_WITHOUT_LEASES) => facts.insert(FORMAT, FORMAT_VERSION)?,
            Some(format) => return Ok(Prepared::ForeignFormat(format)),
        };
        let opened = facts.get(OPENED)?.map_or(0, |opened| opened.value()) + 1;
        facts.insert(OPENED, opened)?;
        let mut entries = transaction.open_table(ENTRIES)?;
        let mut leased = transaction.open_table(LEASED)?;
        let mut ended = false;
        while let Some((key, _)) = leased.pop_first()? {
            entries.remove(key.value())?;
            ended = true;
        }
        if ended {
            let revision = facts.get(REVISION)?.map_or(0, |revision| revision.value());
            facts.insert(REVISION, revision + 1)?;
        }
        opened
    };
    transaction.commit()?;
    Ok(Prepared::Opened(opened))
}

fn load(database: &Database) -> Result<(u64, Vec<(String, Versioned)>), redb::Error> {
    let transaction = database.begin_read()?;
    let revision = transaction.open_table(FACTS)?.get(REVISION)?.map_or(0, |revision| revision.value());
    let mut entries = Vec::new();
    for entry in transaction.open_table(ENTRIES)?.iter()? {
        let (key, value) = entry?;
        let (revision, bytes) = value.value();
        let value = Bytes::copy_from_slice(bytes);
        entries.push((key.value().to_owned(), Versioned { value, revision }));
    }
    Ok((revision, entries))
}

fn commit(database: &Database, changes: &Changes) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    {
        let mut entries = transaction.open_table(ENTRIES)?;
        let mut leased = transaction.open_table(LEASED)?;
        for event in &changes.events {
            match &event.kind {
                EventKind::Put(value) => {
                    entries.insert(event.key.as_str(), (changes.revision, value.as_ref()))?;
                }
                EventKind::Delete => {
                    entries.remove(event.key.as_str())?;
                }
            }
            match changes.leased.get(&event.key) {
                Some(lease) => leased.insert(event.key.as_str(), lease.get())?,
                None => leased.remove(event.key.as_str())?,
            };
        }
        transaction.open_table(FACTS)?.insert(REVISION, changes.revision)?;
    }
    transaction.commit()?;
    Ok(())
}

fn classify(place: &str, error: impl Into<redb::Error>) -> MetaStoreError {
    let place = place.to_owned();
    match error.into() {
        redb::Error::DatabaseAlreadyOpen | redb::Error::LockProtocolMismatch => {
            MetaStoreError::Held { place }
        }
        // What redb says of a file that does not begin as its files do.
        redb::Error::Io(error) if error.kind() == std::io::ErrorKind::InvalidData => {
            MetaStoreError::Corrupt { place, detail: error.to_string() }
        }
        redb::Error::Io(source) => MetaStoreError::Io { place, source },
        error @ (redb::Error::Corrupted(_)
        | redb::Error::UpgradeRequired(_)
        | redb::Error::RepairAborted
        | redb::Error::TableTypeMismatch { .. }
        | redb::Error::TableIsMultimap(_)
        | redb::Error::TypeDefinitionChanged { .. }
        | redb::Error::TableDoesNotExist(_)) => MetaStoreError::Corrupt { place, detail: error.to_string() },
        error => MetaStoreError::Engine { place, detail: error.to_string() },
    }
}
