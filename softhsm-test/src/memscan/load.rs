//! Work for a node while it is looked at: every kind of request, from several connections, good ones and refused ones.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{Scope, ScopedJoinHandle};
use std::time::Duration;

use daemon::kmip_client::{KmipClient, KmipError};
use kmip::ttlv::ByteString;
use kmip::{
    BlockCipherMode, CryptographicParameters, DecryptRequest, EncryptRequest, GetAttributeListRequest, PaddingMethod, ResultReason,
    RevocationReasonCode,
};

use crate::memscan::look::pause;
use crate::requests::{self, activate, create, decrypt, destroy, encrypt, get, locate, look, register, revoke};
use crate::{Core, Who};

/// Lengths of the texts that are encrypted, in bytes: the usual one is a data key.
const TEXT_BYTES: [usize; 6] = [32, 32, 48, 64, 1024, 16 * 1024];

/// How long the L3 of an edge under load stays as it is.
const BETWEEN_VERSIONS: Duration = Duration::from_secs(1);

/// What runs, until it is told to stop.
pub(super) struct Load<'scope> {
    workers: Vec<ScopedJoinHandle<'scope, ()>>,
    gauge: &'scope Gauge,
}

/// Shared by the workers of one load.
#[derive(Default)]
pub(super) struct Gauge {
    stop: AtomicBool,
    requests: AtomicU64,
}

impl Gauge {
    fn goes_on(&self) -> bool {
        self.requests.fetch_add(1, Ordering::Relaxed);
        !self.stop.load(Ordering::Relaxed)
    }

    /// Requests answered so far.
    pub(super) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }
}

/// What goes on besides the work that every node does.
pub(super) enum Besides<'a> {
    /// Nothing.
    Nothing,
    /// An operator of the node never rests.
    Operator,
    /// The node is an edge: secrets are registered, and its core's key is asked for as well.
    Upstream,
    /// The node is an edge: secrets are registered, while the service's L3 gets new versions at this core.
    Rekeying(&'a Core),
}

impl<'scope> Load<'scope> {
    /// Starts the clients of KMIP; `name` tells the keys of one load from those of another.
    pub(super) fn start<'env>(
        scope: &'scope Scope<'scope, 'env>,
        node: &'scope Core,
        key: &'scope str,
        gauge: &'scope Gauge,
        name: &'static str,
        besides: &'scope Besides<'_>,
    ) -> Self {
        let mut workers = vec![
            scope.spawn(move || encrypt_and_decrypt(&mut node.connect(Who::Service), key, gauge)),
            scope.spawn(move || blocks(&mut node.connect(Who::Service), key, gauge)),
            scope.spawn(move || live_and_die(&mut node.connect(node.governor()), name, gauge)),
        ];
        match besides {
            Besides::Nothing => {}
            Besides::Operator => workers.push(scope.spawn(move || administer(node, gauge))),
            Besides::Upstream => {
                let l3 = node.value("L3_ID");
                workers.push(scope.spawn(move || encrypt_and_decrypt(&mut node.connect(Who::Service), &l3, gauge)));
                workers.push(scope.spawn(move || secrets(&mut node.connect(Who::Service), key, name, gauge)));
            }
            Besides::Rekeying(core) => {
                workers.push(scope.spawn(move || secrets(&mut node.connect(Who::Service), key, name, gauge)));
                workers.push(scope.spawn(move || rekey(core, gauge)));
            }
        }
        Self { workers, gauge }
    }

    /// Waits until every worker has ended.
    pub(super) fn stop(self) {
        self.gauge.stop.store(true, Ordering::Relaxed);
        for worker in self.workers {
            worker.join().expect("the core answers");
        }
    }
}

/// Repeats one piece of work until the load is told to stop. A core that was just looked at may find that its disk has been silent for too long,
/// and refuses then for a moment; any other refusal is a fault.
fn repeat(gauge: &Gauge, mut work: impl FnMut(usize) -> Result<(), KmipError>) {
    for number in 0.. {
        if !gauge.goes_on() {
            return;
        }
        match work(number) {
            Ok(()) => {}
            Err(KmipError::Kmip(kmip::Error::Refused { reason: Some(ResultReason::GeneralFailure), .. })) => {}
            Err(error) => panic!("under load: {error}"),
        }
    }
}

/// AES-GCM there and back, and once with a spoilt tag, which is the way through the errors.
fn encrypt_and_decrypt(client: &mut KmipClient, key: &str, gauge: &Gauge) {
    repeat(gauge, |number| {
        let mut secret = encrypt(client, key, vec![0x5A; TEXT_BYTES[number % TEXT_BYTES.len()]])?;
        assert_eq!(decrypt(client, &secret)?, secret.plain, "what was encrypted");
        secret.tag[0] ^= 1;
        assert!(decrypt(client, &secret).is_err(), "a spoilt tag is refused");
        Ok(())
    });
}

/// AES-CBC there and back, and once with the last block cut off.
fn blocks(client: &mut KmipClient, key: &str, gauge: &Gauge) {
    let (block_cipher_mode, padding_method) = (Some(BlockCipherMode::Cbc), Some(PaddingMethod::Pkcs5));
    let cbc = || Some(CryptographicParameters { block_cipher_mode, padding_method, ..CryptographicParameters::default() });
    repeat(gauge, |_| {
        let request = EncryptRequest {
            unique_identifier: Some(key),
            cryptographic_parameters: cbc(),
            data: Some(ByteString(&[0x5A; 64])),
            ..EncryptRequest::default()
        };
        let answer = client.call(&request)?;
        let (data, iv) = (answer.data.expect("there is a ciphertext").0.to_vec(), answer.iv_counter_nonce.expect("an IV").0.to_vec());
        let mut decrypt = |data: &[u8]| {
            let request = DecryptRequest {
                unique_identifier: Some(key),
                cryptographic_parameters: cbc(),
                data: Some(ByteString(data)),
                iv_counter_nonce: Some(ByteString(&iv)),
                ..DecryptRequest::default()
            };
            client.call(&request).map(drop)
        };
        assert!(decrypt(&data[..data.len() - 16]).is_err(), "without its last block it is badly padded");
        decrypt(&data)
    });
}

/// Keys from Create to Destroy, and their attributes.
fn live_and_die(client: &mut KmipClient, name: &str, gauge: &Gauge) {
    repeat(gauge, |number| {
        let name = format!("{name}-{number}");
        let key = create(client, &name)?;
        activate(client, &key)?;
        let _active = look(client, &key)?;
        let listed = client.call(&GetAttributeListRequest { unique_identifier: Some(&key) })?;
        assert!(!listed.attribute_names.is_empty(), "it has attributes");
        assert_eq!(locate(client, &name)?, std::slice::from_ref(&key));
        revoke(client, &key, RevocationReasonCode::CessationOfOperation)?;
        destroy(client, &key)
    });
}

/// So many secrets are registered between two Gets of a key that is searched for: what a client asked for is in the answer as long as that is made.
const SECRETS_PER_GET: usize = 4;

/// Secrets from Register to Destroy, and now and then the key itself.
fn secrets(client: &mut KmipClient, key: &str, name: &str, gauge: &Gauge) {
    repeat(gauge, |number| {
        let password = format!("{number:016} is the number of a secret").into_bytes();
        let secret = register(client, &format!("secret-{name}-{number}"), &password)?;
        assert_eq!(get(client, &secret)?, password, "what was registered");
        if number.is_multiple_of(SECRETS_PER_GET) {
            assert_eq!(get(client, key)?.len(), 32, "AES-256");
        }
        destroy(client, &secret)
    });
}

/// New versions of the service's L3.
fn rekey(core: &Core, gauge: &Gauge) {
    let mut client = core.connect(Who::TenantAdmin);
    let mut newest = core.value("L3_ID");
    repeat(gauge, |_| {
        newest = requests::rekey(&mut client, &newest)?;
        pause(BETWEEN_VERSIONS);
        Ok(())
    });
}

/// What an operator does: tenants, which need the IVK, and a test of the seal slot, which opens the MasterKey. Either may be refused for a
/// moment, as in [`repeat`].
fn administer(core: &Core, gauge: &Gauge) {
    let slots: serde_json::Value = serde_json::from_str(&core.ask(&["--json", "slot", "list"])).expect("a list in JSON");
    let slot = slots[0]["id"].as_str().expect("there is one slot").to_owned();
    let mut done = 0;
    repeat(gauge, |number| {
        let made = core.cli(&["tenant", "create", &format!("tenant-{number}")]).status.success();
        let verified = core.cli(&["slot", "verify", &slot]).status.success();
        done += usize::from(made && verified);
        Ok(())
    });
    assert!(done > 0, "no tenant was made and no slot verified");
}
