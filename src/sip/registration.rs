//! One binding at a registrar (RFC 3261 §10.2): made, refreshed before it expires, tried again with growing gaps, removed.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::auth::{Credentials, DigestClient};
use super::dialog::{first_route, via};
use super::hop::{Hop, Transport};
use super::hops::Hops;
use super::message::{HeaderName, Message, Method, NameAddr, Uri, delta_seconds, lex};
use super::session::{Failure, refusal};
use super::transaction::{ClientNonInvite, Fired, Timing};
use super::{RegistrationId, RegistrationSeed, Transmit, branch};

/// The first gap after a failure; it doubles with each further one (RFC 5626 §4.5).
const BACK_OFF: Duration = Duration::from_secs(30);
/// The longest gap between attempts.
const BACK_OFF_LIMIT: Duration = Duration::from_secs(1800);
/// The most requests for one attempt: the first, and one for each challenge or 423.
const MAX_REQUESTS: u8 = 6;
/// The most Service-Route values that are kept.
const MAX_ROUTES: usize = 16;
/// The longest life that a registrar may impose by 423, in seconds.
const MAX_EXPIRES: u32 = 7 * 86_400;

/// A binding to keep.
#[derive(Debug, Clone)]
pub struct RegistrationConfig {
    /// The registrar's URI: `sip:example.com`.
    pub registrar: Uri,
    /// The address of record.
    pub address: Uri,
    /// Where calls to it shall go: our contact.
    pub contact: Uri,
    /// Where requests are sent: each in turn until one answers (RFC 3263 §4.3). Not empty.
    pub hops: Vec<Hop>,
    /// Route values, the nearest first: an outbound proxy.
    pub routes: Vec<String>,
    /// Our address as the registrar sees it, for Via.
    pub local: SocketAddr,
    /// For 401 and 407.
    pub credentials: Option<Credentials>,
    /// The binding's life that we ask for, in whole seconds.
    pub expires: Duration,
    /// T1, T2, T4.
    pub timing: Timing,
}

/// One thing that a registration wants done or known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RegistrationOutput {
    /// Send this datagram.
    Transmit(Transmit),
    /// Something happened.
    Event(RegistrationEvent),
}

/// What happened to a registration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RegistrationEvent {
    /// The binding stands; it is refreshed before it expires.
    Registered {
        /// Its life.
        expires: Duration,
        /// The Route of our requests from now on, the nearest first (RFC 3608 §6.1): give it to outgoing calls. Each
        /// registration replaces it, by nothing too.
        service_route: Vec<String>,
    },
    /// An attempt failed; the next follows by itself.
    Refused {
        /// Why.
        failure: Failure,
        /// When the next attempt follows.
        retry_in: Duration,
    },
    /// Removed by us, or given up while removing: drop the registration.
    Unregistered,
}

/// One binding. Do one thing, then drain [`Registration::poll_output`].
#[derive(Debug)]
pub struct Registration {
    seed: RegistrationSeed,
    config: RegistrationConfig,
    rng: StdRng,
    auth: DigestClient,
    outputs: VecDeque<RegistrationOutput>,
    transaction: Option<ClientNonInvite>,
    /// What is left to try in this attempt.
    hops: Option<Hops>,
    /// When the next attempt is due, while none is under way.
    next: Option<Instant>,
    cseq: u32,
    expires: u32,
    /// Failures in a row.
    failures: u32,
    /// Requests of this attempt.
    requests: u8,
    leaving: bool,
    /// The REGISTER under way removes the binding.
    removing: bool,
}

impl Registration {
    /// Starts; the first REGISTER is the first output.
    pub fn new(now: Instant, seed: RegistrationSeed, config: RegistrationConfig) -> Self {
        let mut registration = Self {
            rng: StdRng::seed_from_u64(seed.rng_seed),
            auth: DigestClient::new(config.credentials.clone()),
            expires: u32::try_from(config.expires.as_secs()).unwrap_or(MAX_EXPIRES).clamp(1, MAX_EXPIRES),
            seed,
            config,
            outputs: VecDeque::new(),
            transaction: None,
            hops: None,
            next: None,
            cseq: 0,
            failures: 0,
            requests: 0,
            leaving: false,
            removing: false,
        };
        registration.attempt(now);
        registration
    }

    /// The name under which the endpoint knows it.
    pub fn id(&self) -> RegistrationId {
        self.seed.id
    }

    /// The registrar is elsewhere now: the next attempt goes there.
    pub fn set_hops(&mut self, hops: Vec<Hop>) {
        self.config.hops = hops;
    }

    /// We can be reached elsewhere: registers that at once, or with the next request if one is under way.
    pub fn set_contact(&mut self, now: Instant, contact: Uri) {
        if self.config.contact == contact || self.leaving {
            return;
        }
        self.config.contact = contact;
        if self.transaction.is_none() {
            self.attempt(now);
        }
    }

    /// Removes the binding (RFC 3261 §10.2.2); [`RegistrationEvent::Unregistered`] follows.
    pub fn unregister(&mut self, now: Instant) {
        if !std::mem::replace(&mut self.leaving, true) && self.transaction.is_none() {
            self.attempt(now);
        }
    }

    /// Takes a response that the endpoint routed here.
    pub fn handle_message(&mut self, now: Instant, response: Message) {
        let Some(transaction) =
            self.transaction.as_mut().filter(|transaction| transaction.matches(&response))
        else {
            return;
        };
        let taken = transaction.handle_response(now, &response);
        let status = response.status().unwrap_or_default();
        if !taken.pass || status < 200 {
            return;
        }
        // Retransmissions of this response name a branch that we no longer know, so nothing is left to absorb them for.
        self.transaction = None;
        let again = self.requests < MAX_REQUESTS;
        match status {
            _ if self.removing && !matches!(status, 401 | 407) => self.tell(RegistrationEvent::Unregistered),
            200..300 => self.bound(now, &response),
            401 | 407 if again && self.auth.take_challenges(&response) => self.request(now),
            401 | 407 => self.failed(now, Failure::Unauthorized),
            503 if self.next_hop(now, self.hops.as_ref().map(Hops::current)) => {}
            423 if again && self.lengthen(&response) => self.request(now),
            _ => self.failed(now, refusal(&response)),
        }
    }

    /// When [`Self::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.transaction.as_ref().map_or(self.next, ClientNonInvite::poll_timeout)
    }

    /// Handles what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(transaction) = self
            .transaction
            .as_mut()
            .filter(|transaction| transaction.poll_timeout().is_some_and(|at| at <= now))
        {
            match transaction.handle_timeout(now) {
                Fired::Send(transmit) => self.outputs.push_back(RegistrationOutput::Transmit(transmit)),
                Fired::TimedOut => self.lose(now, Failure::Timeout),
                Fired::Nothing => {}
            }
        }
        if self.transaction.is_none() && self.next.is_some_and(|at| at <= now) {
            self.attempt(now);
        }
    }

    /// What the registration wants done or known; `None` when everything was taken.
    pub fn poll_output(&mut self) -> Option<RegistrationOutput> {
        self.outputs.pop_front()
    }

    fn tell(&mut self, event: RegistrationEvent) {
        self.next = None;
        self.outputs.push_back(RegistrationOutput::Event(event));
    }

    fn attempt(&mut self, now: Instant) {
        self.next = None;
        self.requests = 0;
        self.removing = self.leaving;
        self.hops = Hops::new(&self.config.hops);
        self.request(now);
    }

    fn request(&mut self, now: Instant) {
        self.cseq += 1;
        self.requests += 1;
        let config = &self.config;
        let (uri, routes) = first_route(config.registrar.clone(), config.routes.clone());
        let mut request = Message::request(Method::Register, uri);
        request.push(HeaderName::Via, &via(Transport::Udp, config.local, &branch(&mut self.rng)));
        routes.iter().for_each(|route| request.push(HeaderName::Route, route));
        request.push(HeaderName::MaxForwards, "70");
        request.push(HeaderName::From, &format!("<{}>;tag={}", config.address, self.seed.local_tag));
        request.push(HeaderName::To, &format!("<{}>", config.address));
        request.push(HeaderName::CallId, &self.seed.call_id);
        request.push(HeaderName::CSeq, &format!("{} REGISTER", self.cseq));
        request.push(HeaderName::Contact, &format!("<{}>", config.contact));
        request.push(HeaderName::Expires, &if self.removing { 0 } else { self.expires }.to_string());
        if !self.seed.user_agent.is_empty() {
            request.push(HeaderName::UserAgent, &self.seed.user_agent);
        }
        request.push(HeaderName::Allow, super::ALLOW);
        // A proxy may put itself on the way of calls to us (RFC 3327 §5.1).
        request.push(HeaderName::Supported, "path");
        request.set_body(None);
        self.auth.authorize(&mut request, &mut self.rng);
        let Some(hops) = &self.hops else { return self.failed(now, Failure::Unreachable) };
        let hop = hops.carry(&mut request);
        let (mut transaction, transmit) = ClientNonInvite::new(now, request, hop, self.config.timing);
        if let Some(patience) = hops.patience(self.config.timing.t1) {
            transaction.give_up_at(now + patience);
        }
        self.transaction = Some(transaction);
        self.outputs.push_back(RegistrationOutput::Transmit(transmit));
    }

    /// The shell could not send to `hop`: the next one is tried at once.
    pub fn handle_unreachable(&mut self, now: Instant, hop: Hop) {
        let waits =
            |transaction: &ClientNonInvite| transaction.is_trying() && transaction.destination() == hop;
        if self.transaction.as_ref().is_some_and(waits) {
            self.lose(now, Failure::Unreachable);
        }
    }

    fn lose(&mut self, now: Instant, failure: Failure) {
        let lost = self.transaction.take();
        if !self.next_hop(now, lost.map(|lost| lost.destination())) {
            self.failed(now, failure);
        }
    }

    /// The same request to the hop after `failed`: `false` when there is none.
    fn next_hop(&mut self, now: Instant, failed: Option<Hop>) -> bool {
        let (Some(hops), Some(failed)) = (&mut self.hops, failed) else { return false };
        let another = hops.give_up(failed);
        if another {
            self.request(now);
        }
        another
    }

    fn bound(&mut self, now: Instant, response: &Message) {
        self.failures = 0;
        self.auth.accepted();
        let expires = Duration::from_secs(u64::from(self.granted(response).clamp(1, MAX_EXPIRES)));
        let mut service_route = response.list(HeaderName::ServiceRoute);
        service_route.truncate(MAX_ROUTES);
        self.tell(RegistrationEvent::Registered { expires, service_route });
        if self.leaving {
            return self.attempt(now);
        }
        // Early enough for a lost request to be repeated, and not all trunks in the same second.
        self.next = Some(now + expires.mul_f64(self.rng.random_range(0.7..0.8)));
    }

    /// The life that the registrar granted: of our Contact, else Expires, else what we asked for (RFC 3261 §10.2.4).
    fn granted(&self, response: &Message) -> u32 {
        let contacts = response.list(HeaderName::Contact);
        let ours = contacts.iter().filter_map(|value| NameAddr::parse(value)).find(|contact| {
            let listed = contact.to_uri();
            listed.is_ok_and(|uri| {
                let own = &self.config.contact;
                uri.user() == own.user()
                    && uri.host().eq_ignore_ascii_case(own.host())
                    && uri.port() == own.port()
            })
        });
        let of_contact = ours.and_then(|contact| contact.params.get("expires").flatten()).map(lex::unquote);
        of_contact
            .and_then(|value| delta_seconds(&value))
            .or_else(|| response.header(HeaderName::Expires).and_then(|value| delta_seconds(&value)))
            .unwrap_or(self.expires)
    }

    /// 423: asks for at least what the registrar wants (RFC 3261 §10.2.8).
    fn lengthen(&mut self, response: &Message) -> bool {
        let least = response.header(HeaderName::MinExpires).and_then(|value| delta_seconds(&value));
        match least {
            Some(least) if least > self.expires && least <= MAX_EXPIRES => {
                self.expires = least;
                true
            }
            _ => false,
        }
    }

    fn failed(&mut self, now: Instant, failure: Failure) {
        if self.removing {
            return self.tell(RegistrationEvent::Unregistered);
        }
        let doubled = BACK_OFF * 2_u32.saturating_pow(self.failures.min(16));
        self.failures += 1;
        let jittered = doubled.min(BACK_OFF_LIMIT).mul_f64(self.rng.random_range(0.5..1.0));
        let wanted = match &failure {
            Failure::Status { retry_after: Some(wanted), .. } => (*wanted).min(BACK_OFF_LIMIT),
            _ => Duration::ZERO,
        };
        let retry_in = jittered.max(wanted);
        self.tell(RegistrationEvent::Refused { failure, retry_in });
        self.next = Some(if self.leaving { now } else { now + retry_in });
    }
}
