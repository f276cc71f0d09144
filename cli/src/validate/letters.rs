//! What cannot be read is a dead letter; it gets a fresh try, and is put away.

use super::broken::refused_as;
use super::replies::{Ends, ends, read_until};
use super::site::SOON;
use super::{Broken, Site, Verdict, held};
use crate::dlq::{Deed, Marks, newest, settle, source};
use synod_infra::kafka::RawRecord;
use synod_protocol::{Code, topics};

/// Letters of this run are among the newest.
const AMONG: usize = 1_000;

pub(super) async fn round_trip(site: &Site) -> Verdict {
    let topic = topics::dlq(topics::COMMANDS);
    let (id, envelope) = (site.fresh("unreadable"), site.envelope("synod.task.submit"));
    let since = ends(&site.readers, &topic).await?;
    refused_as(site.through_kafka(&envelope, &id, b"{").await?, Code::InvalidArgument)?;
    let first = letter(site, &topic, since, &envelope.id).await?;
    let since = ends(&site.readers, &topic).await?;
    settled(site, &first, Deed::Redrive, "redriven").await?;
    // It is as unreadable as it was.
    let second = letter(site, &topic, since, &envelope.id).await?;
    if source(&first) == source(&second) {
        return Err(Broken::promise("the letter was not produced again to its source"));
    }
    settled(site, &second, Deed::Discard, "discarded").await?;
    let marks = Marks::read(&site.readers, &topic).await?;
    let open = |record: &RawRecord| is_of(record, &envelope.id) && marks.closed(source(record)).is_none();
    match newest(&site.readers, &topic, AMONG, open).await?.len() {
        0 => held(format!("redriven from {}, and put away", source(&first))),
        listed => Err(Broken::promise(format!("{listed} letters are still listed"))),
    }
}

/// The next letter about this command.
async fn letter(site: &Site, topic: &str, since: Ends, ce_id: &str) -> Result<RawRecord, Broken> {
    let mut found = None;
    let take = |record: RawRecord| {
        let is_it = is_of(&record, ce_id);
        if is_it {
            found = Some(record);
        }
        is_it
    };
    read_until(&site.readers, topic, since, SOON, take).await?;
    found.ok_or_else(|| Broken::promise("no letter came"))
}

fn is_of(record: &RawRecord, ce_id: &str) -> bool {
    record.headers.iter().any(|(name, value)| name == "ce_id" && value.as_deref() == Some(ce_id.as_bytes()))
}

async fn settled(site: &Site, letter: &RawRecord, deed: Deed, wanted: &str) -> Result<(), Broken> {
    let letters = std::slice::from_ref(letter);
    let (rows, stop) = settle(site.kafka(), &site.readers, topics::COMMANDS, letters, deed).await;
    if let Some(stop) = stop {
        return Err(stop.into());
    }
    match rows.first() {
        Some(row) if row["result"] == wanted => Ok(()),
        row => Err(Broken::promise(format!("the letter should be {wanted}, it is {row:?}"))),
    }
}

impl From<crate::output::Stop> for Broken {
    fn from(stop: crate::output::Stop) -> Broken {
        Broken::Promise(stop.to_string())
    }
}
