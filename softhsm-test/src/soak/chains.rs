//! What holds of every chain of keys, however it came about: its versions are counted without a gap, and one of them protects (F1, F23).

use std::collections::HashMap;

use kmip::State;

use crate::soak::ledger::Key;

/// # Panics
/// If a version is missing or there twice, if another than the newest could be activated or protects, or if a default key does not.
pub(crate) fn check(keys: &[Key]) {
    let all: HashMap<&str, &Key> = keys.iter().map(|key| (key.id.as_str(), key)).collect();
    assert_eq!(all.len(), keys.len(), "one identifier stands for two keys");
    let mut counted = 0;
    for newest in keys.iter().filter(|key| key.face.replacement.is_none()) {
        assert!(!newest.is_default || newest.face.state == State::Active, "the default key {} is {:?}", newest.id, newest.face.state);
        let mut key = newest;
        counted += 1;
        while let Some(before) = &key.face.replaced {
            let older = all.get(before.as_str()).unwrap_or_else(|| panic!("{before}, the version before {}, is unknown", key.id));
            assert_eq!(older.face.version + 1, key.face.version, "the versions of {} have a gap", key.id);
            assert_eq!(older.face.replacement.as_deref(), Some(key.id.as_str()), "{before} is linked to another than {}", key.id);
            let is_out_of_use = !matches!(older.face.state, State::PreActive | State::Active);
            assert!(is_out_of_use || older.is_l4(), "{before} is replaced and {:?}", older.face.state);
            assert!(older.face.name.is_none(), "{before} is replaced and has kept its name");
            key = older;
            counted += 1;
        }
        assert_eq!(key.face.version, 1, "the chain of {} does not begin with version 1", newest.id);
    }
    assert_eq!(counted, keys.len(), "a chain has no newest version");
}
