//! Agents with a role each, and one call for what they decide.

use agent_sdk::negotiate::{Asking, DecideByConsensus, FuseSignals, exact};
use agent_sdk::protocol::negotiation::OpenNegotiation;
use agent_sdk::testing::TestMesh;
use agent_sdk::{Agent, Ballot, Bid, Bidder, Json, Question, Signal, Source, TaskError, Voter};
use std::time::Duration;

/// A probe, and what it reads.
struct Probe(f64);

impl Source for Probe {
    async fn signal(&self, _: &Question) -> Result<Option<Signal>, TaskError> {
        Ok(Some(self.0.into()))
    }
}

impl Voter for Probe {
    async fn vote(&self, _: &Question, _: &[String]) -> Result<Option<Ballot>, TaskError> {
        Ok(Some(Ballot::choice(if self.0 > 21.0 { "yes" } else { "no" })))
    }
}

impl Bidder for Probe {
    async fn bid(&self, _: &Question) -> Result<Option<Bid>, TaskError> {
        Ok(Some(Bid::at(exact(self.0)?)))
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mesh = TestMesh::start().await?;
    let (client, limit) = (mesh.client(), Duration::from_secs(10));
    let mut running = Vec::new();
    for (id, reads) in [("north", 20.0), ("south", 22.5), ("west", 23.0)] {
        let agent = Agent::builder(id).invited_by("sense").source(Probe(reads)).voter(Probe(reads));
        running.push(agent.bidder(Probe(reads)).build(&mesh)?.start().await?);
    }
    let all = Asking::capability("sense")?;

    let fused = client.fuse(FuseSignals::asking(all.clone()), limit).await?;
    println!("{:?}", fused.outcome.value());
    assert_eq!(fused.outcome.value().map(f64::round), Some(22.0));

    let cool = DecideByConsensus::asking(Json::of("is it too warm?")?, all);
    assert_eq!(client.decide_by_consensus(cool, limit).await?.outcome.decided.as_deref(), Some("yes"));

    let mut work = OpenNegotiation::new("cool-it".parse()?, "contract_net", Json::of("cool it")?);
    work.participants =
        Some(["north", "south", "west"].map(str::parse).into_iter().collect::<Result<_, _>>()?);
    let outcome: serde_json::Value = client.decide(work, limit).await?.outcome.unwrap_or_default().to()?;
    assert_eq!(outcome["winner"], "north");
    for agent in running {
        agent.stop().await?;
    }
    Ok(())
}
