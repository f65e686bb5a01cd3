//! The same message asked twice: run once, answered twice. And a short memory of results, so
//! that a message whose answer was lost is not run again.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::{
    FutureExt as _,
    future::{BoxFuture, Shared, WeakShared},
};
use rollcall_common::{
    message::weight_of,
    time::{Clock, Time},
};

use crate::handler::Reply;

/// How long a result is remembered.
const REMEMBER: Duration = Duration::from_secs(300);
/// Most results that are remembered.
const REMEMBERED: usize = 1024;
/// Most bytes of results that are remembered.
const REMEMBERED_BYTES: usize = 16 << 20;

/// A message being worked on. All who ask for it hold a clone; the work ends with the last.
pub(crate) type Run = Shared<BoxFuture<'static, Reply>>;

/// What runs, and what has run of late.
pub(crate) struct Answered {
    clock: Clock,
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
}

struct Remembered {
    key: Arc<str>,
    until: Time,
    bytes: usize,
}

impl Answered {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { clock: Clock::start(Time::default()), state: Mutex::default() })
    }

    /// The run of the message that goes by `key`: the one under way, one that is over already, or
    /// the one that `start` gives. An empty key stands for none.
    pub(crate) fn ask(
        self: &Arc<Self>,
        key: &str,
        start: impl FnOnce() -> Result<BoxFuture<'static, Reply>, Reply>,
    ) -> Result<Run, Reply> {
        if key.is_empty() {
            return start().map(|work| work.shared());
        }
        let mut state = self.lock();
        state.forget(self.clock.now());
        if let Some(reply) = state.done.get(key) {
            return Err(reply.clone());
        }
        let running = state.running.get(key);
        if let Some(run) = running.and_then(|running| running.work.upgrade()) {
            return Ok(run);
        }
        let work = start()?;
        state.runs += 1;
        let (run, key) = (state.runs, Arc::from(key));
        let ticket = Ticket { answered: Arc::clone(self), key: Arc::clone(&key), run };
        let work = async move {
            let reply = work.await;
            ticket.done(&reply);
            reply
        }
        .boxed()
        .shared();
        if let Some(weak) = work.downgrade() {
            state.running.insert(key, Running { run, work: weak });
        }
        Ok(work)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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
    answered: Arc<Answered>,
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

impl fmt::Debug for Answered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Answered")
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    fn never() -> Result<BoxFuture<'static, Reply>, Reply> {
        panic!("run twice")
    }

    fn result() -> Result<BoxFuture<'static, Reply>, Reply> {
        Ok(ready(Reply::ok("x")).boxed())
    }

    #[tokio::test]
    async fn a_result_is_remembered_and_a_failure_is_not() {
        let answered = Answered::new();
        assert!(answered.ask("a", result).unwrap().await.is_ok());
        assert_eq!(answered.ask("a", never).unwrap_err(), Reply::ok("x"));
        let failing = || Ok(ready(Reply::retry("no")).boxed());
        assert!(!answered.ask("b", failing).unwrap().await.is_ok());
        assert!(answered.ask("b", result).unwrap().await.is_ok());
        assert!(answered.lock().running.is_empty());
    }

    #[tokio::test]
    async fn a_run_is_shared_and_ends_with_its_last_caller() {
        let answered = Answered::new();
        let first = answered.ask("a", || Ok(pending().boxed())).unwrap();
        let second = answered.ask("a", never).unwrap();
        drop(first);
        assert_eq!(answered.lock().running.len(), 1);
        drop(second);
        assert!(answered.lock().running.is_empty());
        assert!(answered.ask("a", result).unwrap().await.is_ok());
    }

    #[tokio::test]
    async fn the_memory_is_bounded() {
        let answered = Answered::new();
        for number in 0..2 * REMEMBERED {
            let run = answered.ask(&number.to_string(), result).unwrap();
            run.await;
        }
        let large = || Ok(ready(Reply::ok(vec![0; REMEMBERED_BYTES + 1])).boxed());
        assert_eq!(answered.lock().done.len(), REMEMBERED);
        answered.ask("large", large).unwrap().await;
        let state = answered.lock();
        assert_eq!((state.done.len(), state.order.len(), state.bytes), (0, 0, 0));
    }
}
