//! The mesh that a command works on: the one that is named, or else one of its own for as long as it takes.

use super::api::Api;
use super::dialling::Dialling;
use super::embedded::{Embedded, EmbeddedError, EmbeddedOptions};
use crate::settings::{HttpUrl, Settings, Source};
use std::time::Duration;
use synod_infra::kafka::{KafkaConfig, TopicMaker};
use synod_infra::redis::RedisConfig;
use synod_protocol::{Code, Error};

/// A mesh to work on.
#[derive(Debug)]
pub struct Ground {
    /// How its parts are reached.
    pub dialling: Dialling,
    /// Its HTTP API.
    pub api: Api,
    own: Option<Embedded>,
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub enum GroundError {
    /// None of our own.
    #[error(transparent)]
    Embedded(#[from] EmbeddedError),
    /// No way to it.
    #[error(transparent)]
    Api(#[from] Error),
}

impl Ground {
    /// The mesh that the settings name, if they name a coordinator; else an embedded one, started now.
    ///
    /// # Errors
    /// The embedded one does not start.
    pub async fn of(settings: &Settings, who: &str) -> Result<Ground, GroundError> {
        if settings.http_url.source != Source::Default {
            let dialling = Dialling::of(settings, who);
            return Ok(Ground { dialling, api: Api::of(settings)?, own: None });
        }
        let own = Embedded::start(EmbeddedOptions::of(settings).privately()).await?;
        let endpoints = own.endpoints();
        let unusable = |why: String| Error::new(Code::Internal, format!("the embedded mesh: {why}"));
        let url: HttpUrl = endpoints.http.parse().map_err(unusable)?;
        let workspace = settings.workspace.value.clone();
        let dialling = Dialling {
            http: url.as_str().to_owned(),
            kafka: KafkaConfig::embedded(endpoints.kafka.clone(), who),
            redis: RedisConfig::new(endpoints.redis.clone()),
            key: None,
            workspace: workspace.clone(),
        };
        Ok(Ground { dialling, api: Api::new(url, workspace, None)?, own: Some(own) })
    }

    /// Whether the mesh is our own, and ends with us.
    pub fn is_own(&self) -> bool {
        self.own.is_some()
    }

    /// Makes and checks topics in it.
    pub fn topics(&self) -> TopicMaker {
        self.own.as_ref().map_or_else(|| TopicMaker::new(&self.dialling.kafka), Embedded::topics)
    }

    /// Ends the mesh, if it is our own.
    pub async fn leave(self, limit: Duration) {
        if let Some(own) = self.own {
            own.shutdown(limit).await;
        }
    }
}
