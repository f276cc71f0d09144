//! A master, its replica, and three Sentinels over them: whoever is master is found, by every kind of connection.

use super::{SECOND, ask, until};
use redis::aio::MultiplexedConnection;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use synod_infra::redis::inbox::{Delivered, Delivery, InboxReader, Inboxes};
use synod_infra::redis::presence::{Presence, PresenceHold};
use synod_infra::redis::{Redis, RedisConfig, keys};
use synod_protocol::{Id, Incarnation, Workspace};

/// A server that ends with the test.
struct Server {
    child: Child,
    port: u16,
}

impl Server {
    fn start(folder: &tempfile::TempDir, name: &str, lines: &str, sentinel: bool) -> Server {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let file = folder.path().join(format!("{name}.conf"));
        let dir = folder.path().join(name);
        std::fs::create_dir(&dir).unwrap();
        std::fs::write(&file, format!("port {port}\nbind 127.0.0.1\ndir {}\n{lines}", dir.display()))
            .unwrap();
        let mut command = Command::new("redis-server");
        command.arg(&file).args(sentinel.then_some("--sentinel"));
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        Server { child: child.expect("redis-server must be installed for these tests"), port }
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    async fn connect(&self) -> MultiplexedConnection {
        let began = Instant::now();
        loop {
            let client = redis::Client::open(self.url()).unwrap();
            match client.get_multiplexed_async_connection().await {
                Ok(connection) => return connection,
                Err(error) => assert!(began.elapsed() < 10 * SECOND, "{}: {error}", self.url()),
            }
            tokio::time::sleep(Duration::from_millis(5)).await; // the condition is asked again
        }
    }

    /// Whether it says that it is `role`. Whoever takes another drops its connections.
    async fn is(&self, role: &str) -> bool {
        let mut connection = self.connect().await;
        let words = redis::cmd("ROLE").query_async::<Vec<redis::Value>>(&mut connection).await;
        words.is_ok_and(|words| words[0] == redis::Value::BulkString(role.as_bytes().to_vec()))
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Two servers, the second a replica of the first, and three Sentinels that know of both.
pub(super) struct Guarded {
    servers: [Server; 2],
    sentinels: Vec<Server>,
    _folder: tempfile::TempDir,
}

impl Guarded {
    pub(super) async fn start() -> Guarded {
        let folder = tempfile::tempdir().unwrap();
        let lines = "save \"\"\nappendonly no\nrepl-diskless-sync-delay 0\n";
        let first = Server::start(&folder, "first", lines, false);
        first.connect().await;
        let follows = format!("{lines}replicaof 127.0.0.1 {}\n", first.port);
        let second = Server::start(&folder, "second", &follows, false);
        let watches = format!(
            "sentinel monitor m 127.0.0.1 {} 2\nsentinel down-after-milliseconds m 300\nsentinel failover-timeout m 2000\n",
            first.port
        );
        let sentinels: Vec<Server> =
            (0..3).map(|n| Server::start(&folder, &format!("s{n}"), &watches, true)).collect();
        for sentinel in &sentinels {
            let mut asked = sentinel.connect().await;
            until("a Sentinel knows enough", 20 * SECOND, async || {
                let mut ask_quorum = redis::cmd("SENTINEL");
                ask_quorum.arg("ckquorum").arg("m");
                let quorum = ask_quorum.query_async::<String>(&mut asked).await;
                let quorum = quorum.is_ok_and(|word| word.starts_with("OK"));
                let replicas: Vec<redis::Value> = ask(&mut asked, &["SENTINEL", "replicas", "m"]).await;
                quorum && !replicas.is_empty()
            })
            .await;
        }
        Guarded { servers: [first, second], sentinels, _folder: folder }
    }

    pub(super) fn redis(&self) -> Redis {
        let hosts: Vec<String> = self.sentinels.iter().map(|s| format!("127.0.0.1:{}", s.port)).collect();
        Redis::new(RedisConfig::new(format!("redis-sentinel://{}/m", hosts.join(",")))).unwrap()
    }
}

impl Guarded {
    pub(super) fn kill_master(&mut self) {
        self.servers[0].kill();
    }

    /// Has the Sentinels make the replica the master, and waits until the master has heard. Until then it takes writes,
    /// which are lost: Redis replicates asynchronously.
    pub(super) async fn fail_over(&self) {
        let mut sentinel = self.sentinels[0].connect().await;
        let mut failover = redis::cmd("SENTINEL");
        failover.arg("FAILOVER").arg("m");
        until("the Sentinel finds the replica good enough", 30 * SECOND, async || {
            failover.query_async::<()>(&mut sentinel).await.is_ok()
        })
        .await;
        until("the replica is the master", 30 * SECOND, async || self.servers[1].is("master").await).await;
        until("the master is a replica", 30 * SECOND, async || self.servers[0].is("slave").await).await;
    }
}

fn notice(workspace: &Workspace, agent: &Id, body: &str) -> Delivery {
    let (workspace, agent) = (workspace.clone(), agent.clone());
    Delivery { workspace, agent, shard: 0, epoch: 1, attempt_id: None, urgent: false, body: body.to_owned() }
}

/// Every kind of connection that a handle has: the shared one, a pooled one, a blocking one, a subscription.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_the_master_was_killed_the_next_one_is_used() {
    let mut guarded = Guarded::start().await;
    let (workspace, agent): (Workspace, Id) = ("w-1".parse().unwrap(), "a".parse().unwrap());
    let incarnation: Incarnation = uuid::Uuid::new_v4().into();
    let redis = guarded.redis();
    let inboxes = Inboxes::new(redis.clone());
    let mut reader = InboxReader::new(redis.clone(), &workspace, &agent, &incarnation);
    let presence = PresenceHold::start(redis.clone(), &workspace, &agent, &incarnation);
    assert!(presence.wait_held(5 * SECOND).await);
    assert_eq!(inboxes.deliver(vec![notice(&workspace, &agent, "1")]).await, [Ok(Delivered::Accepted)]);
    assert!(matches!(reader.take(5 * SECOND).await, Ok(Some(_))));
    let before = redis.run_id().await.unwrap();
    guarded.servers[0].kill();
    until("the next master is used", 30 * SECOND, async || {
        inboxes.deliver(vec![notice(&workspace, &agent, "2")]).await == [Ok(Delivered::Accepted)]
    })
    .await;
    assert_ne!(redis.run_id().await.unwrap(), before);
    until("the blocking reader finds it", 10 * SECOND, async || {
        matches!(reader.take(SECOND).await, Ok(Some(_)))
    })
    .await;
    let (looks, channel) = (Presence::new(redis.clone()), keys::presence(&workspace, &agent, &incarnation));
    until("the subscription stands there", 10 * SECOND, async || {
        looks.present(std::slice::from_ref(&channel)).await.is_ok_and(|look| look.present == [true])
    })
    .await;
}

/// A server that has lost its role says `READONLY`, and its connections stand: they must be given up all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_that_was_made_a_replica_is_left() {
    let guarded = Guarded::start().await;
    let (workspace, agent): (Workspace, Id) = ("w-1".parse().unwrap(), "a".parse().unwrap());
    let redis = guarded.redis();
    let inboxes = Inboxes::new(redis.clone());
    assert_eq!(inboxes.deliver(vec![notice(&workspace, &agent, "1")]).await, [Ok(Delivered::Accepted)]);
    guarded.fail_over().await;
    let mut n = 1;
    until("calls go on", 10 * SECOND, async || {
        n += 1;
        inboxes.deliver(vec![notice(&workspace, &agent, &n.to_string())]).await == [Ok(Delivered::Accepted)]
    })
    .await;
    let mut second = guarded.servers[1].connect().await;
    let kept: Vec<String> = ask(&mut second, &["LRANGE", &keys::inbox(&workspace, &agent), "0", "-1"]).await;
    assert!(
        kept.iter().any(|body| *body == n.to_string()),
        "{kept:?} are at the new master, {n} was delivered"
    );
}

/// The Sentinels have not noticed yet; a read there would be answered, and be old.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_sentinels_call_master_and_is_none_is_not_used() {
    let guarded = Guarded::start().await;
    let mut first = guarded.servers[0].connect().await;
    ask::<()>(&mut first, &["REPLICAOF", "127.0.0.1", &guarded.servers[1].port.to_string()]).await;
    until("it is a replica", 10 * SECOND, async || guarded.servers[0].is("slave").await).await;
    let error = guarded.redis().ready().await.unwrap_err().to_string();
    assert!(error.contains("no master"), "{error}");
}

#[tokio::test]
async fn where_no_sentinel_answers_it_says_so_within_its_limit() {
    let config = RedisConfig::new("redis-sentinel://127.0.0.1:1,127.0.0.1:2/m");
    let limit = config.command_timeout;
    let redis = Redis::new(config).unwrap();
    let asked = tokio::time::timeout(limit + Duration::from_secs(5), redis.ready()).await;
    let error = asked.expect("within the limit").unwrap_err().to_string();
    assert!(error.contains("no Sentinel") && error.contains("127.0.0.1:2"), "{error}");
}
