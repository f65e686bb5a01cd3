//! Faults in `pipe` and `dev`, which the simulator does not see.

use super::{Mutant, Noticed::Test};

/// Shortens the list below.
macro_rules! mutant {
    ($name:literal, $by:literal, $file:literal, $old:literal => $new:literal) => {
        Mutant {
            name: $name,
            by: Test($by),
            file: concat!("supervisor/src/cli/", $file),
            old: $old,
            new: $new,
        }
    };
}

/// All of them.
pub(super) const MUTANTS: &[Mutant] = &[
    mutant!("results that wait have no bound", "pipe::waiting", "pipe/waiting.rs",
        "self.bytes <= enough" => "true"),
    mutant!("results pile up before a slow reader", "pipe::waiting", "pipe/waiting.rs",
        "self.bodies.contains_key(&(self.taken + 1))" => "false"),
    mutant!("a second answer to a line takes room", "pipe::waiting", "pipe/waiting.rs",
        "line > state.taken && !state.bodies.contains_key(&line)" => "true"),
    mutant!("a long line is kept", "pipe::input", "pipe/input.rs",
        "reached - self.ended_at > self.rules.longest" => "false"),
    mutant!("the last of some lines has its end", "pipe::input", "pipe/input.rs",
        "self.lines > 0 && self.ended_at == whole.len() && !whole.is_empty()" => "false"),
    mutant!("another command goes on with a journal", "pipe::memo", "pipe/memo.rs",
        "noted == *self" => "true"),
    mutant!("dev sees no disorder", "disorder_is_told", "dev/watch.rs",
        "*previous == last || *replay && *previous < last || *sequence == last" => "true"),
    mutant!("dev takes all streams for one", "each_stream_has_its_own_order", "dev/watch.rs",
        "self.last.get(stream)" => "self.last.get(STREAM)"),
];
