//! What a server does with a request.

use std::time::Duration;

use bytes::Bytes;

/// What a server does with a request that it has read.
#[derive(Clone, Debug)]
pub enum Act {
    /// It answers.
    Answer(Reply),
    /// It answers nothing, for as long as the connection lasts.
    Hang,
    /// It closes the connection without a word.
    Close,
    /// It resets the connection without a word.
    Reset,
    /// It announces more than it sends, and closes.
    CutOff(Reply),
    /// It sends the head and half of the body, and resets.
    ResetMidway(Reply),
    /// It sends without end.
    Endless,
    /// It sends the first bytes, and then the others again and again, so long apart.
    Repeat(Bytes, Bytes, Duration),
    /// It sends these bytes, and closes.
    Bytes(Bytes),
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Reply {
    /// How long it takes to come.
    pub after: Duration,
    /// The status.
    pub status: u16,
    /// The headers beside `Content-Length`.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Bytes,
}

impl Reply {
    /// An answer with a body of plain text.
    #[must_use]
    pub fn new(status: u16, body: impl Into<Bytes>) -> Self {
        let headers = vec![("content-type", "text/plain".to_owned())];
        Self { after: Duration::ZERO, status, headers, body: body.into() }
    }

    /// The same, later.
    #[must_use]
    pub fn after(mut self, after: Duration) -> Self {
        self.after = after;
        self
    }

    /// The same with one more header.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.retain(|(known, _)| *known != name);
        self.headers.push((name, value.into()));
        self
    }

    /// As bytes on the wire.
    pub(super) fn head(&self) -> String {
        let mut head = format!("HTTP/1.1 {} X\r\n", self.status);
        for (name, value) in &self.headers {
            head.push_str(&[name, ": ", value, "\r\n"].concat());
        }
        if self.status != 204 && self.status != 304 {
            head.push_str(&format!("content-length: {}\r\n", self.body.len()));
        }
        head.push_str("\r\n");
        head
    }
}

impl Act {
    /// It answers with this status.
    #[must_use]
    pub fn status(status: u16) -> Self {
        Self::Answer(Reply::new(status, ""))
    }

    /// It answers 200 with this text.
    #[must_use]
    pub fn ok(body: impl Into<Bytes>) -> Self {
        Self::Answer(Reply::new(200, body))
    }

    /// It answers 200 with this text, after a while.
    #[must_use]
    pub fn ok_after(after: Duration, body: impl Into<Bytes>) -> Self {
        Self::Answer(Reply::new(200, body).after(after))
    }
}
