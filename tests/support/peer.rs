//! A foreign program on loopback: started by a test, stopped by its pid when the test is over.

use std::fs::{self, File};
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// The longest that a peer may take to start or to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running program. Dropping it kills it.
pub struct Peer {
    child: Child,
    name: &'static str,
}

impl Peer {
    /// Starts `command` in `folder`; what it prints goes to `output.log` there. `package` is what Debian calls it.
    pub fn start(name: &'static str, package: &str, command: &mut Command, folder: &Path) -> Self {
        Self::start_with(name, package, command, folder, Stdio::null())
    }

    /// The same; if `stdin` is a pipe, it can be told something.
    pub fn start_with(
        name: &'static str,
        package: &str,
        command: &mut Command,
        folder: &Path,
        stdin: Stdio,
    ) -> Self {
        let log = File::create(folder.join("output.log")).unwrap();
        let command = command.current_dir(folder).stdin(stdin);
        let child = command.stdout(log.try_clone().unwrap()).stderr(log).spawn();
        let child =
            child.unwrap_or_else(|error| panic!("cannot start `{name}`: {error}; apt-get install {package}"));
        Self { child, name }
    }

    /// The number of its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it has bound the port `port`, for UDP or TCP, as the kernel sees it.
    pub fn wait_for_port(&mut self, port: u16, folder: &Path) {
        let wanted = format!(":{port:04X}");
        let local = |line: &str| line.split_whitespace().nth(1).map(str::to_owned).unwrap_or_default();
        let begun = Instant::now();
        loop {
            let tables =
                ["udp", "udp6", "tcp", "tcp6"].map(|name| fs::read_to_string(format!("/proc/net/{name}")));
            let mut bound = tables.iter().flatten().flat_map(|table| table.lines().skip(1)).map(local);
            if bound.any(|address| address.ends_with(&wanted)) {
                return;
            }
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "`{}` ended: {ended:?}\n{}", self.name, logs(folder));
            assert!(begun.elapsed() < PATIENCE, "`{}` does not come up\n{}", self.name, logs(folder));
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Writes a line to its standard input.
    #[allow(dead_code, reason = "only a test whose peer is driven by its input uses it")]
    pub fn tell(&mut self, line: &str) {
        let stdin = self.child.stdin.as_mut().expect("it was started with a pipe");
        writeln!(stdin, "{line}").unwrap();
    }

    /// Waits until the file `log` in its folder, which exists, has `text`.
    #[allow(dead_code, reason = "only a test whose peer says what it does uses it")]
    pub fn wait_for_text(&mut self, log: &str, text: &str, folder: &Path) {
        let begun = Instant::now();
        while !String::from_utf8_lossy(&fs::read(folder.join(log)).unwrap()).contains(text) {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "`{}` ended: {ended:?}\n{}", self.name, logs(folder));
            assert!(begun.elapsed() < PATIENCE, "`{}` does not say `{text}`\n{}", self.name, logs(folder));
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until it ends by itself.
    pub fn wait(&mut self, folder: &Path) -> ExitStatus {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(begun.elapsed() < PATIENCE, "`{}` does not end\n{}", self.name, logs(folder));
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Tells it to end, and waits until it has.
    pub fn terminate(&mut self, folder: &Path) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), Signal::SIGTERM).unwrap();
        self.wait(folder);
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The ends of the log files in `folder`, for a failed test's message.
pub fn logs(folder: &Path) -> String {
    let mut text = String::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "log") {
            let log = fs::read(&path).unwrap();
            let tail = String::from_utf8_lossy(&log[log.len().saturating_sub(4000)..]).into_owned();
            text.push_str(&format!("--- {}\n{tail}\n", path.display()));
        }
    }
    text
}

/// A UDP port that nobody has at this moment.
pub fn free_port() -> SocketAddr {
    free_port_of(Ipv4Addr::LOCALHOST.into())
}

/// A UDP port of this address that nobody has at this moment.
pub fn free_port_of(ip: IpAddr) -> SocketAddr {
    UdpSocket::bind((ip, 0)).unwrap().local_addr().unwrap()
}

/// A TCP port that nobody has at this moment.
pub fn free_tcp_port() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}
