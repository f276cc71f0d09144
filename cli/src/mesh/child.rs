//! This very program as a child, on the same mesh as we are.

use super::dialling::Dialling;
use secrecy::ExposeSecret as _;
use std::io;
use std::path::Path;
use std::process::Stdio;
use tokio::process::Command;

/// A command that runs this program, told by environment where the mesh is (a password in Redis' URL
/// would stand in the list of processes). Killed when dropped, and in a group of its own, since Ctrl-C is
/// ours to handle. Its stdin is a pipe: one that closes when we end, however we end.
///
/// # Errors
/// The system does not say which program we are.
pub fn this_program(mesh: &Dialling) -> io::Result<Command> {
    // This very file, though an update may have put another one in its place meanwhile.
    let ourselves = Path::new("/proc/self/exe");
    let program = if ourselves.exists() { ourselves.to_owned() } else { std::env::current_exe()? };
    let mut command = Command::new(program);
    command
        .arg0("synod")
        .env("SYNOD_HTTP_URL", &mesh.http)
        .env("SYNOD_REDIS_URL", mesh.redis.url.expose_secret())
        .env("SYNOD_KAFKA_BROKERS", &mesh.kafka.brokers)
        .env("SYNOD_WORKSPACE", mesh.workspace.as_str())
        .env_remove("SYNOD_ENDPOINTS")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .process_group(0)
        .kill_on_drop(true);
    Ok(command)
}
