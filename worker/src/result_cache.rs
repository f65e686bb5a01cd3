//! The same message asked twice: run once, answered twice. And a short memory of results, so
//! that a message whose answer was lost is not run again.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::{
    FutureExt as _,
    future::{BoxFuture, Shared, WeakShared},
};
use http::StatusCode;
use rollcall_common::{
    message::weight_of,
    time::{Clock, Time},
};
use tokio::time::sleep;

use crate::{
    handler::Reply,
    lifecycle::{Stage, Stages},
};

/// How long a result is remembered.
const REMEMBER: Duration = Duration::from_secs(300);
/// Most results that are remembered.
const REMEMBERED: usize = 1024;
/// Most bytes of results that are remembered.
const REMEMBERED_BYTES: usize = 16 << 20;

/// Work that nobody has given up may go on for so long after its time, at least.
const OVERTIME_AT_LEAST: Duration = Duration::from_secs(1);

/// A message being worked on. All who ask for it hold a clone; the work ends with the last.
pub(crate) type Run = Shared<BoxFuture<'static, Reply>>;

/// What runs, and what has run of late.
pub(crate) struct ResultCache {
    clock: Clock,
    stages: Stages,
    /// Times of what its attempt may take after which work is ended; absent: it is not.
    overtime: Option<u32>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    running: HashMap<Arc<str>, Running>,
    done: HashMap<Arc<str>, Reply>,
    /// The keys of `done`, the oldest first.
    order: VecDeque<Remembered>,
    bytes: usize,
    runs: u64,
}

struct Running {
    run: u64,
    work: WeakShared<BoxFuture<'static, Reply>>,
    until: Arc<Until>,
}

/// When work is ended, in microseconds of the clock. It is only ever put off: whoever asks for the
/// same message later gives it the time of a later attempt.
struct Until(AtomicU64);

struct Remembered {
    key: Arc<str>,
    until: Time,
    bytes: usize,
}

impl ResultCache {
    pub(crate) fn new(stages: Stages, overtime: Option<u32>) -> Arc<Self> {
        let clock = Clock::start(Time::default());
        Arc::new(Self { clock, stages, overtime, state: Mutex::default() })
    }

    /// The run of the message that goes by `key`: the one under way, one that is over already, or
    /// the one that `start` gives. An empty key stands for none.
    pub(crate) fn ask(
        self: &Arc<Self>,
        (key, timeout): (&str, Option<Duration>),
        start: impl FnOnce() -> Result<BoxFuture<'static, Reply>, Reply>,
    ) -> Result<Run, Reply> {
        let now = self.clock.now();
        let end = self.end(timeout, now);
        if key.is_empty() {
            let until = Arc::new(Until(end.into()));
            return start().map(|work| Arc::clone(self).bounded(work, until).boxed().shared());
        }
        let mut state = self.lock();
        state.forget(now);
        if let Some(reply) = state.done.get(key) {
            return Err(reply.clone());
        }
        if let Some(running) = state.running.get(key)
            && let Some(run) = running.work.upgrade()
        {
            running.until.0.fetch_max(end, Ordering::Relaxed);
            return Ok(run);
        }
        let work = start()?;
        state.runs += 1;
        let (run, key) = (state.runs, Arc::from(key));
        let ticket = Ticket { answered: Arc::clone(self), key: Arc::clone(&key), run };
        let until = Arc::new(Until(end.into()));
        let work = Arc::clone(self).bounded(work, Arc::clone(&until));
        let work = async move {
            let reply = work.await;
            ticket.done(&reply);
            reply
        }
        .boxed()
        .shared();
        if let Some(weak) = work.downgrade() {
            state.running.insert(key, Running { run, work: weak, until });
        }
        Ok(work)
    }

    /// The work, until it has taken too long or the worker has no more time.
    async fn bounded(self: Arc<Self>, work: BoxFuture<'static, Reply>, until: Arc<Until>) -> Reply {
        tokio::select! {
            biased;
            reply = work => reply,
            () = until.over(self.clock) => {
                let times = self.overtime.unwrap_or_default();
                let reason = format!("ended: it has taken more than {times} times its time");
                Reply::of_status(StatusCode::GATEWAY_TIMEOUT, reason)
            }
            () = self.stages.reached(Stage::Ending) => Reply::busy(1, "the worker is stopping"),
        }
    }

    /// When work for an attempt that begins now and may take so long is ended.
    fn end(&self, timeout: Option<Duration>, now: Time) -> u64 {
        match (self.overtime, timeout) {
            (Some(times), Some(timeout)) => {
                let most = timeout.saturating_mul(times).max(timeout + OVERTIME_AT_LEAST);
                (now + most).as_micros()
            }
            (None, _) | (_, None) => u64::MAX,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Until {
    async fn over(&self, clock: Clock) {
        loop {
            let end = self.0.load(Ordering::Relaxed);
            if end == u64::MAX {
                return std::future::pending().await;
            }
            let wait = clock.until(Time::from_micros(end));
            if wait.is_zero() {
                return;
            }
            sleep(wait).await;
        }
    }
}

impl State {
    fn forget(&mut self, now: Time) {
        let over = |state: &Self, oldest: &Remembered| {
            oldest.until <= now || state.order.len() > REMEMBERED || state.bytes > REMEMBERED_BYTES
        };
        while self.order.front().is_some_and(|oldest| over(self, oldest)) {
            if let Some(oldest) = self.order.pop_front() {
                self.bytes -= oldest.bytes;
                self.done.remove(&oldest.key);
            }
        }
    }

    fn remember(&mut self, key: &Arc<str>, reply: &Reply, now: Time) {
        let bytes = reply.body.len() + weight_of(&reply.headers) + key.len();
        if self.done.insert(Arc::clone(key), reply.clone()).is_none() {
            self.bytes += bytes;
            self.order.push_back(Remembered { key: Arc::clone(key), until: now + REMEMBER, bytes });
        }
        self.forget(now);
    }
}

/// Takes a run out of the list when it is over, or given up.
struct Ticket {
    answered: Arc<ResultCache>,
    key: Arc<str>,
    run: u64,
}

impl Ticket {
    fn done(self, reply: &Reply) {
        if reply.is_ok() {
            let now = self.answered.clock.now();
            self.answered.lock().remember(&self.key, reply, now);
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut state = self.answered.lock();
        let same = |running: &Running| running.run == self.run;
        if state.running.get(&self.key).is_some_and(same) {
            state.running.remove(&self.key);
        }
    }
}

impl fmt::Debug for ResultCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Answered")
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    fn answered() -> Arc<ResultCache> {
        ResultCache::new(Stages::new(), Some(2))
    }

    fn never() -> Result<BoxFuture<'static, Reply>, Reply> {
        panic!("run twice")
    }

    fn result() -> Result<BoxFuture<'static, Reply>, Reply> {
        Ok(ready(Reply::ok("x")).boxed())
    }

    #[tokio::test]
    async fn a_result_is_remembered_and_a_failure_is_not() {
        let answered = answered();
        assert!(answered.ask(("a", None), result).unwrap().await.is_ok());
        assert_eq!(answered.ask(("a", None), never).unwrap_err(), Reply::ok("x"));
        let failing = || Ok(ready(Reply::retry("no")).boxed());
        assert!(!answered.ask(("b", None), failing).unwrap().await.is_ok());
        assert!(answered.ask(("b", None), result).unwrap().await.is_ok());
        assert!(answered.lock().running.is_empty());
    }

    #[tokio::test]
    async fn a_run_is_shared_and_ends_with_its_last_caller() {
        let answered = answered();
        let first = answered.ask(("a", None), || Ok(pending().boxed())).unwrap();
        let second = answered.ask(("a", None), never).unwrap();
        drop(first);
        assert_eq!(answered.lock().running.len(), 1);
        drop(second);
        assert!(answered.lock().running.is_empty());
        assert!(answered.ask(("a", None), result).unwrap().await.is_ok());
    }

    #[tokio::test]
    async fn work_is_ended_when_its_time_is_long_over() {
        let answered = answered();
        let (short, long) = (Duration::from_millis(1), Duration::from_millis(700));
        let began = answered.clock.now();
        let ask = |key, timeout| answered.ask((key, timeout), || Ok(pending().boxed())).unwrap();
        let (named, nameless) = (ask("a", Some(short)), ask("", Some(short)));
        // A later attempt at the same message gives it its own time.
        let later = ask("a", Some(long));
        assert_eq!(nameless.await.status, StatusCode::GATEWAY_TIMEOUT);
        let one = answered.clock.now().since(began);
        assert!(named.clone().now_or_never().is_none());
        assert_eq!(named.await.status, StatusCode::GATEWAY_TIMEOUT);
        let both = answered.clock.now().since(began);
        assert!(one >= OVERTIME_AT_LEAST + short && both >= OVERTIME_AT_LEAST + long);
        assert_eq!(later.await.status, StatusCode::GATEWAY_TIMEOUT);
        assert!(answered.lock().running.is_empty());
    }

    #[tokio::test]
    async fn what_runs_is_sent_elsewhere_when_the_worker_has_no_more_time() {
        let answered = answered();
        let run = answered.ask(("a", None), || Ok(pending().boxed())).unwrap();
        assert!(run.clone().now_or_never().is_none());
        answered.stages.advance(Stage::Ending);
        assert_eq!(run.await.status, StatusCode::SERVICE_UNAVAILABLE);
    }

    #[tokio::test]
    async fn the_memory_is_bounded() {
        let answered = answered();
        for number in 0..2 * REMEMBERED {
            let run = answered.ask((&number.to_string(), None), result).unwrap();
            run.await;
        }
        let large = || Ok(ready(Reply::ok(vec![0; REMEMBERED_BYTES + 1])).boxed());
        assert_eq!(answered.lock().done.len(), REMEMBERED);
        answered.ask(("large", None), large).unwrap().await;
        let state = answered.lock();
        assert_eq!((state.done.len(), state.order.len(), state.bytes), (0, 0, 0));
    }
}
