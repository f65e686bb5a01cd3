//! Between a listener and its routes: whether a request is answered here, and whether its caller
//! may make it.

use std::sync::Arc;

use axum::response::Response;
use http::{HeaderValue, Request, header};
use rollcall_common::{problem::Problem, protocol};

use crate::{
    access::{Access, Caller, Need, Scope, Side},
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
pub struct Gate {
    /// Who may do what.
    pub access: Arc<Access>,
    /// What is answered at all.
    pub answers: Answers,
}

impl Gate {
    /// Lets everything through.
    #[must_use]
    pub fn open() -> Self {
        Self { access: Arc::new(Access::new(&[])), answers: Answers::All }
    }

    /// Notes who has made the request; or gives back why it goes no further.
    pub(super) fn admit<B>(&self, request: &mut Request<B>) -> Result<(), Box<Response>> {
        let need = Need::of(request.method(), request.uri().path());
        if self.answers == Answers::Data && need.side == Side::Admin {
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
