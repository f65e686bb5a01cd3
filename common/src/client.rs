//! A client of the supervisor's HTTP API: for the command line and for tests. Problems come back
//! as errors in words. An answer has a time and a bound.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::{Method, RequestBuilder, Response, header};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{
    limits::{CLIENT_ANSWER, CLIENT_ANSWER_BYTES, CLIENT_PACE},
    secret::Redacted,
};

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(5);

/// A client of one supervisor.
#[derive(Clone, Debug)]
pub struct Client {
    url: String,
    token: Option<Redacted>,
    actor: Option<String>,
    /// How long an answer may take.
    time: Duration,
    http: reqwest::Client,
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The supervisor broke off, or said something that is no answer of one.
    #[error("{0}")]
    Http(String),
    /// The supervisor was not reached.
    #[error("{url} can't be reached: {cause}")]
    Unreachable {
        /// Where it was looked for.
        url: String,
        /// Why, in words.
        cause: String,
    },
    /// The supervisor refused.
    #[error("{detail} ({status})")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The problem's detail, or what else the body says.
        detail: String,
    },
    /// Where the supervisor is was said in a way that can't be understood.
    #[error("{url:?} is no address of a supervisor: {cause}")]
    Url {
        /// What was said.
        url: String,
        /// What is wrong with it.
        cause: String,
    },
}

impl ClientError {
    /// Whether the same may work in a moment: nobody was reached, or the supervisor is on its way
    /// down or up.
    #[must_use]
    pub const fn may_pass(&self) -> bool {
        match self {
            Self::Http(_) | Self::Unreachable { .. } => true,
            Self::Refused { status, .. } => matches!(status, 429 | 500..=599),
            Self::Url { .. } => false,
        }
    }
}

impl From<reqwest::Error> for ClientError {
    fn from(error: reqwest::Error) -> Self {
        let url = error.url().map(|url| url.origin().ascii_serialization()).unwrap_or_default();
        let cause = cause(&error);
        if error.is_connect() {
            return Self::Unreachable { url, cause };
        }
        if error.is_timeout() {
            let within = CLIENT_ANSWER.as_secs();
            return Self::Http(format!("the supervisor does not answer within {within} s: {url}"));
        }
        if error.is_builder() {
            return Self::Http(format!("the request can't be made: {cause}"));
        }
        if error.is_decode() || error.is_body() {
            return Self::Http(format!("the answer of {url} can't be read: {cause}"));
        }
        Self::Http(format!("{url} broke off: {cause}"))
    }
}

/// The innermost cause, which says it in the fewest words.
fn cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    let kind = cause.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
    if kind == Some(std::io::ErrorKind::ConnectionRefused) {
        return "nobody listens there".to_owned();
    }
    if kind == Some(std::io::ErrorKind::TimedOut) || error.is_timeout() {
        return "nobody answers there".to_owned();
    }
    cause.to_string()
}

impl Client {
    /// A client of the supervisor at `url`.
    ///
    /// # Errors
    /// When the URL is none, or the client can't be set up.
    pub fn new(url: &str, token: Option<Redacted>) -> Result<Self, ClientError> {
        let tls = crate::tls::client().map_err(|error| ClientError::Http(error.to_string()))?;
        Self::with_tls(url, token, tls)
    }

    /// A client of the supervisor at `url`, which speaks TLS with this setup.
    ///
    /// # Errors
    /// When the URL is none, or the client can't be set up.
    pub fn with_tls(
        url: &str,
        token: Option<Redacted>,
        tls: rustls::ClientConfig,
    ) -> Result<Self, ClientError> {
        check(url)?;
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .connect_timeout(CONNECT)
            .pool_idle_timeout(crate::limits::IDLE_CONNECTION)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()?;
        Ok(Self {
            url: url.trim_end_matches('/').to_owned(),
            token,
            actor: None,
            time: CLIENT_ANSWER,
            http,
        })
    }

    /// The same, saying who calls: for the audit.
    #[must_use]
    pub fn acting_as(mut self, actor: String) -> Self {
        self.actor = Some(actor).filter(|actor| actor.bytes().all(|byte| byte.is_ascii_graphic()));
        self
    }

    /// A call to be added to: `path` begins with `/`. Its answer has [`CLIENT_ANSWER`], unless
    /// [`patient`] says that it is asked to wait.
    pub fn call(&self, method: Method, path: &str) -> RequestBuilder {
        let mut request = self.http.request(method, format!("{}{path}", self.url));
        request = request.timeout(self.time);
        if let Some(actor) = &self.actor {
            request = request.header(crate::protocol::ACTOR, actor);
        }
        match &self.token {
            Some(token) => request.bearer_auth(token.reveal()),
            None => request,
        }
    }

    /// Where the supervisor is.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Gets a JSON value.
    ///
    /// # Errors
    /// When the call fails, or is refused.
    pub async fn get(&self, path: &str) -> Result<Value, ClientError> {
        json(checked(self.call(Method::GET, path).send().await?).await?).await
    }

    /// Posts a body of a type; gives back the answer.
    ///
    /// # Errors
    /// When the call fails, or is refused.
    pub async fn post(
        &self,
        path: &str,
        content_type: &str,
        body: impl Into<reqwest::Body>,
    ) -> Result<Response, ClientError> {
        let request = self.call(Method::POST, path).header(header::CONTENT_TYPE, content_type);
        let body = body.into();
        let length = body.as_bytes().map_or(0, <[u8]>::len);
        checked(patient(request, Duration::ZERO, length).body(body).send().await?).await
    }
}

/// Whether a supervisor may be at a URL.
fn check(url: &str) -> Result<(), ClientError> {
    let wrong = |cause: String| ClientError::Url { url: url.to_owned(), cause };
    let parsed = reqwest::Url::parse(url).map_err(|error| wrong(error.to_string()))?;
    match (parsed.scheme(), parsed.host_str()) {
        ("http" | "https", Some(_)) => Ok(()),
        _ => Err(wrong("it begins with http:// or https:// and a host".to_owned())),
    }
}

/// A call that is asked to wait so long, and sends so many bytes: its answer may come later.
pub fn patient(request: RequestBuilder, wait: Duration, sent: usize) -> RequestBuilder {
    let seconds = u64::try_from(sent / CLIENT_PACE).unwrap_or(u64::MAX);
    let sending = Duration::from_secs(seconds);
    request.timeout(CLIENT_ANSWER.saturating_add(wait).saturating_add(sending))
}

/// An answer's body, whole.
///
/// # Errors
/// When it does not come in time, or has more than [`CLIENT_ANSWER_BYTES`].
pub async fn body(response: Response) -> Result<Bytes, ClientError> {
    bounded(response, CLIENT_ANSWER_BYTES).await
}

async fn bounded(mut response: Response, most: usize) -> Result<Bytes, ClientError> {
    let mut body = BytesMut::new();
    while let Some(piece) = response.chunk().await? {
        if body.len() + piece.len() > most {
            let url = response.url().origin().ascii_serialization();
            let text = format!("the answer of {url} is too long: more than {most} bytes");
            return Err(ClientError::Http(text));
        }
        body.extend_from_slice(&piece);
    }
    Ok(body.freeze())
}

/// An answer's body as JSON.
///
/// # Errors
/// When it can't be had, as with [`body`], or is none.
pub async fn json<T: DeserializeOwned>(response: Response) -> Result<T, ClientError> {
    let url = response.url().origin().ascii_serialization();
    serde_json::from_slice(&body(response).await?)
        .map_err(|error| ClientError::Http(format!("the answer of {url} can't be read: {error}")))
}

/// The answer, if it is no refusal.
///
/// # Errors
/// When it is one.
pub async fn checked(response: Response) -> Result<Response, ClientError> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let body = body(response).await.unwrap_or_default();
    let problem: Value = serde_json::from_slice(&body).unwrap_or_default();
    let detail = problem
        .get("detail")
        .and_then(Value::as_str)
        .map_or_else(|| String::from_utf8_lossy(&body).trim().to_owned(), ToOwned::to_owned);
    Err(ClientError::Refused { status: status.as_u16(), detail })
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use super::*;

    #[test]
    fn what_is_no_address_is_said_in_words() {
        for url in ["127.0.0.1:7400", "", "ftp://a", "http://", "localhost:7400"] {
            let error = Client::new(url, None).unwrap_err().to_string();
            assert!(error.contains("is no address of a supervisor"), "{error}");
        }
    }

    #[test]
    fn its_token_is_not_shown() {
        let client = Client::new("http://127.0.0.1:1", Some(Redacted::new("canary"))).unwrap();
        let request = client.call(Method::GET, "/");
        assert!(!format!("{client:?} {request:?}").contains("canary"));
        let request = request.build().unwrap();
        assert_eq!(request.headers()[header::AUTHORIZATION], "Bearer canary", "it has it");
    }

    /// A peer that says this, and then nothing until it hears no more.
    fn peer(said: Vec<u8>) -> String {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            // An answer that comes before the question is taken for a broken connection.
            let (mut asked, mut byte) = (Vec::new(), [0]);
            while !asked.ends_with(b"\r\n\r\n") {
                stream.read_exact(&mut byte).unwrap();
                asked.extend(byte);
            }
            // Err: it has heard enough.
            let _ = stream.write_all(&said);
            let _ = std::io::copy(&mut stream, &mut std::io::sink());
        });
        url
    }

    #[tokio::test]
    async fn who_says_nothing_is_not_waited_for() {
        for said in ["", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n{"] {
            let client = Client::new(&peer(said.into()), None).unwrap();
            let client = Client { time: Duration::from_millis(50), ..client };
            let error = client.get("/v1/status").await.unwrap_err().to_string();
            assert!(error.contains("does not answer within 30 s"), "{error}");
        }
    }

    #[tokio::test]
    async fn an_answer_has_a_bound() {
        let said = [&b"HTTP/1.1 200 OK\r\n\r\n"[..], &[b' '; 4096]].concat();
        let client = Client::new(&peer(said), None).unwrap();
        let response = client.call(Method::GET, "/").send().await.unwrap();
        let error = bounded(response, 4095).await.unwrap_err().to_string();
        assert!(error.contains("more than 4095 bytes"), "{error}");
    }
}
