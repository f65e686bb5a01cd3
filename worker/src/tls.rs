//! TLS of the `worker` binary: its own certificate, whom it believes, and its token's file.

use std::{io, path::PathBuf, sync::Arc};

use clap::Args;
use rollcall_common::{
    files,
    http::Trust,
    limits::SECRET_FILE_BYTES,
    secret::Redacted,
    tls::{self, Acceptor, Authorities, Identity},
};

use crate::worker::Worker;

/// How to know supervisors, and to be known by them.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Security")]
pub struct Security {
    /// Token to show to supervisors
    #[arg(long, value_name = "TOKEN", env = "ROLLCALL_TOKEN", hide_env_values = true)]
    pub token: Option<Redacted>,
    /// File that holds the token
    #[arg(long, value_name = "FILE", env = "ROLLCALL_TOKEN_FILE", conflicts_with = "token")]
    pub token_file: Option<PathBuf>,
    /// Certificate in PEM to speak TLS with; supervisors that ask for one are shown it, too
    #[arg(long, value_name = "FILE", env = "ROLLCALL_TLS_CERT", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// Its private key
    #[arg(long, value_name = "FILE", env = "ROLLCALL_TLS_KEY", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Authorities whose certificate whoever calls has to show
    #[arg(long, value_name = "FILE", env = "ROLLCALL_TLS_CLIENT_CA", requires = "tls_cert")]
    pub tls_client_ca: Option<PathBuf>,
    /// Authorities to believe supervisors by, instead of the public ones
    #[arg(long, value_name = "FILE", env = "ROLLCALL_CA_FILE")]
    pub ca_file: Option<PathBuf>,
    /// Run commands for whoever reaches the address, also beyond loopback
    #[arg(long, env = "ROLLCALL_INSECURE")]
    pub insecure: bool,
}

impl Security {
    /// Gives the worker what the files hold.
    ///
    /// # Errors
    /// When one can't be used.
    pub(crate) fn apply(self, mut worker: Worker) -> io::Result<Worker> {
        let from_file = self.token_file.map(|file| {
            let said = files::read_text(&file, SECRET_FILE_BYTES).map_err(|error| {
                io::Error::new(error.kind(), format!("{}: {error}", file.display()))
            });
            said.map(|text| Redacted::new(&text))
        });
        if let Some(token) = from_file.transpose()?.or(self.token) {
            worker = worker.token(token.reveal().trim_end_matches(['\r', '\n']));
        }
        let files = self.tls_cert.as_deref().zip(self.tls_key.as_deref());
        let identity = files.map(|(cert, key)| Identity::read(cert, key)).transpose()?;
        if let Some(identity) = &identity {
            let config = tls::server(identity, self.tls_client_ca.as_deref())?;
            worker = worker.tls(Acceptor::new(Arc::new(config)));
        }
        if identity.is_some() || self.ca_file.is_some() {
            let authorities = self.ca_file.as_deref();
            let authorities = authorities.map_or(Authorities::Public, Authorities::Only);
            let config = tls::client_of(authorities, identity.as_ref())?;
            worker = worker.trust(Trust::of(Arc::new(config)));
        }
        Ok(worker)
    }
}
