//! Resources of a tenant and their L2.1 on a real core and edge: made, rotated and rolled back while both are at work, and there after a restart.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use daemon::kmip_client::{Endpoint, KmipClient};
use kmip::ttlv::Value as Ttlv;
use kmip::{Attribute, AttributeValue, GetAttributesRequest, LocateRequest, ProtocolVersion, RevocationReasonCode, State};
use serde_json::Value;
use softhsm_test::load::{Over, work};
use softhsm_test::requests::{self, Secret};
use softhsm_test::{Appliance, Who, wait_for};

/// Rotations and roll-backs under load.
const ROUNDS: usize = 12;
/// Services of acme, each with its resource.
const SERVICES: [(&str, &str); 3] = [("ledger", "ledger"), ("ledger-2", "ledger"), ("archive", "archive")];

/// The tenant's resources as `tenant show` has them: the Active version of each, its number and the newest.
type Resources = BTreeMap<String, (String, u64, u64)>;

/// An appliance whose tenant acme has resources, asked by its operator and its tenant-admin.
struct Estate {
    appliance: Appliance,
}

fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}

impl Estate {
    /// `key ...` by acme's tenant-admin: the answer, or what is said on refusal.
    fn govern(&self, arguments: &[&str]) -> Result<Value, String> {
        let as_admin = self.appliance.as_who(Who::TenantAdmin);
        let as_admin = as_admin.each_ref().map(String::as_str);
        let said = self.appliance.cli(Who::Operator, &[&["--json"], &as_admin[..], &["key"], arguments].concat());
        if said.status.success() {
            Ok(serde_json::from_slice(&said.stdout).expect("an answer in JSON"))
        } else {
            Err([said.stdout, said.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat())
        }
    }

    fn governed(&self, arguments: &[&str]) -> Value {
        self.govern(arguments).unwrap_or_else(|refused| panic!("{arguments:?}: {refused}"))
    }

    /// Where a service of acme connects to a node, with a certificate of its own.
    fn service(&self, node: &str, service: &str) -> Endpoint {
        let [cert, key] = ["crt", "key"].map(|kind| self.appliance.dir().join(format!("{service}.{kind}")));
        if !cert.exists() {
            let [ca, ca_key] = ["CA_CERT", "CA_KEY"].map(|name| self.appliance.value(name));
            let paths = [&cert, &key].map(|path| path.display().to_string());
            let whose = ["--role", "service", "--tenant", "acme", "--name", service, "--out", &paths[0], "--out-key", &paths[1]];
            let _issued = self.appliance.ask(&[&["cert", "issue", "--ca", &ca, "--ca-key", &ca_key], &whose[..]].concat());
        }
        Endpoint { cert, key, ..self.appliance.endpoint_at(node, Who::Service) }
    }

    fn resources(&self) -> Resources {
        let acme = self.appliance.ask(&["tenant", "show", "acme"]);
        let one = |resource: &Value| {
            let numbers = ["version", "newest"].map(|name| resource[name].as_u64().expect("a number"));
            (text(&resource["name"]), (text(&resource["key"]), numbers[0], numbers[1]))
        };
        acme["resources"].as_array().expect("a list").iter().map(one).collect()
    }

    fn keys(&self, layer: &str) -> Vec<Value> {
        self.appliance.ask(&["key", "list", "--tenant", "acme", "--layer", layer, "--limit", "1000"])["keys"]
            .as_array()
            .expect("a list")
            .clone()
    }

    /// The version of a resource's L2.1 with this number.
    fn version(&self, resource: &str, number: u64) -> String {
        let keys = self.keys("L2.1");
        let found = keys.iter().find(|key| key["resource"] == resource && key["version"] == number);
        text(&found.unwrap_or_else(|| panic!("{resource} has no version {number}: {keys:?}"))["id"])
    }

    /// C23: of each resource exactly one version is Active, the one that its record names.
    fn must_have_one_active(&self) {
        let keys = self.keys("L2.1");
        for (resource, (key, version, newest)) in self.resources() {
            let own: Vec<&Value> = keys.iter().filter(|key| key["resource"] == resource.as_str()).collect();
            let active: Vec<&Value> = own.iter().copied().filter(|key| key["state"] == "active").collect();
            assert_eq!(active.iter().map(|key| text(&key["id"])).collect::<Vec<_>>(), [key], "{resource}");
            assert_eq!((&active[0]["version"], own.len() as u64), (&version.into(), newest), "{resource}");
        }
    }

    /// Every key of a service lies under the Active version of what wraps it, sooner or later.
    fn must_have_moved_all(&self) {
        let is_done = || {
            let (resources, l2) = (self.resources(), self.appliance.ask(&["tenant", "show", "acme"])["key"].clone());
            let parent = |key: &Value| key["resource"].as_str().map_or_else(|| l2.clone(), |name| Value::from(resources[name].0.as_str()));
            self.keys("L3").iter().all(|key| key["wrapped_by"]["id"] == parent(key))
                && self.keys("L2.1").iter().all(|key| key["wrapped_by"]["id"] == l2)
        };
        assert!(wait_for(is_done), "{:?} under {:?}", self.keys("L3"), self.resources());
        assert_eq!(self.appliance.ask(&["reencrypt", "status"])["refused"], 0);
    }
}

fn connected(to: &Endpoint) -> KmipClient {
    KmipClient::connect(to, ProtocolVersion::V1_4).expect("the node serves")
}

#[test]
fn resources_are_rotated_and_rolled_back_under_load_and_nothing_is_lost() {
    let estate = Estate { appliance: Appliance::with_edges(1) };
    let appliance = &estate.appliance;
    let defaults = SERVICES.map(|(service, resource)| {
        let made = estate.appliance.ask(&["service", "create", "acme", service, "--resource", resource]);
        assert_eq!(made["resource"], resource);
        text(&made["default_key"])
    });
    let listed = estate.appliance.ask(&["service", "list", "acme"]);
    let of: BTreeMap<String, Value> =
        listed.as_array().expect("a list").iter().map(|service| (text(&service["name"]), service["resource"].clone())).collect();
    assert_eq!((&of["ledger-2"], &of["archive"], &of["billing"]), (&"ledger".into(), &"archive".into(), &Value::Null));
    assert_eq!(estate.resources().keys().map(String::as_str).collect::<Vec<_>>(), ["archive", "ledger"]);
    let endpoints = SERVICES.map(|(service, _)| estate.service("core", service));
    let at_edge = estate.service("edge", "ledger");

    let (is_over, done) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut kept: Vec<(usize, Secret)> = Vec::new();
    thread::scope(|scope| {
        let _over = Over(&is_over);
        let (is_over, done) = (&is_over, &done);
        for (endpoint, key) in endpoints.iter().zip(&defaults) {
            scope.spawn(move || work(endpoint, Some(key), is_over, done));
        }
        let at_edge = &at_edge;
        scope.spawn(move || work(at_edge, None, is_over, done));

        let mut clients = endpoints.each_ref().map(connected);
        let mut admin = appliance.connect(Who::TenantAdmin);
        for round in 0..ROUNDS {
            let (active, version, newest) = estate.resources()["ledger"].clone();
            match round % 4 {
                0 => {
                    let l2 = text(&estate.appliance.ask(&["tenant", "show", "acme"])["key"]);
                    assert_eq!(estate.governed(&["rotate", &l2])["layer"], "L2");
                }
                1 => assert_eq!(estate.governed(&["rotate", &active])["version"], newest + 1),
                2 => {
                    let earlier = estate.version("ledger", version - 1);
                    let back = estate.governed(&["rollback", &earlier]);
                    assert_eq!((&back["id"], &back["state"]), (&earlier.as_str().into(), &"active".into()));
                    // For KMIP too, and the links lead from the one to the other.
                    let (now, before) =
                        (requests::look(&mut admin, &earlier).expect("its own"), requests::look(&mut admin, &active).expect("its own"));
                    assert_eq!((now.state, before.state), (State::Active, State::Deactivated));
                    assert_eq!(
                        (now.replaced.as_deref(), now.replacement, before.replacement),
                        (Some(active.as_str()), None, Some(earlier))
                    );
                }
                _ => drop(requests::rekey(&mut admin, &active).expect("an Active L2.1 is replaced")),
            }
            estate.must_have_one_active();
            for (place, (client, key)) in clients.iter_mut().zip(&defaults).enumerate() {
                let plain = format!("{place} in round {round}").into_bytes();
                kept.push((place, requests::encrypt(client, key, plain).expect("it encrypts")));
            }
        }
        let before = done.load(Ordering::Relaxed);
        assert!(wait_for(|| done.load(Ordering::Relaxed) > before + 50), "the clients are not served");
    });
    estate.must_have_moved_all();
    let mut admin = appliance.connect(Who::TenantAdmin);
    let must_decrypt = || {
        let mut clients = endpoints.each_ref().map(connected);
        for (place, secret) in &kept {
            assert_eq!(requests::decrypt(&mut clients[*place], secret).expect("it decrypts"), secret.plain);
        }
    };
    must_decrypt();

    // A compromised version is out for good; its keys, if any were left there, have been moved.
    let older = estate.version("ledger", 1);
    requests::revoke(&mut admin, &older, RevocationReasonCode::KeyCompromise).expect("it is Deprecated");
    let (active, ..) = estate.resources()["ledger"].clone();
    let state = |id: &str| text(&estate.governed(&["show", id])["state"]);
    assert_eq!((state(&older).as_str(), state(&active).as_str()), ("compromised", "active"));
    let before = (estate.resources(), estate.keys("L2.1"), estate.keys("L3"));
    for (id, words) in [
        (older.as_str(), "Compromised"),
        (active.as_str(), "Active"),
        (defaults[0].as_str(), "no L2.1"),
        ("L21-01890a5d-ac96-774b-bcce-b302099a8057", "no such key"),
        ("L21-", "no such key"),
    ] {
        let refused = estate.govern(&["rollback", id]).expect_err("it is refused");
        assert!(refused.contains(words), "{id}: {refused}");
    }
    let refused = estate.govern(&["revoke", &active, "--reason", "key-compromise"]).expect_err("it is replaced first");
    assert!(refused.contains("ReKey first"), "{refused}");
    assert_eq!((estate.resources(), estate.keys("L2.1"), estate.keys("L3")), before, "what is refused changes nothing");

    // A restart, and what is in force is what was.
    let resources = estate.resources();
    appliance.kill_and_wait("core");
    assert_eq!(estate.resources(), resources);
    estate.must_have_one_active();
    must_decrypt();
    let mut client = connected(&endpoints[0]);
    requests::encrypt(&mut client, &defaults[0], b"after".to_vec()).expect("it encrypts");

    // The end of what is out of use: an archived version, and a compromised one that nothing lies under.
    assert!(estate.govern(&["retire", &older]).expect_err("it is compromised").contains("key destroy"));
    let replaced = estate.resources()["archive"].0.clone();
    assert!(estate.govern(&["destroy", &replaced, "--yes"]).expect_err("it is Active").contains("not Active"));
    let _rotated = estate.governed(&["rotate", &replaced]);
    assert!(estate.govern(&["destroy", &replaced, "--yes"]).expect_err("it is not archived").contains("retire it first"));
    assert!(wait_for(|| estate.govern(&["retire", &replaced]).is_ok()), "{:?}", estate.govern(&["retire", &replaced]));
    for (id, state) in [(&replaced, "destroyed"), (&older, "destroyed-compromised")] {
        assert_eq!(estate.governed(&["destroy", id, "--yes"])["state"], state);
        assert!(estate.govern(&["destroy", id, "--yes"]).is_err(), "once is enough");
        assert!(estate.govern(&["rollback", id]).is_err(), "it does not come back");
    }
    must_decrypt();
    let verified = appliance.cli(Who::Operator, &["audit", "verify"]);
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
}

#[test]
fn kmip_shows_and_finds_an_l21_and_what_lies_under_it() {
    let estate = Estate { appliance: Appliance::start() };
    let made = estate.appliance.ask(&["service", "create", "acme", "ledger", "--resource", "ledger"]);
    let (l3, l21) = (text(&made["default_key"]), estate.resources()["ledger"].0.clone());
    let l2 = text(&estate.appliance.ask(&["tenant", "show", "acme"])["key"]);
    let mut admin = estate.appliance.connect(Who::TenantAdmin);
    let custom =
        |name: &'static str, value: &'static str| Attribute { index: None, value: AttributeValue::Custom(name, Ttlv::TextString(value)) };
    for layer in ["y-layer", "x-layer"] {
        let wanted = LocateRequest { attributes: vec![custom(layer, "L2.1")], ..LocateRequest::default() };
        assert_eq!(admin.call(&wanted).expect("an admin looks").unique_identifiers, [l21.as_str()]);
    }
    for (id, layer, parent) in [(&l21, "L2.1", &l2), (&l3, "L3", &l21)] {
        let wanted = GetAttributesRequest { unique_identifier: Some(id), attribute_names: vec!["y-layer", "y-parent"] };
        let shown = admin.call(&wanted).expect("its own");
        let shown: Vec<&AttributeValue<'_>> = shown.attributes.iter().map(|attribute| &attribute.value).collect();
        let value = |name, text| AttributeValue::Custom(name, Ttlv::TextString(text));
        assert_eq!(shown, [&value("y-layer", layer), &value("y-parent", parent.as_str())]);
    }
    // The service of the resource uses its key and knows nothing of what wraps it.
    let mut service = connected(&estate.service("core", "ledger"));
    assert!(requests::look(&mut service, &l21).is_err());
    let secret = requests::encrypt(&mut service, &l3, b"entry".to_vec()).expect("it encrypts");
    // While its tenant is disabled neither is there for anybody.
    let _disabled = estate.appliance.ask(&["tenant", "disable", "acme"]);
    assert!(requests::decrypt(&mut service, &secret).is_err());
    assert!(requests::rekey(&mut admin, &l21).is_err());
    assert!(estate.govern(&["rotate", &l21]).is_err());
    let _enabled = estate.appliance.ask(&["tenant", "enable", "acme"]);
    let mut service = connected(&estate.service("core", "ledger"));
    assert_eq!(requests::decrypt(&mut service, &secret).expect("it is served again"), b"entry");
    assert_eq!(estate.resources()["ledger"], (l21, 1, 1), "nothing was changed meanwhile");
}
