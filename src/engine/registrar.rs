//! Keeps trunks' addresses known and their registrations alive, so that the carrier knows where we are.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Duration, sleep_until, timeout};
use tracing::{info, warn};

use super::Engine;
use super::signalling::{Inbound, Unreachable};
use super::trace::TrunkTrace;
use super::trunks::Line;
use crate::config::Trunk;
use crate::sip::Hop;
use crate::sip::endpoint::Accept;
use crate::sip::registration::{Registration, RegistrationEvent, RegistrationOutput};

/// How long a trunk gets to confirm that we leave.
const FAREWELL: Duration = Duration::from_secs(2);

/// How often the trunks' names are resolved again.
const RESOLVE_EVERY: Duration = Duration::from_secs(60);

/// Keeps the addresses of the trunks known, so that only they are listened to, and every trunk that wants it registered.
/// A trunk that is added, changed or removed by a reload is registered anew or unregistered.
pub(super) async fn run(engine: Arc<Engine>) {
    let mut stop = engine.stop.subscribe();
    let mut kept: HashMap<String, (Arc<Trunk>, watch::Sender<bool>)> = HashMap::new();
    let mut tasks = JoinSet::new();
    loop {
        let config = engine.config();
        kept.retain(|name, (trunk, leave)| {
            let same = config.trunks.get(name) == Some(trunk.as_ref());
            if !same {
                leave.send_replace(true);
            }
            same
        });
        let mut addresses: HashMap<std::net::IpAddr, Vec<String>> = HashMap::new();
        let (mut tls_peers, mut registered) = (HashMap::new(), HashSet::new());
        let mut starting = Vec::new();
        for trunk in config.trunks.values() {
            let line = match Line::resolve(Arc::new(trunk.clone())).await {
                Ok(line) => line,
                Err(error) => {
                    warn!(trunk = trunk.name, %error, "the trunk's host has no address");
                    continue;
                }
            };
            for hop in &line.hops {
                addresses.entry(hop.address.ip()).or_default().push(trunk.name.clone());
            }
            tls_peers.extend(line.tls_peers());
            if trunk.register.is_some() {
                registered.extend(line.hops.iter().copied());
            }
            if trunk.register.is_some() && !kept.contains_key(&trunk.name) {
                let (leave, left) = watch::channel(false);
                kept.insert(trunk.name.clone(), (line.trunk.clone(), leave));
                starting.push((line, left));
            }
        }
        // Before the first REGISTER leaves.
        engine.signalling.set_tls_peers(tls_peers);
        engine.signalling.set_kept(registered);
        for (line, left) in starting {
            tasks.spawn(keep_registered(engine.clone(), line, left));
        }
        engine.signalling.set_accept(Accept::From(addresses.keys().copied().collect()));
        engine.arrivals.set_trunks(addresses);
        tokio::select! {
            () = tokio::time::sleep(RESOLVE_EVERY) => {}
            () = engine.trunks_changed.notified() => {}
            _ = stop.wait_for(|stop| *stop) => break,
        }
    }
    for (_, leave) in kept.values() {
        leave.send_replace(true);
    }
    while tasks.join_next().await.is_some() {}
}

/// Registers and refreshes until `stop` turns true, then unregisters.
async fn keep_registered(engine: Arc<Engine>, line: Line, mut stop: watch::Receiver<bool>) {
    let signalling = &engine.signalling;
    let trunk = line.trunk.name.clone();
    let Some(hop) = line.hop() else { return };
    let local = match signalling.address_towards(hop) {
        Ok(local) => local,
        Err(error) => return warn!(trunk, %error, "no route to the trunk: not registered"),
    };
    let config = match line.registration(local) {
        Ok(Some(config)) => config,
        Ok(None) => return,
        Err(error) => return warn!(trunk, %error, "the trunk's names make no SIP address: not registered"),
    };
    let (seed, mut inbox) = signalling.register();
    let id = seed.id;
    let mut trace = TrunkTrace::new(&engine, &trunk, &seed.call_id, local);
    engine.metrics.trunks.registered(&trunk, false);
    let mut registration = Registration::new(Instant::now(), seed, config);
    let mut lost = signalling.lost();
    let mut leaving = false;
    while carry_out(&engine, &mut trace, &mut registration).await {
        let step = wait(&mut registration, &mut inbox, &mut trace, &mut lost, &mut stop, leaving);
        if leaving {
            if timeout(FAREWELL, step).await.is_err() {
                break;
            }
        } else if step.await {
            leaving = true;
            engine.metrics.trunks.not_registering(&trunk);
            registration.unregister(Instant::now());
        }
    }
    signalling.release_registration(id);
}

/// Sends what the registration wants sent. False: it is over.
async fn carry_out(engine: &Engine, trace: &mut TrunkTrace, registration: &mut Registration) -> bool {
    let trunk = trace.trunk().to_owned();
    while let Some(output) = registration.poll_output() {
        match output {
            RegistrationOutput::Transmit(transmit) => {
                trace.sent(&transmit);
                if let Err(Unreachable(hop)) = engine.signalling.send(&transmit).await {
                    registration.handle_unreachable(Instant::now(), hop);
                }
            }
            RegistrationOutput::Event(RegistrationEvent::Registered { expires, .. }) => {
                engine.metrics.trunks.registered(&trunk, true);
                info!(trunk, seconds = expires.as_secs(), "registered");
            }
            RegistrationOutput::Event(RegistrationEvent::Refused { failure, retry_in }) => {
                engine.metrics.trunks.registered(&trunk, false);
                warn!(trunk, %failure, retry_seconds = retry_in.as_secs(), "registration failed");
            }
            RegistrationOutput::Event(RegistrationEvent::Unregistered) => return false,
        }
    }
    true
}

/// One input. True: the engine wants to leave.
async fn wait(
    registration: &mut Registration,
    inbox: &mut mpsc::Receiver<Inbound>,
    trace: &mut TrunkTrace,
    lost: &mut broadcast::Receiver<Hop>,
    stop: &mut watch::Receiver<bool>,
    leaving: bool,
) -> bool {
    let deadline = registration.poll_timeout();
    let timer = async {
        match deadline {
            Some(at) => sleep_until(at.into()).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        Some(inbound) = inbox.recv() => {
            trace.received(&inbound);
            registration.handle_message(Instant::now(), inbound.message);
        }
        Ok(hop) = lost.recv() => registration.handle_unreachable(Instant::now(), hop),
        () = timer => registration.handle_timeout(Instant::now()),
        _ = stop.wait_for(|stop| *stop), if !leaving => return true,
    }
    false
}
