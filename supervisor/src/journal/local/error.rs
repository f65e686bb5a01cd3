//! Why a journal can't be opened.

use std::{io, path::PathBuf};

/// Why a journal can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error("the journal in {path} is in use by another process")]
    Locked {
        /// Its directory.
        path: PathBuf,
    },
    /// What had been safe is no longer whole.
    #[error("{file} is damaged at offset {offset}: {what}")]
    Damaged {
        /// The file.
        file: PathBuf,
        /// Where in the file.
        offset: u64,
        /// What is wrong there.
        what: String,
    },
    /// It was written by a later version.
    #[error("{file} has format {version}, but this version knows formats up to {known}")]
    Newer {
        /// The file.
        file: PathBuf,
        /// Its format.
        version: u32,
        /// The latest that is known here.
        known: u32,
    },
    /// The system refused.
    #[error("can't {what} {path}: {source}")]
    Io {
        /// What was tried, as a verb.
        what: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}
