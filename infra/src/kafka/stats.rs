//! What a client last said about itself, for `/metrics` and health.

use crate::telemetry::names;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// One client's figures, as of its last statistics interval.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientStats {
    /// The client's id.
    pub client_id: String,
    /// Records waiting in the client (producer: for their acknowledgement).
    pub queue_records: u64,
    /// Their bytes.
    pub queue_bytes: u64,
    /// Requests sent, all brokers.
    pub tx: u64,
    /// Responses received, all brokers.
    pub rx: u64,
    /// Known brokers, by `host:port`.
    pub brokers: BTreeMap<String, BrokerStats>,
}

/// One broker, as a client sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BrokerStats {
    /// Whether the connection is up.
    pub up: bool,
    /// Round trip of requests, mean of the last interval, in microseconds.
    pub rtt_avg_us: u64,
    /// Round trip of requests, 99th percentile of the last interval, in microseconds.
    pub rtt_p99_us: u64,
    /// Requests not yet sent.
    pub waiting_requests: u64,
    /// Requests sent and not yet answered.
    pub open_requests: u64,
    /// Requests that could not be sent, since start.
    pub tx_errors: u64,
    /// Responses that could not be read, since start.
    pub rx_errors: u64,
    /// Requests sent again, since start.
    pub tx_retries: u64,
    /// Requests that were not answered in time, since start.
    pub timeouts: u64,
}

/// Where the context leaves the statistics and the handles pick them up.
#[derive(Clone, Default)]
pub(super) struct StatsCell {
    latest: Arc<Mutex<Option<ClientStats>>>,
    /// Requests that the metrics have been told of.
    told: Arc<Mutex<BTreeMap<String, u64>>>,
}

impl StatsCell {
    pub(super) fn latest(&self) -> Option<ClientStats> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes librdkafka's statistics (STATISTICS.md there names the fields).
    pub(super) fn take(&self, json: &[u8]) -> Result<(), serde_json::Error> {
        let raw: Raw = serde_json::from_slice(json)?;
        self.tell(raw.requests());
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner) = Some(raw.into());
        Ok(())
    }

    /// Counts what has been sent since the last time: a process has many clients, and the metric is of them all.
    fn tell(&self, requests: BTreeMap<String, u64>) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        for (kind, count) in &requests {
            let more = count.saturating_sub(told.get(kind).copied().unwrap_or(0));
            metrics::counter!(names::KAFKA_REQUESTS_TOTAL, "kind" => kind.clone()).increment(more);
        }
        *told = requests;
    }
}

#[derive(Deserialize)]
struct Raw {
    client_id: String,
    msg_cnt: u64,
    msg_size: u64,
    tx: u64,
    rx: u64,
    #[serde(default)]
    brokers: BTreeMap<String, RawBroker>,
}

#[derive(Deserialize)]
struct RawBroker {
    nodeid: i32,
    nodename: String,
    state: String,
    #[serde(default)]
    outbuf_cnt: i64,
    #[serde(default)]
    waitresp_cnt: i64,
    #[serde(default)]
    txerrs: u64,
    #[serde(default)]
    rxerrs: u64,
    #[serde(default)]
    txretries: u64,
    #[serde(default)]
    req_timeouts: u64,
    #[serde(default)]
    rtt: RawWindow,
    /// Requests sent, by kind; those that never were stand as 0.
    #[serde(default)]
    req: BTreeMap<String, u64>,
}

impl Raw {
    fn requests(&self) -> BTreeMap<String, u64> {
        let mut all = BTreeMap::new();
        for (kind, count) in self.brokers.values().flat_map(|broker| &broker.req) {
            *all.entry(kind.clone()).or_insert(0) += count;
        }
        all.retain(|_, count| *count > 0);
        all
    }
}

#[derive(Deserialize, Default)]
struct RawWindow {
    avg: i64,
    p99: i64,
}

impl From<Raw> for ClientStats {
    fn from(raw: Raw) -> ClientStats {
        // Bootstrap and coordinator entries (nodeid -1) double the real brokers.
        let brokers = raw.brokers.into_values().filter(|b| b.nodeid >= 0).map(|b| {
            let stats = BrokerStats {
                up: b.state == "UP",
                rtt_avg_us: b.rtt.avg.max(0).unsigned_abs(),
                rtt_p99_us: b.rtt.p99.max(0).unsigned_abs(),
                waiting_requests: b.outbuf_cnt.max(0).unsigned_abs(),
                open_requests: b.waitresp_cnt.max(0).unsigned_abs(),
                tx_errors: b.txerrs,
                rx_errors: b.rxerrs,
                tx_retries: b.txretries,
                timeouts: b.req_timeouts,
            };
            (b.nodename, stats)
        });
        ClientStats {
            client_id: raw.client_id,
            queue_records: raw.msg_cnt,
            queue_bytes: raw.msg_size,
            tx: raw.tx,
            rx: raw.rx,
            brokers: brokers.collect(),
        }
    }
}
