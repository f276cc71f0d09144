//! Whom we trust and who we say we are, as files in PEM form; the same for Kafka and Redis.
//!
//! They are looked at before anything connects: a file that is missing, empty or expired is named at once, where the
//! other side would only break the connection off.

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{AlertDescription, CertificateError, ClientConfig, ClientConnection, RootCertStore};
use std::error::Error;
use std::net::{TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use webpki::{EndEntityCert, KeyUsage};

/// Bytes that a file of certificates or a key may have.
const MAX_BYTES: u64 = 1 << 20;

/// Files in PEM form.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// Certificates of the authorities that are trusted; those of the system where none is named.
    pub ca: Option<PathBuf>,
    /// Our own certificate, with those between it and its authority, where the other side asks for one.
    pub cert: Option<PathBuf>,
    /// Its private key, not encrypted.
    pub key: Option<PathBuf>,
}

/// A file that cannot be used. Says which, never what is in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// It cannot be read.
    #[error("the {what} {} cannot be read: {why}", path.display())]
    Unreadable {
        /// Which of the three.
        what: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// It holds nothing of the kind.
    #[error("{} holds no {what} in PEM form", path.display())]
    Empty {
        /// Which of the three.
        what: &'static str,
        /// Which file.
        path: PathBuf,
    },
    /// Our certificate, or that of an authority, is over or has not begun.
    #[error("the {what} {} {why}: put a valid one in its place", path.display())]
    OutOfTime {
        /// Which of the three.
        what: &'static str,
        /// Which file.
        path: PathBuf,
        /// Expired, or not valid yet.
        why: &'static str,
    },
    /// One of the pair is missing.
    #[error("a certificate and its key are given together: {0} is missing")]
    Half(&'static str),
}

/// What the files hold.
#[derive(Clone, Default)]
pub(crate) struct Material {
    pub(crate) ca: Option<Vec<u8>>,
    pub(crate) identity: Option<Identity>,
}

/// A certificate and its key, each a PEM text. Not printable.
#[derive(Clone)]
pub(crate) struct Identity {
    pub(crate) cert: Vec<u8>,
    pub(crate) key: Vec<u8>,
}

impl Tls {
    /// Whether no file is named.
    pub fn is_empty(&self) -> bool {
        *self == Tls::default()
    }

    /// Whether the files are there, readable, of the right kind and in time.
    ///
    /// # Errors
    /// See [`TlsError`]; the first that is wrong.
    pub fn check(&self) -> Result<(), TlsError> {
        self.read().map(drop)
    }

    pub(crate) fn read(&self) -> Result<Material, TlsError> {
        let ca = self.ca.as_deref().map(|path| certificates("authority", path)).transpose()?;
        let identity = match (&self.cert, &self.key) {
            (None, None) => None,
            (Some(_), None) => return Err(TlsError::Half("the key")),
            (None, Some(_)) => return Err(TlsError::Half("the certificate")),
            (Some(cert), Some(path)) => {
                let cert = certificates("certificate", cert)?;
                let key = bytes("key", path)?;
                PrivateKeyDer::from_pem_slice(&key)
                    .map_err(|_| TlsError::Empty { what: "private key", path: path.clone() })?;
                Some(Identity { cert, key })
            }
        };
        Ok(Material { ca, identity })
    }
}

fn bytes(what: &'static str, path: &Path) -> Result<Vec<u8>, TlsError> {
    let unreadable = |why: String| TlsError::Unreadable { what, path: path.to_owned(), why };
    let about = std::fs::metadata(path).map_err(|error| unreadable(error.to_string()))?;
    if about.len() > MAX_BYTES {
        return Err(unreadable(format!("it has more than {MAX_BYTES} bytes")));
    }
    std::fs::read(path).map_err(|error| unreadable(error.to_string()))
}

/// The text of a file of certificates, of which the first is in time.
fn certificates(what: &'static str, path: &Path) -> Result<Vec<u8>, TlsError> {
    let text = bytes(what, path)?;
    let mut found = CertificateDer::pem_slice_iter(&text);
    let empty = || TlsError::Empty { what: "certificate", path: path.to_owned() };
    let first = found.next().ok_or_else(empty)?.map_err(|_| empty())?;
    match out_of_time(&first) {
        Some(why) => Err(TlsError::OutOfTime { what, path: path.to_owned(), why }),
        None => Ok(text),
    }
}

/// Asked of webpki, which looks at the dates before it looks for an issuer: none is given, so it never succeeds.
fn out_of_time(certificate: &CertificateDer<'_>) -> Option<&'static str> {
    let end = EndEntityCert::try_from(certificate).ok()?;
    let verified = end.verify_for_usage(&[], &[], &[], UnixTime::now(), KeyUsage::client_auth(), None, None);
    match verified.err()? {
        webpki::Error::CertExpired { .. } => Some("has expired"),
        webpki::Error::CertNotValidYet { .. } => Some("is not valid yet"),
        _ => None,
    }
}

/// How long the other side may take to show its certificate.
const SHOWN_WITHIN: Duration = Duration::from_secs(2);

/// Why the certificate of who listens there is not trusted, asked once more for the reason: OpenSSL's is not passed on.
/// Blocks, for some seconds at most; `None` where there is no reason to be had.
pub(crate) fn why_not_trusted(host: &str, port: u16, ca: &Path) -> Option<&'static str> {
    let text = std::fs::read(ca).ok()?;
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&text).filter_map(Result::ok));
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .ok()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(host.to_owned()).ok()?;
    let mut tls = ClientConnection::new(Arc::new(config), name).ok()?;
    let address = (host, port).to_socket_addrs().ok()?.next()?;
    let mut socket = TcpStream::connect_timeout(&address, SHOWN_WITHIN).ok()?;
    socket.set_read_timeout(Some(SHOWN_WITHIN)).ok()?;
    socket.set_write_timeout(Some(SHOWN_WITHIN)).ok()?;
    let error = tls.complete_io(&mut socket).err()?;
    match error.get_ref()?.downcast_ref::<rustls::Error>()? {
        rustls::Error::InvalidCertificate(error) => Some(distrust(error)),
        _ => None,
    }
}

/// What is wrong with the other side's certificate.
fn distrust(error: &CertificateError) -> &'static str {
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "has expired: renew it",
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "is not valid yet: compare the clocks"
        }
        CertificateError::UnknownIssuer => {
            "is of an authority that we do not know: name that authority's file as the ca"
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "names another host: connect by a name that it has, or give it this one"
        }
        _ => "cannot be used",
    }
}

/// What either side refused, out of a driver's error, in whatever it is wrapped.
pub(crate) fn distrust_in(error: &(dyn Error + 'static)) -> Option<String> {
    if let Some(shared) = error.downcast_ref::<Arc<dyn Error + Send + Sync>>() {
        return distrust_in(&**shared);
    }
    if let Some(inner) = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref) {
        return distrust_in(inner);
    }
    match error.downcast_ref::<rustls::Error>() {
        Some(rustls::Error::InvalidCertificate(error)) => {
            Some(format!("its certificate {}", distrust(error)))
        }
        Some(rustls::Error::AlertReceived(AlertDescription::CertificateRequired)) => Some(
            "it asks for a certificate of ours and was shown none: name its files as cert and key".to_owned(),
        ),
        Some(rustls::Error::AlertReceived(alert)) => Some(format!(
            "it did not accept our side of TLS ({alert:?}): give a cert and key of an authority that it knows"
        )),
        _ => distrust_in(error.source()?),
    }
}
