//! Topics as they are against topics as they should be: each difference, its mend, and whether a promise breaks.

use super::topics::TopicSpec;
use std::collections::BTreeMap;
use synod_protocol::topics;

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The topic.
    pub topic: String,
    /// The setting, as Kafka names it; `partitions`, `replication` or `topic` (there is none) besides.
    pub setting: String,
    /// As it is.
    pub found: String,
    /// As it should be.
    pub wanted: String,
    /// What to do about it.
    pub mend: String,
    /// Whether something promised does not hold while it is so: start-up refuses, unless told otherwise.
    pub breaks_promise: bool,
}

/// A topic as it is. No settings: they could not be read (the mock cluster keeps none).
#[derive(Clone, Debug, Default)]
pub(super) struct Found {
    pub(super) partitions: usize,
    pub(super) replication: usize,
    pub(super) settings: BTreeMap<String, String>,
}

/// The topics that share a partition count: partition p of each is shard p.
const SHARDED: [&str; 4] = [topics::COMMANDS, topics::LEDGER, topics::EVENTS, topics::AGENTS];

/// Names every difference.
pub(super) fn compare(specs: &[TopicSpec], found: &BTreeMap<String, Found>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for spec in specs {
        match found.get(&spec.name) {
            None => findings.push(missing(spec)),
            Some(topic) => compare_one(spec, topic, &mut findings),
        }
    }
    let sharded = specs.iter().filter(|s| SHARDED.contains(&s.name.as_str()));
    let counts: Vec<(&str, usize)> =
        sharded.filter_map(|s| Some((s.name.as_str(), found.get(&s.name)?.partitions))).collect();
    // The ledger's count is the one that can never change.
    let ledger = counts.iter().find(|(name, _)| *name == topics::LEDGER).or(counts.first()).copied();
    if let Some((by, wanted)) = ledger {
        let unequal = counts.iter().filter(|(_, partitions)| *partitions != wanted);
        findings.extend(unequal.map(|(name, partitions)| Finding {
            topic: (*name).to_owned(),
            setting: "partitions".into(),
            found: partitions.to_string(),
            wanted: format!("{wanted}, as {by}"),
            mend: format!("make {name} anew with {wanted} partitions: partition p of each is shard p"),
            breaks_promise: true,
        }));
    }
    findings
}

fn missing(spec: &TopicSpec) -> Finding {
    Finding {
        topic: spec.name.clone(),
        setting: "topic".into(),
        found: "none".into(),
        wanted: format!("{} partitions", spec.partitions),
        mend: format!("make {} (the coordinator does, where it may)", spec.name),
        breaks_promise: true,
    }
}

fn compare_one(spec: &TopicSpec, topic: &Found, findings: &mut Vec<Finding>) {
    let mut find = |setting: &str, found: String, wanted: String, mend: String, breaks_promise: bool| {
        let topic = spec.name.clone();
        findings.push(Finding { topic, setting: setting.to_owned(), found, wanted, mend, breaks_promise });
    };
    if topic.partitions != spec.partitions as usize {
        let mend = format!("configure {} partitions, or make the mesh anew", topic.partitions);
        find("partitions", topic.partitions.to_string(), spec.partitions.to_string(), mend, false);
    }
    if topic.settings.is_empty() {
        return;
    }
    if topic.replication < spec.replication as usize {
        let mend = "reassign its partitions to more brokers (kafka-reassign-partitions)".to_owned();
        find("replication", topic.replication.to_string(), spec.replication.to_string(), mend, false);
    }
    let in_sync = topic.settings.get("min.insync.replicas").map_or("1", String::as_str);
    if topic.replication >= 3 && in_sync.parse::<u32>().unwrap_or(1) < 2 {
        let mend = alter(spec, "min.insync.replicas", "2");
        find("min.insync.replicas", in_sync.to_owned(), "2".to_owned(), mend, true);
    }
    for (setting, wanted) in spec.config.iter().filter(|(s, _)| *s != "min.insync.replicas") {
        let Some(value) = topic.settings.get(setting) else { continue };
        if !fits(setting, value, wanted) {
            let breaks = breaks_promise(&spec.name, setting, value);
            find(setting, value.clone(), wanted.clone(), alter(spec, setting, wanted), breaks);
        }
    }
}

/// More room for records than asked is as good; so is keeping them longer.
fn fits(setting: &str, value: &str, wanted: &str) -> bool {
    let numbers = value.parse::<i64>().ok().zip(wanted.parse::<i64>().ok());
    match (setting, numbers) {
        ("max.message.bytes", Some((value, wanted))) => value >= wanted,
        ("retention.ms" | "retention.bytes", Some((value, wanted))) => {
            value == -1 || (wanted != -1 && value >= wanted)
        }
        _ => value == wanted,
    }
}

fn breaks_promise(topic: &str, setting: &str, value: &str) -> bool {
    let timed = [topics::COMMANDS, topics::LEDGER].contains(&topic);
    match setting {
        "unclean.leader.election.enable" => true,
        "message.timestamp.type" => timed,
        // Compacted or aged away, a ledger does not fold.
        "cleanup.policy" => topic == topics::LEDGER && value.contains("compact") || topic == topics::COMMANDS,
        "retention.ms" | "retention.bytes" | "max.message.bytes" => topic == topics::LEDGER,
        _ => false,
    }
}

fn alter(spec: &TopicSpec, setting: &str, value: &str) -> String {
    format!(
        "kafka-configs --alter --entity-type topics --entity-name {} --add-config {setting}={value}",
        spec.name
    )
}

#[cfg(test)]
mod tests {
    use super::super::topics::mesh_topics;
    use super::*;

    fn as_asked(partitions: u32, replication: u32) -> BTreeMap<String, Found> {
        let found = |s: TopicSpec| Found {
            partitions: s.partitions as usize,
            replication: s.replication as usize,
            settings: s.config,
        };
        mesh_topics(partitions, replication).into_iter().map(|s| (s.name.clone(), found(s))).collect()
    }

    #[test]
    fn a_mesh_as_asked_has_no_findings() {
        assert_eq!(compare(&mesh_topics(8, 3), &as_asked(8, 3)), []);
    }

    #[test]
    fn each_difference_is_named() {
        let check = |topic: &str, setting: &str, value: &str, breaks: Option<bool>| {
            let mut found = as_asked(8, 3);
            found.get_mut(topic).unwrap().settings.insert(setting.into(), value.into());
            let findings = compare(&mesh_topics(8, 3), &found);
            let told = findings.iter().find(|f| f.topic == topic && f.setting == setting);
            assert_eq!(told.map(|f| f.breaks_promise), breaks, "{topic} {setting}={value}: {findings:?}");
        };
        check("synod.ledger.v1", "cleanup.policy", "compact", Some(true));
        check("synod.ledger.v1", "cleanup.policy", "compact,delete", Some(true));
        check("synod.ledger.v1", "message.timestamp.type", "CreateTime", Some(true));
        check("synod.commands.v1", "message.timestamp.type", "CreateTime", Some(true));
        check("synod.ledger.v1", "retention.ms", "604800000", Some(true));
        check("synod.ledger.v1", "unclean.leader.election.enable", "true", Some(true));
        check("synod.agents.v1", "min.insync.replicas", "1", Some(true));
        check("synod.events.v1", "retention.ms", "1000", Some(false));
        check("synod.events.v1", "retention.ms", "-1", None);
        check("synod.ledger.v1", "max.message.bytes", "1000", Some(true));
        check("synod.ledger.v1", "max.message.bytes", "9999999", None);
    }

    #[test]
    fn one_replica_needs_no_second() {
        let mut found = as_asked(8, 1);
        let ledger = found.get_mut(topics::LEDGER).unwrap();
        ledger.settings.insert("min.insync.replicas".into(), "1".into());
        assert_eq!(compare(&mesh_topics(8, 1), &found), []);
    }

    #[test]
    fn shards_must_line_up() {
        let mut found = as_asked(8, 1);
        found.get_mut(topics::EVENTS).unwrap().partitions = 4;
        let findings = compare(&mesh_topics(8, 1), &found);
        assert!(findings.iter().any(|f| f.topic == topics::EVENTS && f.breaks_promise), "{findings:?}");
        found.remove(topics::AGENTS);
        let findings = compare(&mesh_topics(8, 1), &found);
        assert!(findings.iter().any(|f| f.topic == topics::AGENTS && f.setting == "topic"), "{findings:?}");
    }
}
