//! Every hard limit, by name. What a user may change has its default here and its key in the
//! configuration.

use std::time::Duration;

/// Longest name of a stream, in bytes.
pub const STREAM_NAME_BYTES: usize = 128;
/// Longest idempotency key, in bytes.
pub const KEY_BYTES: usize = 1024;
/// Longest id of a worker, in bytes.
pub const WORKER_ID_BYTES: usize = 128;
/// Longest reason or detail that is kept of what a worker or a person says, in bytes.
pub const REASON_BYTES: usize = 1024;
/// Default for the largest message and the largest result (`limits.message_bytes`).
pub const MESSAGE_BYTES: u64 = 1 << 20;
/// Largest that may be set as the largest message, or as the largest batch.
pub const LARGEST_BODY: u64 = 24 << 20;
/// Default for the largest batch intake (`limits.batch_bytes`).
pub const BATCH_BYTES: u64 = 16 << 20;
/// Default for the bytes of bodies that are on their way in, all together
/// (`limits.intake_bytes`).
pub const INTAKE_BYTES: u64 = 256 << 20;
/// Most messages in one batch intake.
pub const BATCH_MESSAGES: usize = 65_536;
/// Largest request head that an HTTP listener reads, per request: events of 64 KiB fit into it.
pub const HEAD_BYTES: usize = 80 << 10;
/// Bytes of one request's head for which there is always room, per connection.
pub const SMALL_HEAD_BYTES: usize = 16 << 10;
/// Bytes of heads that are larger, all together, per listener.
pub const LARGE_HEADS_BYTES: u64 = 64 << 20;
/// Bytes that are read ahead, and that wait to be written, per connection of an HTTP listener.
pub const CONNECTION_BYTES: usize = 96 << 10;
/// Longest target of a request.
pub const TARGET_BYTES: usize = 16 << 10;
/// Most headers in a request, or in an answer to us: those that are kept, and others.
pub const HEADERS: usize = 300;
/// Connections to one listener.
pub const CONNECTIONS: usize = 16_384;
/// How long a connection has been idle, between two requests, that gives way to another one when a
/// listener has as many as it may.
pub const IDLE_GIVES_WAY: Duration = Duration::from_secs(5);
/// Connections to one listener beyond [`CONNECTIONS`] (or beyond those of an address), each for one
/// request: for health checks and for messages that come in.
pub const RESERVED_CONNECTIONS: usize = 256;
/// How many of these one address may have.
pub const RESERVED_PER_ADDRESS: u32 = 32;
/// Connections to one listener that are told at once that there is no place; more are closed
/// without being heard out.
pub const TURNED_AWAY: usize = 256;
/// Connections that wait to be accepted, as far as the system allows (`net.core.somaxconn`): a
/// client whose connection finds no room tries again after a second (RFC 6298 §2.1).
pub const UNACCEPTED: u32 = 4096;
/// Connections to one listener from one address of another machine, unless
/// `limits.connections_per_address` says otherwise: nobody alone can take them all.
pub const CONNECTIONS_PER_ADDRESS: u32 = 4096;
/// How long the handshake of a TLS connection may take.
pub const TLS_TIMEOUT: Duration = Duration::from_secs(10);
/// Most tokens: each request is compared with all of them.
pub const TOKENS: usize = 1024;
/// Longest token, in bytes.
pub const TOKEN_BYTES: usize = 1024;
/// Largest file with a token or a password that is read, in bytes; per file.
pub const SECRET_FILE_BYTES: u64 = 64 << 10;
/// Largest file with certificates or a key that is read, in bytes; per file.
pub const PEM_FILE_BYTES: u64 = 4 << 20;
/// Longest that reading a configuration, with all files that it names, may take; per reading.
pub const CONFIG_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a client may take to send a request's head.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a client's connection may be idle between two requests.
pub const IDLE_CLIENT: Duration = Duration::from_secs(300);
/// How long a client's body may stand still.
pub const BODY_STALL: Duration = Duration::from_secs(20);
/// How long all of a client's body may take to come: what is reserved for it is held so long.
pub const BODY_TIME: Duration = Duration::from_secs(300);
/// How long a client may take nothing of what is sent to it.
pub const WRITE_STALL: Duration = Duration::from_secs(300);
/// How long a client that was answered before it had sent all may go on sending, for nothing.
pub const LINGER: Duration = Duration::from_secs(10);
/// Connections to one `[[tcp]]` listener.
pub const TCP_CONNECTIONS: usize = 1024;
/// How long a plain connection has been idle that gives way to another one when there are as many
/// as there may be.
pub const TCP_GIVES_WAY: Duration = Duration::from_secs(60);
/// How long a plain connection may be silent between two messages.
pub const TCP_IDLE: Duration = Duration::from_secs(3600);
/// How long one message may take to come over a plain connection.
pub const FRAME_TIME: Duration = Duration::from_secs(300);
/// Messages of one plain connection that are taken in together.
pub const TCP_BATCH: usize = 4096;
/// Bytes that are read at a time from a plain connection.
pub const TCP_READ: usize = 64 << 10;
/// How long a plain connection is still read from when it has been told that it is over.
pub const TCP_LINGER: Duration = Duration::from_secs(2);
/// How much is still read then, in bytes.
pub const TCP_LINGER_BYTES: u64 = 16 << 20;
/// Headers of a message, or of an answer, that are kept and passed on (`ce-*`, `traceparent`,
/// `tracestate`): count, per message.
pub const KEPT_HEADERS: usize = 256;
/// Headers of a message, or of an answer, that are kept and passed on: bytes in all, per message.
/// Events of 64 KiB are to be taken in, whatever takes the room in them (CloudEvents 1.0.2, 5).
pub const KEPT_HEADER_BYTES: usize = 64 << 10;
/// Events that wait for the driver.
pub const DRIVER_QUEUE: usize = 4096;
/// Events that wait for the driver, beyond which nothing new is taken in: the rest is for
/// answers, which empty the queues.
pub const INTAKE_QUEUE: usize = 3072;
/// Bytes of large answers that are being read from workers over plain HTTP, per process.
pub const ANSWERS_BYTES: usize = 64 << 20;
/// Bytes of an answer that need no room among these, per call.
pub const SMALL_ANSWER_BYTES: usize = 64 << 10;
/// Bytes of answers that wait for the driver, per process; one alone may be larger.
pub const DRIVER_QUEUE_BYTES: usize = 32 << 20;
/// Bytes of answers, per event, that need no room among these.
pub const SMALL_EVENT_BYTES: usize = 4 << 10;
/// How long an entry may wait for its sync before nothing new is taken in.
pub const COMMIT_STALL: Duration = Duration::from_secs(2);
/// Events that the driver takes in one turn.
pub const DRIVER_TURN: usize = 512;
/// Bytes of one journal entry after which it ends, and the next one begins.
pub const TURN_BYTES: usize = 1 << 20;
/// The largest entry that a journal takes, in bytes. What has to be in one entry, as a batch has,
/// is refused when it would be larger.
pub const ENTRY_BYTES: usize = 32 << 20;
/// Bytes of an entry that are left for what else the same turn has to say.
pub const ENTRY_RESERVE: usize = 256 << 10;
/// Streams that one call of the dispatcher looks at of a walk over all of them, per journal.
pub const SWEPT_AT_ONCE: usize = 1024;
/// Timers, streams and heads that one call of the dispatcher works off, per journal; the rest has
/// its turn right after it.
pub const WORK_AT_ONCE: usize = 512;
/// Messages of one stream without a processing step that pass at once.
pub const PASSED_AT_ONCE: usize = 65_536;
/// Streams of one journal. What would make another one is refused.
pub const STREAMS: usize = 16_000_000;
/// The largest sequence, position or number of another kind that is taken from outside: there is
/// room to count on from it.
pub const LARGEST_NUMBER: u64 = u64::MAX >> 1;
/// Bytes handed to the journal and not yet durable, beyond which the driver takes no more in.
pub const UNSYNCED_BYTES: usize = 64 << 20;
/// Bytes of messages and results that are copied in one turn, before the journal is trimmed.
pub const COPY_BYTES: usize = 256 << 10;
/// Snapshots take up at most one part in this many of the journal.
pub const SNAPSHOT_SHARE: u64 = 4;
/// Keys or cursors in one record of a snapshot.
pub const SNAPSHOT_ITEMS: usize = 4096;
/// Bytes of messages and results that are kept in memory; what is beyond is read back from the
/// journal.
pub const CACHE_BYTES: usize = 24 << 20;
/// Bytes of messages that are out at workers, in calls of any kind, per journal. A pool makes no
/// further call once what it has out is as much as is left for others: alone it has half of this,
/// two have a third each. One call of each pool is always made, whatever its size.
pub const IN_FLIGHT_BYTES: usize = 128 << 20;
/// Reads of messages that are to go out, at once: per pool.
pub const FETCHES: usize = 32;
/// Bytes of messages that one of these reads brings: per read. One message alone may be larger.
pub const FETCH_BYTES: usize = 4 << 20;
/// Bytes that all of them bring, per journal, beside the one message each that is needed.
pub const FETCHES_BYTES: usize = 16 << 20;
/// Released results whose place in the journal is known in memory; older ones' is on the disk.
pub const VIEW_TAIL_ROWS: usize = 65_536;
/// Places that are written to the disk at a time.
pub const VIEW_SPILL_ROWS: usize = 8192;
/// Places in one file of the index of positions.
pub const VIEW_FILE_ROWS: u64 = 1 << 20;
/// Messages of a stream between the last answer that waits for its turn and the next one, from
/// which on that one is noted by itself: per stream.
pub const SPARSE_SLOTS: u64 = 1024;
/// Most history of one message's attempts that is kept.
pub const ATTEMPT_HISTORY: usize = 32;
/// Senders that read results from the disk at once.
pub const DELIVERY_READS: usize = 4;
/// How long an attempt whose time is up may still answer.
pub const LATE_ANSWER: Duration = Duration::from_secs(600);
/// Longest `Prefer: wait`, and longest long poll.
pub const LONGEST_WAIT: Duration = Duration::from_secs(600);
/// Readers of results at once, per process: pages, long polls and feeds, until all of their answer
/// is sent. (Half of the [`CONNECTIONS`] of one listener, at most, so that others find a place.)
pub const READERS: usize = 4096;
/// Senders that wait for their message's result at once (`Prefer: wait`), per process; others are
/// answered as soon as it is durable.
pub const WAITING_SENDERS: usize = 4096;
/// Bytes that were made ready for readers and are not sent yet, per process; what is beyond is made
/// again when it is wanted. One text alone may be larger. Beside it each reader has a slice
/// ([`SLICE_BYTES`]) that its connection has not taken.
pub const READER_BYTES: usize = 8 << 20;
/// Readers whose first results are read from the journal at once, per process.
pub const READER_READS: usize = 2;
/// Filters of readers that wait, of which it is remembered which streams fit them, per process;
/// those that somebody waits with are remembered in any case.
pub const READER_FILTERS: usize = 1024;
/// Streams of which it is remembered which of these filters they fit, per process.
pub const READER_STREAMS: usize = 65_536;
/// Streams that wait for somebody, and streams that are full, of which everybody sees which they
/// are; per process, and of each kind.
pub const STUCK_SHOWN: usize = 100;
/// Parked messages in a page, where the reader does not say: per request.
pub const PARKED_PAGE: usize = 100;
/// Most parked messages in a page: per request.
pub const PARKED_PAGE_MOST: usize = 1000;
/// Groups of parked messages that are told apart by their reasons; the rest is counted: per
/// request.
pub const PARKED_GROUPS: usize = 1000;
/// Most results in one page.
pub const PAGE_RESULTS: usize = 10_000;
/// Bytes of results after which a page ends.
pub const PAGE_BYTES: usize = 8 << 20;
/// Bytes of one message or result from which on its sending needs room: per response.
pub const LARGE_BODY_BYTES: usize = 64 << 10;
/// Bytes of such bodies that are being sent, per process.
pub const LARGE_BODIES_BYTES: usize = 64 << 20;
/// Bytes of results that are sent to a reader at a time; so many are made ready meanwhile.
pub const CHUNK_BYTES: usize = 256 << 10;
/// Bytes of the first of these chunks, which is to come soon.
pub const FIRST_CHUNK_BYTES: usize = 64 << 10;
/// Bytes of them that are written at a time, between which other connections have their turn.
pub const SLICE_BYTES: usize = 32 << 10;
/// Threads that read for those who read much.
pub const BACKGROUND_THREADS: usize = 2;
/// How much these threads give way to others, as `nice` counts it.
pub const BACKGROUND_NICE: i32 = 10;
/// Idle time after which a pooled connection is not used again. Node.js closes idle connections
/// after 5 s unless told otherwise, so a longer time loses requests.
pub const IDLE_CONNECTION: Duration = Duration::from_secs(4);
/// Idle connections kept to one peer.
pub const IDLE_CONNECTIONS: usize = 1024;
/// Bytes of an answer's head, per call, with the interim responses (`1xx`) before it: a peer that
/// says more before it answers is cut off.
pub const ANSWER_HEAD_BYTES: usize = 128 << 10;
/// How long a supervisor may take for a whole answer to the command line, beside what it was asked
/// to wait, per call; with [`CLIENT_PACE`] for what is sent.
pub const CLIENT_ANSWER: Duration = Duration::from_secs(30);
/// Bytes that are sent in a second, at least, per call of the command line: a long body has longer.
pub const CLIENT_PACE: usize = 64 << 10;
/// Most bytes of an answer to the command line, per call: a page of results with the largest one
/// that may be, as JSON.
pub const CLIENT_ANSWER_BYTES: usize = 256 << 20;
/// How long a connection may take to come up.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The most calls that a worker takes unanswered over one link.
pub const LINK_CALLS: usize = 4096;
/// Calls over one link that wait for credit, and orders that wait to be looked at behind these;
/// what finds no room goes over plain HTTP. They are bounded by `max_in_flight` and a pool's
/// `concurrency` long before.
pub const LINK_QUEUE: usize = 1 << 16;
/// Bytes for which there is room at each read of a link.
pub const LINK_READ: usize = 64 << 10;
/// How long a link may be quiet before its worker is asked for a sign of life; and how long that
/// may take, each of [`LINK_SIGNS`] times.
pub const LINK_QUIET: Duration = Duration::from_secs(3);
/// Signs of life that a worker may owe before nothing more is sent over its link.
pub const LINK_SIGNS: u32 = 2;
/// Quiet after which a worker takes a link on which it works on nothing for lost.
pub const LINK_LOST: Duration = Duration::from_secs(60);
/// Bytes that wait to be written to a link, beyond which no more calls are taken.
pub const LINK_UNSENT: usize = 1 << 20;
/// How long a look at whether a worker is there may take.
pub const PROBE_TIMEOUT: Duration = Duration::from_secs(1);
/// How long the connection of such a look has to stay open.
pub const PROBE_STAY: Duration = Duration::from_millis(100);
/// Attempts of one pool that may wait to be slow enough for a copy.
pub const HEDGE_QUEUE: usize = 65_536;
/// Names that are looked up at once, per process: each takes a thread until its name server has
/// answered.
pub const LOOKUPS: usize = 64;
/// Most addresses of one host that are tried.
pub const HOST_ADDRESSES: usize = 16;
/// Longest line by which a plain connection answers a record, in bytes.
pub const ACK_BYTES: u64 = 4096;
/// Most results in one request to a destination.
pub const RESULTS_AT_ONCE: u32 = 10_000;
/// Bytes of results' bodies, per request to a destination, after which it takes no further result.
pub const DELIVERY_BYTES: u32 = 1 << 20;
/// Full batches of a stream that are fixed at a time, per subscription: one record says so for all
/// of them, and a change of `batch` takes effect behind them. Between two such records a stream's
/// delivery waits for the disk: so they are many.
pub const BATCHES_AHEAD: u32 = 128;
/// Headers of its own, per subscription.
pub const OWN_HEADERS: usize = 32;
/// Longest value of one of them, in bytes.
pub const OWN_HEADER_BYTES: usize = 4096;
/// Results that people had a subscription go on without, per subscription, that are kept.
pub const PASSED_OVER: usize = 1024;
/// Streams that a destination fails, per subscription, that are shown one by one.
pub const FAILING_SHOWN: usize = 100;
/// Highest pace that can be set for replayed results, per second.
pub const REPLAY_RATE: u32 = 1_000_000;
/// Most patterns, URLs or secrets of one subscription that is made over the API.
pub const SUBSCRIPTION_ITEMS: usize = 256;
/// Largest body that says something of a subscription.
pub const SUBSCRIPTION_BODY: usize = 256 << 10;
/// Positions that one request for a subscription's results looks at.
pub const POSITIONS_PER_LOOK: usize = 50_000;
/// Most subscriptions; those of the configuration count, and are never refused.
pub const SUBSCRIPTIONS: usize = 1024;
/// The pause after a connection for which this machine has no room.
pub const NO_ROOM_PAUSE: Duration = Duration::from_secs(1);
/// How long a process group that is asked to end (`SIGTERM`) may take before it is killed.
pub const TERM_GRACE: Duration = Duration::from_secs(2);
/// Default for how long a worker process that drains waits for what runs (`worker serve --drain`).
pub const WORKER_DRAIN: Duration = Duration::from_secs(25);
/// Times of what its attempt may take after which a worker process ends work by itself.
pub const OVERTIME: u32 = 2;
/// Longest `Retry-After` that is obeyed.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);
/// Default for how long one try to tell an alert's receiver may take (`timeout` in `[[alerts]]`).
pub const ALERT_TIMEOUT: Duration = Duration::from_secs(10);
/// Default for how long an alert that goes on is not told again (`repeat` in `[[alerts]]`).
pub const ALERT_REPEAT: Duration = Duration::from_secs(4 * 3600);
/// Default for how long an Alertmanager is not told again of an alert that goes on: its clients are
/// to repeat it at this pace.
pub const ALERTMANAGER_REPEAT: Duration = Duration::from_secs(60);
/// Repeats after which an Alertmanager that hears no more takes an alert for resolved.
pub const ALERTMANAGER_MISSED: u32 = 4;
/// Most bytes that are read of the answer of an alert's receiver.
pub const ALERT_ANSWER_BYTES: usize = 4096;
/// Most characters of an alert's detail that are sent to a receiver with limits of its own.
pub const ALERT_DETAIL_CHARS: usize = 2048;
/// Most characters of an alert's title in the subject of a mail: a line of a mail has at most 998
/// bytes (RFC 5322 §2.1.1), and a long word can't be folded.
pub const ALERT_SUBJECT_CHARS: usize = 200;
/// Most characters of the summary of a PagerDuty event (Events API v2).
pub const PAGERDUTY_SUMMARY_CHARS: usize = 1024;
/// Most characters of the text of a Slack block.
pub const SLACK_TEXT_CHARS: usize = 3000;
/// Default for how long a stream may stand still before there is an alert (`hold_alert_after`).
pub const HOLD_ALERT_AFTER: Duration = Duration::from_secs(300);

/// Live alerts about messages that fail or are suspected, and about streams with parked ones: per
/// journal. If more streams have parked messages, one alert speaks for the rest.
pub const MESSAGE_ALERTS: usize = 1000;
/// Alerts of which one target is told at once: per target. Then they are told one after the other.
pub const NOTICE_BURST: u32 = 40;
/// How often a target is told of one more, then: per target.
pub const NOTICE_EVERY: Duration = Duration::from_secs(30);
/// Live alerts about single streams that stand still; one alert says how many more there are.
pub const HELD_ALERTS: usize = 500;
/// Resolved alerts that are kept to be looked at.
pub const ALERTS_RESOLVED: usize = 1000;
/// Live alerts about workers that can't be connected to, per process.
pub const WORKER_ALERTS: usize = 100;
/// Notices to one alert target at once.
pub const NOTICES_AT_ONCE: usize = 4;
/// Lines of the log that wait for whoever reads it; what is beyond is dropped.
pub const LOG_LINES: usize = 1024;
/// How long the end of a process waits for its log to be read.
pub const LOG_FLUSH: Duration = Duration::from_millis(500);
/// The newest things that people did, kept to be looked at.
pub const AUDIT_KEPT: usize = 1000;

const _: () = {
    assert!(MESSAGE_BYTES <= BATCH_BYTES && BATCH_BYTES <= INTAKE_BYTES);
    assert!(INTAKE_QUEUE < DRIVER_QUEUE);
    assert!(TURN_BYTES <= UNSYNCED_BYTES && ENTRY_BYTES <= UNSYNCED_BYTES);
    assert!(TURN_BYTES + ENTRY_RESERVE < ENTRY_BYTES);
    // One message of the largest size, and all that may stand beside it.
    assert!(LARGEST_BODY <= 24 << 20 && ENTRY_BYTES - TURN_BYTES - ENTRY_RESERVE >= 28 << 20);
    assert!(KEPT_HEADER_BYTES + HEAD_BYTES + KEY_BYTES < 1 << 20);
    assert!(STREAMS < 1 << 31);
    assert!(KEY_BYTES < HEAD_BYTES);
    assert!(READERS + WAITING_SENDERS <= CONNECTIONS / 2);
    assert!(CHUNK_BYTES < READER_BYTES);
};
