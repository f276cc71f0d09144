//! Who can do the work: registry, balancing, failure detection, as arithmetic on values.
