//! One call each for what people want most, with agents that answer.

use super::{SOON, mesh, run};
use agent_sdk::negotiate::{
    Asking, AssessRisk, DecideByConsensus, DeclareEmergency, DivideResources, FuseSignals,
};
use agent_sdk::{
    Agent, Assessor, Ballot, Claimant, Code, Demand, DoorError, Estimated, Feedback, NegotiationError,
    Question, Responder, Signal, Source, TaskError, Voter,
};
use serde_json::json;

/// One who has something to say on everything.
struct Sage;

impl Source for Sage {
    async fn signal(&self, _: &Question) -> Result<Option<Signal>, TaskError> {
        Ok(Some(24.0.into()))
    }
}

impl Assessor for Sage {
    async fn estimate(&self, _: &Question, _: Option<&Feedback>) -> Result<Option<Estimated>, TaskError> {
        Ok(Some(Estimated::of(0.9)))
    }
}

impl Claimant for Sage {
    async fn demand(&self, _: &Question) -> Result<Option<Demand>, TaskError> {
        Ok(Some(Demand::of(7)))
    }
}

impl Voter for Sage {
    async fn vote(&self, question: &Question, _: &[String]) -> Result<Option<Ballot>, TaskError> {
        let asked: String = question.question()?;
        Ok(Some(Ballot::choice(if asked.contains("beach") { "yes" } else { "no" })))
    }
}

impl Responder for Sage {}

#[tokio::test]
async fn what_is_wanted_most_is_one_call() {
    let mesh = mesh().await;
    let client = mesh.client();
    let sage = Agent::builder("sage").invited_by("advise").source(Sage).assessor(Sage).claimant(Sage);
    let sage = run(&mesh, sage.voter(Sage).responder(Sage)).await;
    let ask = || Some(Asking::capability("advise").unwrap());

    let known = FuseSignals::of([("roof", 20.0)]).unwrap();
    let fused = client.fuse(FuseSignals { ask: ask(), ..known }, SOON).await.unwrap();
    assert_eq!((fused.outcome.value(), fused.outcome.label()), (Some(22.0), None));
    assert_eq!((fused.view.protocol.as_str(), fused.view.participants.len()), ("fuse", 2));
    let labels = FuseSignals {
        categories: Some(vec!["x".into(), "y".into()]),
        ..FuseSignals::of([("a", "y")]).unwrap()
    };
    assert_eq!(client.fuse(labels, SOON).await.unwrap().outcome.label(), Some("y"));

    let risk = AssessRisk::asking(json!("a flood").into(), ask().unwrap());
    let risk = client.assess_risk(risk, SOON).await.unwrap();
    assert_eq!((risk.outcome.risk, risk.outcome.rounds_used), (Some(0.9), 1));

    let water = DivideResources { ask: ask(), ..DivideResources::capacity(10).among([("a", 9)]).unwrap() };
    let water = client.divide(water, SOON).await.unwrap();
    assert_eq!(water.outcome.amount("sage"), Some(&5.into()));

    let beach = DecideByConsensus::asking(json!("to the beach?").into(), ask().unwrap());
    assert_eq!(
        client.decide_by_consensus(beach, SOON).await.unwrap().outcome.decided.as_deref(),
        Some("yes")
    );

    let fire = DeclareEmergency::calling("fire", [("lead", "sage")]).unwrap();
    let report = client.declare_emergency(fire, SOON).await.unwrap().outcome;
    assert!(report.complete, "{report:?}");
    sage.stop().await.unwrap();
}

/// What is wrong is told by the field of the request, whoever finds it.
#[tokio::test]
async fn what_is_wrong_is_named_by_the_request() {
    let mesh = mesh().await;
    let client = mesh.client();
    let nobody = FuseSignals::default();
    let too_sure = FuseSignals::of([("a", json!({"value": 1, "confidence": 2}))]).unwrap();
    let not_found = FuseSignals::asking(Asking::capability("nobody.can").unwrap());
    for (request, code, field) in [
        (nobody, Code::InvalidArgument, "/ask"),
        (too_sure, Code::InvalidArgument, "/signals/a/confidence"),
        (not_found, Code::Unprocessable, "/ask/min"),
    ] {
        match client.fuse(request, SOON).await.unwrap_err() {
            NegotiationError::Door(DoorError::Refused(error)) => {
                assert_eq!((error.code, error.field.as_deref()), (code, Some(field)), "{error}");
            }
            other => panic!("{other}"),
        }
    }
    // The same id again is the same negotiation.
    let named =
        FuseSignals { negotiation_id: Some("n".parse().unwrap()), ..FuseSignals::of([("a", 1.0)]).unwrap() };
    let first = client.fuse(named.clone(), SOON).await.unwrap();
    let again = client.fuse(named, SOON).await.unwrap();
    assert_eq!(first.view.ended_at, again.view.ended_at);
}
