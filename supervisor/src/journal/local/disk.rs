//! The seam to the disk: what the journal asks of it, and the real one.

use std::{
    fmt,
    fs::{self, File, TryLockError},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use rollcall_common::files::{self, Absent};

use super::error::OpenError;

/// A directory of files that belongs to one journal.
pub trait Disk: fmt::Debug + Send + Sync + 'static {
    /// An open file.
    type File: DiskFile;

    /// Makes an empty file, in place of one of that name.
    ///
    /// # Errors
    /// When the system refuses.
    fn create(&self, name: &str) -> io::Result<Self::File>;

    /// Opens a file to read and write.
    ///
    /// # Errors
    /// When there is none of that name, or the system refuses.
    fn open(&self, name: &str) -> io::Result<Self::File>;

    /// Gives a file another name.
    ///
    /// # Errors
    /// When the system refuses.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// When the system refuses.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// The names of all files.
    ///
    /// # Errors
    /// When the system refuses.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Makes names durable: what was created, renamed and removed.
    ///
    /// # Errors
    /// When it is not known to be durable.
    fn sync_dir(&self) -> io::Result<()>;

    /// The file's whole name, for messages.
    fn path(&self, name: &str) -> PathBuf;
}

/// An open file.
pub trait DiskFile: fmt::Debug + Send + Sync + 'static {
    /// Reads from `offset` on until `into` is full or the file ends; gives the number of bytes.
    ///
    /// # Errors
    /// When the system refuses.
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes all of `bytes` at `offset`.
    ///
    /// # Errors
    /// When not all could be written; some may have been.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Makes content and size durable.
    ///
    /// # Errors
    /// When they are not known to be durable.
    fn sync_data(&self) -> io::Result<()>;

    /// The size in bytes.
    ///
    /// # Errors
    /// When the system refuses.
    fn size(&self) -> io::Result<u64>;
}

/// A directory on the real disk, locked against other processes for as long as this lives.
#[derive(Debug)]
pub struct FileDisk {
    path: PathBuf,
    dir: File,
    _lock: File,
}

impl FileDisk {
    /// Opens the directory, which is made if it isn't there, and locks it.
    ///
    /// # Errors
    /// When another process has locked it, or the system refuses.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let failed = |what| move |source| OpenError::Io { what, path: path.to_owned(), source };
        if !path.is_dir() {
            path.parent().map_or(Ok(()), fs::create_dir_all).map_err(failed("create"))?;
            files::create_folder(path).map_err(failed("create"))?;
            sync_parents(path).map_err(failed("sync the parents of"))?;
        } else if files::is_open_to_others(path).map_err(failed("look at"))? {
            let path = path.display();
            tracing::warn!(%path, "others may look into the data directory; chmod 700 closes it");
        }
        let lock = files::open_own(&path.join("lock"), Absent::Make)
            .map_err(failed("open the lock in"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(OpenError::Locked { path: path.to_owned() });
            }
            Err(TryLockError::Error(source)) => return Err(failed("lock")(source)),
        }
        Ok(Self {
            dir: File::open(path).map_err(failed("open"))?,
            path: path.to_owned(),
            _lock: lock,
        })
    }
}

/// Makes every directory on the way to `path` durable in the one above.
fn sync_parents(path: &Path) -> io::Result<()> {
    for parent in path.canonicalize()?.ancestors().skip(1) {
        match File::open(parent) {
            Ok(dir) => dir.sync_all()?,
            // One that may not be read was there before.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => break,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

impl Disk for FileDisk {
    type File = File;

    fn create(&self, name: &str) -> io::Result<File> {
        files::create(&self.path.join(name))
    }

    fn open(&self, name: &str) -> io::Result<File> {
        files::open_own(&self.path.join(name), Absent::Refuse)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for found in fs::read_dir(&self.path)? {
            // A name that is no text is none of ours.
            names.extend(found?.file_name().into_string());
        }
        Ok(names)
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.dir.sync_all()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

impl DiskFile for File {
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut filled = 0;
        let mut at = offset;
        while let Some(rest) = into.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match FileExt::read_at(self, rest, at) {
                Ok(0) => break,
                Ok(count) => {
                    filled += count;
                    at += super::bytes::to_u64(count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        Self::sync_data(self)
    }

    fn size(&self) -> io::Result<u64> {
        self.metadata().map(|metadata| metadata.len())
    }
}
