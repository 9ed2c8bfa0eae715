//! The SIP socket: one endpoint owns it, hands each message to the task that owns the session, and counts what it drops.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tracing::{debug, trace, warn};

use crate::sip::endpoint::{Accept, Endpoint, EndpointConfig, Received};
use crate::sip::message::{Header, Message};
use crate::sip::session::IncomingCall;
use crate::sip::{ExchangeId, ExchangeSeed, Hop, RegistrationId, RegistrationSeed, SessionId, SessionSeed, Transmit, Transport};

/// Messages that wait for one session's task. Retransmissions make up for what a full queue drops.
const INBOX: usize = 32;

/// New calls and requests outside of calls that wait for whoever answers them.
const UNCLAIMED: usize = 256;

/// The largest UDP datagram.
const MAX_DATAGRAM: usize = 65_535;

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

/// Nothing can be sent to this hop: nobody listens there, or we have no such transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} cannot be reached")]
pub struct Unreachable(pub Hop);

/// Counters of the SIP socket since the start.
#[derive(Debug, Default)]
pub struct Counters {
    /// Datagrams received.
    pub received: AtomicU64,
    /// Datagrams dropped: garbage, strangers, responses to nothing of ours.
    pub dropped: AtomicU64,
    /// Messages that found a session's inbox full.
    pub overflowed: AtomicU64,
}

/// The SIP socket and who listens behind it.
pub struct Signalling {
    socket: UdpSocket,
    local: SocketAddr,
    shared: Mutex<Shared>,
    /// What was received and dropped.
    pub counters: Counters,
}

struct Shared {
    endpoint: Endpoint,
    sessions: HashMap<SessionId, mpsc::Sender<Inbound>>,
    registrations: HashMap<RegistrationId, mpsc::Sender<Inbound>>,
    exchanges: HashMap<ExchangeId, mpsc::Sender<Inbound>>,
}

impl Signalling {
    /// Binds `listen`. `seed` feeds the endpoint's randomness.
    ///
    /// # Errors
    /// The address is in use or not this machine's.
    pub async fn bind(listen: SocketAddr, config: EndpointConfig, seed: u64) -> io::Result<Arc<Self>> {
        let socket = UdpSocket::bind(listen).await?;
        let local = socket.local_addr()?;
        let endpoint = Endpoint::new(config, seed);
        let shared = Shared {
            endpoint,
            sessions: HashMap::new(),
            registrations: HashMap::new(),
            exchanges: HashMap::new(),
        };
        Ok(Arc::new(Self { socket, local, shared: Mutex::new(shared), counters: Counters::default() }))
    }

    /// The address that the socket is bound to.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Our address as `peer` sees it: the bound one, or the one that the route to `peer` selects.
    ///
    /// # Errors
    /// There is no route to `peer`.
    pub fn address_towards(&self, peer: SocketAddr) -> io::Result<SocketAddr> {
        Ok(SocketAddr::new(ip_towards(self.local.ip(), peer)?, self.local.port()))
    }

    /// Replaces whose first messages are looked at.
    pub fn set_accept(&self, accept: Accept) {
        self.lock().endpoint.set_accept(accept);
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

    /// Answers a request outside of calls.
    pub async fn respond(&self, now: Instant, request: &Inbound, status: u16, headers: &[Header]) {
        let transmit = self.lock().endpoint.respond(now, request.source, &request.message, status, headers);
        self.reply(&transmit).await;
    }

    /// Sends a message. A datagram that the network refuses is as good as lost: the transaction's timers deal with it.
    ///
    /// # Errors
    /// Nobody listens at that hop.
    pub async fn send(&self, transmit: &Transmit) -> Result<(), Unreachable> {
        let Hop { transport, address } = transmit.destination;
        if transport != Transport::Udp {
            return Err(Unreachable(transmit.destination));
        }
        trace!(to = %transmit.destination, bytes = transmit.bytes.len(), "SIP sent");
        if let Err(error) = self.socket.send_to(&transmit.bytes, address).await {
            debug!(to = %transmit.destination, %error, "SIP not sent");
        }
        Ok(())
    }

    /// Sends an answer that no transaction of ours waits behind: whoever asked asks again.
    async fn reply(&self, transmit: &Transmit) {
        if let Err(error) = self.send(transmit).await {
            debug!(%error, "SIP answer not sent");
        }
    }

    /// Receives until the future is dropped. What belongs to no session goes to `unclaimed`; when nobody takes it there,
    /// it is dropped and the sender's retransmission tries again.
    pub async fn run(&self, unclaimed: mpsc::Sender<Unclaimed>) {
        let mut buffer = vec![0; MAX_DATAGRAM];
        loop {
            match self.socket.recv_from(&mut buffer).await {
                Ok((length, source)) => {
                    self.counters.received.fetch_add(1, Ordering::Relaxed);
                    let datagram = buffer.get(..length).unwrap_or_default();
                    if let Some(reply) = self.dispatch(Hop::udp(source), datagram, &unclaimed) {
                        self.reply(&reply).await;
                    }
                }
                // Linux reports an ICMP error of an earlier datagram here; it says nothing about the socket.
                Err(error) => debug!(%error, "SIP socket"),
            }
        }
    }

    /// The channel for what belongs to no session.
    pub fn unclaimed() -> (mpsc::Sender<Unclaimed>, mpsc::Receiver<Unclaimed>) {
        mpsc::channel(UNCLAIMED)
    }

    fn dispatch(&self, source: Hop, datagram: &[u8], unclaimed: &mpsc::Sender<Unclaimed>) -> Option<Transmit> {
        let mut shared = self.lock();
        match shared.endpoint.handle_message(Instant::now(), source, self.local, datagram) {
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

/// `bound` unless it is the wildcard; then the address that the route to `peer` selects, found without sending anything.
///
/// # Errors
/// There is no route to `peer`.
pub fn ip_towards(bound: IpAddr, peer: SocketAddr) -> io::Result<IpAddr> {
    if !bound.is_unspecified() {
        return Ok(bound);
    }
    let probe = std::net::UdpSocket::bind(SocketAddr::new(bound, 0))?;
    probe.connect(peer)?;
    Ok(probe.local_addr()?.ip())
}
