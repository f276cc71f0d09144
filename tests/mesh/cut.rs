//! A Redis that one agent alone cannot reach for a moment: nothing that it holds is given to others.

use crate::loss::{SOON, Signs, TURN, health, submit, task};
use serde_json::json;
use std::time::Duration;
use synod_tests::{Client, Ground, Mesh, eventually, fresh};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// How long the cut lasts: shorter than what makes a loss of an absence.
const CUT: Duration = Duration::from_millis(150);

/// A way to Redis that can be cut: every connection breaks, and no new one stands until it is whole again.
struct Cable {
    url: String,
    whole: watch::Sender<bool>,
    _carrying: JoinSet<()>,
}

impl Cable {
    async fn to(redis: &str) -> Cable {
        let target = redis.trim_start_matches("redis://").trim_end_matches('/').to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("redis://{}", listener.local_addr().expect("its address"));
        let (whole, seen) = watch::channel(true);
        let mut carrying = JoinSet::new();
        carrying.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                if *seen.borrow() {
                    connections.spawn(carry(client, target.clone(), seen.clone()));
                }
            }
        });
        Cable { url, whole, _carrying: carrying }
    }

    async fn cut(&self) {
        self.whole.send_replace(false);
        tokio::time::sleep(CUT).await;
        self.whole.send_replace(true);
    }
}

async fn carry(mut client: TcpStream, target: String, mut whole: watch::Receiver<bool>) {
    let Ok(mut server) = TcpStream::connect(target).await else { return };
    tokio::select! {
        _ = copy_bidirectional(&mut client, &mut server) => {}
        _ = whole.wait_for(|whole| !whole) => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_cut_for_a_moment_costs_an_agent_nothing() {
    let _turn = TURN.lock().await;
    let mesh = Mesh::shared(Ground::Embedded).await;
    let (client, capability) = (Client::of(&mesh), fresh("cap"));
    let cable = Cable::to(&mesh.redis).await;
    let mut agent = Signs::through(&cable.url, &client, &capability, 4).await;
    let other = Signs::of(&mesh, &client, &capability, 1).await;
    let mut held = Vec::new();
    while held.is_empty() {
        let id = submit(&client, &capability, &json!({})).await;
        let chosen = task(&client, &id).await["attempts"][0]["agent_id"].clone();
        if chosen == agent.id.as_str() {
            assert_eq!(agent.given().await.0, id);
            held.push(id);
        }
    }
    agent.is_seen().await;
    for _ in 0..3 {
        cable.cut().await;
        let until = agent.beats().await + 2;
        eventually("two heartbeats", SOON, || async { (agent.beats().await >= until).then_some(()) }).await;
        assert_eq!(health(&client, &agent.id).await, "healthy");
    }
    for id in &held {
        let seen = task(&client, id).await;
        assert_eq!(seen["attempts"].as_array().map(Vec::len), Some(1), "{seen}");
    }
    for agent in [agent, other] {
        agent.leaves(&client).await;
    }
}
