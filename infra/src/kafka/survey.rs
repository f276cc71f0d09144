//! What a cluster says of itself, for whoever looks for what is wrong with it. Nothing is changed by asking.

use super::maker::{TopicError, TopicMaker, layout_of};
use std::collections::BTreeMap;
use std::time::Duration;

/// A cluster at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// The brokers that are there, `host:port`, as they tell clients to reach them.
    pub brokers: Vec<String>,
    /// The topics that were asked about and are there, with how many copies the least copied of their partitions has.
    pub copies: BTreeMap<String, usize>,
    /// Partitions of these that nobody leads, as `topic/partition`: nothing can be read or written there.
    pub leaderless: Vec<String>,
    /// Partitions of these with copies that are behind, as `topic/partition`.
    pub behind: Vec<String>,
}

impl TopicMaker {
    /// Asks about these topics; one that is not there is left out.
    ///
    /// # Errors
    /// No broker answers within `wait`.
    pub async fn survey(&self, topics: &[String], wait: Duration) -> Result<Survey, TopicError> {
        let topics = topics.to_vec();
        let config = match self {
            TopicMaker::Admin(config) | TopicMaker::Asking(config) => config.clone(),
            TopicMaker::Mock(kafka) => kafka.config("synod-survey")?,
        };
        layout_of(&config, wait, move |metadata| {
            let brokers = metadata.brokers().iter().map(|b| format!("{}:{}", b.host(), b.port())).collect();
            let mut survey = Survey { brokers, ..Survey::default() };
            for topic in metadata.topics().iter().filter(|topic| topics.iter().any(|t| t == topic.name())) {
                for partition in topic.partitions() {
                    let name = format!("{}/{}", topic.name(), partition.id());
                    let (copies, in_sync) = (partition.replicas().len(), partition.isr().len());
                    let least = survey.copies.entry(topic.name().to_owned()).or_insert(copies);
                    *least = copies.min(*least);
                    if partition.leader() < 0 {
                        survey.leaderless.push(name);
                    } else if in_sync < copies {
                        survey.behind.push(name);
                    }
                }
            }
            survey
        })
        .await
    }
}
