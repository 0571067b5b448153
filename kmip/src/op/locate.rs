//! Locate, 4.9.

use keys::policy::Action;

use crate::context::Context;
use crate::enums::ResultReason;
use crate::failure::Failure;
use crate::op::SEARCHES_MAX;
use crate::payload::{LocateRequest, LocateResponse};
use crate::schema::Encode;
use crate::search::Search;
use crate::tag::Tag;
use crate::ttlv::Writer;

pub(super) async fn run(context: &mut Context<'_>, request: LocateRequest<'_>, out: &mut Writer<'_>) -> Result<(), Failure> {
    context.grants.check_plain(Action::Locate, None)?;
    take_search(context)?;
    let offset = count("Offset Items", request.offset_items)?.unwrap_or(0);
    let most = count("Maximum Items", request.maximum_items)?.unwrap_or(usize::MAX);
    let mut search = Search::read(context, &request).await?;
    let terms = std::mem::take(&mut search.terms);
    let found = context.vault.find(context.unit, &context.grants, search.layer, terms, |view| search.fits(view)).await?;
    let found = search.wanted(found);
    // Who asks for a page wants to know of how many; the published cases show that nobody else is told.
    let is_paged = request.offset_items.is_some() || request.maximum_items.is_some();
    let located_items = i32::try_from(found.len()).ok().filter(|_| is_paged);
    let page: Vec<_> = found.iter().skip(offset).take(most).collect();
    // What the rest of the batch may be about: the one object that matched, or the one that was wanted.
    *context.placeholder = match *page {
        [only] if found.len() == 1 || most == 1 => Some(*only),
        _ => None,
    };
    let texts: Vec<String> = page.iter().map(ToString::to_string).collect();
    let unique_identifiers = texts.iter().map(String::as_str).collect();
    LocateResponse { located_items, unique_identifiers }.encode(Tag::RESPONSE_PAYLOAD, out);
    Ok(())
}

/// Takes one search from what the message may make.
///
/// # Errors
/// General Failure.
pub(crate) fn take_search(context: &mut Context<'_>) -> Result<(), Failure> {
    let exhausted = || {
        let message = format!("one message searches, and names Templates, at most {SEARCHES_MAX} times; send the rest in another");
        Failure::invalid(ResultReason::GeneralFailure, message)
    };
    *context.searches_left = context.searches_left.checked_sub(1).ok_or_else(exhausted)?;
    Ok(())
}

fn count(field: &'static str, items: Option<i32>) -> Result<Option<usize>, Failure> {
    let count = items.map(|items| usize::try_from(items).map_err(|_| Failure::field(format!("{field}: it is not negative"))));
    count.transpose()
}
