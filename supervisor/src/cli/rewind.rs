//! `rewind`: a subscription begins again, and one can watch it catch up.

use std::{
    io::{self, IsTerminal as _},
    process::ExitCode,
    time::Duration,
};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use rollcall_common::{
    client::{Client, json as json_of},
    shown::visible,
};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::{Failure, Output, Server, screen::print_done, segment};

/// How often it looks how far the subscription is.
const LOOK: Duration = Duration::from_millis(200);

/// What `rewind` is told.
#[derive(Args, Debug)]
pub(super) struct Options {
    /// The subscription
    subscription: String,
    /// The position after which it begins; 0 is the beginning
    position: u64,
    /// Wait until it has caught up (on a terminal: always)
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    server: Server,
}

pub(super) async fn run(options: &Options) -> Result<ExitCode, Failure> {
    let client = options.server.client()?;
    let path = format!("/v1/subscriptions/{}", segment(&options.subscription));
    let body = json!({ "position": options.position }).to_string();
    let answer = client.post(&format!("{path}/rewind"), "application/json", body).await?;
    let mut state: Value = json_of(answer).await?;
    let text = options.server.output == Output::Text;
    if options.wait || text && io::stderr().is_terminal() {
        state = catch_up(&client, &path, state).await?;
    }
    let member = |name: &str| super::screen::text(&state, name);
    let (mode, checkpoint, head) = (member("mode"), member("checkpoint"), member("head"));
    let done = format!("{} {mode}, {checkpoint} of {head}", options.subscription);
    print_done(options.server.output, &state, &done)?;
    Ok(ExitCode::SUCCESS)
}

/// Shows how far it is until it has reached the head as it stood when it was rewound.
async fn catch_up(client: &Client, path: &str, mut state: Value) -> Result<Value, Failure> {
    let number = |state: &Value, name: &str| state.get(name).and_then(Value::as_u64).unwrap_or(0);
    let (from, until) = (number(&state, "checkpoint"), number(&state, "head"));
    // Hidden where there is no terminal.
    let bar = ProgressBar::new(until.saturating_sub(from));
    let style = "{wide_bar} {pos}/{len} {per_sec} {eta} {msg}";
    if let Ok(style) = ProgressStyle::with_template(style) {
        bar.set_style(style);
    }
    while state.get("mode").is_some_and(|mode| mode == "replaying") {
        bar.set_position(number(&state, "checkpoint").saturating_sub(from));
        let trouble = ["paused_reason", "last_error"]
            .iter()
            .find_map(|name| state.get(*name).and_then(Value::as_str).map(ToOwned::to_owned));
        bar.set_message(visible(&trouble.unwrap_or_default()).into_owned());
        sleep(LOOK).await;
        state = client.get(path).await?;
    }
    bar.finish_and_clear();
    Ok(state)
}
