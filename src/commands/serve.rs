//! `callahead serve`: the engine.

use anyhow::Result;
use clap::Args;
use tracing::info;

use super::{Places, load_config, runtime, told_to_stop};
use crate::engine;

/// Arguments of `serve`.
#[derive(Debug, Args)]
pub struct Serve {}

impl Serve {
    /// Runs until Ctrl-C or SIGTERM, then drains; a second Ctrl-C hangs up at once.
    ///
    /// # Errors
    /// The configuration is bad, an address is taken, or the data folder cannot be used.
    pub fn run(self, places: &Places) -> Result<()> {
        let config = load_config(places)?;
        runtime()?.block_on(async {
            let running = engine::start(&places.config, config, &places.models).await?;
            info!("ready: http://{}", running.http_addr());
            told_to_stop().await;
            info!("draining: no new calls; running ones finish (again to hang up now)");
            running.stop(told_to_stop()).await;
            Ok(())
        })
    }
}
