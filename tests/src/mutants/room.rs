//! Faults in what may be out, and what is kept in memory.

use super::{
    Mutant,
    Noticed::{Seeds, Test},
};

/// The faults.
pub(super) const MUTANTS: &[Mutant] = &[
    mutant!("calls have no bound in bytes", Seeds, "supervisor/src/dispatcher/roster.rs",
        "out == 0 || out < left" => "true"),
    mutant!("one pool's calls take all the bytes", Seeds, "supervisor/src/dispatcher/roster.rs",
        "most.saturating_sub(self.out_bytes)" => "most"),
    mutant!("late calls keep their bytes", Test("late_calls_give_way"),
        "supervisor/src/dispatcher/late.rs",
        "self.late.oldest_of(|worker| self.roster.pool_of(worker) == pool)" => "None"),
    mutant!("copies are made without room", Test("copies_of_slow_attempts_are_bounded"),
        "supervisor/src/dispatcher/hedge.rs", "!self.may_call(pool)" => "false"),
    mutant!("what waits to be tried again stays in memory", Test("its_late_answer_counts"),
        "supervisor/src/dispatcher/fetching.rs",
        "self.state.held_bytes > self.settings.bounds.cache_bytes" => "false"),
    mutant!("any number of messages are read back at once", Test("so_many_reads_are_out"),
        "supervisor/src/dispatcher/fetching.rs",
        "out < self.settings.bounds.fetches.max(1)" => "true"),
    mutant!("messages are read back without room for a call",
        Test("so_many_reads_are_out"), "supervisor/src/dispatcher/fetching.rs",
        "self.has_room(pool, now)" => "true"),
    mutant!("a message that was let go is nobody's", Test("its_late_answer_counts"),
        "supervisor/src/dispatcher/slot.rs",
        "self.left = self.head().map(Box::new);" => ""),
    mutant!("a report beyond what is released counts", Test("not_released_yet_is_not_delivered"),
        "supervisor/src/dispatcher/delivery.rs",
        "through.min(self.state.stream(stream).released)" => "through"),
    mutant!("a checkpoint goes beyond the head", Test("not_released_yet_is_not_delivered"),
        "supervisor/src/dispatcher/delivery.rs", "floor.min(self.state.head.next())" => "floor"),
    mutant!("new settings do not wait for a stream's turn, nor its turn for them",
        Test("happens_has_them_at_once"), "supervisor/src/dispatcher/dispatching.rs",
        "entry.adopted != revision" => "false"),
    mutant!("a reload forgets who stood in line", Seeds, "supervisor/src/dispatcher/sweep.rs",
        "if matches!(entry.turn, Turn::Queued | Turn::Unread) {
            entry.turn = Turn::None;
        }" => ""),
    mutant!("a new subscription is unknown to streams that are there", Seeds,
        "supervisor/src/dispatcher/state/subscriptions.rs", "entry.linked != linkage" => "false"),
    mutant!("new settings reach the first part of the streams only",
        Test("reach_all_streams_a_part"), "supervisor/src/dispatcher/mod.rs",
        "self.deferred.is_empty() && self.sweeps.is_empty()" => "self.deferred.is_empty()"),
];
