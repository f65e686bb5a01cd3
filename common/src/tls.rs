//! TLS of what this process calls: rustls with `ring`, and Mozilla's list of authorities, which is
//! built in so that it does not depend on what the machine or the container has.

use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore, crypto::ring};

/// The setup of a client that asks for no certificate of its own.
///
/// # Errors
/// When the library finds no version of TLS that it can speak.
pub fn client() -> Result<ClientConfig, rustls::Error> {
    let mut roots = RootCertStore::empty();
    roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    // Said here, so that it does not depend on what else in the process sets up a default.
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}
