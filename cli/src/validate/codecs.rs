//! A typed message goes through Kafka and comes back the same, in either codec.

use super::replies::{self, ends, read_until};
use super::{Broken, Site, Verdict, held};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;
use synod_protocol::{ContentType, Envelope, Limits, codec};

const WITHIN: Duration = Duration::from_secs(15);

/// What an application might send.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Probe {
    text: String,
    numbers: Vec<i64>,
    ratio: Option<f64>,
    by_name: BTreeMap<String, u32>,
}

pub(super) async fn json(site: &Site) -> Verdict {
    there_and_back(site, ContentType::Json).await
}

pub(super) async fn bincode(site: &Site) -> Verdict {
    there_and_back(site, ContentType::Bincode).await
}

async fn there_and_back(site: &Site, content_type: ContentType) -> Verdict {
    let sent = Probe {
        text: "naïve — \u{1f980}\n".to_owned(),
        numbers: vec![i64::MIN, 0, i64::MAX],
        ratio: Some(0.1),
        by_name: [("a".to_owned(), 1), ("b".to_owned(), u32::MAX)].into(),
    };
    let envelope = Envelope {
        content_type,
        workspace: site.ground.dialling.workspace.clone(),
        ..Envelope::new(site.fresh("probe"), "/synod/validate", "validate.probe")
    };
    let since = ends(&site.readers, replies::TOPIC).await?;
    site.producer.publish(replies::TOPIC, &envelope.id, &envelope, &sent, WITHIN).await?;
    let mut came = None;
    let take = |record: synod_infra::kafka::RawRecord| match record.envelope() {
        Ok(found) if found.id == envelope.id => {
            came = Some((found, record.payload.unwrap_or_default()));
            true
        }
        _ => false,
    };
    read_until(&site.readers, replies::TOPIC, since, WITHIN, take).await?;
    let Some((found, bytes)) = came else { return Err(Broken::promise("the message did not come back")) };
    let back: Probe = codec::decode(found.content_type, &bytes, &Limits::default())?;
    match back == sent && found == envelope {
        true => held(format!("{} bytes as {}", bytes.len(), content_type.as_str())),
        false => Err(Broken::promise(format!("{found:?} {back:?} came back"))),
    }
}
