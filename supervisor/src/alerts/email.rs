//! Mail over SMTP. All mails of one alert are a thread: the first has the alert's own Message-ID,
//! and the others refer to it. A mail that is tried again has the Message-ID that it had.

use std::{fmt, str::FromStr, time::SystemTime};

use lettre::{
    AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor,
    address::Envelope,
    message::{
        SinglePart,
        header::{HeaderName, HeaderValue},
    },
    transport::smtp::{self, authentication::Credentials},
};
use rollcall_common::limits::{ALERT_DETAIL_CHARS, ALERT_SUBJECT_CHARS};

use super::{
    Failure, Notice,
    target::Email,
    text::{cut, one_line},
};
use crate::dispatcher::NoticeKind;

/// How the way to a mail server is kept private.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Security {
    /// Not at all: `smtp://`.
    None,
    /// With TLS from the first byte: `smtps://`.
    Tls,
    /// With TLS that is asked for, and insisted on: `starttls://`.
    StartTls,
}

impl Security {
    const fn scheme(self) -> &'static str {
        match self {
            Self::None => "smtp",
            Self::Tls => "smtps",
            Self::StartTls => "starttls",
        }
    }

    /// The port of servers that say no other (RFC 5321, RFC 8314, RFC 6409).
    const fn port(self) -> u16 {
        match self {
            Self::None => 25,
            Self::Tls => 465,
            Self::StartTls => 587,
        }
    }
}

/// A mail server.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Smtp {
    /// How it is spoken to.
    pub security: Security,
    /// Its host; an IPv6 address without its brackets.
    pub host: Box<str>,
    /// Its port.
    pub port: u16,
}

impl FromStr for Smtp {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str =
            "expected smtp://, smtps:// or starttls://, a host, and maybe a port";
        let url = reqwest::Url::parse(text).map_err(|_| EXPECTED)?;
        let all = [Security::None, Security::Tls, Security::StartTls];
        let found = all.into_iter().find(|security| security.scheme() == url.scheme());
        let security = found.ok_or(EXPECTED)?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err("holds a name or a password; they have keys of their own");
        }
        let bare = matches!(url.path(), "" | "/") && url.query().is_none();
        let host = url.host_str().map(|host| host.trim_matches(['[', ']']));
        match host {
            Some(host) if bare && !host.is_empty() && url.port() != Some(0) => {
                let port = url.port().unwrap_or_else(|| security.port());
                Ok(Self { security, host: host.into(), port })
            }
            Some(_) | None => Err(EXPECTED),
        }
    }
}

impl fmt::Display for Smtp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}:{}", self.security.scheme(), self.host, self.port)
    }
}

type Transport = AsyncSmtpTransport<Tokio1Executor>;

/// Sends to each recipient by itself, so that an address that is refused keeps nobody else from
/// being told.
pub(super) async fn send(email: &Email, notice: &Notice, now: SystemTime) -> Result<(), Failure> {
    let unwritten =
        |error: &dyn fmt::Display| Failure::Refused(format!("the mail can't be written: {error}"));
    let mail = message(email, notice, now).map_err(|error| unwritten(&error))?.formatted();
    let transport = transport(email).map_err(|error| failure(&error))?;
    let mut refused = Vec::new();
    for to in &email.to {
        let from = Some(email.from.email.clone());
        let envelope =
            Envelope::new(from, vec![to.email.clone()]).map_err(|error| unwritten(&error))?;
        match transport.send_raw(&envelope, &mail).await.map_err(|error| failure(&error)) {
            Ok(_) => {}
            Err(Failure::Refused(detail)) => refused.push(detail),
            // Who has it already may get it again, with the same Message-ID.
            Err(failure) => return Err(failure),
        }
    }
    if refused.len() == email.to.len() {
        return Err(Failure::Refused(refused.pop().unwrap_or_default()));
    }
    if !refused.is_empty() {
        let (refused, of) = (refused.len(), email.to.len());
        tracing::warn!(refused, of, "an alert's mail was refused for some of its recipients");
    }
    Ok(())
}

fn transport(email: &Email) -> Result<Transport, smtp::Error> {
    let Smtp { security, host, port } = &email.smtp;
    let builder = match security {
        Security::None => Transport::builder_dangerous(&**host),
        Security::Tls => Transport::relay(host)?,
        Security::StartTls => Transport::starttls_relay(host)?,
    };
    let builder = match &email.login {
        Some((name, password)) => {
            builder.credentials(Credentials::new(name.clone(), password.reveal().to_owned()))
        }
        None => builder,
    };
    Ok(builder.port(*port).build())
}

/// A server's 5xx is for good (RFC 5321 §4.2.1); all else may pass.
fn failure(error: &smtp::Error) -> Failure {
    let detail = one_line(&error.to_string());
    if error.is_permanent() { Failure::Refused(detail) } else { Failure::unavailable(detail) }
}

fn message(
    email: &Email,
    notice: &Notice,
    now: SystemTime,
) -> Result<Message, lettre::error::Error> {
    let alert = &notice.alert;
    let domain = email.from.email.domain();
    let first = format!("<alert.{}@{domain}>", alert.key());
    let mut builder =
        email.to.iter().cloned().fold(Message::builder(), |builder, to| builder.to(to));
    builder = builder.from(email.from.clone()).date(now);
    builder = if notice.what == NoticeKind::Firing {
        builder.message_id(Some(first))
    } else {
        let own = format!("<alert.{}@{domain}>", notice.key());
        builder.message_id(Some(own)).in_reply_to(first.clone()).references(first)
    };
    // RFC 3834 §5: so that nobody's absence is answered to it.
    let automatic = HeaderName::new_from_ascii_str("Auto-Submitted");
    builder = builder.raw_header(HeaderValue::new(automatic, "auto-generated".to_owned()));
    let event = notice.what.as_str();
    let title = cut(&one_line(&alert.title), ALERT_SUBJECT_CHARS);
    builder
        .subject(format!("[{event}] {}: {title}", alert.severity.as_str()))
        .singlepart(SinglePart::plain(text(notice)))
}

fn text(notice: &Notice) -> String {
    let alert = &notice.alert;
    let facts = alert.facts().into_iter().map(|(name, value)| format!("{name}: {value}\n"));
    let facts: String = facts.collect();
    let detail = cut(&alert.detail, ALERT_DETAIL_CHARS);
    format!("{}\n\n{detail}\n\n{facts}alert: {}\n", alert.title, alert.id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_read_from_urls() {
        for (text, said) in [
            ("smtp://localhost", "smtp://localhost:25"),
            ("smtps://mail.example.org", "smtps://mail.example.org:465"),
            ("starttls://mail.example.org:2525/", "starttls://mail.example.org:2525"),
        ] {
            assert_eq!(text.parse::<Smtp>().unwrap().to_string(), said);
        }
        assert_eq!(&*"smtp://[::1]:1".parse::<Smtp>().unwrap().host, "::1");
        for bad in ["", "mail", "http://a", "smtp://", "smtp://a/b", "smtp://a:0", "smtp://u:p@a"] {
            assert!(bad.parse::<Smtp>().is_err(), "{bad}");
        }
    }
}
