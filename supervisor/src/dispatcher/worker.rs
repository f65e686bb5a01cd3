//! One worker as the dispatcher sees it: whether it may be given work, and what its answers and
//! failures say of it.

use std::{sync::Arc, time::Duration};

use rollcall_common::{backoff, time::Time};

use super::pool::PoolKey;

/// Longest time for which a worker is taken out.
const LONGEST_EJECTION: Duration = Duration::from_secs(300);
/// First and longest wait before a worker that was not there is asked again.
const MISSING_WAIT: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Calls at once that a worker is not limited to any more.
const LARGEST_WINDOW: u32 = 1024;
/// How long nothing happens at a limited worker before it gets one more call at once.
pub(super) const STRETCH_AFTER: Duration = Duration::from_secs(3);

/// A worker's number in this process.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct WorkerKey(pub(super) usize);

/// How a worker's calls go.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum CallSpeed {
    /// They take no longer than usual, or only a small part of their time.
    Usual,
    /// They take longer: they may wait inside it.
    Slow,
}

/// What keeps a worker from being of use.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Impediment {
    /// It asked for a pause.
    Busy,
    /// It lets calls run out of time.
    Hanging,
    /// It is not set up for what it is given.
    Misconfigured,
    /// It can't be connected to.
    Unreachable,
}

impl Impediment {
    /// In a word.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::Hanging => "hanging",
            Self::Misconfigured => "misconfigured",
            Self::Unreachable => "unreachable",
        }
    }
}

/// Whether a worker is one of us.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Standing {
    /// It takes work.
    Active,
    /// It finishes what it has.
    Draining,
    /// It is gone.
    Left,
}

/// A worker, as the dispatcher sees it.
#[derive(Clone, Debug)]
pub struct Worker {
    /// Its id.
    pub id: Arc<str>,
    /// Whether it is one of us.
    pub standing: Standing,
    /// Calls at once that it takes.
    pub concurrency: u32,
    /// Calls that it has.
    pub in_flight: u32,
    /// Bytes of the messages of its calls.
    pub out_bytes: usize,
    /// Calls that it has in time.
    pub(super) counting: u32,
    /// Calls in time of messages during whose attempts a worker died.
    pub(super) suspects: u32,
    /// When it counts as silent, if it has to be heard again and again.
    pub silent_at: Option<Time>,
    /// Until when it asked for a pause, or is given one because it wasn't there.
    pub paused_until: Time,
    /// Until when it is taken out.
    pub ejected_until: Time,
    /// Failures in a row that speak against it.
    pub strikes: u32,
    /// How many times in a row it was taken out.
    ejections: u32,
    /// How many times in a row it was not there, or busy.
    misses: u32,
    /// What keeps it from being of use, as far as its last calls tell.
    pub(super) impediment: Option<Impediment>,
    /// When it last answered well.
    pub(super) answered_at: Time,
    /// When it left.
    pub(super) left_at: Option<Time>,
    /// Since when it can't be connected to.
    pub(super) unreachable_since: Option<Time>,
    /// When it is looked at again, while it can't be connected to.
    pub(super) reach_at: Time,
    /// Calls in time that it gets at once, after it was away or too slow.
    window: Option<u32>,
    /// Answers in time since the window last grew.
    window_credit: u32,
    /// When the window was last made smaller.
    window_cut_at: Time,
    /// When it last got a call, or a smaller limit.
    moved_at: Time,
    pub(super) pool: PoolKey,
    /// Its place among the fit ones of its pool.
    pub(super) fit_at: Option<usize>,
}

impl Worker {
    /// Whether it may be given work at `now`.
    #[must_use]
    pub fn is_fit(&self, now: Time) -> bool {
        self.is_able(now)
            && self.in_flight < self.concurrency
            && self.window.is_none_or(|window| self.counting < window)
    }

    /// Whether a place of it is free, whatever else may keep it from work.
    pub(super) fn has_place(&self) -> bool {
        self.in_flight < self.concurrency
    }

    /// Its pool's outage is over: it gets work as after an absence.
    pub(super) fn come_back(&mut self, now: Time) {
        self.strikes = 0;
        (self.window, self.moved_at) = (Some(1), now);
        self.window_credit = 0;
        self.ejected_until = self.ejected_until.min(now);
    }

    /// Whether all that it needs to be fit is that a call ends whose time is up.
    pub(super) fn lacks_only_a_place(&self, now: Time) -> bool {
        self.is_able(now)
            && self.in_flight >= self.concurrency
            && self.counting < self.concurrency
            && self.window.is_none_or(|window| self.counting < window)
    }

    /// Whether it was taken out and has not done well since.
    pub(super) fn is_on_probation(&self) -> bool {
        self.ejections > 0 && self.standing != Standing::Left
    }

    /// Whether it could be given work at `now` if it had a hand free.
    pub(super) fn is_able(&self, now: Time) -> bool {
        self.is_willing(now) && self.ejected_until <= now
    }

    /// Whether nothing keeps it from working but that it may have failed, or has enough to do.
    pub(super) fn is_willing(&self, now: Time) -> bool {
        self.standing == Standing::Active
            && self.silent_at.is_none_or(|at| now < at)
            && self.paused_until <= now
            && self.unreachable_since.is_none()
    }

    /// Whether it could be given work at `now` if it had a hand free, and would do it as far as its
    /// last calls tell.
    pub(super) fn is_of_use(&self, now: Time) -> bool {
        match self.impediment {
            None => self.is_able(now),
            // It says so because it has enough to do.
            Some(Impediment::Busy) => self.counting > 0,
            Some(Impediment::Hanging | Impediment::Misconfigured | Impediment::Unreachable) => {
                false
            }
        }
    }

    /// Since when it can't be connected to, though it should be there.
    pub(super) fn missed_since(&self, now: Time) -> Option<Time> {
        let silent = self.silent_at.is_some_and(|at| at <= now);
        let expected = self.standing != Standing::Left && !silent;
        self.unreachable_since.filter(|_| expected)
    }

    /// Whether it stands among the fit ones of its pool.
    pub(super) fn is_listed(&self) -> bool {
        self.fit_at.is_some()
    }

    /// The word that the outside sees.
    #[must_use]
    pub fn state(&self, now: Time) -> &'static str {
        match self.standing {
            Standing::Draining => "draining",
            Standing::Left => "left",
            Standing::Active if self.silent_at.is_some_and(|at| at <= now) => "silent",
            Standing::Active if self.unreachable_since.is_some() => "unreachable",
            Standing::Active if self.ejected_until > now => "ejected",
            Standing::Active if self.paused_until > now => "paused",
            Standing::Active => "active",
        }
    }

    /// What keeps it from being of use, as far as its last calls tell, in a word.
    #[must_use]
    pub fn impediment(&self) -> Option<&'static str> {
        self.impediment.map(Impediment::as_str)
    }

    /// Somebody of whom nothing is known yet, and who is not one of us yet.
    pub(super) fn new(id: Arc<str>, pool: PoolKey, concurrency: u32) -> Self {
        Self {
            id,
            standing: Standing::Left,
            concurrency,
            in_flight: 0,
            out_bytes: 0,
            counting: 0,
            suspects: 0,
            window: None,
            window_credit: 0,
            window_cut_at: Time::default(),
            moved_at: Time::default(),
            silent_at: None,
            paused_until: Time::default(),
            ejected_until: Time::default(),
            strikes: 0,
            ejections: 0,
            misses: 0,
            impediment: None,
            answered_at: Time::default(),
            left_at: None,
            unreachable_since: None,
            reach_at: Time::default(),
            pool,
            fit_at: None,
        }
    }

    /// Somebody new stands behind the id: what was held against the old one is forgotten.
    pub(super) fn begin(&mut self) {
        self.standing = Standing::Active;
        self.record_success();
        self.window = None;
        self.left_at = None;
        self.unreachable_since = None;
        self.paused_until = Time::default();
        self.ejected_until = Time::default();
    }

    /// Whether it gets no more than a few calls at once, as it was away or too slow.
    pub(super) fn is_limited(&self) -> bool {
        self.window.is_some()
    }

    /// Notes a call that goes out to it.
    pub(super) fn call(&mut self, now: Time) {
        self.in_flight += 1;
        self.counting += 1;
        self.moved_at = now;
    }

    /// Its limit keeps it from work, and nothing has happened for a while: its calls take long, and
    /// a limit is there against many at once. It gets one more.
    pub(super) fn stretch(&mut self, now: Time) {
        let held = self.is_able(now)
            && self.in_flight < self.concurrency
            && self.window.is_some_and(|window| self.counting >= window);
        if held && self.moved_at + STRETCH_AFTER <= now {
            (self.window, self.window_credit) = (Some(self.counting + 1), 0);
        }
    }

    /// A call took so long that its time was up: it gets half as much at once. Calls that were
    /// out already when that was last done say nothing new (as with TCP's congestion window,
    /// which is cut once a round trip).
    pub(super) fn slow_down(&mut self, started_at: Time, now: Time) {
        if started_at >= self.window_cut_at {
            self.window = Some((self.counting / 2).max(1));
            (self.window_cut_at, self.moved_at) = (now, now);
        }
    }

    /// A call was answered in time. While it is limited it gets one more at once, which doubles
    /// what it has with every round of calls; but only one more a round at a slow pace (TCP's slow
    /// start and congestion avoidance, RFC 5681). When that has gone well for long it gets any
    /// number.
    pub(super) fn trust(&mut self, speed: CallSpeed) {
        let Some(window) = self.window else { return };
        self.window_credit += 1;
        if speed == CallSpeed::Usual || self.window_credit >= window {
            self.window_credit = 0;
            self.window = Some(window + 1).filter(|window| *window < LARGEST_WINDOW);
        }
    }

    /// Notes a good answer.
    pub(super) fn record_success(&mut self) {
        (self.strikes, self.ejections, self.misses) = (0, 0, 0);
        self.impediment = None;
    }

    /// It was not there, or busy. Gives back when it is asked again, then with one message and
    /// not with all that wait.
    pub(super) fn miss(&mut self, now: Time, rng: &mut fastrand::Rng) -> Time {
        self.misses = self.misses.saturating_add(1);
        (self.window, self.moved_at) = (Some(1), now);
        let (first, most) = MISSING_WAIT;
        self.paused_until = now + backoff::doubling(first, most, self.misses, rng);
        self.paused_until
    }

    /// It can't be connected to. Gives back when it is looked at again: no message goes to it
    /// before.
    pub(super) fn lose(&mut self, now: Time, rng: &mut fastrand::Rng) -> Time {
        self.unreachable_since.get_or_insert(now);
        self.misses = self.misses.saturating_add(1);
        (self.window, self.moved_at) = (Some(1), now);
        let (first, most) = MISSING_WAIT;
        self.reach_at = now + backoff::doubling(first, most, self.misses, rng);
        self.reach_at
    }

    /// It can be connected to again.
    pub(super) fn find(&mut self) {
        self.unreachable_since = None;
        self.impediment = None;
    }

    /// Takes it out, for longer each time. Gives back until when.
    pub(super) fn eject(&mut self, span: Duration, now: Time, rng: &mut fastrand::Rng) -> Time {
        self.strikes = 0;
        self.ejections = self.ejections.saturating_add(1);
        let span = span.saturating_mul(self.ejections).min(LONGEST_EJECTION);
        // Up to a tenth more, so that workers put out together come back one by one.
        self.ejected_until = now + span + backoff::below(span / 10, rng);
        self.ejected_until
    }
}
