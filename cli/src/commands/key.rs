//! `synod key`: an API key for clients, and its hash for coordinators.

use crate::output::{Format, Output, Stop};
use secrecy::ExposeSecret as _;
use std::io::{Read as _, Write};
use synod_coordinator::NewKey;

/// Where randomness comes from.
const RANDOM: &str = "/dev/urandom";

pub(super) fn run(output: &mut Output<impl Write>) -> Result<(), Stop> {
    let mut random = [0; 32];
    let read = std::fs::File::open(RANDOM).and_then(|mut file| file.read_exact(&mut random));
    read.map_err(|error| Stop::Failed(format!("{RANDOM}: {error}")))?;
    let made = NewKey::make(random);
    match output.format() {
        Format::Table => {
            output.text(&format!("key   {}\nhash  {}\n", made.key.expose_secret(), made.hash))?;
            super::note(
                "The key is shown this once. Clients: SYNOD_API_KEY. Coordinators: the hash in SYNOD_HTTP_KEYS.",
            );
            Ok(())
        }
        Format::Json | Format::Yaml => {
            output.structured(&serde_json::json!({"key": made.key.expose_secret(), "hash": made.hash}))
        }
    }
}
