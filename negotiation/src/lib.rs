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
//! | [`certificate`] | what of a negotiation that has ended is put on record, so that anyone can check it |
//! | [`voting`] | which candidate the weighted ballots of the participants elect |
//! | [`division`] | who gets how much of what is scarce: max-min, dominant resource fairness, tiers with minima |
//! | [`assignment`] | which agent does which task, at the least cost in all |
//! | [`auction`] | who buys, and at what price: first and second price, several units, bundles |
//! | [`fusion`] | one value, or one label, from many signals; conflicts between sources |
//! | [`risk`] | one level of risk from rounds of anonymous estimates, whatever a few of them say |
//!
//! [`protocols`] makes each room something that participants are asked; [`tools`] decides in one go what is answered already;
//! [`requests`] are short bodies that open the negotiations that are wanted most.

pub mod assignment;
pub mod auction;
mod bounds;
pub mod calibration;
pub mod certificate;
pub mod contract_net;
pub mod division;
pub mod emergency;
pub mod fusion;
pub mod offers;
mod protocol;
pub mod protocols;
pub mod requests;
pub mod risk;
mod roster;
mod said;
mod scale;
mod session;
mod then;
pub mod tools;
pub mod voting;

pub use certificate::{Certificate, certificate, explain, verify};
pub use protocol::{Call, Decision, Known, Next, Protocol, Protocols, Table, answer};
pub use roster::{NAME_BYTES_MAX, PARTICIPANTS_MAX};
pub use scale::PART_BITS_MAX;
pub use session::{Negotiation, Opening, fingerprint, open};
pub use then::{event_value, starts};
