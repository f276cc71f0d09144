//! What an application hands back comes again on its topic, as it was, and not before its time.

use super::replies::{ends, read_until};
use super::site::SOON;
use super::{Broken, Held, Site, Verdict, held};
use std::borrow::Cow;
use std::time::{Duration, Instant};
use synod_infra::kafka::{Outgoing, RawRecord, TopicError, retry as relays};
use synod_protocol::retry::{Retry, TIERS, Tier};

/// The application's topic, which all runs share: a record comes again on none of the mesh's own.
const TOPIC: &str = "validate.retries";
/// How long a topic may take to be there.
const MADE_WITHIN: Duration = Duration::from_secs(15);
/// How long a record may take. Where the tier's topic is new the coordinators have to see it first, which they do within
/// some two seconds, and become a group, which waits for whoever died in it.
const COMES_WITHIN: Duration = Duration::from_secs(25);
/// By so much a coordinator's clock may be ahead of the brokers'.
const AHEAD: Duration = Duration::from_millis(100);

pub(super) async fn come_again(site: &Site) -> Verdict {
    let [tier, ..] = TIERS;
    let maker = site.ground.topics();
    // The brokers know best how many replicas they want.
    match maker.ensure_one(TOPIC, 1, 0, MADE_WITHIN).await {
        // What the mesh itself needs are rights to its own topics: see docs/security.md.
        Err(error @ TopicError::Refused { .. }) if error.to_string().contains("authorization failed") => {
            return Ok(Held::NotApplicable(format!("we may not make an application's topic: {error}")));
        }
        made => made?,
    }
    relays::ensure(&maker, tier, 0).await?;
    // By the first the coordinators are known to be at it: how long the second lies is up to them alone.
    handed_back(site, tier).await?;
    let lay = handed_back(site, tier).await?;
    if lay + AHEAD < tier.delay() {
        let said = format!(
            "it came again after {} ms; it is to lie for {} ms",
            lay.as_millis(),
            tier.delay().as_millis()
        );
        return Err(Broken::promise(said));
    }
    held(format!("two records came again on {TOPIC} as they were, the second after {} ms", lay.as_millis()))
}

/// Hands a record back; how long it took to come again, as it was.
async fn handed_back(site: &Site, tier: Tier) -> Result<Duration, Broken> {
    let id = site.fresh("handed-back");
    let retry = Retry {
        to: TOPIC.to_owned(),
        number: 1,
        limit: 3,
        group: Some(site.fresh("group")),
        reason: Some("synod validate hands it back".to_owned()),
    };
    let own = Outgoing::to(tier.topic()).key(&*id).header("x-order", "7").payload(r#"{"order":"seven"}"#);
    let sent = retry.headers().into_iter().fold(own, |out, (name, value)| out.header(name, value));
    let since = ends(&site.readers, TOPIC).await?;
    let began = Instant::now();
    site.producer.publish_record(&sent, SOON).await?;
    let mut came = None;
    let is_it = |record: RawRecord| {
        let is_it = record.key == sent.key;
        if is_it {
            came = Some((began.elapsed(), record));
        }
        is_it
    };
    read_until(&site.readers, TOPIC, since, COMES_WITHIN, is_it).await?;
    let (lay, came) = came.ok_or_else(|| Broken::promise("it did not come again"))?;
    match difference(&sent, &came) {
        None => Ok(lay),
        Some(what) => Err(Broken::promise(format!("it came again with {what}"))),
    }
}

/// What is not as it was.
fn difference(sent: &Outgoing, came: &RawRecord) -> Option<String> {
    let text = |bytes: &Option<Vec<u8>>| bytes.as_deref().map(String::from_utf8_lossy).map(Cow::into_owned);
    if sent.payload != came.payload {
        return Some(format!("the value {:?} instead of {:?}", text(&came.payload), text(&sent.payload)));
    }
    let had: Vec<_> = sent.headers.iter().map(|(name, value)| (&**name, text(value))).collect();
    let has: Vec<_> = came.headers.iter().map(|(name, value)| (name.as_str(), text(value))).collect();
    (had != has).then(|| format!("the headers {has:?} instead of {had:?}"))
}
