//! The story of a run: hashed as it goes, so that two runs can be compared; kept, so that a
//! failure can be read; printed, if somebody wants all of it.

use std::{
    collections::VecDeque,
    fmt::{self, Write as _},
};

use rollcall_common::time::Time;

/// Lines that are kept.
const KEPT: usize = 80;

/// How much of the story is wanted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Telling {
    /// Nothing.
    Nothing,
    /// Its hash.
    Hash,
    /// Its hash and its last lines.
    End,
    /// All of it, printed.
    All,
}

/// The story of a run.
#[derive(Debug)]
pub(super) struct Trace {
    telling: Telling,
    hash: u64,
    line: String,
    kept: VecDeque<String>,
}

impl Trace {
    /// An empty story.
    #[must_use]
    pub(super) fn new(telling: Telling) -> Self {
        Self { telling, hash: 0xcbf2_9ce4_8422_2325, line: String::new(), kept: VecDeque::new() }
    }

    /// Adds a line.
    pub(super) fn tell(&mut self, at: Time, since: Time, what: fmt::Arguments<'_>) {
        if self.telling == Telling::Nothing {
            return;
        }
        self.line.clear();
        let micros = at.since(since).as_micros();
        // Writing to a string does not fail.
        let _ = write!(self.line, "{:>10}.{:06} ", micros / 1_000_000, micros % 1_000_000);
        let _ = self.line.write_fmt(what);
        for byte in self.line.bytes() {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        if self.telling == Telling::All {
            println!("{}", self.line);
        }
        if self.telling == Telling::End {
            if self.kept.len() == KEPT {
                self.kept.pop_front();
            }
            self.kept.push_back(self.line.clone());
        }
    }

    /// A digest of the whole story.
    #[must_use]
    pub(super) fn hash(&self) -> u64 {
        self.hash
    }

    /// Its last lines.
    #[must_use]
    pub(super) fn end(&self) -> Vec<String> {
        self.kept.iter().cloned().collect()
    }
}
