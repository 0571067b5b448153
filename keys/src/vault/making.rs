//! How a key is made: its bytes, what the domain says of it, and the row that it is sealed into.

use secret::{Bytes, scrubbed};

use super::{NewKey, Vault, View, at, encode_attributes};
use crate::attributes::Attributes;
use crate::chain::seal;
use crate::error::Error;
use crate::id::Generation;
use crate::port::Change;
use crate::row::{Algorithm, Header, Row};
use crate::unit::Unit;
use crate::wrap::{Binding, ParentKey};

impl Vault {
    /// Stages a new key with fresh random material.
    ///
    /// # Errors
    /// [`Error::NameTaken`], [`Error::Invalid`]; no randomness, no locked memory, no parent.
    pub async fn insert(&self, unit: &mut Unit, new: NewKey) -> Result<Header, Error> {
        Ok(self.insert_seen(unit, new).await?.header)
    }

    /// As [`Vault::insert`]; returns the object as it will be.
    pub(crate) async fn insert_seen(&self, unit: &mut Unit, new: NewKey) -> Result<View, Error> {
        let material = self.fresh_material(&new.header)?;
        self.insert_material(unit, new, &material).await
    }

    /// As [`Vault::insert`], under a parent that this very unit makes: no chain opens it before it is stored, so its key is given.
    pub(crate) async fn insert_under(&self, unit: &mut Unit, new: NewKey, parent: &ParentKey) -> Result<Header, Error> {
        let material = self.fresh_material(&new.header)?;
        let NewKey { header, attributes } = self.prepared(unit, new, &material).await?;
        let content = encode_attributes(&header, &attributes)?;
        let seal = |(binding, plain): (Binding, &Bytes)| seal(parent, &self.randomness, &binding, plain);
        let blobs = self.children(&header, &content, &material).map(seal);
        let [sealed, material] = blobs.map(|blob| blob.map_err(|error| at(error, header.id)));
        let row = self.row_of(header, &attributes, sealed?, material?);
        let header = row.header.clone();
        unit.stage(Change::Insert(row));
        Ok(header)
    }

    /// Random bytes for a key, in locked memory.
    pub(crate) fn fresh_material(&self, header: &Header) -> Result<Bytes, Error> {
        Bytes::try_init_with(header.material_bytes(), |bytes| {
            self.randomness.fill(bytes)?;
            if header.algorithm == Algorithm::TRIPLE_DES {
                bytes.iter_mut().for_each(|byte| *byte = with_odd_parity(*byte));
            }
            Ok::<_, Error>(())
        })
    }

    /// As [`Vault::insert_seen`], with key bytes that are there already.
    pub(crate) async fn insert_material(&self, unit: &mut Unit, new: NewKey, material: &Bytes) -> Result<View, Error> {
        let NewKey { header, attributes } = self.prepared(unit, new, material).await?;
        let row = self.seal_new(header, &attributes, material).await?;
        let header = row.header.clone();
        unit.stage(Change::Insert(row));
        Ok(self.seen_as(header, attributes))
    }

    /// A new key with what the domain says of it; its names are claimed.
    async fn prepared(&self, unit: &mut Unit, new: NewKey, material: &Bytes) -> Result<NewKey, Error> {
        let NewKey { mut header, mut attributes } = new;
        attributes.digest = Some(scrubbed(|| material.expose(|bytes| cipher::mac::sha256(&[bytes]))));
        (attributes.always_sensitive, attributes.never_extractable) = (attributes.sensitive, !attributes.extractable);
        attributes.served = false;
        header.generation = Generation::FIRST;
        (header.wrap_seq, header.attributes_seq) = (1, 1);
        self.claim_names(unit, &header, &attributes.names).await?;
        Ok(NewKey { header, attributes })
    }

    /// A new row: material and attributes wrapped by the parent in one call.
    pub(crate) async fn seal_object(&self, header: Header, attributes: &Attributes, material: &Bytes) -> Result<Row, Error> {
        let content = encode_attributes(&header, attributes)?;
        let children = self.children(&header, &content, material);
        let mut blobs = self.parent.wrap(header.parent, &children).await.map_err(|error| at(error, header.id))?.into_iter();
        let mut blob = || blobs.next().expect("one answer a child");
        let sealed = blob();
        Ok(self.row_of(header, attributes, sealed, blob()))
    }

    /// What a new row's parent wraps: its attributes, then its material.
    fn children<'c>(&self, header: &Header, content: &'c Bytes, material: &'c Bytes) -> [(Binding, &'c Bytes); 2] {
        let registry = &self.shelf.registry;
        [(registry.attributes_binding(header), content), (registry.material_binding(header), material)]
    }

    /// A new row with what its parent has wrapped.
    fn row_of(&self, header: Header, attributes: &Attributes, sealed: Vec<u8>, material: Vec<u8>) -> Row {
        let terms = self.shelf.registry.integrity().terms.of_object(&header, attributes);
        self.shelf.registry.seal_row(header, Some(material), Some(sealed), terms)
    }
}

/// A byte of a DES key, whose last bit says nothing (SP 800-67, 3.1): some readers check it.
fn with_odd_parity(byte: u8) -> u8 {
    byte ^ u8::from(byte.count_ones().is_multiple_of(2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_of_a_des_key_has_an_odd_number_of_ones_and_keeps_its_seven_bits() {
        for byte in 0..=u8::MAX {
            let made = with_odd_parity(byte);
            assert_eq!((made.count_ones() % 2, made | 1), (1, byte | 1), "{byte:02x}");
        }
    }
}
