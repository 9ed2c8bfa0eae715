//! The UDP sockets, one for each configured address.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, UdpSocket};

use super::ip_towards;

/// How many free ports are tried for UDP and TCP together before giving up.
const PORTS_TRIED: u32 = 20;

/// How many connections the kernel keeps until they are taken.
const BACKLOG: i32 = 1024;

/// Bytes of the kernel's queue of a UDP socket that we ask for.
const RECEIVE_BUFFER: usize = 4 << 20;

/// Binds UDP and TCP to the same address. Port 0 is a port that is free for both.
pub(super) fn bind_pair(address: SocketAddr) -> io::Result<(UdpSocket, TcpListener)> {
    let mut tried = 0;
    loop {
        tried += 1;
        let udp = bind_udp(address)?;
        match bind_tcp(udp.local_addr()?) {
            Ok(tcp) => return Ok((udp, tcp)),
            Err(error) if address.port() != 0 || tried == PORTS_TRIED => return Err(error),
            Err(_) => {}
        }
    }
}

/// Binds a listener. It may follow its predecessor at once (SO_REUSEADDR), and IPv6 does not take IPv4's place.
pub(super) fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    prepare(&socket, address)?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

fn bind_udp(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    // The kernel gives what it may: its default holds under a hundred messages, and two hundred calls may ring at once.
    socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
    prepare(&socket, address)?;
    UdpSocket::from_std(socket.into())
}

fn prepare(socket: &Socket, address: SocketAddr) -> io::Result<()> {
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())
}

/// The one of `bound` from which `peer` is reached: of its family, and the route's own address where there are several.
pub(super) fn choose(bound: &[SocketAddr], peer: SocketAddr) -> Option<usize> {
    let same_family = || bound.iter().enumerate().filter(|(_, address)| address.is_ipv4() == peer.is_ipv4());
    let (first, _) = same_family().next()?;
    if same_family().count() == 1 {
        return Some(first);
    }
    let unspecified = match peer {
        SocketAddr::V4(_) => std::net::Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
    };
    let route = ip_towards(unspecified, peer).ok();
    let exact = same_family().find(|(_, address)| Some(address.ip()) == route);
    let wildcard = || same_family().find(|(_, address)| address.ip().is_unspecified());
    exact.or_else(wildcard).map(|(index, _)| index).or(Some(first))
}

/// TCP's own keep-alive and no delay: a peer that vanished is noticed even where nothing is said.
pub(super) fn prepare_stream(stream: &tokio::net::TcpStream) {
    let keepalive = socket2::TcpKeepalive::new()
        .with_time(Duration::from_secs(60))
        .with_interval(Duration::from_secs(15));
    let socket = socket2::SockRef::from(stream);
    for done in [socket.set_tcp_nodelay(true), socket.set_tcp_keepalive(&keepalive)] {
        if let Err(error) = done {
            tracing::debug!(%error, "a TCP option was not set");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_socket_of_the_peers_family_and_route_is_chosen() {
        let bound: Vec<SocketAddr> = ["192.0.2.1:5060", "127.0.0.1:5060", "[::1]:5060"]
            .iter()
            .map(|text| text.parse().unwrap())
            .collect();
        let chosen = |peer: &str| choose(&bound, peer.parse().unwrap());
        assert_eq!(chosen("127.0.0.9:5070"), Some(1));
        assert_eq!(chosen("[::1]:5070"), Some(2));
        assert_eq!(choose(&bound[..2], "[::1]:5070".parse().unwrap()), None);
    }

    #[tokio::test]
    async fn udp_and_tcp_share_a_port() {
        let (udp, tcp) = bind_pair("127.0.0.1:0".parse().unwrap()).unwrap();
        assert_eq!(udp.local_addr().unwrap(), tcp.local_addr().unwrap());
        assert!(bind_pair(udp.local_addr().unwrap()).is_err());
    }
}
