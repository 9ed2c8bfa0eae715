//! `callahead serve` as a process of its own, on a configuration and a data folder made for one run.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use callahead::pii::Redacted;
use callahead::store::calls::{self, NewCall};
use callahead::store::{Store, Vars};
use jiff::{SignedDuration, Timestamp};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use uuid::Uuid;

use super::callee::free_port;

/// A trunk of the run: SIP to a port of this machine.
pub struct Trunk {
    pub name: &'static str,
    pub port: u16,
    pub max_calls: u32,
    pub priority: u32,
}

/// A running engine; dropping it ends it.
pub struct Stage {
    child: Child,
    folder: PathBuf,
    pub store: Store,
}

impl Stage {
    /// Starts the engine in `folder` with these trunks and this dialplan, and waits until it is ready. The dialplan's
    /// files must be in `folder/dialplans`.
    pub async fn set(folder: &Path, trunks: &[Trunk], plan: &str, models: &Path) -> Result<Self> {
        configure(folder, trunks, plan)?;
        let log = folder.join("serve.log");
        let child = Command::new(env!("CARGO_BIN_EXE_callahead"))
            .arg("serve")
            .args([Path::new("--config"), &folder.join("sip-config"), Path::new("--models"), models])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log)?)
            .spawn();
        let mut child = child.context("cannot start the engine")?;
        if let Err(error) = wait_until_ready(&mut child, &log).await {
            drop(child.kill());
            drop(child.wait());
            return Err(error);
        }
        let store = Store::open(folder.join("data/callahead.db")).await?;
        Ok(Self { child, folder: folder.to_owned(), store })
    }

    /// The engine's process number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A path as the store has it.
    pub fn path(&self, stored: &str) -> PathBuf {
        self.folder.join("data").join(stored)
    }

    /// Adds calls, due at the same moment: fiction's numbers over and over.
    pub async fn add_calls(&self, count: u32, due_at: Timestamp) -> Result<Vec<Uuid>> {
        let mut ids = Vec::new();
        for number in 0..count {
            let new = NewCall {
                number: Redacted::new(format!("+120255501{:02}", number % 100)),
                plan: "bench".to_owned(),
                vars: Vars::default(),
                language: String::new(),
                delivery_id: None,
                due_at,
                not_after: due_at.checked_add(SignedDuration::from_hours(1))?,
                max_attempts: 1,
                idempotency_key: None,
            };
            ids.push(calls::create(&self.store, Timestamp::now(), new).await?.0.id);
        }
        Ok(ids)
    }

    /// What the engine warned of, each kind once, with how often.
    pub fn warnings(&self) -> Result<Vec<String>> {
        let log = fs::read_to_string(self.folder.join("serve.log"))?;
        let lines = log.lines().filter(|line| line.contains(" WARN ") || line.contains("ERROR "));
        Ok(lines.map(str::to_owned).collect())
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Ok(pid) = i32::try_from(self.child.id()) {
            // One that has ended already needs no signal.
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
        let told = Instant::now();
        while told.elapsed() < Duration::from_secs(5) {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn configure(folder: &Path, trunks: &[Trunk], plan: &str) -> Result<()> {
    let config = folder.join("sip-config");
    fs::create_dir_all(config.join("trunks"))?;
    fs::create_dir_all(folder.join("dialplans"))?;
    fs::write(folder.join("dialplans/bench.toml"), plan)?;
    let text = format!(
        "depot = \"Bench\"\nzone = \"UTC\"\n\
         [http]\nlisten = \"127.0.0.1:{}\"\n[sip]\nlisten = \"127.0.0.1:{}\"\n\
         [media]\nrtp_ports = [20000, 29999]\nrtp_timeout = \"2min\"\n[recordings]\nmin_free_mb = 0\n\
         [limits]\nmax_calls = 2000\ncalls_per_second = 20\n\
         [calls]\ndefault_country = \"US\"\ndefault_plan = \"bench\"\n",
        free_port()?,
        free_port()?
    );
    fs::write(config.join("callahead.toml"), text)?;
    for trunk in trunks {
        let Trunk { name, port, max_calls, priority } = trunk;
        let text = format!(
            "host = \"127.0.0.1\"\nport = {port}\ncaller_id = \"+12025550100\"\ncountry = \"US\"\n\
             max_calls = {max_calls}\nmax_cps = 20\npriority = {priority}\n"
        );
        fs::write(config.join("trunks").join(format!("{name}.toml")), text)?;
    }
    Ok(())
}

async fn wait_until_ready(child: &mut Child, log: &Path) -> Result<()> {
    let started = Instant::now();
    loop {
        let text = fs::read_to_string(log)?;
        if text.contains("ready: http://") {
            return Ok(());
        }
        if child.try_wait()?.is_some() || started.elapsed() > Duration::from_secs(60) {
            bail!("the engine is not ready:\n{text}");
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
