//! Text that was made ready for readers and is not sent yet, and what is being made ready: bounded
//! for all of them together. Who wants to make more ready waits for room; what belongs to those who
//! have taken nothing for a moment gives way, and is made again when it is wanted after all.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use rollcall_common::{
    limits::{READER_BYTES, SLICE_BYTES},
    time::{Clock, Time},
};
use tokio::time::sleep;

use crate::views::ReplayCursor;

/// How long nothing has been taken of a text that gives way.
const GIVES_WAY: Duration = Duration::from_millis(100);
/// How often who waits for room looks for it.
const LOOK: Duration = Duration::from_millis(5);

/// What was made ready for all readers. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Prepared(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    clock: Clock,
    /// How long nothing has been taken of a text that gives way.
    patience: Duration,
    held: Mutex<Held>,
    /// Held by the one that looks for room; the others stand in line behind it.
    line: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Held {
    /// The one that was touched last behind all others.
    texts: BTreeMap<u64, Text>,
    /// Bytes of these, and of what is being made ready.
    bytes: usize,
    next: u64,
}

#[derive(Debug)]
struct Text {
    /// What of it was not handed out, in slices: each is in memory of its own, which is as large
    /// for everybody, so that it is soon used again.
    slices: VecDeque<Bytes>,
    /// How much of it is before them.
    before: usize,
    /// The way on from its end, and what of the journal is open for it.
    cursor: Option<Box<ReplayCursor>>,
    bytes: usize,
    touched: Time,
}

/// Room for a text that is being made ready.
#[derive(Debug)]
pub(super) struct Reserved {
    prepared: Prepared,
    bytes: usize,
}

/// One reader's text; it is let go when this is dropped.
#[derive(Debug)]
pub(super) struct Slot {
    prepared: Prepared,
    number: u64,
}

impl Default for Prepared {
    fn default() -> Self {
        Self::new(GIVES_WAY)
    }
}

impl Prepared {
    fn new(patience: Duration) -> Self {
        let (clock, line) = (Clock::start(Time::default()), tokio::sync::Mutex::default());
        Self(Arc::new(Shared { clock, patience, held: Mutex::default(), line }))
    }

    /// Room for about so many bytes, if there is some now.
    pub(super) fn try_reserve(&self, bytes: usize) -> Option<Reserved> {
        let now = self.0.clock.now();
        let mut held = self.held();
        while held.bytes > 0 && held.bytes + bytes > READER_BYTES {
            let (number, oldest) = held.texts.first_key_value()?;
            if now.since(oldest.touched) < self.0.patience {
                return None;
            }
            let number = *number;
            held.take(number);
        }
        held.bytes += bytes;
        Some(Reserved { prepared: self.clone(), bytes })
    }

    /// The same, as soon as there is some.
    pub(super) async fn reserve(&self, bytes: usize) -> Reserved {
        let _first = self.0.line.lock().await;
        loop {
            match self.try_reserve(bytes) {
                Some(reserved) => return reserved,
                None => sleep(LOOK).await,
            }
        }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reserved {
    /// Keeps a text in this room until it is sent, or gives way.
    pub(super) fn keep(self, text: Vec<u8>, cursor: Option<Box<ReplayCursor>>) -> Slot {
        let slices = text.chunks(SLICE_BYTES).map(Bytes::copy_from_slice).collect();
        let bytes = text.len() + cursor.as_ref().map_or(0, |cursor| cursor.bytes());
        drop(text);
        let prepared = self.prepared.clone();
        drop(self);
        let touched = prepared.0.clock.now();
        let number = prepared.held().add(Text { slices, before: 0, cursor, bytes, touched });
        Slot { prepared, number }
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.prepared.held().bytes -= self.bytes;
    }
}

impl Slot {
    /// What of its slice comes from there on; all that is before is let go. `None`: it gave way.
    pub(super) fn slice(&mut self, from: usize) -> Option<Bytes> {
        let touched = self.prepared.0.clock.now();
        let mut held = self.prepared.held();
        let mut text = held.take(self.number)?;
        let slice = text.slice(from)?;
        self.number = held.add(Text { touched, ..text });
        Some(slice)
    }

    /// The way on from its end, if that is still there.
    pub(super) fn cursor(&mut self) -> Option<Box<ReplayCursor>> {
        let mut held = self.prepared.held();
        let mut text = held.take(self.number)?;
        let cursor = text.cursor.take();
        text.bytes = text.slices.iter().map(Bytes::len).sum();
        self.number = held.add(text);
        cursor
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let text = self.prepared.held().take(self.number);
        // Freeing it is for nobody to wait for.
        drop(text);
    }
}

impl Text {
    fn slice(&mut self, from: usize) -> Option<Bytes> {
        let at = from.checked_sub(self.before)?;
        let (mut passed, mut found) = (0, None);
        while found.is_none()
            && let Some(mut slice) = self.slices.pop_front()
        {
            let begins = passed;
            passed += slice.len();
            found = (at < passed).then(|| slice.split_off(at - begins));
        }
        self.before += passed;
        self.bytes -= passed;
        found
    }
}

impl Held {
    /// Adds a text that was touched just now. One that is larger than was thought takes the room of
    /// those that were not touched for the longest time.
    fn add(&mut self, text: Text) -> u64 {
        self.next += 1;
        self.bytes += text.bytes;
        self.texts.insert(self.next, text);
        while self.bytes > READER_BYTES && self.texts.len() > 1 {
            let Some((_, oldest)) = self.texts.pop_first() else { break };
            self.bytes -= oldest.bytes;
        }
        self.next
    }

    fn take(&mut self, number: u64) -> Option<Text> {
        let text = self.texts.remove(&number)?;
        self.bytes -= text.bytes;
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUARTER: usize = READER_BYTES / 4;

    fn keep(prepared: &Prepared, byte: u8, bytes: usize) -> Slot {
        prepared.try_reserve(0).unwrap().keep(vec![byte; bytes], None)
    }

    #[test]
    fn what_was_touched_last_stays_and_all_of_it_is_bounded() {
        let prepared = Prepared::default();
        let mut slots: Vec<_> = (0..4).map(|byte| keep(&prepared, byte, QUARTER)).collect();
        assert_eq!(slots[0].slice(5).unwrap(), [0; SLICE_BYTES - 5][..]);
        let mut fifth = keep(&prepared, 4, QUARTER);
        assert!(prepared.held().bytes <= READER_BYTES);
        assert!(slots[1].slice(0).is_none(), "it was not touched for the longest time");
        assert!([2, 3].iter().all(|at| slots[*at].slice(0).is_some()));
        assert!(slots[0].slice(SLICE_BYTES).is_some());
        assert!(fifth.slice(QUARTER - 1).is_some_and(|rest| rest == [4][..]));
        drop((slots, fifth));
        let held = prepared.held();
        assert_eq!((held.bytes, held.texts.len()), (0, 0));
    }

    #[test]
    fn what_was_handed_out_gives_its_room_back() {
        let prepared = Prepared::default();
        let text: Vec<_> =
            (0..3 * SLICE_BYTES + 7).map(|at| u8::try_from(at % 251).unwrap()).collect();
        let mut slot = prepared.try_reserve(0).unwrap().keep(text.clone(), None);
        let (mut sent, mut slices) = (1, Vec::new());
        while sent < text.len() {
            let slice = slot.slice(sent).unwrap();
            assert_eq!(slice, text[sent..sent + slice.len()]);
            sent += slice.len();
            assert_eq!(prepared.held().bytes, text.len() - sent);
            slices.push(slice.len());
        }
        assert_eq!(slices, [SLICE_BYTES - 1, SLICE_BYTES, SLICE_BYTES, 7]);
        assert!(slot.slice(1).is_none(), "it is made again");
    }

    #[test]
    fn one_that_is_larger_than_all_the_room_can_be_sent() {
        let prepared = Prepared::default();
        let mut small = keep(&prepared, 1, 1);
        let mut large = keep(&prepared, 2, READER_BYTES + 1);
        assert!(small.slice(0).is_none());
        assert!(large.slice(0).is_some());
        drop((small, large));
        assert!(prepared.try_reserve(2 * READER_BYTES).is_some(), "when it is alone");
    }

    #[tokio::test]
    async fn who_wants_room_gets_that_of_who_takes_nothing_and_waits_for_those_who_read() {
        // A loaded machine may stop a test for longer than those have who take nothing.
        let prepared = Prepared::new(Duration::from_secs(2));
        let mut read = keep(&prepared, 1, QUARTER);
        let mut stalled = keep(&prepared, 2, 2 * QUARTER);
        let making = prepared.try_reserve(QUARTER).unwrap();
        assert!(prepared.try_reserve(QUARTER).is_none(), "all of it is in use");
        let reading = async {
            for at in 0.. {
                assert!(read.slice(at * SLICE_BYTES).is_some());
                sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::select! {
            () = reading => {}
            reserved = prepared.reserve(2 * QUARTER) => drop(reserved),
        }
        assert!(stalled.slice(0).is_none());
        assert!(read.slice(QUARTER - 1).is_some());
        drop((making, read, stalled));
        assert_eq!(prepared.held().bytes, 0);
    }
}
