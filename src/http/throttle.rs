//! Slowing down those who guess passwords: failures are counted by address and name, and by address alone.
//!
//! Not by name alone: else anyone could lock a driver out.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Failures of one name from one address before it must wait.
const PER_NAME: u32 = 8;
/// Failures from one address before it must wait.
const PER_ADDRESS: u32 = 40;
/// How long failures are remembered, from the first one on.
const WINDOW: Duration = Duration::from_secs(10 * 60);
/// How many counters are kept; beyond that, the oldest window goes.
const CAPACITY: usize = 2_000;

/// Counts failed sign-ins.
#[derive(Debug, Default)]
pub(super) struct SignInThrottle {
    windows: Mutex<HashMap<(Option<IpAddr>, String), Window>>,
}

#[derive(Debug, Clone, Copy)]
struct Window {
    began: Instant,
    failures: u32,
}

impl SignInThrottle {
    /// How long this address must wait before it may try this name again; `None`: it may now.
    pub(super) fn wait(&self, now: Instant, address: Option<IpAddr>, name: &str) -> Option<Duration> {
        let windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let limits = [(name.to_lowercase(), PER_NAME), (String::new(), PER_ADDRESS)];
        limits.into_iter().find_map(|(name, limit)| {
            let window = windows.get(&(address, name)).filter(|window| window.failures >= limit)?;
            (window.began + WINDOW).checked_duration_since(now).filter(|left| !left.is_zero())
        })
    }

    /// Counts a failure.
    pub(super) fn failed(&self, now: Instant, address: Option<IpAddr>, name: &str) {
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        for name in [name.to_lowercase(), String::new()] {
            if windows.len() >= CAPACITY {
                windows.retain(|_, window| now.duration_since(window.began) < WINDOW);
            }
            if windows.len() >= CAPACITY
                && let Some(oldest) = windows.iter().min_by_key(|(_, w)| w.began).map(|(key, _)| key.clone())
            {
                windows.remove(&oldest);
            }
            let window = windows.entry((address, name)).or_insert(Window { began: now, failures: 0 });
            if now.duration_since(window.began) >= WINDOW {
                *window = Window { began: now, failures: 0 };
            }
            window.failures = window.failures.saturating_add(1);
        }
    }

    /// Forgets a name's failures from an address after the right password.
    pub(super) fn succeeded(&self, address: Option<IpAddr>, name: &str) {
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        windows.remove(&(address, name.to_lowercase()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_throttled_from_one_address_only() {
        let throttle = SignInThrottle::default();
        let (now, here, there) = (Instant::now(), Some([10, 0, 0, 1].into()), Some([10, 0, 0, 2].into()));
        for _ in 0..PER_NAME {
            assert_eq!(throttle.wait(now, here, "grace"), None);
            throttle.failed(now, here, "Grace");
        }
        assert_eq!(throttle.wait(now, here, "grace"), Some(WINDOW));
        assert_eq!(throttle.wait(now, there, "grace"), None);
        assert_eq!(throttle.wait(now, here, "alan"), None);
        assert_eq!(throttle.wait(now + WINDOW, here, "grace"), None);
        throttle.succeeded(here, "grace");
        assert_eq!(throttle.wait(now, here, "grace"), None);
    }

    #[test]
    fn an_address_is_throttled_over_all_names() {
        let throttle = SignInThrottle::default();
        let (now, here) = (Instant::now(), Some([10, 0, 0, 1].into()));
        for n in 0..PER_ADDRESS {
            throttle.failed(now, here, &format!("user{n}"));
        }
        assert!(throttle.wait(now, here, "grace").is_some());
    }

    #[test]
    fn memory_is_bounded() {
        let throttle = SignInThrottle::default();
        let now = Instant::now();
        for n in 0..(CAPACITY as u32 + 100) {
            throttle.failed(now, Some(std::net::Ipv4Addr::from(n).into()), "x");
        }
        assert!(throttle.windows.lock().unwrap().len() <= CAPACITY);
    }
}
