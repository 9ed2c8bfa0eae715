//! linphone as a telephone of the house: it registers, answers by itself, dials when it is told to, speaks a WAV file and keeps
//! what it heard.

use std::fs;
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::peer::{Peer, free_port, logs};
use super::sound;

/// A running linphonec.
pub struct Linphone {
    peer: Peer,
    folder: TempDir,
    registrar: SocketAddr,
}

impl Linphone {
    /// Starts one that registers as `user` at `registrar` and says `speech` in every call.
    pub fn start(registrar: SocketAddr, user: &str, password: &str, speech: &[i16]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (home, port) = (folder.path(), free_port().port());
        // Without this folder its database fails, and with it its calls.
        fs::create_dir_all(home.join(".local/share/linphone")).unwrap();
        let config = format!(
            "[sip]\nsip_port={port}\nsip_tcp_port=0\nsip_tls_port=0\nuse_ipv6=0\ndefault_proxy=0\n\
             [rtp]\naudio_rtp_port=-1\n\
             [auth_info_0]\nusername={user}\npasswd={password}\nrealm=callahead\n\
             [proxy_0]\nreg_proxy=<sip:{registrar}>\nreg_identity=sip:{user}@{registrar}\nreg_expires=60\n\
             reg_sendregister=1\npublish=0\n"
        );
        fs::write(home.join("linphonerc"), config).unwrap();
        let silence = vec![0; 8000 * 60];
        sound::write(&home.join("say.wav"), &[speech, &silence].concat());
        let mut command = Command::new("linphonec");
        command.args(["-a", "-d", "1", "-l", "linphone.log", "-c", "linphonerc"]).env("HOME", home);
        let mut peer = Peer::start_with("linphonec", "linphone-cli", &mut command, home, Stdio::piped());
        peer.wait_for_port(port, home);
        peer.tell("soundcard use files");
        peer.tell(&format!("play {}", home.join("say.wav").display()));
        peer.tell(&format!("record {}", home.join("heard.wav").display()));
        Self { peer, folder, registrar }
    }

    /// Waits until its registration is accepted.
    pub fn wait_until_registered(&mut self) {
        self.peer.wait_for_text("linphone.log", "[LinphoneRegistrationOk]", self.folder.path());
    }

    /// Calls `number` through its registrar.
    pub fn dial(&mut self, number: &str) {
        self.peer.tell(&format!("call sip:{number}@{}", self.registrar));
    }

    /// Ends it and returns what it heard in its calls.
    pub fn finish(mut self) -> Vec<i16> {
        self.peer.tell("quit");
        self.peer.wait(self.folder.path());
        let reader = hound::WavReader::open(self.folder.path().join("heard.wav")).unwrap();
        let spec = reader.spec();
        assert_eq!((spec.channels, spec.sample_rate), (1, 8000), "{}", logs(self.folder.path()));
        // After two calls the head of its file promises a few samples more than there are.
        reader.into_samples().map_while(Result::ok).collect()
    }
}
