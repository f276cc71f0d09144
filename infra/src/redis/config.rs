//! Where Redis is and how long to wait for it.

use super::error::RedisError;
use super::place::Place;
use redis::io::tcp::TcpSettings;
use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo};
use secrecy::{ExposeSecret, SecretString};
use std::fmt;
use std::time::Duration;

/// Where Redis is and how long to wait for it. Printing it hides user, password and database.
#[derive(Clone)]
pub struct RedisConfig {
    /// `redis://[user:password@]host:port[/db]`; or `redis-sentinel://[user:password@]host:port[,host:port…]/master[/db]`,
    /// where the hosts are the Sentinels that know the master of that name, and user and password are the master's.
    pub url: SecretString,
    /// Pooled connections for scans, at least 1; the shared, blocking and subscribing connections come on top.
    pub pool_size: usize,
    /// The limit of one attempt to connect.
    pub connect_timeout: Duration,
    /// The limit of one call, waiting for a connection included.
    pub command_timeout: Duration,
}

impl RedisConfig {
    /// The defaults: 8 pooled connections, 1 s to connect, 900 ms for a call, so that whoever asks over HTTP has his answer
    /// within a second.
    pub fn new(url: impl Into<String>) -> RedisConfig {
        RedisConfig {
            url: SecretString::from(url.into()),
            pool_size: 8,
            connect_timeout: Duration::from_secs(1),
            command_timeout: Duration::from_millis(900),
        }
    }

    /// `host:port`, or `master at host:port,…`, without anything secret; the text itself is never shown when it does not parse.
    pub fn endpoint(&self) -> String {
        match self.server() {
            Ok(Server::Named(info)) => info.addr().to_string(),
            Ok(Server::Sentinels { sentinels, service, .. }) => {
                let hosts: Vec<String> = sentinels.iter().map(|info| info.addr().to_string()).collect();
                format!("{service} at {}", hosts.join(","))
            }
            Err(_) => "an unusable URL".to_owned(),
        }
    }

    /// Whether it can be used at all; nothing is asked for.
    ///
    /// # Errors
    /// `InvalidConfig`, without anything secret.
    pub fn check(&self) -> Result<(), RedisError> {
        self.server().map(drop)
    }

    /// Where to connect to.
    ///
    /// # Errors
    /// `InvalidConfig`.
    pub(crate) fn place(&self) -> Result<Place, RedisError> {
        match self.server()? {
            Server::Named(info) => Place::named(info),
            Server::Sentinels { sentinels, service, master } => Place::sentinels(sentinels, service, master),
        }
    }

    fn server(&self) -> Result<Server, RedisError> {
        let url = self.url.expose_secret();
        let Some(rest) = url.strip_prefix("redis-sentinel://") else {
            return Ok(Server::Named(self.connection_info(url)?));
        };
        let wanted = || {
            RedisError::InvalidConfig(
                "the URL must look like redis-sentinel://[user:password@]host:port[,host:port]/master[/db]"
                    .to_owned(),
            )
        };
        let (authority, path) = rest.split_once('/').ok_or_else(wanted)?;
        let (user, hosts) = authority.rsplit_once('@').map_or(("", authority), |(user, hosts)| (user, hosts));
        let (service, db) = path.split_once('/').unwrap_or((path, ""));
        let is_name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        if service.is_empty() || !service.bytes().all(is_name) {
            return Err(wanted());
        }
        let sentinels: Result<Vec<ConnectionInfo>, RedisError> =
            hosts.split(',').map(|host| self.connection_info(&format!("redis://{host}"))).collect();
        let sentinels = sentinels.map_err(|_| wanted())?;
        let at = if user.is_empty() { String::new() } else { format!("{user}@") };
        let first = hosts.split(',').next().unwrap_or_default();
        let master = self.connection_info(&format!("redis://{at}{first}/{db}")).map_err(|_| wanted())?;
        Ok(Server::Sentinels { sentinels, service: service.to_owned(), master })
    }

    /// The driver's form of it.
    ///
    /// Nagle's algorithm is off, since pipelined writes must not wait for acknowledgements; a peer that
    /// acknowledges nothing for five seconds is taken for gone.
    fn connection_info(&self, url: &str) -> Result<ConnectionInfo, RedisError> {
        let info = url.into_connection_info().map_err(|_| {
            RedisError::InvalidConfig(
                "the URL must look like redis://[user:password@]host:port[/db]".to_owned(),
            )
        })?;
        if !matches!(info.addr(), ConnectionAddr::Tcp(..)) {
            return Err(RedisError::InvalidConfig(
                "only redis:// and redis-sentinel:// URLs (plain TCP) are supported".to_owned(),
            ));
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

/// What the URL says.
enum Server {
    Named(ConnectionInfo),
    Sentinels { sentinels: Vec<ConnectionInfo>, service: String, master: ConnectionInfo },
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
            "redis-sentinel://:hunter2@h:1,h:2/m",
            "redis-sentinel://:hunter2@h:1",
        ] {
            let config = RedisConfig::new(url);
            let error = config.server().err().map(|e| e.to_string()).unwrap_or_default();
            let shown = format!("{config:?} {} {error}", config.endpoint());
            assert!(!shown.contains("hunter2"), "{shown}");
        }
        assert_eq!(RedisConfig::new("redis://:p@127.0.0.1:6379").endpoint(), "127.0.0.1:6379");
    }

    #[test]
    fn sentinels_are_named_with_their_master() {
        let check =
            |url: &str, endpoint: &str| assert_eq!(RedisConfig::new(url).endpoint(), endpoint, "{url}");
        check("redis-sentinel://127.0.0.1:26379/m", "m at 127.0.0.1:26379");
        check("redis-sentinel://:p%40@h:1,[::1]:2,k:3/m-1.a_b/3", "m-1.a_b at h:1,::1:2,k:3");
        for bad in ["h:1", "h:1/", "h:1/m x", "h:x/m", ",/m", "/m", "h:1/m/x", "h:1,/m"] {
            check(&format!("redis-sentinel://{bad}"), "an unusable URL");
        }
    }

    #[test]
    fn limits_of_zero_are_refused() {
        let good = RedisConfig::new("redis://127.0.0.1:6379");
        assert!(good.server().is_ok());
        for bad in [
            RedisConfig { pool_size: 0, ..good.clone() },
            RedisConfig { command_timeout: Duration::ZERO, ..good.clone() },
            RedisConfig { connect_timeout: Duration::ZERO, ..good },
        ] {
            assert!(matches!(bad.server(), Err(RedisError::InvalidConfig(_))), "{bad:?}");
        }
    }
}
