//! The engine as a whole: `cargo bench --bench engine [-- CALLS]` (200 when not given).
//!
//! SIPp answers every call after 200 ms and streams PCMU; `callahead serve`, a process of its own, plays 20 s, records
//! 20 s and hangs up. Prints processor milliseconds for a second of one call, memory, how evenly packets go out, and
//! whether recordings are whole; then how long the text of an answer takes. Nothing is asserted.

mod answers;
mod callee;
mod frames;
mod listener;
mod load;
#[path = "../../tests/prompts/mod.rs"]
mod prompts;
mod stage;
mod usage;

fn main() -> anyhow::Result<()> {
    let count = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(200);
    let folder = tempfile::Builder::new().prefix("callahead-bench").tempdir()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(async {
        load::run(&folder.path().join("load"), count).await?;
        answers::run(&folder.path().join("answers")).await
    })
}
