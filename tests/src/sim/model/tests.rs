//! The model by itself: what it asks for.

use rollcall_supervisor::dispatcher::{Event, WorkerReply};

use super::*;

const NOW: Time = Time::from_micros(1_000_000);

fn tell(model: &mut Model, event: &Event) {
    model.expect(&Told::Event(event), NOW);
}

/// A model of a pool of `workers`, of which the first one has message 1 of a stream.
fn of_pool(workers: &[&str]) -> Model {
    let mut model = Model::default();
    model.open(&"a".parse().unwrap());
    for id in workers {
        let (id, pool) = ((*id).into(), "default".into());
        tell(&mut model, &Event::WorkerSeen { id, pool, concurrency: None, beats: false });
    }
    let (at, worker, until) = ((0, 1), workers[0].into(), Time::from_micros(2_000_000));
    let (begun, late_until, owing, beaten_by) = (NOW, None, false, None);
    let one = Try { at, worker, begun, until, late_until, owing, beaten_by, bytes: 100 };
    model.tries.insert(AttemptId(1), one);
    model
}

fn refused(model: &mut Model) -> Vec<Wanted> {
    let reply = WorkerReply::Answer {
        status: 422,
        outcome: None,
        reason: "".into(),
        retry_after: None,
        payload: Payload::default(),
    };
    tell(model, &Event::AttemptEnded { attempt: AttemptId(1), reply });
    model.wanted.remove(&(0, 1)).unwrap_or_default().into()
}

#[test]
fn one_workers_refusal_parks_only_in_a_pool_of_one() {
    let failed = || Wanted::Failed("w0".into());
    assert_eq!(refused(&mut of_pool(&["w0", "w1"])), [failed()]);
    assert_eq!(refused(&mut of_pool(&["w0"])), [failed(), Wanted::Parked(ParkCause::Refused)]);
}

#[test]
fn a_worker_that_has_left_is_not_its_pools_only_word() {
    let mut model = of_pool(&["w0", "w1", "w2"]);
    tell(&mut model, &Event::WorkerLeft { id: "w0".into() });
    assert_eq!(refused(&mut model), [Wanted::Failed("w0".into())]);
}
