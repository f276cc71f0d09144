//! The topics have the settings that the promises rest on.

use super::{Broken, Held, Site, Verdict, held};
use std::time::Duration;
use synod_infra::kafka::{Finding, TopicError, TopicMaker, mesh_topics};
use synod_protocol::topics;

const ANSWER_WITHIN: Duration = Duration::from_secs(10);

pub(super) async fn topics(site: &Site) -> Verdict {
    let wait = ANSWER_WITHIN;
    let partitions = site.readers.partitions(topics::LEDGER, wait).await?.unwrap_or(0);
    // The mesh's replication is not ours to know: what a setting breaks does not depend on what we'd wish for.
    let specs = mesh_topics(partitions, 1);
    let maker = site.ground.topics();
    let found = maker.check(&specs, wait).await;
    let (findings, settings_seen) = match found {
        Ok(findings) => (findings, matches!(maker, TopicMaker::Admin(_))),
        // The mock cluster answers no question about settings; who named its brokers need not know that.
        Err(TopicError::Unavailable(why)) if why.contains("not supported") => {
            (TopicMaker::Asking(site.ground.dialling.kafka.clone()).check(&specs, wait).await?, false)
        }
        Err(error) => return Err(error.into()),
    };
    let (breaking, lesser): (Vec<&Finding>, Vec<&Finding>) =
        findings.iter().partition(|finding| finding.breaks_promise || finding.setting == "topic");
    if let Some(finding) = breaking.first() {
        return Err(Broken::promise(format!(
            "{}: {} is {}, {} is needed ({}){}",
            finding.topic,
            finding.setting,
            finding.found,
            finding.wanted,
            finding.mend,
            if breaking.len() > 1 { format!("; and {} more", breaking.len() - 1) } else { String::new() }
        )));
    }
    if !settings_seen {
        let why =
            "the topics are there; an embedded Kafka keeps no settings, and promises nothing that lasts";
        return Ok(Held::NotApplicable(why.to_owned()));
    }
    match lesser.first() {
        None => held(format!("{} topics of {partitions} partitions", specs.len())),
        Some(finding) => held(format!(
            "{} lesser differences, such as {} of {}: {}, not {}",
            lesser.len(),
            finding.setting,
            finding.topic,
            finding.found,
            finding.wanted
        )),
    }
}
