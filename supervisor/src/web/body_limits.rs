//! The limits that every edge keeps, as they are now.

/// How large what comes in may be.
#[derive(Clone, Copy, Debug)]
pub struct BodyLimits {
    /// A message.
    pub message: usize,
    /// A batch.
    pub batch: usize,
}
