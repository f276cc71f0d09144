//! One negotiation: a question, those who are asked, rounds of answers, and a decision that anyone can check.
//!
//! Pure: no clock, no randomness, no I/O; the same inputs give the same bytes. It knows no transport: the ledger keeps a
//! negotiation as an entity of its shard, and this crate says what each answer does to it.
//!
//! | room | what is decided there |
//! |---|---|
//! | [`certificate`] | what of a negotiation that has ended is put on record, so that anyone can check it |
//! | [`voting`] | which candidate the weighted ballots of the participants elect |

pub mod certificate;
mod protocol;
pub mod protocols;
mod said;
mod session;
mod then;
pub mod voting;

pub use certificate::{Certificate, certificate, explain, verify};
pub use protocol::{Call, Decision, Next, Protocol, Protocols, Table, answer};
pub use session::{Negotiation, Opening, fingerprint, open};
pub use then::task_of;
