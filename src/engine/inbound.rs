//! Calls that come in: who may call, which plan answers, and what a busy engine refuses.
//!
//! A call is taken from a trunk's address, or from a telephone that has registered and gives its password. Its number is looked for in `numbers.toml`; the attempt, the recording and
//! the transcript are those of any other call.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing::{error, warn};
use uuid::Uuid;

use super::Engine;
use super::answering::{self, Caller, Expected};
use super::media::LateTicks;
use super::signalling::{Inbound, Unclaimed};
use crate::config::{Config, Did};
use crate::pii::Redacted;
use crate::route::{Country, Number, TokenBucket};
use crate::sdp::Codec;
use crate::sip::message::{Header, HeaderName, Message, NameAddr};
use crate::sip::overload::{Load, Overload};
use crate::sip::registrar::Answer;
use crate::sip::session::IncomingCall;

/// How often the media threads' lateness is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// How many calls a telephone may begin in a second.
const PHONE_CPS: u32 = 2;

/// What is known about calls that come in.
pub(super) struct Arrivals {
    trunks: Mutex<HashMap<IpAddr, Vec<String>>>,
    running: AtomicU32,
}

impl Arrivals {
    pub fn new() -> Self {
        Self { trunks: Mutex::default(), running: AtomicU32::new(0) }
    }

    /// Replaces what is known of the trunks' addresses.
    pub fn set_trunks(&self, trunks: HashMap<IpAddr, Vec<String>>) {
        *self.lock() = trunks;
    }

    /// How many calls that came in run.
    pub fn running(&self) -> u32 {
        self.running.load(Ordering::Relaxed)
    }

    fn trunks_at(&self, address: IpAddr) -> Vec<String> {
        self.lock().get(&address).cloned().unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, Vec<String>>> {
        self.trunks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where a call comes from.
struct Origin {
    via: String,
    country: Country,
    codecs: Vec<Codec>,
    /// What is known of the caller's number without looking at the INVITE.
    number: Option<Number>,
    max_cps: u32,
}

/// A refusal: the status (0: no answer at all), what the log says about it, and fields for the answer.
struct Refusal {
    status: u16,
    why: String,
    headers: Vec<Header>,
}

/// Decides about each new call.
struct Porter {
    overload: Overload,
    rates: HashMap<String, TokenBucket>,
    ticks: LateTicks,
    late_per_mille: u32,
}

/// Takes calls until the socket goes.
pub(super) async fn run(engine: Arc<Engine>, mut unclaimed: mpsc::Receiver<Unclaimed>) {
    let mut stop = engine.sockets_stop.subscribe();
    let mut calls = JoinSet::new();
    let mut porter = Porter {
        overload: Overload::new(rand::random()),
        rates: HashMap::new(),
        ticks: engine.media.late_ticks(),
        late_per_mille: 0,
    };
    let mut look = tokio::time::interval(LOOK);
    loop {
        tokio::select! {
            Some(arrival) = unclaimed.recv() => {
                let queued = unclaimed.len();
                match arrival {
                    Unclaimed::Incoming(call, inbox) => porter.admit(&engine, *call, inbox, queued, &mut calls).await,
                    Unclaimed::Request(request) => {
                        let trusted = !engine.arrivals.trunks_at(request.source.address.ip()).is_empty();
                        engine.phones.answer(&engine, &request, trusted).await;
                    }
                }
            }
            _ = look.tick() => {
                porter.look(&engine);
                engine.phones.refresh(&engine);
            }
            Some(ended) = calls.join_next() => {
                if let Err(error) = ended {
                    error!(%error, "a call's task failed; its end is found at the next start");
                }
            }
            () = async { drop(stop.wait_for(|stop| *stop).await) } => return,
        }
    }
}

impl Porter {
    fn look(&mut self, engine: &Engine) {
        let now = engine.media.late_ticks();
        self.late_per_mille = now.per_mille_since(&self.ticks);
        self.ticks = now;
    }

    async fn admit(
        &mut self,
        engine: &Arc<Engine>,
        call: IncomingCall,
        inbox: mpsc::Receiver<Inbound>,
        queued: usize,
        calls: &mut JoinSet<()>,
    ) {
        let config = engine.config();
        match self.judge(engine, &config, &call, queued) {
            Ok(expected) => {
                let engine = engine.clone();
                engine.arrivals.running.fetch_add(1, Ordering::Relaxed);
                let token = Uuid::now_v7();
                engine.in_hand().insert(token);
                calls.spawn(async move {
                    answering::answer(&engine, config, call, inbox, expected).await;
                    engine.arrivals.running.fetch_sub(1, Ordering::Relaxed);
                    engine.in_hand().remove(&token);
                });
            }
            Err(Refusal { status: 0, .. }) => engine.signalling.ignore(&call),
            Err(Refusal { status, why, headers }) => {
                warn!(from = %call.source, status, why, "a call was not taken");
                engine.signalling.refuse(Instant::now(), &call, status, &headers).await;
            }
        }
    }

    /// Who calls which number, or why the call is not taken.
    fn judge(&mut self, engine: &Engine, config: &Config, call: &IncomingCall, queued: usize) -> Result<Expected, Refusal> {
        let now = Instant::now();
        let load = Load {
            running: engine.routes().active() + engine.arrivals.running(),
            max_calls: config.limits.max_calls,
            late_per_mille: self.late_per_mille,
            queued,
            queue: super::signalling::UNCLAIMED,
            draining: engine.is_draining(),
        };
        self.overload.admit(&load).map_err(|(shed, wait)| busy(&shed.to_string(), wait))?;
        let origins = origins(engine, config, call)?;
        let Some(first) = origins.first() else {
            return Err(refusal(403, "it is from no trunk"));
        };
        // A customer's call is nobody's to take over (RFC 3891 §3 leaves that to us).
        if call.replaces.is_some() {
            return Err(refusal(603, "it would take the place of another call"));
        }
        let rate = self.rates.entry(first.via.clone()).or_insert_with(|| TokenBucket::new(first.max_cps, now));
        rate.set_rate(first.max_cps, now);
        if let Err(ready) = rate.take(now) {
            return Err(busy("more new calls in a second than its trunk's `max_cps`", ready - now));
        }
        let found = origins.iter().find_map(|origin| {
            let (number, did) = called_number(config, origin, &call.request)?;
            Some((origin, number, did))
        });
        let Some((origin, called, did)) = found else {
            return Err(refusal(404, "its number is not in numbers.toml"));
        };
        let number = match &origin.number {
            Some(number) => Redacted::new(number.e164().to_owned()),
            None => caller_number(&call.request, origin.country),
        };
        Ok(Expected {
            caller: Caller { number, via: origin.via.clone(), codecs: origin.codecs.clone() },
            called: Redacted::new(called.e164().to_owned()),
            did: did.clone(),
        })
    }
}

/// The trunks at the caller's address; or the telephone there, once it has given its password.
fn origins(engine: &Engine, config: &Config, call: &IncomingCall) -> Result<Vec<Origin>, Refusal> {
    let names = engine.arrivals.trunks_at(call.source.address.ip());
    let trunks = names.iter().filter_map(|name| config.trunks.get(name)).map(|trunk| Origin {
        via: trunk.name.clone(),
        country: trunk.country,
        codecs: trunk.codecs.clone(),
        number: None,
        max_cps: trunk.max_cps,
    });
    let origins: Vec<Origin> = trunks.collect();
    if !origins.is_empty() {
        return Ok(origins);
    }
    let name = engine.phones.caller(call.source, &call.request).map_err(|answer| match answer {
        Answer::Respond(status, headers) => Refusal { status, why: "the telephone must give its password".into(), headers },
        Answer::Silence => refusal(0, "too many wrong passwords"),
    })?;
    let phone = config.phones.get(&name).map(|phone| Origin {
        via: format!("phone:{name}"),
        country: config.calls.default_country,
        codecs: vec![Codec::Pcma, Codec::Pcmu],
        number: Some(phone.number.clone()),
        max_cps: PHONE_CPS,
    });
    Ok(phone.into_iter().collect())
}

fn busy(why: &str, wait: Duration) -> Refusal {
    let wait = wait.as_secs().max(1).to_string();
    Refusal { status: 503, why: why.to_owned(), headers: vec![Header::new(HeaderName::RetryAfter, &wait)] }
}

fn refusal(status: u16, why: &str) -> Refusal {
    Refusal { status, why: why.to_owned(), headers: Vec::new() }
}

/// Which of our numbers is called. The Request-URI may hold the user that we registered instead; then the number is in
/// P-Called-Party-ID (RFC 7315 §4.2), or in To, which a diversion leaves as it was.
fn called_number<'c>(config: &'c Config, origin: &Origin, request: &Message) -> Option<(&'c Number, &'c Did)> {
    let user_of = |field: &str| {
        let value = request.header_named(field)?.into_owned();
        Some(NameAddr::parse(&value)?.to_uri().ok()?.number()?.to_owned())
    };
    let target = request.uri().and_then(|uri| uri.number()).map(str::to_owned);
    let written = [target, user_of("P-Called-Party-ID"), user_of("To")];
    let ours = written.iter().flatten().flat_map(|text| spellings(text, origin.country));
    ours.into_iter()
        .filter_map(|number| config.numbers.get_key_value(&number))
        .find(|(_, did)| did.trunks.is_empty() || did.trunks.contains(&origin.via))
}

/// The numbers that `text` may mean on this trunk: as dialled in its country, or E.164 without its plus sign.
fn spellings(text: &str, country: Country) -> impl Iterator<Item = Number> + use<> {
    let text = text.replace("%2B", "+").replace("%2b", "+");
    let national = Number::parse(&text, Some(country)).ok();
    let plain = (!text.starts_with('+')).then(|| Number::parse(&format!("+{text}"), None).ok()).flatten();
    national.into_iter().chain(plain)
}

/// Who calls: what the trunk asserts (RFC 3325) comes before what the caller claims. Empty when there is no number.
fn caller_number(request: &Message, country: Country) -> Redacted {
    let asserted = request.list(HeaderName::PAssertedIdentity);
    let claimed = request.header(HeaderName::From).map(|from| from.into_owned());
    let number = asserted.iter().chain(&claimed).find_map(|value| {
        let uri = NameAddr::parse(value)?.to_uri().ok()?;
        spellings(uri.number()?, country).next()
    });
    Redacted::new(number.map(|number| number.e164().to_owned()).unwrap_or_default())
}
