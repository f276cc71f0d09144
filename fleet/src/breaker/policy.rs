//! What a breaker is set to: the settings as they are written, and the policy that they make once checked.

use std::time::Duration;

const NANOS_PER_MS: u64 = 1_000_000;

/// Most calls that a count-based window, or a half-open trial, may hold.
pub const CALLS_MAX: u32 = 1_000_000;
/// Most seconds that a time-based window may reach back: a day.
pub const SECONDS_MAX: u32 = 86_400;

/// Over what a breaker's rates are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// The last so many results, 1 to [`CALLS_MAX`].
    Calls(u32),
    /// The current whole second and those before it, so many in all, 1 to [`SECONDS_MAX`].
    Seconds(u32),
}

/// How long a breaker stays open.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum OpenWait {
    /// Always so long, whole milliseconds, at least one.
    Fixed(Duration),
    /// The first time `initial`; each time that it opens again without having closed, `multiplier` times as long,
    /// cut to whole milliseconds at every step, and never longer than `max`.
    Exponential {
        /// The first wait, at least 1 ms.
        initial: Duration,
        /// 1 or more, finite.
        multiplier: f64,
        /// At least 1 ms; none: as long as it comes to.
        max: Option<Duration>,
    },
}

/// The settings of a breaker, with resilience4j's defaults.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Over what the rates are taken: the last 100 calls by default.
    pub window: Window,
    /// No rate is known before so many results, at least 1; 100 by default. In a window of calls, and in the
    /// half-open trial, never more than it holds.
    pub minimum_calls: u32,
    /// It opens when at least this share failed, in percent, above 0 up to 100; 50 by default.
    pub failure_rate_percent: f32,
    /// It opens when at least this share was slow, in percent, above 0 up to 100; 100 by default.
    pub slow_rate_percent: f32,
    /// A call is slow when it took longer than this, at least 1 ns; 60 s by default.
    pub slow_call: Duration,
    /// How long it stays open before a call is let through; 60 s by default.
    pub open_wait: OpenWait,
    /// Calls let through on trial while half-open, 1 to [`CALLS_MAX`]; 10 by default.
    pub half_open_calls: u32,
    /// After this long half-open it opens again; whole milliseconds, 0 (the default) for no such limit.
    pub half_open_max: Duration,
    /// Half-open as soon as the wait is over, not only when somebody asks; off by default.
    pub half_open_by_itself: bool,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            window: Window::Calls(100),
            minimum_calls: 100,
            failure_rate_percent: 50.0,
            slow_rate_percent: 100.0,
            slow_call: Duration::from_secs(60),
            open_wait: OpenWait::Fixed(Duration::from_secs(60)),
            half_open_calls: 10,
            half_open_max: Duration::ZERO,
            half_open_by_itself: false,
        }
    }
}

/// A setting that a breaker cannot have.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SettingsError {
    /// A count outside its range.
    #[error("{name} is {value}, it must be 1 to {max}")]
    Count {
        /// The setting.
        name: &'static str,
        /// As given.
        value: u32,
        /// The most that it may be.
        max: u32,
    },
    /// A share that is no share.
    #[error("{name} is {value}, it must be above 0 and at most 100 percent")]
    Percent {
        /// The setting.
        name: &'static str,
        /// As given.
        value: f32,
    },
    /// A time too short to mean anything.
    #[error("{name} is {value:?}, it must be at least {min:?}")]
    TooShort {
        /// The setting.
        name: &'static str,
        /// As given.
        value: Duration,
        /// The least that it may be.
        min: Duration,
    },
    /// A back-off that shrinks, or is no number.
    #[error("the multiplier of open_wait is {0}, it must be finite and at least 1")]
    Multiplier(f64),
}

/// Settings that were checked, in the units that a breaker counts in. Many breakers share one.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    pub(super) window: Window,
    pub(super) minimum_calls: u32,
    pub(super) failure_rate_percent: f32,
    pub(super) slow_rate_percent: f32,
    pub(super) slow_call_ns: u64,
    pub(super) half_open_calls: u32,
    /// `None`: no limit.
    pub(super) half_open_max_ns: Option<u64>,
    pub(super) half_open_by_itself: bool,
    open_wait: OpenWait,
}

impl TryFrom<Settings> for Policy {
    type Error = SettingsError;

    fn try_from(settings: Settings) -> Result<Policy, SettingsError> {
        match settings.window {
            Window::Calls(calls) => check_count("window", calls, CALLS_MAX)?,
            Window::Seconds(seconds) => check_count("window", seconds, SECONDS_MAX)?,
        }
        check_count("minimum_calls", settings.minimum_calls, u32::MAX)?;
        check_count("half_open_calls", settings.half_open_calls, CALLS_MAX)?;
        check_percent("failure_rate_percent", settings.failure_rate_percent)?;
        check_percent("slow_rate_percent", settings.slow_rate_percent)?;
        check_least("slow_call", settings.slow_call, Duration::from_nanos(1))?;
        check_wait(settings.open_wait)?;
        let half_open_max_ms = whole_ms(settings.half_open_max);
        Ok(Policy {
            window: settings.window,
            minimum_calls: settings.minimum_calls,
            failure_rate_percent: settings.failure_rate_percent,
            slow_rate_percent: settings.slow_rate_percent,
            slow_call_ns: u64::try_from(settings.slow_call.as_nanos()).unwrap_or(u64::MAX),
            half_open_calls: settings.half_open_calls,
            half_open_max_ns: (half_open_max_ms > 0).then(|| half_open_max_ms.saturating_mul(NANOS_PER_MS)),
            half_open_by_itself: settings.half_open_by_itself,
            open_wait: settings.open_wait,
        })
    }
}

impl Policy {
    /// How long it stays open, in nanoseconds, when it opens for the `attempt`-th time (from 1) without having closed.
    pub(super) fn open_wait_ns(&self, attempt: u32) -> u64 {
        let wait_ms = match self.open_wait {
            OpenWait::Fixed(wait) => whole_ms(wait),
            OpenWait::Exponential { initial, multiplier, max } => {
                let max_ms = max.map_or(u64::MAX, whole_ms);
                backed_off_ms(whole_ms(initial), multiplier, attempt, max_ms)
            }
        };
        wait_ms.saturating_mul(NANOS_PER_MS)
    }
}

/// The reference cuts to whole milliseconds at each step, so a power would not do: 3 ms times 1.5 is 4, then 6, then 9.
fn backed_off_ms(initial_ms: u64, multiplier: f64, attempt: u32, max_ms: u64) -> u64 {
    let mut wait_ms = initial_ms;
    for _ in 1..attempt {
        let next_ms = (wait_ms as f64 * multiplier) as u64;
        // Nothing moves from here on (the longest there is, or a step too small to count): only saves time.
        if next_ms == wait_ms {
            break;
        }
        wait_ms = next_ms;
    }
    wait_ms.min(max_ms)
}

pub(super) fn whole_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn check_count(name: &'static str, value: u32, max: u32) -> Result<(), SettingsError> {
    if (1..=max).contains(&value) { Ok(()) } else { Err(SettingsError::Count { name, value, max }) }
}

fn check_percent(name: &'static str, value: f32) -> Result<(), SettingsError> {
    if value > 0.0 && value <= 100.0 { Ok(()) } else { Err(SettingsError::Percent { name, value }) }
}

fn check_least(name: &'static str, value: Duration, min: Duration) -> Result<(), SettingsError> {
    if value >= min { Ok(()) } else { Err(SettingsError::TooShort { name, value, min }) }
}

fn check_wait(wait: OpenWait) -> Result<(), SettingsError> {
    const LEAST: Duration = Duration::from_millis(1);
    match wait {
        OpenWait::Fixed(wait) => check_least("open_wait", wait, LEAST),
        OpenWait::Exponential { initial, multiplier, max } => {
            check_least("open_wait", initial, LEAST)?;
            max.map_or(Ok(()), |max| check_least("the longest open_wait", max, LEAST))?;
            if multiplier.is_finite() && multiplier >= 1.0 {
                Ok(())
            } else {
                Err(SettingsError::Multiplier(multiplier))
            }
        }
    }
}
