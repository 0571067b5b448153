//! The Unix socket of the admin interface: root and the daemon's own user may connect, as operators.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use axum::Router;
use axum::extract::connect_info::Connected;
use axum::serve::IncomingStream;
use nix::unistd::Uid;
use tokio::net::UnixListener;

use crate::admin::routes;
use crate::node::Node;
use crate::stop::Stop;

/// Who is at the other end of the Unix socket, as the kernel says.
#[derive(Debug, Clone, Copy)]
pub struct LocalPeer {
    /// Its user, `None` if the kernel did not say.
    pub user: Option<Uid>,
    /// Its process, 0 if the kernel did not say.
    pub process: i32,
}

impl LocalPeer {
    /// Root and the daemon's own user are operators; nobody else is anything.
    #[must_use]
    pub fn is_operator(&self) -> bool {
        self.user.is_some_and(|user| user.is_root() || user == Uid::effective())
    }
}

impl Connected<IncomingStream<'_, UnixListener>> for LocalPeer {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        let credentials = stream.io().peer_cred().ok();
        Self {
            user: credentials.as_ref().map(|peer| Uid::from_raw(peer.uid())),
            process: credentials.and_then(|peer| peer.pid()).unwrap_or(0),
        }
    }
}

/// Binds the socket, readable and writable by its owner alone; a socket left by a killed process is replaced.
///
/// # Errors
/// Another process is listening there, or the folder cannot be written.
pub fn bind(path: &Path) -> io::Result<UnixListener> {
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(io::Error::new(io::ErrorKind::AddrInUse, "another strongroomd is listening there"));
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Serves the admin interface until told to stop.
///
/// # Errors
/// The socket failed.
pub async fn serve(listener: UnixListener, node: Arc<Node>, mut stop: Stop) -> io::Result<()> {
    let router: Router = routes::router(node);
    let service = router.into_make_service_with_connect_info::<LocalPeer>();
    axum::serve(listener, service)
        .with_graceful_shutdown(async move {
            stop.requested().await;
        })
        .await
}
