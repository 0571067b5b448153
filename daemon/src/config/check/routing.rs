//! Which rows belong to which keystore, as `routing` says it: the first rule that fits counts.

use std::collections::BTreeSet;

use keys::id::{Layer, TenantId};
use storage::routed::{Class, Placement, RULES_MAX, Rule};
use uuid::Uuid;

use super::super::{EMBEDDED, Edge, Grpc, Keystore, KeystoreKind, Runs, file};
use super::{Fault, What, optional, required};

/// Layers by their names in the file.
pub(crate) const LAYERS: [(&str, Layer); 4] = [("L2", Layer::L2), ("L2.1", Layer::L21), ("L3", Layer::L3), ("L4", Layer::L4)];
const WHICH: &str = "a list that ends with `{keystore: NAME}`: there are several keystores, so say which of them is the default";
const UNREACHABLE: &str = "no such rule: the rules before it take every key that it speaks of";
const FEWER: &str = "at most 256 rules";
const EPHEMERAL: &str = "no rules: this edge is ephemeral (edge.ephemeral)";
const UNSHARED: &str = "`false`, or all rows in one keystore of kind `postgres`, or behind the `socket` of one plugin: edges share nothing that has a journal, rules, or rows below the data_dir of one of them";

/// Where rows belong. Without rules in the one keystore that there is; what no rule speaks of, in the node's own file.
pub(super) fn placement(
    edge: Option<&Edge>,
    keystores: &[Keystore],
    here: Option<&str>,
    raw: Vec<file::Route>,
) -> Result<Placement, Fault> {
    let refused = |what: &str, form| Err(Fault { key: "routing".to_owned(), what: What::RefusedFor(what.to_owned(), form) });
    match (&raw[..], keystores) {
        ([], []) => return Ok(Placement::at(EMBEDDED)),
        ([], [only]) => return Ok(Placement::at(only.name.as_str())),
        ([], _) => return refused("left out", WHICH),
        (rules, _) if rules.len() > RULES_MAX => return refused("a longer list", FEWER),
        (_, _) if edge.is_some_and(|edge| edge.is_ephemeral) => return refused("a list", EPHEMERAL),
        _ => {}
    }
    let (mut rules, mut places, mut home) = (Vec::new(), Vec::new(), None);
    for (index, raw) in raw.into_iter().enumerate() {
        let at = |name: &str| format!("routing[{index}].{name}");
        let known = |name: &str| name == EMBEDDED || keystores.iter().any(|keystore| keystore.name.as_str() == name);
        let keystore = required(&at("keystore"), raw.keystore, |name| known(name).then(|| name.to_owned()))?;
        let class = Class { layers: layers(&at("layer"), raw.layer)?, tenant: optional(&at("tenant"), raw.tenant, tenant)? };
        let region = optional(&at("region"), raw.region, region)?;
        if region.is_some() && here.is_none() {
            return Err(Fault::missing("region"));
        }
        if region.as_deref().is_some_and(|region| Some(region) != here) {
            continue;
        }
        if home.is_some() {
            return Err(unreachable(index, keystore));
        }
        if class.is_all() {
            home = Some(keystore);
        } else {
            rules.push(Rule { class, keystore });
            places.push(index);
        }
    }
    let placement = Placement::new(home.as_deref().unwrap_or(EMBEDDED), rules);
    match placement.unreachable() {
        Some(rule) => Err(unreachable(places[rule], placement.rules()[rule].keystore.clone())),
        None => Ok(placement),
    }
}

/// What several edges change at once must be one store with transactions, which knows them apart. Whether a plugin has them is seen when it opens; one
/// that the daemon starts is each edge's own.
pub(super) fn may_be_shared(edge: Option<&Edge>, keystores: &[Keystore], placement: &Placement) -> Result<(), Fault> {
    let is_shared = edge.is_some_and(|edge| edge.is_shared);
    let home = keystores.iter().find(|keystore| keystore.name.as_str() == placement.home());
    let is_one_for_all = |keystore: &Keystore| match &keystore.kind {
        KeystoreKind::Postgres(_) | KeystoreKind::Grpc(Grpc { runs: Runs::Unit { .. }, .. }) => true,
        KeystoreKind::Openbao(_) | KeystoreKind::Grpc(Grpc { runs: Runs::Daemon { .. }, .. }) => false,
    };
    let is_possible = placement.stores().len() == 1 && home.is_some_and(is_one_for_all);
    if is_shared && !is_possible {
        return Err(Fault { key: "edge.shared".to_owned(), what: What::RefusedFor("true".to_owned(), UNSHARED) });
    }
    Ok(())
}

fn unreachable(index: usize, keystore: String) -> Fault {
    Fault { key: format!("routing[{index}]"), what: What::RefusedFor(keystore, UNREACHABLE) }
}

fn layers(key: &str, raw: Option<file::OneOrMore>) -> Result<BTreeSet<Layer>, Fault> {
    let texts = match raw {
        None => Vec::new(),
        Some(file::OneOrMore::One(text)) => vec![text],
        Some(file::OneOrMore::More(texts)) if texts.is_empty() => return Err(Fault::refused(key, "an empty list".to_owned())),
        Some(file::OneOrMore::More(texts)) => texts,
    };
    let layer = |text: String| {
        let known = LAYERS.iter().find(|(name, _)| *name == text);
        known.map(|(_, layer)| *layer).ok_or_else(|| Fault::refused(key, text))
    };
    texts.into_iter().map(layer).collect()
}

/// In the one spelling that is printed.
fn tenant(text: &str) -> Option<TenantId> {
    let id = TenantId::new(Uuid::try_parse(text).ok()?);
    (id.to_string() == text && id != TenantId::SYSTEM).then_some(id)
}

pub(super) fn region(text: &str) -> Option<String> {
    text.parse::<seal::Label>().ok().map(|region| region.to_string())
}
