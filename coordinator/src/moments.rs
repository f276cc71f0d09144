//! The moments at which is done what is done now and then. They are the same for all parts of a process, so that it is woken once
//! for all that is due and what they ask of Redis goes there together: a wake-up costs more than most of what is done in it.

use std::sync::LazyLock;
use std::time::Duration;
use tokio::time::Instant;

static FIRST: LazyLock<Instant> = LazyLock::new(Instant::now);

/// The next moment of those that lie `every` apart.
pub(crate) fn next(every: Duration) -> Instant {
    from(*FIRST, Instant::now(), every)
}

/// The next of them that is not just now: at least half of `every` from here.
pub(crate) fn after(every: Duration) -> Instant {
    from(*FIRST, Instant::now() + every / 2, every)
}

fn from(first: Instant, now: Instant, every: Duration) -> Instant {
    let every = every.max(Duration::from_millis(1)).as_nanos();
    let gone = now.saturating_duration_since(first).as_nanos() / every + 1;
    first + Duration::from_nanos(u64::try_from(gone * every).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_the_same_for_all_and_never_now() {
        let ms = Duration::from_millis;
        let first = Instant::now();
        let at = |now, every| from(first, first + ms(now), ms(every)) - first;
        assert_eq!([at(0, 25), at(1, 25), at(24, 25), at(25, 25), at(26, 25)], [25, 25, 25, 50, 50].map(ms));
        assert_eq!([at(0, 250), at(249, 250), at(250, 250), at(499, 100)], [250, 250, 500, 500].map(ms));
        assert!(next(ms(25)) > Instant::now() - ms(25) && after(ms(10_000)) >= Instant::now() + ms(4_000));
    }
}
