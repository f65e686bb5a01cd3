//! A receiver that drops what comes twice by its key, as careful receivers do. It must have every
//! result once: a key that came again with other content would make it lose the rest, and a content
//! that came again under another key would make it take it twice.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::oracle::{Invariant, Violation};

/// Whose results: the subscription's number and generation, and the stream.
type Whose = (u32, u32, Arc<str>);

/// What came under one key.
#[derive(Clone, Debug)]
struct Batch {
    content: Vec<u64>,
    /// How much of it was taken.
    taken: usize,
}

/// A request, as the receiver sees it.
#[derive(Debug)]
pub(super) struct Parcelled {
    pub(super) whose: Whose,
    pub(super) key: String,
    pub(super) content: Vec<u64>,
    /// How much of it is taken.
    pub(super) taken: usize,
    /// Whether people had the subscription go on without some of the stream's results: what was
    /// on its way then is cut otherwise afterwards.
    pub(super) recut: bool,
}

/// A receiver.
#[derive(Debug, Default)]
pub(super) struct Receiver {
    keys: BTreeMap<(Whose, String), Batch>,
    applied: BTreeMap<Whose, BTreeSet<u64>>,
    recut: BTreeSet<Whose>,
    /// What was taken of requests that were not taken whole: their lines are remembered, not their
    /// keys, and when the answer is lost they come again under the key of what they lie in then.
    by_line: BTreeSet<(Whose, u64)>,
}

impl Receiver {
    /// A request is there. Whether some of it had been taken before.
    pub(super) fn take(&mut self, request: Parcelled) -> Result<bool, Violation> {
        let Parcelled { whose, key, content, taken, recut } = request;
        if recut {
            self.recut.insert(whose.clone());
        }
        let fresh = Batch { content: content.clone(), taken: 0 };
        let known = self.keys.entry((whose.clone(), key.clone())).or_insert(fresh);
        if known.content != content {
            let detail = format!("{key} of {whose:?} was {:?}, and is {content:?}", known.content);
            return Err(Violation { invariant: Invariant::I3, detail });
        }
        let again = known.taken > 0;
        let news = content.get(known.taken..taken).unwrap_or_default();
        known.taken = known.taken.max(taken);
        if taken < content.len() {
            // What it had of it before as well: its answer now says less.
            let had = content.get(..known.taken).unwrap_or_default();
            self.by_line.extend(had.iter().map(|sequence| (whose.clone(), *sequence)));
        }
        let applied = self.applied.entry(whose.clone()).or_default();
        for sequence in news {
            let is_known = !applied.insert(*sequence);
            let by_line = self.by_line.contains(&(whose.clone(), *sequence));
            if is_known && !by_line && !self.recut.contains(&whose) {
                let detail = format!("{sequence} of {whose:?} is taken again, under {key}");
                return Err(Violation { invariant: Invariant::I3, detail });
            }
        }
        Ok(again)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(key: &str, content: &[u64], taken: usize) -> Parcelled {
        let (whose, key) = ((0, 0, "a".into()), key.to_owned());
        Parcelled { whose, key, content: content.to_vec(), taken, recut: false }
    }

    #[test]
    fn a_key_has_one_content_and_a_content_one_key() {
        let mut receiver = Receiver::default();
        assert!(!receiver.take(request("a", &[1, 2, 3], 2)).unwrap());
        assert!(receiver.take(request("a", &[1, 2, 3], 3)).unwrap());
        assert!(!receiver.take(request("b", &[4, 5], 2)).unwrap());
        assert!(receiver.take(request("a", &[1, 2, 3, 4], 4)).is_err(), "it has grown");
        assert!(receiver.take(request("c", &[5, 6], 2)).is_err(), "it is cut otherwise");
        let recut = Parcelled { recut: true, ..request("d", &[5], 1) };
        assert!(!receiver.take(recut).unwrap());
    }
}
