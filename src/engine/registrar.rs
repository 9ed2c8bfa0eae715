//! Keeps trunks' addresses known and their registrations alive, so that the carrier knows where we are.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Duration, sleep_until, timeout};
use tracing::{debug, info, warn};

use super::Engine;
use super::signalling::{Inbound, Unreachable};
use super::trace::TrunkTrace;
use super::trunks::Line;
use crate::config::{Advertised, Config, Trunk};
use crate::sip::Hop;
use crate::sip::endpoint::Accept;
use crate::sip::message::{HeaderName, Message};
use crate::sip::registration::{Registration, RegistrationEvent, RegistrationOutput};

/// How long a trunk gets to confirm that we leave.
const FAREWELL: Duration = Duration::from_secs(2);

/// The bounds of how long the trunks' addresses are taken to hold.
const RESOLVE_EVERY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(3600));

/// When a trunk that is not found is looked for again.
const RESOLVE_AGAIN: Duration = Duration::from_secs(10);

/// A registration that is kept, and how its task is told of changes.
struct Kept {
    trunk: Arc<Trunk>,
    leave: watch::Sender<bool>,
    hops: watch::Sender<Vec<Hop>>,
}

/// Keeps the addresses of the trunks known, so that only they are listened to, and every trunk that wants it registered.
/// A trunk that is added, changed or removed by a reload is registered anew or unregistered.
pub(super) async fn run(engine: Arc<Engine>) {
    let mut stop = engine.stop.subscribe();
    let mut kept: HashMap<String, Kept> = HashMap::new();
    let mut tasks = JoinSet::new();
    loop {
        let config = engine.config();
        kept.retain(|name, kept| {
            let same = config.trunks.get(name) == Some(kept.trunk.as_ref());
            if !same {
                kept.leave.send_replace(true);
            }
            same
        });
        engine.watched().keep(&config);
        let (lines, until) = resolve(&engine, &config).await;
        let mut addresses: HashMap<std::net::IpAddr, Vec<String>> = HashMap::new();
        let (mut tls_peers, mut registered) = (HashMap::new(), HashSet::new());
        let mut starting = Vec::new();
        for line in lines {
            for hop in &line.hops {
                addresses.entry(hop.address.ip()).or_default().push(line.trunk.name.clone());
            }
            tls_peers.extend(line.tls_peers());
            if line.trunk.register.is_some() {
                registered.extend(line.hops.iter().copied());
            }
            engine.watched().of(&line.trunk.name).hops.clone_from(&line.hops);
            match kept.get(&line.trunk.name) {
                Some(kept) => drop(kept.hops.send_replace(line.hops)),
                None if line.trunk.register.is_some() => {
                    let ((leave, left), (hops, moved)) =
                        (watch::channel(false), watch::channel(line.hops.clone()));
                    kept.insert(line.trunk.name.clone(), Kept { trunk: line.trunk.clone(), leave, hops });
                    starting.push((line, left, moved));
                }
                None => {}
            }
        }
        // Before the first REGISTER leaves.
        engine.signalling.set_tls_peers(tls_peers);
        engine.signalling.set_kept(registered);
        for (line, left, moved) in starting {
            tasks.spawn(keep_registered(engine.clone(), line, left, moved));
        }
        engine.signalling.set_accept(Accept::From(addresses.keys().copied().collect()));
        engine.arrivals.set_trunks(addresses);
        tokio::select! {
            () = sleep_until(until.into()) => {}
            () = engine.trunks_changed.notified() => {}
            _ = stop.wait_for(|stop| *stop) => break,
        }
    }
    for kept in kept.values() {
        kept.leave.send_replace(true);
    }
    while tasks.join_next().await.is_some() {}
}

/// Where the trunks are, all asked at once, and when to look again.
async fn resolve(engine: &Arc<Engine>, config: &Config) -> (Vec<Line>, Instant) {
    let mut asked = JoinSet::new();
    for trunk in config.trunks.values() {
        let (trunk, resolver) = (Arc::new(trunk.clone()), engine.resolver.clone());
        asked.spawn(
            async move { Line::resolve(trunk.clone(), &resolver).await.map_err(|error| (trunk, error)) },
        );
    }
    let now = Instant::now();
    let (mut lines, mut until) = (Vec::new(), now + RESOLVE_EVERY.1);
    while let Some(found) = asked.join_next().await {
        match found {
            Ok(Ok(line)) => {
                until = until.min(line.until);
                lines.push(line);
            }
            Ok(Err((trunk, error))) => {
                warn!(trunk = trunk.name, %error, "the trunk's host has no address");
                until = until.min(now + RESOLVE_AGAIN);
            }
            Err(error) => warn!(%error, "a trunk could not be looked for"),
        }
    }
    (lines, until.max(Instant::now() + RESOLVE_EVERY.0))
}

/// Registers and refreshes until `stop` turns true, then unregisters. `moved` has the registrar's hops of each moment.
async fn keep_registered(
    engine: Arc<Engine>,
    line: Line,
    mut stop: watch::Receiver<bool>,
    mut moved: watch::Receiver<Vec<Hop>>,
) {
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
    let (seed, inbox) = signalling.register();
    let id = seed.id;
    engine.metrics.trunks.registered(&trunk, false);
    let mut upkeep = Upkeep {
        trace: TrunkTrace::new(&engine, &trunk, &seed.call_id, local),
        registration: Registration::new(Instant::now(), seed, config),
        lost: signalling.lost(),
        engine: engine.clone(),
        line,
        local,
        inbox,
        leaving: false,
    };
    while upkeep.carry_out().await {
        if moved.has_changed().unwrap_or(false) {
            upkeep.registration.set_hops(moved.borrow_and_update().clone());
        }
        if upkeep.leaving {
            if timeout(FAREWELL, upkeep.wait(&mut stop)).await.is_err() {
                break;
            }
        } else if upkeep.wait(&mut stop).await {
            upkeep.leaving = true;
            engine.metrics.trunks.not_registering(&trunk);
            upkeep.registration.unregister(Instant::now());
        }
    }
    signalling.release_registration(id);
}

/// A registration with what it needs of the engine.
struct Upkeep {
    engine: Arc<Engine>,
    line: Line,
    /// Our address towards the trunk.
    local: SocketAddr,
    registration: Registration,
    inbox: mpsc::Receiver<Inbound>,
    trace: TrunkTrace,
    lost: broadcast::Receiver<Hop>,
    leaving: bool,
}

impl Upkeep {
    /// Sends what the registration wants sent. False: it is over.
    async fn carry_out(&mut self) -> bool {
        let (engine, trunk) = (&self.engine, self.line.trunk.name.as_str());
        while let Some(output) = self.registration.poll_output() {
            match output {
                RegistrationOutput::Transmit(transmit) => {
                    self.trace.sent(&transmit);
                    if let Err(Unreachable(hop)) = engine.signalling.send(&transmit).await {
                        self.registration.handle_unreachable(Instant::now(), hop);
                    }
                }
                RegistrationOutput::Event(RegistrationEvent::Registered { expires, service_route }) => {
                    engine.watched().of(trunk).registered(Timestamp::now(), service_route);
                    engine.metrics.trunks.registered(trunk, true);
                    info!(trunk, seconds = expires.as_secs(), "registered");
                }
                RegistrationOutput::Event(RegistrationEvent::Refused { failure, retry_in }) => {
                    engine.watched().of(trunk).refused(Timestamp::now(), failure.to_string());
                    engine.metrics.trunks.registered(trunk, false);
                    warn!(trunk, %failure, retry_seconds = retry_in.as_secs(), "registration failed");
                }
                RegistrationOutput::Event(RegistrationEvent::Unregistered) => return false,
            }
        }
        true
    }

    /// One input. True: the engine wants to leave.
    async fn wait(&mut self, stop: &mut watch::Receiver<bool>) -> bool {
        let deadline = self.registration.poll_timeout();
        let timer = async {
            match deadline {
                Some(at) => sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Some(inbound) = self.inbox.recv() => self.receive(inbound),
            Ok(hop) = self.lost.recv() => self.registration.handle_unreachable(Instant::now(), hop),
            () = timer => self.registration.handle_timeout(Instant::now()),
            _ = stop.wait_for(|stop| *stop), if !self.leaving => return true,
        }
        false
    }

    fn receive(&mut self, inbound: Inbound) {
        self.trace.received(&inbound);
        let good = inbound.message.status().is_some_and(|status| status < 300);
        let seen = seen_at(&inbound.message).filter(|_| good && !self.leaving);
        self.registration.handle_message(Instant::now(), inbound.message);
        if let Some(seen) = seen {
            // The port of a connection of ours is not one that anybody can connect to.
            let port = if inbound.source.transport.is_reliable() { self.local.port() } else { seen.port() };
            self.learn(SocketAddr::new(seen.ip(), port));
        }
    }

    /// The trunk sees us at `seen`: that is where its calls shall come, if it is not where we said.
    fn learn(&mut self, seen: SocketAddr) {
        let trunk = &self.line.trunk;
        let before = self.engine.watched().of(&trunk.name).seen_at.replace(seen);
        if trunk.advertised != Advertised::Auto || before.unwrap_or(self.local) == seen {
            return;
        }
        match self.line.contact_at(seen) {
            Ok(contact) => {
                debug!(trunk = trunk.name, %seen, "the trunk sees us at this address");
                self.registration.set_contact(Instant::now(), contact);
            }
            Err(error) => warn!(trunk = trunk.name, %error, "the trunk's names make no SIP address"),
        }
    }
}

/// Our address as whoever answered saw it: `received` and `rport` of our Via (RFC 3581 §4).
fn seen_at(response: &Message) -> Option<SocketAddr> {
    let via = response.header(HeaderName::Via)?;
    let params = via.split(';').skip(1).filter_map(|param| param.trim().split_once('='));
    let value =
        |name: &str| params.clone().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value);
    let ip = value("received")?.trim_matches(['[', ']']).parse().ok()?;
    Some(SocketAddr::new(ip, value("rport")?.parse().ok()?))
}
