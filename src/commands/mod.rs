//! One file a command of the command line; this one holds the arguments and the exit codes.
//!
//! Exit codes: 0 done, 1 failed (with what to do on standard error), 2 wrong use.

mod call;
mod carrier;
mod check;
mod demo;
mod key;
mod route;
mod serve;
mod trace;
mod user;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::{Args, Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::config::Config;
use crate::transcribe::cli;

/// Callahead calls customers ahead of a delivery, records what they say, and plays it to the driver.
#[derive(Debug, Parser)]
#[command(name = "callahead", version, about, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,

    #[command(flatten)]
    places: Places,

    /// More on standard error: -v what happens, -vv every SIP message.
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    verbose: u8,
}

/// Where configuration, data and models live.
#[derive(Debug, Clone, Args)]
pub struct Places {
    /// Folder with callahead.toml and trunks/*.toml.
    #[arg(long, value_name = "DIR", default_value = "sip-config", global = true, env = "CALLAHEAD_CONFIG")]
    pub config: PathBuf,

    /// Folder for the database, recordings and rendered prompts; overrides `data` of callahead.toml.
    #[arg(long, value_name = "DIR", global = true, env = "CALLAHEAD_DATA")]
    pub data: Option<PathBuf>,

    /// Folder with the speech models.
    #[arg(long, value_name = "DIR", default_value = "models", global = true, env = "CALLAHEAD_MODELS")]
    pub models: PathBuf,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the engine: trunks, scheduler, HTTP API and page.
    Serve(serve::Serve),
    /// Validate the configuration and every dialplan without starting anything.
    Check(check::Check),
    /// Call a number now, through the engine that serves this data folder, and wait for the outcome.
    Call(call::Call),
    /// Show which trunks would carry a call to a number, in which order and why, without dialling.
    Route(route::Route),
    /// Turn audio files into text.
    Transcribe(cli::Transcribe),
    /// Fetch or list speech models.
    Model(cli::Model),
    /// Run the practice trunk: a simulated carrier with customers who answer, speak, press digits or are busy.
    Carrier(carrier::CarrierArgs),
    /// Show what was said with the trunk during a call: a ladder, the messages, or a capture for Wireshark.
    Trace(trace::Trace),
    /// Practice trunk, engine and five deliveries, with a live table.
    Demo(demo::Demo),
    /// Manage the people who sign in.
    #[command(subcommand)]
    User(user::User),
    /// Manage the keys of systems that use the API.
    Key(key::Key),
    /// The transcription worker; the engine starts it.
    #[command(hide = true)]
    Worker(cli::Worker),
}

/// Parses the arguments, runs the command and returns the process's exit code.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    log_to_stderr(cli.verbose);
    let places = cli.places;
    let result = match cli.command {
        Command::Serve(command) => command.run(&places),
        Command::Check(command) => command.run(&places),
        Command::Call(command) => command.run(&places),
        Command::Route(command) => command.run(&places),
        Command::Transcribe(command) => command.run(&places.models),
        Command::Model(command) => command.run(&places.models),
        Command::Carrier(command) => command.run(&places),
        Command::Trace(command) => command.run(&places),
        Command::Demo(command) => command.run(&places),
        Command::User(command) => command.run(&places),
        Command::Key(command) => command.run(&places),
        Command::Worker(command) => command.run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("callahead: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn log_to_stderr(verbose: u8) {
    let level = ["info", "callahead=debug,info", "callahead=trace,info"][usize::from(verbose.min(2))];
    let filter = EnvFilter::try_from_env("CALLAHEAD_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal()).with_target(false).init();
}

/// A runtime for the commands that need one.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()
}

/// Reads and checks the whole configuration; every finding is printed.
fn load_config(places: &Places) -> Result<Config> {
    match Config::load(&places.config) {
        Ok(mut config) => {
            if let Some(data) = &places.data {
                config.data.clone_from(data);
            }
            Ok(config)
        }
        Err(findings) => {
            for finding in &findings {
                eprintln!("{finding}\n");
            }
            bail!("{} to mend in {}", plural(findings.len(), "place"), places.config.display())
        }
    }
}

fn plural(count: usize, word: &str) -> String {
    if count == 1 { format!("1 {word}") } else { format!("{count} {word}s") }
}

/// Resolves on Ctrl-C or SIGTERM.
async fn told_to_stop() {
    let terminated = async {
        match signal(SignalKind::terminate()) {
            Ok(mut terminate) => drop(terminate.recv().await),
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = terminated => {}
    }
}
