//! The bytes of the log, format version 1: what each kind of line looks like.
//!
//! ```text
//! line       kind u8 | length u16 | body | link 32        length counts body and link; integers are big-endian
//! link       SHA-256("strongroom-audit-v1" 00 | link before | kind | body); before the first line of a log: 32 zeroes
//!
//! 1 header   magic "SRAUDIT" 00 | version u16 | log id 16 | segment u64 | first seq u64 | unsigned from u64 | outbox mark u64
//!            | last session u64 | link before 32                                                      first line of a segment
//! 2 record   seq u64 | time i64 | session u64 | action u16 | present u8 | layer u8 | uuid 16 | version u32 | generation u64
//!            | outcome u8 | outbox u64            100 bytes as a line; present: 1 object, 2 version, 4 generation, else zeroes
//! 3 session  seq u64 | time i64 | session u64 | origin u8 | role u8 | certificate 32 | tenant | service | peer
//!                                                                       texts: length u8, UTF-8; role 0: no rule named one
//! 4 signed   first seq u64 | last seq u64 | chain head 32 | Merkle root 32 | public key 32 | Ed25519 signature 64     no link
//!            signature over "strongroom-audit-signature-v1" 00 | log id | first seq | last seq | chain head | Merkle root
//! 5 end      number of the next segment u64                                        last line of a segment but the newest; no link
//! ```
//!
//! Times are milliseconds since 1970. Records and sessions are numbered together by `seq`, from 1 and without gaps; their links are the leaves
//! of the Merkle tree of the signature that covers them. A signature covers everything since the one before, which after a sealed start may be
//! many groups. Why a record holds its own link and not its predecessor's: it costs the same, and an altered record is found at itself, even the last.

use keys::id::{Generation, KeyVersion, Layer, OutboxSeq, RowId, SessionId, Time};
use keys::policy::{Action, Role};
use keys::record::{AUDIT_TEXT_BYTES_MAX, Origin, Outcome, Record, SessionRecord};
use uuid::Uuid;

use crate::error::Flaw;

/// The first bytes of a header.
pub(crate) const MAGIC: [u8; 8] = *b"SRAUDIT\0";
/// The only version of this format so far.
pub(crate) const VERSION: u16 = 1;
/// `kind u8 | length u16`.
pub(crate) const FRAME_BYTES: usize = 3;
/// A SHA-256 hash.
pub(crate) const LINK_BYTES: usize = 32;

pub(crate) const HEADER: u8 = 1;
pub(crate) const RECORD: u8 = 2;
pub(crate) const SESSION: u8 = 3;
pub(crate) const SIGNED: u8 = 4;
pub(crate) const END: u8 = 5;

/// Highest number of a segment or record that a header may begin with.
const NUMBER_MAX: u64 = 1 << 62;

const HAS_OBJECT: u8 = 1;
const HAS_VERSION: u8 = 2;
const HAS_GENERATION: u8 = 4;

/// Shortest and longest length that a line of this kind may state.
///
/// # Errors
/// [`Flaw::Kind`].
pub(crate) fn length_range(kind: u8) -> Result<(usize, usize), Flaw> {
    match kind {
        HEADER => Ok((98 + LINK_BYTES, 98 + LINK_BYTES)),
        RECORD => Ok((65 + LINK_BYTES, 65 + LINK_BYTES)),
        SESSION => Ok((61 + LINK_BYTES, 61 + 3 * AUDIT_TEXT_BYTES_MAX + LINK_BYTES)),
        SIGNED => Ok((176, 176)),
        END => Ok((8, 8)),
        other => Err(Flaw::Kind(other)),
    }
}

/// Is a line of this kind part of the hash chain?
pub(crate) fn is_chained(kind: u8) -> bool {
    matches!(kind, HEADER | RECORD | SESSION)
}

/// Which log a record is in: made once per node, at random.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogId(pub [u8; 16]);

/// One line, without its link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Line {
    Header(Header),
    Record(RecordLine),
    Session(SessionLine),
    Signed(Signed),
    End { next_segment: u64 },
}

/// The beginning of a segment: what a reader of this segment alone has to know of those before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) log_id: LogId,
    pub(crate) segment: u64,
    pub(crate) first_seq: u64,
    /// The first record that no signature covers yet.
    pub(crate) unsigned_from: u64,
    /// All records of the outbox up to this one are in the segments before.
    pub(crate) outbox: u64,
    /// The highest session number of the segments before.
    pub(crate) last_session: u64,
    pub(crate) head: [u8; LINK_BYTES],
}

/// A record with its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RecordLine {
    pub(crate) seq: u64,
    pub(crate) record: Record,
    /// Its place in the outbox, if it came from there.
    pub(crate) outbox: Option<OutboxSeq>,
}

/// A session with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SessionLine {
    pub(crate) seq: u64,
    pub(crate) session: SessionRecord,
}

/// A group's signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Signed {
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) head: [u8; LINK_BYTES],
    pub(crate) root: [u8; 32],
    pub(crate) public: [u8; 32],
    pub(crate) signature: [u8; 64],
}

impl Signed {
    /// What the signature is over.
    pub(crate) fn message(&self, log_id: LogId) -> Vec<u8> {
        let (first, last) = (self.first.to_be_bytes(), self.last.to_be_bytes());
        [b"strongroom-audit-signature-v1\0".as_slice(), &log_id.0, &first, &last, &self.head, &self.root].concat()
    }
}

impl Line {
    /// The number in the first byte of the line.
    pub(crate) fn kind(&self) -> u8 {
        match self {
            Self::Header(_) => HEADER,
            Self::Record(_) => RECORD,
            Self::Session(_) => SESSION,
            Self::Signed(_) => SIGNED,
            Self::End { .. } => END,
        }
    }

    /// When it happened, if it is a record or session.
    pub(crate) fn time(&self) -> Option<Time> {
        match self {
            Self::Record(line) => Some(line.record.time),
            Self::Session(line) => Some(line.session.time),
            Self::Header(_) | Self::Signed(_) | Self::End { .. } => None,
        }
    }

    /// Appends the body.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Header(header) => encode_header(header, out),
            Self::Record(line) => encode_record(line, out),
            Self::Session(line) => encode_session(line, out),
            Self::Signed(signed) => {
                put(out, &[&signed.first.to_be_bytes(), &signed.last.to_be_bytes(), &signed.head, &signed.root, &signed.public]);
                out.extend_from_slice(&signed.signature);
            }
            Self::End { next_segment } => out.extend_from_slice(&next_segment.to_be_bytes()),
        }
    }

    /// Reads a body.
    ///
    /// # Errors
    /// [`Flaw::Kind`], [`Flaw::Length`], [`Flaw::Field`], [`Flaw::Header`] or [`Flaw::Version`].
    pub(crate) fn decode(kind: u8, body: &[u8]) -> Result<Self, Flaw> {
        let mut fields = Fields { kind, bytes: body.len(), rest: body };
        let line = match kind {
            HEADER => Self::Header(decode_header(&mut fields)?),
            RECORD => Self::Record(decode_record(&mut fields)?),
            SESSION => Self::Session(decode_session(&mut fields)?),
            SIGNED => Self::Signed(Signed {
                first: fields.u64()?,
                last: fields.u64()?,
                head: fields.array()?,
                root: fields.array()?,
                public: fields.array()?,
                signature: fields.array()?,
            }),
            END => Self::End { next_segment: fields.u64()? },
            other => return Err(Flaw::Kind(other)),
        };
        if fields.rest.is_empty() { Ok(line) } else { Err(fields.wrong_length()) }
    }
}

fn encode_header(header: &Header, out: &mut Vec<u8>) {
    put(out, &[&MAGIC, &VERSION.to_be_bytes(), &header.log_id.0]);
    for number in [header.segment, header.first_seq, header.unsigned_from, header.outbox, header.last_session] {
        out.extend_from_slice(&number.to_be_bytes());
    }
    out.extend_from_slice(&header.head);
}

fn decode_header(fields: &mut Fields<'_>) -> Result<Header, Flaw> {
    if fields.array()? != MAGIC {
        return Err(Flaw::Header);
    }
    let version = u16::from_be_bytes(fields.array()?);
    if version != VERSION {
        return Err(Flaw::Version(version));
    }
    let header = Header {
        log_id: LogId(fields.array()?),
        segment: fields.u64()?,
        first_seq: fields.u64()?,
        unsigned_from: fields.u64()?,
        outbox: fields.u64()?,
        last_session: fields.u64()?,
        head: fields.array()?,
    };
    // Readers count on from here, and must not overflow.
    let countable = 1..=NUMBER_MAX;
    if !countable.contains(&header.segment) || !countable.contains(&header.first_seq) {
        return Err(Flaw::Field("segment or first seq"));
    }
    if !(1..=header.first_seq).contains(&header.unsigned_from) {
        return Err(Flaw::Field("unsigned from"));
    }
    Ok(header)
}

fn encode_record(line: &RecordLine, out: &mut Vec<u8>) {
    let record = &line.record;
    debug_assert!(Action::ALL.contains(&record.action), "{:?} is not in Action::ALL, so its record would not read back", record.action);
    let flag = |is_present: bool, bit: u8| if is_present { bit } else { 0 };
    let present = flag(record.object.is_some(), HAS_OBJECT)
        | flag(record.version.is_some(), HAS_VERSION)
        | flag(record.generation.is_some(), HAS_GENERATION);
    put(out, &[&line.seq.to_be_bytes(), &record.time.millis().to_be_bytes(), &record.session.0.to_be_bytes()]);
    put(out, &[&(record.action as u16).to_be_bytes(), &[present], &record.object.map_or([0; 17], RowId::to_bytes)]);
    put(out, &[&record.version.map_or(0, |version| version.0).to_be_bytes()]);
    put(out, &[&record.generation.map_or(0, |generation| generation.0).to_be_bytes()]);
    put(out, &[&[record.outcome as u8], &line.outbox.map_or(0, |seq| seq.0).to_be_bytes()]);
}

fn decode_record(fields: &mut Fields<'_>) -> Result<RecordLine, Flaw> {
    let seq = fields.u64()?;
    let time = fields.time()?;
    let session = SessionId(fields.u64()?);
    let action = u16::from_be_bytes(fields.array()?);
    let action = Action::ALL.into_iter().find(|known| *known as u16 == action).ok_or(Flaw::Field("action"))?;
    let [present] = fields.array()?;
    if present > (HAS_OBJECT | HAS_VERSION | HAS_GENERATION) {
        return Err(Flaw::Field("present"));
    }
    let object = decode_object(present, fields.array()?, fields.array()?)?;
    let version = u32::from_be_bytes(fields.array()?);
    let generation = fields.u64()?;
    let absent_but_set = |bit: u8, is_set: bool| present & bit == 0 && is_set;
    if absent_but_set(HAS_VERSION, version != 0) || absent_but_set(HAS_GENERATION, generation != 0) {
        return Err(Flaw::Field("present"));
    }
    let outcome = decode_outcome(fields.array()?)?;
    let outbox = Some(fields.u64()?).filter(|seq| *seq != 0).map(OutboxSeq);
    let version = (present & HAS_VERSION != 0).then_some(KeyVersion(version));
    let generation = (present & HAS_GENERATION != 0).then_some(Generation(generation));
    Ok(RecordLine { seq, record: Record { time, session, action, object, version, generation, outcome }, outbox })
}

fn decode_object(present: u8, [layer]: [u8; 1], uuid: [u8; 16]) -> Result<Option<RowId>, Flaw> {
    if present & HAS_OBJECT != 0 {
        let layer = Layer::try_from(layer).map_err(|_| Flaw::Field("layer"))?;
        return Ok(Some(RowId::new(layer, Uuid::from_bytes(uuid))));
    }
    if layer == 0 && uuid == [0; 16] { Ok(None) } else { Err(Flaw::Field("present")) }
}

fn decode_outcome([number]: [u8; 1]) -> Result<Outcome, Flaw> {
    Ok(match number {
        0 => Outcome::Success,
        1 => Outcome::Denied,
        2 => Outcome::NotFound,
        3 => Outcome::WrongState,
        4 => Outcome::Invalid,
        5 => Outcome::Refused,
        6 => Outcome::Unavailable,
        7 => Outcome::Corrupt,
        8 => Outcome::Undone,
        9 => Outcome::Intended,
        _ => return Err(Flaw::Field("outcome")),
    })
}

fn encode_session(line: &SessionLine, out: &mut Vec<u8>) {
    let session = &line.session;
    put(out, &[&line.seq.to_be_bytes(), &session.time.millis().to_be_bytes(), &session.session.0.to_be_bytes()]);
    put(out, &[&[session.origin as u8, session.role.map_or(0, |role| role as u8)], &session.certificate]);
    for text in [&session.tenant, &session.service, &session.peer] {
        let text = &text[..text.floor_char_boundary(AUDIT_TEXT_BYTES_MAX)];
        out.push(u8::try_from(text.len()).expect("AUDIT_TEXT_BYTES_MAX is below 256"));
        out.extend_from_slice(text.as_bytes());
    }
}

fn decode_session(fields: &mut Fields<'_>) -> Result<SessionLine, Flaw> {
    let seq = fields.u64()?;
    let time = fields.time()?;
    let session = SessionId(fields.u64()?);
    let [origin, role] = fields.array()?;
    let origin = match origin {
        0 => Origin::System,
        1 => Origin::Kmip,
        2 => Origin::Socket,
        3 => Origin::Https,
        4 => Origin::Admin,
        _ => return Err(Flaw::Field("origin")),
    };
    let role = match role {
        0 => None,
        number => Some(Role::ALL.into_iter().find(|known| *known as u8 == number).ok_or(Flaw::Field("role"))?),
    };
    let certificate = fields.array()?;
    let (tenant, service, peer) = (fields.text("tenant")?, fields.text("service")?, fields.text("peer")?);
    Ok(SessionLine { seq, session: SessionRecord { time, session, origin, role, tenant, service, certificate, peer } })
}

fn put(out: &mut Vec<u8>, parts: &[&[u8]]) {
    for part in parts {
        out.extend_from_slice(part);
    }
}

/// What is left to read of a body.
struct Fields<'a> {
    kind: u8,
    bytes: usize,
    rest: &'a [u8],
}

impl Fields<'_> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Flaw> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or_else(|| self.wrong_length())?;
        self.rest = rest;
        Ok(*taken)
    }

    fn u64(&mut self) -> Result<u64, Flaw> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    fn time(&mut self) -> Result<Time, Flaw> {
        Ok(Time::from_millis(i64::from_be_bytes(self.array()?)))
    }

    fn text(&mut self, field: &'static str) -> Result<String, Flaw> {
        let [length] = self.array()?;
        let length = usize::from(length);
        if length > AUDIT_TEXT_BYTES_MAX {
            return Err(Flaw::Field(field));
        }
        let (text, rest) = self.rest.split_at_checked(length).ok_or_else(|| self.wrong_length())?;
        self.rest = rest;
        String::from_utf8(text.to_vec()).map_err(|_| Flaw::Field(field))
    }

    fn wrong_length(&self) -> Flaw {
        Flaw::Length { kind: self.kind, bytes: self.bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn body(line: &Line) -> Vec<u8> {
        let mut out = Vec::new();
        line.encode(&mut out);
        out
    }

    fn records() -> impl Strategy<Value = Line> {
        let object = proptest::option::of((any::<u8>(), any::<u128>()));
        let numbers = (any::<u64>(), any::<i64>(), any::<u64>(), any::<u64>(), proptest::option::of(any::<u64>()));
        let choices = (0..Action::ALL.len(), 0..10_u8, proptest::option::of(any::<u32>()));
        (numbers, object, choices).prop_map(|((seq, time, session, outbox, generation), object, (action, outcome, version))| {
            let object = object.map(|(layer, uuid)| RowId::new(Layer::try_from(layer % 12).unwrap_or(Layer::L3), Uuid::from_u128(uuid)));
            let record = Record {
                time: Time::from_millis(time),
                session: SessionId(session),
                action: Action::ALL[action],
                object,
                version: version.map(KeyVersion),
                generation: generation.map(Generation),
                outcome: decode_outcome([outcome]).expect("there are ten outcomes"),
            };
            Line::Record(RecordLine { seq, record, outbox: Some(outbox).filter(|seq| *seq != 0).map(OutboxSeq) })
        })
    }

    fn sessions() -> impl Strategy<Value = Line> {
        let texts = ("[a-z0-9-]{0,63}", "\\PC{0,32}", "\\PC{0,32}");
        (any::<u64>(), any::<i64>(), any::<u64>(), 0..7_usize, any::<[u8; 32]>(), texts).prop_map(
            |(seq, time, session, role, certificate, (tenant, service, peer))| {
                let role = Role::ALL.get(role).copied();
                let (time, session, origin) = (Time::from_millis(time), SessionId(session), Origin::Kmip);
                Line::Session(SessionLine {
                    seq,
                    session: SessionRecord { time, session, origin, role, tenant, service, certificate, peer },
                })
            },
        )
    }

    fn headers() -> impl Strategy<Value = Line> {
        (any::<[u8; 16]>(), any::<[u64; 5]>(), any::<[u8; 32]>()).prop_map(|(id, numbers, head)| {
            let [segment, first_seq, unsigned_from, outbox, last_session] = numbers;
            let (segment, first_seq) = (segment % NUMBER_MAX + 1, first_seq % NUMBER_MAX + 1);
            let unsigned_from = unsigned_from % first_seq + 1;
            Line::Header(Header { log_id: LogId(id), segment, first_seq, unsigned_from, outbox, last_session, head })
        })
    }

    fn others() -> impl Strategy<Value = Line> {
        let signed = (any::<[u64; 2]>(), any::<[[u8; 32]; 3]>(), any::<[[u8; 32]; 2]>()).prop_map(|([first, last], hashes, halves)| {
            let [head, root, public] = hashes;
            let signature = halves.concat().try_into().expect("two halves of 32 bytes");
            Line::Signed(Signed { first, last, head, root, public, signature })
        });
        let end = any::<u64>().prop_map(|next_segment| Line::End { next_segment });
        prop_oneof![signed, end]
    }

    fn lines() -> impl Strategy<Value = Line> {
        prop_oneof![records(), sessions(), headers(), others()]
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(line in lines()) {
            let bytes = body(&line);
            let link = if is_chained(line.kind()) { LINK_BYTES } else { 0 };
            let (least, most) = length_range(line.kind()).expect("the kind is known");
            prop_assert!((least..=most).contains(&(bytes.len() + link)));
            prop_assert_eq!(Line::decode(line.kind(), &bytes), Ok(line));
        }

        #[test]
        fn bytes_that_read_as_a_line_are_the_only_spelling_of_it(kind in 0..7_u8, line in lines(), at in any::<proptest::sample::Index>(), xor in 1..=255_u8) {
            let mut bytes = body(&line);
            let at = at.index(bytes.len());
            bytes[at] ^= xor;
            for kind in [kind, line.kind()] {
                if let Ok(read) = Line::decode(kind, &bytes) {
                    prop_assert_eq!(body(&read), bytes.clone());
                }
            }
        }

        #[test]
        fn a_body_of_another_length_is_refused(line in lines(), cut in any::<proptest::sample::Index>(), extra in 1..9_usize) {
            let bytes = body(&line);
            prop_assert!(Line::decode(line.kind(), &bytes[..cut.index(bytes.len())]).is_err());
            prop_assert!(Line::decode(line.kind(), &[bytes, vec![0; extra]].concat()).is_err());
        }
    }

    #[test]
    fn a_record_takes_a_hundred_bytes() {
        assert_eq!(length_range(RECORD), Ok((97, 97)));
        assert_eq!(FRAME_BYTES + 97, 100);
    }

    #[test]
    fn a_long_text_is_cut_between_two_characters() {
        let peer = "é".repeat(AUDIT_TEXT_BYTES_MAX);
        let certificate = [0; 32];
        let (time, session, origin) = (Time::from_millis(0), SessionId(1), Origin::Socket);
        let long = SessionRecord { time, session, origin, role: None, tenant: "x".repeat(129), service: String::new(), certificate, peer };
        let Ok(Line::Session(read)) = Line::decode(SESSION, &body(&Line::Session(SessionLine { seq: 1, session: long }))) else {
            panic!("a session with long texts does not read back");
        };
        assert_eq!((read.session.tenant.len(), read.session.peer), (128, "é".repeat(64)));
    }

    #[test]
    fn unknown_kinds_and_versions_are_refused_by_name() {
        assert_eq!(Line::decode(9, &[]), Err(Flaw::Kind(9)));
        let header =
            Header { log_id: LogId([7; 16]), segment: 1, first_seq: 1, unsigned_from: 1, outbox: 0, last_session: 0, head: [0; 32] };
        let mut bytes = body(&Line::Header(header));
        bytes[9] = 2;
        assert_eq!(Line::decode(HEADER, &bytes), Err(Flaw::Version(2)));
        bytes[0] = b'X';
        assert_eq!(Line::decode(HEADER, &bytes), Err(Flaw::Header));
    }
}
