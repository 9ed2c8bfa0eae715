//! callahead
use callahead::transcribe::cli;
use clap::Parser;

#[derive(Parser)]
enum Cli {
    Transcribe(cli::Transcribe),
    Model(cli::Model),
    #[command(hide = true)]
    Worker(cli::Worker),
}

fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .init();
    let models = std::path::PathBuf::from(std::env::var("CALLAHEAD_MODELS").unwrap_or("models".into()));
    match Cli::parse() {
        Cli::Transcribe(c) => c.run(&models),
        Cli::Model(c) => c.run(&models),
        Cli::Worker(c) => c.run(),
    }
}
