//! What a negotiation says by itself, beside its protocol. It is on record, and certificates are checked by it: a sentence
//! that changes here makes those of before it doubtful.

/// Why an answer does not count where the first does.
pub(crate) const EARLIER_COUNTS: &str = "an earlier answer counts";
/// Why an answer does not count where the last does.
pub(crate) const REPLACED: &str = "replaced by a later answer";

pub(crate) fn no_quorum(answers: usize, quorum: usize) -> String {
    format!("no quorum: {answers} answered, {quorum} were needed")
}

pub(crate) fn time_was_up(round: u32, silent: usize) -> String {
    format!("time was up in round {round}, and {silent} had not answered")
}

pub(crate) fn unknown_protocol(protocol: &str, round: u32) -> String {
    format!("protocol {protocol} is not known to who decides round {round}")
}

pub(crate) fn too_large(round: u32) -> String {
    format!("what follows from round {round} does not fit into one record of the ledger")
}

pub(crate) fn too_many_rounds(rounds: usize) -> String {
    format!("there was no decision in {rounds} rounds")
}

pub(crate) fn deadline_passed(round: usize) -> String {
    format!("the deadline passed in round {round}, and there is no decision yet")
}

pub(crate) fn by_default(round: u32) -> String {
    format!("Time was up in round {round}: this is the default that was stated.")
}
