//! One call: put data where all can read it, have several agents analyse it, and put together what they say.

use super::define::IntoWorkflow;
use super::error::ExecutionError;
use super::patterns;
use super::request::execution_of;
use crate::client::Client;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;
use synod_protocol::workflow::Execution;
use synod_protocol::{Error, Json};
use synod_workflow::Problems;

/// Data to be shared, and who analyses it.
#[derive(Clone, Debug)]
pub struct ShareAndAnalyse {
    key: String,
    data: Result<Json, Error>,
    question: Json,
    analysts: Vec<(String, String)>,
    combine: Option<String>,
    id: Option<String>,
}

/// What each analyst is given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Analysis {
    /// The key of shared state under which the data stands.
    pub key: String,
    /// Its version: an older one is read with [`State::at`](crate::State::at).
    pub version: u64,
    /// What is asked of all of them; null where nothing was said.
    #[serde(default)]
    pub question: Json,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Analysed {
    /// The version under which the data was shared.
    pub version: u64,
    /// By analyst; null for one that failed.
    pub analyses: BTreeMap<String, Json>,
    /// What they were put together to, where that was wanted.
    pub combined: Option<Json>,
    /// The execution: attempts, agents, times, errors.
    pub execution: Execution,
}

/// Why there is no analysis.
#[derive(Debug, thiserror::Error)]
pub enum ShareError {
    /// The data could not be shared; nothing was started.
    #[error("shared state: {0}")]
    State(#[from] Error),
    /// An analyst has no name that a step could have, or no capability.
    #[error(transparent)]
    Problems(#[from] Problems),
    /// It was not accepted, or what became of it. The data is shared all the same.
    #[error(transparent)]
    Execution(#[from] ExecutionError),
}

impl ShareAndAnalyse {
    /// Shares data under a key of shared state.
    pub fn new(key: impl Into<String>, data: impl Serialize) -> ShareAndAnalyse {
        let data = Json::of(&data).map_err(|e| Error::invalid(format!("the data: {e}")).with_field("/data"));
        let (analysts, combine, id) = Default::default();
        ShareAndAnalyse { key: key.into(), data, question: Json::null(), analysts, combine, id }
    }

    /// What is asked of all of them, besides the data.
    #[must_use]
    pub fn question(mut self, question: impl Into<Json>) -> ShareAndAnalyse {
        self.question = question.into();
        self
    }

    /// One more analysis, under a name of its own (a letter or `_`, then letters, digits, `_`), by anybody with this capability.
    #[must_use]
    pub fn analyst(mut self, name: impl Into<String>, capability: impl Into<String>) -> ShareAndAnalyse {
        self.analysts.push((name.into(), capability.into()));
        self
    }

    /// Who puts them together, given `{"input", "analyses"}`; by default nobody.
    #[must_use]
    pub fn combined_by(mut self, capability: impl Into<String>) -> ShareAndAnalyse {
        self.combine = Some(capability.into());
        self
    }

    /// Under an execution id of your own. The same data again is a new version all the same, and the same id with another
    /// version is refused.
    #[must_use]
    pub fn id(mut self, id: impl Into<String>) -> ShareAndAnalyse {
        self.id = Some(id.into());
        self
    }
}

impl Client {
    /// Shares data under a state key and has several agents analyse it, up to `limit`.
    ///
    /// ```no_run
    /// use agent_sdk::workflow::ShareAndAnalyse;
    /// use std::time::Duration;
    ///
    /// # async fn example(client: agent_sdk::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let incident = ShareAndAnalyse::new("incidents/7", ["disk full", "queue stuck"])
    ///     .analyst("logs", "analyse.logs")
    ///     .analyst("metrics", "analyse.metrics")
    ///     .combined_by("analyse.sum_up");
    /// let analysed = client.share_and_analyse(incident, Duration::from_secs(60)).await?;
    /// println!("{:?}", analysed.combined);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// The data is written first: whoever analyses it finds that version or a newer one. Sharing and starting are two things: where
    /// the second fails, the data is there all the same.
    ///
    /// # Errors
    /// See [`ShareError`]. The analysis goes on when time is up.
    pub async fn share_and_analyse(
        &self,
        shared: ShareAndAnalyse,
        limit: Duration,
    ) -> Result<Analysed, ShareError> {
        #[derive(Deserialize)]
        struct Output {
            analyses: BTreeMap<String, Json>,
            #[serde(default)]
            combined: Option<Json>,
        }
        let analysts: Vec<(&str, &str)> =
            shared.analysts.iter().map(|(name, capability)| (name.as_str(), capability.as_str())).collect();
        let definition = patterns::analyses("share-and-analyse", &analysts, shared.combine.as_deref())?;
        let workflow = (&definition).into_workflow()?;
        let state = self.mesh().state().by(self.mesh().config().source.clone());
        let version = state.put(&shared.key, &shared.data?).await?;
        let asked = Analysis { key: shared.key, version, question: shared.question };
        let request = execution_of(&workflow).input(asked);
        let request = match shared.id {
            Some(id) => request.id(id),
            None => request,
        };
        let done = self.execute::<Output>(request, limit).await?;
        let Output { analyses, combined } = done.output;
        Ok(Analysed { version, analyses, combined, execution: done.execution })
    }
}
