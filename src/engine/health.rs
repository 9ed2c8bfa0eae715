//! Asks trunks by OPTIONS whether they live (RFC 3261 §11), and keeps what was seen of each for the API.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rand::RngExt;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, sleep_until, timeout};
use tracing::{debug, info, warn};

use super::Engine;
use super::signalling::{Signalling, Unreachable};
use super::trunks::Line;
use crate::config::{Config, Trunk};
use crate::route::Health;
use crate::sip::exchange::{Exchange, ExchangeOutput, Outcome};
use crate::sip::{ExchangeId, Hop};

/// How many hops are asked; one that answers is enough.
const HOPS: usize = 3;
/// How long each of them may take.
const SILENCE: Duration = Duration::from_secs(4);
/// A trunk that has failed once is asked again so soon.
const SOON: Duration = Duration::from_secs(5);
/// How often the configuration is looked at for trunks to ask.
const LOOK: Duration = Duration::from_secs(1);

/// What was seen of a trunk.
#[derive(Debug, Clone, Default)]
pub(super) struct Watched {
    /// Where it is.
    pub hops: Vec<Hop>,
    /// Where it sees us.
    pub seen_at: Option<SocketAddr>,
    /// Since when it has us registered.
    pub registered_since: Option<Timestamp>,
    /// What it wants in the Route of our calls (RFC 3608).
    pub service_route: Vec<String>,
    /// When and why it last refused to register us.
    pub registration_failure: Option<(Timestamp, String)>,
    /// Whether it lives.
    pub health: Health,
}

impl Watched {
    /// It has us registered, from now on or still.
    pub fn registered(&mut self, now: Timestamp, service_route: Vec<String>) {
        self.registered_since.get_or_insert(now);
        self.service_route = service_route;
    }

    /// It does not register us.
    pub fn refused(&mut self, now: Timestamp, why: String) {
        self.registered_since = None;
        self.registration_failure = Some((now, why));
    }
}

/// What was seen of each trunk.
#[derive(Debug, Default)]
pub(super) struct AllWatched(BTreeMap<String, Watched>);

impl AllWatched {
    /// Forgets trunks that are not configured any more.
    pub fn keep(&mut self, config: &Config) {
        self.0.retain(|name, _| config.trunks.contains_key(name));
    }

    /// That of one trunk.
    pub fn of(&mut self, trunk: &str) -> &mut Watched {
        self.0.entry(trunk.to_owned()).or_default()
    }
}

/// Asks every trunk that is configured to be asked, until the engine stops.
pub(super) async fn run(engine: Arc<Engine>) {
    let mut stop = engine.stop.subscribe();
    let mut tasks = JoinSet::new();
    let mut asked: HashMap<String, (Trunk, AbortHandle)> = HashMap::new();
    loop {
        let config = engine.config();
        asked.retain(|name, (trunk, task)| {
            let same = config.trunks.get(name) == Some(trunk);
            if !same {
                task.abort();
                forget(&engine, name);
            }
            same
        });
        for trunk in config.trunks.values() {
            if let (Some(every), false) = (trunk.options_every, asked.contains_key(&trunk.name)) {
                let task = tasks.spawn(keep_asking(engine.clone(), Arc::new(trunk.clone()), every));
                asked.insert(trunk.name.clone(), (trunk.clone(), task));
            }
        }
        while tasks.try_join_next().is_some() {}
        tokio::select! {
            () = sleep(LOOK) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

/// What was known of a trunk that is another one now, or is not asked any more, says nothing.
fn forget(engine: &Engine, trunk: &str) {
    engine.watched().of(trunk).health = Health::default();
    engine.routes().set_unreachable(trunk, None);
}

async fn keep_asking(engine: Arc<Engine>, trunk: Arc<Trunk>, every: Duration) {
    loop {
        let asked = match Line::resolve(trunk.clone(), &engine.resolver).await {
            Ok(line) => ask(&engine.signalling, &line).await,
            Err(error) => Err(error.to_string()),
        };
        let doubtful = note(&engine, &trunk.name, asked);
        // Trunks that were started together are not asked together for ever.
        let jitter = rand::rng().random_range(0.9..1.1);
        sleep(if doubtful { every.min(SOON) } else { every }.mul_f64(jitter)).await;
    }
}

/// Takes in what came of a question. True: ask again soon.
fn note(engine: &Engine, trunk: &str, asked: Result<(), String>) -> bool {
    let now = Timestamp::now();
    let mut watched = engine.watched();
    let health = &mut watched.of(trunk).health;
    match asked {
        Ok(()) => {
            if health.answered(now) {
                info!(trunk, "the trunk answers");
            }
            engine.routes().set_unreachable(trunk, None);
        }
        Err(why) => {
            debug!(trunk, why, "the trunk was asked in vain");
            if health.failed(now, why.clone()) {
                warn!(trunk, why, "the trunk is down: calls pass it over until it answers");
                engine.routes().set_unreachable(trunk, Some(why));
            }
        }
    }
    health.is_doubtful()
}

/// Forgets the exchange also when the task is aborted.
struct Open<'a>(&'a Signalling, ExchangeId);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.release_exchange(self.1);
    }
}

/// One OPTIONS. Whoever answers lives, whatever the answer, unless it says that it is out of service.
async fn ask(signalling: &Signalling, line: &Line) -> Result<(), String> {
    let hop = line.hop().ok_or("it has no address")?;
    let local = signalling.address_towards(hop).map_err(|error| error.to_string())?;
    let mut request = line.options(local).map_err(|error| error.to_string())?;
    request.hops.truncate(HOPS);
    let patience = SILENCE * u32::try_from(request.hops.len()).unwrap_or(1);
    let (seed, mut inbox) = signalling.exchange();
    let _open = Open(signalling, seed.id);
    let mut exchange = Exchange::new(Instant::now(), seed, request);
    let conversation = async {
        loop {
            while let Some(output) = exchange.poll_output() {
                match output {
                    ExchangeOutput::Transmit(transmit) => {
                        if let Err(Unreachable(hop)) = signalling.send(&transmit).await {
                            exchange.handle_unreachable(Instant::now(), hop);
                        }
                    }
                    ExchangeOutput::Outcome(outcome) => return judge(&outcome),
                }
            }
            let timer = exchange.poll_timeout().unwrap_or_else(|| Instant::now() + SILENCE);
            tokio::select! {
                Some(inbound) = inbox.recv() => exchange.handle_message(Instant::now(), inbound.message),
                () = sleep_until(timer.into()) => exchange.handle_timeout(Instant::now()),
            }
        }
    };
    timeout(patience, conversation).await.unwrap_or_else(|_| Err("it does not answer OPTIONS".to_owned()))
}

fn judge(outcome: &Outcome) -> Result<(), String> {
    match outcome {
        Outcome::Answered { response, .. } => match response.status() {
            Some(status @ (408 | 503)) => Err(format!("it answers OPTIONS with {status}")),
            _ => Ok(()),
        },
        Outcome::Unanswered(failure) => Err(format!("OPTIONS: {failure}")),
    }
}
