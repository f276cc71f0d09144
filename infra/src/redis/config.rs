//! Where Redis is and how long to wait for it.

use super::error::RedisError;
use super::place::Place;
use crate::Refusals;
use crate::tls::Tls;
use redis::io::tcp::TcpSettings;
use redis::{Client, ClientTlsConfig, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, TlsCertificates};
use secrecy::{ExposeSecret, SecretString};
use std::fmt;
use std::time::Duration;

/// Where Redis is and how long to wait for it. Printing it hides user, password and database.
#[derive(Clone)]
pub struct RedisConfig {
    /// `redis://[user:password@]host:port[/db]`; or `redis-sentinel://[user:password@]host:port[,host:port…]/master[/db]`,
    /// where the hosts are the Sentinels that know the master of that name, and user and password are the master's. With
    /// `rediss` all of them are spoken to over TLS.
    pub url: SecretString,
    /// The password, where it is not in the URL.
    pub password: Option<SecretString>,
    /// With `rediss`: whom we trust, who we are.
    pub tls: Tls,
    /// What the server refused to clients of this configuration and its clones.
    pub refusals: Refusals,
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
            password: None,
            tls: Tls::default(),
            refusals: Refusals::default(),
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
        self.place().map(drop)
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
        let (scheme, rest) =
            match SENTINELS.iter().find_map(|(prefix, scheme)| Some((*scheme, url.strip_prefix(prefix)?))) {
                Some(found) => found,
                None => return Ok(Server::Named(self.with_password(self.connection_info(url)?))),
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
            hosts.split(',').map(|host| self.connection_info(&format!("{scheme}://{host}"))).collect();
        let sentinels = sentinels.map_err(|_| wanted())?;
        let at = if user.is_empty() { String::new() } else { format!("{user}@") };
        let first = hosts.split(',').next().unwrap_or_default();
        let master = self.connection_info(&format!("{scheme}://{at}{first}/{db}")).map_err(|_| wanted())?;
        let master = self.with_password(master);
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
        let refused = |why: &str| Err(RedisError::InvalidConfig(why.to_owned()));
        match info.addr() {
            ConnectionAddr::Tcp(..) if !self.tls.is_empty() => {
                return refused("redis_ca, redis_cert and redis_key are of use with rediss:// alone");
            }
            ConnectionAddr::TcpTls { insecure: true, .. } => {
                return refused(
                    "a server whose certificate is not looked at (#insecure) is not trusted; name its authority as redis_ca",
                );
            }
            ConnectionAddr::Tcp(..) | ConnectionAddr::TcpTls { .. } => {}
            _ => return refused("only redis://, rediss:// and their -sentinel:// forms are supported"),
        }
        if self.pool_size == 0 || self.connect_timeout.is_zero() || self.command_timeout.is_zero() {
            return Err(RedisError::InvalidConfig("pool size and time limits must be above 0".to_owned()));
        }
        let tcp = TcpSettings::default().set_nodelay(true);
        #[cfg(target_os = "linux")]
        let tcp = tcp.set_user_timeout(Duration::from_secs(5));
        self.secured(info.set_tcp_settings(tcp))
    }

    /// Notes it if the server does not let us in, or not do what was asked.
    pub(super) fn heed(&self, error: &RedisError) {
        if let RedisError::Denied(_) = error {
            self.refusals.tell(error.to_string());
        }
    }

    fn with_password(&self, info: ConnectionInfo) -> ConnectionInfo {
        let Some(password) = &self.password else { return info };
        let settings = info.redis_settings().clone().set_password(password.expose_secret());
        info.set_redis_settings(settings)
    }

    /// Over TLS: with the certificates of our own choice.
    fn secured(&self, info: ConnectionInfo) -> Result<ConnectionInfo, RedisError> {
        if matches!(info.addr(), ConnectionAddr::Tcp(..)) {
            return Ok(info);
        }
        // There may be one already, and any will do.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let unusable = |error: String| RedisError::InvalidConfig(error);
        let material = self.tls.read().map_err(|error| unusable(error.to_string()))?;
        let identity =
            material.identity.map(|own| ClientTlsConfig { client_cert: own.cert, client_key: own.key });
        let certificates = TlsCertificates { client_tls: identity, root_cert: material.ca };
        let client =
            Client::build_with_tls(info, certificates).map_err(|error| unusable(error.to_string()))?;
        Ok(client.get_connection_info().clone())
    }
}

/// How the URLs of Sentinels begin, and those of what is behind them.
const SENTINELS: [(&str, &str); 2] = [("redis-sentinel://", "redis"), ("rediss-sentinel://", "rediss")];

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
