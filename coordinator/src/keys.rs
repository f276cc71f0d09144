//! API keys: who may ask over HTTP. Only their hashes are kept, and all are compared to the end.
//!
//! A key is long and random, so that one round of SHA-256 is enough: there is nothing to guess. `printf %s KEY | sha256sum`
//! says the same.

use axum::http::{HeaderMap, HeaderValue, header};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};
use std::fmt;
use std::sync::Arc;
use subtle::{Choice, ConstantTimeEq as _};

/// Keys that one coordinator may know.
const MOST: usize = 1_000;
/// How a key of ours begins, so that it is found where it should not be.
const PREFIX: &str = "synod_";

/// The hashes of the keys that are let in. A cheap clone.
#[derive(Clone, Default)]
pub struct ApiKeys(Arc<[[u8; 32]]>);

/// Something that is no list of hashes. Never says what it was: it may be a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not a SHA-256.
    #[error(
        "entry {0} is no SHA-256 of a key: 64 hexadecimal digits are wanted, as `synod key` prints them, and not the key itself"
    )]
    NotAHash(usize),
    /// More than are compared.
    #[error("at most {MOST} keys are wanted")]
    TooMany,
}

/// A key that was made just now.
#[derive(Debug)]
pub struct NewKey {
    /// For who asks; it is shown once.
    pub key: SecretString,
    /// For the coordinators.
    pub hash: String,
}

impl ApiKeys {
    /// Those with these hashes, in hexadecimal.
    ///
    /// # Errors
    /// See [`KeyError`].
    pub fn of_hashes<'a>(hashes: impl IntoIterator<Item = &'a str>) -> Result<ApiKeys, KeyError> {
        let mut keys = Vec::new();
        for (index, text) in hashes.into_iter().enumerate() {
            if index >= MOST {
                return Err(KeyError::TooMany);
            }
            keys.push(digits(text.trim()).ok_or(KeyError::NotAHash(index + 1))?);
        }
        Ok(ApiKeys(keys.into()))
    }

    /// These and the others.
    #[must_use]
    pub fn and(&self, others: &ApiKeys) -> ApiKeys {
        ApiKeys(self.0.iter().chain(others.0.iter()).copied().collect())
    }

    /// Whether nobody is asked for a key.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Whether this is one of the keys. Takes as long whichever it is, and however much of it is right.
    pub fn lets_in(&self, key: &[u8]) -> bool {
        let hash: [u8; 32] = Sha256::digest(key).into();
        let found = self.0.iter().fold(Choice::from(0), |found, known| found | known.ct_eq(&hash));
        found.into()
    }
}

impl fmt::Debug for ApiKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiKeys({})", self.count())
    }
}

impl NewKey {
    /// Of 32 random bytes.
    pub fn make(random: [u8; 32]) -> NewKey {
        let key = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(random));
        let hash = Sha256::digest(key.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
        NewKey { key: SecretString::from(key), hash }
    }
}

/// The header by which the others know us.
pub(crate) fn header(key: Option<&SecretString>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let value = key.and_then(|key| HeaderValue::from_str(&format!("Bearer {}", key.expose_secret())).ok());
    if let Some(mut value) = value {
        value.set_sensitive(true);
        headers.insert(header::AUTHORIZATION, value);
    }
    headers
}

fn digits(text: &str) -> Option<[u8; 32]> {
    let text = text.strip_prefix("sha256:").unwrap_or(text).as_bytes();
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (pairs, rest) = text.as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    let bytes: Option<Vec<u8>> =
        pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect();
    bytes?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_the_keys_is_let_in_and_nothing_else() {
        let (one, two) = (NewKey::make([1; 32]), NewKey::make([2; 32]));
        let keys = ApiKeys::of_hashes([one.hash.as_str(), &format!("sha256:{}", two.hash)]).unwrap();
        let check = |key: &str, let_in: bool| assert_eq!(keys.lets_in(key.as_bytes()), let_in, "{key}");
        check(one.key.expose_secret(), true);
        check(two.key.expose_secret(), true);
        check("", false);
        check(&one.key.expose_secret()[..40], false);
        check(&one.hash, false);
        assert!(!ApiKeys::default().lets_in(b""));
    }

    #[test]
    fn a_key_in_the_place_of_its_hash_is_refused_and_not_shown() {
        let key = NewKey::make([3; 32]);
        for wrong in [key.key.expose_secret(), "", "00", &format!("{}0", key.hash), &"g".repeat(64)] {
            let error = ApiKeys::of_hashes([key.hash.as_str(), wrong]).unwrap_err();
            assert_eq!(error, KeyError::NotAHash(2), "{wrong}");
            assert!(wrong.len() < 3 || !error.to_string().contains(wrong));
        }
        assert!(!format!("{key:?}").contains(key.key.expose_secret()));
    }
}
