//! Text on its way to a connection: in slices, between which the thread that writes them does other
//! work.

use bytes::Bytes;
use rollcall_common::limits::SLICE_BYTES;

/// What is to be sent.
#[derive(Debug, Default)]
pub(super) struct Slices {
    text: Bytes,
    begun: bool,
}

impl Slices {
    /// Sends `text`; what was there before has been sent.
    pub(super) fn put(&mut self, text: impl Into<Bytes>) {
        self.text = text.into();
    }

    /// The next slice; `None`: all has been sent.
    pub(super) async fn next(&mut self) -> Option<Bytes> {
        if self.text.is_empty() {
            return None;
        }
        if std::mem::replace(&mut self.begun, true) {
            // Writing goes on when everybody else had a turn.
            tokio::task::yield_now().await;
        }
        let length = self.text.len().min(SLICE_BYTES);
        Some(self.text.split_to(length))
    }
}
