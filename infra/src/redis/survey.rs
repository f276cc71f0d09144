//! What a server says of itself, for whoever looks for what is wrong with it. Nothing is changed by asking.

use super::client::Redis;
use super::error::RedisError;
use redis::{Pipeline, Value};
use std::time::Duration;

/// A server at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survey {
    /// Its version, as `7.0.15`.
    pub version: String,
    /// `master` or `slave`; the latter takes no writes.
    pub role: String,
    /// Of a replica: whether it is connected to its master.
    pub master_link: Option<bool>,
    /// Replicas that are connected to it.
    pub replicas: u64,
    /// It is reading its file and serves nobody yet.
    pub loading: bool,
    /// Whether it keeps an append-only file.
    pub append_only: bool,
    /// Whether it saves snapshots by itself; `None` where it does not say (`CONFIG` is forbidden).
    pub saves: Option<bool>,
    /// What of its writing to disk failed the last time, by the field of `INFO` that says so.
    pub failed_writes: Vec<String>,
    /// What it throws away when its memory is full.
    pub eviction: String,
    /// Bytes that it may use; 0 for all there are.
    pub memory_limit: u64,
    /// Bytes that it uses.
    pub memory: u64,
    /// Clients that are connected, and how many may be.
    pub clients: (u64, u64),
    /// Its wall clock, in µs since the epoch.
    pub time_us: u64,
    /// How long it has been running.
    pub uptime: Duration,
}

impl Redis {
    /// Asks the server about itself, in one write.
    ///
    /// # Errors
    /// Those of any call; `Unexpected` where it does not say what every Redis says.
    pub async fn survey(&self) -> Result<Survey, RedisError> {
        let mut asked = Pipeline::new();
        asked.cmd("INFO").cmd("TIME").cmd("CONFIG").arg("GET").arg("save");
        let mut values = self.pipeline(&asked).await?.values.into_iter().map(Value::extract_error);
        let mut next = || values.next().unwrap_or(Ok(Value::Nil));
        let info: String = redis::from_redis_value(next()?)?;
        let (seconds, micros): (u64, u64) = redis::from_redis_value(next()?)?;
        // A user that may not ask is no fault of the server's.
        let saves = next().ok().and_then(|value| redis::from_redis_value::<Vec<String>>(value).ok());
        let saves = saves.and_then(|pair| pair.get(1).map(|rules| !rules.is_empty()));
        read(&info, seconds * 1_000_000 + micros, saves)
    }
}

fn read(info: &str, time_us: u64, saves: Option<bool>) -> Result<Survey, RedisError> {
    let line = |name: &str| {
        let mut lines = info.lines().filter_map(|line| line.trim_end().split_once(':'));
        lines.find(|(field, _)| *field == name).map(|(_, value)| value)
    };
    let text = |name: &str| {
        let missing = || RedisError::Unexpected(format!("INFO names no {name}"));
        line(name).map(str::to_owned).ok_or_else(missing)
    };
    let number = |name: &str| {
        let value = text(name)?;
        value.parse::<u64>().map_err(|_| RedisError::Unexpected(format!("INFO says {name}:{value}")))
    };
    let writes = ["rdb_last_bgsave_status", "aof_last_bgrewrite_status", "aof_last_write_status"];
    let failed = |name: &&str| line(name).is_some_and(|status| status != "ok");
    Ok(Survey {
        version: text("redis_version")?,
        role: text("role")?,
        master_link: line("master_link_status").map(|status| status == "up"),
        replicas: number("connected_slaves")?,
        loading: number("loading")? != 0,
        append_only: number("aof_enabled")? != 0,
        saves,
        failed_writes: writes.iter().filter(|name| failed(name)).map(|name| (*name).to_owned()).collect(),
        eviction: text("maxmemory_policy")?,
        memory_limit: number("maxmemory")?,
        memory: number("used_memory")?,
        clients: (number("connected_clients")?, number("maxclients")?),
        time_us,
        uptime: Duration::from_secs(number("uptime_in_seconds")?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const INFO: &str = "redis_version:7.0.15\r\nuptime_in_seconds:90\r\nconnected_clients:5\r\nmaxclients:10000\r\n\
        used_memory:1000\r\nmaxmemory:0\r\nmaxmemory_policy:noeviction\r\nloading:0\r\nrdb_last_bgsave_status:err\r\n\
        aof_enabled:1\r\naof_last_write_status:ok\r\nrole:slave\r\nmaster_link_status:down\r\nconnected_slaves:0\r\n";

    #[test]
    fn what_a_server_says_is_read() {
        let survey = read(INFO, 7, Some(false)).unwrap();
        assert_eq!((survey.version.as_str(), survey.role.as_str()), ("7.0.15", "slave"));
        assert_eq!((survey.master_link, survey.append_only, survey.saves), (Some(false), true, Some(false)));
        assert_eq!(survey.failed_writes, ["rdb_last_bgsave_status"]);
        assert_eq!((survey.clients, survey.uptime), ((5, 10_000), Duration::from_secs(90)));
    }

    #[test]
    fn what_it_does_not_say_is_named() {
        let told = read(&INFO.replace("maxmemory_policy", "x"), 0, None).unwrap_err().to_string();
        assert!(told.contains("maxmemory_policy"), "{told}");
        let told = read(&INFO.replace("loading:0", "loading:maybe"), 0, None).unwrap_err().to_string();
        assert!(told.contains("loading:maybe"), "{told}");
    }
}
