//! The engine's configuration: TOML with positions, compiled into [`Config`]; errors say where and what to write.
//!
//! ```text
//! sip-config/callahead.toml       the engine
//! sip-config/trunks/NAME.toml     a trunk each
//! sip-config/numbers.toml         which plan answers our numbers (may be absent)
//! sip-config/phones.toml          the telephones that register here (may be absent)
//! dialplans/NAME.toml             a plan each (the directory is named in callahead.toml)
//! ```
//! [`Config::load`] reads all of it or reports everything that is wrong with it. A `Config` is plain data and comparable, so
//! that a reload is: load, compare, swap.



mod engine;
mod load;
mod numbers;
pub mod pem;
mod phones;
mod secret;
mod sip;
mod trunk;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;


pub use load::{load_plans, prompts_in};
pub use numbers::Did;
pub use phones::Phone;
pub use sip::Sip;
pub use trunk::{
    Advertised, Caller, Country, NumberFormat, Proxy, Register, Tls, Transport, Trunk,
};

use crate::dialplan::Plan;
use crate::route::{Number, Prefix, RouteRules, Strategy};
use crate::schedule::RetryPolicy;
use crate::speech::Voices;

/// Everything that an admin can say, read and checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Who is calling, as it is spoken in prompts: the variable `depot` of every plan.
    pub depot: String,
    /// The time zone of the depot, in which ETAs are spoken.
    pub zone: jiff::tz::TimeZone,
    /// Where the database, recordings and rendered prompts are kept.
    pub data: PathBuf,
    /// Where the dialplans are.
    pub dialplans: PathBuf,
    /// The API and the page.
    pub http: Http,
    /// Signalling.
    pub sip: Sip,
    /// Audio on the wire.
    pub media: Media,
    /// What is recorded.
    pub recordings: Recordings,
    /// The voice of each language, by language tag.
    pub voices: Voices,
    /// Transcription.
    pub whisper: Whisper,
    /// The bounds of the engine as a whole.
    pub limits: Limits,
    /// Which trunk carries a call.
    pub routing: Routing,
    /// How calls are made.
    pub calls: Calls,
    /// The trunks by name, which is the name of the file.
    pub trunks: BTreeMap<String, Trunk>,
    /// The dialplans by name.
    pub plans: BTreeMap<String, Arc<Plan>>,
    /// Our numbers, and what answers them.
    pub numbers: BTreeMap<Number, Did>,
    /// The telephones of the house by name, which is the username that they register with.
    pub phones: BTreeMap<String, Phone>,
}

/// `[http]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Http {
    /// Where to listen.
    pub listen: SocketAddr,
}

/// `[media]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Media {
    /// The first and the last UDP port for RTP, both included.
    pub rtp_ports: (u16, u16),
    /// How many media threads; `None` is one for each core.
    pub threads: Option<usize>,
    /// A call on which no RTP arrives for this long has ended.
    pub rtp_timeout: Duration,
}

/// `[recordings]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recordings {
    /// With less free space than this, no recording begins. In mebibytes.
    pub min_free_mb: u64,
}

/// `[whisper]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Whisper {
    /// The model's name in models/models.toml.
    pub model: String,
    /// How many transcriptions at once, each in a process with one thread.
    pub workers: usize,
}

/// `[limits]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// The most calls at once, over all trunks.
    pub max_calls: u32,
    /// The most new calls in a second, over all trunks.
    pub calls_per_second: u32,
    /// The longest call from its answer on.
    pub max_call: Duration,
}

/// `[routing]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Routing {
    /// What decides between the trunks that may carry a call.
    pub strategy: Strategy,
    /// Numbers that are never called, by what they begin with.
    pub forbidden: Vec<Prefix>,
}

/// `[calls]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Calls {
    /// How long it may ring.
    pub ring_timeout: Duration,
    /// How often a customer is dialled at most for one call.
    pub max_attempts: u32,
    /// The time from an attempt that nobody answered to the next.
    pub retry_after: Duration,
    /// How long before its ETA a delivery is announced.
    pub lead: Duration,
    /// The country of numbers that are written without `+`.
    pub default_country: Country,
    /// The plan of deliveries that name none.
    pub default_plan: String,
}

impl Calls {
    /// What the scheduler needs to know.
    pub fn retry_policy(&self) -> RetryPolicy {
        RetryPolicy { max_attempts: self.max_attempts, retry_after: self.retry_after }
    }
}

impl Config {
    /// What routing needs to know.
    pub fn route_rules(&self) -> RouteRules {
        RouteRules {
            max_calls: self.limits.max_calls,
            calls_per_second: self.limits.calls_per_second,
            strategy: self.routing.strategy,
            forbidden: self.routing.forbidden.clone(),
            trunks: self.trunks.values().map(Trunk::limits).collect(),
        }
    }

    /// The telephone of the house that has this number.
    pub fn telephone(&self, number: &Number) -> Option<&Phone> {
        self.phones.values().find(|phone| phone.number == *number)
    }

    /// The plan of this name.
    pub fn plan(&self, name: &str) -> Option<&Arc<Plan>> {
        self.plans.get(name)
    }
}
