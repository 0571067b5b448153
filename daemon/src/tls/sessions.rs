//! What a listener remembers of its sessions, so that a client can resume one.
//!
//! rustls' own store looks for a session that is taken by walking past all the others, which costs as much as the handshake's key exchange when it is
//! full. Here taking one costs one look.

use std::fmt;

use quick_cache::sync::Cache;
use rustls::server::StoresServerSessions;

/// Sessions by their id. When it is full, one that was not resumed makes room.
pub(super) struct Sessions(Cache<Vec<u8>, Vec<u8>>);

impl Sessions {
    /// At most so many.
    pub(super) fn new(sessions_max: usize) -> Self {
        Self(Cache::new(sessions_max))
    }
}

/// Sessions hold secrets: only their number is told.
impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} sessions", self.0.len())
    }
}

impl StoresServerSessions for Sessions {
    fn put(&self, id: Vec<u8>, session: Vec<u8>) -> bool {
        self.0.insert(id, session);
        true
    }

    fn get(&self, id: &[u8]) -> Option<Vec<u8>> {
        self.0.get(id)
    }

    fn take(&self, id: &[u8]) -> Option<Vec<u8>> {
        self.0.remove(id).map(|(_, session)| session)
    }

    fn can_cache(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_taken_once_by_whoever_comes_first() {
        let sessions = Sessions::new(100);
        for id in 0..10_u8 {
            assert!(sessions.put(vec![id], vec![id; 3]));
        }
        assert_eq!(sessions.get(&[7]), Some(vec![7; 3]));
        let taken = std::thread::scope(|scope| {
            let takers: Vec<_> = (0..8).map(|_| scope.spawn(|| sessions.take(&[7]))).collect();
            takers.into_iter().filter_map(|taker| taker.join().expect("it does not panic")).collect::<Vec<_>>()
        });
        assert_eq!(taken, [vec![7; 3]]);
        assert_eq!((sessions.get(&[7]), sessions.take(&[7])), (None, None));
        assert_eq!(sessions.take(&[8]), Some(vec![8; 3]));
    }

    #[test]
    fn there_are_never_more_than_allowed_and_nothing_of_them_is_printed() {
        let sessions = Sessions::new(100);
        for id in 0..1000_u32 {
            sessions.put(id.to_be_bytes().to_vec(), b"secret".to_vec());
        }
        let kept = (0..1000_u32).filter(|id| sessions.get(&id.to_be_bytes()).is_some()).count();
        assert!((1..=100).contains(&kept), "{kept}");
        assert_eq!(format!("{sessions:?}"), format!("{kept} sessions"));
    }
}
