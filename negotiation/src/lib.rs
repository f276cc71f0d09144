//! One negotiation: a question, those who are asked, rounds of answers, and a decision that anyone can check.
//!
//! Pure: no clock, no randomness, no I/O; the same inputs give the same bytes. It knows no transport: the ledger keeps a
//! negotiation as an entity of its shard, and this crate says what each answer does to it.
//!
//! | room | what is decided there |
//! |---|---|
//! | [`contract_net`], [`calibration`] | to which bidder a piece of work goes, by bids and by what became of earlier ones |
//! | [`offers`] | which offer is agreed on |
//! | [`emergency`] | who takes which role of a prepared procedure |
//! | [`voting`] | which candidate the weighted ballots of the participants elect |

mod bounds;
pub mod calibration;
pub mod contract_net;
pub mod emergency;
pub mod offers;
mod protocol;
pub mod protocols;
mod session;
mod then;
pub mod voting;

pub use protocol::{Call, Decision, Next, Protocol, Protocols, Table, answer};
pub use session::{Negotiation, Opening, fingerprint, open};
pub use then::task_of;
