//! Where a test runs: a cluster, a way to make topics, names of its own.

use std::sync::Mutex;
use std::time::Duration;
use synod_infra::kafka::{
    Acked, DeliveryError, EmbeddedKafka, KafkaConfig, Outgoing, Producer, RawRecord, Readers, TopicMaker,
};
use tokio::sync::oneshot;

/// The time limit on anything that should happen.
pub(crate) const SOON: Duration = Duration::from_secs(30);

pub(crate) struct Bed {
    pub(crate) config: KafkaConfig,
    pub(crate) maker: TopicMaker,
    pub(crate) kafka: Option<EmbeddedKafka>,
}

impl Bed {
    pub(crate) fn embedded() -> Bed {
        let kafka = EmbeddedKafka::start(4, 1).unwrap();
        Bed {
            config: kafka.config("test").unwrap(),
            maker: TopicMaker::Mock(kafka.clone()),
            kafka: Some(kafka),
        }
    }

    pub(crate) fn real() -> Bed {
        let brokers = std::env::var("SYNOD_KAFKA_BROKERS")
            .expect("SYNOD_KAFKA_BROKERS is missing: eval \"$(scripts/services up)\"");
        let config = KafkaConfig::new(brokers, "test");
        Bed { maker: TopicMaker::new(&config), config, kafka: None }
    }

    /// A topic of this test's own.
    pub(crate) async fn topic(&self, partitions: u32) -> String {
        let name = unique("test");
        self.maker.ensure_one(&name, partitions, 1, SOON).await.unwrap();
        name
    }

    pub(crate) fn producer(&self) -> Producer {
        Producer::new(&self.config).unwrap()
    }

    pub(crate) fn readers(&self) -> Readers {
        Readers::new(&self.config).unwrap()
    }

    /// All that a topic holds, partition by partition.
    pub(crate) async fn holds(&self, topic: &str) -> Vec<RawRecord> {
        let readers = self.readers();
        let partitions = readers.partitions(topic, SOON).await.unwrap().unwrap_or(0);
        let mut all = Vec::new();
        for partition in 0..partitions.cast_signed() {
            let keep = |record| {
                all.push(record);
                std::ops::ControlFlow::Continue(())
            };
            readers.read_to_end(topic, partition, SOON, keep).await.unwrap();
        }
        all
    }
}

pub(crate) fn unique(what: &str) -> String {
    format!("{what}-{}", uuid::Uuid::new_v4().simple())
}

/// Sends and waits.
pub(crate) async fn put(producer: &Producer, out: Outgoing) -> Result<Acked, DeliveryError> {
    let (tell, told) = oneshot::channel();
    producer.send(out, move |delivery| tell.send(delivery).unwrap()).unwrap();
    tokio::time::timeout(SOON, told).await.expect("an acknowledgement in time").unwrap()
}

/// Puts `count` records, whose values are their numbers, into one partition.
pub(crate) async fn fill(producer: &Producer, topic: &str, partition: i32, count: usize) {
    for n in 0..count {
        let out = Outgoing::to(topic).partition(partition).payload(n.to_string());
        producer.send(out, |delivery| assert!(delivery.is_ok(), "{delivery:?}")).unwrap();
    }
    producer.flush(SOON).await.unwrap();
}

/// Waits for a condition; says what was not the case in time.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let looking = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await; // between two looks at the condition
        }
    };
    tokio::time::timeout(SOON, looking).await.unwrap_or_else(|_| panic!("not in time: {what}"));
}

/// What was seen, in order.
pub(crate) struct Seen<T>(Mutex<Vec<T>>);

impl<T> Default for Seen<T> {
    fn default() -> Self {
        Seen(Mutex::default())
    }
}

impl<T: Clone> Seen<T> {
    pub(crate) fn push(&self, value: T) {
        self.0.lock().unwrap().push(value);
    }
    pub(crate) fn all(&self) -> Vec<T> {
        self.0.lock().unwrap().clone()
    }
    pub(crate) fn len(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}
