//! What every breaker of a coordinator is set to, as text.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;
use synod_fleet::breaker::{OpenWait, Policy, Settings, Window};

/// Settings of breakers, checked.
///
/// As text: `off`, or parts of `window=50 minimum=10 failures=50 slow=100 slow_after=60s wait=10s wait_max=5m trials=5`, which are
/// the defaults. `window` is a number of attempts or, with a unit, a time; rates are in percent.
#[derive(Clone, Debug, PartialEq)]
pub struct Breakers {
    text: String,
    policy: Policy,
}

/// Agents answer more slowly and less often than the services that the reference's defaults are made for: ten
/// attempts say enough, and ten seconds are a long time to leave one alone; who fails again waits twice as long.
const DEFAULT: &str =
    "window=50 minimum=10 failures=50 slow=100 slow_after=60s wait=10s wait_max=5m trials=5";

impl Breakers {
    /// What they are set to where nothing is said.
    pub const DEFAULT: &'static str = DEFAULT;

    /// For the fleet.
    pub fn policy(&self) -> Policy {
        self.policy.clone()
    }
}

impl Default for Breakers {
    fn default() -> Breakers {
        DEFAULT.parse().unwrap_or_else(|_| Breakers { text: "off".into(), policy: never() })
    }
}

/// One that never opens: its window never holds enough.
fn never() -> Policy {
    let settings = Settings { window: Window::Seconds(1), minimum_calls: u32::MAX, ..Settings::default() };
    Policy::try_from(settings).unwrap_or_else(|error| unreachable!("a constant: {error}"))
}

impl FromStr for Breakers {
    type Err = String;

    fn from_str(text: &str) -> Result<Breakers, String> {
        let text = text.trim();
        if text == "off" {
            return Ok(Breakers { text: text.to_owned(), policy: never() });
        }
        let mut settings = Settings::default();
        let (mut wait, mut wait_max) = (Duration::ZERO, Duration::ZERO);
        for part in DEFAULT.split_whitespace().chain(text.split_whitespace()) {
            let (name, value) = part
                .split_once('=')
                .ok_or_else(|| format!("{part:?} is not name=value; the defaults are {DEFAULT}"))?;
            let wrong = |why: &str| format!("{name} is {value:?}, {why}");
            let number = || value.parse::<u32>().map_err(|_| wrong("a whole number is wanted"));
            let percent = || {
                let text = value.trim_end_matches('%');
                text.parse::<f32>().map_err(|_| wrong("a share in percent is wanted"))
            };
            let time = || {
                let time = value.parse::<jiff::SignedDuration>().ok();
                let time = time.and_then(|time| Duration::try_from(time).ok());
                time.ok_or_else(|| wrong("a time such as 10s is wanted"))
            };
            match name {
                "window" => {
                    settings.window = match number() {
                        Ok(calls) => Window::Calls(calls),
                        Err(_) => Window::Seconds(u32::try_from(time()?.as_secs()).unwrap_or(u32::MAX)),
                    };
                }
                "minimum" => settings.minimum_calls = number()?,
                "failures" => settings.failure_rate_percent = percent()?,
                "slow" => settings.slow_rate_percent = percent()?,
                "slow_after" => settings.slow_call = time()?,
                "wait" => wait = time()?,
                "wait_max" => wait_max = time()?,
                "trials" => settings.half_open_calls = number()?,
                _ => return Err(format!("there is no {name:?} of a breaker; the defaults are {DEFAULT}")),
            }
        }
        settings.open_wait =
            OpenWait::Exponential { initial: wait, multiplier: 2.0, max: Some(wait_max.max(wait)) };
        let policy = Policy::try_from(settings).map_err(|error| error.to_string())?;
        Ok(Breakers { text: text.to_owned(), policy })
    }
}

impl fmt::Display for Breakers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_is_as_by_default() {
        assert_eq!("".parse::<Breakers>().unwrap().policy(), Breakers::default().policy());
        assert_eq!(DEFAULT.parse::<Breakers>().unwrap().policy(), Breakers::default().policy());
        let changed = "window=60s failures=20%".parse::<Breakers>().unwrap();
        let wanted = Settings {
            window: Window::Seconds(60),
            failure_rate_percent: 20.0,
            minimum_calls: 10,
            half_open_calls: 5,
            open_wait: OpenWait::Exponential {
                initial: Duration::from_secs(10),
                multiplier: 2.0,
                max: Some(Duration::from_secs(300)),
            },
            ..Settings::default()
        };
        assert_eq!(changed.policy(), Policy::try_from(wanted).unwrap());
        assert_eq!("off".parse::<Breakers>().unwrap().policy(), never());
        assert_ne!(Breakers::default().policy(), never());
    }

    #[test]
    fn what_cannot_be_is_refused_with_what_can() {
        for (text, why) in [
            ("50", "is not name=value"),
            ("windw=3", "there is no \"windw\""),
            ("failures=101", "failure_rate_percent is 101"),
            ("failures=nan", "failure_rate_percent is NaN"),
            ("window=0", "window is 0"),
            ("trials=-1", "a whole number"),
            ("wait=0s", "open_wait"),
            ("wait=soon", "a time such as 10s"),
        ] {
            let error = text.parse::<Breakers>().unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
