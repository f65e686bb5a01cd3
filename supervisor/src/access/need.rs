//! What a request needs, by its method and path alone. What is not known here needs `admin`, so a
//! new route is closed until somebody says otherwise.

use http::Method;

use super::Scope;

/// What a request needs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Need<'a> {
    /// Which scope; `None`: open to all.
    pub scope: Option<Scope>,
    /// Which streams it is about.
    pub about: About<'a>,
    /// Where it is answered, when there are two listeners.
    pub side: Side,
}

/// Which streams a request is about, for tokens that are for some.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum About<'a> {
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
pub enum Side {
    /// `admin_listen` alone.
    Admin,
    /// Both.
    Both,
}

impl<'a> Need<'a> {
    /// What a request of this method needs at this path.
    #[must_use]
    pub fn of(method: &Method, path: &'a str) -> Self {
        let looks = matches!(*method, Method::GET | Method::HEAD);
        let need = |scope, about, side| Self { scope: Some(scope), about, side };
        let other = if looks { Scope::Read } else { Scope::Admin };
        let Some(rest) = path.strip_prefix("/v1/") else {
            let side = if matches!(path, "/livez" | "/readyz") { Side::Both } else { Side::Admin };
            // What else there is, is the same for everybody, and says nothing of messages.
            let open = looks && path != "/metrics";
            return Self { scope: (!open).then_some(other), about: About::All, side };
        };
        let mut parts = rest.splitn(4, '/');
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some("streams"), Some(stream), Some("messages" | "messages:batch"), None)
                if *method == Method::POST =>
            {
                need(Scope::Send, one(stream), Side::Both)
            }
            // What `Location` names.
            (Some("streams"), Some(stream), Some("messages"), Some(_)) if looks => {
                need(Scope::Read, one(stream), Side::Both)
            }
            (Some("streams"), Some(stream), ..) => need(other, one(stream), Side::Admin),
            // A worker is given messages of all streams.
            (Some("workers"), Some(_), ..) if !looks => need(Scope::Work, About::All, Side::Both),
            // Who reads a subscription's results says how far it has come.
            (Some("subscriptions"), Some(_), Some("checkpoint"), None) => {
                need(Scope::Read, About::Asked, Side::Admin)
            }
            (Some("alerts" | "parked" | "results" | "streams" | "subscriptions"), ..) => {
                need(other, About::Asked, Side::Admin)
            }
            _ => need(other, About::All, Side::Admin),
        }
    }
}

fn one(name: &str) -> About<'_> {
    About::One(if name.contains('%') { "" } else { name })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn need(method: &Method, path: &'static str) -> (Option<Scope>, About<'static>, Side) {
        let Need { scope, about, side } = Need::of(method, path);
        (scope, about, side)
    }

    #[test]
    fn what_changes_something_needs_admin_and_what_looks_needs_read() {
        use About::{All, Asked, One};
        use Scope::{Admin, Read, Send, Work};
        let (get, put, post, delete) = (&Method::GET, &Method::PUT, &Method::POST, &Method::DELETE);
        for (method, path, scope, about, side) in [
            (post, "/v1/streams/a/messages", Some(Send), One("a"), Side::Both),
            (post, "/v1/streams/a/messages:batch", Some(Send), One("a"), Side::Both),
            (get, "/v1/streams/a/messages/7", Some(Read), One("a"), Side::Both),
            (post, "/v1/streams/a/messages/7/skip", Some(Admin), One("a"), Side::Admin),
            (post, "/v1/streams/a/messages/7", Some(Admin), One("a"), Side::Admin),
            (get, "/v1/streams/a/results", Some(Read), One("a"), Side::Admin),
            (post, "/v1/streams/%61/pause", Some(Admin), One(""), Side::Admin),
            (get, "/v1/streams", Some(Read), Asked, Side::Admin),
            (get, "/v1/results", Some(Read), Asked, Side::Admin),
            (put, "/v1/workers/w", Some(Work), All, Side::Both),
            (delete, "/v1/workers/w", Some(Work), All, Side::Both),
            (post, "/v1/workers/w/drain", Some(Work), All, Side::Both),
            (post, "/v1/workers/w/resume", Some(Work), All, Side::Both),
            (get, "/v1/workers", Some(Read), All, Side::Admin),
            (get, "/v1/status", Some(Read), All, Side::Admin),
            (get, "/v1/audit", Some(Read), All, Side::Admin),
            (post, "/v1/parked/retry", Some(Admin), Asked, Side::Admin),
            (put, "/v1/subscriptions/s", Some(Admin), Asked, Side::Admin),
            (post, "/v1/subscriptions/s/rewind", Some(Admin), Asked, Side::Admin),
            (post, "/v1/subscriptions/s/checkpoint", Some(Read), Asked, Side::Admin),
            (post, "/v1/alerts/1/acknowledge", Some(Admin), Asked, Side::Admin),
            (&Method::OPTIONS, "/v1/status", Some(Admin), All, Side::Admin),
            (post, "/v1/something/new", Some(Admin), All, Side::Admin),
            (get, "/metrics", Some(Read), All, Side::Admin),
            (get, "/livez", None, All, Side::Both),
            (get, "/readyz", None, All, Side::Both),
            (get, "/", None, All, Side::Admin),
            (get, "/openapi.json", None, All, Side::Admin),
            (post, "/", Some(Admin), All, Side::Admin),
        ] {
            assert_eq!(need(method, path), (scope, about, side), "{method} {path}");
        }
    }
}
