//! The next hop of a message: which transport carries it, and to which address (RFC 3261 §18, RFC 3263 §4).

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use super::message::{Scheme, Uri};

/// What carries SIP messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Transport {
    /// Datagrams.
    Udp,
    /// A stream, framed by Content-Length (RFC 3261 §18.3).
    Tcp,
    /// The same over TLS (RFC 3261 §26).
    Tls,
    /// WebSocket, for browser phones (RFC 7118).
    Ws,
    /// WebSocket over TLS.
    Wss,
}

impl Transport {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Udp, Self::Tcp, Self::Tls, Self::Ws, Self::Wss];

    /// The word in Via: `SIP/2.0/UDP`.
    pub fn as_via(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
            Self::Ws => "WS",
            Self::Wss => "WSS",
        }
    }

    /// The value of a URI's `transport` parameter. RFC 7118 §5.3 has `ws` for both kinds of WebSocket.
    pub fn as_param(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Ws | Self::Wss => "ws",
        }
    }

    /// Reads the word of a Via, a `transport` parameter or a configuration, without case.
    pub fn from_token(token: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|transport| transport.as_via().eq_ignore_ascii_case(token))
    }

    /// Whether what is sent arrives or the failure shows: no retransmissions then (RFC 3261 §17).
    pub fn is_reliable(self) -> bool {
        self != Self::Udp
    }

    /// Whether TLS protects it.
    pub fn is_secure(self) -> bool {
        matches!(self, Self::Tls | Self::Wss)
    }

    /// The port where none is named (RFC 3261 §19.1.2, RFC 7118 §5.2.3).
    pub fn default_port(self) -> u16 {
        match self {
            Self::Udp | Self::Tcp => 5060,
            Self::Tls => 5061,
            Self::Ws => 80,
            Self::Wss => 443,
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Wss => "wss",
            other => other.as_param(),
        })
    }
}

/// A transport and an address. On a stream it names the connection, whoever opened it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Hop {
    /// What carries the message.
    pub transport: Transport,
    /// Where it goes, or came from.
    pub address: SocketAddr,
}

impl Hop {
    /// This address over this transport.
    pub fn new(transport: Transport, address: SocketAddr) -> Self {
        Self { transport, address }
    }

    /// This address over UDP.
    pub fn udp(address: SocketAddr) -> Self {
        Self::new(Transport::Udp, address)
    }

    /// This address over TCP.
    pub fn tcp(address: SocketAddr) -> Self {
        Self::new(Transport::Tcp, address)
    }

    /// The hop that `uri` names by itself: its host is an address. A name needs the DNS and gives `None`. The transport is
    /// the parameter's, TLS for `sips`, else UDP (RFC 3263 §4.1).
    pub fn of(uri: &Uri) -> Option<Self> {
        let named = transport_of(uri);
        let transport = named.unwrap_or(Transport::Udp);
        let address = uri.socket_addr()?;
        let port = uri.port().unwrap_or_else(|| transport.default_port());
        Some(Self::new(transport, SocketAddr::new(address.ip(), port)))
    }

    /// Where a request in a dialog goes: to `uri` when it is an address that can be reached from here, else to `peer`, where
    /// this call's packets went or came from. An open connection is kept (RFC 5923), and a private address that came from
    /// a public one lies behind a NAT.
    pub fn towards(uri: &Uri, peer: Self) -> Self {
        let Some(hop) = Self::of(uri) else { return peer };
        let same_transport = transport_of(uri).is_none_or(|transport| transport == peer.transport);
        let reuse = peer.transport.is_reliable() && same_transport;
        let behind_nat = is_private(hop.address.ip()) && !is_private(peer.address.ip());
        if reuse || behind_nat { peer } else { hop }
    }
}

impl fmt::Display for Hop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.transport, self.address)
    }
}

/// The transport that a URI asks for, if it does.
fn transport_of(uri: &Uri) -> Option<Transport> {
    let named = uri.params().value("transport").and_then(|token| Transport::from_token(&token));
    match (uri.scheme(), named) {
        (Scheme::Sips, None | Some(Transport::Tcp)) => Some(Transport::Tls),
        (Scheme::Sips, Some(Transport::Ws)) => Some(Transport::Wss),
        (_, named) => named,
    }
}

/// RFC 1918, RFC 4193, loopback and link-local: reachable from their own network alone.
fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_private() || address.is_loopback() || address.is_link_local(),
        IpAddr::V6(address) => {
            address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn towards(uri: &str, transport: Transport, peer: &str) -> String {
        Hop::towards(&Uri::parse(uri).unwrap(), Hop::new(transport, peer.parse().unwrap())).to_string()
    }

    #[test]
    fn requests_go_to_the_contact_unless_it_cannot_be_reached() {
        use Transport::{Tcp, Tls, Udp, Ws};
        let table = [
            ("sip:a@203.0.113.5", Udp, "198.51.100.9:5060", "udp:203.0.113.5:5060"),
            ("sip:a@203.0.113.5:5070;transport=tcp", Udp, "198.51.100.9:5060", "tcp:203.0.113.5:5070"),
            ("sip:a@[2001:db8::5]", Udp, "198.51.100.9:5060", "udp:[2001:db8::5]:5060"),
            ("sip:a@sbc.example.com", Udp, "198.51.100.9:5060", "udp:198.51.100.9:5060"),
            ("sip:a@192.168.1.20:5062", Udp, "198.51.100.9:40001", "udp:198.51.100.9:40001"),
            ("sip:a@192.168.1.20:5062", Udp, "192.168.1.1:40001", "udp:192.168.1.20:5062"),
            ("sip:a@203.0.113.5", Tcp, "198.51.100.9:40001", "tcp:198.51.100.9:40001"),
            ("sip:a@203.0.113.5;transport=udp", Tcp, "198.51.100.9:40001", "udp:203.0.113.5:5060"),
            ("sips:a@203.0.113.5", Tls, "198.51.100.9:5061", "tls:198.51.100.9:5061"),
            ("sips:a@203.0.113.5", Udp, "198.51.100.9:5060", "tls:203.0.113.5:5061"),
            ("sip:a@x7k.invalid;transport=ws", Ws, "198.51.100.9:40001", "ws:198.51.100.9:40001"),
        ];
        for (uri, transport, peer, expected) in table {
            assert_eq!(towards(uri, transport, peer), expected, "{uri} from {peer}");
        }
    }

    #[test]
    fn words_are_read_without_case() {
        for transport in Transport::ALL {
            assert_eq!(Transport::from_token(transport.as_via()), Some(transport));
            assert_eq!(Transport::from_token(&transport.to_string()), Some(transport));
        }
        assert_eq!(Transport::from_token("sctp"), None);
    }
}
