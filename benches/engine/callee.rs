//! SIPp as the callee: one process for any number of calls. It reads no media and sends all of it from one port.

use std::fs;
use std::net::UdpSocket;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

const SCENARIO: &str = include_str!("../data/callee.xml");

/// A running SIPp; dropping it ends it.
pub struct Callee {
    child: Child,
    /// Where it receives INVITEs.
    pub port: u16,
}

impl Callee {
    /// Starts SIPp in `folder` with what it says: mu-law, 8 kHz, once or over and over.
    pub fn start(folder: &Path, speech: &[u8], forever: bool) -> Result<Self> {
        fs::create_dir_all(folder)?;
        fs::write(folder.join("speech.ulaw"), speech)?;
        let loops = if forever { "-1" } else { "1" };
        fs::write(folder.join("callee.xml"), SCENARIO.replace("LOOPS", loops))?;
        let port = free_port()?;
        let child = Command::new("sipp")
            .args(["-sf", "callee.xml", "-i", "127.0.0.1", "-mi", "127.0.0.1", "-nostdin", "-trace_err"])
            .args(["-mp", "40000", "-buff_size", "4194304", "-p", &port.to_string()])
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start sipp (apt-get install sip-tester)")?;
        let mut callee = Self { child, port };
        std::thread::sleep(Duration::from_millis(500));
        if let Some(status) = callee.child.try_wait()? {
            bail!("sipp ended at once: {status}");
        }
        Ok(callee)
    }

    /// Its process number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Callee {
    fn drop(&mut self) {
        // One that has ended already needs no signal; nothing else can be done about it here.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A UDP port that nobody uses now.
pub fn free_port() -> Result<u16> {
    Ok(UdpSocket::bind(("127.0.0.1", 0))?.local_addr()?.port())
}
