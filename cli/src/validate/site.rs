//! Where the checks are made: clients of every kind, and an agent that answers what it is asked.

use super::replies::{self, ends, read_until};
use super::staff::Staff;
use super::{Broken, Figure};
use crate::mesh::{Api, Ground};
use agent_sdk::{Client, Mesh};
use serde_json::{Value, json};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use synod_infra::kafka::{KafkaConfig, Producer, Readers};
use synod_infra::redis::Redis;
use synod_protocol::http::Message;
use synod_protocol::{Code, ContentType, Envelope, Error, Id, Json, Limits, ReplyTo, Workspace, topics};
use tokio::sync::OnceCell;

/// How long an answer may take that should come at once.
pub(super) const SOON: Duration = Duration::from_secs(15);

/// Everything that a check needs.
pub struct Site {
    /// The mesh.
    pub(super) ground: Ground,
    /// Its HTTP API.
    pub(super) api: Api,
    /// Its SDK.
    pub(super) mesh: Mesh,
    /// The SDK's client.
    pub(super) client: Client,
    pub(super) producer: Producer,
    pub(super) readers: Readers,
    pub(super) redis: Redis,
    run: String,
    fresh: std::sync::atomic::AtomicU32,
    /// Who is to be taken out of the fleet at the end.
    made: Mutex<Vec<Id>>,
    staff: OnceCell<Staff>,
    measured: Mutex<Vec<Figure>>,
    disruptive: bool,
}

impl Site {
    /// Connects to everything, without waiting for any of it. `disruptive`: nobody else works on this mesh, so that a coordinator
    /// may be killed and Redis be wiped; so it is with a mesh of our own.
    ///
    /// # Errors
    /// Settings that cannot be used at all; what cannot be reached is for the checks to find out.
    pub fn open(ground: Ground, disruptive: bool) -> Result<Site, Broken> {
        let random = uuid::Uuid::now_v7().simple().to_string();
        let run = format!("validate-{}", random.get(20..).unwrap_or(&random));
        let unusable = |error: &dyn std::fmt::Display| Error::new(Code::InvalidArgument, error.to_string());
        let dialling = &ground.dialling;
        let producer = Producer::new(&dialling.kafka).map_err(|e| unusable(&e))?;
        let readers = Readers::new(&dialling.kafka).map_err(|e| unusable(&e))?;
        let redis = Redis::new(dialling.redis.clone())?;
        let mesh = Mesh::connect(dialling.sdk())?;
        Ok(Site {
            api: ground.api.clone(),
            client: mesh.client(),
            mesh,
            producer,
            readers,
            redis,
            run,
            fresh: std::sync::atomic::AtomicU32::new(0),
            made: Mutex::default(),
            staff: OnceCell::new(),
            measured: Mutex::default(),
            disruptive: disruptive || ground.is_own(),
            ground,
        })
    }

    /// Makes what the checks need in the mesh: the topic of replies, and an agent.
    ///
    /// # Errors
    /// The mesh does not take them.
    pub async fn prepare(&self) -> Result<(), Broken> {
        replies::make(&self.ground.topics()).await?;
        self.staff().await.map(drop)
    }

    /// Whether others would not be disturbed.
    pub(super) fn may_disrupt(&self) -> bool {
        self.disruptive
    }

    /// Something was measured.
    pub(super) fn measured(&self, figure: Figure) {
        self.measured.lock().unwrap_or_else(PoisonError::into_inner).push(figure);
    }

    /// What was measured, in its order.
    pub(super) fn figures(&self) -> Vec<Figure> {
        self.measured.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The workspace that it works in.
    pub(super) fn workspace(&self) -> Workspace {
        self.ground.dialling.workspace.clone()
    }

    /// How a client reaches Kafka.
    pub(super) fn kafka(&self) -> &KafkaConfig {
        &self.ground.dialling.kafka
    }

    /// A name that nobody else has: it begins with this run's.
    pub(super) fn fresh(&self, what: &str) -> String {
        let number = self.fresh.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        format!("{}-{what}-{number}", self.run)
    }

    /// A capability of this run's own.
    pub(super) fn capability(&self, what: &str) -> String {
        format!("{}.{what}", self.run)
    }

    /// An agent that some check makes, to be taken out of the fleet at the end.
    pub(super) fn will_make(&self, id: &Id) {
        self.made.lock().unwrap_or_else(PoisonError::into_inner).push(id.clone());
    }

    /// Our agent.
    pub(super) async fn staff(&self) -> Result<&Staff, Broken> {
        self.staff.get_or_try_init(|| Staff::start(&self.mesh, &self.run)).await
    }

    /// A command's envelope, its answer wanted on the topic of replies.
    pub(super) fn envelope(&self, ty: &str) -> Envelope {
        let now = jiff::Timestamp::now().as_millisecond();
        Envelope {
            time: Some(synod_protocol::Timestamp::from_millis(now)),
            workspace: self.ground.dialling.workspace.clone(),
            reply_to: Some(ReplyTo::Kafka(replies::TOPIC.to_owned())),
            ..Envelope::new(uuid::Uuid::now_v7().to_string(), "/synod/validate", ty)
        }
    }

    /// Sends a command through Kafka and waits for its reply: the entity, or the refusal.
    pub(super) async fn through_kafka(
        &self,
        envelope: &Envelope,
        root: &str,
        payload: &[u8],
    ) -> Result<Result<Json, Error>, Broken> {
        let since = ends(&self.readers, replies::TOPIC).await?;
        self.producer.publish_bytes(topics::COMMANDS, root, envelope, payload, SOON).await?;
        let mut reply = None;
        let take = |record: synod_infra::kafka::RawRecord| match record.envelope() {
            Ok(found) if found.causation_id.as_deref() == Some(&envelope.id) => {
                reply = Some((found.ty, record.payload.unwrap_or_default()));
                true
            }
            _ => false,
        };
        read_until(&self.readers, replies::TOPIC, since, SOON, take).await?;
        match reply {
            Some((ty, bytes)) if ty == "synod.reply" => Ok(Ok(serde_json::from_slice(&bytes)?)),
            Some((ty, bytes)) if ty == "synod.rejected" => Ok(Err(serde_json::from_slice(&bytes)?)),
            Some((ty, _)) => Err(Broken::promise(format!("a reply of type {ty} came"))),
            None => Err(Broken::promise("no reply came")),
        }
    }

    /// Sends a command through the quick door, in structured mode.
    pub(super) async fn through_http(&self, envelope: &Envelope, payload: &Value) -> Result<Value, Error> {
        let body = Message::structured(envelope, &Json::from(payload.clone()));
        let headers = [("content-type", synod_protocol::http::STRUCTURED)];
        self.api.post_raw("/v1/commands", &headers, body).await.map(|(_, entity)| entity)
    }

    /// The body of a task for the agent that echoes.
    pub(super) fn echo_task(&self, id: &str, input: &Value) -> Value {
        json!({ "task_id": id, "capability": self.capability("echo"), "input": input })
    }

    /// A command's payload in the other codec.
    pub(super) fn in_bincode(ty: &str, payload: &Value) -> Result<Vec<u8>, Error> {
        let json = payload.to_string();
        let limits = Limits::default();
        synod_protocol::Command::decode(ty, ContentType::Json, json.as_bytes(), &limits)?
            .encode(ContentType::Bincode)
    }

    /// Takes everything of ours out of the mesh, and ends the mesh if it is our own.
    pub async fn leave(self, limit: Duration) {
        if let Some(staff) = self.staff.into_inner() {
            self.made.lock().unwrap_or_else(PoisonError::into_inner).push(staff.id().clone());
            staff.end().await;
        }
        for id in self.made.into_inner().unwrap_or_else(PoisonError::into_inner) {
            match self.api.delete(&format!("/v1/agents/{id}")).await {
                Ok(_) => {}
                Err(error) if matches!(error.code, Code::NotFound | Code::InvalidTransition) => {}
                Err(error) => tracing::warn!(agent = %id, %error, "the agent stays in the fleet"),
            }
        }
        self.ground.leave(limit).await;
    }
}

impl std::fmt::Debug for Site {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Site").field("run", &self.run).finish_non_exhaustive()
    }
}
