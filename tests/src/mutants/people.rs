//! Those of what people decide, and of what they are told.

use super::{
    Mutant,
    Noticed::{Seeds, Test},
};

/// Those of people's way.
pub(super) const MUTANTS: &[Mutant] = &[
    mutant!("what is taken back is worked on", Seeds, "supervisor/src/dispatcher/operators.rs",
        "self.give_up(stream, sequence, now)" => "Vec::<crate::record::AttemptReport>::new()"),
    mutant!("a decision deep in a backlog is made twice", Test("one_deep_in_a_backlog"),
        "supervisor/src/dispatcher/decided.rs",
        "all.0.contains_key(&sequence)" => "all.0.len() > 99"),
    mutant!("what was decided deep in a backlog passes", Test("without_workers_does_not_pass"),
        "supervisor/src/dispatcher/stream.rs",
        "!self.decided.contains(sequence)" => "true"),
    mutant!("what is not parked is sent back", Seeds, "supervisor/src/dispatcher/operators.rs",
        "parking.is_some()" => "true"),
    mutant!("a person decides on what has its result", Seeds,
        "supervisor/src/dispatcher/operators.rs",
        "sequence <= entry.released || entry.is_done(sequence)" => "sequence <= entry.released"),
    mutant!("a stream's alert is over with its first decision", Test("are_one_alert"),
        "supervisor/src/dispatcher/escalation.rs",
        "self.state.stream(stream).parked.is_empty()" => "true"),
    mutant!("streams beyond the bound never have an alert", Test("a_flood_of_parked_streams"),
        "supervisor/src/dispatcher/escalation.rs",
        "next.into_iter().for_each(|stream| self.escalate_parked(stream, now));"
        => "drop(next);"),
    mutant!("a storm of alerts has no pace", Test("a_storm_of_alerts"),
        "supervisor/src/dispatcher/notify.rs",
        "self.allowance = self.allowance.checked_sub(1).ok_or(next)?;"
        => "self.allowance = self.allowance.saturating_sub(1);"),
    mutant!("the end of an alert waits in the storm", Test("a_storm_of_alerts"),
        "supervisor/src/dispatcher/notify.rs",
        "matches!(kind, NoticeKind::Firing | NoticeKind::Repeated | NoticeKind::Worse)"
        => "true"),
];
