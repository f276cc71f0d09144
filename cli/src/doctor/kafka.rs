//! Kafka: who answers, whether the topics are as the promises need them, an append, and the brokers' clock.

use super::Patient;
use super::area::Area;
use super::clock::Asked;
use std::ops::ControlFlow;
use synod_infra::kafka::bare::librdkafka_version;
use synod_infra::kafka::{Finding, Producer, Readers, Survey, TopicMaker, TopicSpec, mesh_topics};
use synod_protocol::Envelope;

/// Where the append is tried: one partition, the brokers' time, kept for ten minutes.
pub const TOPIC: &str = "synod.doctor.v1";
/// How long its records are kept, in ms.
const KEPT_MS: u64 = 600_000;
/// Of partitions in trouble so many are named.
const NAMED: usize = 5;

pub(super) async fn examine(patient: &Patient, area: &mut Area) {
    area.ok("client", format!("librdkafka {}; a broker tells clients no version", librdkafka_version()));
    let config = &patient.dialling.kafka;
    let maker = TopicMaker::new(config);
    let specs = mesh_topics(patient.partitions, patient.replication);
    let names: Vec<String> = specs.iter().map(|spec| spec.name.clone()).collect();
    let survey = match maker.survey(&names, patient.ask()).await {
        Ok(survey) => survey,
        Err(error) => {
            let says = format!("no broker answers at {}: {error}", config.brokers);
            let mend = "start it, or name another with --kafka-brokers; each broker's advertised.listeners must be \
                        reachable from here";
            return area.wrong("brokers", says, mend);
        }
    };
    area.reached = true;
    brokers(&survey, patient, area);
    match maker.check(&specs, patient.ask()).await {
        Ok(findings) => topics(&findings, &survey, &specs, patient, area),
        Err(error) => {
            let mend = "the user of this client needs DescribeConfigs on the mesh's topics";
            area.wrong("topics", format!("their settings cannot be read: {error}"), mend);
        }
    }
    if patient.embedded {
        area.ok("append", "not tried: the mesh is embedded, and this machine's clock is its own");
    } else if patient.write {
        append(patient, &maker, area).await;
    } else {
        area.ok("append", "not tried, as was asked; the brokers' clock is not known");
    }
}

fn brokers(survey: &Survey, patient: &Patient, area: &mut Area) {
    let count = survey.brokers.len();
    area.ok("brokers", format!("{count}: {}", survey.brokers.join(", ")));
    let some = |all: &[String]| {
        let more = all.len().saturating_sub(NAMED);
        let named = all.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
        if more > 0 { format!("{named} and {more} more") } else { named }
    };
    if !survey.leaderless.is_empty() {
        let says = format!("nobody leads {}: nothing is read or written there", some(&survey.leaderless));
        area.wrong("leaders", says, "start the brokers that hold these partitions");
    }
    if !survey.behind.is_empty() {
        let says = format!("copies are behind: {}", some(&survey.behind));
        area.warning("copies", says, "start the brokers that are away, or wait until they have caught up");
    }
    let least = survey.copies.values().min().copied().unwrap_or(0);
    if survey.leaderless.is_empty() && survey.behind.is_empty() && least > 0 && !patient.embedded {
        match (least, count) {
            (1, 1) => {
                area.ok("copies", "one of each partition, on the only broker: with its disk all is lost");
            }
            (least, count) if least < count.min(3) => {
                let says = format!("{least} of each partition at the least, on {count} brokers");
                let mend =
                    "reassign the partitions to more brokers, and set SYNOD_REPLICATION=3 for new topics";
                area.warning("copies", says, mend);
            }
            (least, _) => area.ok("copies", format!("{least} of each partition, all in sync")),
        }
    }
}

fn topics(findings: &[Finding], survey: &Survey, specs: &[TopicSpec], patient: &Patient, area: &mut Area) {
    // A mesh that has never run has none: that is one thing to be told, not seven.
    if survey.copies.is_empty() {
        let mend = "start a coordinator: it makes them";
        return area.wrong("topics", format!("none of the {} of the mesh is there", specs.len()), mend);
    }
    for finding in findings {
        let Finding { topic, setting, found, wanted, mend, breaks_promise } = finding;
        let says = format!("{setting} is {found}, should be {wanted}");
        match breaks_promise {
            true => area.wrong(topic, says, mend),
            false => area.warning(topic, says, mend),
        }
    }
    let good = specs.iter().filter(|spec| findings.iter().all(|f| f.topic != spec.name)).count();
    if good > 0 {
        let settings = if patient.embedded { "are there" } else { "are as they should be" };
        area.ok("topics", format!("{good} of {} {settings}", specs.len()));
    }
}

/// One record, acknowledged by all in-sync copies, and read back with the time that the broker gave it.
async fn append(patient: &Patient, maker: &TopicMaker, area: &mut Area) {
    let spec = TopicSpec::new(TOPIC, 1, 0)
        .with("message.timestamp.type", "LogAppendTime")
        .with("cleanup.policy", "delete")
        .with("retention.ms", KEPT_MS);
    let mend = "see the broker's log: it is full, or this client may not write";
    if let Err(error) = maker.ensure(&[spec], patient.ask()).await {
        return area.wrong("append", format!("{TOPIC} cannot be made: {error}"), mend);
    }
    match appended(patient, area).await {
        Ok(ms) => area.ok("append", format!("acknowledged by all in-sync copies within {ms:.0} ms")),
        Err(why) => area.wrong("append", why, mend),
    }
}

async fn appended(patient: &Patient, area: &mut Area) -> Result<f64, String> {
    let config = &patient.dialling.kafka;
    let producer = Producer::new(config).map_err(|e| e.to_string())?;
    let readers = Readers::new(config).map_err(|e| e.to_string())?;
    let id = uuid::Uuid::now_v7().to_string();
    let envelope = Envelope::new(&id, "/synod/doctor", "synod.doctor.asked");
    // Once before: what connecting takes is nothing that an append takes.
    let connected = producer.publish_bytes(TOPIC, &id, &envelope, b"{}", patient.ask()).await;
    connected.map_err(|e| format!("not acknowledged: {e}"))?;
    let asked = Asked::now();
    let acked = producer.publish_bytes(TOPIC, &id, &envelope, b"{}", patient.ask()).await;
    let acked = acked.map_err(|e| format!("not acknowledged: {e}"))?;
    let answered = asked.answered();
    let mut stamped = None;
    let take = |record: synod_infra::kafka::RawRecord| {
        stamped = record.timestamp_ms;
        ControlFlow::Break(())
    };
    let read =
        readers.read_through(TOPIC, acked.partition, acked.offset, acked.offset, patient.ask(), take).await;
    read.map_err(|e| format!("acknowledged, and cannot be read: {e}"))?;
    match stamped {
        Some(at) => answered.tell(area, at as f64),
        None => return Err("acknowledged, and read without a time".to_owned()),
    }
    Ok(answered.round_ms)
}
