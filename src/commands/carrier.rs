//! `callahead carrier`: the practice trunk.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use clap::Args;
use tracing::info;

use super::{Places, load_config, runtime};
use crate::carrier::{Carrier, CarrierConfig, customers};
use crate::engine::media::{MediaPool, PoolConfig};

/// Arguments of `carrier`.
#[derive(Debug, Args)]
pub struct CarrierArgs {
    /// The trunk whose part it plays: it listens on that trunk's host and port and asks for its username and password.
    #[arg(long, default_value = "practice")]
    trunk: String,

    /// A TOML file with customers; without it, the five that come with the program.
    #[arg(long, value_name = "FILE")]
    customers: Option<PathBuf>,
}

/// The carrier's UDP ports for RTP, away from the engine's.
const RTP_PORTS: std::ops::RangeInclusive<u16> = 30_000..=39_999;

impl CarrierArgs {
    /// Runs until Ctrl-C or SIGTERM.
    ///
    /// # Errors
    /// The trunk is not configured or not on this machine, a voice is missing, or the port is taken.
    pub fn run(self, places: &Places) -> Result<()> {
        let config = load_config(places)?;
        let trunk = config.trunks.get(&self.trunk).with_context(|| {
            format!("there is no trunk `{}` in {}; name one with --trunk", self.trunk, places.config.join("trunks").display())
        })?;
        let ip: IpAddr = if trunk.host == "localhost" {
            Ipv4Addr::LOCALHOST.into()
        } else {
            trunk.host.parse().with_context(|| format!("the practice trunk plays a host of this machine, not `{}`", trunk.host))?
        };
        let credentials = trunk.username.clone().zip(trunk.password.clone());
        let (username, password) =
            credentials.with_context(|| format!("the trunk `{}` needs `username` and `password`", self.trunk))?;
        let (file, text) = match &self.customers {
            Some(path) => {
                let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
                (path.display().to_string(), text)
            }
            None => ("the built-in customers".to_owned(), customers::BUILT_IN.to_owned()),
        };
        let listen = SocketAddr::new(ip, trunk.port.unwrap_or(5060));
        let cache = config.data.join("carrier");
        runtime()?.block_on(async {
            let customers = customers::read(&file, &text, &cache).await?;
            let media = MediaPool::start(&PoolConfig { ports: RTP_PORTS, ..PoolConfig::default() })
                .context("cannot start the media threads")?;
            let count = customers.len();
            let carrier = CarrierConfig { listen, username, password, customers };
            let carrier = Carrier::bind(carrier, Arc::new(media)).await;
            let carrier = Arc::new(carrier.with_context(|| format!("cannot listen on {listen}: is a carrier running already?"))?);
            info!(address = %carrier.local_addr(), customers = count, "practice trunk ready");
            tokio::select! {
                () = carrier.run() => {}
                () = super::told_to_stop() => {}
            }
            Ok(())
        })
    }
}
