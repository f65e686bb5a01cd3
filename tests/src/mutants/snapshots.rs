//! What a snapshot forgets: each field that must survive, left out or not taken up again. A start
//! that folds from such a snapshot differs from one that folds all records.

use super::{Mutant, Noticed::Seeds};

/// Shortens the list below.
macro_rules! mutant {
    ($name:literal, $file:literal, $old:literal => $new:literal) => {
        Mutant {
            name: concat!("a snapshot forgets ", $name),
            by: Seeds,
            file: concat!("supervisor/src/dispatcher/", $file),
            old: $old,
            new: $new,
        }
    };
}

/// All of them.
pub(super) const MUTANTS: &[Mutant] = &[
    mutant!("time that was spent down", "snapshot/mod.rs", "*down" => "0"),
    mutant!("the number of the last alert", "snapshot/mod.rs", "alerts.last()" => "0"),
    mutant!("the number of the last subscription", "snapshot/mod.rs", "*next_subscription" => "0"),
    mutant!("that a stream is paused", "snapshot/mod.rs",
        "(entry.skips, entry.paused, entry.head_since) = (*skips, *paused, *head_since);"
        => "(entry.skips, entry.head_since) = (*skips, *head_since);"),
    mutant!("which key was whose", "snapshot/mod.rs",
        "self.keyed.insert((*stream, sequence), *digest);" => ""),
    mutant!("what people did", "snapshot/mod.rs",
        "self.audit.push_back(audit.clone())" => "()"),
    mutant!("since when a head stands", "snapshot/parts.rs", "*head_since" => "Default::default()"),
    mutant!("how many were skipped", "snapshot/parts.rs", "*skips" => "0"),
    mutant!("what waits for its turn", "snapshot/parts.rs",
        "self.finish(sequence, outcome);" => ""),
    mutant!("who is parked", "snapshot/parts.rs", "self.parked.insert(sequence);" => ""),
    mutant!("when a retry is due", "snapshot/parts.rs", "self.due = Some(*due);" => ""),
    mutant!("that a person asked for a try", "snapshot/parts.rs",
        "(self.known, self.failures, self.manual) = (*known, *failures, *manual);"
        => "(self.known, self.failures) = (*known, *failures);"),
    mutant!("failures", "snapshot/parts.rs",
        "(self.known, self.failures, self.manual) = (*known, *failures, *manual);"
        => "(self.known, self.manual) = (*known, *manual);"),
    mutant!("which message was parked", "snapshot/parts.rs",
        "(self.known, self.failures, self.manual) = (*known, *failures, *manual);"
        => "(self.failures, self.manual) = (*failures, *manual);"),
    mutant!("who refused", "snapshot/parts.rs",
        "self.counted.refused_by.clone_from(refused_by);" => ""),
    mutant!("who was tried", "snapshot/parts.rs", "self.counted.tried.clone_from(tried);" => ""),
    mutant!("how attempts ended", "snapshot/parts.rs",
        "self.counted.history.clone_from(history);" => ""),
    mutant!("workers that a message died of", "snapshot/parts.rs",
        "self.deaths().to_vec()" => "Vec::new()"),
    mutant!("how far a scan is", "snapshot/parts.rs",
        "(entry.scan, entry.pulled, entry.paused) = (*scan, *pulled, *paused);"
        => "(entry.pulled, entry.paused) = (*pulled, *paused);"),
    mutant!("how far a reader is", "snapshot/parts.rs",
        "(entry.scan, entry.pulled, entry.paused) = (*scan, *pulled, *paused);"
        => "(entry.scan, entry.paused) = (*scan, *paused);"),
    mutant!("that a subscription is paused", "snapshot/parts.rs",
        "(entry.scan, entry.pulled, entry.paused) = (*scan, *pulled, *paused);"
        => "(entry.scan, entry.pulled) = (*scan, *pulled);"),
    mutant!("how often a subscription was changed", "snapshot/parts.rs",
        "entry.revision = *revision;" => ""),
    mutant!("up to where a replay goes", "snapshot/parts.rs",
        "entry.revision = *revision;"
        => "(entry.revision, entry.replay_until) = (*revision, entry.pulled);"),
    mutant!("where a destination is", "snapshot/parts.rs",
        "self.floors.insert((floor, stream));" => ""),
    mutant!("that an alert is over", "alert.rs",
        "records.extend(alert.until.map(|at| AlertRecord::Resolved { alert: id, at }));" => ""),
    mutant!("who has seen an alert", "alert.rs",
        "alert.acknowledged_by = Some(by.clone());" => "alert.acknowledged_by = None;"),
];
