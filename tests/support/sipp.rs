//! SIPp as the carrier and its customers.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;

use callahead::audio::g711::Codec;
use tempfile::TempDir;

use super::peer::{Peer, free_port_of, logs};

/// Bytes of a packet's audio.
pub const FRAME: usize = 160;

/// A running SIPp.
pub struct Sipp {
    peer: Peer,
    folder: TempDir,
    /// Where it takes calls.
    pub address: SocketAddr,
    /// What it says, in mu-law, in whole frames.
    pub speech: Vec<u8>,
}

impl Sipp {
    /// Plays the scenario `name` for `calls` calls, saying `sounds` one after the other where the scenario speaks.
    pub fn start(name: &str, calls: u32, sounds: &[PathBuf]) -> Self {
        Self::start_over(Ipv4Addr::LOCALHOST.into(), "u1", name, calls, sounds)
    }

    /// The same on this address; `transport` is what SIPp's `-t` takes, such as `t1`.
    pub fn start_over(ip: IpAddr, transport: &str, name: &str, calls: u32, sounds: &[PathBuf]) -> Self {
        Self::run(ip, transport, name, calls, sounds, &[], true)
    }

    /// Makes `calls` calls to `number` at `target` with the scenario `name`, saying `sounds`.
    pub fn call(name: &str, target: SocketAddr, number: &str, calls: u32, sounds: &[PathBuf]) -> Self {
        let more = [&target.to_string(), "-s", number];
        Self::run(Ipv4Addr::LOCALHOST.into(), "u1", name, calls, sounds, &more, false)
    }

    fn run(
        ip: IpAddr,
        transport: &str,
        name: &str,
        calls: u32,
        sounds: &[PathBuf],
        more: &[&str],
        waits: bool,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let speech = mu_law(sounds, &folder.path().join("speech.ulaw"));
        let scenario = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/data/sipp/{name}.xml"));
        let (address, media) = (free_port_of(ip), free_port_of(ip));
        let mut command = Command::new("sipp");
        let host = ip.to_string();
        command.arg("-sf").arg(scenario).args(["-i", &host, "-mi", &host, "-t", transport, "-nostdin"]);
        command.args(["-p", &address.port().to_string(), "-mp", &media.port().to_string()]);
        command.args(["-m", &calls.to_string(), "-trace_err", "-error_file", "errors.log"]).args(more);
        let mut peer = Peer::start("sipp", "sip-tester", &mut command, folder.path());
        if waits {
            peer.wait_for_port(address.port(), folder.path());
        }
        Self { peer, folder, address, speech }
    }

    /// Waits until all calls are over; SIPp itself says whether each went as its scenario has it.
    pub fn finish(mut self) {
        let status = self.peer.wait(self.folder.path());
        assert!(status.success(), "SIPp: {status}\n{}", logs(self.folder.path()));
    }

    /// What it said, as samples.
    pub fn said(&self) -> Vec<i16> {
        self.speech.iter().map(|byte| Codec::Pcmu.decode(*byte)).collect()
    }
}

/// The sounds as raw mu-law in the file `path`, filled up to whole frames; returns its bytes.
fn mu_law(sounds: &[PathBuf], path: &Path) -> Vec<u8> {
    if sounds.is_empty() {
        fs::write(path, [0xff; FRAME]).unwrap(); // SIPp wants the file even where it is not played
        return Vec::new();
    }
    let mut sox = Command::new("sox");
    sox.arg("-D").args(sounds).args(["-r", "8000", "-c", "1", "-e", "mu-law", "-t", "raw"]).arg(path);
    let status =
        sox.status().unwrap_or_else(|error| panic!("cannot start `sox`: {error}; apt-get install sox"));
    assert!(status.success(), "sox: {status}");
    let mut speech = fs::read(path).unwrap();
    speech.resize(speech.len().next_multiple_of(FRAME), 0xff);
    fs::write(path, &speech).unwrap();
    speech
}
