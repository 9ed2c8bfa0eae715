//! Connections of ours: made when something is to be sent, and told apart by hop, so that each is made once.

use std::time::Instant;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tracing::warn;

use super::limits::count;
use super::stream::{End, Link, serve};
use super::table::{Entry, Listed, Seat, State};
use super::{Shared, Transports, tls, udp};
use crate::sip::{Hop, Transport};

enum Made {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Transports {
    /// The connection of this hop: the one that is there, or one that begins to be made. `None`: it cannot be.
    pub(super) fn find_or_open(&self, hop: Hop) -> Option<Entry> {
        if let Some(entry) = self.shared.table.find(hop) {
            return Some(entry);
        }
        // A browser cannot be connected to (RFC 7118 §5.2.4).
        if !matches!(hop.transport, Transport::Tcp | Transport::Tls) {
            return None;
        }
        let seat = self.shared.table.seat(hop.address.ip(), true, &self.shared.limits)?;
        let (queue, outbox) = mpsc::channel(self.shared.limits.queue);
        let (told, state) = watch::channel(State::Opening);
        match self.shared.table.list(hop, queue, state) {
            Err(there) => Some(there),
            Ok((entry, listed)) => {
                let link = |local| Link::new(hop, local, true, &entry, outbox, self.shared.clone());
                let from = self.source_towards(hop.address);
                let link = link(self.address_towards(hop).unwrap_or(hop.address));
                self.spawn(run(self.shared.clone(), link, from, told, (listed, seat)));
                Some(entry)
            }
        }
    }
}

async fn run(
    shared: Arc<Shared>,
    link: Link,
    from: Option<IpAddr>,
    told: watch::Sender<State>,
    places: (Listed, Seat),
) {
    let hop = link.hop;
    let made = timeout(shared.limits.connect, connect(&shared, hop, from)).await;
    let silent = made.is_err();
    let made = made.unwrap_or_else(|_| Err("it took too long to answer".to_owned()));
    let end = match made {
        Err(why) => {
            count(&shared.counters.unreachable);
            if let Some(unsaid) = shared.said.unreachable.may_say() {
                warn!(peer = %hop, why, unsaid, "no SIP connection");
            }
            match silent {
                true => shared.failures.remember_silent(hop, why, Instant::now()),
                false => shared.failures.remember(hop, why),
            }
            // First out of the table: whoever hears of the failure may want to try again.
            drop(places);
            told.send_replace(State::Failed);
            return;
        }
        Ok(made) => {
            count(&shared.counters.opened);
            told.send_replace(State::Open);
            match made {
                Made::Plain(stream) => serve(stream, link).await,
                Made::Tls(stream) => serve(*stream, link).await,
            }
        }
    };
    if let End::Broken(why) = &end {
        if let Some(unsaid) = shared.said.broken.may_say() {
            warn!(peer = %hop, why, unsaid, "SIP connection lost");
        }
        shared.failures.remember(hop, why.clone());
    }
    drop(places);
    if !matches!(end, End::Idle | End::Dropped) {
        // Nobody may listen, and whoever lags behind has timers.
        drop(shared.lost.send(hop));
    }
}

async fn connect(shared: &Shared, hop: Hop, from: Option<IpAddr>) -> Result<Made, String> {
    let socket = match hop.address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    };
    let socket = socket.map_err(|error| error.to_string())?;
    if let Some(from) = from {
        socket.bind(SocketAddr::new(from, 0)).map_err(|error| error.to_string())?;
    }
    let stream = socket.connect(hop.address).await.map_err(|error| error.to_string())?;
    udp::prepare_stream(&stream);
    if hop.transport != Transport::Tls {
        return Ok(Made::Plain(stream));
    }
    let (name, config) = shared.peers.find(hop.address).map_err(|error| error.to_string())?;
    let stream = TlsConnector::from(config).connect(name, stream).await;
    Ok(Made::Tls(Box::new(stream.map_err(|error| tls::describe(&error))?)))
}
