//! A protocol of one's own: something is done unless somebody objects in time.
//!
//! `cargo run -p synod-negotiation --example first_to_object`

use synod_negotiation::{Call, Decision, Known, Next, Opening, Protocol, Protocols, Table, answer, open};
use synod_protocol::event::What;
use synod_protocol::negotiation::OpenNegotiation;
use synod_protocol::{Error, Id, Json, Timestamp};

/// `lazy_consent`: an answer is a text, the objection; who agrees abstains or says nothing.
#[derive(Debug)]
struct LazyConsent;

impl Protocol for LazyConsent {
    fn name(&self) -> &'static str {
        "lazy_consent"
    }

    fn begin(&self, _: &Table<'_>) -> Result<Call, Error> {
        Ok(Call { kind: "objection".to_owned(), ..Call::default() })
    }

    fn check(&self, _: &Table<'_>, _: &Id, response: &Json) -> Result<(), Error> {
        answer::<String>(response).map(drop)
    }

    /// The first objection ends it.
    fn settles_early(&self) -> bool {
        true
    }

    fn settled(&self, table: &Table<'_>) -> bool {
        table.round().is_some_and(|round| round.responses().next().is_some())
    }

    fn close(&self, table: &Table<'_>) -> Next {
        match table.round().and_then(|round| round.responses().next()) {
            Some((by, objection)) => {
                Next::Failed { reason: format!("{by} objects"), outcome: Some(objection.clone()) }
            }
            None => Next::Decided(Decision {
                outcome: table.question.clone(),
                explanation: vec!["Nobody objected.".to_owned()],
            }),
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let protocols = Protocols::standard().clone().with(LazyConsent);
    let mut command = OpenNegotiation::new("n".parse()?, "lazy_consent", Json::of("we ship on Friday")?);
    command.answers = Some([("ann".parse()?, Json::of("nobody is here on Friday")?)].into());
    command.participants = Some(vec!["bob".parse()?]);
    let opening = Opening {
        now: Timestamp::from_millis(0),
        seed: "00".to_owned(),
        invited: Vec::new(),
        correlation_id: "n".to_owned(),
        traceparent: None,
        known: Known::default(),
    };
    for what in open(&protocols, &command, opening)? {
        println!("{}", what.ce_type());
        if let What::NegotiationFailed(ended) = what {
            println!("  {}", ended.reason.unwrap_or_default());
        }
    }
    Ok(())
}
