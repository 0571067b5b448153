//! The end of a Template, of which nothing is left (KMIP 1.4 §4.21): it has no material whose end somebody would ask for.

use crate::error::Error;
use crate::policy::Action;
use crate::port::Change;
use crate::row::Row;
use crate::unit::Unit;
use crate::vault::{Vault, View};

impl Vault {
    /// Stages that a row goes, and that its names are free; returns the object as it was.
    pub(crate) async fn remove_row(&self, unit: &mut Unit, row: &Row, view: View) -> Result<View, Error> {
        unit.intend(self.now(), Action::Destroy, &row.header);
        self.free_names(unit, &row.header, &view.attributes.names).await?;
        unit.stage(Change::Delete { id: row.header.id, expected: row.header.generation });
        Ok(view)
    }
}
