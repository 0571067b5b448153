//! A custodian's vote in a ceremony, signed by the private key whose public half is on the roster.

use std::path::Path;

use data_encoding::BASE64;
use rustls::SignatureScheme;
use seal::{Question, Vote};

use super::{TlsError, pem, provider};
use crate::admin::types::CastVote;

/// Schemes in which votes are signed, the preferred first.
const SCHEMES: [SignatureScheme; 5] = [
    SignatureScheme::ED25519,
    SignatureScheme::ECDSA_NISTP256_SHA256,
    SignatureScheme::ECDSA_NISTP384_SHA384,
    SignatureScheme::ECDSA_NISTP521_SHA512,
    SignatureScheme::RSA_PSS_SHA256,
];

/// Signs a vote by the key in a PEM file.
///
/// # Errors
/// The file holds no private key that can sign it.
pub fn sign_vote(file: &Path, question: &Question, vote: Vote) -> Result<CastVote, TlsError> {
    let unfit = || TlsError::Nothing { file: file.to_owned(), wants: "private key on an elliptic curve, of Ed25519 or of RSA" };
    let key = provider().key_provider.load_private_key(pem::key(file)?).map_err(|_| unfit())?;
    let spki = key.public_key().ok_or_else(unfit)?;
    let signer = key.choose_scheme(&SCHEMES).ok_or_else(unfit)?;
    let signature = signer.sign(&question.message(vote)).map_err(|_| unfit())?;
    Ok(CastVote {
        vote: match vote {
            Vote::Approve => "approve",
            Vote::Cancel => "cancel",
        }
        .to_owned(),
        public_key: BASE64.encode(&spki),
        scheme: signer.scheme().into(),
        signature: BASE64.encode(&signature),
    })
}
