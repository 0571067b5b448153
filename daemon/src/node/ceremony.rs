//! The ceremony of a node: one at a time, on disk before anybody is told, done once enough custodians have signed (C12).
//!
//! `ceremony.json` holds the question and the signed votes; a start reads them again and believes none whose signature does not hold. A ceremony that was
//! cut off while it was executed has ended: whether it was done is looked up, not tried again.

use std::fs;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use data_encoding::{BASE64, HEXLOWER};
use keys::entropy::Randomness;
use keys::id::Time;
use keys::port::Clock;
use rustls::SignatureScheme;
use seal::{Ceremony, CustodianKey, Question, Roster, Standing, Vote};
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use x509_parser::prelude::{FromDer, SubjectPublicKeyInfo};

use crate::admin::types::{CastVote, NewCeremony, RekeyInfo, SignedManifest};
use crate::layout::Layout;
use crate::node::{Node, UnsealError, blocking};
use crate::system::{SystemClock, SystemEntropy, rfc3339};
use crate::tls::provider;

/// So long after its start a ceremony is over.
const COLLECT_WITHIN: Duration = Duration::from_secs(15 * 60);
const FORMAT: u16 = 1;

/// Who started a ceremony, and may cancel it alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Starter(pub(crate) String);

/// A vote with its signature, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SignedVote {
    vote: String,
    public_key: String,
    scheme: u16,
    signature: String,
}

/// The ceremony that is under way.
#[derive(Debug, Clone)]
pub(crate) struct Running {
    pub(crate) ceremony: Ceremony,
    pub(crate) asked: NewCeremony,
    pub(crate) starter: Starter,
    pub(crate) started: Time,
    pub(crate) is_executing: bool,
    votes: Vec<SignedVote>,
    deadline: Instant,
}

/// `ceremony.json`.
#[derive(Serialize, Deserialize)]
struct File {
    format: u16,
    id: Uuid,
    asked: NewCeremony,
    starter: Starter,
    started_millis: i64,
    votes: Vec<SignedVote>,
}

/// What is kept of a ceremony that has ended.
#[derive(Serialize)]
struct Manifest<'a> {
    format: u16,
    cluster: String,
    ceremony: Uuid,
    asked: &'a NewCeremony,
    asked_sha256: String,
    starter: &'a Starter,
    started: String,
    ended: String,
    threshold: u8,
    custodians: Vec<String>,
    votes: &'a [SignedVote],
    outcome: &'a str,
    slot: Option<String>,
    /// How the slot's key is split, as the slot itself says.
    split: Option<serde_json::Value>,
    rekey: Option<&'a RekeyInfo>,
}

/// What comes of a vote.
pub(crate) enum Next {
    /// More are wanted, or it was cancelled.
    Wait(Running),
    /// It is to be done now.
    Execute(Running),
}

/// Why a ceremony is as it was.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CeremonyError {
    /// The custodians, or their votes.
    #[error(transparent)]
    Votes(#[from] seal::Error),
    /// Another one is under way.
    #[error("the ceremony {id} ({operation}) is under way: approve or cancel it first, see `strongroom ceremony status`")]
    UnderWay {
        /// Which.
        id: Uuid,
        /// What it is for.
        operation: String,
    },
    /// None of that id is under way.
    #[error("no ceremony {id} is under way: it has ended, or its {} minutes are over; see `strongroom ceremony status`", COLLECT_WITHIN.as_secs() / 60)]
    NoSuch {
        /// What was asked for.
        id: Uuid,
    },
    /// A signature does not hold.
    #[error("the vote's signature does not hold for this ceremony: sign it by `strongroom ceremony approve --key FILE`")]
    Signature,
    /// Only the starter may.
    #[error("only who has started the ceremony cancels it alone: cancel it with a custodian's key")]
    NotStarter,
    /// The last approval would have it done, which takes an open node.
    #[error("the node is sealed, and this approval would have the ceremony done: run `strongroom unseal`, then approve again")]
    Sealed,
    /// It is being executed.
    #[error("the ceremony is being executed: see `strongroom ceremony status`")]
    Executing,
    /// This node has no slots.
    #[error("an edge has no ceremonies: run this at its core")]
    Edge,
    /// The file.
    #[error("{path}: {source}", path = .path.display())]
    Io {
        /// Which.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// No randomness.
    #[error(transparent)]
    Entropy(#[from] keys::port::EntropyError),
    /// The audit log.
    #[error(transparent)]
    Log(#[from] UnsealError),
}

impl SignedVote {
    /// Reads what a custodian has sent, and checks the signature on this question.
    fn judged(&self, question: &Question) -> Result<(Vote, CustodianKey), CeremonyError> {
        let vote = match self.vote.as_str() {
            "approve" => Vote::Approve,
            "cancel" => Vote::Cancel,
            _ => return Err(CeremonyError::Signature),
        };
        let bytes = |text: &str| BASE64.decode(text.as_bytes()).map_err(|_| CeremonyError::Signature);
        let (spki, signature) = (bytes(&self.public_key)?, bytes(&self.signature)?);
        let (rest, parsed) = SubjectPublicKeyInfo::from_der(&spki).map_err(|_| CeremonyError::Signature)?;
        let scheme = SignatureScheme::from(self.scheme);
        let mapping = provider().signature_verification_algorithms.mapping;
        let mut fitting = mapping.iter().filter(|(known, _)| *known == scheme).flat_map(|(_, algorithms)| *algorithms);
        let message = question.message(vote);
        let holds = fitting.any(|algorithm| algorithm.verify_signature(&parsed.subject_public_key.data, &message, &signature).is_ok());
        if !rest.is_empty() || !holds {
            return Err(CeremonyError::Signature);
        }
        Ok((vote, CustodianKey(cipher::mac::sha256(&[&spki]))))
    }
}

impl From<CastVote> for SignedVote {
    fn from(CastVote { vote, public_key, scheme, signature }: CastVote) -> Self {
        Self { vote, public_key, scheme, signature }
    }
}

impl Running {
    /// How long it may go on.
    pub(crate) fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    fn file(&self) -> File {
        File {
            format: FORMAT,
            id: self.ceremony.question.id,
            asked: self.asked.clone(),
            starter: self.starter.clone(),
            started_millis: self.started.millis(),
            votes: self.votes.clone(),
        }
    }
}

impl Node {
    fn ceremony_slot(&self) -> MutexGuard<'_, Option<Running>> {
        self.ceremony.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The ceremony that is under way.
    pub(crate) fn ceremony(&self) -> Option<Running> {
        let mut running = self.ceremony_slot();
        if running.as_ref().is_some_and(|running| running.left().is_zero() && !running.is_executing) {
            let over = running.take();
            drop(running);
            if let Some(over) = over {
                self.end_ceremony(&over, "out of time", None, None);
            }
            return None;
        }
        running.clone()
    }

    /// Those whose votes count, by the slots of the generation in force; compared with the cluster record when something is done. While the MasterKey is
    /// re-keyed, slots of the next one may name others.
    fn roster(&self, generation: Option<u32>) -> Result<Roster, CeremonyError> {
        let listing = self.seal_slots().ok_or(CeremonyError::Edge)?.list()?.of_generation(generation);
        Ok(listing.roster().cloned().unwrap_or(Roster::empty()))
    }

    /// Is there nobody to be asked?
    pub(crate) async fn has_no_custodians(&self) -> bool {
        self.roster(self.expected().await.generation).is_ok_and(|roster| roster.custodians().is_empty())
    }

    /// Asks the custodians.
    ///
    /// # Errors
    /// [`CeremonyError`]; nothing is asked then.
    pub(crate) async fn start_ceremony(self: &Arc<Self>, asked: NewCeremony, starter: Starter) -> Result<Running, CeremonyError> {
        let node = Arc::clone(self);
        let generation = self.expected().await.generation;
        blocking(move || {
            if let Some(Running { ceremony, .. }) = node.ceremony() {
                let Question { id, operation, .. } = ceremony.question;
                return Err(CeremonyError::UnderWay { id, operation });
            }
            let id = uuid::Builder::from_random_bytes(Randomness::new(Arc::new(SystemEntropy)).array()?).into_uuid();
            let running = node.running((id, asked, starter), node.roster(generation)?, SystemClock.now(), COLLECT_WITHIN)?;
            let mut place = node.ceremony_slot();
            if let Some(Running { ceremony, .. }) = &*place {
                return Err(CeremonyError::UnderWay { id: ceremony.question.id, operation: ceremony.question.operation.clone() });
            }
            node.write_ceremony(&running)?;
            *place = Some(running.clone());
            Ok(running)
        })
        .await
    }

    fn running(
        &self,
        (id, asked, starter): (Uuid, NewCeremony, Starter),
        roster: Roster,
        started: Time,
        left: Duration,
    ) -> Result<Running, CeremonyError> {
        let question = Question { cluster: self.identity.cluster, id, operation: asked.operation().to_owned(), digest: asked.digest() };
        let ceremony = Ceremony::new(question, roster)?;
        Ok(Running { ceremony, asked, starter, started, is_executing: false, votes: Vec::new(), deadline: Instant::now() + left })
    }

    /// Counts a custodian's vote. Whoever gets [`Next::Execute`] does what was approved, and then calls [`Node::end_ceremony`].
    ///
    /// # Errors
    /// [`CeremonyError`]; the vote does not count then.
    pub(crate) async fn cast_vote(self: &Arc<Self>, id: Uuid, vote: SignedVote) -> Result<Next, CeremonyError> {
        let node = Arc::clone(self);
        blocking(move || {
            let _expired = node.ceremony();
            let mut place = node.ceremony_slot();
            let Some(running) = place.as_mut().filter(|running| running.ceremony.question.id == id) else {
                return Err(CeremonyError::NoSuch { id });
            };
            if running.is_executing {
                return Err(CeremonyError::Executing);
            }
            let (said, key) = vote.judged(&running.ceremony.question)?;
            let mut next = running.clone();
            let standing = next.ceremony.vote(said, key)?;
            if standing == Standing::Approved && node.open().is_none() {
                return Err(CeremonyError::Sealed);
            }
            next.votes.push(vote);
            next.is_executing = standing == Standing::Approved;
            node.write_ceremony(&next)?;
            *running = next.clone();
            match standing {
                Standing::Approved => Ok(Next::Execute(next)),
                Standing::Collecting => Ok(Next::Wait(next)),
                Standing::Cancelled => {
                    *place = None;
                    drop(place);
                    node.end_ceremony(&next, "cancelled", None, None);
                    Ok(Next::Wait(next))
                }
            }
        })
        .await
    }

    /// Cancels the ceremony for whoever has started it.
    ///
    /// # Errors
    /// [`CeremonyError`]; it goes on then.
    pub(crate) async fn cancel_ceremony(self: &Arc<Self>, id: Uuid, starter: Starter) -> Result<Running, CeremonyError> {
        let node = Arc::clone(self);
        blocking(move || {
            let _expired = node.ceremony();
            let mut place = node.ceremony_slot();
            match place.as_ref().filter(|running| running.ceremony.question.id == id) {
                None => return Err(CeremonyError::NoSuch { id }),
                Some(running) if running.is_executing => return Err(CeremonyError::Executing),
                Some(running) if running.starter != starter => return Err(CeremonyError::NotStarter),
                Some(_) => {}
            }
            let running = place.take().ok_or(CeremonyError::NoSuch { id })?;
            drop(place);
            node.end_ceremony(&running, "cancelled by who started it", None, None);
            Ok(running)
        })
        .await
    }

    fn write_ceremony(&self, running: &Running) -> Result<(), CeremonyError> {
        let layout = Layout::new(&self.config.data_dir);
        let path = layout.ceremony();
        let text = serde_json::to_vec_pretty(&running.file()).expect("plain fields always print");
        layout.replace(&path, &text).map_err(|source| CeremonyError::Io { path, source })
    }

    /// Leaves the manifest of a ceremony, then forgets it. If the manifest cannot be written the log says so: what was done is done.
    pub(crate) fn end_ceremony(&self, running: &Running, outcome: &str, slot: Option<String>, rekey: Option<&RekeyInfo>) {
        let layout = Layout::new(&self.config.data_dir);
        let Question { id, cluster, digest, .. } = running.ceremony.question;
        let roster = running.ceremony.roster();
        let split = slot.as_ref().and_then(|slot| self.seal_slots()?.manifest(slot).ok()?);
        let manifest = Manifest {
            split: split.and_then(|split| serde_json::from_str(&split).ok()),
            format: FORMAT,
            cluster: cluster.to_string(),
            ceremony: id,
            asked: &running.asked,
            asked_sha256: HEXLOWER.encode(&digest),
            starter: &running.starter,
            started: rfc3339(running.started),
            ended: rfc3339(SystemClock.now()),
            threshold: roster.threshold(),
            custodians: roster.custodians().iter().map(|key| HEXLOWER.encode(&key.0)).collect(),
            votes: &running.votes,
            outcome,
            slot,
            rekey,
        };
        let manifest = serde_json::to_string_pretty(&manifest).expect("plain fields always print");
        let signed = self.audit.sign_statement(manifest.as_bytes());
        let signed = SignedManifest {
            manifest,
            log: self.log_id(),
            public_key: signed.map(|signed| HEXLOWER.encode(&signed.public)),
            signature: signed.map(|signed| HEXLOWER.encode(&signed.signature)),
        };
        let text = serde_json::to_vec_pretty(&signed).expect("plain fields always print");
        let kept = layout.replace(&layout.manifest(id), &text).and_then(|()| fs::remove_file(layout.ceremony()));
        if let Err(error) = kept {
            tracing::error!(%error, ceremony = %id, outcome, "the ceremony has ended, but its manifest was not kept");
        }
        let mut place = self.ceremony_slot();
        if place.as_ref().is_some_and(|other| other.ceremony.question.id == id) {
            *place = None;
        }
    }

    /// The manifest of a ceremony that has ended.
    pub(crate) fn ceremony_manifest(&self, id: Uuid) -> Option<SignedManifest> {
        let text = fs::read(Layout::new(&self.config.data_dir).manifest(id)).ok()?;
        let kept: SignedManifest = serde_json::from_slice(&text).ok()?;
        // A release before this one did not write the log's id into the file.
        Some(SignedManifest { log: self.log_id(), ..kept })
    }

    fn log_id(&self) -> String {
        HEXLOWER.encode(&self.identity.log.0)
    }

    /// Takes up the ceremony of before the start.
    pub(crate) async fn resume_ceremony(&self) {
        let path = Layout::new(&self.config.data_dir).ceremony();
        let Ok(text) = fs::read(&path) else { return };
        let generation = self.expected().await.generation;
        match self.resumed(&text, generation) {
            Some(running) if running.ceremony.standing() == Standing::Collecting => {
                tracing::info!(ceremony = %running.ceremony.question.id, "a ceremony goes on");
                *self.ceremony_slot() = Some(running);
            }
            Some(running) => self.end_ceremony(&running, "cut off by a restart: look whether it was done", None, None),
            None => {
                tracing::warn!(path = %path.display(), "the ceremony of before the start is over, or its file is damaged");
                let _absent = fs::remove_file(&path);
            }
        }
    }

    fn resumed(&self, text: &[u8], generation: Option<u32>) -> Option<Running> {
        let File { format, id, asked, starter, started_millis, votes } = serde_json::from_slice(text).ok()?;
        let started = Time::from_millis(started_millis);
        let gone = u64::try_from(SystemClock.now().millis() - started_millis).ok().map(Duration::from_millis)?;
        let left = COLLECT_WITHIN.checked_sub(gone).filter(|left| !left.is_zero() && format == FORMAT)?;
        let mut running = self.running((id, asked, starter), self.roster(generation).ok()?, started, left).ok()?;
        for vote in votes {
            let (said, key) = vote.judged(&running.ceremony.question).ok()?;
            running.ceremony.vote(said, key).ok()?;
            running.votes.push(vote);
        }
        Some(running)
    }
}
