//! End-to-end tests: real processes, seen from the outside only.

mod access;
mod alerts;
mod beside;
mod configuration;
mod consumer;
mod crashes;
mod cursors;
mod deciding;
mod delivery;
mod destinations;
mod escalation;
mod hardening;
mod health;
mod http;
mod intake;
mod isolation;
mod journal;
mod load;
mod membership;
mod memory;
mod night;
mod overload;
mod pains;
mod people;
mod readers;
mod reading;
mod replies;
mod retention;
mod secure;
mod sinks;
mod starting;
mod storage;
mod strangers;
mod subscriptions;
mod tcp;

use std::time::Duration;

/// So many milliseconds.
const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// A list of URLs as it stands in a configuration.
#[expect(single_use_lifetimes, reason = "it can't be left out inside `impl`")]
fn urls<'a>(servers: impl IntoIterator<Item = &'a tests::peers::FakeWorker>) -> String {
    let urls: Vec<_> = servers.into_iter().map(|server| format!("{:?}", server.url())).collect();
    format!("[{}]", urls.join(", "))
}
