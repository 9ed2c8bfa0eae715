//! The sockets below SIP: UDP, TCP, TLS and WebSocket behind one `send`, each connection a task with a bounded queue.
//!
//! | file | what it is |
//! |---|---|
//! | `udp` | the UDP sockets, and how sockets are bound |
//! | `listen` | incoming connections: who is let in, how many, their handshakes |
//! | `connect` | connections of ours, made when something is to be sent |
//! | `stream` | one connection over TCP or TLS |
//! | `websocket` | one connection of a browser phone |
//! | `tls` | our certificate, and whom we trust |
//! | `table` | which connections stand, by hop, and how many from whom |
//! | [`limits`] | times, numbers, counters |
//!
//! A [`Hop`] names a connection, whoever opened it: what goes to that hop goes over the connection that stands, and one is
//! made where none does. Nothing here reads messages beyond their framing.

mod connect;
pub mod limits;
mod listen;
mod stream;
mod table;
mod tls;
mod udp;
mod websocket;

use std::collections::{HashMap, HashSet, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use rustls::ServerConfig;
use tokio::net::UdpSocket;
use tokio::sync::{broadcast, mpsc};
use tokio::task::JoinSet;
use tracing::{debug, warn};

use self::limits::{Counters, Limits, Seldom, count};
use self::listen::Listener;
use self::table::{State, Table};
use crate::sip::endpoint::Accept;
use crate::sip::{Hop, Transmit, Transport};

pub use self::tls::{TlsError, TlsPeer, server_config};

/// Messages from connections that wait for the endpoint; then their peers wait.
const ARRIVALS: usize = 1024;

/// The largest UDP datagram.
const MAX_DATAGRAM: usize = 65_535;

/// Failed hops whose reason is remembered.
const FAILURES: usize = 64;
/// For how long a hop that did not answer at all is not connected to again.
const SILENCE: Duration = Duration::from_secs(60);

/// How often the NAT before a kept UDP hop is reminded of us. RFC 4787 §4.3 has two minutes, most boxes less.
const NAT_REFRESH: Duration = Duration::from_secs(25);

/// Where to listen, and with what.
#[derive(Debug, Clone, Default)]
pub struct Listen {
    /// UDP and TCP. At least one address.
    pub plain: Vec<SocketAddr>,
    /// SIP over TLS.
    pub tls: Vec<SocketAddr>,
    /// SIP over WebSocket.
    pub ws: Vec<SocketAddr>,
    /// SIP over WebSocket over TLS.
    pub wss: Vec<SocketAddr>,
    /// Our certificate, for `tls` and `wss`.
    pub identity: Option<Arc<ServerConfig>>,
    /// What connections may cost.
    pub limits: Limits,
}

/// UDP and TCP on one address.
impl From<SocketAddr> for Listen {
    fn from(address: SocketAddr) -> Self {
        Self { plain: vec![address], ..Self::default() }
    }
}

/// An address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("{what} {address}: {source}")]
pub struct BindError {
    /// What for.
    pub what: &'static str,
    /// The address as configured.
    pub address: SocketAddr,
    /// What the system said.
    pub source: io::Error,
}

impl From<BindError> for io::Error {
    fn from(error: BindError) -> Self {
        error.source
    }
}

/// A message that a connection brought.
#[derive(Debug)]
struct Arrival {
    source: Hop,
    local: SocketAddr,
    bytes: Vec<u8>,
}

/// Nothing can be sent to this hop: nobody listens there, its connection does not take more, or we have no such transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} cannot be reached")]
pub struct Unreachable(pub Hop);

/// The sockets.
#[derive(Debug)]
pub(super) struct Transports {
    shared: Arc<Shared>,
    udp: Vec<UdpSocket>,
    /// Where the UDP sockets are bound, in their order.
    bound: Vec<SocketAddr>,
    listeners: Vec<Listener>,
    /// Connections of ours.
    tasks: Mutex<JoinSet<()>>,
    arrivals: tokio::sync::Mutex<mpsc::Receiver<Arrival>>,
}

/// What the tasks of connections share.
#[derive(Debug)]
struct Shared {
    table: Arc<Table>,
    limits: Limits,
    counters: Arc<Counters>,
    arrivals: mpsc::Sender<Arrival>,
    accept: RwLock<Accept>,
    kept: RwLock<HashSet<Hop>>,
    server: tls::Server,
    peers: tls::Peers,
    failures: Failures,
    lost: broadcast::Sender<Hop>,
    said: Said,
}

/// What the log hears of at a bounded rate.
#[derive(Debug, Default)]
struct Said {
    accept: Seldom,
    broken: Seldom,
    handshake: Seldom,
    stalled: Seldom,
    turned_away: Seldom,
    unframeable: Seldom,
    unreachable: Seldom,
}

impl Transports {
    /// Binds everything.
    pub(super) fn bind(listen: Listen, accept: Accept, counters: Arc<Counters>) -> Result<Self, BindError> {
        let (mut udp, mut listeners) = (Vec::new(), Vec::new());
        for address in listen.plain {
            let wrong = |source| BindError { what: "SIP", address, source };
            let (socket, tcp) = udp::bind_pair(address).map_err(wrong)?;
            udp.push(socket);
            listeners.push(Listener::new(Transport::Tcp, tcp).map_err(wrong)?);
        }
        let others = [
            (Transport::Tls, "SIP over TLS", listen.tls),
            (Transport::Ws, "SIP over WebSocket", listen.ws),
            (Transport::Wss, "SIP over secure WebSocket", listen.wss),
        ];
        for (transport, what, addresses) in others {
            for address in addresses {
                let wrong = |source| BindError { what, address, source };
                let socket = udp::bind_tcp(address).map_err(wrong)?;
                listeners.push(Listener::new(transport, socket).map_err(wrong)?);
            }
        }
        let bound = udp.iter().filter_map(|socket| socket.local_addr().ok()).collect();
        let (arrived, arrivals) = mpsc::channel(ARRIVALS);
        let shared = Shared {
            table: Table::new(counters.clone()),
            limits: listen.limits,
            counters,
            arrivals: arrived,
            accept: RwLock::new(accept),
            kept: RwLock::default(),
            server: tls::Server::new(listen.identity),
            peers: tls::Peers::default(),
            failures: Failures::default(),
            lost: broadcast::channel(64).0,
            said: Said::default(),
        };
        let arrivals = tokio::sync::Mutex::new(arrivals);
        Ok(Self { shared: Arc::new(shared), udp, bound, listeners, tasks: Mutex::default(), arrivals })
    }

    /// Where `transport` is listened on first; `None` where it is not.
    pub(super) fn local_addr(&self, transport: Transport) -> Option<SocketAddr> {
        self.addresses(transport).first().copied()
    }

    /// Our address as the peer of `hop` sees it, with the port on which it finds us by that transport.
    pub(super) fn address_towards(&self, hop: Hop) -> io::Result<SocketAddr> {
        let listening = self.addresses(hop.transport);
        let choose =
            |bound: &[SocketAddr]| udp::choose(bound, hop.address).and_then(|at| bound.get(at).copied());
        // A transport that we only speak outwards: the connection itself carries what comes back.
        let bound =
            choose(&listening).or_else(|| choose(&self.bound)).ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(SocketAddr::new(ip_towards(bound.ip(), hop.address)?, bound.port()))
    }

    /// The address that connections to `peer` come from, where the configuration fixes it.
    fn source_towards(&self, peer: SocketAddr) -> Option<IpAddr> {
        let bound = udp::choose(&self.bound, peer).and_then(|at| self.bound.get(at))?;
        Some(bound.ip()).filter(|ip| !ip.is_unspecified())
    }

    fn addresses(&self, transport: Transport) -> Vec<SocketAddr> {
        if transport == Transport::Udp {
            return self.bound.clone();
        }
        let of = |listener: &&Listener| listener.transport == transport;
        self.listeners.iter().filter(of).map(|listener| listener.address).collect()
    }

    pub(super) fn set_accept(&self, accept: Accept) {
        *self.shared.accept.write().unwrap_or_else(PoisonError::into_inner) = accept;
    }

    /// The hops whose connections and NAT bindings are kept open: those of trunks that we register with.
    pub(super) fn set_kept(&self, hops: HashSet<Hop>) {
        *self.shared.kept.write().unwrap_or_else(PoisonError::into_inner) = hops;
    }

    /// Another certificate of ours, for the connections from now on.
    pub(super) fn set_identity(&self, config: Arc<ServerConfig>) {
        self.shared.server.set(config);
    }

    /// How the trunks' certificates are checked. Connections that were checked otherwise are closed.
    pub(super) fn set_tls_peers(&self, peers: HashMap<SocketAddr, TlsPeer>) {
        let (changed, wrong) = self.shared.peers.set(peers);
        for (peer, error) in wrong {
            warn!(trunk = peer.server_name, %error, "no TLS connection can be made to the trunk");
        }
        let stale = |hop: &Hop| hop.transport == Transport::Tls && changed.contains(&hop.address);
        self.shared.table.close(stale);
    }

    /// One trunk more, if it is not known like this.
    pub(super) fn learn_tls_peer(&self, address: SocketAddr, peer: TlsPeer) {
        if !self.shared.peers.knows(address, &peer) {
            self.set_tls_peers(HashMap::from([(address, peer)]));
        }
    }

    /// A connection that must not be closed for being idle before `until`.
    pub(super) fn keep_open(&self, hop: Hop, until: std::time::Instant) {
        if let Some(entry) = self.shared.table.find(hop) {
            entry.activity.keep(until);
        }
    }

    /// Hears of every connection of ours that broke.
    pub(super) fn lost(&self) -> broadcast::Receiver<Hop> {
        self.shared.lost.subscribe()
    }

    /// Why `hop` could not be reached or its connection broke, the last time.
    pub(super) fn last_failure(&self, hop: Hop) -> Option<String> {
        self.shared.failures.find(hop)
    }

    /// Sends a message. Over UDP, what the network drops is the timers' business; a stream is connected first if need be.
    pub(super) async fn send(&self, hop: Hop, bytes: &[u8]) -> Result<(), Unreachable> {
        if hop.transport == Transport::Udp {
            return self.send_datagram(hop, bytes).await;
        }
        // Twice: a connection may end between being found and being given the message.
        // A large request to a trunk whose firewall swallows TCP goes by UDP then, without a wait in each call.
        if self.shared.table.find(hop).is_none() && self.shared.failures.is_silent(hop, Instant::now()) {
            return Err(Unreachable(hop));
        }
        for _ in 0..2 {
            let Some(mut entry) = self.find_or_open(hop) else { break };
            match entry.queue.try_send(bytes.to_vec()) {
                Ok(()) => {
                    let opened = entry.state.wait_for(|state| *state != State::Opening).await;
                    return match opened.map(|state| *state) {
                        Ok(State::Failed) => Err(Unreachable(hop)),
                        // An incoming connection was open from the start, and nobody tells more of it.
                        Ok(_) => Ok(()),
                        Err(_) => Err(Unreachable(hop)),
                    };
                }
                Err(mpsc::error::TrySendError::Full(_)) => break,
                Err(mpsc::error::TrySendError::Closed(_)) => self.shared.table.forget(hop, entry.number),
            }
        }
        Err(Unreachable(hop))
    }

    /// Sends a message over UDP or over a connection that stands; never waits for one.
    pub(super) async fn send_if_open(&self, hop: Hop, bytes: &[u8]) -> Result<(), Unreachable> {
        if hop.transport == Transport::Udp {
            return self.send_datagram(hop, bytes).await;
        }
        let entry = self.shared.table.find(hop).filter(|entry| *entry.state.borrow() == State::Open);
        let sent = entry.is_some_and(|entry| entry.queue.try_send(bytes.to_vec()).is_ok());
        if sent { Ok(()) } else { Err(Unreachable(hop)) }
    }

    async fn send_datagram(&self, hop: Hop, bytes: &[u8]) -> Result<(), Unreachable> {
        let socket = udp::choose(&self.bound, hop.address).and_then(|at| self.udp.get(at));
        let Some(error) = socket.ok_or(Unreachable(hop))?.send_to(bytes, hop.address).await.err() else {
            return Ok(());
        };
        debug!(to = %hop, %error, "SIP datagram not sent");
        match error.kind() {
            io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable => {
                self.shared.failures.remember(hop, error.to_string());
                Err(Unreachable(hop))
            }
            // A full buffer, an ICMP error of an earlier datagram: as good as lost on the way.
            _ => Ok(()),
        }
    }

    /// Receives until the future is dropped; then all connections end. `receive` may answer at once.
    pub(super) async fn run<F>(&self, receive: F)
    where
        F: Fn(Hop, SocketAddr, &[u8]) -> Option<Transmit> + Sync,
    {
        let _ending = Ending(self);
        let receive = &receive;
        let datagrams = join_all(self.udp.iter().map(|socket| self.receive_datagrams(socket, receive)));
        let listeners = join_all(self.listeners.iter().map(|listener| listener.run(&self.shared)));
        tokio::join!(datagrams, listeners, self.receive_messages(receive), self.refresh_bindings());
    }

    async fn receive_datagrams<F>(&self, socket: &UdpSocket, receive: &F)
    where
        F: Fn(Hop, SocketAddr, &[u8]) -> Option<Transmit> + Sync,
    {
        let Ok(local) = socket.local_addr() else { return };
        let mut buffer = vec![0; MAX_DATAGRAM];
        loop {
            match socket.recv_from(&mut buffer).await {
                Ok((length, source)) => {
                    let datagram = buffer.get(..length).unwrap_or_default();
                    self.take(Hop::udp(source), local, datagram, receive).await;
                }
                // Linux reports an ICMP error of an earlier datagram here; it says nothing about the socket.
                Err(error) => debug!(%error, "SIP socket"),
            }
        }
    }

    async fn receive_messages<F>(&self, receive: &F)
    where
        F: Fn(Hop, SocketAddr, &[u8]) -> Option<Transmit> + Sync,
    {
        let mut arrivals = self.arrivals.lock().await;
        while let Some(Arrival { source, local, bytes }) = arrivals.recv().await {
            self.take(source, local, &bytes, receive).await;
        }
    }

    async fn take<F>(&self, source: Hop, local: SocketAddr, bytes: &[u8], receive: &F)
    where
        F: Fn(Hop, SocketAddr, &[u8]) -> Option<Transmit> + Sync,
    {
        count(&self.shared.counters.received);
        if let Some(reply) = receive(source, local, bytes)
            && let Err(error) = self.send_if_open(reply.destination, &reply.bytes).await
        {
            debug!(%error, "SIP answer not sent");
        }
    }

    /// Two line breaks every now and then keep a NAT's binding for a registered trunk; nobody has to answer them over UDP.
    async fn refresh_bindings(&self) {
        loop {
            tokio::time::sleep(NAT_REFRESH).await;
            let kept: Vec<Hop> = {
                let kept = self.shared.kept.read().unwrap_or_else(PoisonError::into_inner);
                kept.iter().filter(|hop| hop.transport == Transport::Udp).copied().collect()
            };
            for hop in kept {
                // The next REGISTER finds out whether it is reachable.
                let _ = self.send_datagram(hop, stream::PING).await;
            }
        }
    }

    fn spawn(&self, connection: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(connection);
    }
}

/// Ends the connections of ours when `run` ends; the incoming ones end with their listeners.
struct Ending<'t>(&'t Transports);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.tasks.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
    }
}

impl Shared {
    /// Whether the peer of an incoming connection may speak, and whether it is a trunk.
    fn judge(&self, hop: Hop) -> (bool, bool) {
        let accept = self.accept.read().unwrap_or_else(PoisonError::into_inner);
        (accept.admits(hop), accept.names(hop))
    }

    fn is_kept(&self, hop: Hop) -> bool {
        self.kept.read().unwrap_or_else(PoisonError::into_inner).contains(&hop)
    }
}

/// Why hops failed, the latest ones.
#[derive(Debug, Default)]
struct Failures(Mutex<VecDeque<Failure>>);

#[derive(Debug)]
struct Failure {
    hop: Hop,
    why: String,
    /// It did not even refuse: until then nobody waits for it again.
    silent_until: Option<Instant>,
}

impl Failures {
    fn remember(&self, hop: Hop, why: String) {
        self.note(Failure { hop, why, silent_until: None });
    }

    fn remember_silent(&self, hop: Hop, why: String, now: Instant) {
        self.note(Failure { hop, why, silent_until: Some(now + SILENCE) });
    }

    fn note(&self, failure: Failure) {
        let mut failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        failures.retain(|known| known.hop != failure.hop);
        failures.truncate(FAILURES - 1);
        failures.push_front(failure);
    }

    fn is_silent(&self, hop: Hop, now: Instant) -> bool {
        let failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = failures.iter().find(|known| known.hop == hop);
        known.and_then(|known| known.silent_until).is_some_and(|until| until > now)
    }

    fn find(&self, hop: Hop) -> Option<String> {
        let failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        failures.iter().find(|known| known.hop == hop).map(|known| known.why.clone())
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
