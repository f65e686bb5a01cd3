//! One `POST`, and what its answer means.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use rollcall_common::{
    limits::{ALERT_ANSWER_BYTES, CONNECT_TIMEOUT, IDLE_CONNECTION, RETRY_AFTER_MAX},
    secret::Redacted,
    tls,
};

use super::{Failure, SetupFailed, text};
use crate::web::retry_after;

/// What makes requests.
#[derive(Clone, Debug)]
pub(super) struct Http(reqwest::Client);

/// An answer of success.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) status: StatusCode,
    pub(super) body: String,
}

impl Http {
    pub(super) fn new() -> Result<Self, SetupFailed> {
        let tls = tls::client().map_err(|error| SetupFailed(error.to_string()))?;
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(IDLE_CONNECTION)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .user_agent(concat!("rollcall/", env!("CARGO_PKG_VERSION")))
            .build();
        client.map(Self).map_err(|error| SetupFailed(error.to_string()))
    }

    /// Posts JSON. The URL is in no error.
    pub(super) async fn post(
        &self,
        url: &str,
        body: impl Into<Bytes>,
        mut headers: HeaderMap,
    ) -> Result<Taken, Failure> {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let request = self.0.post(url).headers(headers).body(body.into());
        let mut response = request.send().await.map_err(|error| unreached(&error.without_url()))?;
        let status = response.status();
        let wait = retry_after(response.headers());
        let mut body = Vec::new();
        // What is said beyond the bound, or after a break, changes nothing.
        while body.len() < ALERT_ANSWER_BYTES
            && let Ok(Some(chunk)) = response.chunk().await
        {
            body.extend_from_slice(&chunk);
        }
        body.truncate(ALERT_ANSWER_BYTES);
        let body = String::from_utf8_lossy(&body).trim().to_owned();
        judge(status, body, wait)
    }
}

/// 2xx: taken. 4xx and 3xx will be the same the next time, save those that speak of this moment.
fn judge(status: StatusCode, body: String, wait: Option<Duration>) -> Result<Taken, Failure> {
    if status.is_success() {
        return Ok(Taken { status, body });
    }
    let detail = answered(status, &body);
    let passing =
        [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS];
    if (status.is_client_error() || status.is_redirection()) && !passing.contains(&status) {
        return Err(Failure::Refused(detail));
    }
    Err(Failure::Unavailable { detail, retry_after: wait.map(|wait| wait.min(RETRY_AFTER_MAX)) })
}

/// An answer in words.
pub(super) fn answered(status: StatusCode, body: &str) -> String {
    let status = status.as_u16();
    match text::one_line(body) {
        body if body.is_empty() => format!("status {status}"),
        body => format!("status {status}: {body}"),
    }
}

fn unreached(error: &reqwest::Error) -> Failure {
    let mut detail = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        detail = format!("{detail}: {cause}");
        source = cause.source();
    }
    Failure::unavailable(detail)
}

/// A body that could not be written, which only a mistake of ours can cause.
pub(super) fn unwritten(error: &serde_json::Error) -> Failure {
    Failure::Refused(format!("the notice can't be written: {error}"))
}

/// Posts a JSON value; any 2xx is a success.
pub(super) async fn post_json(
    http: &Http,
    url: &Redacted,
    body: &serde_json::Value,
) -> Result<Taken, Failure> {
    let body = serde_json::to_vec(body).map_err(|error| unwritten(&error))?;
    http.post(url.reveal(), body, HeaderMap::new()).await
}
