//! Which shards a coordinator should own, by rendezvous over the leases that it last heard of. Claims decide; this only
//! says who should try.

/// What a coordinator believes of the leases.
#[derive(Debug, Default)]
pub(crate) struct Tenure {
    table: Vec<usize>,
    /// Redis knew our lease when we last renewed it.
    held: bool,
    /// Nothing that we do not hold is claimed before this.
    claim_from: u64,
}

impl Tenure {
    /// Redis has answered a renewal.
    pub(crate) fn heard(&mut self, renewed: bool, table: Vec<usize>, now: u64, lease: u64) {
        if self.held && !renewed {
            // It has forgotten us, and so perhaps everybody: their leases are back within one lease.
            self.claim_from = now + lease;
        }
        self.held = true;
        self.table = table;
    }

    /// Whether the shard should be this coordinator's.
    pub(crate) fn is_entitled(&self, node: usize, shard: u32) -> bool {
        let weight = |node: usize| {
            let mut hash = blake3::Hasher::new();
            hash.update(&(node as u64).to_le_bytes()).update(&shard.to_le_bytes());
            *hash.finalize().as_bytes()
        };
        self.held && self.table.iter().copied().max_by_key(|other| weight(*other)) == Some(node)
    }

    /// Whether a shard that is not held may be claimed now.
    pub(crate) fn may_claim(&self, now: u64) -> bool {
        now >= self.claim_from
    }

    /// Who, as far as is known, owns a shard: for passing a request on.
    pub(crate) fn owner_of(&self, shard: u32) -> Option<usize> {
        self.table.iter().copied().find(|node| self.is_entitled(*node, shard))
    }
}
