//! `openapi`: the document of the admin interface, without a node.

use daemon::admin::document;

use crate::context::Context;
use crate::failure::Failure;

/// Prints the document, as YAML or, with `--json`, as JSON.
pub(crate) fn run(context: &Context) -> Result<(), Failure> {
    let text = if context.out.json { document::json() + "\n" } else { document::yaml() };
    context.out.bytes(text.as_bytes())
}
