//! Who runs three steps: Synod, or Restate in one of the two forms that it has for them.

use super::super::BenchError;
use super::super::site::LIMIT;
use agent_sdk::Client;
use agent_sdk::workflow::execution;
use serde_json::Value;
use std::fmt;

/// One of those that are compared; a cheap clone.
#[derive(Clone, Debug)]
pub(super) enum Peer {
    /// A workflow of three steps, each a task that an agent of the SDK does.
    Synod { client: Client, workflow: String },
    /// A workflow of Restate's, keyed by the run's id.
    Restate { http: reqwest::Client, ingress: String, form: Form },
}

/// How Restate does a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// By a call of another service: as here a step is done by an agent. It is what is compared.
    Calls,
    /// By `ctx.run` in the workflow's own handler: its result is kept, but nobody else is asked.
    Runs,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Peer::Synod { .. } => "synod, a task for each step",
            Peer::Restate { form: Form::Calls, .. } => "restate, a call for each step",
            Peer::Restate { form: Form::Runs, .. } => "restate, ctx.run for each step",
        })
    }
}

impl Peer {
    /// One of Restate's.
    ///
    /// # Errors
    /// No HTTP client can be made.
    pub(super) fn restate(ingress: &str, form: Form) -> Result<Peer, BenchError> {
        let http = reqwest::Client::builder().no_proxy().timeout(LIMIT).build()?;
        Ok(Peer::Restate { http, ingress: ingress.trim_end_matches('/').to_owned(), form })
    }

    /// Starts a run with this input and waits for its output, which has to be the same.
    ///
    /// # Errors
    /// It was refused, has failed, is late, or its output is another.
    pub(super) async fn run(&self, input: &str) -> Result<(), BenchError> {
        let output = match self {
            Peer::Synod { client, workflow } => {
                client.execute::<Value>(execution(workflow).input(input), LIMIT).await?.output
            }
            Peer::Restate { http, ingress, form } => {
                let name = match form {
                    Form::Calls => "calls",
                    Form::Runs => "runs",
                };
                let id = uuid::Uuid::now_v7().simple();
                let asked = http.post(format!("{ingress}/{name}/{id}/run")).json(input);
                asked.send().await?.error_for_status()?.json().await?
            }
        };
        match output == input {
            true => Ok(()),
            false => {
                Err(BenchError::Missing(format!("{self}: the output is {output}, the input was {input}")))
            }
        }
    }
}
