//! The door of the house: strangers may register, if they name a telephone that exists and do not knock too often.

use std::collections::HashSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::DropReason;
use crate::sip::message::{HeaderName, Message, Method, NameAddr};
use crate::sip::rate::SourceLimits;

/// What one source may send: a house full of telephones behind one address, each with its challenge, may start at once.
const SOURCE_BURST: u32 = 60;
const SOURCE_INTERVAL: Duration = Duration::from_millis(500);
/// The most sources told apart.
const MAX_SOURCES: usize = 4096;
/// What all strangers together may send, for their addresses may be forged.
const STRANGERS_BURST: u32 = 200;
const STRANGERS_INTERVAL: Duration = Duration::from_millis(20);

/// The telephones of the house.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct House {
    /// Who may register, from anywhere: the user parts of addresses of record.
    pub names: HashSet<String>,
    /// From where those who have registered may call.
    pub addresses: HashSet<IpAddr>,
}

#[derive(Debug)]
pub(super) struct Door {
    house: House,
    sources: SourceLimits,
    strangers: SourceLimits,
}

impl Default for Door {
    fn default() -> Self {
        Self {
            house: House::default(),
            sources: SourceLimits::new(SOURCE_BURST, SOURCE_INTERVAL, MAX_SOURCES),
            // No room to tell anybody apart: all share one bucket.
            strangers: SourceLimits::new(STRANGERS_BURST, STRANGERS_INTERVAL, 0),
        }
    }
}

impl Door {
    pub fn set_house(&mut self, house: House) {
        self.house = house;
    }

    /// Whether anybody may register.
    pub fn is_open(&self) -> bool {
        !self.house.names.is_empty()
    }

    /// Whether a telephone has registered from there.
    pub fn knows(&self, address: IpAddr) -> bool {
        self.house.addresses.contains(&address)
    }

    /// Whether a request of no call of ours is taken from an address that is no trunk's.
    ///
    /// # Errors
    /// Why it is dropped. A stranger who names nobody leaves no trace.
    pub fn admit(
        &mut self,
        now: Instant,
        source: IpAddr,
        method: &Method,
        request: &Message,
    ) -> Result<(), DropReason> {
        let known = self.knows(source);
        if *method != Method::Register {
            return if known { Ok(()) } else { Err(DropReason::UnknownSource) };
        }
        if !self.names_somebody(request) {
            return Err(DropReason::UnknownSource);
        }
        let allowed = known || self.strangers.take(now, source).is_ok();
        match allowed && self.sources.take(now, source).is_ok() {
            true => Ok(()),
            false => Err(DropReason::TooMany),
        }
    }

    fn names_somebody(&self, request: &Message) -> bool {
        let to = request.header(HeaderName::To).unwrap_or_default();
        let uri = NameAddr::parse(&to).and_then(|to| to.to_uri().ok());
        uri.is_some_and(|uri| uri.user().is_some_and(|user| self.house.names.contains(user)))
    }
}
