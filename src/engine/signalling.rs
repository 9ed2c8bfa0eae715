//! SIP's way in and out: one endpoint owns the [`transport`](super::transport)s, hands each message to the task that owns the
//! session, and counts what it drops.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustls::ServerConfig;
use tokio::sync::{broadcast, mpsc};
use tracing::{debug, trace, warn};

use crate::metrics::SipMetrics;
use super::transport::Transports;
use crate::sip::endpoint::{Accept, Endpoint, EndpointConfig, House, Received};
use crate::sip::message::{Header, HeaderName, Message, Method, NameAddr, Uri, UriError, delta_seconds};
use crate::sip::session::IncomingCall;
use crate::sip::{ExchangeId, ExchangeSeed, Hop, RegistrationId, RegistrationSeed, SessionId, SessionSeed, Transmit, Transport};

/// Messages that wait for one session's task. Retransmissions make up for what a full queue drops.
const INBOX: usize = 32;

/// New calls and requests outside of calls that wait for whoever answers them.
pub const UNCLAIMED: usize = 256;

pub use super::transport::limits::{Counters, Limits};
pub use super::transport::{BindError, Listen, TlsError, TlsPeer, Unreachable, ip_towards, server_config};

/// A message for a session or registration.
#[derive(Debug)]
pub struct Inbound {
    /// Who sent it, and how.
    pub source: Hop,
    /// The message.
    pub message: Message,
}

/// What belongs to no session yet.
#[derive(Debug)]
pub enum Unclaimed {
    /// A new call, and where its later messages arrive.
    Incoming(Box<IncomingCall>, mpsc::Receiver<Inbound>),
    /// A request outside of calls, such as REGISTER.
    Request(Box<Inbound>),
}

/// The SIP sockets and who listens behind them.
pub struct Signalling {
    transports: Transports,
    shared: Mutex<Shared>,
    /// What was received and dropped, and what became of connections.
    pub counters: Arc<Counters>,
    /// Messages by method, status and reason.
    pub counts: SipMetrics,
}

struct Shared {
    endpoint: Endpoint,
    sessions: HashMap<SessionId, mpsc::Sender<Inbound>>,
    registrations: HashMap<RegistrationId, mpsc::Sender<Inbound>>,
    exchanges: HashMap<ExchangeId, mpsc::Sender<Inbound>>,
}

impl Signalling {
    /// Binds what `listen` says; an address alone is UDP and TCP. `seed` feeds the endpoint's randomness.
    ///
    /// # Errors
    /// An address is in use or not this machine's.
    pub async fn bind(listen: impl Into<Listen>, config: EndpointConfig, seed: u64) -> Result<Arc<Self>, BindError> {
        let counters = Arc::new(Counters::default());
        let transports = Transports::bind(listen.into(), config.accept.clone(), counters.clone())?;
        let endpoint = Endpoint::new(config, seed);
        let shared = Shared {
            endpoint,
            sessions: HashMap::new(),
            registrations: HashMap::new(),
            exchanges: HashMap::new(),
        };
        Ok(Arc::new(Self { transports, shared: Mutex::new(shared), counters, counts: SipMetrics::default() }))
    }

    /// The address of the first UDP socket, on which TCP is listened as well. The unspecified one if there is none.
    pub fn local_addr(&self) -> SocketAddr {
        self.listen_addr(Transport::Udp).unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0)))
    }

    /// Where `transport` is listened on first; `None` where it is not.
    pub fn listen_addr(&self, transport: Transport) -> Option<SocketAddr> {
        self.transports.local_addr(transport)
    }

    /// Our address as the peer of `hop` sees it: the bound one, or the one that the route selects, with the port of that
    /// transport's listener.
    ///
    /// # Errors
    /// There is no route to the peer, or no socket of its family.
    pub fn address_towards(&self, hop: Hop) -> io::Result<SocketAddr> {
        self.transports.address_towards(hop)
    }

    /// Replaces whose first messages are looked at, and whose connections are taken.
    pub fn set_accept(&self, accept: Accept) {
        self.transports.set_accept(accept.clone());
        self.lock().endpoint.set_accept(accept);
    }

    /// How the certificates of trunks are checked that are reached over TLS, by address, from their files as they are now.
    /// Addresses never told of are checked by the system's authorities. A connection that was checked otherwise is closed,
    /// and made anew when needed.
    pub fn set_tls_peers(&self, peers: HashMap<SocketAddr, TlsPeer>) {
        self.transports.set_tls_peers(peers);
    }

    /// The same for one address, which costs nothing when it is known already.
    pub fn learn_tls_peer(&self, address: SocketAddr, peer: TlsPeer) {
        self.transports.learn_tls_peer(address, peer);
    }

    /// The hops of registered trunks: their connections are not closed for being idle, and their NAT bindings refreshed.
    pub fn set_kept(&self, hops: HashSet<Hop>) {
        self.transports.set_kept(hops);
    }

    /// Keeps the connection of `hop` open for so long, even if nothing is said on it: a phone has registered over it.
    pub fn keep_open(&self, hop: Hop, time: Duration) {
        self.transports.keep_open(hop, Instant::now() + time);
    }

    /// Another certificate of ours, for the connections from now on.
    pub fn set_identity(&self, config: Arc<ServerConfig>) {
        self.transports.set_identity(config);
    }

    /// Hears of every connection of ours that broke: tell sessions and registrations with `handle_unreachable`.
    pub fn lost(&self) -> broadcast::Receiver<Hop> {
        self.transports.lost()
    }

    /// Why `hop` could not be reached or its connection broke, the last time that it did.
    pub fn last_failure(&self, hop: Hop) -> Option<String> {
        self.transports.last_failure(hop)
    }

    /// Replaces who may register from anywhere, and from where those who have may call.
    pub fn set_house(&self, house: House) {
        self.lock().endpoint.set_house(house);
    }

    /// A new outgoing session and its inbox.
    pub fn connect(&self) -> (SessionSeed, mpsc::Receiver<Inbound>) {
        let (sender, inbox) = mpsc::channel(INBOX);
        let mut shared = self.lock();
        let seed = shared.endpoint.connect();
        shared.sessions.insert(seed.id, sender);
        (seed, inbox)
    }

    /// A new registration and its inbox.
    pub fn register(&self) -> (RegistrationSeed, mpsc::Receiver<Inbound>) {
        let (sender, inbox) = mpsc::channel(INBOX);
        let mut shared = self.lock();
        let seed = shared.endpoint.register();
        shared.registrations.insert(seed.id, sender);
        (seed, inbox)
    }

    /// A new request outside of calls and the inbox for its answers.
    pub fn exchange(&self) -> (ExchangeSeed, mpsc::Receiver<Inbound>) {
        let (sender, inbox) = mpsc::channel(INBOX);
        let mut shared = self.lock();
        let seed = shared.endpoint.exchange();
        shared.exchanges.insert(seed.id, sender);
        (seed, inbox)
    }

    /// Forgets an exchange that has its outcome.
    pub fn release_exchange(&self, id: ExchangeId) {
        let mut shared = self.lock();
        shared.exchanges.remove(&id);
        shared.endpoint.remove_exchange(id);
    }

    /// Forgets a session that has finished.
    pub fn release(&self, id: SessionId) {
        let mut shared = self.lock();
        shared.sessions.remove(&id);
        shared.endpoint.remove(id);
    }

    /// Forgets a registration.
    pub fn release_registration(&self, id: RegistrationId) {
        let mut shared = self.lock();
        shared.registrations.remove(&id);
        shared.endpoint.remove_registration(id);
    }

    /// Answers a request outside of calls, if the connection that it came over still stands. One over which a phone has
    /// registered is kept open for as long as that registration lives.
    pub async fn respond(&self, now: Instant, request: &Inbound, status: u16, headers: &[Header]) {
        let transmit = self.lock().endpoint.respond(now, request.source, &request.message, status, headers);
        self.reply(&transmit).await;
        if status == 200 && request.message.method() == Some(&Method::Register) {
            self.keep_open(request.source, granted(headers));
        }
    }

    /// Forgets a new call that gets no answer.
    pub fn ignore(&self, call: &IncomingCall) {
        self.release(call.seed.id);
    }

    /// Refuses a new call without making a session of it: its INVITE, when it comes again, gets the same answer.
    pub async fn refuse(&self, now: Instant, call: &IncomingCall, status: u16, headers: &[Header]) {
        let transmit = {
            let mut shared = self.lock();
            shared.sessions.remove(&call.seed.id);
            shared.endpoint.remove(call.seed.id);
            shared.endpoint.respond(now, call.source, &call.request, status, headers)
        };
        self.reply(&transmit).await;
    }

    /// An answer that no session stands behind, if the connection that the request came over still stands.
    async fn reply(&self, transmit: &Transmit) {
        self.counts.sent(transmit.destination.transport, &transmit.bytes);
        trace!(to = %transmit.destination, bytes = transmit.bytes.len(), "SIP sent");
        if let Err(error) = self.transports.send_if_open(transmit.destination, &transmit.bytes).await {
            debug!(%error, "SIP answer not sent");
        }
    }

    /// Sends a message; connects first where that is needed, within a few seconds. A datagram that the network loses is the
    /// business of the transaction's timers. What cannot go back over a connection that is gone goes to where the message
    /// itself says: an answer to the sent-by of its Via (RFC 3261 §18.2.2), a request to its Request-URI.
    ///
    /// # Errors
    /// The hop cannot be reached: tell the session with `handle_unreachable`.
    pub async fn send(&self, transmit: &Transmit) -> Result<(), Unreachable> {
        self.counts.sent(transmit.destination.transport, &transmit.bytes);
        trace!(to = %transmit.destination, bytes = transmit.bytes.len(), "SIP sent");
        let error = match self.transports.send(transmit.destination, &transmit.bytes).await {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        let Some(elsewhere) = elsewhere(transmit) else { return Err(error) };
        debug!(%error, %elsewhere, "SIP connection gone, another is made");
        self.transports.send(elsewhere, &transmit.bytes).await.map_err(|_| error)
    }

    /// Receives until the future is dropped; then all connections end. What belongs to no session goes to `unclaimed`; when
    /// nobody takes it there, it is dropped and the sender's retransmission tries again.
    pub async fn run(&self, unclaimed: mpsc::Sender<Unclaimed>) {
        self.transports.run(|source, local, bytes| self.dispatch(source, local, bytes, &unclaimed)).await;
    }

    /// The channel for what belongs to no session.
    pub fn unclaimed() -> (mpsc::Sender<Unclaimed>, mpsc::Receiver<Unclaimed>) {
        mpsc::channel(UNCLAIMED)
    }

    fn dispatch(
        &self,
        source: Hop,
        local: SocketAddr,
        bytes: &[u8],
        unclaimed: &mpsc::Sender<Unclaimed>,
    ) -> Option<Transmit> {
        self.counts.received(source.transport, bytes);
        let mut shared = self.lock();
        match shared.endpoint.handle_message(Instant::now(), source, local, bytes) {
            Received::Session(id, message) => self.deliver(shared.sessions.get(&id), source, *message),
            Received::Registration(id, message) => self.deliver(shared.registrations.get(&id), source, *message),
            Received::Exchange(id, message) => self.deliver(shared.exchanges.get(&id), source, *message),
            Received::Incoming(call) => {
                let (sender, inbox) = mpsc::channel(INBOX);
                let id = call.seed.id;
                if unclaimed.try_send(Unclaimed::Incoming(call, inbox)).is_ok() {
                    shared.sessions.insert(id, sender);
                } else {
                    shared.endpoint.remove(id);
                    self.counters.overflowed.fetch_add(1, Ordering::Relaxed);
                }
            }
            Received::Request(message) => {
                let request = Unclaimed::Request(Box::new(Inbound { source, message: *message }));
                if unclaimed.try_send(request).is_err() {
                    self.counters.overflowed.fetch_add(1, Ordering::Relaxed);
                }
            }
            Received::Reply(transmit) => return Some(transmit),
            Received::Dropped(reason) => {
                self.counters.dropped.fetch_add(1, Ordering::Relaxed);
                self.counts.dropped(reason);
                trace!(from = %source, ?reason, "SIP dropped");
            }
        }
        None
    }

    fn deliver(&self, inbox: Option<&mpsc::Sender<Inbound>>, source: Hop, message: Message) {
        let delivered = inbox.is_some_and(|inbox| inbox.try_send(Inbound { source, message }).is_ok());
        if !delivered {
            self.counters.overflowed.fetch_add(1, Ordering::Relaxed);
            warn!(from = %source, "a session's inbox is full or gone; the message was dropped");
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Shared> {
        // A panic while the lock is held is a bug that is reported where it happens; the endpoint itself stays usable.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where a message goes whose connection is gone; `None` when it does not say, or says the same.
fn elsewhere(transmit: &Transmit) -> Option<Hop> {
    let Hop { transport, address } = transmit.destination;
    if !matches!(transport, Transport::Tcp | Transport::Tls) {
        return None;
    }
    let message = Message::parse(&transmit.bytes).ok()?;
    let hop = if message.is_response() {
        let port = message.top_via(|via| via.port)?.unwrap_or_else(|| transport.default_port());
        Hop::new(transport, SocketAddr::new(address.ip(), port))
    } else {
        if message.header(HeaderName::Route).is_some() {
            return None;
        }
        let target = Hop::of(message.uri()?)?;
        let port = message.uri()?.port().unwrap_or_else(|| transport.default_port());
        Hop::new(transport, SocketAddr::new(target.address.ip(), port))
    };
    (hop != transmit.destination).then_some(hop)
}

/// How long the registration lives that a 200 with these fields grants, with a little more for a late refresh.
fn granted(headers: &[Header]) -> Duration {
    let of_contact = |value: &str| {
        let contact = NameAddr::parse(value)?;
        delta_seconds(&contact.params.value("expires")?)
    };
    let seconds = headers.iter().filter_map(|header| match header.name() {
        HeaderName::Contact => of_contact(&header.value()),
        HeaderName::Expires => delta_seconds(&header.value()),
        _ => None,
    });
    Duration::from_secs(seconds.max().map_or(0, |seconds| u64::from(seconds.min(86_400)) + 60))
}

/// A Contact of ours by `transport` (RFC 3261 §19.1.1, RFC 7118 §5.3): UDP is not named, because it is what is meant.
///
/// # Errors
/// `user` makes no URI.
pub fn contact(user: &str, local: SocketAddr, transport: Transport) -> Result<Uri, UriError> {
    match transport {
        Transport::Udp => Uri::parse(&format!("sip:{user}@{local}")),
        other => Uri::parse(&format!("sip:{user}@{local};transport={}", other.as_param())),
    }
}
