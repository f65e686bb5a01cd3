//! The dispatcher alone, driven by hand.

mod alerts;
mod answers;
mod anything;
mod batches;
mod bounds;
mod configured;
mod delivery;
mod destinations;
mod fixture;
mod health;
mod oddities;
mod outages;
mod poison;
mod pools;
mod quarantine;
mod room;
mod snapshot;
mod streams;
mod subscriptions;
mod sweeps;
mod taking_back;
