//! The supervisor inside: driver, journal and views, with one stream and one pool.

use std::{num::NonZeroUsize, path::PathBuf, sync::Arc, time::Duration};

use rollcall_common::{
    backoff::Ladder,
    ids::{Sequence, StreamName},
    seed, task,
    time::Clock,
};
use tokio::{task::JoinHandle, time::sleep};

use super::{AHEAD_LINES, Failure, Stop, memo::Memo, waiting::Pace};
use crate::{
    app::{self, Opened},
    config::{self, JournalKind},
    dispatcher::{
        Dispatcher, Event, Settings,
        settings::{
            BudgetSettings, Hedging, OnExhausted, OutageDetection, PoolSettings, StreamSettings,
        },
    },
    driver::{Driver, DriverError, Edges, Handle, Mailbox, Parts, engine::Engine},
    journal::Journal,
    views::Views,
};

/// The stream of all lines.
const STREAM: &str = "pipe";
/// The pool of all workers.
pub(super) const POOL: &str = "pipe";
/// How long a try may take unless told: longer than anybody waits.
const NO_TIMEOUT: Duration = Duration::from_secs(366 * 86_400);
/// How often somebody looks whether anything is still under way.
const LOOK: Duration = Duration::from_millis(10);
/// Before another try: up to this.
const JITTER: Duration = Duration::from_millis(100);

/// What is to be done.
#[derive(Debug)]
pub(super) struct Orders {
    /// Lines at once.
    pub(super) jobs: u32,
    /// How long a try may take.
    pub(super) timeout: Option<Duration>,
    /// Who sees to it that it takes no longer.
    pub(super) keeper: Keeper,
    /// How many tries a line has.
    pub(super) tries: u32,
    /// Where the journal is kept, if it is.
    pub(super) data: Option<PathBuf>,
    /// Whether lines that have failed are tried again.
    pub(super) retry_failed: bool,
    /// What the journal is of.
    pub(super) memo: Memo,
    /// How many lines go together.
    pub(super) together: NonZeroUsize,
}

/// Who sees to it that a try takes no longer than it may.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Keeper {
    /// The driver.
    Driver,
    /// Whoever works on it: it may wait for room on the machine before it begins.
    Job,
}

impl Orders {
    /// The treatment of the stream. Waits and timeouts don't grow: nobody else is served here.
    pub(super) fn settings(&self, pace: Pace) -> Settings {
        let timeout = self.timeout.filter(|_| self.keeper == Keeper::Driver);
        let ladder = Ladder {
            timeout: timeout.unwrap_or(NO_TIMEOUT),
            jitter: JITTER,
            multiplier_permille: 1000,
            max_attempts: self.tries,
            ..Ladder::default()
        };
        let stream = StreamSettings {
            pool: Some(POOL.into()),
            ladder,
            on_exhausted: OnExhausted::Skip,
            max_in_flight: self.jobs,
            window: match pace {
                Pace::Full => 2 * AHEAD_LINES,
                Pace::HeadOnly => 1,
                Pace::Nothing => 0,
            },
            max_backlog: u64::MAX,
            hold_alert_after: NO_TIMEOUT,
            retry_for: None,
            // A line is worked on once, unless that failed.
            hedge: Hedging::Off,
            // Nothing trims its journal: a second run prints all of it again.
            retention: Duration::MAX,
        };
        // Nobody else is served here who would have to be spared.
        let budget = BudgetSettings { percent: 0, per_second: u32::MAX };
        // A line that fails has failed, whatever the others do.
        let outage = OutageDetection::Off;
        let pool = PoolSettings { budget, outage, ..PoolSettings::default() };
        let pools = vec![(POOL.into(), pool)];
        Settings { default_stream: Arc::new(stream), pools, ..Settings::default() }
    }

    fn journal(&self) -> config::Journal {
        let (kind, path) = match &self.data {
            Some(path) => (JournalKind::Local, path.clone()),
            None => (JournalKind::Memory, PathBuf::new()),
        };
        config::Journal { kind, path, ..config::Journal::default() }
    }
}

/// What the journal had when it was opened.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Known {
    /// Lines.
    pub(super) lines: u64,
    /// Those that are finished, up to the first that is not.
    pub(super) finished: u64,
}

/// The supervisor inside.
#[derive(Debug)]
pub(super) struct Embedded {
    pub(super) handle: Handle,
    pub(super) views: Arc<Views>,
    pub(super) journal: Arc<dyn Journal>,
    pub(super) kind: JournalKind,
    pub(super) stream: StreamName,
    pub(super) known: Known,
    pub(super) clock: Clock,
    pub(super) orders: Orders,
}

type Driving = JoinHandle<Result<(), DriverError>>;

impl Embedded {
    pub(super) async fn start(
        orders: Orders,
        (handle, mailbox): (Handle, Mailbox),
        edges: Arc<dyn Edges>,
    ) -> Result<(Self, Driving), Failure> {
        let (settings, journal) = (Arc::new(orders.settings(Pace::Full)), orders.journal());
        let kind = journal.kind;
        let Opened { journal, epoch, views, recovered, .. } =
            app::open(journal, None, Arc::clone(&settings)).await?;
        let clock = Clock::start(recovered.state.last_time());
        let stream: StreamName = STREAM.parse()?;
        let engine = Engine::new(settings, recovered, seed::seed(), clock.now());
        let known = known(engine.dispatcher(), &views, &stream)?;
        if let Some(data) = &orders.data {
            orders.memo.check(data, known.lines)?;
        }
        let driver = Driver::new(Parts {
            engine,
            journal: Arc::clone(&journal),
            epoch,
            views: Arc::clone(&views),
            edges,
            clock,
            handle: handle.clone(),
            mailbox,
        });
        let driver = task::spawn("driver", driver.run());
        Ok((Self { handle, views, journal, kind, stream, known, clock, orders }, driver))
    }

    /// Begins nothing new, and waits until nothing is under way and what came of it is durable.
    pub(super) async fn drain(&self) -> Result<(), Stop> {
        self.handle.send(Event::Drain).await?;
        let views = Arc::clone(&self.views);
        loop {
            let ids: Vec<_> =
                views.streams(None, usize::MAX).into_iter().map(|(_, id)| id).collect();
            let under_way = move |dispatcher: &Dispatcher| {
                ids.iter().any(|stream| dispatcher.stream_status(*stream).in_flight > 0)
            };
            if !self.handle.query(under_way).await? {
                break;
            }
            sleep(LOOK).await;
        }
        Ok(self.handle.settled().await?)
    }
}

fn known(dispatcher: &Dispatcher, views: &Views, stream: &StreamName) -> Result<Known, Failure> {
    // Lines that were tried again have streams of their own.
    let is_ours =
        |(name, _): &(StreamName, _)| name == stream || name.as_str().starts_with("again.");
    let all_ours = views.streams(None, usize::MAX).iter().all(is_ours);
    match (views.stream_count(), views.find(stream)) {
        (0, _) => Ok(Known { lines: 0, finished: 0 }),
        (_, Some(stream)) if all_ours => {
            let status = dispatcher.stream_status(stream);
            let Sequence(finished) = status.released;
            Ok(Known { lines: status.next.0 - 1, finished })
        }
        _ => Err(Failure::usage("the journal in --data is not one of supervisor pipe")),
    }
}
