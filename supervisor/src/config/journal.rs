//! `[journal]`: where messages and results are kept.

use std::path::PathBuf;

use super::{
    error::Place,
    section::{Section, UNSUPPORTED},
    values::{boolean, size, text, word},
};
use crate::dispatcher::LaggingSubscribers;

/// `[journal]`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Journal {
    /// What kind of journal.
    pub kind: JournalKind,
    /// The directory of a local one.
    pub path: PathBuf,
    /// Bytes after which a local one begins a new file.
    pub segment_bytes: u64,
    /// Free bytes of the disk below which nothing more is taken in.
    pub reserve_bytes: u64,
    /// How large it may grow before older results go; absent: no bound.
    pub retention_bytes: Option<u64>,
    /// Whether results go that a subscription has yet to take.
    pub slow: LaggingSubscribers,
}

/// Kinds of journals.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum JournalKind {
    /// Files on this machine.
    Local,
    /// Nothing survives the process. For trials.
    Memory,
}

impl Default for Journal {
    fn default() -> Self {
        Self {
            kind: JournalKind::Local,
            path: "rollcall-data".into(),
            segment_bytes: 64 << 20,
            reserve_bytes: 8 << 20,
            retention_bytes: None,
            slow: LaggingSubscribers::Kept,
        }
    }
}

impl Journal {
    /// `data` is what the flag `--data` says.
    pub(super) fn read(mut section: Section<'_>, data: Option<PathBuf>) -> Self {
        let default = Self::default();
        let kind = section.read("kind", |node| {
            if node.text() == Some("nats") {
                let text = format!("\"nats\" {UNSUPPORTED}; expected \"local\" or \"memory\"");
                return Err(node.wrong(text));
            }
            let (local, memory) = (JournalKind::Local, JournalKind::Memory);
            word(node, &[("local", local), ("memory", memory)])
        });
        let path = section.read("path", |node| {
            let path = text(node)?;
            if path.contains('\0') {
                return Err(node.unfit("a path"));
            }
            Ok(PathBuf::from(path))
        });
        let segment = section.read("segment_bytes", |node| size(node, 64 << 10..=4 << 30));
        let reserve = section.read("reserve_bytes", |node| size(node, 0..=1 << 50));
        let retention = section.read("retention_bytes", |node| size(node, 1 << 20..=1 << 50));
        let slow = section.read("retention_strict", |node| {
            boolean(node).map(|strict| {
                if strict { LaggingSubscribers::Dropped } else { LaggingSubscribers::Kept }
            })
        });
        section.refuse(&["servers", "replicas", "partitions", "when_unavailable"]);
        let kind = kind.unwrap_or(default.kind);
        if data.is_some() && kind == JournalKind::Memory {
            let text = "nothing is kept there when journal.kind is \"memory\"; expected \"local\"";
            section.problem(Some(Place::Flag("--data")), "path", text);
        }
        if data.as_ref().is_some_and(|data| data.as_os_str().is_empty()) {
            let text = "is empty; expected a path";
            section.problem(Some(Place::Flag("--data")), "path", text);
        }
        section.close();
        Self {
            kind,
            path: data.or(path).unwrap_or(default.path),
            segment_bytes: segment.unwrap_or(default.segment_bytes),
            reserve_bytes: reserve.unwrap_or(default.reserve_bytes),
            retention_bytes: retention,
            slow: slow.unwrap_or(default.slow),
        }
    }
}
