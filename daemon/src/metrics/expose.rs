//! The names of all metrics, and their text; `docs/METRICS.md` explains each of them.

use std::fmt;
use std::time::Duration;

use keys::edge::EdgeFigures;
use keys::id::Time;
use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use super::{Count, DOORS, Figures, IvkFigures, Metrics, origin_name};

/// Names and values of one series' labels.
type Labels = Vec<(&'static str, String)>;

/// The whole text.
pub(super) fn text(metrics: &Metrics, figures: Figures) -> String {
    let mut page = Page(Registry::with_prefix("strongroom"));
    page.node(&figures);
    page.clock(&figures);
    page.edge(&figures);
    page.trust(metrics, &figures);
    page.requests(metrics);
    page.doors(metrics);
    page.store(metrics, &figures);
    page.plugin(&figures);
    page.sweep(metrics);
    page.rotation(&figures);
    page.reencryption(metrics);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &page.0).expect("writing into a String does not fail");
    text
}

/// The page under construction.
struct Page(Registry);

impl Page {
    fn node(&mut self, now: &Figures) {
        let role = if now.is_edge { "edge" } else { "core" };
        let version = vec![("version", env!("CARGO_PKG_VERSION").to_owned()), ("role", role.to_owned())];
        self.gauge("build", "Always 1; says which program runs", vec![(version, 1.0)]);
        self.plain("unsealed", "1 while the node can use its keys, else 0", truth(now.unsealed));
        self.plain("ready", "1 while the node serves keys, else 0", truth(now.ready));
        let warnings = now.warnings.iter().map(|(topic, warnings)| (vec![("about", topic.name().to_owned())], count(*warnings)));
        self.gauge("warnings", "Standing warnings, as status has them", warnings.collect());
        // An edge has none.
        let slots = |number: usize| (!now.is_edge).then(|| (vec![], count(number))).into_iter().collect();
        self.gauge("slots", "Seal slots that can be read", slots(now.slots));
        self.gauge("slots_good", "Seal slots that opened when they were last tried", slots(now.slots_good));
        self.gauge(
            "slots_independent",
            "Seal slots that do not fall with one device: 0, 1, or 2 for more as well",
            slots(now.slots_independent),
        );
        let opens = now.slot_opens.iter().map(|(slot, opens)| (vec![("slot", slot.clone())], truth(*opens)));
        self.gauge("slot_opens", "1 if the seal slot opened when it was last tried, else 0", opens.collect());
        self.age("slot_probe_age", "Time since the seal slots were last tried", now.probe_age);
        self.plain("audit_writable", "1 while the audit log takes records, else 0: nothing is served then", truth(now.audit_writable));
        let unsigned = now.audit.map(|log| (vec![], count_of(log.unsigned)));
        self.gauge(
            "audit_unsigned_records",
            "Records at the end of the audit log that no signature covers yet",
            unsigned.into_iter().collect(),
        );
        let records = now.audit.map(|log| (vec![], log.records));
        self.counter("audit_records", "Records and sessions in the audit log since it began", records.into_iter().collect());
        self.age("audit_sync_age", "Time since all of the audit log was known to be on disk", now.audit_sync_age);
        self.plain("cache_entries", "Opened keys in the cache", count(now.cache.entries));
        self.counter("cache_hits", "Look-ups that found an opened key, since the unseal", vec![(vec![], now.cache.hits)]);
        self.counter("cache_misses", "Look-ups that had to ask the keystore, since the unseal", vec![(vec![], now.cache.misses)]);
        self.plain(
            "keys_short_of_ivs",
            "Keys that have reserved so many random IVs that they should be rotated",
            count(now.keys_short_of_ivs),
        );
        self.bytes("arena", "Size of the locked memory for keys", now.arena_bytes);
        self.bytes("arena_used", "Locked memory that holds keys now", now.arena_used_bytes);
    }

    fn clock(&mut self, now: &Figures) {
        self.seconds("clock", "The time of day by which the node goes, since 1970-01-01 UTC", vec![(vec![], signed(now.clock.seconds()))]);
        let behind = vec![(vec![], now.clock_behind.as_secs_f64())];
        self.seconds("clock_behind", "How far the system's clock is behind that, because it was set back", behind);
    }

    fn trust(&mut self, metrics: &Metrics, now: &Figures) {
        let listeners = metrics.trust.told();
        let left = |until: Time| signed(until.seconds().saturating_sub(now.clock.seconds()));
        let mut ends = Vec::new();
        for told in &listeners {
            ends.extend([("server", told.server), ("client_ca", told.client_ca)].map(|(of, until)| (told.listener, of, until)));
        }
        ends.push(("upstream", "client", now.upstream_until));
        let ends = ends
            .into_iter()
            .filter_map(|(listener, of, until)| Some((vec![("listener", listener.to_owned()), ("of", of.to_owned())], left(until?))));
        self.seconds("certificate_left", "Time until the first certificate ends", ends.collect());
        let crls = listeners.iter().filter_map(|told| Some((vec![("listener", told.listener.to_owned())], left(told.crl?))));
        self.seconds("crl_left", "Time until the first revocation list in force is to be replaced", crls.collect());
        let faults = listeners.iter().map(|told| (vec![("listener", told.listener.to_owned())], count(told.faults)));
        self.gauge("listener_faults", "What is wrong with the listener's files", faults.collect());
    }

    fn edge(&mut self, now: &Figures) {
        let edge = |value: fn(EdgeFigures) -> f64| now.edge.map(|edge| (vec![], value(edge))).into_iter().collect();
        self.gauge("edge_keys_pooled", "Wrapped keys that wait for what is made next", edge(|edge| count(edge.pooled)));
        self.gauge("edge_keys_open", "Keys that a core has opened and that are kept", edge(|edge| count(edge.opened)));
        self.age("edge_lease_age", "Time since a core renewed the lease", now.edge.map(|edge| edge.lease_age));
        let made = now.core_calls.iter().flat_map(|calls| calls.made).map(|(call, count)| (vec![("call", call.to_owned())], count));
        self.counter("edge_core_calls", "Calls to cores, by what was asked", made.collect());
        let failures = now.core_calls.map(|calls| (vec![], calls.failures)).into_iter().collect();
        self.counter("edge_core_failures", "Calls to cores without an answer that could be used", failures);
    }

    fn requests(&mut self, metrics: &Metrics) {
        let counts = metrics.requests.counts().map(|(origin, operation, outcome, count)| {
            (vec![("protocol", origin_name(origin).to_owned()), ("operation", operation), ("outcome", outcome)], count)
        });
        self.counter("requests", "Items of KMIP messages, and admin calls, by how they ended", counts.collect());
        let durations = metrics.requests.durations().map(|(origin, took)| {
            let sample = Durations { seconds: took.seconds(), buckets: took.buckets() };
            (vec![("protocol", origin_name(origin).to_owned())], sample)
        });
        let durations = Samples { kind: MetricType::Histogram, samples: durations.collect() };
        let help = "Time from a whole message to its answer, before it is sent";
        self.0.register_with_unit("request_duration", help, Unit::Seconds, durations);
    }

    fn doors(&mut self, metrics: &Metrics) {
        let doors = DOORS.map(|origin| (origin_name(origin), metrics.door(origin)));
        let label = |door: &str| ("listener", door.to_owned());
        let open = doors.iter().map(|(name, door)| (vec![label(name)], count_of(door.open_now())));
        self.gauge("connections", "Open connections that have finished their handshake", open.collect());
        let by_reason = |name: &str, (reason, count): (&'static str, u64)| (vec![label(name), ("reason", reason.to_owned())], count);
        let failed = doors.iter().flat_map(|(name, door)| door.failures().map(|failure| by_reason(name, failure)));
        self.counter("handshakes_failed", "TLS handshakes that failed", failed.collect());
        let refused = doors.iter().flat_map(|(name, door)| door.refusals().map(|refusal| by_reason(name, refusal)));
        self.counter(
            "connections_refused",
            "Connections that were turned away after their handshake, or cut when the trust was replaced",
            refused.collect(),
        );
    }

    fn store(&mut self, metrics: &Metrics, now: &Figures) {
        let store = &metrics.store;
        let one = |count: &Count| vec![(vec![], count.value())];
        self.counter("store_reads", "Rows asked of the keystore", one(&store.reads));
        self.counter("store_searches", "Pages of searches asked of the keystore", one(&store.searches));
        self.counter("store_commits", "Transactions that the keystore made durable", one(&store.commits));
        self.counter("store_changes", "Row changes in those transactions", one(&store.changes));
        self.counter("store_records", "Audit records in those transactions: by commits, how many changes share one", one(&store.records));
        self.counter("store_conflicts", "Transactions that another change of the same row came before", one(&store.conflicts));
        self.counter("store_failures", "Calls of the keystore that failed", one(&store.failures));
        self.plain("store_failing", "1 if the keystore did not answer when it was last asked, else 0", truth(now.store_failing));
        self.counter(
            "row_cache_hits",
            "Rows of a keystore elsewhere that were kept when they were wanted",
            vec![(vec![], metrics.rows.hits())],
        );
        self.counter("row_cache_misses", "Rows that a keystore elsewhere was asked for", vec![(vec![], metrics.rows.misses())]);
    }

    fn plugin(&mut self, now: &Figures) {
        let label = |keystore: &str| vec![("keystore", keystore.to_owned())];
        let open = now.keystores.iter().map(|(keystore, answered)| (label(keystore), truth(*answered)));
        self.gauge("keystore_open", "0 while the node waits for a keystore that was away when it started, else 1", open.collect());
        let serving = now.plugins.iter().map(|plugin| (label(&plugin.keystore), truth(plugin.is_serving)));
        self.gauge("plugin_serving", "1 if the plugin behind the keystore was well when it was asked last, else 0", serving.collect());
        let starts = now.plugins.iter().filter_map(|plugin| plugin.starts.map(|starts| (label(&plugin.keystore), starts)));
        self.counter("plugin_starts", "How often the node has started the plugin behind the keystore", starts.collect());
    }

    fn sweep(&mut self, metrics: &Metrics) {
        let sweep = &metrics.sweep;
        self.counter("sweep_rows", "Rows that sweeps have read and opened", vec![(vec![], sweep.rows.value())]);
        self.plain("sweep_findings", "Damaged records that the last whole sweep has found", count(sweep.findings()));
        let uncompared = sweep.uncompared().map(|buckets| (vec![], count(buckets)));
        self.gauge(
            "sweep_buckets_uncompared",
            "Parts of the store of which no sweep since the unseal could tell whether a row is missing",
            uncompared.into_iter().collect(),
        );
        self.age("sweep_age", "Time since the last whole sweep ended", sweep.age());
    }

    fn rotation(&mut self, now: &Figures) {
        let ivk =
            |value: fn(IvkFigures) -> Option<f64>| now.ivk.and_then(value).map(|value| (vec![], value)).into_iter().collect::<Vec<_>>();
        self.gauge("ivk_version", "The Active version of the IVK", ivk(|ivk| Some(ivk.version.into())));
        self.seconds("ivk_age", "Time since that version was made", ivk(|ivk| Some(signed(ivk.age_seconds))));
        let due = ivk(|ivk| ivk.due_seconds.map(signed));
        self.seconds("ivk_rotation_due", "Time until the schedule rotates the IVK; below 0 it is overdue", due);
        self.gauge("ivk_compromised", "Compromised versions of the IVK that are still there", ivk(|ivk| Some(count(ivk.compromised))));
        self.plain("reencryption_walking", "1 while a walk brings keys under newer versions, else 0", truth(now.is_walking));
        self.plain("reencryption_paused", "1 while walks are paused, else 0", truth(now.is_walk_paused));
        self.plain("reencryption_failing", "1 while a walk does not go on because of an error, else 0", truth(now.is_walk_failing));
    }

    fn reencryption(&mut self, metrics: &Metrics) {
        let walks = &metrics.reencryption;
        let one = |count: &Count| vec![(vec![], count.value())];
        self.counter("reencryption_keys_looked_at", "Keys that walks have looked at", one(&walks.looked));
        self.counter("reencryption_keys", "Keys that came under a newer version of what wraps them", one(&walks.moved));
        self.plain(
            "reencryption_refused",
            "Keys that the last whole walk left behind, because they do not verify",
            count_of(walks.left_behind()),
        );
        self.plain(
            "reencryption_records_damaged",
            "Records of re-encryption itself that did not verify at the unseal",
            count(walks.damaged()),
        );
    }

    fn plain(&mut self, name: &str, help: &str, value: f64) {
        self.gauge(name, help, vec![(vec![], value)]);
    }

    fn bytes(&mut self, name: &str, help: &str, bytes: usize) {
        let samples = vec![(vec![], count(bytes))];
        self.0.register_with_unit(name, help, Unit::Bytes, Samples { kind: MetricType::Gauge, samples });
    }

    /// No sample at all while there is no age.
    fn age(&mut self, name: &str, help: &str, age: Option<Duration>) {
        let samples = age.map(|age| (vec![], age.as_secs_f64())).into_iter().collect();
        self.0.register_with_unit(name, help, Unit::Seconds, Samples { kind: MetricType::Gauge, samples });
    }

    fn seconds(&mut self, name: &str, help: &str, samples: Vec<(Labels, f64)>) {
        self.0.register_with_unit(name, help, Unit::Seconds, Samples { kind: MetricType::Gauge, samples });
    }

    fn gauge(&mut self, name: &str, help: &str, samples: Vec<(Labels, f64)>) {
        self.0.register(name, help, Samples { kind: MetricType::Gauge, samples });
    }

    fn counter(&mut self, name: &str, help: &str, samples: Vec<(Labels, u64)>) {
        self.0.register(name, help, Samples { kind: MetricType::Counter, samples });
    }
}

fn truth(is: bool) -> f64 {
    if is { 1.0 } else { 0.0 }
}

fn count(number: usize) -> f64 {
    count_of(number as u64)
}

#[expect(clippy::cast_precision_loss, reason = "no key lives 2^53 seconds")]
fn signed(seconds: i64) -> f64 {
    seconds as f64
}

#[expect(clippy::cast_precision_loss, reason = "nobody counts to 2^53 here, and a gauge is read by eye")]
fn count_of(number: u64) -> f64 {
    number as f64
}

/// All series of one metric.
#[derive(Debug)]
struct Samples<V> {
    kind: MetricType,
    samples: Vec<(Labels, V)>,
}

/// One series' value.
trait Sample: fmt::Debug + Send + Sync + 'static {
    fn encode(&self, encoder: &mut MetricEncoder<'_>) -> fmt::Result;
}

impl Sample for f64 {
    fn encode(&self, encoder: &mut MetricEncoder<'_>) -> fmt::Result {
        encoder.encode_gauge(self)
    }
}

impl Sample for u64 {
    fn encode(&self, encoder: &mut MetricEncoder<'_>) -> fmt::Result {
        encoder.encode_counter::<NoLabelSet, _, u64>(self, None)
    }
}

/// A histogram's numbers.
#[derive(Debug)]
struct Durations {
    seconds: f64,
    buckets: Vec<(f64, u64)>,
}

impl Sample for Durations {
    fn encode(&self, encoder: &mut MetricEncoder<'_>) -> fmt::Result {
        let all = self.buckets.iter().map(|(_, count)| count).sum();
        encoder.encode_histogram::<NoLabelSet>(self.seconds, all, &self.buckets, None)
    }
}

impl<V: Sample> EncodeMetric for Samples<V> {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        for (labels, value) in &self.samples {
            if labels.is_empty() {
                value.encode(&mut encoder)?;
            } else {
                value.encode(&mut encoder.encode_family(labels)?)?;
            }
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        self.kind
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use keys::policy::Action;
    use keys::record::{Origin, Outcome};

    use super::*;
    use crate::metrics::ListenerTrust;
    use crate::notices::Topic;
    use crate::plugin::PluginFigures;
    use crate::role::upstream::CoreCalls;

    fn page(figures: Figures) -> String {
        let metrics = Metrics::default();
        metrics.requests.count(Origin::Kmip, Action::GetAttributes, Outcome::NotFound);
        metrics.requests.took(Origin::Https, Duration::from_micros(150));
        text(&metrics, figures)
    }

    /// A node of which everything is known.
    fn full(is_edge: bool) -> Figures {
        let plugin = PluginFigures { keystore: "main".to_owned(), is_serving: true, starts: Some(1) };
        let ivk = IvkFigures { version: 7, age_seconds: 90, due_seconds: Some(5), compromised: 0 };
        Figures {
            is_edge,
            warnings: vec![(Topic::Trust, 1)],
            slot_opens: (!is_edge).then(|| ("s1".to_owned(), true)).into_iter().collect(),
            probe_age: (!is_edge).then_some(Duration::ZERO),
            audit: Some(audit::Figures { records: 1, unsigned: 0 }),
            audit_sync_age: Some(Duration::ZERO),
            edge: is_edge.then_some(EdgeFigures { pooled: 1, opened: 1, lease_age: Duration::ZERO }),
            core_calls: is_edge
                .then_some(CoreCalls { made: [("lease", 1), ("wrap", 0), ("unwrap", 0), ("forward", 0), ("report", 0)], failures: 0 }),
            upstream_until: is_edge.then_some(Time::from_seconds(90)),
            keystores: vec![("main".to_owned(), true)],
            plugins: vec![plugin],
            ivk: (!is_edge).then_some(ivk),
            ..Figures::default()
        }
    }

    /// Of each metric its kind, and the labels of its series; `None` of those without any series.
    type Families = BTreeMap<String, (String, Option<BTreeSet<String>>)>;

    fn families(text: &str) -> Families {
        let mut families = Families::new();
        let mut last = String::new();
        for line in text.lines() {
            if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|line| line.split_once(' ')) {
                last = name.to_owned();
                families.insert(last.clone(), (kind.to_owned(), None));
            } else if !line.starts_with('#') {
                let labels = line.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map_or("", |(labels, _)| labels);
                let names = labels.split(',').filter_map(|label| label.split_once('=')).map(|(name, _)| name.to_owned());
                let (_, seen) = families.get_mut(&last).expect("a sample stands below its type");
                seen.get_or_insert_with(BTreeSet::new).extend(names.filter(|name| name != "le"));
            }
        }
        families
    }

    /// The same, as the document has it for nodes of one role.
    fn documented(role: &str) -> Families {
        let document = include_str!("../../../docs/METRICS.md");
        let rows = document.lines().filter(|line| line.starts_with("| `strongroom_"));
        rows.map(|row| {
            let cells: Vec<&str> = row.split('|').map(str::trim).collect();
            assert!(["core", "edge", "both"].contains(&cells[4]), "{row}");
            let labels = cells[3].split(',').map(|label| label.trim().trim_matches('`').to_owned()).filter(|label| !label.is_empty());
            let is_told = cells[4] == "both" || cells[4] == role;
            (cells[1].trim_matches('`').to_owned(), (cells[2].to_owned(), is_told.then(|| labels.collect())))
        })
        .collect()
    }

    #[test]
    fn docs_metrics_md_tells_of_every_metric_its_kind_its_labels_and_where_it_is() {
        for (role, is_edge) in [("core", false), ("edge", true)] {
            let metrics = Metrics::default();
            metrics.requests.count(Origin::Kmip, Action::GetAttributes, Outcome::NotFound);
            metrics.requests.took(Origin::Https, Duration::from_micros(150));
            metrics.sweep.ended(0, 0, Time::from_seconds(0));
            let end = Some(Time::from_seconds(90));
            let trust = ListenerTrust { listener: "kmip", server: end, client_ca: end, crl: end, faults: 0 };
            metrics.trust.tell(vec![trust]);
            assert_eq!(documented(role), families(&text(&metrics, full(is_edge))), "left: the document; right: a {role}");
        }
    }

    #[test]
    fn what_ends_is_told_by_the_time_that_is_left_also_when_it_is_over() {
        let metrics = Metrics::default();
        let at = |seconds| Some(Time::from_seconds(seconds));
        let kmip = ListenerTrust { listener: "kmip", server: at(1_090), client_ca: None, crl: at(995), faults: 2 };
        metrics.trust.tell(vec![kmip]);
        let clock = Time::from_seconds(1_000);
        let text = text(&metrics, Figures { clock, clock_behind: Duration::from_millis(1_500), upstream_until: at(1_007), ..full(true) });
        for line in [
            "strongroom_certificate_left_seconds{listener=\"kmip\",of=\"server\"} 90.0",
            "strongroom_certificate_left_seconds{listener=\"upstream\",of=\"client\"} 7.0",
            "strongroom_crl_left_seconds{listener=\"kmip\"} -5.0",
            "strongroom_listener_faults{listener=\"kmip\"} 2.0",
            "strongroom_clock_seconds 1000.0",
            "strongroom_clock_behind_seconds 1.5",
            "strongroom_warnings{about=\"trust\"} 1.0",
        ] {
            assert!(text.lines().any(|is| is == line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("of=\"client_ca\""), "nobody knows when it ends");
    }

    #[test]
    fn a_series_has_its_labels_and_a_counter_its_suffix() {
        let slot_opens = vec![("s1".to_owned(), true), ("s2".to_owned(), false)];
        let text = page(Figures { unsealed: true, arena_bytes: 2_097_152, slot_opens, ..Figures::default() });
        for line in [
            "strongroom_requests_total{protocol=\"kmip\",operation=\"get_attributes\",outcome=\"not_found\"} 1",
            "strongroom_request_duration_seconds_bucket{le=\"0.0001\",protocol=\"https\"} 0",
            "strongroom_request_duration_seconds_bucket{le=\"0.0002\",protocol=\"https\"} 1",
            "strongroom_request_duration_seconds_bucket{le=\"+Inf\",protocol=\"https\"} 1",
            "strongroom_request_duration_seconds_count{protocol=\"https\"} 1",
            "strongroom_unsealed 1.0",
            "strongroom_slot_opens{slot=\"s1\"} 1.0",
            "strongroom_slot_opens{slot=\"s2\"} 0.0",
            "strongroom_arena_bytes 2097152.0",
            "strongroom_handshakes_failed_total{listener=\"admin\",reason=\"timeout\"} 0",
            "# UNIT strongroom_arena_bytes bytes",
        ] {
            assert!(text.lines().any(|is| is == line), "{line} is not in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"), "{text}");
    }

    #[test]
    fn an_age_that_nobody_knows_is_not_told_as_a_number() {
        let known = page(Figures { probe_age: Some(Duration::from_secs(3)), ..Figures::default() });
        assert!(known.contains("\nstrongroom_slot_probe_age_seconds 3.0\n"), "{known}");
        assert!(!page(Figures::default()).contains("\nstrongroom_slot_probe_age_seconds "));
    }

    #[test]
    fn a_rotation_that_is_overdue_is_told_below_zero_and_one_that_nobody_plans_not_at_all() {
        let ivk = IvkFigures { version: 7, age_seconds: 90, due_seconds: Some(-5), compromised: 2 };
        let overdue = page(Figures { ivk: Some(ivk), is_walking: true, ..Figures::default() });
        for line in [
            "strongroom_ivk_version 7.0",
            "strongroom_ivk_age_seconds 90.0",
            "strongroom_ivk_rotation_due_seconds -5.0",
            "strongroom_ivk_compromised 2.0",
            "strongroom_reencryption_walking 1.0",
        ] {
            assert!(overdue.lines().any(|is| is == line), "{line} is not in\n{overdue}");
        }
        let unplanned = page(Figures { ivk: Some(IvkFigures { due_seconds: None, ..ivk }), ..Figures::default() });
        assert!(!unplanned.contains("\nstrongroom_ivk_rotation_due_seconds "), "{unplanned}");
    }

    #[test]
    fn no_label_names_whose_keys_they_are() {
        let text = page(Figures::default());
        for label in ["tenant", "service=", "key=", "object", "peer"] {
            assert!(!text.contains(label), "{label}");
        }
    }
}
