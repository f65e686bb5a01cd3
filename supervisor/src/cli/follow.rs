//! Pages of released results, one after the other. Whoever follows goes on where they were when the
//! supervisor is gone for a while: the cursor is theirs.

use std::{
    io::{self, Write as _},
    time::Duration,
};

use reqwest::{Method, StatusCode};
use rollcall_common::{
    backoff,
    client::{Client, ClientError, body, checked, json, patient},
    seed,
    shown::Shown,
};
use serde::Deserialize;
use serde_json::{Value, value::RawValue};
use tokio::time::sleep;

use super::Failure;

/// First and longest wait before a supervisor that is gone is asked again.
const AGAIN: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

/// Results in a page.
const PAGE: usize = 1000;

/// A page of results.
#[derive(Debug, Deserialize)]
pub(super) struct Page {
    pub(super) results: Vec<Box<RawValue>>,
    pub(super) next: u64,
    pub(super) caught_up: bool,
}

/// Reads page after page.
#[derive(Debug)]
pub(super) struct Follower {
    client: Client,
    path: String,
    after: u64,
    /// How long one look waits for more, in seconds.
    wait: u64,
    /// Whether there was an answer: what never answered is not waited for.
    answered: bool,
}

impl Follower {
    pub(super) fn new(client: Client, path: String, after: u64, wait: u64) -> Self {
        Self { client, path, after, wait, answered: false }
    }

    /// The next page.
    pub(super) async fn next(&mut self) -> Result<Page, ClientError> {
        let Self { path, after, wait, .. } = self;
        let call = format!("{path}?after={after}&limit={PAGE}&wait={wait}");
        let answer = self.client.call(Method::GET, &call);
        let answer = patient(answer, Duration::from_secs(*wait), 0).send().await?;
        let page: Page = serde_json::from_slice(&body(checked(answer).await?).await?)
            .map_err(|error| ClientError::Http(format!("the answer is no page: {error}")))?;
        (self.after, self.answered) = (page.next, true);
        Ok(page)
    }

    /// The next page, however long the supervisor is gone.
    pub(super) async fn patient(&mut self) -> Result<Page, Failure> {
        let (mut dice, mut misses) = (fastrand::Rng::with_seed(seed::seed()), 0);
        loop {
            match self.next().await {
                Ok(page) => {
                    if misses > 0 {
                        say("it is back");
                    }
                    return Ok(page);
                }
                Err(error) if self.answered && error.may_pass() => {
                    misses += 1;
                    if misses == 1 {
                        say(&format!("{error}; waiting until it is back"));
                    }
                    let (first, most) = AGAIN;
                    sleep(backoff::doubling(first, most, misses, &mut dice)).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// The cursor before the first result that is kept; said where it is not the first there was.
pub(super) async fn beginning(client: &Client, path: &str) -> Result<u64, Failure> {
    let answer = client.call(Method::GET, &format!("{path}?after=0&limit=1")).send().await?;
    if answer.status() != StatusCode::GONE {
        checked(answer).await?;
        return Ok(0);
    }
    let problem: Value = json(answer).await?;
    let first = problem.get("first").and_then(Value::as_u64).unwrap_or(1);
    say(&format!("what came before {first} is no longer kept"));
    Ok(first.saturating_sub(1))
}

/// Beside the results, which are for whoever reads them.
fn say(text: &str) {
    // Nowhere is left to say it.
    let _ = writeln!(io::stderr(), "{}", Shown(text));
}
