//! Kamailio as a carrier's registrar and proxy, in front of a callee.

use std::fmt::Display;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::engine::CREDENTIALS;
use super::peer::{Peer, logs};

/// The longest that its ports may take to be free, or a line to be logged.
const PATIENCE: Duration = Duration::from_secs(60);

/// A Kamailio that can be killed and started again; dropping it kills it.
pub struct Kamailio {
    running: Option<Running>,
    config: String,
    /// Where it takes requests, over UDP and TCP.
    pub address: SocketAddr,
    /// The same over TLS.
    pub secure: SocketAddr,
}

/// Its processes are a group of their own: each of them has the sockets, and the first one's death does not end the others.
struct Running {
    _peer: Peer,
    group: Pid,
    folder: TempDir,
}

impl Kamailio {
    /// Starts it on ports of its own, over TLS as well when there are the files of a certificate and its key. It leads calls of who
    /// gives [`CREDENTIALS`] to `callee`.
    pub fn start(callee: SocketAddr, certificate: Option<&(PathBuf, PathBuf)>) -> Self {
        let address = free_port_of_both();
        let secure = free_port_of_both();
        let mut tls = [String::new(), String::new(), String::new()];
        if let Some((certificate, key)) = certificate {
            let parameter =
                |name: &str, value: &dyn Display| format!("modparam(\"tls\", \"{name}\", \"{value}\")\n");
            tls = [
                format!("enable_tls=yes\nlisten=tls:{secure}"),
                "loadmodule \"tls.so\"".to_owned(),
                // What it takes unless told is TLS 1.0, for which OpenSSL has no signatures any more.
                parameter("tls_method", &"TLSv1.2+")
                    + &parameter("certificate", &certificate.display())
                    + &parameter("private_key", &key.display()),
            ];
        }
        let [listen, module, parameters] = tls;
        let template = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/kamailio/kamailio.cfg");
        let mut config = fs::read_to_string(template).unwrap();
        for (name, value) in [
            ("@ADDRESS@", address.to_string()),
            ("@CALLEE@", callee.to_string()),
            ("@USERNAME@", CREDENTIALS.0.to_owned()),
            ("@PASSWORD@", CREDENTIALS.1.to_owned()),
            ("@TLS_LISTEN@", listen),
            ("@TLS_MODULE@", module),
            ("@TLS_PARAMETERS@", parameters),
        ] {
            assert!(config.contains(name), "kamailio.cfg has no {name}");
            config = config.replace(name, &value);
        }
        let mut kamailio = Self { running: None, config, address, secure };
        kamailio.start_again();
        kamailio
    }

    /// Starts it on the same ports, with nothing left of what it knew; what it logs begins anew.
    pub fn start_again(&mut self) {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("kamailio.cfg");
        fs::write(&config, &self.config).unwrap();
        let mut command = Command::new("kamailio");
        command.args(["-DD", "-E", "-m", "64", "-M", "8", "-f"]).arg(config);
        command
            .arg("-Y")
            .arg(folder.path())
            .arg("-P")
            .arg(folder.path().join("kamailio.pid"))
            .process_group(0);
        let mut peer = Peer::start("kamailio", "kamailio kamailio-tls-modules", &mut command, folder.path());
        let group = Pid::from_raw(i32::try_from(peer.id()).unwrap());
        peer.wait_for_port(self.address.port(), folder.path());
        let running = self.running.insert(Running { _peer: peer, group, folder });
        // Its sockets are bound before there is a process for each: this one is the last to be there.
        running.wait_for("ready", || answers(self.address));
    }

    /// Kills all its processes at once, and waits until the ports are free.
    pub fn kill(&mut self) {
        self.running = None;
        let begun = Instant::now();
        while UdpSocket::bind(self.address).is_err() || TcpListener::bind(self.address).is_err() {
            assert!(begun.elapsed() < PATIENCE, "Kamailio's ports do not become free");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// What it has logged since it was started last.
    pub fn log(&self) -> String {
        let path = self.running.as_ref().unwrap().folder.path().join("output.log");
        String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned()
    }

    /// Waits until it has logged `line` `times` times since it was started last. Blocks.
    pub fn wait_for_log(&self, line: &str, times: usize) {
        self.running.as_ref().unwrap().wait_for(line, || self.log().matches(line).count() >= times);
    }
}

impl Running {
    fn wait_for(&self, what: &str, mut done: impl FnMut() -> bool) {
        let begun = Instant::now();
        while !done() {
            assert!(begun.elapsed() < PATIENCE, "Kamailio: no `{what}`\n{}", logs(self.folder.path()));
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // The first process has not been waited for, so the group's number is still its own.
        killpg(self.group, Signal::SIGKILL).ok(); // and dropping the peer waits for it
    }
}

/// Whether something there answers OPTIONS over UDP, and takes connections.
fn answers(address: SocketAddr) -> bool {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    let us = socket.local_addr().unwrap();
    let request = format!(
        "OPTIONS sip:{address} SIP/2.0\r\nVia: SIP/2.0/UDP {us};branch=z9hG4bK{}\r\nMax-Forwards: 70\r\n\
         From: <sip:ready@{us}>;tag=1\r\nTo: <sip:{address}>\r\nCall-ID: ready@{us}\r\nCSeq: 1 OPTIONS\r\n\
         Content-Length: 0\r\n\r\n",
        us.port()
    );
    socket.send_to(request.as_bytes(), address).unwrap();
    let mut buffer = [0; 2048];
    let answered = socket.recv(&mut buffer).is_ok_and(|length| buffer[..length].starts_with(b"SIP/2.0 200"));
    answered && std::net::TcpStream::connect(address).is_ok()
}

/// A port that nobody has at this moment, neither over UDP nor over TCP.
fn free_port_of_both() -> SocketAddr {
    loop {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = socket.local_addr().unwrap();
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}
