//! What has befallen a world, counted: what did not happen, a run says nothing about.

use std::fmt;

macro_rules! kinds {
    ($($name:ident: $words:literal,)*) => {
        /// Something that befell the world, or that came of it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Met { $(#[doc = $words] $name,)* }

        impl Met {
            /// Every kind, with its name.
            pub const ALL: &'static [(Met, &'static str)] = &[$((Met::$name, $words),)*];
        }
    };
}

kinds! {
    Refused: "append refused",
    FailedButThere: "append failed, yet there",
    FailedAndLate: "append failed, there later",
    Doubled: "append doubled",
    Overtaken: "append overtaken",
    Stalled: "append stalled",
    AckWithoutOffset: "ack without an offset",
    AckElsewhere: "ack with another offset",
    AckAsFailed: "ack as failed",
    CountsDisplaced: "record that counts behind its place",
    Junk: "foreign record",
    Crash: "crash",
    CrashInFlight: "crash with records in flight",
    CrashOwing: "crash with effects owed",
    Pause: "pause",
    PauseBeyondLease: "pause beyond the lease",
    Leave: "leave in good order",
    HandedOver: "shard handed over",
    ClaimInDoubt: "claim in doubt",
    PasserBy: "claim by a passer-by",
    Rogue: "claim of another's shard",
    TwoOwners: "two owners at once",
    ThreeOwners: "three owners at once",
    ClockJump: "wall clock jumped",
    FoldFromBirth: "fold from the birth",
    FoldFromFloor: "fold from a floor",
    FoldOfTrimmed: "fold of a trimmed ledger",
    Trim: "ledger trimmed",
    TrimmedClaim: "claim overtaken by trimming",
    Backlog: "commands waited at a claim",
    Wipe: "Redis wiped",
    OldFile: "Redis back with an old file",
    RedisOutage: "Redis out of reach",
    Redelivered: "work handed over once more",
    PermitsTaken: "permits taken",
    PermitsRefused: "permits refused",
    StaleRefused: "stale effect refused",
    AlreadyThere: "attempt already there",
    AgentDeath: "agent died",
    AgentPause: "agent stood still",
    Hung: "agent never answers",
    AnsweredLate: "answer to an attempt that is over",
    AnsweredTwice: "second answer of an attempt",
    Doubted: "agent in doubt, or no more",
    Withdrawn: "work withdrawn on suspicion",
    AgentSuperseded: "agent superseded by an earlier start",
    Retention: "retention passed commands",
    DataLost: "shard stopped, data lost",
    Poison: "command unreadable",
    Misplaced: "command misplaced",
    Repeated: "repeat answered",
    LookedUp: "answer from the archive",
    TrimmedAway: "answer trimmed away",
    TooOld: "forgotten command refused",
    TurnedAway: "command turned away",
    TooLong: "record too long",
    Opened: "negotiation opened",
    Decided: "negotiation decided",
    NegotiationFailed: "negotiation failed",
    NegotiationCancelled: "negotiation cancelled",
    Settled: "settled before all had answered",
    Extended: "round given as much time again",
    ByDefault: "decided by default",
    EndTooLarge: "end too large for a record",
    NoQuorum: "failed for lack of a quorum",
    EndTold: "opener told of the end",
    EndUntold: "end no longer to be told",
    ThenStarted: "task started by a decision",
    Awarded: "award given",
    AwardRefused: "award refused by its holder",
    AwardLapsed: "award lapsed in silence",
    HolderGone: "award of one that is gone",
    HolderDied: "holder died when asked",
    OwnerStruck: "owner struck after an award",
    CrashInAward: "crash between award and commitment",
    ClaimInAward: "claim between award and commitment",
    TwoInAward: "two owners between the two",
    ParticipantGone: "participant gone",
    SubstituteAsked: "another asked in its place",
    AskedAnew: "new process start asked again",
    AskReached: "ask that reached its participant",
    Unanswered: "ask left unanswered",
    RepliedLate: "answer given late",
    RepliedTwice: "second answer to a round",
    RepliedToOld: "answer to a closed round",
    RepliedEarly: "answer to a round to come",
    Uncounted: "second answer on record, uncounted",
    Replaced: "second answer that replaces",
    Meddled: "answer in another's name",
    RunStarted: "execution started",
    RunCompleted: "execution completed",
    RunFailed: "execution failed",
    RunOutOfTime: "execution out of time",
    RunCancelled: "execution cancelled",
    RunPaused: "execution paused",
    RunResumed: "execution resumed",
    RunWentOn: "execution went on by another step",
    Signalled: "signal taken",
    StepToRetry: "attempt of a step failed",
    StepTriedAgain: "step tried again",
    FellBack: "step done by its fallback",
    StepFailed: "step failed for good",
    StepLeftOut: "step left out",
    Consulted: "expert asked",
    Revised: "revision begun",
    RetriedByHand: "retry by hand wanted",
    RetriedStep: "step retried by hand",
    AsUndisturbed: "ended as undisturbed",
    LeftWaiting: "left waiting for a signal",
    LeftPaused: "left paused",
    ClaimInRun: "claim with executions under way",
    ClaimWhileAsked: "claim with approvals pending",
    AskerStruck: "owner struck after asking people",
    TwoWhileAsked: "two owners when people are asked",
    ApprovalAsked: "approval asked",
    AskedAgain: "revision of an approval asked",
    ApprovalSigned: "approval signed, more needed",
    ApprovalGranted: "approval granted",
    ApprovedItself: "approval by itself",
    ApprovalRejected: "approval rejected",
    ChangesWanted: "changes requested",
    ApprovalTimedOut: "approval timed out",
    ApprovalCancelled: "approval cancelled by somebody",
    ApprovalTakenBack: "approval taken back",
    DecidedTwice: "second decision of a person",
    DecidedLate: "decision at the last moment or later",
    StrangerDecided: "decision of one not asked",
}

/// How often each kind was met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tally([u64; Met::ALL.len()]);

impl Default for Tally {
    fn default() -> Tally {
        Tally([0; Met::ALL.len()])
    }
}

impl Tally {
    /// It was met once more.
    pub(crate) fn met(&mut self, what: Met) {
        self.0[what as usize] += 1;
    }

    /// How often.
    pub fn count(&self, what: Met) -> u64 {
        self.0[what as usize]
    }

    /// The same of two runs.
    pub fn add(&mut self, other: &Tally) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine += theirs;
        }
    }
}

impl fmt::Display for Tally {
    /// A table of three columns.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for row in Met::ALL.chunks(3) {
            for (met, name) in row {
                write!(f, "{:>9} {name:<38}", self.count(*met))?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}
