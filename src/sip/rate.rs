//! How much one source may ask for, and how long one that guesses passwords is not heard.
//!
//! Both tables are bounded, and what they hold for a source that behaves is nothing at all. A source is an IPv4 address or
//! an IPv6 /64: whoever has one address of a /64 has all of them.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

/// The least time between two sweeps of a full table: a flood does not make each of its messages expensive.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// The key of a source: an IPv4 address, or the /64 of an IPv6 address.
pub fn source_of(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => IpAddr::V4(v4),
            None => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
        },
    }
}

/// A token bucket in one word: when it will be full again.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    full_at: Instant,
}

/// A token bucket for each source, and one that all sources share for which there is no room.
#[derive(Debug)]
pub struct SourceLimits {
    interval: Duration,
    burst: u32,
    most: usize,
    buckets: HashMap<IpAddr, Bucket>,
    shared: Option<Bucket>,
    swept: Option<Instant>,
}

impl SourceLimits {
    /// `burst` at once, then one each `interval`; at most `most` sources are told apart.
    pub fn new(burst: u32, interval: Duration, most: usize) -> Self {
        Self { interval, burst: burst.max(1), most, buckets: HashMap::new(), shared: None, swept: None }
    }

    /// Takes a token of `source`.
    ///
    /// # Errors
    /// How long until there is one.
    pub fn take(&mut self, now: Instant, source: IpAddr) -> Result<(), Duration> {
        let key = source_of(source);
        if self.buckets.len() >= self.most && !self.buckets.contains_key(&key) {
            self.sweep(now);
            if self.buckets.len() >= self.most {
                let shared = self.shared.get_or_insert(Bucket { full_at: now });
                return shared.take(now, self.interval, self.burst);
            }
        }
        let bucket = self.buckets.entry(key).or_insert(Bucket { full_at: now });
        bucket.take(now, self.interval, self.burst)
    }

    /// How many sources are remembered.
    pub fn len(&self) -> usize {
        self.buckets.len()
    }

    /// Whether no source is remembered.
    pub fn is_empty(&self) -> bool {
        self.buckets.is_empty()
    }

    /// Forgets full buckets: they are as good as new ones.
    fn sweep(&mut self, now: Instant) {
        if self.swept.is_some_and(|at| now.saturating_duration_since(at) < SWEEP_EVERY) {
            return;
        }
        self.swept = Some(now);
        self.buckets.retain(|_, bucket| bucket.full_at > now);
    }
}

impl Bucket {
    fn take(&mut self, now: Instant, interval: Duration, burst: u32) -> Result<(), Duration> {
        let room = interval * (burst - 1);
        let missing = self.full_at.saturating_duration_since(now);
        if missing > room {
            return Err(missing - room);
        }
        self.full_at = self.full_at.max(now) + interval;
        Ok(())
    }
}

/// What a wrong password gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Penalty {
    /// Another challenge: people mistype.
    Challenge,
    /// 403, for the last time.
    Forbid,
    /// Nothing.
    Silence,
}

/// How many wrong passwords in a row are challenged again; the next gets 403, further ones nothing.
const PATIENCE: u8 = 3;

/// How long a source is not heard, and how long its mistakes are remembered after the last one.
const SILENCE: Duration = Duration::from_secs(300);

/// The most sources whose mistakes are remembered; the oldest are forgotten first.
const MAX_OFFENDERS: usize = 4096;

/// Who gave wrong passwords lately.
#[derive(Debug, Default)]
pub struct PenaltyBox {
    offenders: HashMap<IpAddr, Offence>,
    /// In the order of their first mistake.
    order: VecDeque<IpAddr>,
}

#[derive(Debug, Clone, Copy)]
struct Offence {
    mistakes: u8,
    last: Instant,
}

impl PenaltyBox {
    /// Whether `source` is not heard at all.
    pub fn is_silenced(&self, now: Instant, source: IpAddr) -> bool {
        self.offenders
            .get(&source_of(source))
            .is_some_and(|offence| offence.mistakes > PATIENCE && !offence.is_old(now))
    }

    /// Notes a wrong password of `source`.
    pub fn fail(&mut self, now: Instant, source: IpAddr) -> Penalty {
        let key = source_of(source);
        self.make_room(now, key);
        if !self.offenders.contains_key(&key) {
            self.order.push_back(key);
        }
        let offence = self.offenders.entry(key).or_insert(Offence { mistakes: 0, last: now });
        if offence.is_old(now) {
            offence.mistakes = 0;
        }
        offence.mistakes = offence.mistakes.saturating_add(1);
        offence.last = now;
        match offence.mistakes {
            0..=PATIENCE => Penalty::Challenge,
            mistakes if mistakes == PATIENCE + 1 => Penalty::Forbid,
            _ => Penalty::Silence,
        }
    }

    /// Forgets the mistakes of `source`: it has given the right password.
    pub fn forgive(&mut self, source: IpAddr) {
        let key = source_of(source);
        if self.offenders.remove(&key).is_some() {
            self.order.retain(|known| *known != key);
        }
    }

    /// How many sources are remembered.
    pub fn len(&self) -> usize {
        self.offenders.len()
    }

    /// Whether nobody is remembered.
    pub fn is_empty(&self) -> bool {
        self.offenders.is_empty()
    }

    fn make_room(&mut self, now: Instant, key: IpAddr) {
        while let Some(oldest) = self.order.front().copied() {
            let old = self.offenders.get(&oldest).is_none_or(|offence| offence.is_old(now));
            let full = self.order.len() >= MAX_OFFENDERS && !self.offenders.contains_key(&key);
            if !full && (!old || oldest == key) {
                return;
            }
            self.order.pop_front();
            self.offenders.remove(&oldest);
        }
    }
}

impl Offence {
    fn is_old(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.last) > SILENCE
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test begins at some time")]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn ip(number: u32) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from_bits(number))
    }

    #[test]
    fn a_burst_and_then_one_each_interval_for_each_source() {
        let start = Instant::now();
        let mut limits = SourceLimits::new(3, Duration::from_secs(2), 10);
        for source in [1, 2] {
            let taken = (0..5).filter(|_| limits.take(start, ip(source)).is_ok()).count();
            assert_eq!(taken, 3, "source {source}");
        }
        assert_eq!(limits.take(start, ip(1)), Err(Duration::from_secs(2)));
        assert_eq!(limits.take(start + Duration::from_secs(2), ip(1)), Ok(()));
        assert_eq!(limits.take(start + Duration::from_secs(2), ip(1)), Err(Duration::from_secs(2)));
    }

    #[test]
    fn many_sources_share_what_is_left_and_are_forgotten() {
        let start = Instant::now();
        let mut limits = SourceLimits::new(2, Duration::from_secs(1), 100);
        let taken = (0..100_000).filter(|number| limits.take(start, ip(*number)).is_ok()).count();
        assert_eq!((taken, limits.len()), (102, 100), "a hundred sources, and one burst for all the others");
        let later = start + Duration::from_secs(10);
        limits.take(later, ip(200_000)).unwrap();
        assert_eq!(limits.len(), 1, "all but the new one were idle");
    }

    #[test]
    fn a_v6_network_is_one_source() {
        let [one, other, far]: [IpAddr; 3] =
            ["2001:db8::1", "2001:db8::ffff:1", "2001:db8:0:1::1"].map(|text| text.parse().unwrap());
        assert_eq!(source_of(one), source_of(other));
        assert_ne!(source_of(one), source_of(far));
        assert_eq!(source_of("::ffff:192.0.2.1".parse().unwrap()), ip(0xc000_0201));
    }

    #[test]
    fn wrong_passwords_are_challenged_forbidden_silenced_and_forgotten() {
        let start = Instant::now();
        let mut offenders = PenaltyBox::default();
        let got: Vec<_> = (0..6).map(|_| offenders.fail(start, ip(1))).collect();
        use Penalty::{Challenge, Forbid, Silence};
        assert_eq!(got, [Challenge, Challenge, Challenge, Forbid, Silence, Silence]);
        assert!(offenders.is_silenced(start, ip(1)) && !offenders.is_silenced(start, ip(2)));
        let later = start + SILENCE + Duration::from_secs(1);
        assert!(!offenders.is_silenced(later, ip(1)));
        assert_eq!(offenders.fail(later, ip(1)), Challenge);
        offenders.forgive(ip(1));
        assert!(offenders.is_empty());
    }

    #[test]
    fn the_penalty_box_is_bounded() {
        let start = Instant::now();
        let mut offenders = PenaltyBox::default();
        for number in 0..20_000 {
            offenders.fail(start, ip(number));
        }
        assert_eq!((offenders.len(), offenders.order.len()), (MAX_OFFENDERS, MAX_OFFENDERS));
        offenders.fail(start + SILENCE * 2, ip(1));
        assert_eq!((offenders.len(), offenders.order.len()), (1, 1), "the others are long forgotten");
    }
}
