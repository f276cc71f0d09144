//! Where Redis is and how long to wait for it.

use super::error::RedisError;
use redis::io::tcp::TcpSettings;
use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo};
use secrecy::{ExposeSecret, SecretString};
use std::fmt;
use std::time::Duration;

/// Where Redis is and how long to wait for it. Printing it hides user, password and database.
#[derive(Clone)]
pub struct RedisConfig {
    /// `redis://[user:password@]host:port[/db]`.
    pub url: SecretString,
    /// Pooled connections for scans, at least 1; the shared, blocking and subscribing connections come on top.
    pub pool_size: usize,
    /// The limit of one attempt to connect.
    pub connect_timeout: Duration,
    /// The limit of one call, waiting for a connection included.
    pub command_timeout: Duration,
}

impl RedisConfig {
    /// The defaults: 8 pooled connections, 1 s to connect, 1 s for a call.
    pub fn new(url: impl Into<String>) -> RedisConfig {
        RedisConfig {
            url: SecretString::from(url.into()),
            pool_size: 8,
            connect_timeout: Duration::from_secs(1),
            command_timeout: Duration::from_secs(1),
        }
    }

    /// `host:port`, without anything secret; the text itself is never shown when it does not parse.
    pub fn endpoint(&self) -> String {
        self.connection_info().map_or_else(|_| "an unusable URL".to_owned(), |info| info.addr().to_string())
    }

    /// The driver's form of it.
    ///
    /// Nagle's algorithm is off, since pipelined writes must not wait for acknowledgements; a peer that
    /// acknowledges nothing for five seconds is taken for gone.
    pub(crate) fn connection_info(&self) -> Result<ConnectionInfo, RedisError> {
        let info = self.url.expose_secret().into_connection_info().map_err(|_| {
            RedisError::InvalidConfig(
                "the URL must look like redis://[user:password@]host:port[/db]".to_owned(),
            )
        })?;
        if !matches!(info.addr(), ConnectionAddr::Tcp(..)) {
            return Err(RedisError::InvalidConfig("only redis:// URLs (plain TCP) are supported".to_owned()));
        }
        if self.pool_size == 0 || self.connect_timeout.is_zero() || self.command_timeout.is_zero() {
            return Err(RedisError::InvalidConfig("pool size and time limits must be above 0".to_owned()));
        }
        let tcp = TcpSettings::default().set_nodelay(true);
        #[cfg(target_os = "linux")]
        let tcp = tcp.set_user_timeout(Duration::from_secs(5));
        Ok(info.set_tcp_settings(tcp))
    }
}

impl fmt::Debug for RedisConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisConfig")
            .field("endpoint", &self.endpoint())
            .field("pool_size", &self.pool_size)
            .field("connect_timeout", &self.connect_timeout)
            .field("command_timeout", &self.command_timeout)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_secret_is_ever_printed() {
        for url in [
            "redis://me:hunter2@127.0.0.1:6379/3",
            "hunter2@",
            "rediss://:hunter2@h:1",
            "redis://hunter2 x:y",
        ] {
            let config = RedisConfig::new(url);
            let error = config.connection_info().err().map(|e| e.to_string()).unwrap_or_default();
            let shown = format!("{config:?} {} {error}", config.endpoint());
            assert!(!shown.contains("hunter2"), "{shown}");
        }
        assert_eq!(RedisConfig::new("redis://:p@127.0.0.1:6379").endpoint(), "127.0.0.1:6379");
    }

    #[test]
    fn limits_of_zero_are_refused() {
        let good = RedisConfig::new("redis://127.0.0.1:6379");
        assert!(good.connection_info().is_ok());
        for bad in [
            RedisConfig { pool_size: 0, ..good.clone() },
            RedisConfig { command_timeout: Duration::ZERO, ..good.clone() },
            RedisConfig { connect_timeout: Duration::ZERO, ..good },
        ] {
            assert!(matches!(bad.connection_info(), Err(RedisError::InvalidConfig(_))), "{bad:?}");
        }
    }
}
