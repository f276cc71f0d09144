//! Topics and their settings.

use crate::bed::{Bed, SOON, put, unique};
use synod_infra::kafka::{EmbeddedKafka, Outgoing, Producer, TopicMaker, TopicSpec, mesh_topics};

pub(crate) async fn a_missing_topic_is_found(bed: &Bed) {
    let spec = TopicSpec::new(unique("missing"), 3, 1).with("cleanup.policy", "delete");
    let other = TopicSpec { partitions: 5, ..spec.clone() };
    let findings = bed.maker.check(std::slice::from_ref(&spec), SOON).await.unwrap();
    assert!(
        findings.len() == 1 && findings[0].setting == "topic" && findings[0].breaks_promise,
        "{findings:?}"
    );
    bed.maker.ensure(std::slice::from_ref(&spec), SOON).await.unwrap();
    assert_eq!(bed.maker.check(&[spec], SOON).await.unwrap(), []);
    let findings = bed.maker.check(&[other], SOON).await.unwrap();
    assert!(findings.len() == 1 && findings[0].setting == "partitions", "{findings:?}");
    assert_eq!((findings[0].found.as_str(), findings[0].wanted.as_str()), ("3", "5"));
}

pub(crate) async fn a_reply_topic_is_made_once(bed: &Bed) {
    let name = unique("synod.reply");
    for _ in 0..2 {
        bed.maker.ensure_one(&name, 1, 1, SOON).await.unwrap();
    }
    let acked = put(&bed.producer(), Outgoing::to(&name).key("k").payload("v")).await.unwrap();
    assert_eq!((acked.partition, acked.offset), (0, 0));
}

pub(crate) async fn to_ask_whether_a_topic_is_there_makes_none(bed: &Bed) {
    let (readers, name) = (bed.readers(), unique("asked"));
    for _ in 0..2 {
        assert!(!readers.is_there(&name, SOON).await.unwrap());
    }
    assert_eq!(readers.partitions(&name, SOON).await.unwrap(), None);
    bed.maker.ensure_one(&name, 1, 1, SOON).await.unwrap();
    assert!(readers.is_there(&name, SOON).await.unwrap(), "by the same client");
}

pub(crate) async fn another_process_makes_a_topic_by_asking(bed: &Bed) {
    let maker = TopicMaker::new(&bed.config);
    assert!(matches!(maker, TopicMaker::Asking(_)));
    let name = unique("synod.inbox");
    maker.ensure_one(&name, 1, 1, SOON).await.unwrap();
    put(&bed.producer(), Outgoing::to(&name).payload("v")).await.unwrap();
    // The cluster's own process comes later, and finds it there.
    bed.maker.ensure_one(&name, 1, 1, SOON).await.unwrap();
}

pub(crate) fn the_mesh_is_there_on_loopback() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let kafka = EmbeddedKafka::start(4, 3).unwrap();
    let brokers = kafka.bootstrap_servers().unwrap();
    assert_eq!(brokers.split(',').count(), 3);
    assert!(brokers.split(',').all(|b| b.starts_with("127.0.0.1:")), "{brokers}");
    let checking = TopicMaker::Mock(kafka.clone());
    assert_eq!(runtime.block_on(checking.check(&mesh_topics(4, 1), SOON)).unwrap(), []);
    let config = kafka.config("test").unwrap();
    let producer = Producer::new(&config).unwrap();
    runtime.block_on(async { put(&producer, Outgoing::to("synod.ledger.v1").key("k")).await.unwrap() });
    // Handles may be sent to other threads and dropped there; the cluster ends with the last.
    std::thread::spawn(move || drop((kafka, checking))).join().unwrap();
    let port = brokers.split(',').next().unwrap().to_owned();
    runtime
        .block_on(crate::bed::until("its port is closed", || std::net::TcpStream::connect(&port).is_err()));
}

pub(crate) async fn each_planted_difference_is_found(bed: &Bed) {
    let wanted = TopicSpec::new(unique("planted"), 2, 1)
        .with("cleanup.policy", "delete")
        .with("retention.ms", -1)
        .with("message.timestamp.type", "LogAppendTime");
    let planted = [
        ("cleanup.policy", "compact"),
        ("message.timestamp.type", "CreateTime"),
        ("retention.ms", "60000"),
        ("unclean.leader.election.enable", "true"),
        ("max.message.bytes", "1000"),
    ];
    for (setting, value) in planted {
        let wanted = TopicSpec { name: unique("planted"), ..wanted.clone() };
        let made = bed.maker.ensure(&[wanted.clone().with(setting, value)], SOON).await.unwrap();
        assert_eq!(made, [wanted.name.as_str()]);
        let findings = bed.maker.check(std::slice::from_ref(&wanted), SOON).await.unwrap();
        let told: Vec<_> = findings.iter().map(|f| (f.setting.as_str(), f.found.as_str())).collect();
        assert_eq!(told, [(setting, value)]);
        assert!(findings[0].mend.contains(&format!("{setting}={}", wanted.config[setting])), "{findings:?}");
    }
    bed.maker.ensure(std::slice::from_ref(&wanted), SOON).await.unwrap();
    assert_eq!(bed.maker.check(std::slice::from_ref(&wanted), SOON).await.unwrap(), []);
    let more = TopicSpec { replication: 3, ..wanted };
    let findings = bed.maker.check(&[more], SOON).await.unwrap();
    assert_eq!(findings.iter().map(|f| f.setting.as_str()).collect::<Vec<_>>(), ["replication"]);
}
