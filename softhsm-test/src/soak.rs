//! The kill campaign: a core under load is killed at random moments, and after each restart nothing acknowledged may be missing.

use std::collections::BTreeMap;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use daemon::kmip_client::{KmipClient, KmipError};
use kmip::ttlv::ByteString;
use kmip::{
    ActivateRequest, Attribute, AttributeValue, BlockCipherMode, CreateRequest, CryptographicAlgorithm, CryptographicParameters,
    CryptographicUsageMask, DecryptRequest, EncryptRequest, GetAttributesRequest, Name, NameType, ObjectType, PaddingMethod, State,
    TemplateAttribute,
};

use crate::appliance::{Appliance, Who};

/// A core lives between these two before it is killed.
const LIFE_MILLIS: std::ops::Range<u64> = 20..700;
/// Threads that create, and threads that encrypt.
const LOADERS: usize = 3;

/// What a campaign has seen.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    /// Cores killed.
    pub kills: u32,
    /// Keys whose Create was acknowledged.
    pub created: usize,
    /// Keys whose Activate was acknowledged.
    pub activated: usize,
    /// Ciphertexts that were acknowledged, and decrypted after a restart.
    pub decrypted: usize,
    /// Audit logs verified.
    pub verified: u32,
    /// Longest time from kill to the first answer.
    pub slowest: Duration,
}

/// What the server has acknowledged.
#[derive(Debug, Default)]
struct Ledger {
    /// Key and whether its activation was acknowledged.
    keys: BTreeMap<String, bool>,
    secrets: Vec<Secret>,
}

#[derive(Debug)]
struct Secret {
    key: String,
    iv: Vec<u8>,
    ciphertext: Vec<u8>,
    tag: Vec<u8>,
    plain: Vec<u8>,
}

/// Runs `count` rounds of load, kill, restart and check.
///
/// # Panics
/// At the first thing that is missing or does not verify.
#[must_use]
pub fn kill_campaign(count: u32, seed: u64) -> Tally {
    let appliance = Appliance::start();
    let default_key = appliance.value("L3_ID");
    let mut random = Random(seed);
    let mut ledger = Ledger::default();
    let mut tally = Tally::default();
    for round in 0..count {
        let before = appliance.core_pid();
        let fresh = load_until_killed(&appliance, &default_key, round, random.within(LIFE_MILLIS));
        let killed = Instant::now();
        appliance.wait_for_restart(before);
        check(&appliance, &fresh, &ledger);
        tally.slowest = tally.slowest.max(killed.elapsed());
        tally.kills += 1;
        tally.decrypted += fresh.secrets.len();
        ledger.keys.extend(fresh.keys);
        let verify = appliance.cli(Who::Operator, &["audit", "verify"]);
        assert!(verify.status.success(), "round {round}: {}{}", text(&verify.stdout), text(&verify.stderr));
        tally.verified += 1;
    }
    // Not only what a round has made: everything, at the end.
    check(&appliance, &Ledger::default(), &ledger);
    tally.created = ledger.keys.len();
    tally.activated = ledger.keys.values().filter(|activated| **activated).count();
    tally
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn load_until_killed(appliance: &Appliance, default_key: &str, round: u32, life: Duration) -> Ledger {
    std::thread::scope(|scope| {
        let creators: Vec<_> = (0..LOADERS).map(|loader| scope.spawn(move || create_until_cut(appliance, round, loader))).collect();
        let encrypters: Vec<_> = (0..LOADERS).map(|_| scope.spawn(move || encrypt_until_cut(appliance, default_key))).collect();
        let (_keep, timer) = mpsc::channel::<()>();
        let _elapsed = timer.recv_timeout(life);
        appliance.kill_core();
        let keys = creators.into_iter().flat_map(|creator| creator.join().expect("a loader ends with its connection")).collect();
        let secrets = encrypters.into_iter().flat_map(|encrypter| encrypter.join().expect("a loader ends with its connection")).collect();
        Ledger { keys, secrets }
    })
}

fn create_until_cut(appliance: &Appliance, round: u32, loader: usize) -> Vec<(String, bool)> {
    let mut made = Vec::new();
    let Ok(mut client) = KmipClient::connect(&appliance.endpoint(Who::TenantAdmin), kmip::ProtocolVersion::V1_4) else { return made };
    for number in 0.. {
        let Some(id) = cut(create(&mut client, &format!("r{round}-l{loader}-{number}"))) else { break };
        made.push((id.clone(), false));
        if cut(client.call(&ActivateRequest { unique_identifier: Some(&id) }).map(drop)).is_none() {
            break;
        }
        made.last_mut().expect("just pushed").1 = true;
    }
    made
}

fn encrypt_until_cut(appliance: &Appliance, key: &str) -> Vec<Secret> {
    let mut made = Vec::new();
    let Ok(mut client) = KmipClient::connect(&appliance.endpoint(Who::Service), kmip::ProtocolVersion::V1_4) else { return made };
    for number in 0_u32.. {
        let plain = number.to_be_bytes().repeat(16);
        match cut(encrypt(&mut client, key, plain)) {
            Some(secret) => made.push(secret),
            None => break,
        }
    }
    made
}

/// A refusal is a bug of the server; a lost connection is what this campaign is about.
fn cut<T>(outcome: Result<T, KmipError>) -> Option<T> {
    match outcome {
        Err(KmipError::Kmip(refused)) => panic!("the core refused: {refused}"),
        other => other.ok(),
    }
}

/// Creates an AES-256 key of that name for Encrypt and Decrypt; returns its identifier.
///
/// # Errors
/// The client's, or the core's refusal.
pub fn create(client: &mut KmipClient, name: &str) -> Result<String, KmipError> {
    let attribute = |value| Attribute { index: None, value };
    let attributes = vec![
        attribute(AttributeValue::CryptographicAlgorithm(CryptographicAlgorithm::Aes)),
        attribute(AttributeValue::CryptographicLength(256)),
        attribute(AttributeValue::CryptographicUsageMask(CryptographicUsageMask::ENCRYPT.with(CryptographicUsageMask::DECRYPT))),
        attribute(AttributeValue::Name(Name { value: Some(name), name_type: Some(NameType::UninterpretedTextString) })),
    ];
    let template_attribute = TemplateAttribute { names: Vec::new(), attributes };
    let answer = client.call(&CreateRequest { object_type: ObjectType::SymmetricKey, template_attribute })?;
    Ok(answer.unique_identifier.to_owned())
}

fn gcm<'a>() -> CryptographicParameters<'a> {
    CryptographicParameters {
        block_cipher_mode: Some(BlockCipherMode::Gcm),
        padding_method: Some(PaddingMethod::None),
        ..CryptographicParameters::default()
    }
}

fn encrypt(client: &mut KmipClient, key: &str, plain: Vec<u8>) -> Result<Secret, KmipError> {
    let answer = client.call(&EncryptRequest {
        unique_identifier: Some(key),
        cryptographic_parameters: Some(gcm()),
        data: Some(ByteString(&plain)),
        ..EncryptRequest::default()
    })?;
    let field = |bytes: Option<ByteString<'_>>| bytes.expect("GCM answers have it").0.to_vec();
    let (iv, ciphertext, tag) = (field(answer.iv_counter_nonce), field(answer.data), field(answer.authentication_tag));
    Ok(Secret { key: key.to_owned(), iv, ciphertext, tag, plain })
}

fn check(appliance: &Appliance, fresh: &Ledger, earlier: &Ledger) {
    let mut admin = appliance.connect(Who::TenantAdmin);
    for (id, activated) in fresh.keys.iter().chain(&earlier.keys) {
        let request = GetAttributesRequest { unique_identifier: Some(id), attribute_names: vec!["State"] };
        let answer = admin.call(&request).unwrap_or_else(|error| panic!("acknowledged key {id} is lost: {error}"));
        let active = answer.attributes.iter().any(|attribute| attribute.value == AttributeValue::State(State::Active));
        assert!(active || !activated, "{id} was activated and is not Active");
    }
    let mut service = appliance.connect(Who::Service);
    for secret in &fresh.secrets {
        let answer = service
            .call(&DecryptRequest {
                unique_identifier: Some(&secret.key),
                cryptographic_parameters: Some(gcm()),
                data: Some(ByteString(&secret.ciphertext)),
                iv_counter_nonce: Some(ByteString(&secret.iv)),
                authentication_tag: Some(ByteString(&secret.tag)),
                ..DecryptRequest::default()
            })
            .unwrap_or_else(|error| panic!("an acknowledged ciphertext does not decrypt: {error}"));
        assert_eq!(answer.data.map(|data| data.0.to_vec()).as_ref(), Some(&secret.plain));
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014): a printed seed replays a campaign's waiting times.
struct Random(u64);

impl Random {
    fn within(&mut self, millis: std::ops::Range<u64>) -> Duration {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        Duration::from_millis(millis.start + (mixed ^ (mixed >> 31)) % (millis.end - millis.start))
    }
}
