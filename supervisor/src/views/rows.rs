//! The index of positions: a row for each released result that is kept. The newest rows are in
//! memory, with the newest results beside them; older ones go to files of a fixed number of rows
//! each, written in large pieces by whoever calls [`Rows::spill`], never by the driver. The files
//! say nothing that the journal doesn't: every start writes them anew.

use std::{
    collections::{BTreeMap, VecDeque},
    fs::{self, File},
    io,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicU64, Ordering},
    },
};

use rollcall_common::{
    files,
    ids::Position,
    limits::{VIEW_FILE_ROWS, VIEW_SPILL_ROWS, VIEW_TAIL_ROWS},
};

use super::row::{ROW_BYTES, Row};
use crate::record::Answer;

/// Rows that are read with the one that is wanted: a stream's are near each other.
const NEIGHBOURS: u64 = 64;

/// Rows that are taken from memory together: whoever adds rows waits so long.
const TOGETHER: usize = 256;

/// The rows of all released results that are kept.
#[derive(Debug)]
pub(super) struct Rows {
    /// Where the files are; `None`: all rows stay in memory.
    folder: Option<PathBuf>,
    tail: RwLock<Tail>,
    /// The same as in the tail: whoever reads what is older takes no lock.
    floor: AtomicU64,
    /// As far as files go.
    before: AtomicU64,
    files: RwLock<BTreeMap<u64, Arc<File>>>,
    /// Held while rows move from memory to a file, or change there.
    moving: Mutex<()>,
}

/// A row, and its result while it is one of the newest.
#[derive(Clone, Debug)]
pub(super) struct Recent {
    pub(super) row: Row,
    pub(super) answer: Option<Arc<Answer>>,
}

/// The newest rows.
#[derive(Debug, Default)]
struct Tail {
    /// `rows[i]` is position `before + 1 + i`.
    before: u64,
    rows: VecDeque<Recent>,
    /// Up to here there are no rows.
    floor: Position,
    /// No row up to here has its result beside it.
    cooled: u64,
    warm_bytes: usize,
    /// How often a row was changed.
    changes: u64,
}

/// Rows that were read together.
#[derive(Debug, Default)]
pub(super) struct Block {
    first: u64,
    rows: Vec<Row>,
}

impl Rows {
    /// Rows in memory alone.
    pub(super) fn in_memory() -> Self {
        Self {
            folder: None,
            tail: RwLock::default(),
            floor: AtomicU64::new(0),
            before: AtomicU64::new(0),
            files: RwLock::default(),
            moving: Mutex::default(),
        }
    }

    /// Rows with files in `folder`. What is there is removed.
    pub(super) fn on_disk(folder: &Path) -> io::Result<Self> {
        match fs::remove_dir_all(folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        files::create_folder(folder)?;
        Ok(Self { folder: Some(folder.to_owned()), ..Self::in_memory() })
    }

    /// The last position.
    pub(super) fn head(&self) -> Position {
        Position(self.tail().end())
    }

    /// The last position that is not there.
    pub(super) fn floor(&self) -> Position {
        Position(self.floor.load(Ordering::Acquire))
    }

    /// Begins after `floor`.
    pub(super) fn begin_after(&self, floor: Position) {
        let mut tail = self.tail_mut();
        *tail = Tail { before: floor.0, floor, cooled: floor.0, ..Tail::default() };
        self.show(&tail);
    }

    /// Adds the next row. Gives back the bytes of results that are beside rows now.
    pub(super) fn push(&self, recent: Recent) -> usize {
        let mut tail = self.tail_mut();
        tail.warm_bytes += recent.answer.as_ref().map_or(0, |answer| answer.weight());
        tail.rows.push_back(recent);
        tail.warm_bytes
    }

    /// Lets the oldest results go until those that stay have at most `bytes`.
    pub(super) fn evict(&self, bytes: usize) -> usize {
        let mut tail = self.tail_mut();
        while tail.warm_bytes > bytes && tail.cooled < tail.end() {
            tail.cool_next();
        }
        tail.warm_bytes
    }

    /// The row at a position, with its result if that is at hand; `None`: it is not there.
    pub(super) fn get(&self, position: Position, block: &mut Block) -> io::Result<Option<Recent>> {
        // The lock is given back before a file is read, which takes it again: a writer that came
        // in between would wait for this reader, and this reader for that writer.
        let older = position.0 <= self.before() && position > self.floor();
        let found = if older { Found::Older } else { self.tail().find(position) };
        match found {
            Found::Gone => Ok(None),
            Found::Here(recent) => Ok(Some(recent)),
            Found::Older => {
                let row = self.old(position.0, block)?;
                Ok(row.map(|row| Recent { row, answer: None }))
            }
        }
    }

    /// The same from memory alone.
    pub(super) fn get_recent(&self, position: Position) -> Option<Recent> {
        match self.tail().find(position) {
            Found::Here(recent) => Some(recent),
            Found::Gone | Found::Older => None,
        }
    }

    /// Rows after `after`, in order, at most `limit`.
    pub(super) fn range(&self, after: Position, limit: usize) -> io::Result<Vec<Recent>> {
        let mut found: Vec<Recent> = Vec::new();
        let mut next = after.max(self.floor()).next().0;
        while found.len() < limit {
            if next > self.before() {
                let tail = self.tail();
                if let Some(skip) = next.checked_sub(tail.before + 1) {
                    let skip = usize::try_from(skip).unwrap_or(usize::MAX).min(tail.rows.len());
                    let part = (limit - found.len()).min(TOGETHER);
                    let before = found.len();
                    found.extend(tail.rows.range(skip..).take(part).cloned());
                    next += u64::try_from(found.len() - before).unwrap_or(u64::MAX);
                    if found.len() - before < part {
                        return Ok(found);
                    }
                    continue;
                }
            }
            let wanted = u64::try_from(limit - found.len()).unwrap_or(u64::MAX);
            let rows = self.read(next, wanted)?;
            if rows.is_empty() {
                return Ok(found);
            }
            next += u64::try_from(rows.len()).unwrap_or(u64::MAX);
            found.extend(rows.into_iter().map(|row| Recent { row, answer: None }));
        }
        Ok(found)
    }

    /// Changes a row that is there.
    pub(super) fn change(&self, position: Position, how: impl FnOnce(&mut Row)) -> io::Result<()> {
        let _still = self.moving.lock().unwrap_or_else(PoisonError::into_inner);
        let mut tail = self.tail_mut();
        tail.changes += 1;
        if let Some(recent) = tail.find_mut(position) {
            how(&mut recent.row);
            return Ok(());
        }
        drop(tail);
        let mut rows = self.read(position.0, 1)?;
        if let (Some(row), Some(file)) = (rows.first_mut(), self.file_of(position.0)) {
            how(row);
            let mut bytes = Vec::with_capacity(ROW_BYTES);
            row.encode(&mut bytes);
            file.write_all_at(&bytes, offset(position.0))?;
        }
        Ok(())
    }

    /// Says that rows up to `floor` are no longer there. Files go with the next
    /// [`Rows::spill`].
    pub(super) fn trim(&self, floor: Position) {
        let mut tail = self.tail_mut();
        tail.floor = tail.floor.max(floor);
        let floor = tail.floor.0;
        while tail.before < floor && !tail.rows.is_empty() {
            tail.drop_first();
        }
        self.show(&tail);
    }

    /// Moves rows that are not among the newest to files, and removes files of rows that are no
    /// longer there. To be called now and then, from a thread that may block.
    pub(super) fn spill(&self) -> io::Result<()> {
        let Some(folder) = &self.folder else {
            return Ok(());
        };
        let _moving = self.moving.lock().unwrap_or_else(PoisonError::into_inner);
        self.remove_old(folder)?;
        loop {
            let (first, rows, changes) = {
                let tail = self.tail();
                if tail.rows.len() < VIEW_TAIL_ROWS + VIEW_SPILL_ROWS {
                    return Ok(());
                }
                let first = tail.before + 1;
                let rows = tail.rows.iter().take(VIEW_SPILL_ROWS);
                (first, rows.map(|recent| recent.row).collect::<Vec<_>>(), tail.changes)
            };
            self.write(folder, first, &rows)?;
            let mut tail = self.tail_mut();
            if tail.changes == changes && tail.before + 1 == first {
                rows.iter().for_each(|_| tail.drop_first());
                self.show(&tail);
            }
        }
    }

    /// Rows in memory that a spill would move.
    pub(super) fn unspilled(&self) -> usize {
        if self.folder.is_none() {
            return 0;
        }
        self.tail().rows.len().saturating_sub(VIEW_TAIL_ROWS)
    }

    fn old(&self, position: u64, block: &mut Block) -> io::Result<Option<Row>> {
        let within = |block: &Block| {
            let at = usize::try_from(position.checked_sub(block.first)?).ok()?;
            block.rows.get(at).copied()
        };
        if let Some(row) = within(block) {
            return Ok(Some(row));
        }
        let start = (position - 1) / VIEW_FILE_ROWS * VIEW_FILE_ROWS + 1;
        let first = position.saturating_sub(NEIGHBOURS - 1).max(start);
        *block = Block { first, rows: self.read(first, position - first + 1)? };
        Ok(within(block))
    }

    /// The last position that is in files.
    fn before(&self) -> u64 {
        self.before.load(Ordering::Acquire)
    }

    /// Lets those see it who take no lock.
    fn show(&self, tail: &Tail) {
        self.floor.store(tail.floor.0, Ordering::Release);
        self.before.store(tail.before, Ordering::Release);
    }

    /// Rows from files: from `first` on, at most `count`, and none beyond its file's end.
    fn read(&self, first: u64, count: u64) -> io::Result<Vec<Row>> {
        let Some(file) = self.file_of(first) else {
            return Ok(Vec::new());
        };
        let end = ((first - 1) / VIEW_FILE_ROWS + 1) * VIEW_FILE_ROWS + 1;
        let end = end.min(self.before() + 1).min(first.saturating_add(count));
        let rows = usize::try_from(end.saturating_sub(first)).unwrap_or(0);
        let mut bytes = vec![0; rows * ROW_BYTES];
        file.read_exact_at(&mut bytes, offset(first))?;
        Ok(bytes.chunks_exact(ROW_BYTES).filter_map(Row::decode).collect())
    }

    /// Writes rows that follow each other to their files.
    fn write(&self, folder: &Path, first: u64, rows: &[Row]) -> io::Result<()> {
        let mut at = first;
        let mut rest = rows;
        while !rest.is_empty() {
            let room = VIEW_FILE_ROWS - (at - 1) % VIEW_FILE_ROWS;
            let count = usize::try_from(room).unwrap_or(usize::MAX).min(rest.len());
            let (now, later) = rest.split_at(count);
            let mut bytes = Vec::with_capacity(now.len() * ROW_BYTES);
            now.iter().for_each(|row| row.encode(&mut bytes));
            let number = (at - 1) / VIEW_FILE_ROWS;
            let file = match self.file_of(at) {
                Some(file) => file,
                None => {
                    let file = Arc::new(files::create(&folder.join(name(number)))?);
                    self.files_mut().insert(number, Arc::clone(&file));
                    file
                }
            };
            file.write_all_at(&bytes, offset(at))?;
            at += u64::try_from(count).unwrap_or(u64::MAX);
            rest = later;
        }
        Ok(())
    }

    fn remove_old(&self, folder: &Path) -> io::Result<()> {
        let kept = self.floor().0 / VIEW_FILE_ROWS;
        loop {
            let oldest = self.files().first_key_value().map(|(number, _)| *number);
            let Some(number) = oldest.filter(|number| *number < kept) else {
                return Ok(());
            };
            fs::remove_file(folder.join(name(number)))?;
            self.files_mut().remove(&number);
        }
    }

    fn file_of(&self, position: u64) -> Option<Arc<File>> {
        self.files().get(&(position.checked_sub(1)? / VIEW_FILE_ROWS)).cloned()
    }

    fn files(&self) -> RwLockReadGuard<'_, BTreeMap<u64, Arc<File>>> {
        self.files.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn files_mut(&self) -> RwLockWriteGuard<'_, BTreeMap<u64, Arc<File>>> {
        self.files.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn tail(&self) -> RwLockReadGuard<'_, Tail> {
        self.tail.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn tail_mut(&self) -> RwLockWriteGuard<'_, Tail> {
        self.tail.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where a row is.
enum Found {
    Gone,
    Here(Recent),
    Older,
}

impl Tail {
    fn end(&self) -> u64 {
        self.before + u64::try_from(self.rows.len()).unwrap_or(u64::MAX)
    }

    fn find(&self, position: Position) -> Found {
        if position <= self.floor || position.0 > self.end() {
            return Found::Gone;
        }
        let Some(at) = position.0.checked_sub(self.before + 1) else {
            return Found::Older;
        };
        let row = usize::try_from(at).ok().and_then(|at| self.rows.get(at));
        row.map_or(Found::Gone, |row| Found::Here(row.clone()))
    }

    fn find_mut(&mut self, position: Position) -> Option<&mut Recent> {
        let at = position.0.checked_sub(self.before + 1)?;
        self.rows.get_mut(usize::try_from(at).ok()?)
    }

    /// Lets the oldest result that is beside its row go.
    fn cool_next(&mut self) {
        self.cooled += 1;
        let recent = self.find_mut(Position(self.cooled));
        let answer = recent.and_then(|recent| recent.answer.take());
        self.warm_bytes -= answer.map_or(0, |answer| answer.weight());
    }

    fn drop_first(&mut self) {
        if let Some(recent) = self.rows.pop_front() {
            self.before += 1;
            self.cooled = self.cooled.max(self.before);
            self.warm_bytes -= recent.answer.map_or(0, |answer| answer.weight());
        }
    }
}

fn offset(position: u64) -> u64 {
    let row = (position - 1) % VIEW_FILE_ROWS;
    row * u64::try_from(ROW_BYTES).unwrap_or(u64::MAX)
}

fn name(number: u64) -> String {
    format!("{number:010}.rows")
}
