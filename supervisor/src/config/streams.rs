//! `[streams]` and `[streams.NAME]`: how streams come into being, and how they are treated.

use std::time::Duration;

use rollcall_common::units::LONGEST;

use super::{
    section::Section,
    values::{self, DAY, SHORTEST, duration, name, permille, text, whole, word},
};
use crate::dispatcher::settings::{Hedging, OnExhausted, Pattern, Processing, StreamOverlay};

/// What `pool` says of a stream without a processing step.
pub(super) const NO_POOL: &str = "none";

/// `[streams]`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Streams {
    /// Whether a stream comes into being with its first message.
    pub create: bool,
    /// What each pattern changes.
    pub overlays: Vec<(Pattern, StreamOverlay)>,
}

impl Default for Streams {
    fn default() -> Self {
        Self { create: true, overlays: Vec::new() }
    }
}

impl Streams {
    pub(super) fn read(mut section: Section<'_>) -> Self {
        let create = section.read("create", |node| word(node, &[("auto", true), ("never", false)]));
        for (key, place) in section.scalars() {
            let text = "stands outside of a stream; expected [streams.NAME], \
                        or [streams.\"*\"] for all streams";
            section.problem(Some(place), &key, text);
        }
        Self {
            create: create.unwrap_or(true),
            overlays: section
                .each(values::pattern, |name, section| (Pattern::new(name), overlay(section))),
        }
    }
}

fn overlay(mut section: Section<'_>) -> StreamOverlay {
    let overlay = StreamOverlay {
        processing: section.read("pool", |node| {
            let pool = text(node)?;
            if pool == NO_POOL {
                return Ok(Processing::None);
            }
            name(pool).map_err(|text| node.wrong(text))?;
            Ok(Processing::Pool(pool.into()))
        }),
        timeout: section.read("timeout", |node| duration(node, SHORTEST..=DAY)),
        jitter: section.read("jitter", |node| duration(node, Duration::ZERO..=DAY)),
        multiplier_permille: section.read("multiplier", |node| permille(node, 1000..=1_000_000)),
        max_attempts: section.read("max_attempts", |node| whole(node, 1..=1000)),
        max_delay: section.read("max_delay", |node| duration(node, SHORTEST..=DAY)),
        retry_for: section.read("retry_for", |node| duration(node, SHORTEST..=LONGEST)),
        on_exhausted: section.read("on_exhausted", |node| {
            let (hold, skip) = (OnExhausted::Hold, OnExhausted::Skip);
            word(node, &[("hold", hold), ("skip", skip)])
        }),
        max_in_flight: section.read("max_in_flight", |node| whole(node, 1..=65_536)),
        window: section.read("window", |node| whole(node, 1..=1_048_576)),
        max_backlog: section.read("max_backlog", |node| whole(node, 1..=1_000_000_000_000)),
        hold_alert_after: section.read("hold_alert_after", |node| duration(node, SHORTEST..=DAY)),
        hedge: section
            .read("hedge", |node| word(node, &[("auto", Hedging::Auto), ("off", Hedging::Off)])),
        retention: section.read("retention", |node| duration(node, Duration::ZERO..=LONGEST)),
    };
    for key in ["retention_bytes", "retention_strict"] {
        if let Some(place) = section.place_of(key) {
            let text = "stands in [journal]: all streams share one journal";
            section.problem(Some(place), key, text);
            section.drop_key(key);
        }
    }
    section.close();
    overlay
}
