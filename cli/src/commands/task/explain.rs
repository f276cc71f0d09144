//! `synod task explain`: why its attempts went where they went, and what it waits for.

use crate::explanation;
use crate::mesh::Api;
use crate::output::{Format, Output, Stop};
use std::io::Write;
use std::time::Duration;
use synod_protocol::EntityId;

pub(super) async fn run(api: &Api, id: &EntityId, output: &mut Output<impl Write>) -> Result<(), Stop> {
    let path = format!("{}/explanation", super::path(id));
    let told = api.get(&path, &[], Duration::ZERO).await?;
    match output.format() {
        Format::Table => output.text(&explanation::told(&told)),
        Format::Json | Format::Yaml => output.entity(&told),
    }
}
