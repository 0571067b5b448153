//! The route of the report on rotation: what stands in it, put together from the records themselves.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use data_encoding::HEXLOWER;
use keys::chains::{CHAINS_MAX, ChainPage, ChainStatus, ChainsWanted};
use keys::cluster::IvkStatus;
use keys::id::{ChainId, KeyVersion, Layer, Time};
use keys::lifecycle::State as KeyState;
use keys::policy::Action;
use keys::vault::Vault;

use crate::admin::act::{Answer, Deed, act};
use crate::admin::document::Refusals;
use crate::admin::kek_routes::reencryption_info;
use crate::admin::peer::Call;
use crate::admin::report::{FORMAT, RotationChain, RotationReport, RotationSummary, RotationWalk, RotationWanted, SignedReport};
use crate::admin::routes::existing_tenant;
use crate::admin::sent::Sent;
use crate::admin::status::Refused;
use crate::admin::types::ReencryptionInfo;
use crate::config::Ivk;
use crate::node::Node;
use crate::schedule::Schedule;
use crate::system::rfc3339;

const REPORT: Deed = Deed::new(Action::ReportRotation, None);
/// What stands for a schedule where there is none.
const NO_POLICY: &str = "none";
const MILLIS_A_DAY: i64 = 24 * 60 * 60 * 1000;

/// How the keys of all layers are rotated, signed by the node: for each its Active version, age, schedule, and what still lies under older versions. For
/// operators and auditors. A part has at most 1000 tenants, L2.1 and services; `next` says where the next part begins.
#[utoipa::path(
    get, path = "/api/v1/reports/rotation", tag = "reports", params(RotationWanted),
    responses((status = 200, description = "As asked", body = SignedReport), Refusals)
)]
pub(super) async fn rotation(State(node): State<Arc<Node>>, Extension(call): Extension<Call>, sent: Sent) -> Answer<Json<SignedReport>> {
    let signed = act(&node, &call, REPORT, async |vault, _unit, _subject| {
        let wanted = sent.query::<RotationWanted>()?;
        if node.seal_slots().is_none() {
            return Err(Refused::conflict("an edge rotates no keys of its own: ask its core".to_owned()));
        }
        let report = report(&node, vault, &call, wanted).await?;
        let statement = report.canonical();
        let signed = node.audit.sign_statement(statement.as_bytes());
        let signed =
            signed.ok_or_else(|| Refused::unavailable("the node has no audit signing key now: run `strongroom unseal`".to_owned()))?;
        Ok(SignedReport {
            report,
            log: HEXLOWER.encode(&node.identity.log.0),
            public_key: HEXLOWER.encode(&signed.public),
            signature: HEXLOWER.encode(&signed.signature),
        })
    });
    Ok(Json(signed.await?))
}

async fn report(node: &Node, vault: &Vault, call: &Call, wanted: RotationWanted) -> Answer<RotationReport> {
    let limit = wanted.limit.unwrap_or(CHAINS_MAX);
    if !(1..=CHAINS_MAX).contains(&limit) {
        return Err(Refused::invalid(format!("limit: 1 to {CHAINS_MAX}")));
    }
    let after = wanted.after.as_deref().map(str::parse).transpose();
    let after = after.map_err(|_| Refused::invalid("after: give what stood in `next` of the part before".to_owned()))?;
    let tenant = match &wanted.tenant {
        Some(name) => Some(existing_tenant(vault, call, name).await?.id),
        None => None,
    };
    let ivk = vault.ivk_status().await?;
    let page = vault.chains(&ChainsWanted { tenant, after, limit }).await?;
    let now = vault.now();
    let left = Left::of(node, vault);
    let ivk_row = ivk_row(node, (vault.ivk_chain()?, &ivk), &left, now)?;
    let ChainPage { chains, refused, next } = page;
    let chains: Vec<_> = std::iter::once(ivk_row).chain(chains.iter().map(|chain| row(&node.config.ivk, chain, &left, now))).collect();
    let refused: Vec<_> = refused.into_iter().map(|finding| format!("{}: {}", finding.row, finding.what)).collect();
    Ok(RotationReport {
        format: FORMAT,
        kind: "rotation".to_owned(),
        cluster: node.identity.cluster.to_string(),
        cluster_name: node.config.cluster.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        from: rfc3339(ivk.iter().map(|ivk| ivk.created).min().unwrap_or(now)),
        until: rfc3339(now),
        tenant: wanted.tenant,
        after: wanted.after,
        next: next.map(|next| next.to_string()),
        summary: summary(&chains, &left, refused.len()),
        walk: walk(node, &left).await?,
        chains,
        refused,
    })
}

/// What the last whole walk has left under older versions.
struct Left {
    /// A whole walk has ended since a version was last replaced.
    is_current: bool,
    /// How many keys, by the chain that they lie under.
    by_chain: BTreeMap<ChainId, u64>,
}

impl Left {
    fn of(node: &Node, vault: &Vault) -> Self {
        let progress = node.reencryption.progress();
        let now = node.open().map(|open| (open.since, vault.parents_epoch()));
        Self { is_current: progress.walked.is_some() && progress.walked == now, by_chain: progress.left }
    }

    fn under(&self, chain: ChainId) -> Option<u64> {
        self.is_current.then(|| self.by_chain.get(&chain).copied().unwrap_or(0))
    }

    fn all(&self) -> Option<u64> {
        self.is_current.then(|| self.by_chain.values().sum())
    }
}

fn ivk_row(node: &Node, (chain, versions): (ChainId, &[IvkStatus]), left: &Left, now: Time) -> Answer<RotationChain> {
    let corrupt = || keys::Error::Corrupt { what: "no Active version".to_owned(), at: "IVK".to_owned() };
    let active = versions.iter().find(|ivk| ivk.state == KeyState::Active).ok_or_else(corrupt)?;
    let due = node.ivk_due(versions, now)?;
    let compromised = versions.iter().filter(|ivk| ivk.state == KeyState::Compromised).map(|ivk| ivk.version.0).collect();
    Ok(RotationChain {
        layer: "IVK".to_owned(),
        tenant: None,
        service: None,
        chain: None,
        active_version: active.version.0,
        active_id: None,
        made: rfc3339(active.created),
        age_days: age_days(active.created, now),
        policy: policy(&node.config.ivk.schedule),
        last_rotation: active.activated.filter(|_| active.version > KeyVersion::FIRST).map(rfc3339),
        next_due: due.map(rfc3339),
        overdue: due.is_some_and(|due| due < now),
        keys_under_older: left.under(chain),
        compromised,
    })
}

fn row(schedules: &Ivk, chain: &ChainStatus, left: &Left, now: Time) -> RotationChain {
    let ChainStatus { layer, chain, tenant, service, active, others } = chain;
    let (name, schedule) = match layer {
        Layer::L2 => ("L2", &schedules.tenants),
        Layer::L21 => ("L2.1", &schedules.resources),
        _ => ("L3", &schedules.services),
    };
    let due = schedule.due(active.since, now, &[active.id.uuid.as_bytes()]);
    let mut compromised: Vec<u32> =
        others.iter().chain([active]).filter(|version| version.state == KeyState::Compromised).map(|version| version.version.0).collect();
    compromised.sort_unstable_by(|one, other| other.cmp(one));
    RotationChain {
        layer: name.to_owned(),
        tenant: Some(tenant.to_string()),
        service: service.as_ref().map(ToString::to_string),
        chain: Some(chain.to_string()),
        active_version: active.version.0,
        active_id: Some(active.id.to_string()),
        made: rfc3339(active.created),
        age_days: age_days(active.created, now),
        policy: policy(schedule),
        last_rotation: (!others.is_empty()).then(|| rfc3339(active.created)),
        next_due: due.map(rfc3339),
        overdue: due.is_some_and(|due| due < now),
        keys_under_older: if *layer == Layer::L3 { None } else { left.under(*chain) },
        compromised,
    }
}

fn summary(chains: &[RotationChain], left: &Left, refused: usize) -> RotationSummary {
    let count = |is: fn(&RotationChain) -> bool| chains.iter().filter(|chain| is(chain)).count() as u64;
    RotationSummary {
        chains: chains.len() as u64,
        overdue: count(|chain| chain.overdue),
        unscheduled: count(|chain| chain.policy == NO_POLICY),
        compromised: chains.iter().map(|chain| chain.compromised.len() as u64).sum(),
        keys_under_older: left.all(),
        refused: refused as u64,
    }
}

async fn walk(node: &Node, left: &Left) -> Answer<RotationWalk> {
    let ReencryptionInfo { state, ended, looked_at, moved, refused, .. } = reencryption_info(node).await?;
    Ok(RotationWalk { state, is_current: left.is_current, ended, looked_at, moved, refused })
}

fn policy(schedule: &Schedule) -> String {
    match schedule {
        Schedule::OnDemand => NO_POLICY.to_owned(),
        Schedule::Every(every) => format!("every {}", humantime::format_duration(*every)),
        Schedule::At(calendar) => format!("at {} UTC", calendar.text()),
    }
}

fn age_days(made: Time, now: Time) -> u32 {
    u32::try_from((now.millis() - made.millis()) / MILLIS_A_DAY).unwrap_or(0)
}
