//! A disk in memory that can lose, tear, flip, fill up and fail, all by a seed.
//!
//! What a program writes is seen at once by whoever reads, but is safe only after a sync. At a
//! [`crash`](SimDisk::crash) each sector of 512 bytes keeps some prefix of the writes to it that
//! were not synced, and of the changes to names that were not synced some stay.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{
    bytes::{to_u64, to_usize},
    disk::{Disk, DiskFile},
};

const SECTOR: usize = 512;

/// A disk in memory. Clones are the same disk.
#[derive(Clone, Debug, Default)]
pub struct SimDisk(Arc<Mutex<State>>);

/// An open file of a [`SimDisk`].
#[derive(Debug)]
pub struct SimFile {
    disk: SimDisk,
    inode: u64,
}

#[derive(Debug, Default)]
struct State {
    inodes: BTreeMap<u64, Inode>,
    last_inode: u64,
    names: BTreeMap<String, u64>,
    durable_names: BTreeMap<String, u64>,
    changes: Vec<Change>,
    faults: Faults,
    calls: u64,
    syncs: u64,
}

#[derive(Debug, Default)]
struct Faults {
    capacity: Option<u64>,
    power_off_at: Option<u64>,
    failing_sync: Option<u64>,
    failing_write: Option<u64>,
}

/// A change of names: each gets a file, or none.
type Change = Vec<(String, Option<u64>)>;

#[derive(Clone, Debug, Default)]
struct Inode {
    content: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Write>,
}

#[derive(Clone, Debug)]
struct Write {
    offset: usize,
    bytes: Vec<u8>,
}

impl SimDisk {
    /// An empty disk.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Limits the size of all files together.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.state().faults.capacity = bytes;
    }

    /// Lets the `nth` sync from now fail, 1 being the next. What it should have made durable
    /// can still be read until the crash, but no later sync makes it durable.
    pub fn fail_sync(&self, nth: u64) {
        let mut state = self.state();
        state.faults.failing_sync = Some(state.syncs + nth);
    }

    /// Lets the `nth` changing call from now fail, if it is a write: half of it is done.
    pub fn fail_write(&self, nth: u64) {
        let mut state = self.state();
        state.faults.failing_write = Some(state.calls + nth);
    }

    /// Lets the power fail after `calls` more changing calls: all later ones fail, until
    /// [`crash`](Self::crash).
    pub fn power_off_after(&self, calls: u64) {
        let mut state = self.state();
        state.faults.power_off_at = Some(state.calls + calls);
    }

    /// The size of all files together.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        to_u64(self.state().used())
    }

    /// How many changing calls there were.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.state().calls
    }

    /// What a power cut leaves, drawn from `rng`. The power is back, and all faults but the
    /// capacity are over.
    pub fn crash(&self, rng: &mut fastrand::Rng) {
        let mut state = self.state();
        state.faults = Faults { capacity: state.faults.capacity, ..Faults::default() };
        let odds = Odds::draw(rng);
        let changes = std::mem::take(&mut state.changes);
        for change in changes {
            if odds.keeps(rng) {
                apply(&mut state.durable_names, change);
            }
        }
        state.names = state.durable_names.clone();
        let named: BTreeSet<u64> = state.names.values().copied().collect();
        state.inodes.retain(|inode, _| named.contains(inode));
        for inode in state.inodes.values_mut() {
            inode.crash(odds, rng);
        }
    }

    /// The process has ended, but the power was on: nothing is lost, and all faults but the
    /// capacity are over.
    pub fn restart(&self) {
        let mut state = self.state();
        state.faults = Faults { capacity: state.faults.capacity, ..Faults::default() };
    }

    /// Flips bits of a byte, synced or not. Gives whether there is such a byte.
    pub fn flip(&self, name: &str, offset: u64, mask: u8) -> bool {
        let at = to_usize(offset);
        let mut state = self.state();
        let Some(inode) = state.named(name) else {
            return false;
        };
        let mut flipped = false;
        for content in [&mut inode.content, &mut inode.durable] {
            if let Some(byte) = content.get_mut(at) {
                *byte ^= mask;
                flipped = true;
            }
        }
        flipped
    }

    /// The content of a file, as a reader sees it.
    #[must_use]
    pub fn content(&self, name: &str) -> Option<Vec<u8>> {
        self.state().named(name).map(|inode| inode.content.clone())
    }

    /// Puts a file there, content and name durable, or takes it away.
    pub fn put(&self, name: &str, content: Option<Vec<u8>>) {
        let mut state = self.state();
        let inode = content.map(|content| {
            state.add(Inode { durable: content.clone(), content, pending: Vec::new() })
        });
        let change = vec![(name.to_owned(), inode)];
        apply(&mut state.durable_names, change.clone());
        apply(&mut state.names, change);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How likely it is that what was not synced stays.
#[derive(Clone, Copy, Debug)]
enum Odds {
    None,
    All,
    Some(f64),
}

impl Odds {
    fn draw(rng: &mut fastrand::Rng) -> Self {
        match rng.u8(..6) {
            0 => Self::None,
            1 => Self::All,
            _ => Self::Some(rng.f64()),
        }
    }

    fn keeps(self, rng: &mut fastrand::Rng) -> bool {
        match self {
            Self::None => false,
            Self::All => true,
            Self::Some(odds) => rng.f64() < odds,
        }
    }

    /// How many of `count` things, from the first on, stay.
    fn prefix(self, count: usize, rng: &mut fastrand::Rng) -> usize {
        match self {
            Self::None => 0,
            Self::All => count,
            Self::Some(odds) if rng.f64() < odds => count,
            Self::Some(_) => rng.usize(..=count),
        }
    }
}

impl Inode {
    fn write(&mut self, bytes: &[u8], offset: usize) {
        let write = Write { offset, bytes: bytes.to_vec() };
        write.apply(&mut self.content);
        self.pending.push(write);
    }

    fn sync(&mut self) {
        for write in self.pending.drain(..) {
            write.apply(&mut self.durable);
        }
    }

    fn crash(&mut self, odds: Odds, rng: &mut fastrand::Rng) {
        let pending = std::mem::take(&mut self.pending);
        let longest = pending.iter().map(Write::end).max().unwrap_or(0);
        let size = self.durable.len();
        let grown = odds.prefix(longest.saturating_sub(size), rng);
        self.durable.resize(size + grown, 0);
        let touched: BTreeSet<usize> = pending.iter().flat_map(Write::sectors).collect();
        for sector in touched {
            let upto = odds.prefix(pending.len(), rng);
            for write in pending.iter().take(upto) {
                write.apply_sector(sector, &mut self.durable);
            }
        }
        self.content.clone_from(&self.durable);
    }
}

impl Write {
    fn end(&self) -> usize {
        self.offset + self.bytes.len()
    }

    fn sectors(&self) -> std::ops::Range<usize> {
        self.offset / SECTOR..self.end().div_ceil(SECTOR)
    }

    fn apply(&self, content: &mut Vec<u8>) {
        if content.len() < self.end() {
            content.resize(self.end(), 0);
        }
        if let Some(into) = content.get_mut(self.offset..self.end()) {
            into.copy_from_slice(&self.bytes);
        }
    }

    /// Writes only what lies in one sector, and in the file.
    fn apply_sector(&self, sector: usize, content: &mut [u8]) {
        let from = self.offset.max(sector * SECTOR);
        let to = self.end().min((sector + 1) * SECTOR).min(content.len());
        let bytes = self.bytes.get(from - self.offset..to.saturating_sub(self.offset));
        if let (Some(into), Some(bytes)) = (content.get_mut(from..to), bytes) {
            into.copy_from_slice(bytes);
        }
    }
}

impl State {
    fn add(&mut self, inode: Inode) -> u64 {
        self.last_inode += 1;
        self.inodes.insert(self.last_inode, inode);
        self.last_inode
    }

    fn named(&mut self, name: &str) -> Option<&mut Inode> {
        let inode = self.names.get(name)?;
        self.inodes.get_mut(inode)
    }

    fn is_off(&self) -> bool {
        self.faults.power_off_at.is_some_and(|at| self.calls >= at)
    }

    /// Counts a changing call, and refuses it when the power is off.
    fn call(&mut self) -> io::Result<()> {
        if self.is_off() {
            return Err(io::Error::other("the power is off"));
        }
        self.calls += 1;
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.call()?;
        self.syncs += 1;
        if self.faults.failing_sync == Some(self.syncs) {
            return Err(io::Error::other("input/output error"));
        }
        Ok(())
    }

    fn change(&mut self, change: Change) {
        apply(&mut self.names, change.clone());
        self.changes.push(change);
    }

    fn used(&self) -> usize {
        let inodes = self.names.values();
        inodes.filter_map(|inode| self.inodes.get(inode)).map(|inode| inode.content.len()).sum()
    }

    /// How much room there is for a file to grow.
    fn room(&self) -> usize {
        let capacity = self.faults.capacity.map_or(usize::MAX, to_usize);
        capacity.saturating_sub(self.used())
    }
}

fn apply(names: &mut BTreeMap<String, u64>, change: Change) {
    for (name, inode) in change {
        match inode {
            Some(inode) => names.insert(name, inode),
            None => names.remove(&name),
        };
    }
}

fn missing() -> io::Error {
    io::ErrorKind::NotFound.into()
}

impl Disk for SimDisk {
    type File = SimFile;

    fn create(&self, name: &str) -> io::Result<SimFile> {
        let mut state = self.state();
        state.call()?;
        let inode = state.add(Inode::default());
        state.change(vec![(name.to_owned(), Some(inode))]);
        Ok(SimFile { disk: self.clone(), inode })
    }

    fn open(&self, name: &str) -> io::Result<SimFile> {
        let inode = self.state().names.get(name).copied();
        Ok(SimFile { disk: self.clone(), inode: inode.ok_or_else(missing)? })
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state();
        state.call()?;
        let inode = state.names.get(from).copied().ok_or_else(missing)?;
        state.change(vec![(from.to_owned(), None), (to.to_owned(), Some(inode))]);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.state();
        state.call()?;
        if !state.names.contains_key(name) {
            return Err(missing());
        }
        state.change(vec![(name.to_owned(), None)]);
        Ok(())
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.state().names.keys().cloned().collect())
    }

    fn sync_dir(&self) -> io::Result<()> {
        let mut state = self.state();
        // Unlike content, names that a failed sync left behind are not taken for written: a file
        // system whose log fails stops.
        state.sync()?;
        let changes = std::mem::take(&mut state.changes);
        for change in changes {
            apply(&mut state.durable_names, change);
        }
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        name.into()
    }
}

impl DiskFile for SimFile {
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        let state = self.disk.state();
        let inode = state.inodes.get(&self.inode).ok_or_else(missing)?;
        let rest = inode.content.get(to_usize(offset)..).unwrap_or_default();
        let size = rest.len().min(into.len());
        if let (Some(into), Some(from)) = (into.get_mut(..size), rest.get(..size)) {
            into.copy_from_slice(from);
        }
        Ok(size)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        state.call()?;
        let failing = state.faults.failing_write == Some(state.calls);
        let room = state.room();
        let offset = to_usize(offset);
        let inode = state.inodes.get_mut(&self.inode).ok_or_else(missing)?;
        let fits = room.saturating_add(inode.content.len()).saturating_sub(offset);
        let size = if failing { bytes.len() / 2 } else { bytes.len() }.min(fits);
        inode.write(bytes.get(..size).unwrap_or_default(), offset);
        if failing {
            return Err(io::Error::other("input/output error"));
        }
        if size < bytes.len() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        let synced = state.sync();
        let off = synced.is_err() && state.is_off();
        let inode = state.inodes.get_mut(&self.inode).ok_or_else(missing)?;
        match synced {
            Ok(()) => inode.sync(),
            // The system takes the pages for written now, and will not write them again.
            Err(_) if !off => inode.pending.clear(),
            Err(_) => {}
        }
        synced
    }

    fn size(&self) -> io::Result<u64> {
        let state = self.disk.state();
        let inode = state.inodes.get(&self.inode).ok_or_else(missing)?;
        Ok(to_u64(inode.content.len()))
    }
}
