//! Signing secrets and headers of subscriptions: what they are, what they sign, and where those are
//! kept that came over the API. They are in no journal, no answer and no log.
//!
//! Signatures are those of Standard Webhooks (version 1.0.0 of that specification, scheme `v1`):
//! HMAC-SHA256 over `id.timestamp.body`, one for each secret, so that secrets can be rotated.

use std::{
    collections::BTreeMap,
    fmt,
    fs::{self, File},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
    str::FromStr,
    sync::{Arc, Mutex, PoisonError},
};

use base64::{
    Engine as _, alphabet,
    engine::{
        DecodePaddingMode,
        general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD},
    },
};
use hmac::{Hmac, KeyInit as _, Mac as _};
use rollcall_common::{
    files::{self, Absent},
    http::OwnHeader,
};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

/// The file's name in the data directory.
const FILE: &str = "secrets.json";

/// A signing secret. It is never printed.
#[derive(Clone, Eq, PartialEq)]
pub struct Secret(Arc<[u8]>);

impl FromStr for Secret {
    type Err = BadSecret;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let encoded = text.strip_prefix("whsec_").ok_or(BadSecret)?;
        // Some tools leave the padding out.
        const LENIENT: GeneralPurpose = GeneralPurpose::new(
            &alphabet::STANDARD,
            GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
        );
        let bytes = LENIENT.decode(encoded).map_err(|_| BadSecret)?;
        if bytes.is_empty() { Err(BadSecret) } else { Ok(Self(bytes.into())) }
    }
}

impl Secret {
    /// As it is written; for the file alone.
    fn reveal(&self) -> String {
        ["whsec_", &STANDARD.encode(&self.0)].concat()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Text that is no signing secret.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a secret is whsec_ and base64")]
pub struct BadSecret;

/// The value of `webhook-signature`: `timestamp` in seconds since the Unix epoch.
#[must_use]
pub fn sign(secrets: &[Secret], id: &str, timestamp: u64, body: &[u8]) -> String {
    let mut signatures = Vec::with_capacity(secrets.len());
    for secret in secrets {
        // A key of any length will do for HMAC.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&secret.0) else {
            continue;
        };
        mac.update(format!("{id}.{timestamp}.").as_bytes());
        mac.update(body);
        signatures.push(format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())));
    }
    signatures.join(" ")
}

/// What is kept of one subscription.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Kept {
    /// What its deliveries are signed with.
    pub secrets: Vec<Secret>,
    /// What headers of its own they have.
    pub headers: Vec<OwnHeader>,
}

impl Kept {
    fn is_empty(&self) -> bool {
        self.secrets.is_empty() && self.headers.is_empty()
    }
}

/// The same, as it stands in the file. Without headers it is the list that it was before there were
/// any.
#[derive(Deserialize, Serialize)]
#[serde(untagged)]
enum Written {
    Secrets(Vec<String>),
    All { secrets: Vec<String>, headers: BTreeMap<String, String> },
}

impl Written {
    fn of(kept: &Kept) -> Self {
        let secrets = kept.secrets.iter().map(Secret::reveal).collect();
        if kept.headers.is_empty() {
            return Self::Secrets(secrets);
        }
        let text = |header: &OwnHeader| (header.name.to_string(), header.reveal().to_owned());
        Self::All { secrets, headers: kept.headers.iter().map(text).collect() }
    }

    /// What it says; `None`: it holds something else.
    fn read(self) -> Option<Kept> {
        let (secrets, headers) = match self {
            Self::Secrets(secrets) => (secrets, BTreeMap::new()),
            Self::All { secrets, headers } => (secrets, headers),
        };
        let header = |(name, value): (&String, &String)| OwnHeader::new(name, value).ok();
        Some(Kept {
            secrets: secrets.iter().map(|text| text.parse().ok()).collect::<Option<_>>()?,
            headers: headers.iter().map(header).collect::<Option<_>>()?,
        })
    }
}

/// The secrets of subscriptions that were made over the API, by subscription.
#[derive(Debug)]
pub struct Secrets {
    /// Where they are kept; `None`: nowhere but here.
    folder: Option<PathBuf>,
    kept: Mutex<BTreeMap<Box<str>, Kept>>,
}

impl Secrets {
    /// What is kept in the data directory `folder`; nothing yet, where there is none.
    ///
    /// # Errors
    /// When the file is there and can't be read.
    pub fn open(folder: Option<PathBuf>) -> io::Result<Self> {
        let opened =
            folder.as_ref().map(|folder| files::open_own(&folder.join(FILE), Absent::Refuse));
        let kept = match opened {
            None => BTreeMap::new(),
            Some(Err(error)) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Some(Err(error)) => return Err(error),
            Some(Ok(mut file)) => {
                let mut bytes = Vec::new();
                file.read_to_end(&mut bytes)?;
                read(&bytes)?
            }
        };
        Ok(Self { folder, kept: Mutex::new(kept) })
    }

    /// What is kept of a subscription.
    #[must_use]
    pub fn of(&self, subscription: &str) -> Kept {
        self.lock().get(subscription).cloned().unwrap_or_default()
    }

    /// Keeps this of a subscription; it is durable when this returns. It blocks.
    ///
    /// # Errors
    /// When they can't be written; then those before are kept.
    pub fn set(&self, subscription: &str, new: Kept) -> io::Result<()> {
        self.change(|kept| {
            if new.is_empty() {
                kept.remove(subscription);
            } else {
                kept.insert(subscription.into(), new);
            }
        })
    }

    /// Forgets those of all subscriptions but these. It blocks.
    ///
    /// # Errors
    /// When that can't be written.
    pub fn keep(&self, names: &[Box<str>]) -> io::Result<()> {
        self.change(|kept| kept.retain(|name, _| names.contains(name)))
    }

    fn change(&self, change: impl FnOnce(&mut BTreeMap<Box<str>, Kept>)) -> io::Result<()> {
        let mut kept = self.lock();
        let mut new = kept.clone();
        change(&mut new);
        if new != *kept {
            if let Some(folder) = &self.folder {
                write(folder, &new)?;
            }
            *kept = new;
        }
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<Box<str>, Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read(bytes: &[u8]) -> io::Result<BTreeMap<Box<str>, Kept>> {
    let wrong = || io::Error::new(io::ErrorKind::InvalidData, "it holds no secrets");
    // What serde says of it might show a part of it.
    let all: BTreeMap<Box<str>, Written> = serde_json::from_slice(bytes).map_err(|_| wrong())?;
    let parse = |(name, said): (Box<str>, Written)| Ok((name, said.read().ok_or_else(wrong)?));
    all.into_iter().map(parse).collect()
}

/// A new file takes the place of the old one, so that there is always a whole one.
fn write(folder: &Path, kept: &BTreeMap<Box<str>, Kept>) -> io::Result<()> {
    let all: BTreeMap<_, _> = kept.iter().map(|(name, kept)| (name, Written::of(kept))).collect();
    let new = folder.join([FILE, ".new"].concat());
    let mut file = files::create(&new)?;
    file.write_all(&serde_json::to_vec(&all).map_err(io::Error::other)?)?;
    file.sync_all()?;
    fs::rename(&new, folder.join(FILE))?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_as_the_reference_library_does() {
        // The test vector of the Standard Webhooks reference implementation.
        let secret: Secret = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD".parse().unwrap();
        let body = br#"{"email":"test@example.com","username":"test_user"}"#;
        let id = "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk";
        let expected = "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=";
        assert_eq!(sign(std::slice::from_ref(&secret), id, 1_649_367_553, body), expected);
        let both = sign(&[secret.clone(), secret], id, 1_649_367_553, body);
        assert_eq!(both, format!("{expected} {expected}"));
    }

    #[test]
    fn secrets_are_checked_and_never_shown() {
        for bad in ["", "whsec_", "abc", "whsec_!"] {
            assert_eq!(bad.parse::<Secret>(), Err(BadSecret), "{bad}");
        }
        let secret: Secret = "whsec_YWJjZA==".parse().unwrap();
        assert_eq!(format!("{secret:?}"), "Secret(…)");
    }

    #[test]
    fn what_is_kept_is_there_after_a_restart_and_only_for_its_owner() {
        let folder = tempfile::tempdir().unwrap();
        let path = || Some(folder.path().to_owned());
        let secret: Secret = "whsec_YWJjZA==".parse().unwrap();
        let secrets = Secrets::open(path()).unwrap();
        let header = OwnHeader::new("Authorization", "Bearer x").unwrap();
        let two = vec![secret.clone(), "whsec_eA".parse().unwrap()];
        let all = Kept { secrets: two.clone(), headers: vec![header] };
        secrets.set("a", all.clone()).unwrap();
        let one = Kept { secrets: vec![secret], ..Kept::default() };
        secrets.set("b", one.clone()).unwrap();
        let file = folder.path().join(FILE);
        assert!(!files::is_open_to_others(&file).unwrap());
        let secrets = Secrets::open(path()).unwrap();
        assert_eq!((secrets.of("a"), secrets.of("b")), (all, one));
        secrets.set("b", Kept { secrets: two, ..Kept::default() }).unwrap();
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.contains(r#""b":["whsec_YWJjZA==","whsec_eA=="]"#), "as it was: {text}");
        secrets.set("a", Kept::default()).unwrap();
        secrets.keep(&["a".into()]).unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"{}");
        fs::write(&file, "whsec_").unwrap();
        let error = Secrets::open(path()).unwrap_err().to_string();
        assert!(!error.contains("whsec"), "{error}");
    }

    #[test]
    fn no_link_is_followed() {
        let folder = tempfile::tempdir().unwrap();
        let path = || Some(folder.path().to_owned());
        let (other, new) = (folder.path().join("other"), folder.path().join("secrets.json.new"));
        fs::write(&other, "{}").unwrap();
        std::os::unix::fs::symlink(&other, &new).unwrap();
        let secrets = Secrets::open(path()).unwrap();
        let kept = Kept { secrets: vec!["whsec_eA".parse().unwrap()], ..Kept::default() };
        secrets.set("a", kept).unwrap();
        assert_eq!(fs::read(&other).unwrap(), b"{}");
        let file = folder.path().join(FILE);
        assert!(fs::symlink_metadata(&file).unwrap().is_file());
        fs::remove_file(&file).unwrap();
        std::os::unix::fs::symlink(&other, &file).unwrap();
        assert!(Secrets::open(path()).is_err(), "nor is what it reads");
    }

    #[test]
    fn without_a_folder_they_are_kept_in_memory() {
        let secrets = Secrets::open(None).unwrap();
        let kept = Kept { secrets: vec!["whsec_eA".parse().unwrap()], ..Kept::default() };
        secrets.set("a", kept.clone()).unwrap();
        assert_eq!(secrets.of("a"), kept);
    }
}
