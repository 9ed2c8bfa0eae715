//! Nonces that prove themselves: whoever only asks for one costs no memory.
//!
//! A nonce is its number, the time it was made and a code over both that only this server can make. Memory is spent on
//! those that came back with the right password, to tell a repetition from the next request.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use rand::Rng;
use rand::rngs::StdRng;
use ring::hmac;

/// The most nonces remembered; the oldest in use are forgotten first and read as stale from then on.
const MAX_USED: usize = 4096;
/// How far behind the highest count another may come: datagrams overtake each other.
const WINDOW: u32 = 64;

/// Makes nonces and remembers how often each was used.
#[derive(Debug)]
pub(super) struct Nonces {
    key: hmac::Key,
    lifetime: Duration,
    /// When the first was made; times are counted from here.
    epoch: Option<Instant>,
    issued: u64,
    used: HashMap<u64, Counts>,
    order: VecDeque<u64>,
    /// Nonces up to this number that are not in `used` may have been used and forgotten.
    forgotten: u64,
}

/// Which counts (`nc`) a nonce came with.
#[derive(Debug, Default)]
struct Counts {
    highest: u32,
    /// Bit n: the count `highest - n` was there.
    seen: u64,
}

impl Nonces {
    pub(super) fn new(lifetime: Duration, rng: &mut StdRng) -> Self {
        let mut secret = [0; 32];
        rng.fill_bytes(&mut secret);
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, &secret),
            lifetime,
            epoch: None,
            issued: 0,
            used: HashMap::new(),
            order: VecDeque::new(),
            forgotten: 0,
        }
    }

    /// A nonce that never was before.
    pub(super) fn issue(&mut self, now: Instant) -> String {
        let epoch = *self.epoch.get_or_insert(now);
        self.issued += 1;
        let age = now.saturating_duration_since(epoch).as_millis();
        let stamp = format!("{:016x}{:016x}", self.issued, u64::try_from(age).unwrap_or(u64::MAX));
        format!("{stamp}{}", self.code(&stamp))
    }

    /// Whether the nonce is ours, young, and was not used with this count; it is from now on. Without a count (RFC 2069) a
    /// nonce serves once.
    pub(super) fn take(&mut self, now: Instant, nonce: &str, count: Option<u32>) -> bool {
        let Some(number) = self.verify(now, nonce) else { return false };
        if let Some(counts) = self.used.get_mut(&number) {
            return count.is_some_and(|count| counts.take(count));
        }
        let mut counts = Counts::default();
        if number <= self.forgotten || !counts.take(count.unwrap_or(u32::MAX)) {
            return false;
        }
        while self.order.len() >= MAX_USED {
            if let Some(oldest) = self.order.pop_front() {
                self.used.remove(&oldest);
                self.forgotten = self.forgotten.max(oldest);
            }
        }
        self.order.push_back(number);
        self.used.insert(number, counts);
        true
    }

    /// The nonce's number when it is ours and young.
    fn verify(&self, now: Instant, nonce: &str) -> Option<u64> {
        let (stamp, code) = nonce.split_at_checked(32)?;
        if !same(&self.code(stamp), code) {
            return None;
        }
        let (number, made) = stamp.split_at_checked(16)?;
        let made = Duration::from_millis(u64::from_str_radix(made, 16).ok()?);
        let age = now.saturating_duration_since(self.epoch?).checked_sub(made).unwrap_or_default();
        (age <= self.lifetime).then(|| u64::from_str_radix(number, 16).ok()).flatten()
    }

    /// The first half of a SHA-256 code, in hexadecimal.
    fn code(&self, stamp: &str) -> String {
        let tag = hmac::sign(&self.key, stamp.as_bytes());
        super::digest::hex(tag.as_ref().get(..16).unwrap_or_default())
    }
}

impl Counts {
    /// Whether the count is new: above the highest, or within the window and not seen.
    fn take(&mut self, count: u32) -> bool {
        if count == 0 {
            return false;
        }
        if let Some(step) = count.checked_sub(self.highest).filter(|step| *step > 0) {
            self.seen = self.seen.checked_shl(step).unwrap_or(0) | 1;
            self.highest = count;
            return true;
        }
        let behind = self.highest - count;
        let bit = 1_u64.checked_shl(behind).unwrap_or(0);
        let fresh = behind < WINDOW && self.seen & bit == 0;
        self.seen |= bit;
        fresh
    }
}

/// Compares all bytes, so that time tells nothing.
pub(super) fn same(one: &str, other: &str) -> bool {
    one.len() == other.len()
        && one.bytes().zip(other.bytes()).fold(0, |difference, (one, other)| difference | (one ^ other)) == 0
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test begins at some time")]
mod tests {
    use rand::SeedableRng;

    use super::*;

    fn nonces(seed: u64) -> Nonces {
        Nonces::new(Duration::from_secs(60), &mut StdRng::seed_from_u64(seed))
    }

    #[test]
    fn counts_may_overtake_each_other_and_not_repeat() {
        let now = Instant::now();
        let mut server = nonces(1);
        let nonce = server.issue(now);
        for (count, fresh) in [(1, true), (3, true), (2, true), (2, false), (1, false), (0, false)] {
            assert_eq!(server.take(now, &nonce, Some(count)), fresh, "{count}");
        }
        assert!(server.take(now, &nonce, Some(0x100)));
        assert!(server.take(now, &nonce, Some(0x100 - WINDOW + 1)));
        assert!(!server.take(now, &nonce, Some(0x100 - WINDOW)), "too far behind to tell");
        assert!(!server.take(now, &nonce, Some(3)));
    }

    #[test]
    fn a_nonce_is_bound_to_its_time_and_its_server() {
        let now = Instant::now();
        let (mut server, mut other) = (nonces(1), nonces(2));
        let nonce = server.issue(now);
        other.issue(now);
        assert!(!other.take(now, &nonce, Some(1)), "another server's");
        let younger = nonce.replacen('1', "2", 1);
        assert!(!server.take(now, &younger, Some(1)), "changed");
        for short in ["", "0", &nonce[..32], &nonce[..63]] {
            assert!(!server.take(now, short, Some(1)));
        }
        assert!(server.take(now + Duration::from_secs(60), &nonce, Some(1)));
        assert!(!server.take(now + Duration::from_millis(60_001), &nonce, Some(2)), "too old");
    }

    #[test]
    fn without_a_count_a_nonce_serves_once() {
        let now = Instant::now();
        let mut server = nonces(1);
        let nonce = server.issue(now);
        assert!(server.take(now, &nonce, None));
        assert!(!server.take(now, &nonce, None));
        assert!(!server.take(now, &nonce, Some(1)));
    }

    #[test]
    fn memory_is_bounded_and_what_is_forgotten_is_stale() {
        let now = Instant::now();
        let mut server = nonces(1);
        let first = server.issue(now);
        assert!(server.take(now, &first, Some(1)));
        for _ in 0..100_000 {
            server.issue(now);
        }
        assert_eq!(server.used.len(), 1, "asking costs nothing");
        for _ in 0..MAX_USED {
            let nonce = server.issue(now);
            assert!(server.take(now, &nonce, Some(1)));
        }
        assert_eq!((server.used.len(), server.order.len()), (MAX_USED, MAX_USED));
        assert!(
            !server.take(now, &first, Some(1)),
            "a repetition of a forgotten one is none the less refused"
        );
    }
}
