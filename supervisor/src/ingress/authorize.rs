//! Between a listener and its routes: whether a request is answered here, and whether its caller
//! may make it.

use std::sync::Arc;

use axum::response::Response;
use http::{HeaderValue, Request, header};
use rollcall_common::{http::Site, problem::Problem, protocol};

use crate::{
    access::{Access, Caller, ListenerKind, Requirement, Scope},
    web::respond::problem,
};

/// What a listener answers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Answers {
    /// Everything.
    All,
    /// What producers and workers ask, and whether the process lives: the rest is answered at
    /// another address.
    Data,
}

/// Lets requests through, or not.
#[derive(Debug)]
pub struct Authorizer {
    /// Who may do what.
    pub access: Arc<Access>,
    /// What is answered at all.
    pub answers: Answers,
    /// By which names the supervisor is called.
    pub site: Arc<Site>,
}

impl Authorizer {
    /// Lets everything through but what pages of other sites send.
    #[must_use]
    pub fn open() -> Self {
        Self {
            access: Arc::new(Access::new(&[])),
            answers: Answers::All,
            site: Arc::new(Site::default()),
        }
    }

    /// Notes who has made the request; or gives back why it goes no further.
    pub(super) fn admit<B>(&self, request: &mut Request<B>) -> Result<(), Box<Response>> {
        if self.access.is_open() {
            self.site.check(request).map_err(|refusal| problem(&refusal))?;
        }
        let need = Requirement::of(request.method(), request.uri().path());
        if self.answers == Answers::Data && need.side == ListenerKind::Admin {
            let detail = "this is answered at server.admin_listen";
            let refusal = Problem::new(404, "not-here", "Not found", detail);
            return Err(Box::new(problem(&refusal)));
        }
        let sends = need.scope == Some(Scope::Send);
        let admitted = self.access.admit(&need, request.headers());
        let token = admitted.map_err(|refusal| {
            let mut response = problem(&refusal.problem);
            let challenge = HeaderValue::from_static(refusal.challenge);
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
            Box::new(response)
        })?;
        // Nobody asks who has sent a message.
        let Some(token) = token.filter(|_| !sends) else {
            return Ok(());
        };
        // Who has a token can't say that somebody else does it.
        request.headers_mut().remove(protocol::ACTOR);
        if let Ok(name) = HeaderValue::from_str(&token.name) {
            request.headers_mut().insert(protocol::ACTOR, name);
        }
        request.extensions_mut().insert(Caller::new(Some(token)));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{Scope, Token};

    #[test]
    fn pages_are_asked_where_they_come_from_as_long_as_nobody_needs_a_token() {
        let foreign = || {
            let request = Request::post("/v1/streams/a/messages").header(header::HOST, "a.example");
            request.header(header::ORIGIN, "https://evil.example").body(()).unwrap()
        };
        let gate = Authorizer::open();
        assert_eq!(gate.admit(&mut foreign()).unwrap_err().status(), 403);
        let token = Token::new("a".into(), b"secret", [Scope::Send].into_iter().collect());
        gate.access.replace(&[Arc::new(token)]);
        let mut known = foreign();
        let secret = HeaderValue::from_static("Bearer secret");
        known.headers_mut().insert(header::AUTHORIZATION, secret);
        assert!(gate.admit(&mut known).is_ok());
        assert_eq!(gate.admit(&mut foreign()).unwrap_err().status(), 401);
    }
}
