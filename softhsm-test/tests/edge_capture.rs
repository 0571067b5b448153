//! What a core comes to know of an edge's objects: nothing. The edge's own calls are read on their way to the core, by a proxy with the
//! certificates of `dev`; then memory and files of the core are searched, and memory and files of the edge at rest.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use daemon::kmip_client::Endpoint;
use daemon::tls::ClientTls;
use rustls::{ClientConnection, ServerConfig, ServerConnection, StreamOwned};
use softhsm_test::memscan::{Class, Needles, Scanner, files_below};
use softhsm_test::{Edge, Who, https, requests};

/// Objects of each kind.
const OBJECTS: usize = 20;

/// A proxy that terminates TLS on both sides; it lives as long as the test's process.
struct Proxy {
    address: String,
    heard: Arc<Mutex<Vec<u8>>>,
}

impl Proxy {
    fn before(edge: &Edge) -> Self {
        let config = https::server(&edge.dir().join("pki/server.pem"), &edge.dir().join("pki/server.key"));
        let Endpoint { ca, cert, key, .. } = edge.endpoint(Who::Edge);
        let client = Arc::new(ClientTls::load(&ca, &cert, &key, "127.0.0.1").expect("files of dev"));
        let core = edge.value("HTTPS_CORE").trim_start_matches("https://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("it is bound").to_string();
        let heard = Arc::default();
        let to = Arc::clone(&heard);
        thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let (config, client, core, to) = (Arc::clone(&config), Arc::clone(&client), core.clone(), Arc::clone(&to));
                thread::spawn(move || pass_on(&config, socket, &client, &core, &to));
            }
        });
        Self { address, heard }
    }

    fn heard(&self) -> Vec<u8> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Passes on one connection, request by request, and keeps all that is said.
fn pass_on(config: &Arc<ServerConfig>, socket: TcpStream, client: &ClientTls, core: &str, heard: &Mutex<Vec<u8>>) -> Option<()> {
    let mut edge = StreamOwned::new(ServerConnection::new(Arc::clone(config)).ok()?, socket);
    let connection = ClientConnection::new(client.config(), client.server_name()).ok()?;
    let mut core = StreamOwned::new(connection, TcpStream::connect(core).ok()?);
    let hear = |message: &[u8]| heard.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(message);
    loop {
        let request = message(&mut edge)?;
        hear(&request);
        core.write_all(&request).and_then(|()| core.flush()).ok()?;
        let answer = message(&mut core)?;
        hear(&answer);
        edge.write_all(&answer).and_then(|()| edge.flush()).ok()?;
    }
}

/// One HTTP message with a length; `None` if the connection ends.
fn message(stream: &mut impl Read) -> Option<Vec<u8>> {
    let (mut message, mut byte) = (Vec::new(), [0]);
    while !message.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        message.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&message).to_ascii_lowercase();
    let length =
        head.lines().find_map(|line| line.strip_prefix("content-length:")).map_or(0, |length| length.trim().parse().expect("a length"));
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    message.extend_from_slice(&body);
    Some(message)
}

#[test]
fn a_core_never_learns_a_byte_of_an_edges_objects() {
    let mut edge = Edge::prepared();
    let proxy = Proxy::before(&edge);
    edge.set(&format!("upstreams: \"https://{}\"", proxy.address));
    edge.start_both();

    // Objects that are made, used, and opened cold by a core that is asked for each.
    let mut needles = Needles::default();
    let mut client = edge.connect(Who::Service);
    let mut ids = Vec::new();
    for number in 0..OBJECTS {
        let key = requests::create(&mut client, &format!("key {number}")).expect("the edge is well");
        requests::activate(&mut client, &key).expect("it is new");
        let secret = requests::encrypt(&mut client, &key, vec![7; 64]).expect("it is Active");
        assert_eq!(requests::decrypt(&mut client, &secret).expect("it is Active"), vec![7; 64]);
        let material = requests::get(&mut client, &key).expect("it is its own");
        needles.aes(Class::L4, material.as_slice().try_into().expect("AES-256"));
        let password = format!("correct horse battery staple {number:03}").into_bytes();
        ids.push((requests::register(&mut client, &format!("secret {number}"), &password).expect("the edge keeps it"), password.clone()));
        needles.raw(Class::L4, &password);
        ids.push((key, material));
    }
    edge.kill();
    edge.start();
    let mut client = edge.connect(Who::Service);
    for (id, material) in &ids {
        assert_eq!(&requests::get(&mut client, id).expect("the core opens its object key"), material);
    }
    drop(client);

    let mut scanner = Scanner::new(&needles);
    let held = scanner.plant();
    let planted = scanner.process(held.process());
    assert!(scanner.missing(&planted).is_empty(), "a scan of a memory that cannot find");
    let heard = proxy.heard();
    let capture = edge.dir().join("capture");
    for (what, content, hits) in [("calls", heard.clone(), false), ("calls with a secret", [heard.as_slice(), &ids[0].1].concat(), true)] {
        std::fs::write(&capture, content).expect("the folder is ours");
        assert_eq!(!scanner.file(&capture).hits.is_empty(), hits, "{what}");
    }
    let said = |what: &[u8]| heard.windows(what.len()).filter(|window| *window == what).count();
    let (wraps, unwraps) =
        (said(b"\x42\x00\x5C\x05\x00\x00\x00\x04\x00\x00\x00\x1F"), said(b"\x42\x00\x5C\x05\x00\x00\x00\x04\x00\x00\x00\x20"));
    assert!(wraps >= ids.len() && unwraps >= ids.len(), "{wraps} Encrypt and {unwraps} Decrypt: not the edge's calls");
    let seen = scanner.process(edge.core.pid());
    assert!(seen.read_bytes > 0 && seen.hits.is_empty(), "in the core's memory: {:?}", scanner.named(&seen).collect::<Vec<_>>());
    let seen = scanner.process(edge.pid());
    assert!(
        seen.hits.is_empty(),
        "in the edge's memory at rest: {:?}",
        scanner.named(&seen).map(|(needle, at)| (needle.form, at)).collect::<Vec<_>>()
    );
    edge.stop_both();
    for file in [edge.data_dir(), edge.core.data_dir()].iter().flat_map(|dir| files_below(dir)) {
        assert!(scanner.file(&file).hits.is_empty(), "{}", file.display());
    }
    told(&format!(
        "{} objects, {} needles: calls of {} bytes, memory of {} bytes",
        ids.len(),
        scanner.needles().len(),
        heard.len(),
        seen.read_bytes
    ));
}

#[expect(clippy::print_stdout, reason = "how much was searched is part of the result")]
fn told(what: &str) {
    println!("{what}");
}
