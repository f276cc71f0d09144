//! Ctrl-C, SIGTERM and SIGHUP: asked to end, in good order.

use std::io;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that ask this process to end. From its making on they no longer end it by themselves.
#[derive(Debug)]
pub struct Ending {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Ending {
    /// Listens from now on. Needs a tokio runtime.
    ///
    /// # Errors
    /// The system's.
    pub fn listen() -> io::Result<Ending> {
        Ok(Ending {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Waits until one comes, and names it. Ask again for the next one: somebody is in a hurry.
    pub async fn asked(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.hangup.recv() => "SIGHUP",
        }
    }
}
