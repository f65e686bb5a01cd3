//! Things that must have happened at least once over many seeds: a fault that no seed ever hit
//! proves nothing.

use std::collections::BTreeMap;

macro_rules! somethings {
    ($($name:ident = $text:literal,)*) => {
        /// Something that must happen sometimes.
        #[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
        pub enum Something { $(#[doc = $text] $name,)* }

        impl Something {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// In words.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

somethings! {
    AckLost = "acknowledgement lost, and asked for again",
    AlertFired = "somebody was told that an alert fires",
    AlertRepeated = "somebody was told again",
    AlertResolved = "somebody was told that an alert is over",
    AlertStorm = "somebody was told that very many alerts fire at once",
    AlertSeen = "somebody was told that somebody has seen an alert",
    AlertWorse = "somebody was told that an alert got worse",
    Away = "destination was away",
    Backlogged = "backlog at its bound",
    BatchAgain = "batch sent again after some of it had been taken",
    BatchResized = "size of batches changed while one was fixed",
    BatchTaken = "batch taken in",
    BecamePassing = "stream lost its processing step while it was busy",
    Busy = "worker was busy",
    Cancelled = "worker dropped what was no longer needed",
    BelowFloor = "reader asked for results that were no longer kept",
    Conflict = "key seen with other content",
    CopiedMessage = "message copied before its journal was trimmed",
    CopiedResult = "result copied before its journal was trimmed",
    CrashBeforeSync = "crash between append and sync, with acknowledgements outstanding",
    CrashInRecovery = "crash during recovery",
    CrashInTrim = "crash between a snapshot's or a trim's steps",
    CrashMidTurn = "crash between two effects",
    DiskFull = "disk full while writing",
    Diverging = "late answer differs from the accepted one",
    Drained = "worker drained",
    Duplicate = "key seen with the same content",
    Ejected = "worker ejected",
    EnoughOut = "message waited because enough was out at workers",
    Fetched = "message fetched from the journal",
    FetchedTooLate = "messages had their results when they were read back",
    GivenUp = "late attempt given up for one that waits",
    Gone = "destination said that it is gone",
    HeldBeyond = "streams stood still beyond the alerts of their own",
    HedgeMade = "slow attempt got a copy",
    HedgeWon = "copy of a slow attempt was first",
    Held = "stream held after five refusals by a destination",
    LateAccepted = "late answer accepted",
    LateBeaten = "answer came after another one was accepted",
    LateResolves = "late answer after parking",
    LongWait = "retry waited for most of what its wait may be",
    StreamMore = "sender went on along its stream",
    LeftOut = "subscription left out of the configuration",
    Misconfigured = "worker was misconfigured",
    NotParked = "decision on a message that is not parked",
    OutageOfDestination = "destination refused whatever it was given",
    Parked = "attempts used up, message parked",
    ParkedByWord = "worker asked for a person",
    PartlyTaken = "destination took part of a batch",
    Pardoned = "ejected worker taken back for want of others",
    PassedOver = "result passed over for one subscription",
    OutageBegan = "pool was in an outage",
    OutageEnded = "outage of a pool was over",
    OutageProbed = "worker of a pool in an outage was probed",
    Paused = "stream paused",
    PoisonParked = "message parked because workers died of it",
    ProbedAbsent = "worker was found dead",
    ProbedPresent = "worker whose connection broke was still there",
    Pulled = "reader of a pull subscription moved its checkpoint",
    PulledAfterChange = "reader of a pull subscription went on after a change",
    PulledAgain = "reader of a pull subscription went on after a crash",
    PulledReplay = "reader of a pull subscription got a replayed result",
    PutBack = "subscription put back into the configuration",
    Recalled = "sender was called back",
    Redelivered = "result delivered again",
    Refused = "refused by two workers, and parked",
    Resolved = "person supplied a result",
    RetryDeferred = "retry waited for the budget",
    Retried = "person sent a message back to the workers",
    Removed = "segments removed",
    RetryRestored = "waiting retry restored after a crash",
    Rewound = "subscription rewound",
    Rolled = "journal went on in another segment",
    Scanned = "subscription looked at older results in the journal",
    SettingsChanged = "settings changed",
    SkippedByPerson = "person skipped a message",
    SkippedBySetting = "exhausted head skipped by its stream's settings",
    SkippedByWord = "worker said that there is no result",
    SpaceLow = "intake refused for lack of space",
    ShortWait = "retry waited for little of what its wait may be",
    Snapshot = "snapshot written",
    Stale = "reused connection was closed",
    StandingParked = "stream ended at a parked head",
    Suspected = "message charged with a worker's death",
    SubscriptionChanged = "subscription changed over the API",
    SubscriptionMade = "subscription made over the API",
    SubscriptionPaused = "subscription paused",
    SubscriptionRemoved = "subscription removed over the API",
    SyncFailed = "sync failed",
    TargetAway = "somebody was to be told, and was away",
    TooLarge = "batch refused that does not fit into an entry",
    TurnCut = "turn that became several entries",
    TimedOut = "attempt timed out",
    Torn = "torn tail cut off",
    TooMuchToCopy = "trim put off, because too much would have been copied",
    Trimmed = "journal trimmed, and folded from a snapshot",
    Unreachable = "worker was not reached",
    WithHeaders = "result with headers beside it released",
    WorkedInParts = "what was due at once was worked off in parts",
    WorkerDied = "worker died with work in hand",
    WorkerForgotten = "worker was forgotten",
    WorkerLeft = "worker left",
    WorkerSilent = "worker's heartbeats stopped",
    WriteFailed = "crash in the middle of a write",
}

/// How often each thing happened.
#[derive(Clone, Debug, Default)]
pub struct Coverage(BTreeMap<Something, u64>);

impl Coverage {
    /// Notes that it happened.
    pub fn note(&mut self, something: Something) {
        self.add(something, 1);
    }

    /// Notes that it happened `count` times.
    pub fn add(&mut self, something: Something, count: u64) {
        if count > 0 {
            *self.0.entry(something).or_default() += count;
        }
    }

    /// Adds what happened elsewhere.
    pub fn merge(&mut self, other: &Self) {
        for (something, count) in &other.0 {
            self.add(*something, *count);
        }
    }

    /// How often it happened.
    #[must_use]
    pub fn count(&self, something: Something) -> u64 {
        self.0.get(&something).copied().unwrap_or_default()
    }

    /// What never happened.
    #[must_use]
    pub fn missing(&self) -> Vec<Something> {
        let all = Something::ALL.iter().copied();
        all.filter(|something| self.count(*something) == 0).collect()
    }
}
