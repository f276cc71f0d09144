//! Where a mesh is, as a file: `{"http","kafka","redis"}`, there as long as the mesh is ready.
//!
//! It is written whole or not at all (a file beside it, renamed), so that nobody reads half of it, and
//! an old one is taken away before the mesh starts, so that nobody takes it for the new one.

use serde::{Deserialize, Serialize};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// Where a mesh is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoints {
    /// A coordinator, `http://host:port`.
    pub http: String,
    /// Kafka's bootstrap servers, `host:port`, comma-separated.
    pub kafka: String,
    /// Redis, `redis://host:port`.
    pub redis: String,
}

/// The file is not as it should be.
#[derive(Debug, thiserror::Error)]
pub enum EndpointsFileError {
    /// Something else is there, and would be lost.
    #[error("{0:?} is there already and is no endpoints file; it is left as it is")]
    Foreign(PathBuf),
    /// It cannot be written, read or taken away.
    #[error("cannot {what} the endpoints file {path:?}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// The file, from before the mesh starts until after it ends.
#[derive(Debug)]
pub struct EndpointsFile {
    path: PathBuf,
    /// What this process wrote, once it did.
    written: Option<Vec<u8>>,
}

impl EndpointsFile {
    /// Takes the place: an endpoints file of an earlier mesh is removed.
    ///
    /// # Errors
    /// There is another file, or the directory is missing.
    pub fn at(path: &Path) -> Result<EndpointsFile, EndpointsFileError> {
        let failed = |what| move |source| EndpointsFileError::Io { what, path: path.to_owned(), source };
        match std::fs::read(path) {
            Ok(old) if serde_json::from_slice::<Endpoints>(&old).is_ok() => {
                std::fs::remove_file(path).map_err(failed("remove"))?;
            }
            Ok(_) => return Err(EndpointsFileError::Foreign(path.to_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let folder = directory(path);
                folder.metadata().map_err(failed("write"))?;
            }
            Err(source) => return Err(failed("read")(source)),
        }
        Ok(EndpointsFile { path: path.to_owned(), written: None })
    }

    /// Says where the mesh is, to whoever looks for it from now on.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn publish(&mut self, endpoints: &Endpoints) -> Result<(), EndpointsFileError> {
        let failed = |source| EndpointsFileError::Io { what: "write", path: self.path.clone(), source };
        let mut bytes = serde_json::to_vec(endpoints).map_err(|e| failed(e.into()))?;
        bytes.push(b'\n');
        let mut beside = tempfile::NamedTempFile::new_in(directory(&self.path)).map_err(failed)?;
        beside.write_all(&bytes).and_then(|()| beside.as_file().sync_all()).map_err(failed)?;
        beside.persist(&self.path).map_err(|error| failed(error.error))?;
        self.written = Some(bytes);
        Ok(())
    }
}

/// Gone with the mesh, unless another mesh has taken the place meanwhile.
impl Drop for EndpointsFile {
    fn drop(&mut self) {
        let Some(written) = &self.written else { return };
        let ours = std::fs::read(&self.path).is_ok_and(|found| found == *written);
        if ours && let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "the endpoints file is left behind");
        }
    }
}

fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoints(port: u16) -> Endpoints {
        Endpoints { http: format!("http://127.0.0.1:{port}"), kafka: "k:1".into(), redis: "redis://r".into() }
    }

    #[test]
    fn the_file_is_there_exactly_while_the_mesh_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("endpoints.json");
        let mut file = EndpointsFile::at(&path).unwrap();
        assert!(!path.exists());
        file.publish(&endpoints(1)).unwrap();
        let read: Endpoints = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(read, endpoints(1));
        drop(file);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn an_old_one_is_removed_before_the_start_and_another_mesh_keeps_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("e");
        let mut first = EndpointsFile::at(&path).unwrap();
        first.publish(&endpoints(1)).unwrap();
        let mut second = EndpointsFile::at(&path).unwrap();
        assert!(!path.exists());
        second.publish(&endpoints(2)).unwrap();
        drop(first);
        assert!(path.exists());
        drop(second);
        assert!(!path.exists());
    }

    #[test]
    fn what_is_no_endpoints_file_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("Cargo.toml");
        std::fs::write(&path, "[package]").unwrap();
        assert!(matches!(EndpointsFile::at(&path), Err(EndpointsFileError::Foreign(_))));
        assert_eq!(std::fs::read(&path).unwrap(), b"[package]");
        assert!(matches!(
            EndpointsFile::at(&dir.path().join("absent/e")),
            Err(EndpointsFileError::Io { what: "write", .. })
        ));
    }
}
