//! An emergency: a procedure that was prepared, roles in it, and who takes them when those who hold them are silent.
//!
//! ```text
//!   holders of roles --acknowledge?--> vacancies --next of the list--> vacancies --next of the list--> ...
//!                                          `--none left, or the list is used up--> report
//! ```
//!
//! There is always a report, complete or not: whoever has called for help has to know who comes.

use crate::bounds;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use synod_protocol::{Error, Id};

/// Participants times roles that they hold.
pub const SEATS_MAX: usize = 1_000;
/// Participants on the list.
pub const ESCALATION_MAX: usize = 50;
/// How long each has to acknowledge where nothing is said, in milliseconds.
const ACKNOWLEDGE_MS: u64 = 2_000;

/// A procedure as it was prepared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Rules {
    /// Its name, 1 to 256 bytes.
    pub procedure: String,
    /// What everyone does, in order: at most 100 texts of 1 to 1,000 bytes.
    #[serde(default)]
    pub steps: Vec<String>,
    /// What each role does besides, in the same bounds; only roles that there are.
    #[serde(default)]
    pub role_steps: BTreeMap<String, Vec<String>>,
    /// Who holds each role; by default the roles that the participants were opened with.
    #[serde(default)]
    pub roles: Option<BTreeMap<String, Vec<Id>>>,
    /// How long each has to acknowledge, 10 ms to 7 days; 2,000 by default.
    #[serde(default)]
    pub acknowledge_ms: Option<u64>,
    /// Who is asked for vacant roles, one after the other: at most 50 participants.
    #[serde(default)]
    pub escalation: Vec<Id>,
    /// Who has to acknowledge; `roles` by default.
    #[serde(default)]
    pub required: Required,
    /// Whether a procedure that is not complete fails rather than being decided; false by default.
    #[serde(default)]
    pub fail_when_incomplete: bool,
}

/// Who has to acknowledge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Required {
    /// Every holder of every role, or who took it in the holder's place.
    All,
    /// For every role at least one holder, or who took it.
    #[default]
    Roles,
    /// So many participants, whatever their roles; at least 1, at most as many as hold roles.
    Count(u32),
}

/// A role in the hands of one of its holders.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Seat {
    /// The role.
    pub role: String,
    /// Its holder.
    pub holder: Id,
}

/// What became of one who was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// It is on it.
    Acknowledged {
        /// So many milliseconds after the opening.
        after_ms: u64,
        /// What it says of it.
        note: Option<String>,
    },
    /// It cannot, and why, if it says so.
    Unable(Option<String>),
    /// Its process is gone.
    Gone(String),
    /// Nothing came.
    Silent,
}

/// Who is on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Acknowledged {
    /// Who.
    pub participant: Id,
    /// The roles that it has, or took.
    pub roles: Vec<String>,
    /// Milliseconds from the opening to its first acknowledgement.
    pub after_ms: u64,
    /// What it says of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Who is not, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Missing {
    /// Who.
    pub participant: Id,
    /// Why; absent where nothing was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// A role that somebody else took.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct TakenOver {
    /// The role.
    pub role: String,
    /// Who took it.
    pub by: Id,
    /// In whose place.
    pub instead_of: Id,
    /// Milliseconds from the opening to that.
    pub after_ms: u64,
}

/// Who came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Report {
    /// The procedure.
    pub procedure: String,
    /// Whether all that was required is there.
    pub complete: bool,
    /// Who had to acknowledge.
    pub required: Required,
    /// Who did, in the order of participants.
    pub acknowledged: Vec<Acknowledged>,
    /// Who was asked and answered nothing, in the order of participants.
    pub silent: Vec<Id>,
    /// Who was asked and cannot, in the order of participants.
    pub unable: Vec<Missing>,
    /// Whose process was gone, in the order of participants.
    pub gone: Vec<Missing>,
    /// Roles that somebody else took, in the order in which that happened.
    pub taken_over: Vec<TakenOver>,
    /// Roles that nobody has.
    pub uncovered: Vec<String>,
    /// How many of the list were asked.
    pub escalation_steps: usize,
    /// How it came to that, in sentences.
    pub explanation: Vec<String>,
}

/// What follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// All holders of roles are to be asked.
    Call(Vec<Seat>),
    /// This one of the list is to be asked to take these.
    Escalate(Id, Vec<Seat>),
    /// It is over.
    Over(Box<Report>),
}

impl Rules {
    /// Who holds which role: by name of the role, then in the order in which the holders are named. `participants`: with the
    /// role that each was opened with.
    ///
    /// # Errors
    /// `invalid_argument`: nobody has a role, a holder is no participant or is named twice, there are over 1,000.
    pub fn seats(&self, participants: &[(Id, Option<String>)]) -> Result<Vec<Seat>, Error> {
        let mut seats = Vec::new();
        if let Some(roles) = &self.roles {
            for (role, holders) in roles {
                let at = format!("/roles/{role}");
                bounds::text("/roles", role, 1, 128)?;
                bounds::count(&at, holders.len(), 1, SEATS_MAX)?;
                known(&at, holders, participants)?;
                seats.extend(holders.iter().map(|holder| (role, holder)));
            }
        } else {
            seats.extend(participants.iter().filter_map(|(id, role)| Some((role.as_ref()?, id))));
            seats.sort_by_key(|(role, _)| *role);
        }
        if seats.is_empty() {
            let message = "nobody has a role: roles says who does what, here or of the participants";
            return Err(Error::invalid(message).with_field("/roles"));
        }
        bounds::count("/roles", seats.len(), 1, SEATS_MAX)?;
        Ok(seats.into_iter().map(|(role, id)| Seat { role: role.clone(), holder: id.clone() }).collect())
    }

    /// Whether these participants can be called by it.
    ///
    /// # Errors
    /// `invalid_argument`, with the place in the rules.
    pub fn check(&self, participants: &[(Id, Option<String>)]) -> Result<(), Error> {
        bounds::text("/procedure", &self.procedure, 1, 256)?;
        bounds::time("/acknowledge_ms", self.acknowledge_ms, 10)?;
        let seats = self.seats(participants)?;
        check_steps("/steps", &self.steps)?;
        for (role, steps) in &self.role_steps {
            let at = format!("/role_steps/{role}");
            if !seats.iter().any(|seat| seat.role == *role) {
                return Err(Error::invalid(format!("nobody has the role {role}")).with_field(at));
            }
            check_steps(&at, steps)?;
        }
        bounds::count("/escalation", self.escalation.len(), 0, ESCALATION_MAX)?;
        known("/escalation", &self.escalation, participants)?;
        if let Required::Count(count) = self.required {
            let holders: BTreeSet<&Id> = seats.iter().map(|seat| &seat.holder).collect();
            bounds::within("/required/count", count.into(), 1, holders.len() as u64)?;
        }
        Ok(())
    }

    /// How long each has to acknowledge, in milliseconds.
    pub fn acknowledge_ms(&self) -> u64 {
        self.acknowledge_ms.unwrap_or(ACKNOWLEDGE_MS)
    }
}

/// Each of them a participant, and once.
fn known(at: &str, ids: &[Id], participants: &[(Id, Option<String>)]) -> Result<(), Error> {
    let all: BTreeSet<&Id> = participants.iter().map(|(id, _)| id).collect();
    let mut once = BTreeSet::new();
    for (i, id) in ids.iter().enumerate() {
        let message = match (all.contains(id), once.insert(id)) {
            (false, _) => format!("{id} is no participant"),
            (_, false) => format!("{id} is named twice"),
            _ => continue,
        };
        return Err(Error::invalid(message).with_field(format!("{at}/{i}")));
    }
    Ok(())
}

fn check_steps(at: &str, steps: &[String]) -> Result<(), Error> {
    bounds::count(at, steps.len(), 0, 100)?;
    steps.iter().enumerate().try_for_each(|(i, step)| bounds::text(&format!("{at}/{i}"), step, 1, 1_000))
}

/// Follows what came back: of the holders of roles first, then of each one of the list that was asked. `last`: nobody can be
/// asked any more.
///
/// # Errors
/// As [`Rules::check`]; or more were asked than there are.
pub fn follow(
    rules: &Rules,
    participants: &[(Id, Option<String>)],
    rounds: &[BTreeMap<Id, Said>],
    last: bool,
) -> Result<Standing, Error> {
    rules.check(participants)?;
    let mut course = Course::new(rules, rules.seats(participants)?);
    let Some((first, later)) = rounds.split_first() else { return Ok(Standing::Call(course.seats)) };
    course.called(first);
    for (at, said) in later.iter().enumerate() {
        let Some((id, seats)) = course.next() else {
            let message = "nobody was to be asked any more";
            return Err(Error::invalid(message).with_field(format!("/rounds/{}", at + 1)));
        };
        course.escalated(&id, seats, said.get(&id).unwrap_or(&Said::Silent));
    }
    match course.next().filter(|_| !last) {
        Some((id, seats)) => Ok(Standing::Escalate(id, seats)),
        None => Ok(Standing::Over(Box::new(course.report(participants)))),
    }
}

/// An emergency under way.
struct Course<'a> {
    rules: &'a Rules,
    seats: Vec<Seat>,
    /// What became of everyone who was asked, by the last that is known; who has acknowledged once has.
    said: BTreeMap<Id, Said>,
    /// Seats that somebody else took.
    taken: Vec<TakenOver>,
    /// How far down the list it is.
    place: usize,
    steps: usize,
    told: Vec<String>,
}

impl<'a> Course<'a> {
    fn new(rules: &'a Rules, seats: Vec<Seat>) -> Course<'a> {
        let (said, taken, told) = (BTreeMap::new(), Vec::new(), Vec::new());
        Course { rules, seats, said, taken, place: 0, steps: 0, told }
    }

    fn has_acknowledged(&self, id: &Id) -> bool {
        matches!(self.said.get(id), Some(Said::Acknowledged { .. }))
    }

    fn called(&mut self, said: &BTreeMap<Id, Said>) {
        for seat in &self.seats {
            let answer = said.get(&seat.holder).cloned().unwrap_or(Said::Silent);
            self.said.insert(seat.holder.clone(), answer);
        }
        let came = self.came();
        self.told.push(format!("{} were called, {came} acknowledged.", self.said.len()));
    }

    fn came(&self) -> usize {
        self.said.keys().filter(|id| self.has_acknowledged(id)).count()
    }

    fn is_covered(&self, seat: &Seat) -> bool {
        self.has_acknowledged(&seat.holder)
            || self.taken.iter().any(|taken| taken.role == seat.role && taken.instead_of == seat.holder)
    }

    /// Roles that nobody has.
    fn uncovered(&self) -> BTreeSet<&str> {
        let covered: BTreeSet<&str> =
            self.seats.iter().filter(|seat| self.is_covered(seat)).map(|seat| seat.role.as_str()).collect();
        self.seats.iter().map(|seat| seat.role.as_str()).filter(|role| !covered.contains(role)).collect()
    }

    /// Seats that somebody has to take.
    fn vacancies(&self) -> Vec<Seat> {
        let mut uncovered = self.uncovered();
        let open: Vec<&Seat> = self.seats.iter().filter(|seat| !self.is_covered(seat)).collect();
        // The first seat of each role that nobody has, and then the others.
        let (first, others): (Vec<&Seat>, Vec<&Seat>) =
            open.into_iter().partition(|seat| uncovered.remove(seat.role.as_str()));
        let more = match self.rules.required {
            Required::All => others.len(),
            Required::Roles => 0,
            // One more seat will do: whoever takes it is one more that acknowledges.
            Required::Count(count) => usize::from(first.is_empty() && self.came() < count as usize),
        };
        let mut vacancies: Vec<Seat> =
            first.into_iter().chain(others.into_iter().take(more)).cloned().collect();
        vacancies.sort_by_key(|seat| self.seats.iter().position(|other| other == seat));
        vacancies
    }

    /// Who of the list is next, and for what. Whoever was asked and did not acknowledge is passed over.
    fn next(&mut self) -> Option<(Id, Vec<Seat>)> {
        let vacancies = self.vacancies();
        if vacancies.is_empty() {
            return None;
        }
        // Whoever has acknowledged already is none more.
        let only_for_the_count = self.rules.required != Required::All && self.uncovered().is_empty();
        while let Some(id) = self.rules.escalation.get(self.place) {
            let passed_over = match self.said.get(id) {
                None => false,
                Some(Said::Acknowledged { .. }) => only_for_the_count,
                Some(_) => true,
            };
            if !passed_over {
                return Some((id.clone(), vacancies));
            }
            self.place += 1;
        }
        None
    }

    fn escalated(&mut self, id: &Id, seats: Vec<Seat>, said: &Said) {
        self.place += 1;
        self.steps += 1;
        let roles: Vec<&str> = seats.iter().map(|seat| seat.role.as_str()).collect();
        let came = if matches!(said, Said::Acknowledged { .. }) { "took it" } else { "did not take it" };
        self.told.push(format!("{id} was asked for {}, and {came}.", roles.join(", ")));
        if let Said::Acknowledged { after_ms, .. } = said {
            for Seat { role, holder } in seats {
                let (by, after_ms) = (id.clone(), *after_ms);
                self.taken.push(TakenOver { role, by, instead_of: holder, after_ms });
            }
        }
        if !self.has_acknowledged(id) {
            self.said.insert(id.clone(), said.clone());
        }
    }

    fn roles_of(&self, id: &Id) -> Vec<String> {
        let own = self.seats.iter().filter(|seat| seat.holder == *id).map(|seat| &seat.role);
        let taken = self.taken.iter().filter(|taken| taken.by == *id).map(|taken| &taken.role);
        own.chain(taken).collect::<BTreeSet<_>>().into_iter().cloned().collect()
    }

    fn report(mut self, participants: &[(Id, Option<String>)]) -> Report {
        let uncovered: Vec<String> = self.uncovered().into_iter().map(str::to_owned).collect();
        let complete = match self.rules.required {
            Required::All => self.seats.iter().all(|seat| self.is_covered(seat)),
            Required::Roles => uncovered.is_empty(),
            Required::Count(count) => self.came() >= count as usize,
        };
        let (mut acknowledged, mut silent) = (Vec::new(), Vec::new());
        let (mut unable, mut gone) = (Vec::new(), Vec::new());
        for (id, _) in participants {
            let participant = id.clone();
            match self.said.get(id) {
                Some(Said::Acknowledged { after_ms, note }) => {
                    let (roles, after_ms, note) = (self.roles_of(id), *after_ms, note.clone());
                    acknowledged.push(Acknowledged { participant, roles, after_ms, note });
                }
                Some(Said::Unable(why)) => unable.push(Missing { participant, why: why.clone() }),
                Some(Said::Gone(why)) => gone.push(Missing { participant, why: Some(why.clone()) }),
                Some(Said::Silent) => silent.push(participant),
                None => {}
            }
        }
        let state = if complete { "complete" } else { "not complete" };
        self.told.push(format!("The procedure {} is {state}.", self.rules.procedure));
        if !uncovered.is_empty() {
            self.told.push(format!("Nobody has {}.", uncovered.join(", ")));
        }
        Report {
            procedure: self.rules.procedure.clone(),
            complete,
            required: self.rules.required,
            acknowledged,
            silent,
            unable,
            gone,
            taken_over: self.taken,
            uncovered,
            escalation_steps: self.steps,
            explanation: self.told,
        }
    }
}
