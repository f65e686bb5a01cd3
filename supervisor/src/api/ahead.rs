//! Results as text, a chunk at a time. The next one is read and written out on another thread
//! while the one before is on its way: so a reader takes up a few chunks of memory, however much
//! there is, and the disk, the JSON and the connection don't wait for each other.

use std::{sync::Arc, time::Duration};

use rollcall_common::{
    ids::Position,
    limits::{CHUNK_BYTES, FIRST_CHUNK_BYTES, PAGE_BYTES},
    problem::Problem,
};
use tokio::task::JoinHandle;

use super::{Api, reading::Looked, results::Feed};
use crate::{
    record::Gap,
    views::{Course, ReadFailed, Views, Went},
    web::{LINE_BYTES, ResultBody, respond::internal},
};

/// Results of a chunk that is looked for among others.
const SOUGHT: usize = 512;
/// Who reads on and had to wait for longer than this rests a multiple of it, up to a longest.
const WAITED: Duration = Duration::from_micros(200);
const REST: u32 = 2;
const LONGEST_REST: Duration = Duration::from_millis(20);

/// How results are written one behind the other.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Form {
    /// Server-sent events, each with its cursor.
    Events,
    /// Each a line.
    Lines,
    /// With a comma before each.
    List,
}

/// A piece of the text.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    pub(super) text: Vec<u8>,
    /// Results in it.
    pub(super) count: usize,
    /// The cursor after which it goes on.
    pub(super) to: u64,
    /// Whether there may be more at once.
    pub(super) more: bool,
    /// What is missing behind it.
    gap: Option<Gap>,
}

/// What is left of what may be read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Left {
    results: usize,
    bytes: usize,
}

/// A reader's way, and the chunk that is being made ready.
#[derive(Debug)]
pub(super) struct Ahead {
    api: Arc<Api>,
    feed: Feed,
    form: Form,
    left: Left,
    after: u64,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Nothing is being read.
    Idle(Option<Box<Course>>),
    Reading(JoinHandle<(Read, Duration)>),
    /// Something was wrong.
    Over,
}

/// What was read, and the way, if it is one that can be gone on with.
type Read = (Result<Chunk, ReadFailed>, Option<Box<Course>>);

impl Chunk {
    /// No results after this cursor.
    pub(super) fn none(to: u64) -> Self {
        Self { to, ..Self::default() }
    }
}

impl Left {
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
        self.bytes = self.bytes.saturating_sub(chunk.text.len());
    }

    fn is_over(self) -> bool {
        self.results == 0 || self.bytes == 0
    }
}

impl Ahead {
    /// From the first result after the cursor `after` on.
    pub(super) fn new(api: &Arc<Api>, feed: Feed, (form, left): (Form, Left), after: u64) -> Self {
        Self { api: Arc::clone(api), feed, form, left, after, state: State::Idle(None) }
    }

    /// The cursor after which it goes on.
    pub(super) fn after(&self) -> u64 {
        self.after
    }

    /// Whether a chunk is being read already.
    pub(super) fn is_under_way(&self) -> bool {
        matches!(self.state, State::Reading(_))
    }

    /// The next chunk; an empty one when there is nothing more now. If there is more, the one
    /// behind it is begun.
    pub(super) async fn next(&mut self) -> Result<Chunk, Box<Problem>> {
        let reading = match std::mem::replace(&mut self.state, State::Over) {
            State::Idle(course) => {
                // Whoever is at the head gets what is new as soon as anybody.
                let read = self.reading(course, FIRST_CHUNK_BYTES);
                tokio::task::spawn_blocking(|| (read(), Duration::ZERO))
            }
            State::Reading(reading) => reading,
            State::Over => {
                let error = ReadFailed::Stopped("a result is missing".to_owned());
                return Err(self.feed.unreadable(&error).into());
            }
        };
        let ((read, course), waited) = reading.await.map_err(|error| internal(&error))?;
        let mut chunk = read.map_err(|error| self.feed.unreadable(&error))?;
        self.after = chunk.to;
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
            let read = self.reading(course, CHUNK_BYTES);
            State::Reading(self.api.lane.spawn(read))
        } else {
            State::Idle(course)
        };
        Ok(chunk)
    }

    /// What reads the next chunk.
    fn reading(
        &self,
        course: Option<Box<Course>>,
        bytes: usize,
    ) -> impl FnOnce() -> Read + Send + use<> {
        let (views, feed) = (Arc::clone(&self.api.views), self.feed.clone());
        let (form, after, left) = (self.form, self.after, self.left);
        let bytes = left.bytes.min(bytes);
        move || match &feed {
            Feed::Some(_) => (sought(&views, (&feed, form), (after, left.results)), None),
            Feed::All(source) => {
                let mut course = course.unwrap_or_else(|| Box::new(Course::new(*source, after)));
                let read = on(&views, (&feed, form), &mut course, (left.results, bytes));
                (read, Some(course))
            }
        }
    }
}

/// The next ones. It may block.
fn on(
    views: &Views,
    (feed, form): (&Feed, Form),
    course: &mut Course,
    (limit, bytes): (usize, usize),
) -> Result<Chunk, ReadFailed> {
    let mut text = Vec::with_capacity(bytes.saturating_add(bytes / 2).min(2 * CHUNK_BYTES));
    let (mut count, mut room) = (0, bytes);
    let went = views.read_on(course, |shown| {
        let before = text.len();
        let cursor = feed.cursor(shown.position, shown.sequence);
        form.write(&mut text, cursor, feed.body(ResultBody::shown(shown)));
        count += 1;
        room = room.saturating_sub(text.len() - before);
        count < limit && room > 0
    })?;
    let more = went == Went::OnlySoFar;
    Ok(Chunk { text, count, to: course.after(), more, ..Chunk::default() })
}

/// The next ones of some streams. It may block.
fn sought(
    views: &Views,
    (feed, form): (&Feed, Form),
    (after, limit): (u64, usize),
) -> Result<Chunk, ReadFailed> {
    let Feed::Some(reading) = feed else {
        return Ok(Chunk::default());
    };
    let Looked { results, to, gap } = reading.look(views, Position(after), limit.min(SOUGHT))?;
    let weight = results.iter().map(|result| result.answer.weight() + LINE_BYTES).sum();
    let mut text = Vec::with_capacity(weight);
    for result in &results {
        let cursor = feed.cursor(result.position, result.sequence);
        form.write(&mut text, cursor, feed.body(ResultBody::of(result)));
    }
    let (count, more) = (results.len(), !results.is_empty());
    Ok(Chunk { text, count, to: to.0, more, gap })
}

impl Form {
    /// Adds a result.
    fn write(self, text: &mut Vec<u8>, cursor: u64, body: ResultBody<'_>) {
        match self {
            Self::Events => {
                text.extend_from_slice(b"id: ");
                text.extend_from_slice(cursor.to_string().as_bytes());
                text.extend_from_slice(b"\ndata: ");
                body.write_line(text);
                text.extend_from_slice(b"\n\n");
            }
            Self::Lines => {
                body.write_line(text);
                text.push(b'\n');
            }
            Self::List => {
                text.push(b',');
                body.write_line(text);
            }
        }
    }
}
