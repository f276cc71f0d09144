//! Somebody else's clock, beside ours.

use super::area::Area;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// So far apart two clocks are no trouble: timestamps only look odd.
const NEAR: Duration = Duration::from_millis(500);
/// So far apart they are: deadlines and the window in which a command is known again go by them.
const FAR: Duration = Duration::from_secs(10);

/// When somebody was asked for his time.
pub(super) struct Asked {
    ours: SystemTime,
    clock: Instant,
}

/// When he was asked, and how long the answer took.
#[derive(Clone, Copy)]
pub(super) struct Answered {
    ours_ms: f64,
    pub(super) round_ms: f64,
}

impl Asked {
    /// From now on.
    pub(super) fn now() -> Asked {
        Asked { ours: SystemTime::now(), clock: Instant::now() }
    }

    /// The answer is here: their time was read somewhere between the question and now.
    pub(super) fn answered(&self) -> Answered {
        let ours = self.ours.duration_since(UNIX_EPOCH).unwrap_or_default();
        Answered { ours_ms: ours.as_secs_f64() * 1e3, round_ms: self.clock.elapsed().as_secs_f64() * 1e3 }
    }
}

impl Answered {
    /// Their time was this.
    pub(super) fn tell(self, area: &mut Area, theirs_ms: f64) {
        told(area, "clock", theirs_ms - self.ours_ms, self.round_ms);
    }
}

/// `ahead_ms`: theirs less ours as it was asked; `round_ms`: how long the answer took.
fn told(area: &mut Area, check: &str, ahead_ms: f64, round_ms: f64) {
    // Between the question and the answer any moment may be the one that was told.
    let apart_ms = if ahead_ms < 0.0 { -ahead_ms } else { (ahead_ms - round_ms).max(0.0) };
    let apart = Duration::from_secs_f64(apart_ms / 1e3);
    let side = if ahead_ms < 0.0 { "behind" } else { "ahead of" };
    let says = format!("its clock is {:.1} s {side} this machine's", apart.as_secs_f64());
    let mend = "run NTP (chrony, systemd-timesyncd) on both machines";
    if apart > FAR {
        area.wrong(check, format!("{says}: deadlines and repeated commands are judged by it"), mend);
    } else if apart > NEAR {
        area.warning(check, says, mend);
    } else {
        area.ok(check, format!("within {:.0} ms of this machine's", apart_ms + round_ms));
    }
}

#[cfg(test)]
mod tests {
    use super::super::area::State;
    use super::*;

    #[test]
    fn what_the_answer_took_is_not_held_against_the_clock() {
        let check = |ahead_ms: f64, round_ms: f64, state: State, says: &str| {
            let mut area = Area::new("redis");
            told(&mut area, "clock", ahead_ms, round_ms);
            let found = &area.findings[0];
            assert_eq!(found.state, state, "{found:?}");
            assert!(found.says.contains(says), "{found:?}");
        };
        check(1.0, 4.0, State::Ok, "within 4 ms");
        check(900.0, 700.0, State::Ok, "within 900 ms");
        check(900.0, 10.0, State::Warning, "0.9 s ahead of");
        check(-900.0, 700.0, State::Warning, "0.9 s behind");
        check(-11_000.0, 10.0, State::Wrong, "11.0 s behind");
        check(3_600_000.0, 10.0, State::Wrong, "3600.0 s ahead of");
    }
}
