//! A worker on nothing but Kafka, as the contract tells it.

use crate::client::{Client, fresh, message};
use crate::mesh::Mesh;
use crate::process::eventually;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use synod_infra::kafka::{Outgoing, PartitionReader, Start};
use synod_protocol::{Envelope, topics};
use tokio::task::JoinSet;

/// What an agent does with its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Completes with the input as output.
    Echo,
    /// Fails, and says that another try may help.
    Fail,
    /// Never answers.
    Silent,
}

/// What an agent was given.
#[derive(Clone, Debug)]
pub struct Assignment {
    /// The task.
    pub task_id: String,
    /// Which attempt.
    pub attempt: u64,
    /// Its secret.
    pub token: String,
}

impl Assignment {
    /// A result of it.
    pub fn result(&self, output: &Value) -> Value {
        json!({"task_id": self.task_id, "attempt": self.attempt, "attempt_token": self.token, "output": output})
    }
}

/// A running agent. Dropping it is its death: no word of farewell, no heartbeat.
pub struct Agent {
    /// Its id.
    pub id: String,
    /// What it can.
    pub capability: String,
    given: Arc<Mutex<VecDeque<Assignment>>>,
    _work: JoinSet<()>,
}

impl Agent {
    /// Registers an agent with a capability of its own and waits until the mesh knows it.
    pub async fn join(mesh: &Mesh, manner: Manner) -> Agent {
        Agent::with(mesh, manner, &fresh("cap"), 64).await
    }

    /// The same with this capability and room.
    pub async fn with(mesh: &Mesh, manner: Manner, capability: &str, max_concurrency: u32) -> Agent {
        let (id, incarnation) = (fresh("agent"), uuid::Uuid::new_v4().to_string());
        let inbox = format!("{}{id}", topics::INBOX_PREFIX);
        let client = Arc::new(Client::of(mesh));
        let value = json!({"agent_id": id, "incarnation": incarnation, "capabilities": [capability],
            "max_concurrency": max_concurrency, "delivery": {"kafka": {"topic": inbox}}});
        let ce_id = fresh("register");
        client
            .append(Client::record(&id, &Envelope::new(ce_id, "/tests", "synod.agent.register"), &value))
            .await;
        let path = format!("/v1/agents/{id}");
        eventually("the agent is known", Duration::from_secs(20), || async {
            Some(client.get(&path).await).filter(|answer| answer.status == 200)
        })
        .await;
        let given = Arc::new(Mutex::new(VecDeque::new()));
        let mut work = JoinSet::new();
        work.spawn(beat(client.clone(), id.clone(), incarnation));
        work.spawn(serve(client, inbox, manner, given.clone()));
        Agent { id, capability: capability.to_owned(), given, _work: work }
    }

    /// The next thing that it was given.
    pub async fn given(&self) -> Assignment {
        eventually("the agent is given something", Duration::from_secs(20), || {
            let next = self.given.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            std::future::ready(next)
        })
        .await
    }
}

async fn beat(client: Arc<Client>, id: String, incarnation: String) {
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    loop {
        tick.tick().await;
        let value = json!({"agent_id": id, "incarnation": incarnation, "in_flight": []});
        let envelope = Envelope::new(fresh("beat"), "/tests", "synod.agent.heartbeat");
        let out = Outgoing::to(topics::HEARTBEATS).key(id.as_str()).envelope(&envelope);
        // Kafka may be away for longer than an acknowledgement is waited for; the next beat is as good.
        client.throw(out.payload(value.to_string()));
    }
}

async fn serve(client: Arc<Client>, inbox: String, manner: Manner, given: Arc<Mutex<VecDeque<Assignment>>>) {
    // The coordinator makes the topic when it first delivers.
    let partitions = loop {
        match client.readers.partitions(&inbox, Duration::from_secs(5)).await {
            Ok(Some(partitions)) => break partitions,
            Ok(None) | Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    };
    let mut reading = JoinSet::new();
    for partition in 0..partitions {
        let reader = client.readers.open(&inbox, partition as i32, Start::Beginning).expect("a reader");
        reading.spawn(read(client.clone(), reader, manner, given.clone()));
    }
    while reading.join_next().await.is_some() {}
}

async fn read(
    client: Arc<Client>,
    mut reader: PartitionReader,
    manner: Manner,
    given: Arc<Mutex<VecDeque<Assignment>>>,
) {
    loop {
        let record = match reader.next(Duration::from_secs(3600)).await {
            Ok(Some(record)) => record,
            Ok(None) => continue,
            Err(error) => {
                eprintln!("an agent reads again: {error}");
                tokio::time::sleep(Duration::from_millis(200)).await;
                continue;
            }
        };
        let message = message(&record);
        if message.envelope.ty != "synod.task.assigned" {
            continue;
        }
        let assignment = Assignment {
            task_id: message.value["task_id"].as_str().unwrap_or_default().to_owned(),
            attempt: message.value["attempt"].as_u64().unwrap_or_default(),
            token: message.value["attempt_token"].as_str().unwrap_or_default().to_owned(),
        };
        let mut result = assignment.result(&message.value["input"]);
        given.lock().unwrap_or_else(PoisonError::into_inner).push_back(assignment);
        let ty = match manner {
            Manner::Silent => continue,
            Manner::Echo => "synod.task.complete",
            Manner::Fail => {
                result["error"] = json!({"code": "broken", "message": "it is broken", "retryable": true});
                result.as_object_mut().expect("an object").remove("output");
                "synod.task.fail"
            }
        };
        let key = String::from_utf8_lossy(record.key.as_deref().unwrap_or_default()).into_owned();
        client.throw(Client::record(&key, &Envelope::new(fresh("result"), "/tests", ty), &result));
    }
}
