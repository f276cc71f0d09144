//! Each role, asked through the mesh: what its few lines answer decides.

use super::{SOON, mesh, run};
use agent_sdk::negotiate::{CombinatorialBundle, exact};
use agent_sdk::protocol::negotiation::{NegotiationStatus, NegotiationView, OpenNegotiation};
use agent_sdk::testing::TestMesh;
use agent_sdk::{
    Acknowledgement, Agent, AgentBuilder, Alarm, Assessor, AuctionBidder, Award, Ballot, Bid, Bidder,
    BuildError, Claimant, Commitment, Demand, Estimated, Estimator, Exact, Feedback, Json, NegotiationError,
    Offered, Proposer, Question, Reply, Responder, RunningAgent, Signal, Source, TaskError, Voter,
    WorkReport,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// Everything here is a strategy of one figure.
struct Plays(f64);

impl Voter for Plays {
    async fn vote(&self, question: &Question, candidates: &[String]) -> Result<Option<Ballot>, TaskError> {
        // An object, also where the opener said nothing.
        let _: BTreeMap<String, Value> = question.rules()?;
        Ok(candidates.get(self.0 as usize).map(Ballot::choice))
    }
}

impl Bidder for Plays {
    async fn bid(&self, _: &Question) -> Result<Option<Bid>, TaskError> {
        Ok(Some(Bid { time_ms: Some(500), ..Bid::at(exact(self.0)?) }))
    }
}

/// One who thinks better of it.
struct Fickle;

impl Bidder for Fickle {
    async fn bid(&self, _: &Question) -> Result<Option<Bid>, TaskError> {
        Ok(Some(Bid { time_ms: Some(500), ..Bid::at(1) }))
    }

    async fn commit(&self, _: &Question, award: &Award) -> Result<Option<Commitment>, TaskError> {
        Ok(Some(Commitment::refuse(format!("{} was too little", award.price))))
    }
}

/// One who hands in what it did.
struct Doer;

impl Bidder for Doer {
    async fn bid(&self, _: &Question) -> Result<Option<Bid>, TaskError> {
        Ok(Some(Bid { time_ms: Some(5_000), ..Bid::at(9) }))
    }

    async fn result(&self, question: &Question, award: &Award) -> Result<Option<WorkReport>, TaskError> {
        let work: String = question.question()?;
        let done = format!("{work} as award {}", award.award);
        Ok(Some(WorkReport::Result(json!(done).into())))
    }
}

impl AuctionBidder for Plays {
    async fn bid(&self, _: &Question) -> Result<Option<Exact>, TaskError> {
        Ok(Some(exact(self.0)?))
    }

    async fn bundles(
        &self,
        _: &Question,
        items: &[String],
    ) -> Result<Option<Vec<CombinatorialBundle>>, TaskError> {
        Ok(Some(vec![CombinatorialBundle { items: items.to_vec(), value: exact(self.0)? }]))
    }
}

impl Proposer for Plays {
    async fn offer(&self, _: &Question) -> Result<Option<Json>, TaskError> {
        Ok(Some(json!(self.0).into()))
    }

    async fn respond(&self, _: &Question, tabled: &Offered) -> Result<Option<Reply>, TaskError> {
        let offered: f64 = tabled.offer.to().unwrap_or_default();
        let enough = offered >= self.0;
        Ok(Some(if enough { Reply::Accept(true) } else { Reply::Counter(json!(self.0).into()) }))
    }
}

impl Assessor for Plays {
    /// Goes all the way to the median of the others.
    async fn estimate(&self, _: &Question, heard: Option<&Feedback>) -> Result<Option<Estimated>, TaskError> {
        Ok(Some(Estimated::of(heard.map_or(self.0, |heard| heard.value.median))))
    }
}

impl Source for Plays {
    async fn signal(&self, _: &Question) -> Result<Option<Signal>, TaskError> {
        Ok(Some(self.0.into()))
    }
}

struct Labels(&'static str);

impl Source for Labels {
    async fn signal(&self, _: &Question) -> Result<Option<Signal>, TaskError> {
        Ok(Some(self.0.into()))
    }
}

impl Responder for Plays {}

struct Absent;

impl Responder for Absent {
    async fn acknowledge(&self, _: &Question, alarm: &Alarm) -> Result<Option<Acknowledgement>, TaskError> {
        Ok(Some(Acknowledgement::unable(format!("no {}", alarm.procedure))))
    }
}

impl Claimant for Plays {
    async fn demand(&self, question: &Question) -> Result<Option<Demand>, TaskError> {
        let rules: Value = question.rules()?;
        let several = rules.get("drf").is_some();
        Ok(Some(if several { Demand::tasks([("cpu", exact(self.0)?)]) } else { Demand::of(exact(self.0)?) }))
    }
}

impl Estimator for Plays {
    async fn costs(
        &self,
        _: &Question,
        tasks: &[String],
    ) -> Result<Option<BTreeMap<String, Exact>>, TaskError> {
        let cost =
            |(place, task): (usize, &String)| Ok((task.clone(), exact(self.0 + place as f64 * self.0)?));
        tasks.iter().enumerate().map(cost).collect::<Result<_, _>>().map(Some)
    }
}

/// One who can be invited, before it has a role.
fn one(id: &str) -> AgentBuilder {
    Agent::builder(id).invited_by("decide")
}

/// These on a mesh of their own.
async fn seated(agents: impl IntoIterator<Item = AgentBuilder>) -> (TestMesh, Vec<RunningAgent>) {
    let mesh = mesh().await;
    let mut running = Vec::new();
    for agent in agents {
        running.push(run(&mesh, agent).await);
    }
    (mesh, running)
}

fn asks(protocol: &str, rules: Value, participants: &[&str]) -> OpenNegotiation {
    let id = format!("n-{protocol}-{}", participants.join("-"));
    OpenNegotiation {
        rules: Some(rules.into()),
        participants: Some(participants.iter().map(|id| id.parse().unwrap()).collect()),
        // So long that only answers can end it in time.
        round_ms: Some(60_000),
        ..OpenNegotiation::new(id.parse().unwrap(), protocol, json!("the work").into())
    }
}

async fn decided(mesh: &TestMesh, open: OpenNegotiation) -> (NegotiationView, Value) {
    let view = mesh.client().decide(open, SOON).await.unwrap();
    let outcome = view.outcome.as_ref().unwrap().to().unwrap();
    (view, outcome)
}

async fn stop(agents: Vec<RunningAgent>) {
    for agent in agents {
        agent.stop().await.unwrap();
    }
}

#[tokio::test]
async fn voters_elect_and_agree() {
    let agents = [one("a").voter(Plays(1.0)), one("b").voter(Plays(1.0)), one("c").voter(Plays(9.0))];
    let (mesh, agents) = seated(agents).await;
    let rules = json!({"candidates": ["x", "y"], "method": "plurality"});
    // Of two, so that it is not decided before the one who abstains has said so.
    let (_, outcome) = decided(&mesh, asks("vote", rules, &["a", "c"])).await;
    assert_eq!((&outcome["decided"], &outcome["turnout"]["abstained"]), (&json!("y"), &json!(1)));
    // The second candidate of a consensus is no. No rules at all are rules.
    let open = OpenNegotiation { rules: None, ..asks("consensus", json!({}), &["a", "b"]) };
    let (_, outcome) = decided(&mesh, open).await;
    assert_eq!(outcome["decided"], "no", "{outcome}");
    stop(agents).await;
}

#[tokio::test]
async fn bidders_get_work_commit_themselves_and_hand_it_in() {
    let agents = [one("a").bidder(Fickle), one("b").bidder(Plays(4.5)), one("c").bidder(Doer)];
    let (mesh, agents) = seated(agents).await;
    let (view, outcome) = decided(&mesh, asks("contract_net", json!({}), &["a", "b", "c"])).await;
    assert_eq!(outcome["winner"], "b", "{view:?}");
    assert_eq!(outcome["revoked"][0]["said"], "1 was too little");
    // Who hands nothing in loses the award to who does.
    let (_, outcome) = decided(&mesh, asks("contract_net", json!({"result": true}), &["b", "c"])).await;
    assert_eq!(outcome["winner"], "c", "{outcome}");
    assert_eq!(outcome["result"], "the work as award 2");
    assert_eq!(outcome["revoked"][0]["said"], "this bidder hands in no results");
    stop(agents).await;
}

#[tokio::test]
async fn auction_bidders_buy_and_may_be_bidders_for_work_too() {
    let both = one("a").auction_bidder(Plays(7.5)).bidder(Plays(2.0));
    let (mesh, agents) = seated([both, one("b").auction_bidder(Plays(5.0)), one("c").bidder(Doer)]).await;
    let (_, outcome) = decided(&mesh, asks("auction", json!({}), &["a", "b"])).await;
    assert_eq!((&outcome["winner"], &outcome["price_each"]), (&json!("a"), &json!(5)), "{outcome}");
    let (_, outcome) =
        decided(&mesh, asks("auction_bundles", json!({"items": ["p", "q"]}), &["a", "b"])).await;
    assert_eq!(outcome["winners"][0]["bidder"], "a", "{outcome}");
    let (_, outcome) = decided(&mesh, asks("contract_net", json!({}), &["a", "c"])).await;
    assert_eq!((&outcome["winner"], &outcome["award"]["price"]), (&json!("a"), &json!(2)), "{outcome}");
    // Who bids for work does not buy: it abstains.
    let (view, _) = decided(&mesh, asks("auction", json!({}), &["b", "c"])).await;
    let abstained = &view.rounds[0].answers["c"];
    assert_eq!(abstained.response, None);
    stop(agents).await;
}

#[tokio::test]
async fn proposers_agree_or_are_mediated_between() {
    let agents =
        [one("a").proposer(Plays(10.0)), one("b").proposer(Plays(25.0)), one("m").proposer(Plays(0.0))];
    let (mesh, agents) = seated(agents).await;
    // a offers 10, b wants 25, which a takes.
    let (_, outcome) = decided(&mesh, asks("offers", json!({}), &["a", "b"])).await;
    assert_eq!((&outcome["decided_by"], &outcome["offer"]), (&json!("agreement"), &json!(25.0)), "{outcome}");
    // After the first offer it is the mediator's turn, who takes what has most support: who came first.
    let (_, outcome) =
        decided(&mesh, asks("offers", json!({"max_rounds": 1, "mediator": "m"}), &["a", "b", "m"])).await;
    assert_eq!((&outcome["decided_by"], &outcome["offer"]), (&json!("mediator"), &json!(10.0)), "{outcome}");
    stop(agents).await;
}

#[tokio::test]
async fn assessors_hear_the_others_and_come_together() {
    let values = [("a", 0.1), ("b", 0.4), ("c", 0.9)];
    let (mesh, agents) = seated(values.map(|(id, value)| one(id).assessor(Plays(value)))).await;
    let rules = json!({"scale": {"min": 0, "max": 1, "epsilon": 0.05}});
    let (_, outcome) = decided(&mesh, asks("assess_risk", rules, &["a", "b", "c"])).await;
    assert_eq!((&outcome["verdict"], &outcome["risk"]), (&json!("converged"), &json!(0.4)), "{outcome}");
    assert_eq!(outcome["rounds_used"], 2);
    stop(agents).await;
}

#[tokio::test]
async fn sources_say_numbers_and_labels_and_claim_them() {
    let numbers = [("a", 20.0), ("b", 21.0), ("c", 40.0)].map(|(id, value)| one(id).source(Plays(value)));
    let labels =
        [("x", "spam"), ("y", "spam"), ("z", "ham")].map(|(id, label)| one(id).source(Labels(label)));
    let (mesh, agents) = seated(numbers.into_iter().chain(labels)).await;
    let (_, outcome) =
        decided(&mesh, asks("fuse", json!({"numeric": {"method": "median"}}), &["a", "b", "c"])).await;
    assert_eq!(outcome["value"], 21.0, "{outcome}");
    let rules = json!({"categorical": {"categories": ["spam", "ham"], "method": "linear_opinion_pool"}});
    let (_, outcome) = decided(&mesh, asks("fuse", rules, &["x", "y", "z"])).await;
    assert_eq!(outcome["winner"], "spam", "{outcome}");
    let (_, outcome) = decided(&mesh, asks("resolve", json!({"tolerance": 2.0}), &["a", "b", "c"])).await;
    assert_eq!(outcome["camps"][0]["members"], json!(["a", "b"]), "{outcome}");
    let (_, outcome) = decided(&mesh, asks("resolve", json!({}), &["x", "y", "z"])).await;
    assert_eq!(outcome["camps"][0]["members"], json!(["x", "y"]), "{outcome}");
    stop(agents).await;
}

#[tokio::test]
async fn responders_come_or_say_why_not() {
    let (mesh, agents) = seated([one("a").responder(Plays(0.0)), one("b").responder(Absent)]).await;
    let rules =
        json!({"procedure": "fire", "roles": {"lead": ["a"], "scribe": ["b"]}, "acknowledge_ms": 60_000});
    let (_, outcome) = decided(&mesh, asks("emergency", rules, &["a", "b"])).await;
    assert_eq!(outcome["acknowledged"][0]["participant"], "a", "{outcome}");
    assert_eq!(outcome["unable"], json!([{"participant": "b", "why": "no fire"}]));
    stop(agents).await;
}

#[tokio::test]
async fn claimants_share_and_estimators_are_assigned() {
    let each = [("a", 4.0), ("b", 2.5), ("c", 9.0)];
    let (mesh, agents) = seated(each.map(|(id, n)| one(id).claimant(Plays(n)).estimator(Plays(n)))).await;
    let (_, outcome) =
        decided(&mesh, asks("divide", json!({"max_min": {"capacity": 10}}), &["a", "b", "c"])).await;
    let amounts: Vec<&Value> = outcome["users"].as_array().unwrap().iter().map(|u| &u["amount"]).collect();
    assert_eq!(amounts, [&json!("15/4"), &json!("5/2"), &json!("15/4")]);
    let rules = json!({"drf": {"resources": [{"name": "cpu", "capacity": 18}]}});
    let (_, outcome) = decided(&mesh, asks("divide", rules, &["a", "c"])).await;
    let tasks: Vec<&Value> = outcome["users"].as_array().unwrap().iter().map(|u| &u["tasks"]).collect();
    assert_eq!(tasks, [&json!("9/4"), &json!(1)], "{outcome}");
    // What grows twice as fast with one goes to the other.
    let (_, outcome) = decided(&mesh, asks("assign", json!({"tasks": ["t0", "t1"]}), &["a", "c"])).await;
    let pairs = json!([{"task": "t0", "agent": "c"}, {"task": "t1", "agent": "a"}]);
    let pairs_found: Vec<Value> = outcome["pairs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|pair| json!({"task": pair["task"], "agent": pair["agent"]}))
        .collect();
    assert_eq!(json!(pairs_found), pairs, "{outcome}");
    stop(agents).await;
}

/// A figure that is none leaves the round without an answer, and nobody else's is lost with it.
#[tokio::test]
async fn a_strategy_that_answers_no_number_is_silent() {
    let (mesh, agents) = seated([one("a").bidder(Plays(f64::NAN)), one("b").bidder(Plays(3.0))]).await;
    let open = OpenNegotiation { round_ms: Some(500), ..asks("contract_net", json!({}), &["a", "b"]) };
    let (view, outcome) = decided(&mesh, open).await;
    assert_eq!(outcome["winner"], "b", "{outcome}");
    assert_eq!(view.rounds[0].answers.keys().map(|id| id.as_str()).collect::<Vec<_>>(), ["b"]);
    stop(agents).await;
}

/// Who can be invited and has no handler gets no work: it is declined.
#[tokio::test]
async fn who_is_only_invited_does_no_tasks() {
    let (mesh, agents) = seated([one("a").voter(Plays(0.0))]).await;
    let asked = mesh.client().submit(agent_sdk::task("decide").input(1)).await.unwrap();
    let declined = async {
        while asked.get().await.unwrap().attempts.iter().all(|attempt| attempt.ended_at.is_none()) {
            tokio::time::sleep(Duration::from_millis(10)).await; // between two looks at the condition
        }
    };
    tokio::time::timeout(SOON, declined).await.expect("declined in time");
    // Nobody of the invited having answered is what ends a negotiation that nobody could take part in.
    let open = asks("auction", json!({}), &["a"]);
    match mesh.client().decide(open, SOON).await.unwrap_err() {
        NegotiationError::Ended { view } => assert_eq!(view.status, NegotiationStatus::Failed),
        other => panic!("{other}"),
    }
    stop(agents).await;
}

#[tokio::test]
async fn two_answers_to_one_kind_are_an_error() {
    let mesh = mesh().await;
    let twice = [
        one("a").voter(Plays(0.0)).voter(Plays(1.0)),
        one("a").bidder(Fickle).answers("bid", |_| async { Ok(None::<f64>) }),
        one("a").answers("bid", |_| async { Ok(None::<f64>) }).auction_bidder(Plays(1.0)),
    ];
    for (agent, kind) in twice.into_iter().zip(["ballot", "bid", "bid"]) {
        let Err(BuildError::Invalid(error)) = agent.build(&mesh) else { panic!("built, with two of {kind}") };
        assert_eq!(error.message, format!("there are two answers to a question for a {kind}"));
    }
}
