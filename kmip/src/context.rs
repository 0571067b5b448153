//! What one operation works with: the vault, the client's rights, the message's unit, and what its audit record is to say.

use std::borrow::Cow;

use keys::id::{Layer, RowId};
use keys::policy::{Action, Authorized, Grants, NodeRole, Principal, Verb};
use keys::record::Subject;
use keys::row::Header;
use keys::unit::Unit;
use keys::vault::Vault;

use crate::dispatch::CallerIvs;
use crate::failure::Failure;
use crate::schema::Rules;

/// The surroundings of one batch item.
pub(crate) struct Context<'c> {
    /// The open domain.
    pub(crate) vault: &'c Vault,
    /// Who the client is.
    pub(crate) principal: &'c Principal,
    /// Whether the client may choose IVs of AES-GCM.
    pub(crate) gcm_caller_iv: CallerIvs,
    /// The client's certificate chain in DER.
    pub(crate) chain: &'c [Vec<u8>],
    /// By what name the item went to the core, if it did.
    pub(crate) forwarded: &'c mut Option<RowId>,
    /// What the client may do.
    pub(crate) grants: Grants,
    /// Where changes are staged.
    pub(crate) unit: &'c mut Unit,
    /// How the payload is read and answered.
    pub(crate) rules: Rules,
    /// The ID Placeholder of section 4.
    pub(crate) placeholder: &'c mut Option<RowId>,
    /// What the item is about.
    pub(crate) subject: &'c mut Subject,
    /// Under which action it is recorded.
    pub(crate) action: &'c mut Action,
    /// The other object that the item is about, there or not, which has an audit record of its own: the key to wrap with, or a pair's public half.
    pub(crate) wrapper: &'c mut Option<RowId>,
    /// How many searches the message may still make.
    pub(crate) searches_left: &'c mut usize,
}

/// An object that the client named and may do `V` to.
pub(crate) struct Named<'r, V: Verb> {
    /// Its header as this unit sees it.
    pub(crate) header: Header,
    /// The proof.
    pub(crate) authorized: Authorized<V>,
    /// Its identifier as the response repeats it.
    pub(crate) text: Cow<'r, str>,
}

impl Context<'_> {
    /// The object that the request names, or the one of the ID Placeholder, if the client may do `V` to it.
    ///
    /// An unknown, a malformed and another owner's identifier have the same answer. Which kind of node holds an object is told from its spelling,
    /// so what the policy table says of the layer is the answer, whether or not there is such an object anywhere.
    pub(crate) async fn object<'r, V: Verb>(&mut self, given: Option<&'r str>) -> Result<Named<'r, V>, Failure> {
        let text = match given {
            Some(text) => Cow::Borrowed(text),
            None => Cow::Owned(self.placeholder.ok_or_else(no_placeholder)?.to_string()),
        };
        if let Ok(id) = text.parse() {
            *self.subject = Subject::named(id);
        }
        let header = self.header(&text).await?;
        let authorized = self.grants.check::<V>(&header)?;
        self.is_about(&header);
        Ok(Named { header, authorized, text })
    }

    /// The header of the client's object that goes by `text`: by its own identifier, or by the one that it was imported under.
    pub(crate) async fn header(&self, text: &str) -> Result<Header, Failure> {
        if let Ok(id) = text.parse() {
            self.must_be_held_here(id)?;
            match self.vault.header(self.unit, &self.grants, id).await {
                Err(keys::Error::NotFound) => {}
                found => return Ok(found?),
            }
        }
        let imported = self.vault.imported_id(&self.grants, text).ok_or_else(Failure::not_found)?;
        // On the heap, because next to nothing is looked for so, and every connection would have room for it.
        Ok(Box::pin(self.vault.header(self.unit, &self.grants, imported)).await?)
    }

    /// Refuses what another kind of node holds.
    pub(crate) fn must_be_held_here(&self, id: RowId) -> Result<(), Failure> {
        match (self.vault.node(), id.layer) {
            (NodeRole::Core, Layer::L4) => Err(Failure::held_by_edge()),
            (NodeRole::Edge, layer) if layer != Layer::L4 => Err(Failure::held_by_core()),
            _ => Ok(()),
        }
    }

    /// Notes for the audit record which object, in which generation, the item was done to.
    pub(crate) fn is_about(&mut self, header: &Header) {
        *self.subject = Subject::from(header);
    }
}

/// Item Not Found in other words: nobody's object is meant.
fn no_placeholder() -> Failure {
    Failure {
        message: "no Unique Identifier is given, and no earlier item of the batch made or found one object".into(),
        ..Failure::not_found()
    }
}
