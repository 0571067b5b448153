//! The state that one line hands to the next; writer and reader keep the same.

use cipher::mac::sha256;
use cipher::sign;

use crate::error::{Flaw, Hex};
use crate::merkle::Tree;
use crate::outbox::Outbox;
use crate::record::{Header, LINK_BYTES, Line, LogId, RecordLine, Signed, is_chained};

/// A log up to one of its lines.
#[derive(Debug, Clone)]
pub(crate) struct Chain {
    pub(crate) log_id: LogId,
    pub(crate) head: [u8; LINK_BYTES],
    pub(crate) next_seq: u64,
    /// The last record that a signature covers.
    pub(crate) signed_to: u64,
    /// Records since then.
    pub(crate) tree: Tree,
    pub(crate) outbox: Outbox,
    pub(crate) last_session: u64,
    /// Public key of the last signature.
    pub(crate) signer: Option<[u8; 32]>,
}

/// The link of a line: `body` is without frame and link.
pub(crate) fn link(before: &[u8; LINK_BYTES], kind: u8, body: &[u8]) -> [u8; LINK_BYTES] {
    sha256(&[b"strongroom-audit-v1\0", before, &[kind], body])
}

impl Chain {
    /// Before the first line of a log.
    pub(crate) fn new(log_id: LogId) -> Self {
        let (outbox, tree) = (Outbox::default(), Tree::default());
        Self { log_id, head: [0; LINK_BYTES], next_seq: 1, signed_to: 0, tree, outbox, last_session: 0, signer: None }
    }

    /// Before a header, believing what it says about the segments before it.
    ///
    /// Right only where those segments end with a signature: else the tree lacks leaves.
    pub(crate) fn before(header: &Header) -> Self {
        Self {
            head: header.head,
            next_seq: header.first_seq,
            signed_to: header.unsigned_from - 1,
            outbox: Outbox::up_to(header.outbox),
            last_session: header.last_session,
            ..Self::new(header.log_id)
        }
    }

    /// The header of a segment that continues the log here.
    pub(crate) fn header(&self, segment: u64) -> Header {
        Header {
            log_id: self.log_id,
            segment,
            first_seq: self.next_seq,
            unsigned_from: self.signed_to + 1,
            outbox: self.outbox.mark(),
            last_session: self.last_session,
            head: self.head,
        }
    }

    /// Adds a record or session whose link is `link`.
    pub(crate) fn add(&mut self, link: [u8; LINK_BYTES]) {
        self.head = link;
        self.next_seq += 1;
        self.tree.push(&link);
    }

    /// Everything so far has been signed by `public`.
    pub(crate) fn sign(&mut self, public: [u8; 32]) {
        self.signed_to = self.next_seq - 1;
        self.tree.clear();
        self.signer = Some(public);
    }

    /// Does this line follow, and if so, goes on to it. `stored` is its link, if its kind has one; `segment` the number of the file.
    ///
    /// Does not verify the Ed25519 signature, which is dear: see [`check_signature`].
    ///
    /// # Errors
    /// Everything that [`Flaw`] says of single lines.
    pub(crate) fn follow(&mut self, line: &Line, body: &[u8], stored: [u8; LINK_BYTES], segment: u64) -> Result<(), Flaw> {
        match line {
            Line::Header(header) => {
                self.check_header(header, segment)?;
                self.head = self.check_link(line, body, stored)?;
                // The mark cannot be derived: a start may have found that a gap is none. The chain vouches for it.
                self.outbox = Outbox::up_to(header.outbox);
            }
            Line::Record(RecordLine { seq, outbox, .. }) => {
                self.check_seq(*seq)?;
                let link = self.check_link(line, body, stored)?;
                self.add(link);
                if let Some(outbox) = outbox {
                    self.outbox.insert(outbox.0);
                }
            }
            Line::Session(session) => {
                self.check_seq(session.seq)?;
                let link = self.check_link(line, body, stored)?;
                self.add(link);
                self.last_session = self.last_session.max(session.session.session.0);
            }
            Line::Signed(signed) => {
                self.check_signed(signed)?;
                self.sign(signed.public);
            }
            Line::End { next_segment } if *next_segment != segment + 1 => return Err(Flaw::Field("next segment")),
            Line::End { .. } => {}
        }
        Ok(())
    }

    fn check_header(&self, header: &Header, segment: u64) -> Result<(), Flaw> {
        let wants = Header { outbox: header.outbox, ..self.header(segment) };
        let fields = [
            ("log id", header.log_id == wants.log_id),
            ("segment", header.segment == wants.segment),
            ("first seq", header.first_seq == wants.first_seq),
            ("unsigned from", header.unsigned_from == wants.unsigned_from),
            ("outbox", header.outbox >= self.outbox.mark()),
            ("last session", header.last_session == wants.last_session),
            ("link before", header.head == wants.head),
        ];
        fields.into_iter().find(|(_, holds)| !holds).map_or(Ok(()), |(field, _)| Err(Flaw::Continuity(field)))
    }

    fn check_seq(&self, is: u64) -> Result<(), Flaw> {
        if is == self.next_seq { Ok(()) } else { Err(Flaw::Seq { is, wants: self.next_seq }) }
    }

    fn check_link(&self, line: &Line, body: &[u8], stored: [u8; LINK_BYTES]) -> Result<[u8; LINK_BYTES], Flaw> {
        let wants = link(&self.head, line.kind(), body);
        if stored == wants { Ok(wants) } else { Err(Flaw::Link) }
    }

    fn check_signed(&self, signed: &Signed) -> Result<(), Flaw> {
        let (wants_first, wants_last) = (self.signed_to + 1, self.next_seq - 1);
        if (signed.first, signed.last) != (wants_first, wants_last) || wants_first > wants_last {
            return Err(Flaw::Range { first: signed.first, last: signed.last, wants_first, wants_last });
        }
        if signed.head != self.head {
            return Err(Flaw::Head);
        }
        if signed.root != self.tree.root() {
            return Err(Flaw::Root);
        }
        match self.signer {
            Some(signer) if signer != signed.public => Err(other_key(&signed.public, &signer)),
            _ => Ok(()),
        }
    }
}

/// Verifies the signature itself.
///
/// # Errors
/// [`Flaw::Signature`].
pub(crate) fn check_signature(signed: &Signed, log_id: LogId) -> Result<(), Flaw> {
    sign::verify(&signed.public, &signed.message(log_id), &signed.signature)
        .map_err(|_| Flaw::Signature { first: signed.first, last: signed.last })
}

pub(crate) fn other_key(is: &[u8; 32], wants: &[u8; 32]) -> Flaw {
    Flaw::Key { is: Hex(is.to_vec()), wants: Hex(wants.to_vec()) }
}

/// Appends a whole line that follows `head`, and returns the head after it.
pub(crate) fn push_line(out: &mut Vec<u8>, line: &Line, head: &[u8; LINK_BYTES]) -> [u8; LINK_BYTES] {
    let kind = line.kind();
    out.extend_from_slice(&[kind, 0, 0]);
    let start = out.len();
    line.encode(out);
    let head = if is_chained(kind) {
        let link = link(head, kind, &out[start..]);
        out.extend_from_slice(&link);
        link
    } else {
        *head
    };
    let length = u16::try_from(out.len() - start).expect("the longest line is a session of some 500 bytes");
    out[start - 2..start].copy_from_slice(&length.to_be_bytes());
    head
}
