//! Results as text, a chunk at a time. The next one is read and written out on another thread
//! while the one before is on its way: so a reader takes up a few chunks of memory, however much
//! there is, and the disk, the JSON and the connection don't wait for each other. What waits to be
//! sent is bounded for all readers together ([`super::prepared`]); of what a connection has not
//! taken yet, each has one slice.

use std::{io, sync::Arc, time::Duration};

use bytes::Bytes;
use rollcall_common::{
    ids::Position,
    limits::{CHUNK_BYTES, FIRST_CHUNK_BYTES, PAGE_BYTES},
    problem::Problem,
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinHandle,
};

use super::{
    Api,
    form::Form,
    prepared::{Reserved, Slot},
    results::Feed,
    subscription_feed::Batch,
};
use crate::{
    record::Gap,
    views::{Progress, ReadFailed, ReplayCursor, Views},
    web::{LINE_BYTES, ResultBody, respond::internal},
};

/// Results of a chunk that is looked for among others.
const SOUGHT: usize = 512;
/// Who reads on and had to wait for longer than this rests a multiple of it, up to a longest.
const WAITED: Duration = Duration::from_micros(200);
const REST: u32 = 2;
const LONGEST_REST: Duration = Duration::from_millis(20);

/// What is known of a piece of the text.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    /// Results in it.
    pub(super) count: usize,
    /// The cursor after which it goes on.
    pub(super) to: u64,
    /// Whether there may be more at once.
    pub(super) more: bool,
    /// Bytes of it.
    pub(super) length: usize,
    /// What is missing behind it.
    gap: Option<Gap>,
}

/// What is left of what may be read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Quota {
    results: usize,
    bytes: usize,
}

/// A reader's way, what of it is to be sent, and the chunk that is being made ready.
#[derive(Debug)]
pub(super) struct Prefetcher {
    api: Arc<Api>,
    feed: Feed,
    form: Form,
    left: Quota,
    after: u64,
    state: State,
    ready: Option<Ready>,
    /// Held by the slice that the connection has not taken yet.
    sending: Arc<Semaphore>,
    begun: bool,
}

#[derive(Debug)]
enum State {
    /// Nothing is being read.
    Idle,
    Reading(JoinHandle<(Read, Duration)>),
    /// Something was wrong.
    Over,
}

/// A chunk that is to be sent.
#[derive(Debug)]
struct Ready {
    slot: Slot,
    /// The cursors of what is before it, and of its last result.
    between: (u64, u64),
    length: usize,
    sent: usize,
}

/// What was read.
type Read = Result<(Chunk, Option<Slot>), ReadFailed>;

/// How far is read at most.
#[derive(Clone, Copy, Debug)]
struct Most {
    results: usize,
    bytes: usize,
    /// The cursor of the last one.
    to: u64,
}

/// A slice on its way to the connection.
struct Sending {
    text: Bytes,
    _alone: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Sending {
    fn as_ref(&self) -> &[u8] {
        &self.text
    }
}

impl Chunk {
    /// No results after this cursor.
    pub(super) fn none(to: u64) -> Self {
        Self { to, ..Self::default() }
    }
}

impl Quota {
    /// No bound.
    pub(super) const ALL: Self = Self { results: usize::MAX, bytes: usize::MAX };

    /// Of a page of so many results.
    pub(super) fn of_page(results: usize) -> Self {
        Self { results, bytes: PAGE_BYTES }
    }

    fn take(&mut self, chunk: &Chunk) {
        if self.bytes == usize::MAX {
            return;
        }
        self.results = self.results.saturating_sub(chunk.count);
        self.bytes = self.bytes.saturating_sub(chunk.length);
    }

    fn is_over(self) -> bool {
        self.results == 0 || self.bytes == 0
    }
}

impl Prefetcher {
    /// From the first result after the cursor `after` on.
    pub(super) fn new(api: &Arc<Api>, feed: Feed, (form, left): (Form, Quota), after: u64) -> Self {
        let (api, sending) = (Arc::clone(api), Arc::new(Semaphore::new(1)));
        let (state, ready) = (State::Idle, None);
        Self { api, feed, form, left, after, state, ready, sending, begun: false }
    }

    /// The cursor after which it goes on.
    pub(super) fn after(&self) -> u64 {
        self.after
    }

    /// Whether a chunk is being read already.
    pub(super) fn is_under_way(&self) -> bool {
        matches!(self.state, State::Reading(_))
    }

    /// Goes on behind `to`: nothing that is wanted lies before it.
    pub(super) fn pass(&mut self, to: u64) {
        self.after = self.after.max(to);
    }

    /// Makes the next chunk ready to be sent; an empty one when there is nothing more now. If there
    /// is more, the one behind it is begun.
    pub(super) async fn next(&mut self) -> Result<Chunk, Box<Problem>> {
        let reading = match std::mem::replace(&mut self.state, State::Over) {
            State::Idle if self.after >= self.api.newest(&self.feed) => {
                self.state = State::Idle;
                return Ok(Chunk::none(self.after));
            }
            State::Idle => self.read_first().await,
            State::Reading(reading) => reading,
            State::Over => {
                let error = ReadFailed::Stopped("a result is missing".to_owned());
                return Err(self.feed.unreadable(&error).into());
            }
        };
        let (read, waited) = reading.await.map_err(|error| internal(&error))?;
        let (mut chunk, mut slot) = read.map_err(|error| self.feed.unreadable(&error))?;
        let cursor = slot.as_mut().and_then(Slot::cursor);
        let between = (std::mem::replace(&mut self.after, chunk.to), chunk.to);
        let length = chunk.length;
        self.ready = slot.map(|slot| Ready { slot, between, length, sent: 0 });
        if let Some(gap) = chunk.gap.take() {
            let missing = self.api.tell_of_gap(&self.feed, gap).await?;
            return if chunk.count == 0 { Err(missing.into()) } else { Ok(chunk) };
        }
        self.left.take(&chunk);
        chunk.more &= !self.left.is_over();
        self.state = if chunk.more {
            if waited > WAITED {
                // Others need the processors: so long they have them without us.
                tokio::time::sleep((REST * waited).min(LONGEST_REST)).await;
            }
            // Nothing is made ready ahead where there is no room for it.
            let bytes = CHUNK_BYTES + cursor.as_ref().map_or(0, |cursor| cursor.bytes());
            match self.api.readers.prepared.try_reserve(bytes) {
                Some(room) => {
                    let read = self.reading(cursor, CHUNK_BYTES, room);
                    State::Reading(self.api.background.spawn(read))
                }
                None => State::Idle,
            }
        } else {
            State::Idle
        };
        Ok(chunk)
    }

    /// The next slice of the chunk that is ready, once the one before is on its way; `None`: all of
    /// it is.
    pub(super) async fn slice(&mut self) -> Option<io::Result<Bytes>> {
        // Err: nobody closes it.
        let alone = Arc::clone(&self.sending).acquire_owned().await.ok()?;
        let ready = self.ready.as_mut()?;
        if ready.sent >= ready.length {
            self.ready = None;
            return None;
        }
        if std::mem::replace(&mut self.begun, true) {
            // Writing goes on when everybody else had a turn.
            tokio::task::yield_now().await;
        }
        let text = match ready.slot.slice(ready.sent) {
            Some(text) => text,
            None => match self.make_again().await {
                Ok(text) => text,
                Err(error) => return Some(Err(error)),
            },
        };
        if let Some(ready) = &mut self.ready {
            ready.sent += text.len();
        }
        Some(Ok(Bytes::from_owner(Sending { text, _alone: alone })))
    }

    /// Passes over the first bytes of the chunk that is ready.
    pub(super) fn cut(&mut self, bytes: usize) {
        if let Some(ready) = &mut self.ready {
            ready.sent += bytes;
        }
    }

    /// Makes the chunk again that was let go, as it was; gives back its next slice.
    async fn make_again(&mut self) -> io::Result<Bytes> {
        let Some(ready) = &mut self.ready else {
            return Ok(Bytes::new());
        };
        let (after, to) = ready.between;
        let (views, feed, form) = (Arc::clone(&self.api.views), self.feed.clone(), self.form);
        let again = move || {
            let mut text = Vec::new();
            let most = Most { results: usize::MAX, bytes: usize::MAX, to };
            match &feed {
                Feed::Some(_) => sought_again(&views, (&feed, form), (after, to), &mut text)?,
                Feed::All(source) => {
                    let mut cursor = ReplayCursor::new(*source, after);
                    on(&views, (&feed, form), &mut cursor, (most, &mut text))?;
                }
            }
            Ok::<_, ReadFailed>(text)
        };
        let room = self.api.readers.prepared.reserve(ready.length).await;
        let (text, _) = self.api.background.spawn(again).await?;
        let text = text?;
        if text.len() != ready.length {
            // It can't be gone on with: some of it is no longer kept.
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        ready.slot = room.keep(text, None);
        ready.slot.slice(ready.sent).ok_or_else(|| io::ErrorKind::OutOfMemory.into())
    }

    /// Reads the first chunk: whoever is at the head gets what is new as soon as anybody.
    async fn read_first(&mut self) -> JoinHandle<(Read, Duration)> {
        let room = self.api.readers.prepared.reserve(FIRST_CHUNK_BYTES).await;
        let read = self.reading(None, FIRST_CHUNK_BYTES, room);
        // Err: nobody closes it. Each that reads has an entry open, and few are as fast as many.
        let turn = Arc::clone(&self.api.readers.turns).acquire_owned().await;
        self.api.background.spawn_first(move || {
            let read = read();
            drop(turn);
            (read, Duration::ZERO)
        })
    }

    /// What reads the next chunk.
    fn reading(
        &self,
        cursor: Option<Box<ReplayCursor>>,
        bytes: usize,
        room: Reserved,
    ) -> impl FnOnce() -> Read + Send + use<> {
        let (views, feed) = (Arc::clone(&self.api.views), self.feed.clone());
        let (form, after, left) = (self.form, self.after, self.left);
        let most = Most { results: left.results, bytes: left.bytes.min(bytes), to: u64::MAX };
        move || {
            let mut text = Vec::new();
            let (mut chunk, cursor) = match &feed {
                Feed::Some(_) => {
                    (sought(&views, (&feed, form), (after, left.results), &mut text)?, None)
                }
                Feed::All(source) => {
                    let fresh = || Box::new(ReplayCursor::new(*source, after));
                    let mut cursor = cursor.unwrap_or_else(fresh);
                    let chunk = on(&views, (&feed, form), &mut cursor, (most, &mut text))?;
                    (chunk, Some(cursor))
                }
            };
            chunk.length = text.len();
            // Who is at the end begins anew there.
            let mut cursor = cursor.filter(|_| chunk.more);
            cursor.iter_mut().for_each(|cursor| cursor.pause());
            let slot = (chunk.count > 0).then(|| room.keep(text, cursor));
            Ok((chunk, slot))
        }
    }
}

/// The next ones. It may block.
fn on(
    views: &Views,
    (feed, form): (&Feed, Form),
    cursor: &mut ReplayCursor,
    (most, text): (Most, &mut Vec<u8>),
) -> Result<Chunk, ReadFailed> {
    text.reserve(most.bytes.saturating_add(most.bytes / 2).min(2 * CHUNK_BYTES));
    let (mut count, mut room) = (0, most.bytes);
    let went = views.read_on(cursor, |shown| {
        let before = text.len();
        let cursor = feed.cursor(shown.position, shown.sequence);
        form.write(text, cursor, feed.body(ResultBody::shown(shown)));
        count += 1;
        room = room.saturating_sub(text.len() - before);
        count < most.results && room > 0 && cursor < most.to
    })?;
    let more = went == Progress::OnlySoFar;
    Ok(Chunk { count, to: cursor.after(), more, ..Chunk::default() })
}

/// The next ones of some streams. It may block.
fn sought(
    views: &Views,
    (feed, form): (&Feed, Form),
    (after, limit): (u64, usize),
    text: &mut Vec<u8>,
) -> Result<Chunk, ReadFailed> {
    let Feed::Some(reading) = feed else {
        return Ok(Chunk::default());
    };
    let Batch { results, to, gap } = reading.look(views, Position(after), limit.min(SOUGHT))?;
    text.reserve(results.iter().map(|result| result.answer.weight() + LINE_BYTES).sum());
    for result in &results {
        let cursor = feed.cursor(result.position, result.sequence);
        form.write(text, cursor, feed.body(ResultBody::of(result)));
    }
    let (count, more) = (results.len(), !results.is_empty());
    Ok(Chunk { count, to: to.0, more, gap, ..Chunk::default() })
}

/// The same ones again.
fn sought_again(
    views: &Views,
    (feed, form): (&Feed, Form),
    (mut after, to): (u64, u64),
    text: &mut Vec<u8>,
) -> Result<(), ReadFailed> {
    let Feed::Some(reading) = feed else {
        return Ok(());
    };
    while after < to {
        let looked = reading.look(views, Position(after), SOUGHT)?;
        let wanted = looked.results.iter().filter(|result| result.position.0 <= to);
        for result in wanted {
            let cursor = feed.cursor(result.position, result.sequence);
            form.write(text, cursor, feed.body(ResultBody::of(result)));
        }
        if looked.to.0 <= after {
            break;
        }
        after = looked.to.0;
    }
    Ok(())
}
