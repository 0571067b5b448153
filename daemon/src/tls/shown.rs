//! Which certificate a client showed in a handshake that failed: the TLS library keeps that to itself.

use std::cell::Cell;

tokio::task_local! {
    /// SHA-256 of it; each handshake is one future, and its certificate is judged while that is polled.
    static SHOWN: Cell<Option<[u8; 32]>>;
}

/// Runs a handshake; besides how it ended, returns the SHA-256 of the certificate that was judged in it, if any was.
pub async fn watching<T>(handshake: impl Future<Output = T>) -> (T, Option<[u8; 32]>) {
    SHOWN
        .scope(Cell::new(None), async {
            let ended = handshake.await;
            (ended, SHOWN.with(Cell::get))
        })
        .await
}

/// A client has shown this certificate.
pub(super) fn note(certificate: &[u8]) {
    // Outside of a handshake on a port nobody asks.
    let _unwatched = SHOWN.try_with(|shown| shown.set(Some(cipher::mac::sha256(&[certificate]))));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_handshake_sees_its_own_certificate_or_none() {
        note(b"nobody watches");
        let handshake = |certificate: &'static [u8]| async move {
            tokio::task::yield_now().await;
            if !certificate.is_empty() {
                note(certificate);
            }
            tokio::task::yield_now().await;
            certificate.len()
        };
        let (one, two, none) = tokio::join!(watching(handshake(b"one")), watching(handshake(b"two's")), watching(handshake(b"")));
        assert_eq!(one, (3, Some(cipher::mac::sha256(&[b"one"]))));
        assert_eq!(two, (5, Some(cipher::mac::sha256(&[b"two's"]))));
        assert_eq!(none, (0, None));
    }
}
