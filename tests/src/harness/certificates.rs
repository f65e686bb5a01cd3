//! Authorities and certificates of our own, in files.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, Issuer, KeyPair, date_time_ymd,
};
use rollcall_common::tls::{Authorities, Identity, client_of};

/// Who signs certificates.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    /// Its own certificate, in PEM.
    pub file: PathBuf,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").field("file", &self.file).finish_non_exhaustive()
    }
}

/// The files of a certificate and of its key, in PEM.
#[derive(Clone, Debug)]
pub struct Files {
    /// The certificate's.
    pub cert: PathBuf,
    /// The key's.
    pub key: PathBuf,
}

impl Authority {
    /// A new one, whose files stand in `folder` and begin with `name`.
    #[must_use]
    pub fn new(folder: &Path, name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("an authority");
        let file = folder.join(format!("{name}.pem"));
        fs::write(&file, issuer.pem()).expect("its file");
        Self { issuer, file }
    }

    /// A certificate for localhost and the loopback addresses.
    #[must_use]
    pub fn issue(&self, folder: &Path, name: &str) -> Files {
        self.signed(&params(), folder, name)
    }

    /// One whose time is over.
    #[must_use]
    pub fn issue_expired(&self, folder: &Path, name: &str) -> Files {
        let mut params = params();
        params.not_before = date_time_ymd(2001, 1, 1);
        params.not_after = date_time_ymd(2002, 1, 1);
        self.signed(&params, folder, name)
    }

    fn signed(&self, params: &CertificateParams, folder: &Path, name: &str) -> Files {
        let key = KeyPair::generate().expect("a key");
        let issuer: &Issuer<'_, KeyPair> = &self.issuer;
        let certificate = params.signed_by(&key, issuer).expect("a certificate");
        let files = Files {
            cert: folder.join(format!("{name}.crt")),
            key: folder.join(format!("{name}.key")),
        };
        fs::write(&files.cert, certificate.pem()).expect("its file");
        fs::write(&files.key, key.serialize_pem()).expect("the key's file");
        files
    }

    /// The setup of a client that believes it alone, and shows this certificate.
    #[must_use]
    pub fn client(&self, shown: Option<&Files>) -> rustls::ClientConfig {
        let identity = shown.map(|files| Identity::read(&files.cert, &files.key).expect("files"));
        client_of(Authorities::Only(&self.file), identity.as_ref()).expect("a setup")
    }
}

fn params() -> CertificateParams {
    let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
    CertificateParams::new(names).expect("good names")
}
