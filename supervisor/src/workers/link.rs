//! The supervisor's end of a link to one worker (see [`rollcall_common::link`]): all calls over one
//! connection, many in one write, their answers many in one read. What can't go over it goes over
//! plain HTTP.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::{Buf as _, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, header};
use http_body_util::Full;
use rollcall_common::{
    frame,
    http::{SendError, Upgraded},
    limits::{LATE_ANSWER, LINK_CALLS, LINK_QUEUE, LINK_QUIET, LINK_READ, LINK_SIGNS, LINK_UNSENT},
    link::{self, BadFrame, FromSupervisor, FromWorker, Quiet},
    message::{Headers, Key, Payload},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::mpsc,
    time::{MissedTickBehavior, interval},
};

use super::{calls::Calls, plain, registry::Member};
use crate::{
    dispatcher::{AttemptId, Dispatch, Event, WorkerReply},
    driver::Gone,
    web::wait,
};

/// The way to a worker's link, while there is one.
#[derive(Debug, Default)]
pub(super) struct Link(Mutex<State>);

#[derive(Debug, Default)]
enum State {
    #[default]
    Absent,
    /// The worker is being asked.
    Asking,
    Up(mpsc::Sender<Order>),
}

/// What goes over a link.
#[derive(Debug)]
enum Order {
    Call(Dispatch),
    Cancel(AttemptId),
}

impl Link {
    /// Sends a message over the link.
    ///
    /// # Errors
    /// The message, when there is no link, or its queue is full.
    pub(super) fn call(&self, dispatch: Dispatch) -> Result<(), Dispatch> {
        let State::Up(orders) = &*self.lock() else {
            return Err(dispatch);
        };
        // The place first: an order that finds none would have to be taken apart again.
        let Ok(place) = orders.try_reserve() else {
            return Err(dispatch);
        };
        place.send(Order::Call(dispatch));
        Ok(())
    }

    /// Tells the worker that an answer is no longer needed, if there is a link and room.
    pub(super) fn cancel(&self, attempt: AttemptId) {
        if let State::Up(orders) = &*self.lock() {
            // Err: it works on, as it would without a link.
            let _ = orders.try_send(Order::Cancel(attempt));
        }
    }

    /// Whether the worker is to be asked now: there is no link, and it is not being asked.
    pub(super) fn ask(&self) -> bool {
        let mut state = self.lock();
        let absent = matches!(*state, State::Absent);
        if absent {
            *state = State::Asking;
        }
        absent
    }

    /// Sends nothing more over the link. It ends when all is answered.
    pub(super) fn close(&self) {
        *self.lock() = State::Absent;
    }

    /// What is sent over it from now on; `None` if it has been closed since it was asked for.
    fn up(&self) -> Option<mpsc::Receiver<Order>> {
        let mut state = self.lock();
        let asked = matches!(*state, State::Asking);
        asked.then(|| {
            let (sender, receiver) = mpsc::channel(LINK_QUEUE);
            *state = State::Up(sender);
            receiver
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks a worker for a link, and keeps it for as long as it lasts.
pub(super) async fn keep(calls: Arc<Calls>, member: Arc<Member>) {
    let url = &member.url;
    let (connection, credit) = match connect(&calls, &member).await {
        Ok(Some(linked)) => linked,
        Ok(None) => {
            tracing::debug!(%url, "the worker wants no link");
            return member.link.close();
        }
        Err(error) => {
            tracing::debug!(%url, %error, "no link to the worker");
            return member.link.close();
        }
    };
    let Some(mut orders) = member.link.up() else {
        tracing::debug!(%url, "the worker is no longer there");
        return;
    };
    tracing::debug!(%url, credit, "linked");
    let mut wire = Wire::new(&calls, &member, credit);
    if let Err(error) = wire.run(connection, &mut orders).await {
        tracing::debug!(%url, %error, "the link broke");
    }
    if wire.stage == Stage::Open {
        // Otherwise there may be another one by now.
        member.link.close();
    }
    // What nobody has looked at may be to cancel what waits.
    orders.close();
    while let Some(order) = orders.recv().await {
        wire.order(order);
    }
    let Wire { unanswered, unsent, events, .. } = wire;
    // What never went out has another way.
    unsent.into_iter().for_each(|call| calls.call(Some(Arc::clone(&member)), call));
    let lost = unanswered.into_keys().map(|attempt| {
        let reply = WorkerReply::Broken("the link to the worker broke".into());
        Event::AttemptEnded { attempt, reply }
    });
    // What had come before it broke counts.
    let events = events.into_iter().chain(lost).collect();
    // Err: the driver has ended, and nobody waits.
    let _ = calls.handle.send_all(events).await;
}

/// A link, with the number of calls that may be unanswered; `None` if the worker wants none.
async fn connect(calls: &Calls, member: &Member) -> io::Result<Option<(Upgraded, usize)>> {
    let mut request = Request::new(Full::default());
    *request.method_mut() = Method::GET;
    *request.uri_mut() = member.peer.uri();
    let headers = request.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static(link::UPGRADE));
    headers.insert(link::LIMIT, calls.sizes.load().message.into());
    let Some((headers, connection)) = member.peer.upgrade(request).await? else {
        return Ok(None);
    };
    let credit = headers.get(link::CREDIT).and_then(|value| value.to_str().ok());
    let credit = credit.and_then(|text| text.parse().ok()).unwrap_or(1);
    Ok(Some((connection, credit)))
}

/// Why a link ended before its time.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("the worker closed it")]
    Closed,
    #[error("the worker gave no sign of life")]
    Silent,
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    TooLong(#[from] frame::FrameError),
    #[error(transparent)]
    Garbled(#[from] BadFrame),
    #[error(transparent)]
    Gone(#[from] Gone),
}

/// A call that is not answered.
#[derive(Debug)]
struct Unanswered {
    /// The trace that its message is of.
    trace: Headers,
    wanted: Wanted,
}

/// Whether an answer is still wanted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Wanted {
    Cancelled,
    Yes,
}

/// A link at work.
struct Wire<'a> {
    calls: &'a Arc<Calls>,
    member: &'a Arc<Member>,
    /// How many calls may be unanswered.
    credit: usize,
    unanswered: BTreeMap<AttemptId, Unanswered>,
    /// Calls for which there is no credit.
    unsent: VecDeque<Dispatch>,
    /// What waits to be written.
    out: BytesMut,
    /// What happened, to be told.
    events: Vec<Event>,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Stage {
    /// The worker goes, or is silent: no more calls over this link.
    Closing,
    Open,
}

impl<'a> Wire<'a> {
    fn new(calls: &'a Arc<Calls>, member: &'a Arc<Member>, credit: usize) -> Self {
        Self {
            calls,
            member,
            credit: credit.max(1),
            unanswered: BTreeMap::new(),
            unsent: VecDeque::new(),
            out: BytesMut::new(),
            events: Vec::new(),
            stage: Stage::Open,
        }
    }

    /// Runs until the link is closed on this side and all is answered, or it breaks.
    async fn run(
        &mut self,
        connection: Upgraded,
        orders: &mut mpsc::Receiver<Order>,
    ) -> Result<(), Broken> {
        let (mut reading, mut writing) = tokio::io::split(connection);
        let (mut arrived, mut batch) = (BytesMut::new(), Vec::new());
        let mut wanted = true;
        let (mut quiet, mut steps) = (Quiet::default(), interval(LINK_QUIET));
        // A process that was stopped has missed no word for that long.
        steps.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while wanted || !self.unanswered.is_empty() || !self.unsent.is_empty() {
            arrived.reserve(LINK_READ);
            // What can't go over it any more has another way. Where credit is used up, orders are
            // taken all the same: they may be to cancel what uses it up.
            let room = self.stage == Stage::Closing
                || self.out.len() < LINK_UNSENT && self.unsent.len() < LINK_QUEUE;
            tokio::select! {
                read = reading.read_buf(&mut arrived) => {
                    if read? == 0 {
                        return Err(Broken::Closed);
                    }
                    quiet.hear();
                    self.take_all(&mut arrived)?;
                }
                count = orders.recv_many(&mut batch, LINK_CALLS), if wanted && room => {
                    wanted = count > 0;
                    batch.drain(..).for_each(|order| self.order(order));
                }
                written = writing.write_buf(&mut self.out), if !self.out.is_empty() => {
                    if written? == 0 {
                        return Err(Broken::Closed);
                    }
                }
                _ = steps.tick() => self.notice(quiet.step())?,
            }
            self.send_unsent();
            if !self.events.is_empty() {
                let events = std::mem::take(&mut self.events);
                self.calls.handle.send_all(events).await?;
            }
        }
        Ok(())
    }

    /// The worker has said nothing for so many steps.
    fn notice(&mut self, quiet: u32) -> Result<(), Broken> {
        if LINK_QUIET * quiet > LATE_ANSWER {
            return Err(Broken::Silent);
        }
        if quiet > LINK_SIGNS && self.stage == Stage::Open {
            // What it may still answer is waited for, as over plain HTTP.
            tracing::debug!(url = %self.member.url, "the link is silent");
            self.stage = Stage::Closing;
            self.member.link.close();
        }
        if quiet > 0 {
            FromSupervisor::put_ping(&mut self.out);
        }
        Ok(())
    }

    fn order(&mut self, order: Order) {
        match order {
            Order::Call(dispatch) => self.unsent.push_back(dispatch),
            Order::Cancel(attempt) => {
                if let Some(call) = self.unanswered.get_mut(&attempt) {
                    call.wanted = Wanted::Cancelled;
                    FromSupervisor::put_cancel(&mut self.out, attempt.0);
                } else if let Some(at) = self.unsent.iter().position(|one| one.attempt == attempt) {
                    self.unsent.remove(at);
                    let reply = WorkerReply::Cancelled;
                    self.events.push(Event::AttemptEnded { attempt, reply });
                }
            }
        }
    }

    /// Sends what there is credit for.
    fn send_unsent(&mut self) {
        while self.stage == Stage::Closing
            && let Some(call) = self.unsent.pop_front()
        {
            self.calls.call(Some(Arc::clone(self.member)), call);
        }
        // What waits is shared with others; what is to be written is a copy.
        while self.unanswered.len() < self.credit
            && self.out.len() < LINK_UNSENT
            && let Some(dispatch) = self.unsent.pop_front()
        {
            let (trace, wanted) = (dispatch.message.trace(), Wanted::Yes);
            self.unanswered.insert(dispatch.attempt, Unanswered { trace, wanted });
            call(&dispatch).put(&mut self.out);
        }
    }

    /// Takes in all frames that have come.
    fn take_all(&mut self, arrived: &mut BytesMut) -> Result<(), Broken> {
        let limit = self.calls.sizes.load().message + link::OVERHEAD;
        while let Some(frame) = frame::next(arrived, limit)? {
            let length = frame.len();
            self.take(FromWorker::read(frame)?)?;
            arrived.advance(frame::HEAD + length);
        }
        Ok(())
    }

    fn take(&mut self, said: FromWorker<'_>) -> Result<(), Broken> {
        match said {
            FromWorker::Answer(answer) => {
                let attempt = AttemptId(answer.number);
                let call = self.unanswered.remove(&attempt).ok_or(BadFrame)?;
                let limit = self.calls.sizes.load().message;
                let reply = if answer.body.len() > limit {
                    plain::broken(&SendError::TooLarge(limit))
                } else {
                    reply(&answer, &call.trace)
                };
                self.events.push(Event::AttemptEnded { attempt, reply });
            }
            FromWorker::Cancelled(number) => {
                let attempt = AttemptId(number);
                let call = self.unanswered.get(&attempt);
                // One that nobody has cancelled is still to be ended, with the link.
                if call.is_none_or(|call| call.wanted != Wanted::Cancelled) {
                    return Err(BadFrame.into());
                }
                self.unanswered.remove(&attempt);
                let reply = WorkerReply::Cancelled;
                self.events.push(Event::AttemptEnded { attempt, reply });
            }
            FromWorker::Closing if self.stage == Stage::Open => {
                self.stage = Stage::Closing;
                self.member.link.close();
            }
            FromWorker::Closing | FromWorker::Pong => {}
        }
        Ok(())
    }
}

fn call(dispatch: &Dispatch) -> link::Call<'_> {
    let message = &*dispatch.message;
    let headers = message.headers.iter().map(|(name, value)| (&**name, &**value));
    link::Call {
        number: dispatch.attempt.0,
        stream: dispatch.stream_name.as_str(),
        sequence: dispatch.sequence.0,
        id: message.id,
        attempt: dispatch.number,
        max_attempts: dispatch.max_attempts,
        timeout_ms: u64::try_from(dispatch.timeout.as_millis()).unwrap_or(u64::MAX),
        reason: dispatch.reason.as_str(),
        sender_key: message.key.as_ref().and_then(Key::given).unwrap_or_default(),
        content_type: &message.content_type,
        headers: headers.collect(),
        body: &message.body,
    }
}

/// Reads an answer to a message of this trace.
pub(super) fn reply(answer: &link::Answer<'_>, trace: &[(Box<str>, Box<str>)]) -> WorkerReply {
    let described = described(answer);
    if let Err(detail) = &described
        && plain::is_result(answer.status, answer.outcome)
    {
        return plain::unfit(detail);
    }
    let (content_type, headers) = described.unwrap_or_default();
    let payload = Payload { content_type, headers, body: Bytes::copy_from_slice(answer.body) };
    WorkerReply::Answer {
        status: answer.status,
        outcome: answer.outcome,
        reason: plain::said(answer.reason.as_bytes()),
        retry_after: wait(answer.retry_after),
        payload: payload.traced(trace),
    }
}

/// What is kept of what is said of an answer's body: as over plain HTTP, where it would have stood
/// in headers.
fn described(answer: &link::Answer<'_>) -> Result<(Box<str>, Headers), String> {
    if answer.headers.is_empty() && plain::is_text(answer.content_type) {
        return Ok((answer.content_type.into(), Headers::default()));
    }
    let mut headers = HeaderMap::new();
    for (name, value) in &answer.headers {
        let name = HeaderName::try_from(*name).map_err(|error| error.to_string())?;
        headers.append(name, HeaderValue::try_from(*value).map_err(|error| error.to_string())?);
    }
    if !answer.content_type.is_empty() {
        let value = HeaderValue::from_bytes(answer.content_type.as_bytes());
        headers.insert(header::CONTENT_TYPE, value.map_err(|error| error.to_string())?);
    }
    plain::described(&headers)
}
