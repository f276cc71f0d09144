//! Rendezvous hashing: who comes or goes moves only what is his.

use std::collections::BTreeSet;
use synod_protocol::Id;

/// To whom of these a shard belongs: whose hash with it is the greatest.
pub fn rendezvous(shard: u32, among: &BTreeSet<Id>) -> Option<&Id> {
    among.iter().max_by_key(|id| weight(shard, id))
}

fn weight(shard: u32, id: &Id) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&shard.to_le_bytes());
    hasher.update(id.as_str().as_bytes());
    *hasher.finalize().as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(names: &[&str]) -> BTreeSet<Id> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    #[test]
    fn it_is_the_same_for_ever() {
        // Two builds must not differ in this, or they would duel.
        let among = ids(&["a", "b", "c"]);
        let to: String = (0..16).map(|shard| rendezvous(shard, &among).unwrap().to_string()).collect();
        assert_eq!(to, "bcbbabcabacbbcab");
        assert_eq!(rendezvous(0, &BTreeSet::new()), None);
    }

    proptest::proptest! {
        #[test]
        fn who_comes_takes_only_what_becomes_his(names in proptest::collection::btree_set("[a-z]{1,12}", 1..6), new in "[0-9]{1,9}") {
            let before: BTreeSet<Id> = names.iter().map(|name| name.parse().unwrap()).collect();
            let new: Id = new.parse().unwrap();
            let mut after = before.clone();
            after.insert(new.clone());
            for shard in 0..256 {
                let (old, now) = (rendezvous(shard, &before).unwrap(), rendezvous(shard, &after).unwrap());
                assert!(old == now || *now == new, "shard {shard} went from {old} to {now}");
            }
        }

        #[test]
        fn each_has_about_its_part(names in proptest::collection::btree_set("[a-z0-9]{4,12}", 2..6)) {
            let among: BTreeSet<Id> = names.iter().map(|name| name.parse().unwrap()).collect();
            for id in &among {
                let part = (0..4096).filter(|shard| rendezvous(*shard, &among) == Some(id)).count() * among.len();
                assert!((3072..=5120).contains(&part), "{id} has {part} of 4096, scaled");
            }
        }
    }
}
