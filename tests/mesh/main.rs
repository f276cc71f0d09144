//! The whole mesh, from outside: the built `synod`, and clients that know nothing but the contract.

mod attempts;
mod bad_agents;
mod bad_http;
mod bad_records;
mod breakers;
mod checkpoints;
mod counters;
mod cut;
mod explain;
mod foreign;
mod http;
mod life;
mod limits;
mod locks;
mod loss;
mod mirror;
mod mirror_load;
mod outages;
mod placement;
mod queues;
mod sdk_changes;
mod sharing;
mod snapshots;
mod state;
mod subscriptions;
mod told;
