//! Archive and Recover (KMIP 1.4 §4.22, §4.23): an archived object is refused for everything until it is recovered; it stays where it is stored.
//!
//! That it is archived is one of its attributes, so every verb sees it where it reads them: [`Vault::entry`] and [`Vault::row_to_change`] refuse it.

use crate::attributes::Attributes;
use crate::error::Error;
use crate::policy::Authorized;
use crate::policy::verb::{Archive, Recover};
use crate::unit::Unit;
use crate::vault::{Vault, View};

impl Vault {
    /// Stages that an object is archived.
    ///
    /// # Errors
    /// [`Error::Archived`] if it is already; [`Error::WrongState`] for a destroyed one; [`Error::Raced`].
    pub async fn archive(&self, unit: &mut Unit, authorized: Authorized<Archive>) -> Result<View, Error> {
        let (row, view) = self.row_to_change(unit, &authorized).await?;
        if view.state.is_destroyed() {
            return Err(Error::WrongState { is: view.state, wants: "a key that is not destroyed" });
        }
        let now = self.now();
        let mut attributes = Attributes { archived: Some(now), ..(*view.attributes).clone() };
        attributes.touch(now);
        self.stage_change(unit, row, view.state, attributes).await
    }

    /// Stages that an object is at hand again; nothing for one that is.
    ///
    /// # Errors
    /// [`Error::Raced`].
    pub async fn recover(&self, unit: &mut Unit, authorized: Authorized<Recover>) -> Result<View, Error> {
        let row = self.row_in_scope(unit, authorized.scope(), authorized.id()).await?;
        if row.header.generation != authorized.generation() {
            return Err(Error::Raced);
        }
        let view = self.view_of_row(&row).await?;
        if view.attributes.archived.is_none() {
            return Ok(view);
        }
        let mut attributes = Attributes { archived: None, ..(*view.attributes).clone() };
        attributes.touch(self.now());
        self.stage_change(unit, row, view.state, attributes).await
    }
}
