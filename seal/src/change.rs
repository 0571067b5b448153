//! One change of the slots at a time, told in the table of slots before the directory changes and after it did.
//!
//! Every step is durable before the next: the table that names the slot as pending, the slot's file, the table without anything pending. A crash between
//! two of them leaves the slot there or not, and a table that allows for both.

use std::sync::atomic::{AtomicBool, Ordering};

use keys::hierarchy::IntegrityKeys;

use crate::slot::Slot;
use crate::slots::Listing;
use crate::table::{self, Entry, Table};
use crate::{Error, Seal, SlotId};

/// Whether somebody changes the slots now. No lock: a change waits for devices, and the next one is refused rather than kept waiting.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    is_busy: AtomicBool,
}

impl Writer {
    pub(crate) fn claim(&self) -> Result<Claim<'_>, Error> {
        if self.is_busy.swap(true, Ordering::Acquire) { Err(Error::Busy) } else { Ok(Claim { writer: self }) }
    }
}

/// The only one who may change the slots, until dropped.
pub(crate) struct Claim<'a> {
    writer: &'a Writer,
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.writer.is_busy.store(false, Ordering::Release);
    }
}

/// A change under way.
pub(crate) struct Change<'a> {
    seal: &'a Seal,
    integrity: &'a IntegrityKeys,
    table: Table,
    /// The slots before the change.
    pub(crate) listing: Listing,
    /// Those that do not count yet.
    pub(crate) waiting: Vec<Slot>,
    _claim: Claim<'a>,
}

impl Change<'_> {
    /// The content that the cluster knows a slot by.
    pub(crate) fn known(&self, slot: SlotId) -> Option<Entry> {
        self.table.known.get(&slot).map(|digest| (slot, *digest))
    }

    /// Records that this slot is about to come or to go.
    pub(crate) fn announce(&mut self, entry: Entry) -> Result<(), Error> {
        self.table.known.remove(&entry.0);
        self.table.pending = Some(entry);
        table::write(self.seal.dir.path(), &self.table, self.integrity)
    }

    /// Records what has come of what was announced. If that fails, the table that names it as pending is true all the same, until the next writer settles it.
    pub(crate) fn end(self) {
        let Self { seal, integrity, table, .. } = self;
        if table.pending.is_none() {
            return;
        }
        let _settled_later = seal.list().and_then(|listing| table::write(seal.dir.path(), &table.settled(&listing), integrity));
    }
}

impl Seal {
    /// Begins a change: what interrupted writers have left is settled or removed first. What somebody else has changed stays on record as it was, so
    /// that the warning stays; without a table, or with one that does not verify, the slots that are there are put on record.
    ///
    /// # Errors
    /// `Busy`, `NewerFormat`, `Io`.
    pub(crate) fn begin_change<'a>(&'a self, integrity: &'a IntegrityKeys) -> Result<Change<'a>, Error> {
        let claim = self.writer.claim()?;
        self.dir.prepare()?;
        let listing = self.list()?;
        let table = match table::read(self.dir.path(), integrity) {
            Err(Error::TableMissing { .. } | Error::TableForged { .. }) => Table::of(&listing),
            read => read?.settled(&listing),
        };
        let waiting = self.pending()?;
        let is_waiting = |id| waiting.iter().any(|slot| slot.header.id == id);
        self.dir.forget_stray_approvals(|id| listing.digests.contains_key(&id) || table.known.contains_key(&id) || is_waiting(id))?;
        Ok(Change { seal: self, integrity, table, listing, waiting, _claim: claim })
    }

    /// Compares the slots that are there with those on record, after it has recorded what came of a change that was interrupted.
    ///
    /// # Errors
    /// As [`Seal::check_table`].
    pub fn settle_table(&self, integrity: &IntegrityKeys) -> Result<(), Error> {
        // A change under way settles what it began.
        let Ok(_claim) = self.writer.claim() else { return self.check_table(integrity) };
        let (listing, table) = (self.list()?, table::read(self.dir.path(), integrity)?);
        let Some((slot, _)) = table.pending else { return table.check(&listing) };
        if !listing.digests.contains_key(&slot) {
            self.dir.forget_approvals(slot)?;
        }
        let settled = table.settled(&listing);
        table::write(self.dir.path(), &settled, integrity)?;
        settled.check(&listing)
    }

    /// Compares the slots that are there with those on record.
    ///
    /// # Errors
    /// `TableMissing`, `TableForged`, `TableMismatch`, `NewerFormat`, `Corrupt`, `Io`. The MasterKey is not in doubt: warn, and go on.
    pub fn check_table(&self, integrity: &IntegrityKeys) -> Result<(), Error> {
        table::read(self.dir.path(), integrity)?.check(&self.list()?)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;
    use std::sync::Arc;

    use keys::entropy::Randomness;
    use keys::hierarchy::MasterKey;
    use keys::id::{ClusterId, Time};
    use keys::port::{Entropy, EntropyError};
    use secret::{Bytes, Key};
    use tempfile::TempDir;
    use uuid::Uuid;

    use super::*;
    use crate::custodian::{Consent, Custodian, CustodianKind, Guarded, New, Place, Platform};
    use crate::file::fault::{Fault, under};
    use crate::slots::SlotDir;
    use crate::{Approval, Expected, Label, NewSlot, ReleaseSigner, Roster, SlotId, State};

    /// Keeps slot keys in the slots themselves, and follows a platform, so that there are approvals.
    struct Open(Label);

    impl Custodian for Open {
        fn name(&self) -> &Label {
            &self.0
        }

        fn kind(&self) -> CustodianKind {
            CustodianKind::Tpm2
        }

        fn unattended(&self) -> bool {
            true
        }

        fn protect(&self, secret: &Bytes, _: New<'_>, _: Consent<'_>) -> Result<Guarded, Error> {
            Ok(Guarded { parameters: Vec::new(), protected: secret.expose(<[u8]>::to_vec) })
        }

        fn open(&self, at: Place<'_>, _: Consent<'_>) -> Result<Bytes, Error> {
            let kept = &at.guarded.protected;
            Ok(Bytes::init_with(kept.len(), |place| place.copy_from_slice(kept))?)
        }

        fn ailing(&self, _: Place<'_>, _: Consent<'_>) -> Vec<(Label, Error)> {
            Vec::new()
        }

        fn people(&self) -> Vec<Label> {
            Vec::new()
        }

        fn follows_platform(&self) -> bool {
            true
        }

        fn platform(&self, _: Option<&[u8]>) -> Result<Option<Platform>, Error> {
            Ok(None)
        }
    }

    /// Numbers without chance; slots of the tests have ids of their own.
    struct Same;

    impl Entropy for Same {
        fn fill(&self, buffer: &mut [u8]) -> Result<(), EntropyError> {
            buffer.fill(0x33);
            Ok(())
        }
    }

    fn cluster() -> ClusterId {
        ClusterId::new(Uuid::from_bytes([0x22; 16]))
    }

    fn integrity() -> IntegrityKeys {
        IntegrityKeys::new(cluster(), &[0x1C; 32]).expect("the arena has room")
    }

    fn master() -> MasterKey {
        MasterKey::from_key(Key::init_with(|place| place.fill(0x4D)).expect("the arena has room"))
    }

    fn expected() -> Expected {
        Expected { cluster: Some(cluster()), generation: Some(1) }
    }

    fn label(text: &str) -> Label {
        text.parse().expect("a label")
    }

    fn id(byte: u8) -> SlotId {
        SlotId::from_bytes([byte; 16])
    }

    fn seal(dir: &TempDir) -> Seal {
        Seal { dir: SlotDir::new(dir.path().join("slots")), custodians: vec![Arc::new(Open(label("open")))], writer: Writer::default() }
    }

    fn add(seal: &Seal, byte: u8) -> Result<(), Error> {
        add_of(seal, (1, &master()), byte, &format!("slot {byte}"))
    }

    fn add_of(seal: &Seal, (generation, master): (u32, &MasterKey), byte: u8, called: &str) -> Result<(), Error> {
        let signer = ReleaseSigner::from_pkcs8(include_bytes!("../tests/golden/release-key.der")).expect("a key on P-256");
        let state = State { slot: id(byte), policy_gen: 1, pcrs: vec![7], digest: [0; 32] };
        let approval = Approval::sign(&signer, state, Time::from_seconds(0), label("state")).expect("it signs");
        let new = NewSlot {
            custodian: label("open"),
            label: label(called),
            cluster: cluster(),
            generation,
            roster: Roster::empty(),
            approval: Some(approval),
            created: Time::from_seconds(0),
        };
        seal.add(new, (master, &integrity()), &Randomness::new(Arc::new(Same)), Consent::default()).map(drop)
    }

    fn remove(seal: &Seal, name: &str) -> Result<(), Error> {
        seal.remove(name, expected(), (&master(), &integrity()), None).map(drop)
    }

    /// With slots 1 to `count`.
    fn with_slots(count: u8) -> TempDir {
        let dir = tempfile::tempdir().expect("a directory");
        (1..=count).for_each(|byte| add(&seal(&dir), byte).expect("the medium is sound"));
        dir
    }

    fn files(dir: &TempDir) -> Vec<PathBuf> {
        let entries = fs::read_dir(dir.path().join("slots")).expect("readable");
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("readable").path()).collect();
        paths.sort();
        paths
    }

    fn slots(dir: &TempDir) -> Vec<SlotId> {
        let listing = seal(dir).list().expect("readable");
        assert!(listing.unreadable.is_empty(), "{:?}", listing.unreadable);
        listing.slots.iter().map(|slot| slot.header.id).collect()
    }

    /// What a node finds that starts now: nothing that somebody else has changed, and a slot that opens. It settles what is pending.
    fn must_start(dir: &TempDir, at: &str) {
        let seal = seal(dir);
        seal.check_table(&integrity()).unwrap_or_else(|error| panic!("{at}: {error}"));
        let opened = seal.unseal(expected(), None).unwrap_or_else(|error| panic!("{at}: {error}"));
        assert!(opened.master.expose(|master| *master == [0x4D; 32]), "{at}");
        seal.settle_table(&integrity()).unwrap_or_else(|error| panic!("{at}: {error}"));
        let table = table::read(seal.dir.path(), &integrity()).unwrap_or_else(|error| panic!("{at}: {error}"));
        assert!(table.pending.is_none() && table.known.keys().copied().eq(slots(dir)), "{at}: {table:?}");
    }

    /// Repeats a change under a fault at each of its steps; returns how many it has.
    fn at_each_step(fault: fn(usize) -> Fault, before: u8, change: fn(&Seal) -> Result<(), Error>, after: &[SlotId]) -> usize {
        let old: Vec<SlotId> = (1..=before).map(id).collect();
        for step in 0.. {
            let (dir, at) = (with_slots(before), format!("{:?}", fault(step)));
            let (changed, has_struck) = under(fault(step), || change(&seal(&dir)));
            must_start(&dir, &at);
            let now = slots(&dir);
            assert!(now == old || now == after, "{at}: {now:?}");
            // A change that was said to be made is there.
            assert!(changed.is_err() || now == after, "{at}: {now:?}");
            // A process that went on has put everything back, or has removed the slot before it met the fault.
            assert!(matches!(fault(step), Fault::Dies(_)) || changed.is_ok() || now == old || after.len() < old.len(), "{at}: {now:?}");
            // The next writer finds nothing in its way, and leaves nothing of earlier ones.
            add(&seal(&dir), 9).unwrap_or_else(|error| panic!("{at}: {error}"));
            must_start(&dir, &at);
            assert_eq!(files(&dir).len(), 2 * slots(&dir).len() + 1, "{at}: {:?}", files(&dir));
            if !has_struck {
                assert!(changed.is_ok(), "{at}");
                return step;
            }
        }
        unreachable!("there are fewer steps than numbers")
    }

    #[test]
    fn a_slot_is_added_whole_or_not_at_all_whatever_step_fails_or_is_the_last() {
        let two = [id(1), id(2)];
        let dies = at_each_step(Fault::Dies, 1, |seal| add(seal, 2), &two);
        let fails = at_each_step(Fault::Fails, 1, |seal| add(seal, 2), &two);
        // Approval, slot, table, name, table: three calls to write each file, two to name it.
        assert_eq!((dies, fails), (20, 20));
    }

    #[test]
    fn a_slot_is_removed_whole_or_not_at_all_whatever_step_fails_or_is_the_last() {
        let two = [id(1), id(3)];
        let dies = at_each_step(Fault::Dies, 3, |seal| remove(seal, &id(2).to_string()), &two);
        let fails = at_each_step(Fault::Fails, 3, |seal| remove(seal, "slot 2"), &two);
        // Table, slot, approval, table.
        assert_eq!((dies, fails), (14, 14));
    }

    fn cut_off_twice(change: fn(&Seal) -> Result<(), Error>) {
        for at in 0..20 {
            for step in 0.. {
                let dir = with_slots(3);
                let _cut = under(Fault::Dies(at), || change(&seal(&dir)));
                let (_, has_struck) = under(Fault::Dies(step), || seal(&dir).settle_table(&integrity()));
                must_start(&dir, &format!("cut at {at}, then at {step}"));
                if !has_struck {
                    break;
                }
            }
        }
    }

    #[test]
    fn a_start_that_settles_a_change_may_be_cut_off_as_well() {
        cut_off_twice(|seal| add(seal, 4));
        cut_off_twice(|seal| remove(seal, "slot 2"));
    }

    #[test]
    fn the_last_slot_that_opens_stays() {
        let dir = with_slots(2);
        remove(&seal(&dir), "slot 1").expect("another opens");
        let refused = remove(&seal(&dir), "slot 2").expect_err("it is the last");
        assert!(matches!(&refused, Error::LastSlot { slot, attempts } if *slot == id(2) && attempts.is_empty()), "{refused}");
        must_start(&dir, "after the refusal");
        assert_eq!(slots(&dir), [id(2)]);

        // One that is there and does not open, or holds another generation, is none.
        add(&seal(&dir), 3).expect("the medium is sound");
        let renamed = Seal { custodians: vec![Arc::new(Open(label("other")))], ..seal(&dir) };
        let told = remove(&renamed, "slot 2").expect_err("the other does not open").to_string();
        assert!(told.contains("slot 3") && told.contains("no custodian is called `open`"), "{told}");
        let later = Expected { generation: Some(2), ..expected() };
        let refused = seal(&dir).remove("slot 2", later, (&master(), &integrity()), None);
        assert!(matches!(refused, Err(Error::LastSlot { attempts, .. }) if attempts.len() == 1));
        assert_eq!(slots(&dir), [id(2), id(3)]);
    }

    #[test]
    fn what_somebody_else_has_changed_stays_on_record_until_it_is_removed_by_name() {
        let dir = with_slots(3);
        let path = |byte: u8| dir.path().join(format!("slots/{}.slot", id(byte)));
        fs::remove_file(path(1)).expect("it is there");
        fs::write(path(2), "not a slot").expect("writable");
        fs::write(path(7), "not a slot").expect("writable");
        add(&seal(&dir), 4).expect("others are none of its business");
        let (a, r, c) = match seal(&dir).check_table(&integrity()) {
            Err(Error::TableMismatch { added, removed, changed }) => (added, removed, changed),
            other => panic!("no mismatch: {other:?}"),
        };
        assert_eq!((a, r, c), (vec![id(7)], vec![id(1)], vec![id(2)]));
        for byte in [7, 2, 1] {
            assert!(seal(&dir).check_table(&integrity()).is_err());
            remove(&seal(&dir), &id(byte).to_string()).expect("others open");
        }
        must_start(&dir, "after the repair");
        assert_eq!(slots(&dir), [id(3), id(4)]);
        assert!(matches!(remove(&seal(&dir), &id(1).to_string()), Err(Error::NoSuchSlot { .. })));
    }

    #[test]
    fn a_slot_of_a_later_release_is_not_removed() {
        let dir = with_slots(2);
        let path = dir.path().join(format!("slots/{}.slot", id(1)));
        let mut later = fs::read(&path).expect("readable");
        later[5] = 2;
        fs::write(&path, &later).expect("writable");
        assert!(matches!(remove(&seal(&dir), &id(1).to_string()), Err(Error::NewerFormat { format: 2, known: 1 })));
        assert_eq!(fs::read(&path).expect("it is there"), later);
    }

    #[test]
    fn without_a_table_the_next_writer_records_the_slots_that_are_there() {
        let dir = with_slots(2);
        let table = dir.path().join("slots/table.mac");
        fs::remove_file(&table).expect("it is there");
        assert!(matches!(seal(&dir).settle_table(&integrity()), Err(Error::TableMissing { .. })), "only a writer does");
        add(&seal(&dir), 3).expect("the medium is sound");
        must_start(&dir, "with a new table");
    }

    fn next_master() -> MasterKey {
        MasterKey::from_key(Key::init_with(|place| place.fill(0x5E)).expect("the arena has room"))
    }

    fn next_expected() -> Expected {
        Expected { generation: Some(2), ..expected() }
    }

    /// Slots 1 and 2 of the first generation, 11 and 12 of the next one, under the same labels.
    fn with_two_generations() -> TempDir {
        let dir = with_slots(2);
        for byte in [1, 2] {
            add_of(&seal(&dir), (2, &next_master()), byte + 10, &format!("slot {byte}")).expect("the medium is sound");
        }
        dir
    }

    fn holds(master: &MasterKey, byte: u8) -> bool {
        master.expose(|master| *master == [byte; 32])
    }

    #[test]
    fn slots_of_two_generations_stand_side_by_side_and_each_opens_its_own() {
        let dir = with_two_generations();
        let seal = seal(&dir);
        assert_eq!(slots(&dir), [id(1), id(2), id(11), id(12)]);
        seal.check_table(&integrity()).expect("all are on record");
        let opened = seal.unseal(expected(), None).expect("the old ones open");
        assert!(holds(&opened.master, 0x4D) && opened.slot.header.id == id(1));
        let opened = seal.unseal(next_expected(), None).expect("the new ones open");
        assert!(holds(&opened.master, 0x5E) && opened.slot.header.id == id(11));
        assert_eq!(opened.attempts.len(), 1, "the old ones are not tried: {:?}", opened.attempts);
        let probed: Vec<SlotId> = seal.probe(next_expected()).expect("readable").iter().map(|attempt| attempt.slot).collect();
        assert_eq!(probed, [id(11), id(12)]);
        let listing = |generation| seal.list().expect("readable").of_generation(generation).slots.len();
        assert_eq!([Some(1), Some(2), Some(3), None].map(listing), [2, 2, 0, 4]);

        // A label is one slot's in its generation, and names none of two.
        let taken = add_of(&seal, (2, &next_master()), 13, "slot 1");
        assert!(matches!(taken, Err(Error::LabelTaken { slot, .. }) if slot == id(11)));
        assert!(matches!(remove(&seal, "slot 1"), Err(Error::LabelAmbiguous { .. })));
        remove(&seal, &id(11).to_string()).expect("one of the generation in force opens");
        remove(&seal, &id(1).to_string()).expect("another of the generation in force opens");
        assert!(matches!(remove(&seal, &id(2).to_string()), Err(Error::LastSlot { .. })), "one of another generation is none");
        assert_eq!(slots(&dir), [id(2), id(12)]);
    }

    #[test]
    fn as_many_slots_as_there_may_be_have_room_for_as_many_of_the_next_generation() {
        let most = u8::try_from(crate::SLOTS_MAX).expect("they are few");
        let dir = with_slots(most);
        assert!(matches!(add(&seal(&dir), most + 1), Err(Error::SlotsFull { .. })));
        for byte in 1..=most {
            add_of(&seal(&dir), (2, &next_master()), 100 + byte, &format!("slot {byte}")).expect("there is room");
        }
        assert!(matches!(add_of(&seal(&dir), (2, &next_master()), 99, "more"), Err(Error::SlotsFull { .. })));
        must_start(&dir, "with twice as many");
    }

    #[test]
    fn a_generation_is_proven_slot_by_slot() {
        let dir = with_two_generations();
        let (next, key) = (next_master(), integrity());
        let proven = seal(&dir).prove_generation(next_expected(), (&next, &key)).expect("they open");
        assert_eq!(proven.iter().map(|slot| slot.header.id).collect::<Vec<_>>(), [id(11), id(12)]);
        let other = seal(&dir).prove_generation(next_expected(), (&master(), &key));
        assert!(matches!(&other, Err(Error::NotProven { attempts }) if attempts.len() == 2), "{other:?}");
        let renamed = Seal { custodians: vec![Arc::new(Open(label("other")))], ..seal(&dir) };
        let told = renamed.prove_generation(next_expected(), (&next, &key)).expect_err("none opens").to_string();
        assert!(told.contains("no custodian is called `open`"), "{told}");
        // One that is not on record may say what it likes of itself.
        fs::copy(dir.path().join(format!("slots/{}.slot", id(12))), dir.path().join(format!("slots/{}.slot", id(14)))).expect("writable");
        assert!(matches!(seal(&dir).prove_generation(next_expected(), (&next, &key)), Err(Error::TableMismatch { .. })));
    }

    #[test]
    fn slots_of_another_generation_go_only_while_one_in_force_opens() {
        let dir = with_two_generations();
        let gone = |seal: &Seal, in_force, master: &MasterKey| {
            let removed = seal.remove_generations(.., (cluster(), in_force), (master, &integrity()))?;
            Ok::<_, Error>(removed.iter().map(|removed| removed.id).collect::<Vec<_>>())
        };
        // Nothing is of generation 3, nothing of generation 2 holds the old MasterKey, and without its custodian nothing opens.
        assert!(matches!(gone(&seal(&dir), 3, &next_master()), Err(Error::LastSlot { .. })));
        assert!(matches!(gone(&seal(&dir), 2, &master()), Err(Error::LastSlot { .. })));
        let renamed = Seal { custodians: vec![Arc::new(Open(label("other")))], ..seal(&dir) };
        assert!(matches!(gone(&renamed, 2, &next_master()), Err(Error::LastSlot { .. })));
        assert_eq!(slots(&dir).len(), 4);
        let newer = seal(&dir).remove_generations(2.., (cluster(), 2), (&next_master(), &integrity())).expect("there is none to remove");
        assert!(newer.is_empty());
        assert_eq!(gone(&seal(&dir), 1, &master()).expect("the old ones open"), [id(11), id(12)]);
        must_start(&dir, "after the new ones are gone");
        assert_eq!(files(&dir).len(), 5, "two slots, their approvals, the table");
        assert_eq!(gone(&seal(&dir), 1, &master()).expect("nothing is left to do"), []);
    }

    #[test]
    fn old_slots_go_one_by_one_whatever_step_fails_or_is_the_last() {
        let go = |dir: &TempDir| seal(dir).remove_generations(..2, (cluster(), 2), (&next_master(), &integrity())).map(drop);
        for fault in [Fault::Dies, Fault::Fails] {
            for step in 0.. {
                let (dir, at) = (with_two_generations(), format!("{:?}", fault(step)));
                let (removed, has_struck) = under(fault(step), || go(&dir));
                assert!(removed.is_err() || slots(&dir) == [id(11), id(12)], "{at}");
                seal(&dir).check_table(&integrity()).unwrap_or_else(|error| panic!("{at}: {error}"));
                let opened = seal(&dir).unseal(next_expected(), None).unwrap_or_else(|error| panic!("{at}: {error}"));
                assert!(holds(&opened.master, 0x5E), "{at}");
                seal(&dir).settle_table(&integrity()).unwrap_or_else(|error| panic!("{at}: {error}"));
                go(&dir).unwrap_or_else(|error| panic!("{at}: {error}"));
                assert_eq!(slots(&dir), [id(11), id(12)], "{at}");
                seal(&dir).check_table(&integrity()).unwrap_or_else(|error| panic!("{at}: {error}"));
                assert_eq!(files(&dir).len(), 5, "{at}: {:?}", files(&dir));
                if !has_struck {
                    // Per slot: table, slot, approval; at the end the table.
                    assert!(step > 14, "{step}");
                    break;
                }
            }
        }
    }

    #[test]
    fn one_changes_the_slots_at_a_time() {
        let dir = with_slots(2);
        let seal = seal(&dir);
        let (key, claim) = (integrity(), seal.writer.claim().expect("nobody else does"));
        assert!(matches!(add(&seal, 3), Err(Error::Busy)) && matches!(remove(&seal, "slot 1"), Err(Error::Busy)));
        seal.settle_table(&key).expect("it only looks");
        drop(claim);
        add(&seal, 3).expect("nobody else does");
    }
}
