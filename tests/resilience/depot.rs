//! A depot for one test: a configuration of its own on free ports, and the program as processes that the test may kill.

use std::fs::{self, File};
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use callahead::pii::Redacted;
use callahead::store::calls::{self, Call, NewCall};
use callahead::store::{Store, Vars};
use jiff::{SignedDuration, Timestamp};
use tempfile::TempDir;
use uuid::Uuid;

/// Nothing here takes nearly as long; a test that waits for more has failed.
const PATIENCE: Duration = Duration::from_secs(120);

/// The program under test.
const PROGRAM: &str = env!("CARGO_BIN_EXE_callahead");

/// A folder with a configuration, plans and data.
pub struct Depot {
    /// Everything is in here.
    pub folder: TempDir,
    /// Where SIP messages go to.
    pub sip: SocketAddr,
    /// The first of the ports for RTP.
    pub rtp: u16,
}

/// A process of the program; killed when dropped.
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Depot {
    /// The shipped configuration and plans, on free ports; `customers` live behind the practice trunk.
    pub fn new(customers: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        copy(&root.join("sip-config"), &folder.path().join("sip-config"));
        copy(&root.join("dialplans"), &folder.path().join("dialplans"));
        fs::write(folder.path().join("customers.toml"), customers).unwrap();
        let (sip, trunk) = (free_port(), free_port());
        let rtp = 40_000 + (sip.port() % 100) * 200;
        let depot = Self { folder, sip, rtp };
        depot.edit("sip-config/callahead.toml", "127.0.0.1:5060", &sip.to_string());
        depot.edit("sip-config/callahead.toml", "127.0.0.1:8088", "127.0.0.1:0");
        depot.edit("sip-config/callahead.toml", "[20000, 29999]", &format!("[{rtp}, {}]", rtp + 199));
        depot.edit("sip-config/callahead.toml", "min_free_mb = 500", "min_free_mb = 1");
        depot.edit("sip-config/trunks/practice.toml", "= 5070", &format!("= {}", trunk.port()));
        depot
    }

    /// Replaces `old`, which must be there, in a file.
    pub fn edit(&self, file: &str, old: &str, new: &str) {
        let path = self.folder.path().join(file);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(old), "{file} has no `{old}`");
        fs::write(path, text.replace(old, new)).unwrap();
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command.args(words).arg("--config").arg(self.folder.path().join("sip-config"));
        // The model is not needed here; recordings wait for it.
        command.arg("--models").arg(self.folder.path().join("models")).stdin(Stdio::null());
        command
    }

    /// Runs a command to its end.
    pub fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    fn start(&self, name: &str, words: &[&str], ready: &str) -> Process {
        let log = self.folder.path().join(format!("{name}.{}.log", Uuid::now_v7()));
        let child =
            self.command(words).stdout(Stdio::null()).stderr(File::create(&log).unwrap()).spawn().unwrap();
        let process = Process { child, log };
        process.wait_for(ready);
        process
    }

    /// Starts the engine.
    pub fn serve(&self) -> Process {
        self.start("serve", &["serve"], "ready: http://")
    }

    /// Starts the practice trunk.
    pub fn carrier(&self) -> Process {
        self.carrier_of("practice", &self.folder.path().join("customers.toml"))
    }

    /// Starts the carrier behind `trunk`, with the customers of a file.
    pub fn carrier_of(&self, trunk: &str, customers: &Path) -> Process {
        let words = ["carrier", "--trunk", trunk, "--customers", customers.to_str().unwrap()];
        self.start("carrier", &words, "practice trunk ready")
    }

    /// The database, as another process sees it.
    pub async fn store(&self) -> Store {
        Store::open(self.folder.path().join("data/callahead.db")).await.unwrap()
    }

    /// A call that is due now.
    pub async fn call(&self, store: &Store, number: &str) -> Uuid {
        let now = Timestamp::now();
        let new = NewCall {
            number: Redacted::new(number.to_owned()),
            plan: "delivery-confirm".to_owned(),
            vars: Vars::from([("name", "Ada"), ("eta", "14:30")]),
            language: "en".to_owned(),
            delivery_id: None,
            due_at: now,
            not_after: now + SignedDuration::from_hours(1),
            max_attempts: 1,
            idempotency_key: None,
        };
        calls::create(store, now, new).await.unwrap().0.id
    }
}

impl Process {
    /// Waits until the log has `words`.
    pub fn wait_for(&self, words: &str) {
        let started = Instant::now();
        while !self.log().contains(words) {
            assert!(started.elapsed() < PATIENCE, "no `{words}` in:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// What it wrote.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// The end without warning: SIGKILL.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends a signal.
    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        nix::sys::signal::kill(pid, signal).unwrap();
    }

    /// Waits for its end and returns the exit code.
    pub fn exit_code(mut self) -> Option<i32> {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(started.elapsed() < PATIENCE, "still running:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until the call is as `wanted`.
pub async fn until(store: &Store, id: Uuid, wanted: impl Fn(&Call) -> bool) -> Call {
    let started = Instant::now();
    loop {
        let call = calls::get(store, id).await.unwrap();
        if wanted(&call) {
            return call;
        }
        assert!(started.elapsed() < PATIENCE, "the call is {call:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn free_port() -> SocketAddr {
    UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}
