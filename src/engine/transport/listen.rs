//! Incoming connections: who is let in, how many, and the handshakes before the first message.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tracing::{debug, warn};

use super::limits::count;
use super::stream::Link;
use super::table::{Seat, State};
use super::{Shared, stream, tls, udp, websocket};
use crate::sip::{Hop, Transport};

/// A socket that takes connections of one transport.
#[derive(Debug)]
pub(super) struct Listener {
    pub(super) transport: Transport,
    pub(super) address: SocketAddr,
    pub(super) socket: TcpListener,
}

impl Listener {
    pub(super) fn new(transport: Transport, socket: TcpListener) -> std::io::Result<Self> {
        Ok(Self { transport, address: socket.local_addr()?, socket })
    }

    /// Takes connections until the future is dropped; those that stand end with it.
    pub(super) async fn run(&self, shared: &Arc<Shared>) {
        let mut tasks = JoinSet::new();
        loop {
            tokio::select! {
                taken = self.socket.accept() => match taken {
                    Ok((stream, peer)) => self.take(shared, &mut tasks, stream, peer),
                    Err(error) => {
                        // Out of file descriptors, or the peer was gone already.
                        if let Some(unsaid) = shared.said.accept.may_say() {
                            warn!(%error, unsaid, "a SIP connection could not be taken");
                        }
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                },
                Some(_) = tasks.join_next() => {}
            }
        }
    }

    /// Asks whether `peer` may speak before anything is read, and closes the connection when not.
    fn take(&self, shared: &Arc<Shared>, tasks: &mut JoinSet<()>, stream: TcpStream, peer: SocketAddr) {
        let hop = Hop::new(self.transport, peer);
        let (admitted, known) = shared.judge(hop);
        let seat = if admitted { shared.table.seat(peer.ip(), known, &shared.limits) } else { None };
        let (Some(seat), Ok(local)) = (seat, stream.local_addr()) else {
            count(&shared.counters.turned_away);
            if let Some(unsaid) = shared.said.turned_away.may_say() {
                let why = if admitted { "too many connections" } else { "not from a trunk" };
                warn!(peer = %hop, why, unsaid, "SIP connection turned away");
            }
            return;
        };
        count(&shared.counters.accepted);
        udp::prepare_stream(&stream);
        tasks.spawn(serve(shared.clone(), stream, hop, local, seat));
    }
}

async fn serve(shared: Arc<Shared>, stream: TcpStream, hop: Hop, local: SocketAddr, seat: Seat) {
    let served = match hop.transport {
        Transport::Udp | Transport::Tcp => {
            let Some((link, listed)) = enlist(&shared, hop, local) else { return };
            stream::serve(stream, link).await;
            drop(listed);
            Ok(())
        }
        Transport::Tls => serve_tls(&shared, stream, hop, local).await,
        Transport::Ws => serve_websocket(&shared, stream, hop, local).await,
        Transport::Wss => match handshake(&shared, stream).await {
            Ok(stream) => serve_websocket(&shared, stream, hop, local).await,
            Err(why) => Err(why),
        },
    };
    if let Err(why) = served {
        count(&shared.counters.handshakes_failed);
        match shared.said.handshake.may_say() {
            Some(unsaid) => warn!(peer = %hop, why, unsaid, "the handshake of a SIP connection failed"),
            None => debug!(peer = %hop, why, "the handshake of a SIP connection failed"),
        }
    }
    drop(seat);
}

async fn serve_tls(
    shared: &Arc<Shared>,
    stream: TcpStream,
    hop: Hop,
    local: SocketAddr,
) -> Result<(), String> {
    let stream = handshake(shared, stream).await?;
    let Some((link, listed)) = enlist(shared, hop, local) else { return Ok(()) };
    stream::serve(stream, link).await;
    drop(listed);
    Ok(())
}

async fn serve_websocket<S>(
    shared: &Arc<Shared>,
    stream: S,
    hop: Hop,
    local: SocketAddr,
) -> Result<(), String>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let accepted = timeout(shared.limits.handshake, websocket::accept(stream)).await;
    let socket = accepted.map_err(|_| "it took too long".to_owned())?.map_err(|error| error.to_string())?;
    let Some((link, listed)) = enlist(shared, hop, local) else { return Ok(()) };
    websocket::serve(socket, link).await;
    drop(listed);
    Ok(())
}

async fn handshake(
    shared: &Shared,
    stream: TcpStream,
) -> Result<tokio_rustls::server::TlsStream<TcpStream>, String> {
    let config = shared.server.get().ok_or("there is no certificate")?;
    let accepted = timeout(shared.limits.handshake, TlsAcceptor::from(config).accept(stream)).await;
    accepted.map_err(|_| "it took too long".to_owned())?.map_err(|error| tls::describe(&error))
}

/// Lists an incoming connection under its peer's address, so that answers and requests find it.
fn enlist(shared: &Arc<Shared>, hop: Hop, local: SocketAddr) -> Option<(Link, super::table::Listed)> {
    let (queue, outbox) = mpsc::channel(shared.limits.queue);
    let (_, state) = watch::channel(State::Open);
    let (entry, listed) = shared.table.list(hop, queue, state).ok()?;
    Some((Link::new(hop, local, false, &entry, outbox, shared.clone()), listed))
}
