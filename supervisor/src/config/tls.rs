//! `tls` of `[server]` and of pools: files of certificates and keys, read here, so that what does
//! not fit is found before anything is changed.

use std::{fmt, io, path::PathBuf, sync::Arc};

use rollcall_common::tls::{self, Authorities, Identity};
use rustls::{ClientConfig, ServerConfig};

use super::{section::Section, values::text};

/// A setup of TLS, and the files that it was read from. Two are the same if their files are; what
/// is in those may have changed.
#[derive(Clone)]
pub struct Tls<T> {
    files: Files,
    /// The setup.
    pub made: Arc<T>,
}

#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Files {
    authorities: Option<PathBuf>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
}

impl<T> Tls<T> {
    /// Whether the other side's certificate is asked for by authorities that are named.
    #[must_use]
    pub fn names_authorities(&self) -> bool {
        self.files.authorities.is_some()
    }
}

impl<T> Eq for Tls<T> {}

impl<T> PartialEq for Tls<T> {
    fn eq(&self, other: &Self) -> bool {
        self.files == other.files
    }
}

impl<T> fmt::Debug for Tls<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.files.fmt(f)
    }
}

/// `tls = { cert, key, client_ca }` of a server.
pub(super) fn server(parent: &mut Section<'_>) -> Option<Tls<ServerConfig>> {
    read(parent, "client_ca", |files| {
        let identity = identity(files)?.ok_or("needs both cert and key")?;
        let made = tls::server(&identity, files.authorities.as_deref());
        made.map_err(|error| error.to_string())
    })
}

/// `tls = { ca, cert, key }` of a client.
pub(super) fn client(parent: &mut Section<'_>) -> Option<Tls<ClientConfig>> {
    read(parent, "ca", |files| {
        let authorities = files.authorities.as_deref();
        let authorities = authorities.map_or(Authorities::Public, Authorities::Only);
        let made = tls::client_of(authorities, identity(files)?.as_ref());
        made.map_err(|error| error.to_string())
    })
}

fn read<T>(
    parent: &mut Section<'_>,
    authorities: &'static str,
    make: impl FnOnce(&Files) -> Result<T, String>,
) -> Option<Tls<T>> {
    let place = parent.place_of("tls")?;
    let mut section = parent.part("tls");
    let mut path = |key| section.read(key, |node| Ok(PathBuf::from(text(node)?)));
    let files =
        Files { authorities: path(authorities), certificate: path("cert"), key: path("key") };
    section.close();
    match make(&files) {
        Ok(made) => Some(Tls { files, made: Arc::new(made) }),
        Err(text) => {
            parent.problem(Some(place), "tls", &text);
            None
        }
    }
}

fn identity(files: &Files) -> Result<Option<Identity>, String> {
    match (&files.certificate, &files.key) {
        (None, None) => Ok(None),
        (Some(certificate), Some(key)) => {
            let read: io::Result<Identity> = Identity::read(certificate, key);
            read.map(Some).map_err(|error| error.to_string())
        }
        (Some(_), None) | (None, Some(_)) => Err("needs both cert and key".to_owned()),
    }
}
