//! Where a scene is played: its members as processes, its negotiations from their opening to their verified certificate.

use super::Scene;
use super::told::{Decided, Proof};
use crate::demo::agents::{Agents, AgentsError, Member};
use crate::demo::conduct::RUN_LABEL;
use crate::mesh::{Api, Ground};
use agent_sdk::{Client, ConnectError, Json, Mesh, NegotiationError, NegotiationHandle};
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use synod_negotiation::{Protocols, verify};
use synod_protocol::negotiation::{NegotiationView, OpenNegotiation};
use synod_protocol::{Capability, Error, Id};

/// A decision that takes longer is an error.
const LIMIT: Duration = Duration::from_secs(60);

/// The scene could not be played.
#[derive(Debug, thiserror::Error)]
pub enum SceneError {
    /// The shipped input.
    #[error("the shipped input does not read: {0}")]
    Input(String),
    /// The members do not run.
    #[error(transparent)]
    Members(#[from] AgentsError),
    /// No client.
    #[error("no client: {0}")]
    Client(#[from] ConnectError),
    /// Nothing was decided.
    #[error(transparent)]
    Negotiation(#[from] NegotiationError),
    /// It could not be opened.
    #[error(transparent)]
    Door(#[from] agent_sdk::DoorError),
    /// The mesh does not answer.
    #[error(transparent)]
    Mesh(#[from] Error),
    /// The mesh did otherwise than it should.
    #[error("{0}")]
    Unexpected(String),
    /// Something has no JSON form, or another one than expected.
    #[error("JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// A scene's members, and the mesh that they are on.
pub(super) struct Stage {
    client: Client,
    pub(super) members: Agents,
    /// Begins the id of everything in this run.
    pub(super) run: String,
    scene: Scene,
    api: Api,
    began: Instant,
}

/// A negotiation that goes on.
pub(super) struct Opened {
    pub(super) handle: NegotiationHandle,
    began: Instant,
}

impl Stage {
    /// Starts the members, and waits until the mesh knows them all.
    pub(super) async fn set(scene: Scene, ground: &Ground) -> Result<Stage, SceneError> {
        let began = Instant::now();
        let random = uuid::Uuid::now_v7().simple().to_string();
        let run = format!("{}-{}", scene.as_str(), random.get(20..).unwrap_or(&random));
        let names = scene.members()?;
        let all: Vec<Member<'_>> =
            names.iter().map(|name| Member { scene: scene.as_str(), run: &run, name }).collect();
        let members = Agents::members(&all, &ground.dialling, &ground.api).await?;
        let client = Mesh::connect(ground.dialling.sdk())?.client().correlated(&run);
        Ok(Stage { scene, client, members, began, run, api: ground.api.clone() })
    }

    /// The members end.
    pub(super) async fn clear(self) {
        self.members.end().await;
    }

    /// A member's id.
    pub(super) fn id(&self, name: &str) -> Result<Id, SceneError> {
        Ok(format!("{}-{name}", self.run).parse()?)
    }

    /// Since the first member was started.
    pub(super) fn took_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// What all members of the scene can do.
    pub(super) fn capability(&self) -> Result<Capability, SceneError> {
        Ok(self.scene.capability().parse()?)
    }

    /// The label by which members of this run are told from those of another.
    pub(super) fn label(&self) -> BTreeMap<String, String> {
        BTreeMap::from([(RUN_LABEL.to_owned(), self.run.clone())])
    }

    /// A question, by this protocol under these rules; who is asked is still to be said.
    pub(super) fn ask(
        &self,
        what: &str,
        protocol: &str,
        question: &impl Serialize,
        rules: &impl Serialize,
    ) -> Result<OpenNegotiation, SceneError> {
        let id = format!("{}-{what}", self.run).parse()?;
        let mut open = OpenNegotiation::new(id, protocol, Json::of(question)?);
        open.rules = Some(Json::of(rules)?);
        open.round_ms = Some(20_000);
        Ok(open)
    }

    /// All of these are asked.
    pub(super) fn of(&self, names: &[String], open: OpenNegotiation) -> Result<OpenNegotiation, SceneError> {
        let ids = names.iter().map(|name| self.id(name)).collect::<Result<_, _>>()?;
        Ok(OpenNegotiation { participants: Some(ids), ..open })
    }

    pub(super) async fn open(&self, open: OpenNegotiation) -> Result<Opened, SceneError> {
        let began = Instant::now();
        Ok(Opened { handle: self.client.negotiate(open).await?, began })
    }

    /// Waits for the decision, and verifies its certificate with nothing but its text.
    pub(super) async fn decided(&self, opened: Opened) -> Result<Decided, SceneError> {
        let view = opened.handle.wait(LIMIT).await?;
        let took = opened.began.elapsed();
        let path = format!("/v1/negotiations/{}/certificate", view.negotiation_id);
        let text = self.api.get(&path, &[], Duration::ZERO).await?.to_string();
        let verification = verify(&text, Protocols::standard());
        let proof = Proof {
            bytes: text.len(),
            digest: digest(&text)?,
            holds: verification.holds(),
            recomputed: verification.recomputed,
        };
        Ok(Decided::of(&self.short(&view)?, took, proof)?)
    }

    /// Opens it and waits for the decision.
    pub(super) async fn decide(&self, open: OpenNegotiation) -> Result<Decided, SceneError> {
        self.decided(self.open(open).await?).await
    }

    /// Without the run's name before each name: who reads it has seen it often enough.
    fn short(&self, view: &NegotiationView) -> Result<NegotiationView, serde_json::Error> {
        serde_json::from_str(&serde_json::to_string(view)?.replace(&format!("{}-", self.run), ""))
    }
}

fn digest(certificate: &str) -> Result<String, serde_json::Error> {
    #[derive(serde::Deserialize)]
    struct Digest {
        digest: String,
    }
    Ok(serde_json::from_str::<Digest>(certificate)?.digest)
}
