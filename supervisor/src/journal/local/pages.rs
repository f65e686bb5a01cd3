//! A file read in large pieces.

use std::io;

use super::{
    bytes::{to_u64, to_usize},
    disk::DiskFile,
};

/// A file read in large pieces, mostly forward.
#[derive(Debug)]
pub(super) struct Pages<'a, F> {
    file: &'a F,
    buffer: Vec<u8>,
    start: u64,
    filled: usize,
    piece: usize,
}

impl<'a, F: DiskFile> Pages<'a, F> {
    /// Reads `file` in pieces of `piece` bytes.
    pub(super) fn new(file: &'a F, piece: usize) -> Self {
        Self::into(Vec::new(), file, piece)
    }

    /// The same, into memory that has been used before: to get as much anew for a small read costs
    /// more than the read.
    pub(super) fn into(buffer: Vec<u8>, file: &'a F, piece: usize) -> Self {
        Self { file, buffer, start: 0, filled: 0, piece }
    }

    /// The memory, for another to use.
    pub(super) fn into_buffer(self) -> Vec<u8> {
        self.buffer
    }

    /// The bytes from `offset` on: `length` of them, or fewer where the file ends.
    pub(super) fn at(&mut self, offset: u64, length: usize) -> io::Result<&[u8]> {
        let end = self.start + to_u64(self.filled);
        if offset < self.start || offset + to_u64(length) > end {
            self.fill(offset, length)?;
        }
        let skip = to_usize(offset - self.start);
        let upto = (skip + length).min(self.filled);
        Ok(self.buffer.get(skip..upto).unwrap_or_default())
    }

    fn fill(&mut self, offset: u64, length: usize) -> io::Result<()> {
        let size = length.max(self.piece);
        if self.buffer.len() < size {
            self.buffer = vec![0; size];
        }
        self.filled = 0;
        self.start = offset;
        let into = self.buffer.get_mut(..size).unwrap_or_default();
        self.filled = self.file.read_at(into, offset)?;
        Ok(())
    }
}
