//! Records, the counting rule, fold, and the entities of a shard: decide, apply, effects.
