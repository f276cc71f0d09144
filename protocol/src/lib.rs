//! The words everyone speaks: ids, time, commands, events, envelope, codec, topics.
