//! A client with connections that it keeps.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method};
use serde_json::{Value, json};

use super::{now, soon, until};

/// Calls a supervisor (or anything else) over HTTP.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    url: String,
    token: Option<String>,
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Answer {
    /// A header's text; empty when it is not there.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap_or("?"))
    }

    /// The body as JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Checks that it is a whole problem (RFC 9457) of this status; gives it back.
    #[must_use]
    pub fn problem(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        assert_eq!(self.header("content-type"), "application/problem+json");
        let problem = self.json();
        assert_eq!(problem["status"], status);
        for member in ["type", "title", "detail"] {
            assert!(problem[member].is_string(), "{member}: {problem}");
        }
        problem
    }
}

impl Client {
    /// A client of what is at `url`.
    #[must_use]
    pub fn new(url: &str) -> Self {
        Self::with_tls(url, rollcall_common::tls::client().expect("a TLS setup"))
    }

    /// A client of what is at `url`, which speaks TLS with this setup.
    #[must_use]
    pub fn with_tls(url: &str, tls: rustls::ClientConfig) -> Self {
        let builder = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .no_proxy()
            .timeout(Duration::from_secs(60));
        let url = url.trim_end_matches('/').to_owned();
        Self { http: builder.build().expect("a client"), url, token: None }
    }

    /// The same, with a token in every request.
    #[must_use]
    pub fn with_token(&self, token: &str) -> Self {
        Self { token: Some(token.to_owned()), ..self.clone() }
    }

    /// The same, of what is at another place.
    #[must_use]
    pub fn at(&self, url: &str) -> Self {
        Self { url: url.trim_end_matches('/').to_owned(), ..self.clone() }
    }

    /// The base of its requests.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.url));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// Makes a request, which may fail.
    ///
    /// # Errors
    /// When there is no whole answer.
    pub async fn try_call(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<Answer, reqwest::Error> {
        let mut request = self.request(method, path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.body(body.into()).send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Ok(Answer { status, headers, body: response.bytes().await? })
    }

    /// Makes a request.
    pub async fn call(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        let called = self.try_call(method, path, headers, body).await;
        called.unwrap_or_else(|error| panic!("{path}: {error:?}"))
    }

    /// `POST`.
    pub async fn post(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        self.call(Method::POST, path, headers, body).await
    }

    /// `PUT` of JSON.
    pub async fn put(&self, path: &str, body: &Value) -> Answer {
        let headers = [("content-type", "application/json")];
        self.call(Method::PUT, path, &headers, body.to_string()).await
    }

    /// `DELETE`.
    pub async fn delete(&self, path: &str) -> Answer {
        self.call(Method::DELETE, path, &[], "").await
    }

    /// `GET`.
    pub async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path, &[], "").await
    }

    /// `GET` of something that is there, as JSON.
    pub async fn json(&self, path: &str) -> Value {
        let answer = self.get(path).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answer.json()
    }

    /// A response whose body is read bit by bit.
    pub async fn stream(&self, path: &str, headers: &[(&str, &str)]) -> reqwest::Response {
        let mut request = self.request(Method::GET, path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        soon(request.send()).await.expect("an answer")
    }

    /// Sends a message that is taken in, and gives back its sequence.
    pub async fn send(&self, stream: &str, body: impl Into<Bytes>) -> u64 {
        let answer = self.message(stream, &[], body).await;
        assert_eq!(answer.status, 202, "{}", answer.text());
        answer.json()["sequence"].as_u64().expect("a sequence")
    }

    /// Sends a message.
    pub async fn message(
        &self,
        stream: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        self.post(&format!("/v1/streams/{stream}/messages"), headers, body).await
    }

    /// Sends JSON values as one batch.
    pub async fn lines(&self, stream: &str, values: impl IntoIterator<Item = Value>) -> Answer {
        let body: String = values.into_iter().map(|value| format!("{value}\n")).collect();
        let path = format!("/v1/streams/{stream}/messages:batch");
        self.post(&path, &[("content-type", "application/x-ndjson")], body).await
    }

    /// A message's timeline.
    pub async fn timeline(&self, stream: &str, sequence: u64) -> Value {
        self.json(&format!("/v1/streams/{stream}/messages/{sequence}")).await
    }

    /// Waits until a message is in `state`; gives back its timeline.
    pub async fn until_state(&self, stream: &str, sequence: u64, state: &str) -> Value {
        let started = now();
        loop {
            let timeline = self.timeline(stream, sequence).await;
            if timeline["state"] == state {
                return timeline;
            }
            assert!(started.elapsed() < super::LONGEST, "never {state}: {timeline}");
            tokio::time::sleep(super::LOOK).await;
        }
    }

    /// Waits until so many messages of a stream are released.
    pub async fn until_released(&self, stream: &str, count: u64) {
        until(&format!("{stream} at {count}"), || async {
            let answer = self.get(&format!("/v1/streams/{stream}")).await;
            answer.status == 200 && answer.json()["released"].as_u64() >= Some(count)
        })
        .await;
    }

    /// All released results of a stream.
    pub async fn results(&self, stream: &str) -> Vec<Value> {
        self.all_results(&format!("/v1/streams/{stream}/results")).await
    }

    /// All results at a path, page by page.
    pub async fn all_results(&self, path: &str) -> Vec<Value> {
        let (mut all, mut after) = (Vec::new(), json!(0));
        loop {
            let page = self.json(&format!("{path}?after={after}&limit=5000")).await;
            all.extend(page["results"].as_array().expect("results").iter().cloned());
            after = page["next"].clone();
            if page["caught_up"] == true {
                return all;
            }
        }
    }

    /// A figure of `/metrics`.
    pub async fn metric(&self, name: &str) -> u64 {
        let text = self.get("/metrics").await.text();
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
        let line = line.unwrap_or_else(|| panic!("no {name} in {text}"));
        line.trim().parse().expect("a figure")
    }
}
