//! What a request needs, by its method and path alone. What is not known here needs `admin`, so a
//! new route is closed until somebody says otherwise.

use http::Method;

use super::Scope;

/// What a request needs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Requirement<'a> {
    /// Which scope; `None`: open to all.
    pub scope: Option<Scope>,
    /// Which streams it is about.
    pub about: StreamScope<'a>,
    /// Where it is answered, when there are two listeners.
    pub side: ListenerKind,
}

/// Which streams a request is about, for tokens that are for some.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum StreamScope<'a> {
    /// All of them: such a token is not enough.
    All,
    /// None yet: what is behind the route asks its [`Caller`](super::Caller).
    Asked,
    /// The one with this name, as it stands in the path. A name needs no percent-encoding; one that
    /// has it anyway is empty here, and fits no pattern but `*`.
    One(&'a str),
}

/// Which of two listeners answers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ListenerKind {
    /// `admin_listen` alone.
    Admin,
    /// Both.
    Both,
}

impl<'a> Requirement<'a> {
    /// What a request of this method needs at this path.
    #[must_use]
    pub fn of(method: &Method, path: &'a str) -> Self {
        let looks = matches!(*method, Method::GET | Method::HEAD);
        let need = |scope, about, side| Self { scope: Some(scope), about, side };
        let other = if looks { Scope::Read } else { Scope::Admin };
        let Some(rest) = path.strip_prefix("/v1/") else {
            let side = if matches!(path, "/livez" | "/readyz") {
                ListenerKind::Both
            } else {
                ListenerKind::Admin
            };
            // What else there is, is the same for everybody, and says nothing of messages.
            let open = looks && path != "/metrics";
            return Self { scope: (!open).then_some(other), about: StreamScope::All, side };
        };
        let mut parts = rest.splitn(4, '/');
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some("streams"), Some(stream), Some("messages" | "messages:batch"), None)
                if *method == Method::POST =>
            {
                need(Scope::Send, one(stream), ListenerKind::Both)
            }
            // What `Location` names.
            (Some("streams"), Some(stream), Some("messages"), Some(_)) if looks => {
                need(Scope::Read, one(stream), ListenerKind::Both)
            }
            (Some("streams"), Some(stream), ..) => need(other, one(stream), ListenerKind::Admin),
            // A worker is given messages of all streams.
            (Some("workers"), Some(_), ..) if !looks => {
                need(Scope::Work, StreamScope::All, ListenerKind::Both)
            }
            // Who reads a subscription's results says how far it has come.
            (Some("subscriptions"), Some(_), Some("checkpoint"), None) => {
                need(Scope::Read, StreamScope::Asked, ListenerKind::Admin)
            }
            (Some("alerts" | "parked" | "results" | "streams" | "subscriptions"), ..) => {
                need(other, StreamScope::Asked, ListenerKind::Admin)
            }
            _ => need(other, StreamScope::All, ListenerKind::Admin),
        }
    }
}

fn one(name: &str) -> StreamScope<'_> {
    StreamScope::One(if name.contains('%') { "" } else { name })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn need(
        method: &Method,
        path: &'static str,
    ) -> (Option<Scope>, StreamScope<'static>, ListenerKind) {
        let Requirement { scope, about, side } = Requirement::of(method, path);
        (scope, about, side)
    }

    #[test]
    fn what_changes_something_needs_admin_and_what_looks_needs_read() {
        use Scope::{Admin, Read, Send, Work};
        use StreamScope::{All, Asked, One};
        let (get, put, post, delete) = (&Method::GET, &Method::PUT, &Method::POST, &Method::DELETE);
        for (method, path, scope, about, side) in [
            (post, "/v1/streams/a/messages", Some(Send), One("a"), ListenerKind::Both),
            (post, "/v1/streams/a/messages:batch", Some(Send), One("a"), ListenerKind::Both),
            (get, "/v1/streams/a/messages/7", Some(Read), One("a"), ListenerKind::Both),
            (post, "/v1/streams/a/messages/7/skip", Some(Admin), One("a"), ListenerKind::Admin),
            (post, "/v1/streams/a/messages/7", Some(Admin), One("a"), ListenerKind::Admin),
            (get, "/v1/streams/a/results", Some(Read), One("a"), ListenerKind::Admin),
            (post, "/v1/streams/%61/pause", Some(Admin), One(""), ListenerKind::Admin),
            (get, "/v1/streams", Some(Read), Asked, ListenerKind::Admin),
            (get, "/v1/results", Some(Read), Asked, ListenerKind::Admin),
            (put, "/v1/workers/w", Some(Work), All, ListenerKind::Both),
            (delete, "/v1/workers/w", Some(Work), All, ListenerKind::Both),
            (post, "/v1/workers/w/drain", Some(Work), All, ListenerKind::Both),
            (post, "/v1/workers/w/resume", Some(Work), All, ListenerKind::Both),
            (get, "/v1/workers", Some(Read), All, ListenerKind::Admin),
            (get, "/v1/status", Some(Read), All, ListenerKind::Admin),
            (get, "/v1/audit", Some(Read), All, ListenerKind::Admin),
            (post, "/v1/parked/retry", Some(Admin), Asked, ListenerKind::Admin),
            (put, "/v1/subscriptions/s", Some(Admin), Asked, ListenerKind::Admin),
            (post, "/v1/subscriptions/s/rewind", Some(Admin), Asked, ListenerKind::Admin),
            (post, "/v1/subscriptions/s/checkpoint", Some(Read), Asked, ListenerKind::Admin),
            (post, "/v1/alerts/1/acknowledge", Some(Admin), Asked, ListenerKind::Admin),
            (&Method::OPTIONS, "/v1/status", Some(Admin), All, ListenerKind::Admin),
            (post, "/v1/something/new", Some(Admin), All, ListenerKind::Admin),
            (get, "/metrics", Some(Read), All, ListenerKind::Admin),
            (get, "/livez", None, All, ListenerKind::Both),
            (get, "/readyz", None, All, ListenerKind::Both),
            (get, "/", None, All, ListenerKind::Admin),
            (get, "/openapi.json", None, All, ListenerKind::Admin),
            (post, "/", Some(Admin), All, ListenerKind::Admin),
        ] {
            assert_eq!(need(method, path), (scope, about, side), "{method} {path}");
        }
    }
}
