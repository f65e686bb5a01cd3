//! The faults that are planted, one by one: what each breaks, and who has to notice.

use super::{
    Mutant,
    Noticed::{Seeds, Test},
};

/// Shortens the list below.
macro_rules! mutant {
    ($name:literal, $by:expr, $file:literal, $old:literal => $new:literal) => {
        Mutant { name: $name, by: $by, file: $file, old: $old, new: $new }
    };
}

/// Those of the message's way.
pub(super) const MUTANTS: &[Mutant] = &[
    mutant!("a backlog has no bound", Seeds, "supervisor/src/dispatcher/admission.rs",
        "backlog + fresh > limit" => "false"),
    mutant!("a key that was seen counts for nothing", Seeds,
        "supervisor/src/dispatcher/admission.rs",
        "stream.and_then(|stream| self.state.keys.get(&(stream, digest)))" => "None"),
    mutant!("another content under a key passes for the same", Seeds,
        "supervisor/src/dispatcher/admission.rs",
        "seen.fingerprint != key.fingerprint" => "false"),
    mutant!("the window is one too wide", Seeds, "supervisor/src/dispatcher/stream.rs",
        "self.cursor.0 <= self.released.0 + u64::from(self.settings.window)"
        => "self.cursor.0 <= self.released.0 + u64::from(self.settings.window) + 1"),
    mutant!("one call too many at once", Seeds, "supervisor/src/dispatcher/stream.rs",
        "self.in_flight < self.settings.max_in_flight"
        => "self.in_flight <= self.settings.max_in_flight"),
    mutant!("the same stream has its turn again and again", Test("streams_take_turns"),
        "supervisor/src/dispatcher/dispatching.rs",
        "self.roster.pool_mut(pool).queue.push_back(stream);"
        => "self.roster.pool_mut(pool).queue.push_front(stream);"),
    mutant!("a retry has no more time than the first try", Seeds,
        "supervisor/src/dispatcher/dispatching.rs",
        "ladder.timeout_after(failures)" => "ladder.timeout_after(0)"),
    mutant!("one try too many", Seeds, "supervisor/src/dispatcher/answers.rs",
        "failures >= ladder.max_attempts" => "failures > ladder.max_attempts"),
    mutant!("waits are those of the next step of the ladder", Seeds,
        "supervisor/src/dispatcher/answers.rs",
        "ladder.wait_after(failures, &mut self.rng)"
        => "ladder.wait_after(failures + 1, &mut self.rng)"),
    mutant!("waits have no jitter", Test("waits_are_drawn"), "common/src/backoff.rs",
        "below(self.grow(self.jitter, failures.saturating_sub(1)), rng)"
        => "self.grow(self.jitter, failures.saturating_sub(1)) / 2 + below(Duration::ZERO, rng)"),
    mutant!("a timer of an earlier wait ends a later one", Seeds,
        "supervisor/src/dispatcher/dispatching.rs",
        "matches!(slot.state, SlotState::Waiting { due } if due <= now)"
        => "matches!(slot.state, SlotState::Waiting { .. })"),
    mutant!("retries pay nothing", Test("of_a_failing_pool"),
        "supervisor/src/dispatcher/dispatching.rs",
        "budget.withdraw(now).then_some(Fare::Paid)" => "Some(Fare::Paid)"),
    mutant!("a copy goes to the worker that is slow", Seeds,
        "supervisor/src/dispatcher/hedge.rs", "worker != slow.worker" => "true"),
    mutant!("a copy goes to the old pool of a stream", Test("that_has_changed_its_pool"),
        "supervisor/src/dispatcher/hedge.rs", "entry.pool != Some(pool)" => "false"),
    mutant!("copies pay nothing", Test("copies_stop_when_half"),
        "supervisor/src/dispatcher/hedge.rs",
        "!self.roster.pool_mut(pool).withdraw_spare(now)" => "false"),
    mutant!("a slow attempt and its copy fail twice", Seeds,
        "supervisor/src/dispatcher/answers.rs",
        "self.survives(attempt, Pair::Owing)" => "false"),
    mutant!("one death is poison enough", Seeds, "supervisor/src/dispatcher/suspects.rs",
        "deaths >= DEATHS" => "deaths >= 1"),
    mutant!("a refusal of one worker parks", Seeds, "supervisor/src/dispatcher/answers.rs",
        "ending == Ending::Refused && agreed" => "ending == Ending::Refused"),
    mutant!("a busy worker costs an attempt", Seeds, "supervisor/src/dispatcher/answers.rs",
        "self.turned_away(&attempt, &failure, now);" => "self.failed(&attempt, &failure, now);"),
    mutant!("a late answer is dropped", Seeds, "supervisor/src/dispatcher/answers.rs",
        "self.accept(&attempt, Accepted { report, outcome, payload, reason }, now);"
        => "if counting {
            self.accept(&attempt, Accepted { report, outcome, payload, reason }, now);
        }"),
    mutant!("a second answer counts as well", Seeds, "supervisor/src/dispatcher/attempts.rs",
        "other.standing = AttemptStanding::Beaten(fingerprint(accepted), winner);"
        => "other.standing = AttemptStanding::Late;"),
    mutant!("late answers are not compared", Seeds, "supervisor/src/dispatcher/answers.rs",
        "fingerprint(payload) != accepted" => "false"),
    mutant!("the newest message takes the place of the oldest", Seeds,
        "supervisor/src/dispatcher/stream.rs",
        "self.slots.pop_front();" => "self.slots.swap_remove_back(0);"),
    mutant!("positions have holes", Seeds, "supervisor/src/dispatcher/state.rs",
        "self.head = self.head.next();" => "self.head = self.head.next().next();"),
    mutant!("a skip is not remembered as one", Seeds, "supervisor/src/dispatcher/slot.rs",
        "outcome == Outcome::Skipped" => "false"),
    mutant!("a stream that holds skips", Seeds, "supervisor/src/dispatcher/answers.rs",
        "entry.settings.on_exhausted != OnExhausted::Skip || entry.paused" => "entry.paused"),
    mutant!("a paused stream releases", Seeds, "supervisor/src/dispatcher/stream.rs",
        "if self.paused {
            return None;
        }" => ""),
    mutant!("a paused stream passes", Seeds, "supervisor/src/dispatcher/dispatching.rs",
        "if entry.paused {
            return;
        }" => ""),
    mutant!("a destination is credited with one more than it took", Seeds,
        "supervisor/src/dispatcher/lane.rs",
        "self.next = self.next.max(through.next());"
        => "self.next = self.next.max(through.next().next());"),
    mutant!("the checkpoint is ahead of what was taken", Seeds,
        "supervisor/src/dispatcher/subscription.rs",
        "floor.before().min(looked_at)" => "looked_at.max(*floor)"),
    mutant!("a refused sender of an earlier life is waited for for ever", Seeds,
        "supervisor/src/dispatcher/delivery.rs",
        "if entry.leaving.contains(&stream) {
            return self.finished(subscription, stream);
        }" => ""),
    mutant!("a scan of an earlier life counts", Seeds, "supervisor/src/dispatcher/delivery.rs",
        "entry.life != life" => "false"),
    mutant!("a stream has two senders", Seeds, "supervisor/src/dispatcher/subscription.rs",
        "!self.leaving.contains(&stream)" => "true"),
    mutant!("what is rewound is not marked as replay", Seeds,
        "supervisor/src/dispatcher/subscription.rs",
        "self.gap = None;
        self.replay_until = head;" => "self.gap = None;"),
    mutant!("a rewound subscription leaves its first result out", Seeds,
        "supervisor/src/dispatcher/subscription.rs",
        "self.begin(to, head);" => "self.begin(to.next().min(head), head);"),
    mutant!("a snapshot forgets failures", Seeds,
        "supervisor/src/dispatcher/snapshot/parts.rs",
        "(self.known, self.failures, self.manual) = (*known, *failures, *manual);"
        => "(self.known, self.failures, self.manual) = (*known, 0, *manual);"),
    mutant!("a snapshot forgets which keys are held", Seeds,
        "supervisor/src/dispatcher/snapshot/mod.rs",
        "self.keyed.insert((*stream, sequence), *digest);" => ""),
    mutant!("a trim copies too little forward", Seeds, "supervisor/src/driver/keeping.rs",
        "Ok(Next::Copies(copies))" => "Ok(Next::Copies(copies.into_iter().skip(1).collect()))"),
    mutant!("a trim goes on before its copies are done", Seeds,
        "supervisor/src/driver/keeping.rs",
        "rest.is_empty()" => "true"),
    mutant!("a trim removes the segment that is needed", Seeds,
        "supervisor/src/journal/local/shelf.rs", "second > below" => "false"),
    mutant!("keys of results that are kept are forgotten", Seeds,
        "supervisor/src/dispatcher/snapshot/mod.rs",
        "self.spent.pop_front_if(|(position, ..)| *position <= floor)"
        => "self.spent.pop_front_if(|(position, ..)| position.0 <= floor.0 + 3)"),
    mutant!("keys are kept for ever", Seeds, "supervisor/src/dispatcher/snapshot/mod.rs",
        "self.keys.remove(&(stream, digest));" => "let _ = (stream, digest);"),
    mutant!("recovery cuts what was stored", Test("journal::local"),
        "supervisor/src/journal/local/recovery.rs", "remains.proof" => "None"),
    mutant!("a damaged entry is taken for whole", Test("journal::local"),
        "supervisor/src/journal/local/frame.rs",
        "crc32fast::hash(padded) == self.payload_crc" => "true"),
    mutant!("an old frame of another segment counts", Test("journal::local"),
        "supervisor/src/journal/local/frame.rs", "hasher.update(&segment.to_le_bytes());" => ""),
    mutant!("a failed sync is tried again", Test("journal::local"),
        "supervisor/src/journal/local/writer.rs",
        "synced.map_err(|error| self.failure(\"sync\", &error))?;"
        => "if synced.is_err() {
            self.active.file.sync_data().map_err(|error| self.failure(\"sync\", &error))?;
        }"),
    mutant!("an older epoch still appends", Test("journal::"),
        "supervisor/src/journal/local/committer.rs", "epoch < state.floor" => "false"),
    mutant!("a message is acknowledged before the sync", Seeds,
        "supervisor/src/driver/engine.rs", "self.held.front()?.entry >= next"
        => "self.held.front()?.entry > next"),
    mutant!("what is written counts as durable", Seeds,
        "supervisor/src/journal/local/writer.rs", "self.written = self.next;"
        => "self.written = self.next;
        self.durable = self.next;
        self.shelf.set_durable(self.durable);"),
    mutant!("a field is read as another", Seeds, "supervisor/src/record/codec/read.rs",
        "Record::Failed { stream, sequence, due: at, report }"
        => "Record::Failed { stream, sequence, due: report.ended_at, report }"),
    mutant!("a parked message calls nobody", Seeds, "supervisor/src/dispatcher/escalation.rs",
        "self.raise(subject, (Severity::Error, count), detail, now);"
        => "let _ = (subject, failures, detail);"),
    mutant!("nobody is told that an alert is over", Seeds, "supervisor/src/dispatcher/alert.rs",
        "told.stage != AlertStage::Resolved" => "false"),
    mutant!("an alert stays when its cause is gone", Seeds,
        "supervisor/src/dispatcher/escalation.rs",
        "self.commit(Record::Alert(AlertRecord::Resolved { alert, at: now }));" => ""),
    mutant!("a destination that is back is flooded", Test("one_goes_first"),
        "supervisor/src/dispatcher/health.rs", "self.room = 1;" => "self.room = usize::MAX;"),
    mutant!("more than half of a pool is taken out", Test("never_more_than_half"),
        "supervisor/src/dispatcher/roster.rs", "(ejected + 1) * 2 > members" => "false"),
    mutant!("a silent worker gets work", Seeds, "supervisor/src/dispatcher/worker.rs",
        "self.silent_at.is_none_or(|at| now < at)" => "true"),
    mutant!("a paused subscription sends", Seeds, "supervisor/src/dispatcher/subscription.rs",
        "!self.stands_still() && self.sending < self.health.room(at_once)"
        => "self.sending < self.health.room(at_once)"),
    mutant!("waits are forgotten at a restart", Seeds, "supervisor/src/dispatcher/stream.rs",
        "due_slots.push((sequence, due));" => "let _ = due;"),
    mutant!("a restart gives the next try at once", Seeds, "supervisor/src/dispatcher/slot.rs",
        "self.state = SlotState::Waiting { due };
        self.due = Some(due);"
        => "self.due = Some(due);
        self.state = SlotState::Waiting { due: report.ended_at };"),
    mutant!("a result is read from its neighbour", Test("views::"), "supervisor/src/views/row.rs",
        "u32_at(20)?" => "u32_at(20)?.saturating_sub(1)"),
    mutant!("attributes of a passed event are lost", Seeds, "supervisor/src/record/answer.rs",
        "(*message.headers).into()" => "Box::default()"),
    mutant!("headers of a result are not written", Test("are_written_as_they_always_were"),
        "supervisor/src/record/codec/write.rs",
        "self.headers(headers).kind(with_headers)" => "self.kind(bare)"),
    mutant!("a batch that never fits is told to come again", Test("taken_in_whole_or_not_at_all"),
        "supervisor/src/dispatcher/admission.rs", "Reply::NeverFits { limit }"
        => "Reply::Backlogged { limit, waiting: backlog }"),
    mutant!("long ids of events are cut off", Test("long_names_are_keys_all_the_same"),
        "supervisor/src/ingress/cloudevents.rs", "Sha256::digest(whole).into()"
        => "Sha256::digest(&whole[..1000]).into()"),
    mutant!("attributes are decoded without a look", Test("are_percent_decoded_once"),
        "supervisor/src/ingress/cloudevents.rs", "value.to_str().ok().and_then(decode_attribute)"
        => "value.to_str().ok().map(str::to_owned)"),
    mutant!("dots are a name", Test("stream_names_are_checked"), "common/src/ids.rs",
        "is_dots(text)" => "false"),
    mutant!("two framings of one body pass", Test("can_be_read_in_two_ways"),
        "supervisor/src/ingress/head.rs", "(self.chunked, self.length)"
        => "(self.chunked, self.length.filter(|_| !self.chunked))"),
    mutant!("a body of chunks ends too soon", Test("a_body_ends_behind_its_last_chunk"),
        "supervisor/src/ingress/chunks.rs", "self.at == At::End && *byte == b'\\n'"
        => "self.at == At::Trailers"),
    mutant!("a refusal overtakes an answer", Test("told_apart_wherever_reads_end"),
        "supervisor/src/ingress/guard.rs", "known.served == known.given" => "true"),
    mutant!("an empty answer loses its attributes", Seeds,
        "supervisor/src/dispatcher/outcome.rs",
        "Payload { headers: payload.headers, ..Payload::default() }" => "Payload::default()"),
    mutant!("a batch grows when it is sent again", Seeds,
        "supervisor/src/dispatcher/delivery.rs",
        "entry.lanes.get(&stream).filter(|lane| lane.batching.is_none())"
        => "entry.lanes.get(&stream)"),
    mutant!("a snapshot has no batches", Seeds, "supervisor/src/dispatcher/snapshot/parts.rs",
        "self.lanes.iter().filter_map(fixed).collect()"
        => "self.lanes.iter().filter_map(fixed).take(0).collect()"),
    mutant!("a snapshot does not say how often a subscription was rewound", Seeds,
        "supervisor/src/dispatcher/snapshot/parts.rs",
        "self.generation = *generation;" => "self.generation = 0;"),
    mutant!("a batch has one result too many", Test("what_travels_together"),
        "supervisor/src/dispatcher/batch.rs", "count >= most" => "count > most"),
    mutant!("replayed results travel with others", Test("what_travels_together"),
        "supervisor/src/dispatcher/batch.rs",
        "replayed.is_some_and(|replayed| replayed != is_replayed)" => "false"),
    mutant!("what is passed over comes all the same", Test("one_result_is_passed_over"),
        "supervisor/src/dispatcher/batch.rs",
        "self.passed_over.binary_search(&sequence).is_ok()" => "false"),
    mutant!("two refused streams among others pass for an outage",
        Test("a_stream_that_fails_otherwise"), "supervisor/src/dispatcher/subscription.rs",
        "refused > 1 && refused >= self.floors.len()" => "refused > 1"),
    mutant!("an outage of a destination has no end", Test("that_refuses_every_stream"),
        "supervisor/src/dispatcher/health.rs",
        "std::mem::take(&mut self.outage)" => "false"),
    mutant!("a stream is held after one refusal more", Test("five_refusals_hold"),
        "supervisor/src/dispatcher/lane.rs",
        "self.rejections >= REJECTIONS" => "self.rejections > REJECTIONS"),
    mutant!("what the configuration does not name goes on", Seeds,
        "supervisor/src/dispatcher/subscription.rs",
        "self.paused.is_some() || self.plan.origin == Origin::Unconfigured"
        => "self.paused.is_some()"),
    mutant!("what is left out of the configuration is not noticed", Seeds,
        "supervisor/src/dispatcher/subscribing.rs",
        "entry.plan.origin == Origin::Configuration && !names.contains(&*entry.name)" => "false"),
    mutant!("subscriptions come one event after the settings", Seeds,
        "supervisor/src/dispatcher/mod.rs",
        "self.adopt_subscriptions(&settings.subscriptions, now);" => "();"),
    mutant!("a named stream waits for its first message", Seeds,
        "supervisor/src/dispatcher/mod.rs",
        "self.state.find_stream(name.as_str()).is_none()" => "false"),
    mutant!("a person resumes what nobody describes", Test("goes_on_when_it_is_back"),
        "supervisor/src/dispatcher/subscribing.rs", "self.is_unconfigured(id)" => "false"),
    mutant!("secrets are written through a link", Test("no_link_is_followed"),
        "supervisor/src/secrets.rs",
        "files::create(&new)?" => "File::create(&new)?"),
    mutant!("a Service's variables are settings", Test("an_orchestrator_says"),
        "supervisor/src/config/env.rs", "is_of_a_service(&name, &text)" => "false"),
    mutant!("a Service's variable has any value", Test("nothing_of_a_service"),
        "supervisor/src/config/env.rs", "value == protocol" => "true"),
    mutant!("a page sends what it likes", Test("pages_are_asked"),
        "supervisor/src/ingress/gate.rs", "self.access.is_open()" => "false"),
    mutant!("a reload takes the last token away", Test("opens_nothing"),
        "supervisor/src/config/mod.rs", "!knows(new)" => "false"),
    mutant!("a worker that registers may be anywhere", Test("where_it_must_not_be"),
        "supervisor/src/workers/registry.rs",
        "Route::Guarded(Arc::clone(guard))" => "Route::Open"),
];
