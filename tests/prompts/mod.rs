//! Human telephone speech with its transcripts: the prompts of the Debian packages asterisk-core-sounds-en-wav and
//! asterisk-core-sounds-en. And the model that hears them.

// each program that includes this uses its own part; what fails here fails the test or the bench
#![allow(dead_code, clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::Command;

use callahead::transcribe::model;

const SOUNDS: &str = "/usr/share/asterisk/sounds/en_US_f_Allison";
const TRANSCRIPTS: &str = "/usr/share/doc/asterisk-core-sounds-en/core-sounds-en.txt.gz";

/// One prompt.
pub struct Prompt {
    /// The sound file: 8 kHz, mono.
    pub path: PathBuf,
    /// What is said in it.
    pub text: String,
}

/// All prompts whose transcript is plain words, at least four of them: no tones, signs or headings.
pub fn all() -> Vec<Prompt> {
    let output = Command::new("gzip").arg("-dc").arg(TRANSCRIPTS).output().unwrap();
    let remedy = "apt-get install asterisk-core-sounds-en asterisk-core-sounds-en-wav";
    assert!(output.status.success(), "no {TRANSCRIPTS}; {remedy}");
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text.lines().filter_map(|line| line.split_once(": "));
    let prompts = lines.map(|(name, text)| Prompt {
        path: Path::new(SOUNDS).join(name).with_extension("wav"),
        text: text.trim().to_owned(),
    });
    let plain = |text: &str| !text.contains(['[', '<', '(', '*', '#', ';', '/', '@', '_']);
    let long = |text: &str| text.split_whitespace().count() >= 4;
    let found: Vec<Prompt> =
        prompts.filter(|prompt| plain(&prompt.text) && long(&prompt.text) && prompt.path.is_file()).collect();
    assert!(!found.is_empty(), "no sounds in {SOUNDS}; {remedy}");
    found
}

/// `count` prompts, spread evenly over all.
pub fn some(count: usize) -> Vec<Prompt> {
    let all = all();
    let total = all.len();
    let spread = |index: usize| index * count / total != (index + 1) * count / total;
    all.into_iter()
        .enumerate()
        .filter(|(index, _)| count >= total || spread(*index))
        .map(|(_, prompt)| prompt)
        .collect()
}

/// The prompt with this name.
pub fn named(name: &str) -> Prompt {
    let file = format!("{name}.wav");
    all().into_iter().find(|prompt| prompt.path.ends_with(&file)).unwrap()
}

/// The folder with the models.
pub fn models() -> PathBuf {
    std::env::var_os("CALLAHEAD_MODELS").map_or_else(|| PathBuf::from("models"), PathBuf::from)
}

/// The default model's file.
pub fn model() -> PathBuf {
    match model::locate(&models(), &model::manifest().unwrap().default) {
        Ok(path) => path.canonicalize().unwrap(),
        Err(error) => panic!("{error} (or set CALLAHEAD_MODELS)"),
    }
}
