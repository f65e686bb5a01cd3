//! Faults in the links to workers, in plain calls, and in what goes out to destinations.

use super::{Mutant, Noticed::Test};

/// Who notices what is wrong with calls to workers.
const CALLS: super::Noticed = Test("whatever_the_worker_does");
/// Who notices what is wrong with deliveries.
const DELIVERIES: super::Noticed = Test("whatever_the_destination_does");
/// Who notices what is wrong with records over plain connections.
const RECORDS: super::Noticed = Test("whatever_the_other_end_does");

/// The faults.
pub(super) const MUTANTS: &[Mutant] = &[
    mutant!("a link is written to without a bound", Test("what_a_worker_does_not_read"),
        "supervisor/src/workers/link.rs",
        "self.unanswered.len() < self.credit
            && self.out.len() < LINK_UNSENT" => "self.credit > self.unanswered.len()"),
    mutant!("a link takes one call too many", CALLS, "supervisor/src/workers/link.rs",
        "self.unanswered.len() < self.credit" => "self.unanswered.len() <= self.credit"),
    mutant!("a link whose worker gives no credit takes no call", CALLS,
        "supervisor/src/workers/link.rs", "credit.max(1)" => "credit"),
    mutant!("a cancel waits for credit", CALLS, "supervisor/src/workers/link.rs",
        "self.unsent.len() < LINK_QUEUE" => "self.unsent.is_empty()"),
    mutant!("a worker may drop a call unasked", CALLS, "supervisor/src/workers/link.rs",
        "call.is_none_or(|call| call.wanted != Wanted::Cancelled)" => "call.is_none()"),
    mutant!("an answer before a link broke is lost", CALLS, "supervisor/src/workers/link.rs",
        "events.into_iter().chain(lost).collect()" => "lost.collect()"),
    mutant!("calls that wait are lost with their link", CALLS, "supervisor/src/workers/link.rs",
        "unsent.into_iter().for_each(|call| calls.call(Some(Arc::clone(&member)), call));"
            => "drop(unsent);"),
    mutant!("calls that nobody has looked at are lost with their link",
        Test("what_a_worker_does_not_read"), "supervisor/src/workers/link.rs",
        "wire.order(order);" => "drop(order);"),
    mutant!("a worker that goes is sent what waits", CALLS, "supervisor/src/workers/link.rs",
        "self.stage = Stage::Closing;
                self.member.link.close();" => "self.member.link.close();"),
    mutant!("a link that is silent is used on", CALLS, "supervisor/src/workers/link.rs",
        "quiet > LINK_SIGNS && self.stage == Stage::Open" => "false"),
    mutant!("a link that is silent is kept for ever", CALLS, "supervisor/src/workers/link.rs",
        "LINK_QUIET * quiet > LATE_ANSWER" => "false"),
    mutant!("the end of an old link closes the new one", CALLS, "supervisor/src/workers/link.rs",
        "wire.stage == Stage::Open" => "true"),
    mutant!("a worker that has left gets a link", CALLS, "supervisor/src/workers/link.rs",
        "matches!(*state, State::Asking)" => "true"),
    mutant!("a result over a link has no bound of its own", CALLS,
        "supervisor/src/workers/link.rs", "answer.body.len() > limit" => "false"),
    mutant!("an answer to no call is passed over", CALLS, "supervisor/src/workers/link.rs",
        "self.unanswered.remove(&attempt).ok_or(BadFrame)?"
            => "match self.unanswered.remove(&attempt) {
                    Some(call) => call,
                    None => return Ok(()),
                }"),
    mutant!("a call that was cancelled while it waited goes out", CALLS,
        "supervisor/src/workers/link.rs", "self.unsent.remove(at);" => ""),
    mutant!("an answer over a link is of no trace", CALLS, "supervisor/src/workers/link.rs",
        "payload.traced(trace)" => "payload"),
    mutant!("a frame that is cut off is taken for whole", CALLS, "common/src/frame.rs",
        "rest.get(..length)" => "rest.get(..length.min(rest.len()))"),
    mutant!("a call that is given up goes on", CALLS, "supervisor/src/workers/calls.rs",
        "self.open.remove(&attempt)" => "None::<(AttemptId, oneshot::Sender<()>)>"),
    mutant!("calls over plain HTTP are kept in mind for ever", CALLS,
        "supervisor/src/workers/calls.rs", "calls.open.remove(&attempt);" => ""),
    mutant!("a call over plain HTTP may last for ever", CALLS, "supervisor/src/workers/calls.rs",
        "dispatch.timeout + LATE_ANSWER" => "std::time::Duration::MAX"),
    mutant!("a result that is refused counts as taken", DELIVERIES,
        "supervisor/src/egress/sender.rs",
        "self.advance(refused.sequence.before());" => "self.advance(refused.sequence);"),
    mutant!("a part of a batch that was taken is sent again", DELIVERIES,
        "supervisor/src/egress/sender.rs", "self.advance(refused.sequence.before());" => ""),
    mutant!("a refusal is told, and not what was taken before it", DELIVERIES,
        "supervisor/src/egress/sender.rs",
        "self.report().await;
                return self.refused(refusal, detail);"
            => "return self.refused(refusal, detail);"),
    mutant!("what was taken is not told while the next one hangs", DELIVERIES,
        "supervisor/src/egress/sender.rs",
        "self.reported.next() < self.next || destination.tells_of_each()" => "false"),
    mutant!("what was told is told again", DELIVERIES, "supervisor/src/egress/sender.rs",
        "done > self.reported" => "true"),
    mutant!("a sender that is called back goes on", DELIVERIES,
        "supervisor/src/egress/sender.rs", "!self.forwarder.out.has(&self.delivery)" => "false"),
    mutant!("a sender goes on while the process drains", DELIVERIES,
        "supervisor/src/egress/sender.rs",
        "self.forwarder.shutdown.phase() > Phase::Running && self.count > 0" => "false"),
    mutant!("a result that a person passed over is sent", DELIVERIES,
        "supervisor/src/egress/sender.rs",
        "outcome == Outcome::Skipped || self.delivery.passes_over(result.sequence)"
            => "outcome == Outcome::Skipped"),
    mutant!("a skipped result is sent", DELIVERIES, "supervisor/src/egress/sender.rs",
        "outcome == Outcome::Skipped || self.delivery.passes_over(result.sequence)"
            => "self.delivery.passes_over(result.sequence)"),
    mutant!("one that was passed over is said to have been sent", DELIVERIES,
        "supervisor/src/egress/sender.rs",
        "while self.delivery.passes_over(before) {
            before = previous(before);
        }" => ""),
    mutant!("each try of a delivery is said to be its first", DELIVERIES,
        "supervisor/src/egress/sender.rs",
        "if self.count == 0 { self.delivery.attempt } else { 1 }" => "1"),
    mutant!("a replay is not marked", DELIVERIES, "supervisor/src/egress/sender.rs",
        "position <= self.delivery.replay_until" => "false"),
    mutant!("a checkpoint stays one behind", DELIVERIES, "supervisor/src/egress/sender.rs",
        "head.next()" => "head"),
    mutant!("a sender that is back is still out", DELIVERIES,
        "supervisor/src/egress/forwarder.rs", "forwarder.out.come_back(trip.delivery());" => ""),
    mutant!("senders of this revision are called back too", DELIVERIES,
        "supervisor/src/egress/forwarder.rs",
        "*other != subscription || *set_out == revision" => "*other != subscription"),
    mutant!("a redirect counts as taken", DELIVERIES, "supervisor/src/egress/request.rs",
        "status.is_success()" => "status.is_success() || status.is_redirection()"),
    mutant!("a destination's pause is not heeded", DELIVERIES,
        "supervisor/src/egress/request.rs", "retry_after(&reply.headers)" => "None"),
    mutant!("a destination that is gone refuses one result", DELIVERIES,
        "supervisor/src/egress/request.rs", "Refusal::Gone" => "Refusal::Rejected"),
    mutant!("what had been closed while idle has failed", DELIVERIES,
        "supervisor/src/egress/request.rs", "continue"
            => "Pushed::Refused { taken: 0, refusal: Refusal::Failed, detail: \"idle\".into() }"),
    mutant!("a destination has all the time in the world", DELIVERIES,
        "supervisor/src/egress/places.rs",
        "timeout(patience, pushed)" => "timeout(Duration::MAX, pushed)"),
    mutant!("an answer that is cut off is whole", DELIVERIES, "common/src/http/connection.rs",
        "read.rest().await?" => "read.rest().await.unwrap_or_default()"),
    mutant!("a connection that broke was idle", DELIVERIES, "common/src/http/peer.rs",
        "before_any_byte(&error)" => "true"),
    mutant!("an answer line before its record counts", RECORDS, "supervisor/src/egress/socket.rs",
        "written.load(Ordering::Relaxed) < end" => "false"),
    mutant!("an answer line that is left is the next record's", RECORDS,
        "supervisor/src/egress/socket.rs",
        "self.reading.get_mut().is_quiet() && self.reading.buffer().is_empty()" => "true"),
    mutant!("records that were answered before it broke are sent again", RECORDS,
        "supervisor/src/egress/socket.rs", "done.load(Ordering::Relaxed)" => "0"),
    mutant!("a part of an answer line is one", RECORDS, "supervisor/src/egress/socket.rs",
        "line.last() == Some(&b'\\n')" => "!line.is_empty()"),
    mutant!("a record with a line end goes out as a line", RECORDS,
        "supervisor/src/egress/socket.rs",
        "self.target.framing == Framing::Length || !result.answer.payload.body.contains(&b'\\n')"
            => "true"),
    mutant!("an answer line is waited for for ever", RECORDS, "supervisor/src/egress/socket.rs",
        "timeout(patience, read_line(reading))" => "timeout(Duration::MAX, read_line(reading))"),
    mutant!("each of several answers is told when all have come", RECORDS,
        "supervisor/src/egress/sender.rs",
        "self.reported.next() < self.next || destination.tells_of_each()"
            => "self.reported.next() < self.next"),
];
