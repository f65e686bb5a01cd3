//! Records to a plain connection whose other end is odd in any way, held against a plain model.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::{Buf as _, Bytes, BytesMut};
use futures_util::FutureExt as _;
use proptest::{
    collection::{btree_set, vec},
    prelude::*,
    sample::select,
};
use rollcall_common::{
    frame,
    http::Framing,
    ids::Sequence,
    limits::ACK_BYTES,
    task,
    time::{Clock, Time},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream},
    sync::mpsc,
    time::sleep,
};

use super::{
    bench::{KNOWN_AFTER, check_told},
    desk::{Desk, body, delivery, is_last},
    sender::{config, run},
};
use crate::{
    dispatcher::{Event, Refusal},
    web::test_network::TestNetwork,
};

/// How long the other end has for each line.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long it reads nothing, where it does not read at once.
const DEAF: Duration = Duration::from_secs(5);

/// What is delivered, and what the other end makes of it.
#[derive(Clone, Debug)]
struct Plan {
    framing: &'static str,
    acks: &'static str,
    /// The bytes of the results, and of those that are released when they are done.
    results: [Vec<usize>; 2],
    /// Results that hold a line end.
    broken: BTreeSet<u64>,
    /// How it takes connections, one after the other; then it just reads.
    opens: Vec<Opens>,
    /// What it says to records, one after the other; then a line to each.
    says: Vec<Says>,
}

/// How the other end takes a connection.
#[derive(Clone, Copy, Debug)]
enum Opens {
    Closes,
    /// It says so many lines, and reads nothing for long.
    Deaf(usize),
    /// It says so many lines first.
    Early(usize),
    Reads,
}

/// What the other end says to a record.
#[derive(Clone, Copy, Debug)]
enum Says {
    Close,
    /// A part of a line, and closes.
    Half,
    Hang,
    /// A line, after so many milliseconds, in pieces of so many bytes.
    Line(u64, usize),
    LineAndClose,
    Lines(usize),
    /// A line that does not end.
    Long,
}

/// What the other end remembers.
#[derive(Clone, Debug)]
enum Noted {
    Opened(usize),
    Record(usize, Bytes),
    /// It has said a line.
    Line(usize, Time),
    /// It has said something for which nobody asked, or closes the connection.
    Unusable(usize),
    /// It was closed by the sender, with so many bytes of a record.
    Ended(usize, usize),
}

#[derive(Debug)]
struct Memory {
    opens: VecDeque<Opens>,
    says: VecDeque<Says>,
    noted: Vec<Noted>,
    clock: Clock,
    framing: Framing,
}

fn plans() -> impl Strategy<Value = Plan> {
    let size = prop_oneof![4 => 0_usize..100, 1 => 10_000_usize..40_000];
    let sizes = [vec(size.clone(), 1..7), vec(size, 1..7)];
    let opens = prop_oneof![
        4 => Just(Opens::Reads),
        1 => Just(Opens::Closes),
        1 => (0_usize..12).prop_map(Opens::Deaf),
        1 => (1_usize..4).prop_map(Opens::Early),
    ];
    let says = prop_oneof![
        12 => (prop_oneof![Just(0), 1_u64..1500], 1_usize..9)
            .prop_map(|(delay, piece)| Says::Line(delay, piece)),
        1 => Just(Says::Close),
        1 => Just(Says::Half),
        1 => Just(Says::Hang),
        2 => Just(Says::LineAndClose),
        2 => (2_usize..4).prop_map(Says::Lines),
        1 => Just(Says::Long),
    ];
    let kinds = (select(vec!["lines", "length"]), select(vec!["line", "line", "none"]));
    let broken = prop_oneof![3 => Just(BTreeSet::new()), 1 => btree_set(1_u64..12, 1..3)];
    (kinds, sizes, broken, vec(opens, 0..5), vec(says, 0..14)).prop_map(
        |((framing, acks), results, broken, opens, says)| Plan {
            framing,
            acks,
            results,
            broken,
            opens,
            says,
        },
    )
}

async fn serve(mut connected: mpsc::Receiver<DuplexStream>, memory: Arc<Mutex<Memory>>) {
    let mut number = 0;
    while let Some(stream) = connected.recv().await {
        let (peer, memory) = (number, Arc::clone(&memory));
        number += 1;
        task::spawn("odd-peer", async move {
            converse(stream, &memory, peer).await;
        });
    }
}

async fn converse(mut stream: DuplexStream, memory: &Mutex<Memory>, me: usize) -> Option<()> {
    let note = |noted| memory.lock().unwrap().noted.push(noted);
    let opens = memory.lock().unwrap().opens.pop_front().unwrap_or(Opens::Reads);
    note(Noted::Opened(me));
    match opens {
        Opens::Closes => return None,
        Opens::Reads => {}
        Opens::Deaf(count) => {
            lines(&mut stream, memory, me, count).await;
            sleep(DEAF).await;
        }
        Opens::Early(count) => lines(&mut stream, memory, me, count).await,
    }
    let framing = memory.lock().unwrap().framing;
    let mut arrived = BytesMut::new();
    loop {
        let Some(whole) = record(&mut arrived, framing) else {
            match stream.read_buf(&mut arrived).await {
                Ok(count) if count > 0 => continue,
                Ok(_) | Err(_) => {
                    note(Noted::Ended(me, arrived.len()));
                    return None;
                }
            }
        };
        note(Noted::Record(me, whole));
        if matches!(opens, Opens::Deaf(_)) {
            continue;
        }
        let next = memory.lock().unwrap().says.pop_front().unwrap_or(Says::Line(0, 9));
        if say(&mut stream, memory, me, next).await.is_none() {
            // What has come by now was sent.
            while let Some(Ok(1..)) = stream.read_buf(&mut arrived).now_or_never() {}
            let mut rest = std::iter::from_fn(|| record(&mut arrived, framing));
            return rest.try_for_each(|one| {
                note(Noted::Record(me, one));
                Some(())
            });
        }
    }
}

/// Says it; `None`: the connection is at its end.
async fn say(
    stream: &mut DuplexStream,
    memory: &Mutex<Memory>,
    me: usize,
    says: Says,
) -> Option<()> {
    let note = |noted| memory.lock().unwrap().noted.push(noted);
    match says {
        Says::Close => {
            note(Noted::Unusable(me));
            return None;
        }
        Says::Half => {
            note(Noted::Unusable(me));
            stream.write_all(b"o").await.ok()?;
            return None;
        }
        Says::Hang => {}
        Says::Line(delay, piece) => {
            sleep(Duration::from_millis(delay)).await;
            for piece in b"all is well\r\n".chunks(piece) {
                stream.write_all(piece).await.ok()?;
                tokio::task::yield_now().await;
            }
            let now = memory.lock().unwrap().clock.now();
            note(Noted::Line(me, now));
        }
        Says::LineAndClose => {
            lines(stream, memory, me, 1).await;
            note(Noted::Unusable(me));
            return None;
        }
        Says::Lines(count) => lines(stream, memory, me, count).await,
        Says::Long => {
            note(Noted::Unusable(me));
            stream.write_all(&vec![b'x'; usize::try_from(ACK_BYTES).unwrap() + 1]).await.ok()?;
        }
    }
    Some(())
}

/// Says so many lines at once.
async fn lines(stream: &mut DuplexStream, memory: &Mutex<Memory>, me: usize, count: usize) {
    if stream.write_all(&b"\n".repeat(count)).await.is_ok() {
        let mut memory = memory.lock().unwrap();
        let now = memory.clock.now();
        memory.noted.extend((0..count).map(|_| Noted::Line(me, now)));
    }
}

/// The next record, if all of it has come.
fn record(arrived: &mut BytesMut, framing: Framing) -> Option<Bytes> {
    if framing == Framing::Length {
        let length = frame::next(arrived, usize::MAX).unwrap()?.len();
        arrived.advance(frame::HEAD);
        return Some(arrived.split_to(length).freeze());
    }
    let end = arrived.iter().position(|byte| *byte == b'\n')?;
    let record = arrived.split_to(end).freeze();
    arrived.advance(1);
    Some(record)
}

/// The sender, the other end, and what the dispatcher knows.
struct Bench {
    plan: Plan,
    desk: Desk,
    memory: Arc<Mutex<Memory>>,
    done: u64,
    released: u64,
    /// The connection that may be used again.
    kept: Option<usize>,
    /// Records that were done and lines that were said over it.
    balance: (usize, usize),
}

impl Bench {
    fn set(plan: Plan) -> Self {
        let (network, connected, _) = TestNetwork::lay();
        let url = format!("tcp://shop:1?framing={}&ack={}", plan.framing, plan.acks);
        let desk = Desk::set(&network, &url, PATIENCE);
        let memory = Memory {
            opens: plan.opens.clone().into(),
            says: plan.says.clone().into(),
            noted: Vec::new(),
            clock: desk.clock,
            framing: if plan.framing == "length" { Framing::Length } else { Framing::Lines },
        };
        let memory = Arc::new(Mutex::new(memory));
        task::spawn("odd-peer", serve(connected, Arc::clone(&memory)));
        Self { plan, desk, memory, done: 0, released: 0, kept: None, balance: (0, 0) }
    }

    async fn run(mut self) {
        for results in self.plan.results.clone() {
            let first = self.released + 1;
            self.released += results.len() as u64;
            let bodies = (first..).zip(results).map(|(at, size)| Some(self.body(at, size)));
            self.desk.release(bodies);
            let most = self.plan.says.len() + self.plan.opens.len() + 2;
            let mut rounds = 0..most;
            while self.done < self.released && rounds.next().is_some() {
                if self.round().await == Goes::Nowhere {
                    // As a person has it go on without this one.
                    self.done += 1;
                }
            }
            assert_eq!(self.done, self.released, "there is no end to it");
        }
        let (memory, kept) = (Arc::clone(&self.memory), self.kept);
        self.desk.end().await;
        let memory = memory.lock().unwrap();
        let is_whole =
            |one: &Noted| !matches!(one, Noted::Ended(at, rest) if Some(*at) == kept && *rest > 0);
        assert!(memory.noted.iter().all(is_whole), "a record is cut off");
    }

    fn body(&self, sequence: u64, size: usize) -> Bytes {
        let mut body = body(sequence, size).to_vec();
        if self.plan.broken.contains(&sequence) {
            body.push(b'\n');
        }
        body.into()
    }

    async fn round(&mut self) -> Goes {
        let from = self.memory.lock().unwrap().noted.len();
        let first = Sequence(self.done + 1);
        let ours =
            crate::dispatcher::Delivery { first, last: Sequence(self.released), ..delivery() };
        self.desk.forwarder.deliver(ours);
        let mut told: Vec<(Time, Event)> = Vec::new();
        for look in 0.. {
            assert!(look < 10_000, "it never comes back");
            sleep(Duration::from_millis(5)).await;
            let now = self.desk.clock.now();
            told.extend(self.desk.mailbox.told().into_iter().map(|event| (now, event)));
            if told.last().is_some_and(|(_, event)| is_last(event)) {
                break;
            }
        }
        // By then the other end has read all that there is.
        sleep(2 * DEAF).await;
        assert!(self.desk.mailbox.told().is_empty(), "it goes on after its last word");
        let noted = self.memory.lock().unwrap().noted[from..].to_vec();
        self.compare(&noted, &told)
    }

    /// Holds what was sent and told in a round against the model.
    fn compare(&mut self, noted: &[Noted], told: &[(Time, Event)]) -> Goes {
        let is_fit = |one: &u64| self.plan.framing != "lines" || !self.plan.broken.contains(one);
        let fit: Vec<_> = (self.done + 1..=self.released).take_while(is_fit).collect();
        let opened = noted.iter().find_map(Noted::opened);
        let used = opened.or(self.kept);
        let (done, said) = self.balance;
        let is_quiet = opened.is_some() || fit.is_empty() || done == said;
        assert!(is_quiet || self.plan.acks == "none", "a line of before counts");
        let received = self.check_records(noted, used, &fit);
        // What comes after something that is no line is none.
        let is_usable = |one: &&Noted| !matches!(one, Noted::Unusable(at) if Some(*at) == used);
        let lines = noted.iter().take_while(is_usable);
        let lines: Vec<Time> = lines.filter_map(|one| one.line_over(used)).collect();
        let through = check_told(self.done, told);
        let count = usize::try_from(through - self.done).unwrap();
        if self.plan.acks == "line" {
            self.check_lines(&lines, (count, received, fit.len()), told);
        } else {
            assert!(count == 0 || count == fit.len(), "{count} of {}", fit.len());
        }
        let is_whole = count == fit.len();
        let is_rest_unfit = fit.len() as u64 + self.done < self.released;
        match (&told.last().unwrap().1, is_whole, is_rest_unfit) {
            (Event::Delivered { .. }, true, false)
            | (Event::Undelivered { refusal: Refusal::Unfit, .. }, true, true)
            | (Event::Undelivered { refusal: Refusal::Failed, .. }, false, _) => {}
            other => panic!("{count} of {}: {other:?}", fit.len()),
        }
        let stays_usable = noted.iter().all(|one| is_usable(&one));
        self.kept = used.filter(|_| is_whole && stays_usable);
        let before = if opened.is_some() { (0, 0) } else { self.balance };
        self.balance = (before.0 + count, before.1 + lines.len());
        self.done = through;
        if is_whole && is_rest_unfit { Goes::Nowhere } else { Goes::On }
    }

    /// What came is what was due, all over one connection. Gives back how many records came.
    fn check_records(&self, noted: &[Noted], used: Option<usize>, fit: &[u64]) -> usize {
        let records = noted.iter().filter_map(Noted::record);
        let mut received = 0;
        for (at, record) in records {
            assert_eq!(Some(at), used, "over another connection");
            let sequence = fit[received];
            let size = self.plan.results.concat()[usize::try_from(sequence).unwrap() - 1];
            assert!(*record == self.body(sequence, size), "{sequence} is due");
            received += 1;
        }
        received
    }

    /// As many are done as lines came for records that had been sent; each was known in time.
    fn check_lines(
        &self,
        lines: &[Time],
        (count, received, fit): (usize, usize, usize),
        told: &[(Time, Event)],
    ) {
        let ended = told.last().unwrap().0;
        let in_time = lines.iter().filter(|when| **when <= ended).count();
        assert!(count <= in_time.min(received), "{count} of {in_time}, {received} came");
        // Lines that come before their records end the connection.
        let is_plain = received == fit || in_time < received;
        assert!(!is_plain || count == in_time.min(fit), "{count} of {in_time}");
        for (when, sequence) in lines.iter().take(count).zip(self.done + 1..) {
            let known = |(then, event): &(Time, Event)| {
                let Event::Delivered { through, .. } = event else { return false };
                *then <= *when + KNOWN_AFTER && through.0 >= sequence
            };
            assert!(told.iter().any(known), "{sequence} is done, and that is not known");
        }
    }
}

impl Noted {
    fn opened(&self) -> Option<usize> {
        if let Self::Opened(at) = self { Some(*at) } else { None }
    }

    fn record(&self) -> Option<(usize, &Bytes)> {
        if let Self::Record(at, body) = self { Some((*at, body)) } else { None }
    }

    fn line_over(&self, used: Option<usize>) -> Option<Time> {
        let Self::Line(at, when) = self else { return None };
        (Some(*at) == used).then_some(*when)
    }
}

/// Whether the next result can be sent there.
#[derive(Eq, PartialEq)]
enum Goes {
    Nowhere,
    On,
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn records_that_are_done_were_taken_whatever_the_other_end_does(plan in plans()) {
        run(async { Bench::set(plan).run().await });
    }
}

#[test]
fn a_line_that_comes_before_its_record_was_sent_counts_for_nothing() {
    let plan = Plan {
        framing: "length",
        acks: "line",
        // The last one finds no room on the way while the first is not read.
        results: [vec![30_000, 1, 40_000], vec![1]],
        broken: BTreeSet::new(),
        opens: vec![Opens::Deaf(3)],
        says: Vec::new(),
    };
    run(async { Bench::set(plan).run().await });
}
