//! Storage that fails when told to, and that knows what a power loss would leave.
//!
//! The files are real, so that recovery can read them; they stand for what the page cache shows. What is
//! on the platter is kept beside them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

use crate::wal::disk::{Disk, DiskFile};

/// Small, so that one group spans many.
const SECTOR: usize = 64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    Open,
    Write,
    Sync,
    SetLen,
    Remove,
    SyncDirectory,
}

#[derive(Default)]
pub struct Sim {
    world: Mutex<World>,
    changed: Condvar,
}

#[derive(Default)]
struct World {
    random: u64,
    /// Chance of a fault per operation, in thousandths.
    faults: u64,
    /// Operations that are to fail, whatever the chance.
    script: VecDeque<Op>,
    /// Operations until everything stops.
    fuse: Option<u32>,
    inodes: Vec<Inode>,
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    counts: Counts,
    held: bool,
    waiting: usize,
}

#[derive(Debug, Default, Clone, Copy)]
pub struct Counts {
    pub writes: usize,
    pub syncs: usize,
}

#[derive(Default)]
struct Inode {
    durable: Vec<u8>,
    dirty: BTreeSet<usize>,
}

impl World {
    /// A number below `bound`, by splitmix64.
    fn random(&mut self, bound: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }

    fn coin(&mut self) -> bool {
        self.random(2) == 0
    }

    /// `Err(true)`: the operation fails and may have half an effect. `Err(false)`: it has none.
    fn fate(&mut self, op: Op) -> Result<(), bool> {
        if let Some(left) = &mut self.fuse {
            *left = left.saturating_sub(1);
            if *left == 0 {
                return Err(false);
            }
        }
        if self.script.front() == Some(&op) {
            self.script.pop_front();
            return Err(true);
        }
        let faults = self.faults;
        if faults > 0 && self.random(1000) < faults { Err(true) } else { Ok(()) }
    }

    fn persist(&mut self, inode: usize, sector: usize, cached: &[u8]) {
        let start = sector * SECTOR;
        let end = cached.len().min(start + SECTOR);
        let durable = &mut self.inodes[inode].durable;
        if start < end {
            durable.resize(durable.len().max(end), 0);
            durable[start..end].copy_from_slice(&cached[start..end]);
        }
    }

    /// Lets any part of what is not synced reach the platter.
    fn persist_some(&mut self, inode: usize, cached: &[u8]) {
        for sector in std::mem::take(&mut self.inodes[inode].dirty) {
            if self.coin() {
                self.persist(inode, sector, cached);
            }
        }
        if self.coin() {
            self.inodes[inode].durable.resize(cached.len(), 0);
        }
    }
}

fn fault() -> io::Error {
    io::Error::new(ErrorKind::StorageFull, "injected")
}

impl Sim {
    pub fn new(seed: u64) -> Arc<Self> {
        let sim = Self::default();
        sim.world.lock().random = seed;
        Arc::new(sim)
    }

    pub fn set_faults(&self, thousandths: u64) {
        self.world.lock().faults = thousandths;
    }

    /// Each of these fails, once, in this order.
    pub fn fail(&self, ops: &[Op]) {
        self.world.lock().script.extend(ops);
    }

    pub fn all_failed(&self) -> bool {
        self.world.lock().script.is_empty()
    }

    /// The process does nothing more after so many operations.
    pub fn die_after(&self, operations: u32) {
        self.world.lock().fuse = Some(operations.max(1));
    }

    pub fn live(&self) {
        self.world.lock().fuse = None;
    }

    pub fn counts(&self) -> Counts {
        self.world.lock().counts
    }

    /// Makes the next sync of data wait until [`Sim::release`].
    pub fn hold(&self) {
        self.world.lock().held = true;
    }

    pub fn wait_until_held(&self) {
        let mut world = self.world.lock();
        self.changed.wait_while(&mut world, |world| world.waiting == 0);
    }

    pub fn release(&self) {
        self.world.lock().held = false;
        self.changed.notify_all();
    }

    /// Loses what is not durable, or any part of it.
    pub fn lose_power(&self) {
        let mut world = self.world.lock();
        let (names, durable) = (world.names.clone(), world.durable_names.clone());
        let mut left = BTreeMap::new();
        for path in names.keys().chain(durable.keys()) {
            let (now, then) = (names.get(path), durable.get(path));
            let stays = if now == then || world.coin() { now } else { then };
            if let Some(inode) = stays {
                left.insert(path.clone(), *inode);
            }
        }
        for path in names.keys().chain(durable.keys()) {
            let Some(inode) = left.get(path) else {
                let _ = fs::remove_file(path);
                continue;
            };
            if names.get(path) == Some(inode) {
                let cached = fs::read(path).unwrap();
                world.persist_some(*inode, &cached);
            }
            fs::write(path, &world.inodes[*inode].durable).unwrap();
        }
        world.names = left.clone();
        world.durable_names = left;
    }
}

impl Disk for Arc<Sim> {
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut world = self.world.lock();
        world.fate(Op::Open).map_err(|_| fault())?;
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let inode = match world.names.get(path) {
            Some(inode) => *inode,
            None => {
                world.inodes.push(Inode::default());
                let inode = world.inodes.len() - 1;
                world.names.insert(path.to_owned(), inode);
                inode
            }
        };
        Ok(Box::new(SimFile { sim: Arc::clone(self), file, path: path.to_owned(), inode }))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut world = self.world.lock();
        world.fate(Op::Remove).map_err(|_| fault())?;
        fs::remove_file(path)?;
        world.names.remove(path);
        Ok(())
    }

    fn sync_directory(&self, _: &Path) -> io::Result<()> {
        let mut world = self.world.lock();
        let fate = world.fate(Op::SyncDirectory);
        if fate == Ok(()) || fate == Err(true) && world.coin() {
            world.durable_names = world.names.clone();
        }
        fate.map_err(|_| fault())
    }
}

struct SimFile {
    sim: Arc<Sim>,
    file: File,
    path: PathBuf,
    inode: usize,
}

impl DiskFile for SimFile {
    fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut world = self.sim.world.lock();
        world.counts.writes += 1;
        let fate = world.fate(Op::Write);
        let written = match fate {
            Ok(()) => bytes.len(),
            Err(true) => world.random(bytes.len() as u64 + 1) as usize,
            Err(false) => 0,
        };
        if written > 0 {
            self.file.write_all_at(&bytes[..written], offset)?;
            let start = offset as usize;
            world.inodes[self.inode].dirty.extend(start / SECTOR..=(start + written - 1) / SECTOR);
        }
        fate.map_err(|_| fault())
    }

    fn sync_data(&mut self) -> io::Result<()> {
        let mut world = self.sim.world.lock();
        if world.held {
            world.waiting += 1;
            self.sim.changed.notify_all();
            self.sim.changed.wait_while(&mut world, |world| world.held);
            world.waiting -= 1;
        }
        drop(world);
        self.sync_all()
    }

    fn sync_all(&mut self) -> io::Result<()> {
        let mut world = self.sim.world.lock();
        world.counts.syncs += 1;
        let cached = fs::read(&self.path)?;
        match world.fate(Op::Sync) {
            Ok(()) => {
                for sector in std::mem::take(&mut world.inodes[self.inode].dirty) {
                    world.persist(self.inode, sector, &cached);
                }
                world.inodes[self.inode].durable.resize(cached.len(), 0);
                Ok(())
            }
            // What did not reach the platter is clean from now on, as Linux has it: no later sync writes
            // it, though the cache shows it.
            Err(true) => {
                world.persist_some(self.inode, &cached);
                Err(fault())
            }
            Err(false) => Err(fault()),
        }
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        let mut world = self.sim.world.lock();
        let fate = world.fate(Op::SetLen);
        if fate == Ok(()) || fate == Err(true) && world.coin() {
            self.file.set_len(len)?;
            world.inodes[self.inode].dirty.retain(|sector| ((sector * SECTOR) as u64) < len);
        }
        fate.map_err(|_| fault())
    }
}
