//! Even UDP ports for RTP: a random start, and a rest after use.

use std::collections::{HashSet, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use socket2::SockRef;

/// Expedited forwarding (RFC 3246) in the field that was the type of service.
const EXPEDITED: u32 = 0xb8;

pub(super) struct Ports {
    first: u16,
    count: u16,
    next: u16,
    quarantine: Duration,
    /// Ports in use or resting.
    taken: HashSet<u16>,
    /// Closed ports, the oldest first, with the time when their rest ends.
    resting: VecDeque<(Instant, u16)>,
}

impl Ports {
    pub fn new(range: &RangeInclusive<u16>, quarantine: Duration) -> io::Result<Self> {
        let first = range.start().saturating_add(range.start() & 1);
        if first < 1024 || first >= *range.end() {
            let message =
                format!("the RTP ports {}-{} hold no even port of 1024 up", range.start(), range.end());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        let count = (range.end() - first) / 2 + 1;
        let next = rand::random::<u16>() % count;
        Ok(Self { first, count, next, quarantine, taken: HashSet::new(), resting: VecDeque::new() })
    }

    /// Binds a free port, passing over those that another program holds.
    pub fn bind(&mut self, ip: IpAddr, now: Instant) -> io::Result<UdpSocket> {
        while let Some((until, port)) = self.resting.front().copied()
            && until <= now
        {
            self.resting.pop_front();
            self.taken.remove(&port);
        }
        for _ in 0..self.count {
            let port = self.first + 2 * self.next;
            self.next = (self.next + 1) % self.count;
            if self.taken.contains(&port) {
                continue;
            }
            match UdpSocket::bind(SocketAddr::new(ip, port)) {
                Ok(socket) => {
                    socket.set_nonblocking(true)?;
                    mark(&socket, ip);
                    self.taken.insert(port);
                    return Ok(socket);
                }
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                Err(error) => return Err(error),
            }
        }
        let message = format!("all {} RTP ports are in use or resting; widen the range", self.count);
        Err(io::Error::new(io::ErrorKind::AddrInUse, message))
    }

    /// Lets a closed port rest.
    pub fn release(&mut self, port: u16, now: Instant) {
        self.resting.push_back((now + self.quarantine, port));
    }
}

/// Asks routers for haste; a system that refuses it still carries the call.
fn mark(socket: &UdpSocket, ip: IpAddr) {
    let socket = SockRef::from(socket);
    let marked = match ip {
        IpAddr::V4(_) => socket.set_tos_v4(EXPEDITED),
        IpAddr::V6(_) => socket.set_tclass_v6(EXPEDITED),
    };
    if let Err(error) = marked {
        tracing::debug!(%error, "RTP packets go without a DSCP mark");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCAL: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[test]
    fn ports_are_even_rest_after_use_and_run_out() {
        let mut ports = Ports::new(&(28_701..=28_706), Duration::from_secs(5)).unwrap();
        let start = Instant::now();
        let sockets = [ports.bind(LOCAL, start).unwrap(), ports.bind(LOCAL, start).unwrap()];
        let third = ports.bind(LOCAL, start).unwrap().local_addr().unwrap().port();
        let mut bound = sockets.map(|socket| socket.local_addr().unwrap().port()).to_vec();
        bound.push(third);
        bound.sort_unstable();
        assert_eq!(bound, [28_702, 28_704, 28_706]);
        assert_eq!(ports.bind(LOCAL, start).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        ports.release(third, start);
        assert!(ports.bind(LOCAL, start + Duration::from_secs(4)).is_err(), "resting");
        let again = ports.bind(LOCAL, start + Duration::from_secs(5)).unwrap();
        assert_eq!(again.local_addr().unwrap().port(), third);
    }

    #[test]
    fn a_port_of_another_program_is_passed_over() {
        let mut ports = Ports::new(&(28_712..=28_714), Duration::ZERO).unwrap();
        let _other = UdpSocket::bind((LOCAL, 28_712)).unwrap();
        let ours = ports.bind(LOCAL, Instant::now()).unwrap();
        assert_eq!(ours.local_addr().unwrap().port(), 28_714);
        assert!(ports.bind(LOCAL, Instant::now()).is_err());
    }

    #[test]
    #[allow(clippy::reversed_empty_ranges)]
    fn a_range_without_an_even_port_is_refused() {
        for range in [5001..=5001, 6000..=5000, 80..=90, 65_535..=65_535] {
            assert!(Ports::new(&range, Duration::ZERO).is_err(), "{range:?}");
        }
    }
}
