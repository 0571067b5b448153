//! How long does the policy table take to say whether a service may encrypt with an L3 at a core?

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use keys::id::Layer;
use keys::policy::{Action, NodeRole, Role, Verdict, verdict};

fn policy(criterion: &mut Criterion) {
    let ask = |role| verdict(black_box(Action::Encrypt), NodeRole::Core, Some(Layer::L3), black_box(role));
    assert_eq!((ask(Role::Service), ask(Role::Auditor)), (Verdict::Here, Verdict::Refused), "a service may, an auditor may not");
    criterion.bench_function("verdict", |bencher| bencher.iter(|| ask(Role::Service)));
}

criterion_group!(benches, policy);
criterion_main!(benches);
