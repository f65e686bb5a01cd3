//! Subscriptions: how far each is, and what people and programs want of them.

use std::{io, sync::Arc};

use axum::{
    Router,
    body::Body,
    extract::{Path, State},
    response::Response,
    routing::{get, post},
};
use http::{HeaderMap, StatusCode};
use rollcall_common::{
    http::{Address, allowed},
    ids::{Position, StreamName},
    limits::SUBSCRIPTION_BODY,
    problem::Problem,
};
use serde_json::{Value, json};

use super::{
    Api,
    subscription_body::{SubscriptionRequest, Target, position, skip, target, wrong},
};
use crate::{
    access::Caller,
    dispatcher::{
        Event, FailingStream, Reply, SubscriptionReply, SubscriptionStatus, event::Order,
    },
    record::{DeliveryMode, Origin, Start},
    secrets::Kept,
    web::{
        actor, read_body,
        respond::{ApiResult, bad_request, internal, json, look_at},
    },
};

pub(super) fn routes() -> Router<Arc<Api>> {
    let one = get(one).put(put).delete(delete);
    Router::new()
        .route("/v1/subscriptions", get(list))
        .route("/v1/subscriptions/{name}", one)
        .route("/v1/subscriptions/{name}/checkpoint", post(checkpoint))
        .route("/v1/subscriptions/{name}/pause", post(pause))
        .route("/v1/subscriptions/{name}/resume", post(resume))
        .route("/v1/subscriptions/{name}/rewind", post(rewind))
        .route("/v1/subscriptions/{name}/skip", post(pass_over))
}

async fn list(State(api): State<Arc<Api>>, caller: Caller) -> ApiResult {
    let all = api.subscriptions(&caller).await;
    ApiResult(all.map(|all| json(StatusCode::OK, &json!({ "subscriptions": all }))))
}

async fn one(State(api): State<Arc<Api>>, caller: Caller, Path(name): Path<String>) -> ApiResult {
    ApiResult(match api.allow(&caller, &name).await {
        Ok(()) => api.subscription(&name, StatusCode::OK).await,
        Err(refusal) => Err(refusal),
    })
}

async fn put(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> ApiResult {
    ApiResult(match read_body(&headers, body, SUBSCRIPTION_BODY).await {
        Ok(body) => api.arrange(&caller, &name, (actor(&headers), &body)).await,
        Err(refusal) => Err(refusal),
    })
}

async fn delete(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> ApiResult {
    ApiResult(match api.allow(&caller, &name).await {
        Ok(()) => api.remove(&name, actor(&headers)).await,
        Err(refusal) => Err(refusal),
    })
}

async fn pause(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> ApiResult {
    ApiResult(api.order((&caller, &name), actor(&headers), Order::Pause).await)
}

async fn resume(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> ApiResult {
    ApiResult(api.order((&caller, &name), actor(&headers), Order::Resume).await)
}

async fn checkpoint(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> ApiResult {
    ApiResult(match said_position(&headers, body).await {
        Ok(position) => {
            api.order((&caller, &name), actor(&headers), Order::Checkpoint(position)).await
        }
        Err(refusal) => Err(refusal),
    })
}

async fn rewind(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> ApiResult {
    ApiResult(match read_body(&headers, body, SUBSCRIPTION_BODY).await {
        Ok(body) => api.rewind((&caller, &name), actor(&headers), &body).await,
        Err(refusal) => Err(refusal),
    })
}

async fn pass_over(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> ApiResult {
    let body = read_body(&headers, body, SUBSCRIPTION_BODY).await;
    ApiResult(match body.and_then(|body| skip(&body)) {
        Ok(order) => api.order((&caller, &name), actor(&headers), order).await,
        Err(refusal) => Err(refusal),
    })
}

async fn said_position(headers: &HeaderMap, body: Body) -> Result<Position, Box<Problem>> {
    position(&read_body(headers, body, SUBSCRIPTION_BODY).await?)
}

/// There is no such subscription.
pub(super) fn unknown(name: &str) -> Problem {
    let detail = format!("there is no subscription {name:?}");
    Problem::new(404, "unknown-subscription", "Unknown subscription", detail)
}

/// What a refusal is to the outside.
fn refused(name: &str, reply: SubscriptionReply) -> Problem {
    match reply {
        SubscriptionReply::Beyond(head) => {
            let detail = format!("the position is beyond the head, {head}");
            bad_request(detail).with("field", "position").with("head", head.0)
        }
        SubscriptionReply::Configured => {
            let detail = format!(
                "{name} stands in the configuration; change it there (it can be paused, resumed \
                 and rewound here)"
            );
            Problem::new(409, "configured-subscription", "Configured subscription", detail)
        }
        SubscriptionReply::NotDue => {
            let detail = format!("{name} has no such result to deliver, or has delivered it");
            Problem::new(409, "not-due", "Not due", detail)
        }
        SubscriptionReply::NotPush => {
            let detail = format!("{name} is pulled; its reader passes over what it likes");
            Problem::new(409, "pull-subscription", "Pull subscription", detail)
        }
        SubscriptionReply::TooManyPassedOver => {
            let detail = "as many results are passed over as may be, and none is done with";
            Problem::new(409, "too-many-passed-over", "Too many passed over", detail)
        }
        SubscriptionReply::NotPull => {
            let detail = format!("{name} has a destination, whose answers move its checkpoint");
            Problem::new(409, "push-subscription", "Push subscription", detail)
        }
        SubscriptionReply::TooMany => {
            let detail = "there are as many subscriptions as there may be";
            Problem::new(409, "too-many-subscriptions", "Too many subscriptions", detail)
        }
        SubscriptionReply::Unconfigured => {
            let detail = format!(
                "the configuration does not name {name} any more; it goes on when it stands there \
                 again, or is made here by PUT, and DELETE removes it"
            );
            Problem::new(409, "unconfigured-subscription", "Unconfigured subscription", detail)
        }
        SubscriptionReply::Created | SubscriptionReply::Done | SubscriptionReply::Unknown => {
            unknown(name)
        }
    }
}

impl Api {
    async fn subscription(&self, name: &str, status: StatusCode) -> Result<Response, Box<Problem>> {
        let (found, head) = self.status_of(name).await?;
        Ok(json(status, &self.shown(&found, head)))
    }

    /// A subscription's status, and the head.
    pub(super) async fn status_of(
        &self,
        name: &str,
    ) -> Result<(SubscriptionStatus, Position), Box<Problem>> {
        let asked = name.to_owned();
        let look = look_at(&self.handle, move |dispatcher| {
            let id = dispatcher.state().find_subscription(&asked)?;
            Some((dispatcher.subscription_status(id)?, dispatcher.state().head()))
        });
        Ok(look.await?.ok_or_else(|| unknown(name))?)
    }

    /// Refuses a caller who may not see all that a subscription is for.
    async fn allow(&self, caller: &Caller, name: &str) -> Result<(), Box<Problem>> {
        if caller.bounds().is_none() {
            return Ok(());
        }
        caller.must_see(&self.status_of(name).await?.0.plan.streams)
    }

    async fn subscriptions(&self, caller: &Caller) -> Result<Vec<Value>, Box<Problem>> {
        let look = look_at(&self.handle, |dispatcher| {
            let state = dispatcher.state();
            let all = state.subscription_names().map(|(id, _)| id);
            let all = all.filter_map(|id| dispatcher.subscription_status(id));
            (all.collect::<Vec<_>>(), state.head())
        });
        let (all, head) = look.await?;
        let seen = all.iter().filter(|status| caller.must_see(&status.plan.streams).is_ok());
        Ok(seen.map(|status| self.shown(status, head)).collect())
    }

    /// Makes a subscription, or changes it. Its secret is durable before anything speaks of it.
    async fn arrange(
        &self,
        caller: &Caller,
        name: &str,
        (by, body): (Box<str>, &[u8]),
    ) -> Result<Response, Box<Problem>> {
        if name.parse::<StreamName>().is_err() {
            let text = "a name has 1 to 128 characters of A-Z, a-z, 0-9, '.', '_' and '-', and is \
                        neither \".\" nor \"..\"";
            return Err(wrong("name", text));
        }
        let wanted = SubscriptionRequest::read(body)?;
        caller.must_see(&wanted.plan.streams)?;
        for address in &wanted.addresses {
            self.check_address(address).await?;
        }
        // One at a time, so that secrets and records of two callers are not mixed.
        let _turn = self.arranging.lock().await;
        let known = self.status_of(name).await.ok().map(|(status, _)| status.plan);
        if let Some(plan) = &known {
            caller.must_see(&plan.streams)?;
        }
        let known = known.map(|plan| plan.origin);
        if known == Some(Origin::Configuration) {
            return Err(refused(name, SubscriptionReply::Configured).into());
        }
        self.keep(name, wanted.kept).await?;
        let (name_, plan) = (Box::from(name), Arc::new(wanted.plan));
        let event =
            move |request| Event::Subscribe { request: Some((request, by)), name: name_, plan };
        let reply = self.asked(event).await?;
        if reply == SubscriptionReply::Created {
            return self.subscription(name, StatusCode::CREATED).await;
        }
        if reply == SubscriptionReply::Done {
            return self.subscription(name, StatusCode::OK).await;
        }
        if known.is_none() {
            self.keep(name, Kept::default()).await?;
        }
        let problem = refused(name, reply);
        let start = matches!(reply, SubscriptionReply::Beyond(_));
        Err(if start { problem.with("field", "start") } else { problem }.into())
    }

    async fn remove(&self, name: &str, by: Box<str>) -> Result<Response, Box<Problem>> {
        let _turn = self.arranging.lock().await;
        let name_ = Box::from(name);
        let event = move |request| Event::Unsubscribe { request: Some((request, by)), name: name_ };
        let reply = self.asked(event).await?;
        if reply != SubscriptionReply::Done {
            return Err(refused(name, reply).into());
        }
        self.keep(name, Kept::default()).await?;
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        Ok(response)
    }

    async fn order(
        &self,
        (caller, name): (&Caller, &str),
        by: Box<str>,
        order: Order,
    ) -> Result<Response, Box<Problem>> {
        self.allow(caller, name).await?;
        let name_ = Box::from(name);
        let reply = self
            .asked(move |request| Event::SubscriptionCommand { request, name: name_, by, order })
            .await?;
        if reply != SubscriptionReply::Done {
            return Err(refused(name, reply).into());
        }
        self.subscription(name, StatusCode::OK).await
    }

    async fn asked(
        &self,
        event: impl FnOnce(crate::dispatcher::RequestId) -> Event + Send + 'static,
    ) -> Result<SubscriptionReply, Box<Problem>> {
        if let Reply::Subscription(reply) = self.handle.request(event).await? {
            return Ok(reply);
        }
        Err(bad_request("not understood").into())
    }

    /// Begins again where a body says.
    async fn rewind(
        &self,
        about: (&Caller, &str),
        by: Box<str>,
        body: &[u8],
    ) -> Result<Response, Box<Problem>> {
        let position = match target(body)? {
            Target::Position(position) => position,
            Target::At(time) => {
                let views = Arc::clone(&self.views);
                let found = tokio::task::spawn_blocking(move || views.released_before(time)).await;
                found.map_err(|error| internal(&error))?
            }
        };
        self.order(about, by, Order::Rewind(position)).await
    }

    async fn keep(&self, name: &str, new: Kept) -> Result<(), Box<Problem>> {
        let (secrets, name) = (Arc::clone(&self.secrets), name.to_owned());
        let set = tokio::task::spawn_blocking(move || secrets.set(&name, new));
        let set = set.await.map_err(|error| internal(&error))?;
        set.map_err(|error| internal(&error).into())
    }

    /// A destination that can be seen to be forbidden is refused now. One whose name leads
    /// nowhere may lead somewhere later; where it leads is checked at each connection.
    async fn check_address(&self, address: &Address) -> Result<(), Box<Problem>> {
        match allowed(&self.network, (address.host(), address.port()), &self.guard).await {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                Err(wrong("url", &format!("{address}: {error}")))
            }
            Err(_) | Ok(_) => Ok(()),
        }
    }

    fn shown(&self, status: &SubscriptionStatus, head: Position) -> Value {
        let now = self.clock.now();
        let (checkpoint, plan) = (status.checkpoint, &status.plan);
        let oldest = self.views.released_at(checkpoint.next());
        let age = oldest.map_or(0, |at| now.since(at).as_millis());
        let start = match plan.start {
            Start::After(Position(0)) => json!("beginning"),
            Start::After(position) => json!(position),
            Start::Live => json!("live"),
        };
        let url = match (plan.way, &*plan.urls) {
            (DeliveryMode::Pull, _) => Value::Null,
            (DeliveryMode::Push, [one]) => json!(one),
            (DeliveryMode::Push, all) => json!(all),
        };
        let gap = status
            .gap
            .as_ref()
            .map(|gap| json!({ "stream": gap.stream, "expected": gap.expected, "got": gap.got }));
        let per_minute = u32::try_from(status.rate.last_minute(now)).unwrap_or(u32::MAX);
        let configured = plan.origin == Origin::Configuration;
        json!({
            "name": &*status.name,
            "kind": if plan.way == DeliveryMode::Pull { "pull" } else { "push" },
            "configured": configured,
            "streams": plan.streams,
            "url": url,
            "start": start,
            "batch": plan.batch,
            "timeout_ms": u64::try_from(plan.timeout.as_millis()).unwrap_or(u64::MAX),
            "replay_rate": plan.replay_rate,
            "headers": plan.headers,
            "generation": status.generation,
            "checkpoint": checkpoint,
            "head": head,
            "lag": head.0.saturating_sub(checkpoint.0),
            "lag_ms": u64::try_from(age).unwrap_or(u64::MAX),
            "rate": f64::from(per_minute) / 60.0,
            "mode": status.mode.as_str(),
            "paused": status.paused_reason().is_some(),
            "paused_reason": status.paused_reason(),
            "held_streams": status.held,
            "failing_streams": status.failing.iter().map(failing).collect::<Vec<_>>(),
            "outage": status.outage,
            "last_error": status.last_error.as_deref(),
            "failing_since": status.failing_since,
            "failures": status.failures,
            "gap": gap,
        })
    }
}

fn failing(one: &FailingStream) -> Value {
    json!({
        "stream": one.stream,
        "sequence": one.sequence,
        "tries": one.tries,
        "held": one.held,
        "error": one.error,
        "next_try_at": one.next_try,
    })
}
