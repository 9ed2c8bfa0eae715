//! Symmetric RTP: whom a stream listens to and sends to.
//!
//! Behind address translation a peer's packets come from elsewhere than its SDP said. The first valid packet decides;
//! afterwards a stranger is refused while the latched peer is alive, except that the signalled address itself may
//! always take its place, so that a stranger who came first does not stay.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// A latched peer silent for so long may be replaced.
const ALIVE: Duration = Duration::from_secs(2);

#[derive(Debug, Default)]
pub(super) struct Latch {
    signalled: Option<SocketAddr>,
    latched: Option<(SocketAddr, Instant)>,
}

impl Latch {
    /// Takes the address of a new negotiation; another address than before lets go of the latched one.
    pub fn signal(&mut self, remote: SocketAddr) {
        if self.signalled != Some(remote) {
            self.signalled = Some(remote);
            self.latched = None;
        }
    }

    /// Whether a valid packet from `source` is the peer's.
    pub fn accept(&mut self, now: Instant, source: SocketAddr) -> bool {
        let accepted = match self.latched {
            None => true,
            Some((latched, _)) if latched == source => true,
            Some(_) if self.signalled == Some(source) => true,
            Some((_, heard)) => now.saturating_duration_since(heard) >= ALIVE,
        };
        if accepted {
            self.latched = Some((source, now));
        }
        accepted
    }

    /// Where to send: to the latched address when `symmetric`, else to the signalled one.
    pub fn destination(&self, symmetric: bool) -> Option<SocketAddr> {
        match self.latched {
            Some((latched, _)) if symmetric => Some(latched),
            _ => self.signalled,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stranger_waits_until_the_peer_is_gone() {
        let address = |port: u16| SocketAddr::from(([192, 0, 2, 1], port));
        let (signalled, peer, stranger) = (address(1), address(2), address(3));
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut latch = Latch::default();
        latch.signal(signalled);
        assert_eq!(latch.destination(true), Some(signalled));
        assert!(latch.accept(at(0), peer));
        assert_eq!(latch.destination(true), Some(peer));
        assert_eq!(latch.destination(false), Some(signalled));
        assert!(!latch.accept(at(1999), stranger));
        assert!(latch.accept(at(1999), peer));
        assert!(!latch.accept(at(3998), stranger));
        assert!(latch.accept(at(3999), stranger), "2 s after the peer's last packet");
        assert!(latch.accept(at(4000), signalled), "the signalled address always may");
        assert!(!latch.accept(at(4001), stranger));
        latch.signal(signalled);
        assert_eq!(latch.destination(true), Some(signalled), "the same negotiation again keeps the latch");
        latch.signal(peer);
        assert!(latch.accept(at(4002), stranger), "a new negotiation lets go");
    }
}
