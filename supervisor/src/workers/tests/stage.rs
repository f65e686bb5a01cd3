//! What the calls are held against: a plain model of where each call is, and what it has to end
//! as, beside a worker that says what a script wants it to say.
//!
//! Time is virtual and the network is in memory, so that all is still before anything is compared.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, Mutex, Weak},
    time::Duration,
};

use arc_swap::ArcSwap;
use bytes::{BufMut as _, BytesMut};
use rollcall_common::{
    ids::{MessageId, Sequence, StreamId},
    limits::{LATE_ANSWER, LINK_QUIET},
    link::{FromWorker, OVERHEAD},
    message::Message,
    task,
};
use tokio::{
    io::{AsyncWriteExt as _, DuplexStream},
    sync::mpsc,
    time::sleep,
};
use uuid::Uuid;

use super::{
    super::{calls::Calls, registry::Registry},
    odd_worker::{LinkEnd, Plain, PlainSide, content_type, put_answer, result, serve, work},
};
use crate::{
    dispatcher::{AttemptId, Dispatch, Event, WorkerReply},
    driver::{Handle, Mailbox},
    record::Reason,
    web::{BodyLimits, test_network::TestNetwork},
};

/// The largest result that is taken.
pub(super) const LIMIT: usize = 100 << 10;
/// The time that each attempt has.
const TIMEOUT: Duration = Duration::from_secs(1);
/// The worker's name.
const WORKER: &str = "w";

/// What happens next.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// The worker takes what is asked of it over plain HTTP in this way, once.
    Act(Plain),
    /// An answer is no longer needed.
    Cancel(usize),
    /// The worker closes a link.
    Close(usize),
    /// An attempt is over.
    GiveUp(usize),
    /// Messages are handed over.
    Hand(Vec<usize>),
    /// The worker is removed.
    Leave,
    /// A link is asked for.
    Link(Agrees),
    /// The worker registers.
    Return,
    /// The worker says this over one of its links, in pieces of so many bytes; with a cut, only so
    /// much of it, and closes the link.
    Say(usize, Vec<Word>, usize, Option<usize>),
    /// The worker is silent for so many seconds, but for signs of life.
    Signs(u64),
    /// The worker is silent for so many seconds.
    Silence(u64),
    /// Whether the worker reads what it is told over its links.
    Read(bool),
}

/// What the worker says when it is asked for a link.
#[derive(Clone, Debug)]
pub(super) enum Agrees {
    /// It agrees, with this credit.
    Credit(&'static str),
    /// It is removed before it agrees.
    Gone,
    /// It does not agree.
    No,
    /// It says nothing.
    Silent,
}

/// What the worker says over a link.
#[derive(Clone, Debug)]
pub(super) enum Word {
    /// An answer to a call that is under way.
    Answer(usize, u16, usize),
    /// An answer to a call that it has answered before, or never had.
    AnswerAgain(usize),
    /// That a call will not be answered, whether it was told so or not.
    Cancelled(usize),
    Closing,
    /// A frame of a kind that no worker sends.
    Junk(u8, Vec<u8>),
    /// The head of a frame that is too long.
    Long(u32),
    Pong,
}

/// What a call has to end as.
#[derive(Clone, Debug)]
enum Due {
    /// The answer over a link, with this status and a result of so many bytes.
    Answer(u16, usize),
    Broken,
    Cancelled,
    /// The answer over plain HTTP, with a result of so many bytes.
    Plain(usize),
    /// No answer came over plain HTTP.
    PlainFailed,
    Unreachable,
}

/// What a link is used for.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Used {
    /// Calls are handed to it.
    Fully,
    /// Calls that were handed to it go over it, as there is credit.
    ToItsEnd,
    /// Calls that were made are answered.
    ForAnswers,
}

/// How the worker stands.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Standing {
    Away,
    /// It is there, and has yet to say whether it wants a link.
    Asked,
    There,
}

/// Who ends a link.
#[derive(Clone, Copy, Eq, PartialEq)]
enum By {
    Supervisor,
    Worker,
}

/// A link, and what the model knows of it.
pub(super) struct Line {
    end: LinkEnd,
    credit: usize,
    used: Used,
    /// Calls that were made and are not ended, and whether they were cancelled.
    under_way: BTreeMap<u64, bool>,
    /// Calls for which there is no credit.
    waiting: VecDeque<u64>,
    /// Calls that were made, with the sizes of their bodies.
    made: BTreeMap<u64, usize>,
    cancelled: BTreeSet<u64>,
}

/// The calls, the worker, and the model.
pub(super) struct Stage {
    calls: Arc<Calls>,
    handle: Handle,
    pub(super) mailbox: Mailbox,
    asking: mpsc::Receiver<DuplexStream>,
    plain: Arc<Mutex<PlainSide>>,
    /// Those that are asked for and neither agreed to nor refused.
    unanswered: Vec<DuplexStream>,
    pub(super) lines: Vec<Line>,
    /// Links that have to be closed by the other side, after what was under way.
    closing: Vec<LinkEnd>,
    reads: bool,
    worker: Standing,
    sizes: Vec<usize>,
    pub(super) messages: Vec<Weak<Message>>,
    /// Calls that go over plain HTTP, and have not been heard of there.
    pub(super) to_plain: BTreeSet<u64>,
    /// What has to be told now.
    due: BTreeMap<u64, Due>,
    /// What may be told at any time.
    later: BTreeMap<u64, Due>,
    hanging: BTreeSet<u64>,
    ended: BTreeSet<u64>,
    /// Calls of which nothing will be told.
    given_up: BTreeSet<u64>,
}

impl Stage {
    pub(super) fn set() -> Self {
        let (network, connected, _) = TestNetwork::lay();
        let registry = Arc::new(Registry::over(network, Arc::default()));
        let (handle, mailbox) = Handle::new();
        let sizes = BodyLimits { message: LIMIT, batch: LIMIT };
        let sizes = Arc::new(ArcSwap::from_pointee(sizes));
        let calls = Arc::new(Calls::new(registry, handle.clone(), sizes));
        let (asked, asking) = mpsc::channel(16);
        let plain = Arc::default();
        task::spawn("odd-worker", serve(connected, asked, Arc::clone(&plain)));
        let mut stage = Self {
            calls,
            handle,
            mailbox,
            asking,
            plain,
            unanswered: Vec::new(),
            lines: Vec::new(),
            closing: Vec::new(),
            reads: true,
            worker: Standing::Away,
            sizes: Vec::new(),
            messages: Vec::new(),
            to_plain: BTreeSet::new(),
            due: BTreeMap::new(),
            later: BTreeMap::new(),
            hanging: BTreeSet::new(),
            ended: BTreeSet::new(),
            given_up: BTreeSet::new(),
        };
        stage.come();
        stage
    }

    fn come(&mut self) {
        let place = ("http://w:1/".parse().unwrap(), Some(([10, 0, 0, 1], 1).into()));
        self.calls.registry.set(&WORKER.into(), "p", place, None);
        if self.worker == Standing::Away {
            self.worker = Standing::There;
        }
    }

    fn leave(&mut self) {
        self.calls.registry.remove(WORKER);
        self.worker = Standing::Away;
        for line in self.lines.iter_mut().filter(|line| line.used == Used::Fully) {
            line.used = Used::ToItsEnd;
        }
    }

    pub(super) fn hand(&mut self, size: usize) {
        let attempt = self.sizes.len() as u64;
        let trace = ("traceparent".into(), trace(attempt).into());
        let message = Arc::new(Message {
            id: MessageId(Uuid::from_u128(u128::from(attempt))),
            key: None,
            content_type: "text/plain".into(),
            headers: Arc::new([trace]),
            body: work(attempt, size),
        });
        self.sizes.push(message.body.len());
        self.messages.push(Arc::downgrade(&message));
        self.calls.dispatch(Dispatch {
            attempt: AttemptId(attempt),
            stream: StreamId(0),
            stream_name: "orders".parse().unwrap(),
            sequence: Sequence(attempt),
            message,
            worker: WORKER.into(),
            number: 1,
            max_attempts: 5,
            reason: Reason::First,
            timeout: TIMEOUT,
        });
        match self.lines.iter_mut().find(|line| line.used == Used::Fully) {
            Some(line) => line.waiting.push_back(attempt),
            None if self.worker != Standing::Away => drop(self.to_plain.insert(attempt)),
            None => drop(self.due.insert(attempt, Due::Unreachable)),
        }
    }

    fn give_up(&mut self, attempt: u64) {
        self.calls.give_up(WORKER, AttemptId(attempt));
        if self.hanging.remove(&attempt) || self.later.remove(&attempt).is_some() {
            self.given_up.insert(attempt);
        } else {
            self.cancelled(attempt);
        }
    }

    fn cancel(&mut self, attempt: u64) {
        self.calls.cancel(WORKER, AttemptId(attempt));
        self.cancelled(attempt);
    }

    fn cancelled(&mut self, attempt: u64) {
        let Some(line) = self.lines.iter_mut().find(|line| line.used == Used::Fully) else {
            return;
        };
        if let Some(cancelled) = line.under_way.get_mut(&attempt) {
            *cancelled = true;
            line.cancelled.insert(attempt);
        } else if let Some(at) = line.waiting.iter().position(|one| *one == attempt) {
            line.waiting.remove(at);
            self.due.insert(attempt, Due::Cancelled);
        }
    }

    async fn link(&mut self, agrees: &Agrees) {
        let Some(member) = self.calls.registry.find(WORKER) else { return };
        let expected = !self.lines.iter().any(|line| line.used == Used::Fully)
            && self.worker != Standing::Asked;
        self.calls.link(&member);
        self.settle().await;
        let Ok(mut stream) = self.asking.try_recv() else {
            assert!(!expected, "no link is asked for");
            return;
        };
        assert!(expected, "a second link is asked for");
        let credit = match agrees {
            Agrees::Silent => {
                self.worker = Standing::Asked;
                return self.unanswered.push(stream);
            }
            Agrees::No => {
                let refused = "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n";
                return stream.write_all(refused.as_bytes()).await.unwrap();
            }
            Agrees::Gone => "3",
            Agrees::Credit(credit) => credit,
        };
        if matches!(agrees, Agrees::Gone) {
            self.leave();
        }
        let agreed = format!(
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n\
             upgrade: rollcall-link/3\r\nrollcall-credit: {credit}\r\n\r\n"
        );
        stream.write_all(agreed.as_bytes()).await.unwrap();
        self.lines.push(Line {
            end: LinkEnd::new(stream),
            credit: credit.parse().unwrap_or(1).max(1),
            used: if self.worker == Standing::There { Used::Fully } else { Used::ToItsEnd },
            under_way: BTreeMap::new(),
            waiting: VecDeque::new(),
            made: BTreeMap::new(),
            cancelled: BTreeSet::new(),
        });
    }

    /// Says words over a link, and tells the model of each when all of it was said.
    async fn say(&mut self, link: usize, words: &[Word], piece: usize, cut: Option<usize>) {
        if self.lines.is_empty() {
            return;
        }
        let at = link % self.lines.len();
        let (mut out, mut ends) = (BytesMut::new(), VecDeque::new());
        for word in words {
            if let Some(known) = self.word(at, word, &mut out) {
                ends.push_back((out.len(), known));
            }
        }
        let all = cut.map_or(out.len(), |cut| cut % (out.len() + 1));
        let piece = piece.max(out.len() / 10);
        let (mut said, mut line) = (0, Some(at));
        while let Some(at) = line.filter(|_| said < all) {
            let next = all.min(said + piece);
            self.lines[at].end.say(&out[said..next]).await;
            said = next;
            while line.is_some() && ends.front().is_some_and(|(end, _)| *end <= said) {
                let known = ends.pop_front().unwrap().1;
                line = self.said(at, known);
            }
            let before = self.lines.len();
            self.settle().await;
            line = line.filter(|_| self.lines.len() == before);
        }
        if let Some(at) = line.filter(|_| cut.is_some()) {
            self.broken(at, By::Worker);
        }
    }

    /// Puts a word, and gives back what the model makes of it.
    fn word(&self, at: usize, word: &Word, out: &mut BytesMut) -> Option<Said> {
        let line = &self.lines[at];
        let of = |call: &usize| {
            let length = line.under_way.len();
            (length > 0).then(|| *line.under_way.keys().nth(call % length).unwrap())
        };
        Some(match word {
            Word::Answer(call, status, size) => {
                let attempt = of(call)?;
                put_answer(out, attempt, *status, *size);
                Said::Answer(attempt, *status, result(attempt, *size).len())
            }
            Word::AnswerAgain(call) => {
                let known = (call % (self.sizes.len() + 1)) as u64;
                let is_open = line.under_way.contains_key(&known) || line.waiting.contains(&known);
                let attempt = if is_open { u64::MAX } else { known };
                put_answer(out, attempt, 200, 0);
                Said::Answer(attempt, 200, 0)
            }
            Word::Cancelled(call) => {
                let attempt = of(call)?;
                FromWorker::put_cancelled(out, attempt);
                Said::Cancelled(attempt)
            }
            Word::Closing => {
                FromWorker::put_closing(out);
                Said::Closing
            }
            Word::Pong => {
                FromWorker::put_pong(out);
                Said::Pong
            }
            Word::Junk(kind, rest) => {
                out.put_u32(u32::try_from(rest.len() + 1).unwrap());
                out.put_u8(*kind);
                out.put_slice(rest);
                Said::Nonsense
            }
            Word::Long(more) => {
                out.put_u32(u32::try_from(LIMIT + OVERHEAD).unwrap() + more);
                Said::Nonsense
            }
        })
    }

    /// What comes of a word; `None`: the link is broken.
    fn said(&mut self, at: usize, said: Said) -> Option<usize> {
        let line = &mut self.lines[at];
        let (attempt, due) = match said {
            Said::Pong => return Some(at),
            Said::Closing => {
                line.used = Used::ForAnswers;
                return Some(at);
            }
            Said::Answer(attempt, _, size) if size > LIMIT => (attempt, Due::Broken),
            Said::Answer(attempt, status, size) => (attempt, Due::Answer(status, size)),
            Said::Cancelled(attempt) if line.under_way.get(&attempt) == Some(&true) => {
                (attempt, Due::Cancelled)
            }
            Said::Cancelled(_) | Said::Nonsense => return self.broken(at, By::Supervisor),
        };
        if line.under_way.remove(&attempt).is_none() {
            return self.broken(at, By::Supervisor);
        }
        self.due.insert(attempt, due);
        Some(at)
    }

    /// A link is broken, by the worker or by the other side.
    fn broken(&mut self, at: usize, by: By) -> Option<usize> {
        let line = self.lines.remove(at);
        self.due.extend(line.under_way.into_keys().map(|attempt| (attempt, Due::Broken)));
        self.to_plain.extend(line.waiting);
        if by == By::Supervisor {
            self.closing.push(line.end);
        }
        None
    }

    /// Lets the model do what the links have to do, given what was said.
    fn make_calls(&mut self) {
        for line in &mut self.lines {
            if line.used == Used::ForAnswers {
                self.to_plain.extend(line.waiting.drain(..));
            }
            while line.under_way.len() < line.credit
                && let Some(attempt) = line.waiting.pop_front()
            {
                line.under_way.insert(attempt, false);
                line.made.insert(attempt, self.sizes[usize::try_from(attempt).unwrap()]);
            }
        }
        let is_over = |line: &mut Line| line.used != Used::Fully && line.under_way.is_empty();
        self.closing.extend(self.lines.extract_if(.., is_over).map(|line| line.end));
    }

    /// Waits until all is still, and compares.
    async fn settle(&mut self) {
        self.make_calls();
        loop {
            // Time stands still for as long as anybody has anything to do.
            sleep(Duration::from_millis(1)).await;
            let mut moved = false;
            if self.reads {
                let ends = self.lines.iter_mut().map(|line| &mut line.end);
                ends.chain(&mut self.closing).for_each(|end| moved |= end.hear());
            }
            let heard = std::mem::take(&mut self.plain.lock().unwrap().heard);
            moved |= !heard.is_empty();
            heard.into_iter().for_each(|(attempt, act)| self.heard(attempt, act));
            let told = self.mailbox.told();
            moved |= !told.is_empty();
            told.into_iter().for_each(|event| self.told(event));
            if !moved {
                break;
            }
        }
        assert!(self.due.is_empty(), "not told: {:?}", self.due);
        assert!(self.to_plain.is_empty(), "nobody has {:?}", self.to_plain);
        if self.reads {
            self.compare_links();
        }
    }

    fn compare_links(&mut self) {
        for line in &self.lines {
            assert!(line.under_way.len() <= line.credit);
            assert_eq!(line.end.calls, line.made, "calls over a link");
            assert_eq!(line.end.cancels, line.cancelled, "cancels over a link");
            assert!(!line.end.is_closed, "a link is closed without a reason");
        }
        for end in self.closing.drain(..) {
            assert!(end.is_closed, "a link stays that nobody needs");
        }
    }

    /// The worker has heard of a call over plain HTTP.
    fn heard(&mut self, attempt: u64, act: Plain) {
        assert!(self.to_plain.remove(&attempt), "{attempt} goes over plain HTTP");
        match act {
            Plain::Answer(size) => {
                self.due.insert(attempt, Due::Plain(result(attempt, size).len()));
            }
            Plain::Cut => drop(self.due.insert(attempt, Due::PlainFailed)),
            Plain::Half(_) => drop(self.later.insert(attempt, Due::PlainFailed)),
            Plain::Hang => drop(self.hanging.insert(attempt)),
        }
    }

    /// The driver is told of the end of a call.
    fn told(&mut self, event: Event) {
        let Event::AttemptEnded { attempt: AttemptId(attempt), reply } = event else {
            panic!("{event:?}");
        };
        let due = self.due.remove(&attempt).or_else(|| self.later.remove(&attempt));
        let said: String = format!("{reply:?}").chars().take(200).collect();
        let due = due.unwrap_or_else(|| panic!("{attempt} ends of itself: {said}"));
        let fits = match (&due, &reply) {
            (Due::Cancelled, WorkerReply::Cancelled)
            | (Due::Broken | Due::PlainFailed, WorkerReply::Broken(_))
            | (Due::PlainFailed, WorkerReply::Stale)
            | (Due::Unreachable, WorkerReply::Unreachable(_)) => true,
            (Due::Answer(status, size), reply) => is_answer(reply, attempt, *status, *size),
            (Due::Plain(size), reply) => is_answer(reply, attempt, 200, *size),
            _ => false,
        };
        assert!(fits, "{attempt} is to end as {due:?}, and ends as {said}");
        assert!(self.ended.insert(attempt), "{attempt} ends twice");
    }

    async fn give_signs(&mut self, seconds: u64) {
        for _ in 0..seconds {
            sleep(Duration::from_secs(1)).await;
            for line in &mut self.lines {
                line.end.hear();
                line.end.give_signs().await;
            }
        }
    }

    /// So many seconds, more than four times as many as a link may be quiet, are over.
    fn was_silent(&mut self, silence: Duration) {
        if silence > LATE_ANSWER + LINK_QUIET {
            while !self.lines.is_empty() {
                self.broken(0, By::Supervisor);
            }
        }
        self.lines.iter_mut().for_each(|line| line.used = Used::ForAnswers);
    }

    /// So many seconds, more than a connection may take to come up, are over.
    fn waited(&mut self, time: Duration) {
        self.unanswered.clear();
        if self.worker == Standing::Asked {
            self.worker = Standing::There;
        }
        if time > TIMEOUT + LATE_ANSWER {
            self.given_up.append(&mut self.hanging);
        }
    }

    pub(super) async fn step(&mut self, step: Step) {
        match step {
            Step::Act(plain) => self.plain.lock().unwrap().acts.push_back(plain),
            Step::Cancel(_) | Step::GiveUp(_) if self.sizes.is_empty() => {}
            Step::Cancel(call) => self.cancel((call % self.sizes.len()) as u64),
            Step::GiveUp(call) => self.give_up((call % self.sizes.len()) as u64),
            Step::Close(link) if !self.lines.is_empty() => {
                self.broken(link % self.lines.len(), By::Worker);
            }
            Step::Close(_) => {}
            Step::Hand(sizes) => sizes.into_iter().for_each(|size| self.hand(size)),
            Step::Leave => self.leave(),
            Step::Link(agrees) => self.link(&agrees).await,
            Step::Return => self.come(),
            Step::Say(link, words, piece, cut) => self.say(link, &words, piece, cut).await,
            Step::Signs(seconds) => {
                self.give_signs(seconds).await;
                self.waited(Duration::from_secs(seconds));
            }
            Step::Silence(seconds) => {
                let silence = Duration::from_secs(seconds);
                sleep(silence).await;
                self.was_silent(silence);
                self.waited(silence);
            }
            Step::Read(reads) => self.reads = reads,
        }
        self.settle().await;
    }

    /// The worker closes all, and nothing is left of any call.
    pub(super) async fn end(mut self) {
        self.reads = true;
        self.settle().await;
        while !self.lines.is_empty() {
            self.broken(0, By::Worker);
        }
        self.settle().await;
        self.step(Step::Silence(640)).await;
        assert!(self.later.is_empty(), "not told: {:?}", self.later);
        let all: BTreeSet<_> = (0..self.sizes.len() as u64).collect();
        assert_eq!(&self.ended | &self.given_up, all);
        assert!(self.ended.is_disjoint(&self.given_up));
        self.calls.registry.sweep();
        self.settle().await;
        assert!(self.messages.iter().all(|message| message.upgrade().is_none()));
        assert!(self.calls.is_idle() && self.handle.is_empty());
        let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
        assert_eq!(tasks, 1, "who takes the worker's connections, and nobody else");
    }
}

/// What a word says.
#[derive(Clone, Copy)]
enum Said {
    Answer(u64, u16, usize),
    Cancelled(u64),
    Closing,
    Nonsense,
    Pong,
}

fn trace(attempt: u64) -> String {
    format!("00-{attempt}")
}

/// Whether a reply is the worker's answer to this attempt, and of its trace.
fn is_answer(reply: &WorkerReply, attempt: u64, status: u16, size: usize) -> bool {
    let WorkerReply::Answer { status: said, payload, .. } = reply else { return false };
    let traced = payload.headers.iter().find(|(name, _)| &**name == "traceparent");
    *said == status
        && payload.body == result(attempt, size)
        && *payload.content_type == *content_type(attempt)
        && traced.is_some_and(|(_, value)| **value == *trace(attempt))
}
