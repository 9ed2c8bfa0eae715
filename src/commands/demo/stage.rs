//! The two processes of the demonstration, a data folder of their own, and a client for the API.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use serde_json::Value;

use super::super::{Places, runtime};
use crate::config::Config;
use crate::pii::Secret;
use crate::store::{self, Role, Store};

/// How long a process may take until it is ready. Festival speaks the customers' words the first time.
const READY: Duration = Duration::from_secs(60);

/// How long a process gets to end by itself.
const FAREWELL: Duration = Duration::from_secs(5);

/// Everything that runs; dropping it stops both processes.
pub struct Stage {
    carrier: Child,
    engine: Child,
    folder: PathBuf,
    address: String,
    key: Secret,
    http: ureq::Agent,
    /// Who can sign in.
    pub username: &'static str,
    /// With what.
    pub password: Secret,
}

impl Stage {
    /// Starts the carrier and the engine on a fresh data folder.
    pub fn set(places: &Places, config: &Config) -> Result<Self> {
        let folder = places.data.clone().unwrap_or_else(|| config.data.join("demo"));
        clear(&folder)?;
        let (key, password) = runtime()?.block_on(sign_ins(&folder))?;
        let program = std::env::current_exe().context("cannot find this program's file")?;
        let spawn = |command: &str| start(&program, command, places, &folder);
        let mut carrier = spawn("carrier")?;
        let engine = match spawn("serve") {
            Ok(engine) => engine,
            Err(error) => {
                end(&mut carrier);
                return Err(error);
            }
        };
        let http = ureq::Agent::new_with_config(
            ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(10))).http_status_as_error(false).build(),
        );
        let address = format!("http://{}", config.http.listen);
        let mut stage = Self { carrier, engine, folder, address, key, http, username: "dispatcher", password };
        stage.wait_until_ready()?;
        Ok(stage)
    }

    /// Where the page is.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Where the logs are, for messages.
    pub fn logs(&self) -> String {
        format!("{0}/carrier.log and {0}/serve.log", self.folder.display())
    }

    /// Sends a JSON body.
    pub fn post(&self, path: &str, body: &Value) -> Result<Value> {
        let request = self.http.post(format!("{}{path}", self.address)).header("authorization", &self.bearer());
        read(path, request.send_json(body))
    }

    /// Asks for a resource.
    pub fn get(&self, path: &str) -> Result<Value> {
        let request = self.http.get(format!("{}{path}", self.address)).header("authorization", &self.bearer());
        read(path, request.call())
    }

    /// Fails with the end of the log when one of the processes has ended.
    pub fn check_alive(&self) -> Result<()> {
        for name in ["carrier", "serve"] {
            let pid = if name == "carrier" { self.carrier.id() } else { self.engine.id() };
            let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            // A child that has ended and was not waited for is a zombie.
            if state.is_empty() || state.contains(") Z ") {
                let log = std::fs::read_to_string(self.folder.join(format!("{name}.log"))).unwrap_or_default();
                let tail: Vec<&str> = log.lines().rev().take(8).collect();
                let tail: Vec<&str> = tail.into_iter().rev().collect();
                bail!("`callahead {name}` has stopped:\n{}", tail.join("\n"));
            }
        }
        Ok(())
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let started = Instant::now();
        loop {
            self.check_alive()?;
            let carrier = std::fs::read_to_string(self.folder.join("carrier.log")).unwrap_or_default();
            if carrier.contains("practice trunk ready") && self.get("/readyz").is_ok() {
                return Ok(());
            }
            if started.elapsed() > READY {
                bail!("not ready after {} s; logs: {}", READY.as_secs(), self.logs());
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    fn bearer(&self) -> String {
        format!("Bearer {}", self.key.reveal())
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        end(&mut self.engine);
        end(&mut self.carrier);
    }
}

fn read(path: &str, response: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Result<Value> {
    let mut response = response.with_context(|| format!("{path} was not answered"))?;
    let status = response.status();
    let text = response.body_mut().read_to_string().with_context(|| format!("{path}: the answer broke off"))?;
    if !status.is_success() {
        bail!("{path}: {status}: {text}");
    }
    Ok(serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

/// An empty folder; only one that an earlier demonstration left is emptied.
fn clear(folder: &Path) -> Result<()> {
    let mark = folder.join("demo");
    if folder.exists() {
        let files = std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?.count();
        if files > 0 && !mark.exists() {
            bail!("{} is not empty and no demo's; name another folder with --data", folder.display());
        }
        // Rendered prompts are kept: the second demonstration starts faster.
        for name in ["callahead.db", "callahead.db-wal", "callahead.db-shm", "carrier.log", "serve.log"] {
            drop(std::fs::remove_file(folder.join(name)));
        }
        drop(std::fs::remove_dir_all(folder.join("recordings")));
    }
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    File::create(mark).with_context(|| format!("cannot write into {}", folder.display()))?;
    Ok(())
}

/// A dispatcher who signs in on the page, the driver, and a key for this program.
async fn sign_ins(folder: &Path) -> Result<(Secret, Secret)> {
    let store = Store::open(folder.join("callahead.db")).await?;
    let password = store::secret::random_password()?;
    for (username, name, role) in
        [("dispatcher", "Dispatcher", Role::Dispatcher), ("driver", "Driver", Role::Agent)]
    {
        let new = store::users::NewUser {
            username: username.to_owned(),
            display_name: name.to_owned(),
            role,
            password: password.clone(),
        };
        store::users::add(&store, Timestamp::now(), &new).await?;
    }
    let (_, key) = store::api_keys::add(&store, Timestamp::now(), "demo", Role::Dispatcher).await?;
    store.close().await;
    Ok((key, password))
}

fn start(program: &Path, command: &str, places: &Places, folder: &Path) -> Result<Child> {
    let path = folder.join(format!("{command}.log"));
    let log = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    let child = Command::new(program)
        .arg(command)
        .args([Path::new("--config"), &places.config, Path::new("--data"), folder])
        .args([Path::new("--models"), &places.models])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn();
    child.with_context(|| format!("cannot start `callahead {command}`"))
}

/// Asks a child to stop, waits a little, and makes sure.
fn end(child: &mut Child) {
    let asked = i32::try_from(child.id()).map(nix::unistd::Pid::from_raw);
    if let Ok(pid) = asked {
        // One that has ended already needs no signal.
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
    }
    let started = Instant::now();
    while started.elapsed() < FAREWELL {
        if !matches!(child.try_wait(), Ok(None)) {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    drop(child.kill());
    drop(child.wait());
}
