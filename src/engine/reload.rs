//! An edited file: parse, validate, swap. A bad edit changes nothing and is reported with file, line and remedy; running
//! calls keep the version they began with.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::PoisonError;
use std::time::{Duration, Instant, SystemTime};

use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info};

use super::signalling::server_config;
use super::{Engine, start};
use crate::config::Config;

/// How often the files' times are looked at.
const LOOK: Duration = Duration::from_secs(2);

/// Reloads on SIGHUP and whenever a file of the configuration or a dialplan has changed, until the engine stops.
pub(super) async fn run(engine: Arc<Engine>) {
    let mut stop = engine.stop.subscribe();
    let mut hangup = match signal(SignalKind::hangup()) {
        Ok(hangup) => hangup,
        Err(error) => return error!(%error, "cannot listen for SIGHUP: edits need a restart"),
    };
    let mut seen = files(&engine);
    loop {
        tokio::select! {
            _ = hangup.recv() => {}
            () = tokio::time::sleep(LOOK) => {
                let now = files(&engine);
                if now == seen {
                    continue;
                }
                seen = now;
            }
            _ = stop.wait_for(|stop| *stop) => return,
        }
        reload(&engine).await;
    }
}

async fn reload(engine: &Engine) {
    let folder = engine.config_dir.clone();
    let loaded = tokio::task::spawn_blocking(move || Config::load(&folder)).await;
    match loaded {
        Ok(Ok(config)) => swap(engine, config),
        Ok(Err(findings)) => {
            for finding in &findings {
                error!("the edit is not taken:\n{finding}");
            }
        }
        Err(error) => error!(%error, "the configuration could not be read"),
    }
}

fn swap(engine: &Engine, mut config: Config) {
    let old = engine.config();
    // The data folder is fixed at the start, where `--data` may have named another than the file does.
    config.data.clone_from(&old.data);
    renew(engine, &config);
    if *old == config {
        return;
    }
    engine.routes().update(config.route_rules(), Instant::now());
    let fixed = old.http != config.http || old.sip != config.sip || old.media != config.media;
    engine.recorder.set_min_free(config.recordings.min_free_mb << 20);
    if old.voices != config.voices {
        match start::prompts(&old.data, &config) {
            Ok(prompts) => *engine.prompts.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(prompts),
            Err(error) => error!(%error, "the old voices are kept"),
        }
    }
    *engine.config.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
    engine.trunks_changed.notify_one();
    info!(needs_restart = fixed, "configuration reloaded; calls that run keep what they began with");
}

/// A renewed certificate lies under the old names, so that the settings look the same; and trunks' authorities may be new.
fn renew(engine: &Engine, config: &Config) {
    if let Some((certificate, key)) = &config.sip.identity {
        match server_config(certificate, key) {
            Ok(identity) => engine.signalling.set_identity(identity),
            Err(error) => error!(%error, "the old certificate is kept"),
        }
    }
    engine.trunks_changed.notify_one();
}

/// The files of certificates and keys, which may lie anywhere.
fn certificates(config: &Config) -> Vec<PathBuf> {
    let trunks = config.trunks.values().map(|trunk| &trunk.tls);
    let pairs = trunks.clone().filter_map(|tls| tls.client.as_ref()).chain(&config.sip.identity);
    let pairs = pairs.flat_map(|(certificate, key)| [certificate, key]);
    trunks.filter_map(|tls| tls.ca.as_ref()).chain(pairs).cloned().collect()
}

/// Every file with its length and when it was changed: one that is replaced by an older copy is seen as well.
fn files(engine: &Engine) -> BTreeSet<(PathBuf, u64, Option<SystemTime>)> {
    let config = engine.config();
    let folders = [engine.config_dir.clone(), engine.config_dir.join("trunks"), config.dialplans.clone()];
    let files = folders.iter().filter_map(|folder| std::fs::read_dir(folder).ok()).flatten().flatten();
    let files = files.map(|file| file.path()).chain(certificates(&config));
    let look = |path: PathBuf| {
        let metadata = std::fs::metadata(&path).ok().filter(std::fs::Metadata::is_file)?;
        Some((path, metadata.len(), metadata.modified().ok()))
    };
    files.filter_map(look).collect()
}
