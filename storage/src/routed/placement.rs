//! Which keystore holds which rows: rules by layer and tenant, the first that fits counts, and the home of all others.
//!
//! A rule can only speak of what every row shows to its store, and of keys: whatever keeps them in order (the roots, the records of tenants and services,
//! names, counters, digests, the audit outbox) stays at home, because a node cannot do without any of it.

use std::collections::BTreeSet;

use keys::id::{Layer, TenantId};
use keys::row::{Header, Row};

/// Layers whose rows may lie elsewhere than at home: keys.
pub const ROUTED_LAYERS: [Layer; 4] = [Layer::L2, Layer::L21, Layer::L3, Layer::L4];
/// Most rules of a placement.
pub const RULES_MAX: usize = 256;

/// Where rows belong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    home: String,
    rules: Vec<Rule>,
}

/// Some keys, and where they belong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Which keys.
    pub class: Class,
    /// The keystore's name.
    pub keystore: String,
}

/// Some keys.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Class {
    /// Of these layers; none: of all of [`ROUTED_LAYERS`].
    pub layers: BTreeSet<Layer>,
    /// Of this tenant; `None`: of all.
    pub tenant: Option<TenantId>,
}

impl Class {
    /// Does it say nothing, so that it is all rows and not only keys?
    #[must_use]
    pub fn is_all(&self) -> bool {
        self.layers.is_empty() && self.tenant.is_none()
    }

    fn has_layer(&self, layer: Layer) -> bool {
        self.layers.is_empty() || self.layers.contains(&layer)
    }

    fn has(&self, layer: Layer, tenant: TenantId) -> bool {
        self.has_layer(layer) && self.tenant.is_none_or(|own| own == tenant)
    }

    /// Is all of `other` in it?
    fn covers(&self, other: &Self) -> bool {
        let layers = other.layers();
        layers.iter().all(|layer| self.has_layer(*layer)) && self.tenant.is_none_or(|own| other.tenant == Some(own))
    }

    /// What is in both, if anything.
    fn common(&self, other: &Self) -> Option<Self> {
        let tenant = match (self.tenant, other.tenant) {
            (Some(one), Some(two)) if one != two => return None,
            (one, two) => one.or(two),
        };
        let layers: BTreeSet<Layer> = self.layers().intersection(&other.layers()).copied().collect();
        (!layers.is_empty()).then_some(Self { layers, tenant })
    }

    fn layers(&self) -> BTreeSet<Layer> {
        if self.layers.is_empty() { BTreeSet::from(ROUTED_LAYERS) } else { self.layers.clone() }
    }
}

impl Placement {
    /// All rows in one keystore.
    #[must_use]
    pub fn at(home: &str) -> Self {
        Self { home: home.to_owned(), rules: Vec::new() }
    }

    /// Keys by the first rule that fits, all others at home.
    #[must_use]
    pub fn new(home: &str, rules: Vec<Rule>) -> Self {
        Self { home: home.to_owned(), rules }
    }

    /// The keystore of everything that no rule speaks of.
    #[must_use]
    pub fn home(&self) -> &str {
        &self.home
    }

    /// The rules in order.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Every keystore that rows belong to.
    #[must_use]
    pub fn stores(&self) -> BTreeSet<&str> {
        std::iter::once(&*self.home).chain(ROUTED_LAYERS.into_iter().flat_map(|layer| self.stores_of(layer))).collect()
    }

    /// The first rule that no key comes to, because those before it take all of them.
    #[must_use]
    pub fn unreachable(&self) -> Option<usize> {
        (0..self.rules.len()).find(|index| {
            let class = &self.rules[*index].class;
            let taken = |layer: &Layer| {
                let one = Class { layers: BTreeSet::from([*layer]), tenant: class.tenant };
                self.rules[..*index].iter().any(|rule| rule.class.covers(&one))
            };
            class.layers().iter().all(taken)
        })
    }

    /// The keystore of a row.
    #[must_use]
    pub fn store_of(&self, header: &Header) -> &str {
        self.store_for(header.id.layer, header.owner.tenant)
    }

    fn store_for(&self, layer: Layer, tenant: TenantId) -> &str {
        if !ROUTED_LAYERS.contains(&layer) {
            return &self.home;
        }
        self.rules.iter().find(|rule| rule.class.has(layer, tenant)).map_or(&self.home, |rule| &rule.keystore)
    }

    /// Every keystore that rows of a layer belong to, each once.
    #[must_use]
    pub fn stores_of(&self, layer: Layer) -> Vec<&str> {
        let mut stores: Vec<&str> = Vec::new();
        if ROUTED_LAYERS.contains(&layer) {
            for rule in self.rules.iter().filter(|rule| rule.class.has_layer(layer)) {
                if !stores.contains(&&*rule.keystore) {
                    stores.push(&rule.keystore);
                }
                if rule.class.tenant.is_none() {
                    return stores;
                }
            }
        }
        if !stores.contains(&&*self.home) {
            stores.push(&self.home);
        }
        stores
    }

    /// Does every row belong to the same keystore by both, however that is said?
    #[must_use]
    pub fn agrees_with(&self, other: &Self) -> bool {
        self.home == other.home && ROUTED_LAYERS.iter().all(|layer| !self.differs(other, *layer))
    }

    /// Is there a row of the layer that belongs elsewhere by `other`?
    #[must_use]
    pub fn differs(&self, other: &Self, layer: Layer) -> bool {
        let named = self.rules.iter().chain(&other.rules).filter_map(|rule| rule.class.tenant);
        // The nil tenant owns no key, so it stands for all that no rule names.
        named.chain([TenantId::SYSTEM]).any(|tenant| self.store_for(layer, tenant) != other.store_for(layer, tenant))
    }

    /// Where a row comes to that leaves its keystore by `next`.
    #[must_use]
    pub fn moves<'n>(&self, next: &'n Self, row: &Row) -> Option<&'n str> {
        let to = next.store_of(&row.header);
        (to != self.store_of(&row.header)).then_some(to)
    }

    /// As this one, but what of `class` belongs to `from` belongs to `to`.
    #[must_use]
    pub fn moved(&self, class: &Class, from: &str, to: &str) -> Self {
        let mut next = Self { home: self.home.clone(), rules: Vec::new() };
        for rule in &self.rules {
            if rule.keystore == from {
                next.rules.extend(rule.class.common(class).map(|class| Rule { class, keystore: to.to_owned() }));
            }
            next.rules.push(rule.clone());
        }
        if self.home == from && class.is_all() {
            next.home = to.to_owned();
        } else if self.home == from {
            next.rules.push(Rule { class: class.clone(), keystore: to.to_owned() });
        }
        next.tidied()
    }

    /// Without the rules that decide nothing.
    fn tidied(mut self) -> Self {
        while let Some(index) = self.unreachable() {
            self.rules.remove(index);
        }
        while self.rules.last().is_some_and(|rule| rule.keystore == self.home) {
            self.rules.pop();
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn tenant(number: u128) -> TenantId {
        TenantId::new(Uuid::from_u128(number))
    }

    fn class(layers: &[Layer], of: Option<u128>) -> Class {
        Class { layers: layers.iter().copied().collect(), tenant: of.map(tenant) }
    }

    fn rule(layers: &[Layer], of: Option<u128>, keystore: &str) -> Rule {
        Rule { class: class(layers, of), keystore: keystore.to_owned() }
    }

    fn sample() -> Placement {
        let rules = vec![rule(&[Layer::L3], Some(1), "eu"), rule(&[Layer::L2, Layer::L3], None, "bao"), rule(&[], Some(2), "two")];
        Placement::new("home", rules)
    }

    #[test]
    fn the_first_rule_that_fits_counts_and_home_has_the_rest() {
        let placement = sample();
        for (layer, of, wanted) in [
            (Layer::L3, 1, "eu"),
            (Layer::L3, 2, "bao"),
            (Layer::L2, 1, "bao"),
            (Layer::L4, 1, "home"),
            (Layer::L4, 2, "two"),
            (Layer::L21, 2, "two"),
            (Layer::Name, 2, "home"),
            (Layer::Bucket, 0, "home"),
            (Layer::UsageBudget, 2, "home"),
        ] {
            assert_eq!(placement.store_for(layer, tenant(of)), wanted, "{layer:?} of {of}");
        }
        assert_eq!(placement.stores_of(Layer::L3), ["eu", "bao"]);
        assert_eq!(placement.stores_of(Layer::L2), ["bao"]);
        assert_eq!(placement.stores_of(Layer::L4), ["two", "home"]);
        assert_eq!(placement.stores_of(Layer::Cluster), ["home"]);
        assert_eq!(placement.stores(), BTreeSet::from(["bao", "eu", "home", "two"]));
    }

    #[test]
    fn a_rule_behind_those_that_take_all_of_it_is_unreachable() {
        assert_eq!(sample().unreachable(), None);
        for (rules, wanted) in [
            (vec![rule(&[], None, "a"), rule(&[Layer::L3], Some(1), "b")], Some(1)),
            (vec![rule(&[Layer::L2], None, "a"), rule(&[Layer::L3], None, "b"), rule(&[Layer::L2, Layer::L3], Some(1), "c")], Some(2)),
            (vec![rule(&[Layer::L2], None, "a"), rule(&[Layer::L2, Layer::L3], Some(1), "c")], None),
            (vec![rule(&[], Some(1), "a"), rule(&[], Some(1), "a")], Some(1)),
            (vec![rule(&[], Some(1), "a"), rule(&[], Some(2), "a"), rule(&[], None, "b")], None),
        ] {
            assert_eq!(Placement::new("home", rules.clone()).unreachable(), wanted, "{rules:?}");
        }
    }

    #[test]
    fn what_is_moved_belongs_to_the_new_keystore_and_nothing_else_does() {
        let layers = [ROUTED_LAYERS.as_slice(), &[Layer::Name, Layer::Cluster]].concat();
        let classes = [class(&[], None), class(&[Layer::L3], None), class(&[], Some(1)), class(&[Layer::L2, Layer::L4], Some(2))];
        let rules = sample().rules().to_vec();
        for (number, moved) in classes.iter().enumerate() {
            for from in ["home", "bao", "eu", "two"] {
                let old = Placement::new("home", rules.clone());
                let new = old.moved(moved, from, "new");
                for (layer, of) in layers.iter().flat_map(|layer| (0..4).map(move |of| (*layer, of))) {
                    let is_meant = moved.is_all() || ROUTED_LAYERS.contains(&layer) && moved.has(layer, tenant(of));
                    let was = old.store_for(layer, tenant(of));
                    let wanted = if was == from && is_meant { "new" } else { was };
                    assert_eq!(new.store_for(layer, tenant(of)), wanted, "class {number} from {from}: {layer:?} of {of}");
                }
                assert_eq!(new.unreachable(), None, "class {number} from {from}");
                // And the way back.
                assert!(new.moved(&class(&[], None), "new", from).agrees_with(&old), "class {number} from {from}");
            }
        }
    }

    #[test]
    fn placements_agree_by_what_they_say_and_not_by_how() {
        let plain = Placement::new("home", vec![rule(&[Layer::L2, Layer::L3], None, "bao")]);
        let wordy = Placement::new(
            "home",
            vec![rule(&[Layer::L3], Some(1), "bao"), rule(&[Layer::L3], None, "bao"), rule(&[Layer::L2], None, "bao")],
        );
        assert!(plain.agrees_with(&wordy) && wordy.agrees_with(&plain));
        assert!(!plain.agrees_with(&sample()) && !plain.agrees_with(&Placement::at("home")));
        assert!(!Placement::at("home").agrees_with(&Placement::at("other")));
        assert!(plain.differs(&sample(), Layer::L3) && !plain.differs(&sample(), Layer::L2));
    }
}
