//! Redis: its role, what it throws away and keeps, who coordinates by it, and its clock.

use super::Patient;
use super::area::{Area, coordinators};
use super::clock::Asked;
use crate::terminal::thousands;
use std::collections::BTreeMap;
use synod_infra::redis::leases::Leases;
use synod_infra::redis::{Redis, RedisConfig, Survey};

/// The oldest that the scripts are tested with.
const MAJOR: u32 = 7;
/// Above this share of its memory or its clients, in percent, there is little left.
const NEARLY_FULL: u64 = 80;

pub(super) async fn examine(patient: &Patient, area: &mut Area) {
    let config = RedisConfig {
        // Less than a call's, or it is never told why there is no connection.
        connect_timeout: patient.ask() * 3 / 4,
        command_timeout: patient.ask(),
        ..patient.dialling.redis.clone()
    };
    let endpoint = config.endpoint();
    let mend = "start it, or name another with --redis-url";
    let redis = match Redis::new(config) {
        Ok(redis) => redis,
        Err(error) => return area.wrong("server", error.to_string(), "mend SYNOD_REDIS_URL"),
    };
    if let Err(error) = redis.ready().await {
        let error = error.to_string();
        // Each layer says the same before its own words.
        let why = error.rsplit("Redis is unavailable: ").next().unwrap_or(&error);
        return area.wrong("server", format!("not to be used at {endpoint}: {why}"), mend);
    }
    area.reached = true;
    let asked = Asked::now();
    let survey = redis.survey().await;
    let answered = asked.answered();
    let survey = match survey {
        Ok(survey) => survey,
        Err(error) => return area.wrong("server", error.to_string(), mend),
    };
    answered.tell(area, survey.time_us as f64 / 1e3);
    server(&survey, &endpoint, area);
    memory(&survey, area);
    persistence(&survey, patient, area);
    if survey.role == "master" {
        leases(&redis, patient, area).await;
    }
}

fn server(survey: &Survey, endpoint: &str, area: &mut Area) {
    let Survey { version, role, .. } = survey;
    let major = version.split('.').next().and_then(|major| major.parse::<u32>().ok());
    let up = survey.uptime.as_secs();
    let says = format!("Redis {version} at {endpoint}, up for {} s", thousands(up));
    match major {
        Some(major) if major < MAJOR => {
            area.warning("server", says, format!("update it: Redis {MAJOR} is what this is tested with"));
        }
        _ => area.ok("server", says),
    }
    let mend = "name the master, or its Sentinels: redis-sentinel://host:port[,host:port]/master";
    match (role.as_str(), survey.master_link) {
        ("master", _) => area.ok("role", format!("master; replicas that are connected: {}", survey.replicas)),
        (_, Some(false)) => {
            area.wrong(
                "role",
                "a replica that has lost its master: it takes no writes, and what it shows is old",
                mend,
            );
        }
        _ => area.wrong("role", "a replica: it takes no writes", mend),
    }
    if survey.loading {
        area.wrong("loading", "it is reading its file, and serves nobody yet", "wait until it has read it");
    }
    let (clients, most) = survey.clients;
    if clients * 100 >= most * NEARLY_FULL {
        let says = format!("{clients} of {most} clients are connected");
        area.warning("clients", says, "CONFIG SET maxclients to more, or find out who connects so often");
    }
}

fn memory(survey: &Survey, area: &mut Area) {
    if survey.eviction != "noeviction" {
        let says = format!(
            "maxmemory-policy is {}, should be noeviction: it may throw away locks, permits and work",
            survey.eviction
        );
        let mend = "CONFIG SET maxmemory-policy noeviction, and the same in redis.conf";
        area.wrong("eviction", says, mend);
    } else {
        area.ok("eviction", "noeviction: nothing is thrown away");
    }
    let (used, limit) = (survey.memory, survey.memory_limit);
    let mib = |bytes: u64| thousands(bytes >> 20);
    match limit {
        0 => area.ok("memory", format!("{} MiB in use, without a limit of its own", mib(used))),
        limit if used * 100 >= limit.saturating_mul(NEARLY_FULL) => {
            let says = format!(
                "{} of {} MiB are in use: when it is full, writes are refused",
                mib(used),
                mib(limit)
            );
            area.warning(
                "memory",
                says,
                "CONFIG SET maxmemory to more, or keep less (view_mib, snapshot_mib, queue_mib)",
            );
        }
        limit => area.ok("memory", format!("{} of {} MiB in use", mib(used), mib(limit))),
    }
}

fn persistence(survey: &Survey, patient: &Patient, area: &mut Area) {
    if !survey.failed_writes.is_empty() {
        let says = format!("its last write to disk failed ({})", survey.failed_writes.join(", "));
        return area.wrong("persistence", says, "see its log: the disk is full, or it may not write there");
    }
    let lost = "with a restart locks, counters, queues and memory go; tasks do not: those are in Kafka";
    match (survey.append_only, survey.saves) {
        (true, _) => area.ok("persistence", "append-only file"),
        _ if patient.embedded => area.ok("persistence", "none: the mesh is embedded, and keeps nothing"),
        (false, Some(true)) => {
            let says = "snapshots alone: a restart comes back with what was some time ago".to_owned();
            area.warning("persistence", says, "CONFIG SET appendonly yes, and the same in redis.conf");
        }
        (false, _) => {
            area.warning(
                "persistence",
                format!("none: {lost}"),
                "CONFIG SET appendonly yes, and the same in redis.conf",
            );
        }
    }
}

/// Who holds which shards, as the coordinators themselves go by: also where no HTTP is reached. What is known of those whose lease has
/// ended is swept up, as every coordinator's look does.
async fn leases(redis: &Redis, patient: &Patient, area: &mut Area) {
    let look = match Leases::new(redis.clone()).look().await {
        Ok(look) => look,
        Err(error) => return area.wrong("leases", error.to_string(), "see whether Redis takes writes"),
    };
    let mut held: BTreeMap<u32, usize> = BTreeMap::new();
    for shard in look.standing.iter().flat_map(|one| &one.part.held) {
        *held.entry(*shard).or_default() += 1;
    }
    let gone: Vec<String> =
        look.standing.iter().filter(|one| !one.present).map(|one| one.coordinator.id.to_string()).collect();
    let free: Vec<String> = (0..patient.partitions)
        .filter(|shard| !held.contains_key(shard))
        .map(|shard| shard.to_string())
        .collect();
    let count = look.standing.len();
    if count == 0 {
        area.wrong(
            "leases",
            "no coordinator has one: nobody serves anything",
            "start one: synod coordinator",
        );
    } else if !free.is_empty() {
        let says = format!("{}, and nobody holds shard {}", coordinators(count), free.join(", "));
        area.wrong(
            "leases",
            says,
            "wait for a moment (a take-over takes about a second), then see the coordinators' logs",
        );
    } else if !gone.is_empty() {
        let says = format!("not connected to Redis: {}", gone.join(", "));
        area.warning(
            "leases",
            says,
            "see whether these processes run; their shards are taken over when their lease ends",
        );
    } else {
        area.ok("leases", format!("all {} shards are held, by {}", patient.partitions, coordinators(count)));
    }
}
