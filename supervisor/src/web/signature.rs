//! Standard Webhooks signatures (version 1.0.0 of that specification, scheme `v1`): HMAC-SHA256
//! over `id.timestamp.body`, one for each secret, so that secrets can be rotated.

use std::{fmt, str::FromStr, sync::Arc};

use base64::{
    Engine as _, alphabet,
    engine::{
        DecodePaddingMode,
        general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD},
    },
};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

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

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Text that is no signing secret.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a secret is whsec_ and base64")]
pub struct BadSecret;

/// The value of `webhook-signature`, without which a request with no secret goes.
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
}
