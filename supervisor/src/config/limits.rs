//! `[limits]`: how large what comes in may be.

use rollcall_common::limits::{
    BATCH_BYTES, CONNECTIONS, INTAKE_BYTES, LARGEST_BODY, MESSAGE_BYTES,
};

use super::{
    section::Section,
    values::{size, whole},
};

/// `[limits]`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Limits {
    /// The largest message, and the largest result.
    pub message_bytes: u64,
    /// The largest batch intake.
    pub batch_bytes: u64,
    /// Bytes of bodies that are on their way in, all together.
    pub intake_bytes: u64,
    /// Connections from one address to one listener; absent: as many as there may be at all from
    /// the machine itself, and `CONNECTIONS_PER_ADDRESS` from another one.
    pub connections_per_address: Option<u32>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_bytes: MESSAGE_BYTES,
            batch_bytes: BATCH_BYTES,
            intake_bytes: INTAKE_BYTES,
            connections_per_address: None,
        }
    }
}

impl Limits {
    pub(super) fn read(mut section: Section<'_>) -> Self {
        const RANGE: std::ops::RangeInclusive<u64> = 1..=LARGEST_BODY;
        let place = section.place_of("batch_bytes");
        let message = section.read("message_bytes", |node| size(node, RANGE));
        let batch = section.read("batch_bytes", |node| size(node, RANGE));
        let message_bytes = message.unwrap_or(MESSAGE_BYTES);
        if batch.is_some_and(|batch| batch < message_bytes) {
            let text = format!(
                "is less than limits.message_bytes; expected at least {message_bytes} bytes"
            );
            section.problem(place, "batch_bytes", &text);
        }
        // Whoever allows larger messages means them in batches too.
        let batch_bytes = batch.unwrap_or_else(|| BATCH_BYTES.max(message_bytes));
        let place = section.place_of("intake_bytes");
        let intake = section.read("intake_bytes", |node| size(node, 1..=1 << 40));
        if intake.is_some_and(|intake| intake < batch_bytes) {
            let text =
                format!("is less than limits.batch_bytes; expected at least {batch_bytes} bytes");
            section.problem(place, "intake_bytes", &text);
        }
        let most = u32::try_from(CONNECTIONS).unwrap_or(u32::MAX);
        let connections_per_address =
            section.read("connections_per_address", |node| whole(node, 1..=most));
        section.close();
        let intake_bytes = intake.unwrap_or(INTAKE_BYTES);
        Self { message_bytes, batch_bytes, intake_bytes, connections_per_address }
    }
}
