//! The whole mesh, from outside: the built `synod`, and clients that know nothing but the contract.

mod attempts;
mod bad_http;
mod bad_records;
mod foreign;
mod http;
mod limits;
mod loss;
mod outages;
mod placement;
mod sharing;
mod told;
