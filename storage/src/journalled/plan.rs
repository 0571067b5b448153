//! What a batch comes to, row by row.

use std::collections::HashMap;

use keys::id::RowId;
use keys::port::{Batch, Query, StoreError};
use keys::row::{Row, Term};

/// What becomes of one row, whatever a batch does with it on the way.
pub(super) struct Net {
    pub(super) id: RowId,
    pub(super) before: Option<Row>,
    pub(super) after: Option<Row>,
}

/// By what a changed row was found, and is.
pub(super) struct Touched {
    pub(super) id: RowId,
    before: Option<Vec<Term>>,
    after: Option<Vec<Term>>,
}

/// Goes through the changes in order, as if each had been applied before the next is looked at; `stored` has the rows as they are.
pub(super) fn nets(batch: &Batch, stored: &HashMap<RowId, Row>) -> Result<Vec<Net>, StoreError> {
    let mut nets: Vec<Net> = Vec::new();
    let mut places: HashMap<RowId, usize> = HashMap::new();
    for change in &batch.changes {
        let id = change.id();
        let place = *places.entry(id).or_insert_with(|| {
            let before = stored.get(&id).cloned();
            nets.push(Net { id, after: before.clone(), before });
            nets.len() - 1
        });
        let net = &mut nets[place];
        if net.after.as_ref().map(|row| row.header.generation) != change.expected() {
            return Err(StoreError::Conflict { id });
        }
        net.after = change.row().cloned();
    }
    Ok(nets)
}

impl Touched {
    pub(super) fn by(net: &Net) -> Self {
        let terms = |row: &Option<Row>| row.as_ref().map(|row| row.terms.clone());
        Self { id: net.id, before: terms(&net.before), after: terms(&net.after) }
    }

    /// Would the search find it, as it was or as it is?
    pub(super) fn matters_to(&self, query: &Query) -> bool {
        let is_found = |terms: &Option<Vec<Term>>| terms.as_ref().is_some_and(|terms| query.terms.iter().all(|term| terms.contains(term)));
        self.id.layer == query.layer && (is_found(&self.before) || is_found(&self.after))
    }
}
