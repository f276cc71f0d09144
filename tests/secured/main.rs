//! Secured services, for real: a mesh works over TLS with users and keys, and each thing that is wrong is one clear line.

mod http;
mod kafka;
mod redis;
mod site;
mod works;
