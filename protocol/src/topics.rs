//! Topics, and where a key lives.

/// What is asked; key: the root's id.
pub const COMMANDS: &str = "synod.commands.v1";
/// Claims, steps and images; written by the shard's owner alone.
pub const LEDGER: &str = "synod.ledger.v1";
/// One CloudEvent per event.
pub const EVENTS: &str = "synod.events.v1";
/// The directory of agents.
pub const AGENTS: &str = "synod.agents.v1";
/// The mirror of shared state.
pub const STATE: &str = "synod.state.v1";
/// Signs of life of agents without Redis.
pub const HEARTBEATS: &str = "synod.heartbeats.v1";
/// What a delivery topic's name begins with.
pub const INBOX_PREFIX: &str = "synod.inbox.";
/// What a reply topic's name begins with.
pub const REPLY_PREFIX: &str = "synod.reply.";

/// The root id of what concerns the fleet as a whole: its shard decides what is paused.
pub const FLEET_ROOT: &str = "synod.fleet";
/// The key under which the directory has the pauses in force; no agent's id holds a colon.
pub const FLEET_KEY: &str = ":pauses";

/// How a key of the directory begins under which a workflow's newest version stands: then `<workspace>/<id>`.
pub const WORKFLOW_KEY: &str = ":workflow:";

/// The topic for what could not be handled on `topic`.
pub fn dlq(topic: &str) -> String {
    format!("dlq.{topic}")
}

/// Whether Kafka takes this as a topic's name: 1 to 249 of `A-Z a-z 0-9 . _ -`.
pub fn is_topic_name(name: &str) -> bool {
    (1..=249).contains(&name.len())
        && name != "."
        && name != ".."
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

/// The partition of a key, as Kafka's Java client places it: `murmur2 & 0x7fffffff` modulo `partitions` (> 0).
pub fn partition(key: &[u8], partitions: u32) -> u32 {
    (murmur2(key) & 0x7fff_ffff).unsigned_abs() % partitions
}

/// MurmurHash2, 32 bit, with the seed of Kafka's `Utils.murmur2` (0x9747b28c).
pub fn murmur2(data: &[u8]) -> i32 {
    const M: u32 = 0x5bd1_e995;
    const R: u32 = 24;
    // Kafka's length is a Java int: the cast wraps where Java's would.
    let mut h: u32 = 0x9747_b28c ^ (data.len() as u32);
    let mut words = data.chunks_exact(4);
    for word in words.by_ref() {
        let mut k = u32::from_le_bytes([word[0], word[1], word[2], word[3]]);
        k = k.wrapping_mul(M);
        k ^= k >> R;
        k = k.wrapping_mul(M);
        h = h.wrapping_mul(M) ^ k;
    }
    let rest = words.remainder();
    if !rest.is_empty() {
        for (i, byte) in rest.iter().enumerate() {
            h ^= u32::from(*byte) << (8 * i);
        }
        h = h.wrapping_mul(M);
    }
    h ^= h >> 13;
    h = h.wrapping_mul(M);
    h ^= h >> 15;
    h as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_land_where_the_java_client_puts_them() {
        // From kafka-clients 3.9.1, Utils.murmur2 and BuiltInPartitioner, for 1, 8, 12 and 64 partitions.
        let check = |key: &[u8], hash, places: [u32; 4]| {
            assert_eq!(murmur2(key), hash, "{key:?}");
            assert_eq!([1, 8, 12, 64].map(|n| partition(key, n)), places, "{key:?}");
        };
        check(b"", 275_646_681, [0, 1, 9, 25]);
        check(b"21", -973_932_308, [0, 4, 0, 44]);
        check(b"task:42", 1_165_195_734, [0, 6, 6, 22]);
        check("ключ".as_bytes(), 2_122_343_024, [0, 0, 8, 48]);
        check("👩\u{200d}💻".as_bytes(), -1_466_034_701, [0, 3, 3, 51]);
        check(b"\xff", -311_467_685, [0, 3, 3, 27]);
        check(b"oxyimcfip6nzb35", -1_982_212_035, [0, 5, 5, 61]);
    }
}
