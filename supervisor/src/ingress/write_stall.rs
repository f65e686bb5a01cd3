//! How long a client may take nothing of what is sent to it.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use rollcall_common::limits::WRITE_STALL;
use tokio::time::{Sleep, sleep};

/// Watches the writes of a connection.
#[derive(Debug)]
pub(super) struct WriteStall {
    longest: Duration,
    /// There while a write waits.
    alarm: Option<Pin<Box<Sleep>>>,
}

impl Default for WriteStall {
    fn default() -> Self {
        Self::after(WRITE_STALL)
    }
}

impl WriteStall {
    fn after(longest: Duration) -> Self {
        Self { longest, alarm: None }
    }

    /// Looks at the outcome of a write.
    pub(super) fn watch<T>(
        &mut self,
        write: Poll<io::Result<T>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if write.is_ready() {
            self.alarm = None;
            return write;
        }
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(sleep(self.longest)));
        match alarm.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    fn pending(stall: &mut WriteStall) -> Poll<io::Result<()>> {
        stall.watch(Poll::Pending, &mut Context::from_waker(Waker::noop()))
    }

    #[tokio::test]
    async fn who_takes_nothing_for_long_is_cut_off() {
        let mut stall = WriteStall::after(Duration::from_millis(20));
        let cut = std::future::poll_fn(|context| stall.watch::<()>(Poll::Pending, context));
        assert_eq!(cut.await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn who_takes_a_little_begins_anew() {
        let mut stall = WriteStall::after(Duration::from_millis(20));
        assert!(pending(&mut stall).is_pending());
        sleep(Duration::from_millis(40)).await;
        let written = Poll::Ready(Ok(()));
        assert!(stall.watch(written, &mut Context::from_waker(Waker::noop())).is_ready());
        assert!(pending(&mut stall).is_pending(), "the alarm of before counts no more");
    }
}
