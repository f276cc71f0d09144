//! Signals and claims.

use super::{Claimed, Labelled, Measured};
use crate::{AgentBuilder, Question, TaskError};
use serde::Serialize;
use std::sync::Arc;

/// What a source says: a number or a label, as the rules want it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Signal {
    /// A number.
    Measured(Measured),
    /// A label, or the probabilities of labels.
    Labelled(Labelled),
}

impl From<Measured> for Signal {
    fn from(measured: Measured) -> Signal {
        Signal::Measured(measured)
    }
}

impl From<Labelled> for Signal {
    fn from(labelled: Labelled) -> Signal {
        Signal::Labelled(labelled)
    }
}

impl From<f64> for Signal {
    fn from(value: f64) -> Signal {
        Measured::of(value).into()
    }
}

impl From<&str> for Signal {
    fn from(label: &str) -> Signal {
        Labelled::of(label).into()
    }
}

impl Signal {
    /// The same as a claim; nothing where it is probabilities.
    pub fn claimed(self) -> Option<Claimed> {
        match self {
            Signal::Measured(Measured { value, confidence, observed_at, .. }) => {
                Some(Claimed { value: Some(value), label: None, confidence, observed_at })
            }
            Signal::Labelled(Labelled { label, confidence, .. }) => {
                label.map(|label| Claimed { value: None, label: Some(label), confidence, observed_at: None })
            }
        }
    }
}

/// Says what it knows: a signal to be fused with those of others, a claim where they may contradict each other.
///
/// ```
/// use agent_sdk::{Agent, Measured, Question, Signal, Source, TaskError};
///
/// struct Thermometer;
///
/// impl Source for Thermometer {
///     async fn signal(&self, _: &Question) -> Result<Option<Signal>, TaskError> {
///         Ok(Some(Measured { confidence: Some(0.9), ..Measured::of(21.5) }.into()))
///     }
/// }
///
/// let agent = Agent::builder("thermometer").invited_by("sense").source(Thermometer);
/// ```
pub trait Source: Send + Sync + 'static {
    /// Its signal.
    fn signal(&self, question: &Question) -> impl Future<Output = Result<Option<Signal>, TaskError>> + Send;

    /// Its claim; by default its signal.
    fn claim(&self, question: &Question) -> impl Future<Output = Result<Option<Claimed>, TaskError>> + Send {
        async { Ok(self.signal(question).await?.and_then(Signal::claimed)) }
    }
}

impl AgentBuilder {
    /// Is a source whenever it is asked for a `signal` or a `claim`.
    #[must_use]
    pub fn source(self, source: impl Source) -> AgentBuilder {
        let source = Arc::new(source);
        self.role(("signal", None), &source, |source, question| async move { source.signal(&question).await })
            .role(("claim", None), &source, |source, question| async move { source.claim(&question).await })
    }
}
