//! baresip as a customer who answers by itself, speaks a WAV file and keeps what it heard.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::peer::{Peer, free_port, free_tcp_port, logs};
use super::sound;

/// Where Debian keeps its modules.
const MODULES: &str = "/usr/lib/baresip/modules";

/// A running baresip.
pub struct Baresip {
    peer: Peer,
    folder: TempDir,
    /// Where it takes calls.
    pub address: SocketAddr,
}

impl Baresip {
    /// Starts one that answers calls to `number` and then says `speech`.
    pub fn start(number: &str, speech: &[i16]) -> Self {
        let address = free_port();
        Self::start_at(
            address,
            address,
            &format!("<sip:{number}@{address};transport=udp>;regint=0"),
            "",
            speech,
        )
    }

    /// Starts one that registers as `user` at `registrar`, answers its calls and then says `speech`.
    #[allow(dead_code, reason = "other tests call it where it listens")]
    pub fn start_registering(registrar: SocketAddr, user: &str, password: &str, speech: &[i16]) -> Self {
        let address = free_port();
        let account = format!("<sip:{user}@{registrar}>;regint=60;auth_pass={password}");
        Self::start_at(address, address, &account, "", speech)
    }

    /// The same over TLS, with its certificate and key in one file.
    #[allow(dead_code, reason = "tests/peers.rs calls over UDP only")]
    pub fn start_secure(number: &str, speech: &[i16], identity: &Path) -> Self {
        let plain = free_port();
        // It listens for TLS one port higher.
        let address = SocketAddr::new(plain.ip(), plain.port() + 1);
        let settings = format!("sip_certificate {}\n", identity.display());
        Self::start_at(
            plain,
            address,
            &format!("<sip:{number}@{address};transport=tls>;regint=0"),
            &settings,
            speech,
        )
    }

    fn start_at(
        plain: SocketAddr,
        address: SocketAddr,
        account: &str,
        settings: &str,
        speech: &[i16],
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        configure(folder.path(), plain, account, settings, speech);
        let mut command = Command::new("baresip");
        command.arg("-f").arg(folder.path());
        let mut peer = Peer::start("baresip", "baresip-core", &mut command, folder.path());
        peer.wait_for_port(address.port(), folder.path());
        Self { peer, folder, address }
    }

    /// Waits until it has said `text`.
    #[allow(dead_code, reason = "tests whose baresip registers read what it says of it")]
    pub fn wait_for_output(&mut self, text: &str) {
        self.peer.wait_for_text("output.log", text, self.folder.path());
    }

    /// Ends it and returns what it heard.
    pub fn finish(mut self) -> Vec<i16> {
        // The files are whole when their writer has ended.
        self.peer.terminate(self.folder.path());
        let found = files(&self.folder.path().join("snd"), "-dec.wav");
        let [heard] = found.as_slice() else { panic!("{found:?}\n{}", logs(self.folder.path())) };
        sound::read(heard)
    }
}

fn configure(folder: &Path, address: SocketAddr, account: &str, settings: &str, speech: &[i16]) {
    let say = folder.join("say.wav");
    // It ends its call at the end of the file: there is silence until we have hung up.
    let silence = vec![0; 8000 * 60];
    sound::write(&say, &[speech, &silence].concat());
    let (sounds, control) = (folder.join("snd"), free_tcp_port());
    fs::create_dir(&sounds).unwrap();
    let mut config = format!(
        "sip_listen {address}\naudio_source aufile,{}\naudio_player aufile,{}\nmodule_path {MODULES}\n\
         ctrl_tcp_listen {control}\n{settings}snd_path {}\n",
        say.display(),
        folder.join("player.wav").display(),
        sounds.display(),
    );
    for module in ["stdio", "g711", "aufile", "sndfile"] {
        config.push_str(&format!("module {module}.so\n"));
    }
    config
        .push_str("module_tmp uuid.so\nmodule_tmp account.so\nmodule_app menu.so\nmodule_app ctrl_tcp.so\n");
    fs::write(folder.join("config"), config).unwrap();
    let account = format!("{account};answermode=auto;audio_codecs=PCMU\n");
    fs::write(folder.join("accounts"), account).unwrap();
    fs::write(folder.join("contacts"), "").unwrap();
}

fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let all = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    all.filter(|path| path.to_string_lossy().ends_with(ending)).collect()
}
