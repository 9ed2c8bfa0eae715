//! `trunks/NAME.toml`: a way to the telephone network. Every key is explained in docs/trunks.md.

mod calling;
mod reach;

use std::path::Path;
use std::time::Duration;

use super::secret::{self, Surroundings};
use crate::diagnostic::Diagnostic;
use crate::diagnostic::Source;
use crate::diagnostic::document::{self, Table};
use crate::pii::Secret;
use crate::route::{BreakerLimits, Number, Prefix, Rate, Rewrite, TrunkLimits, write_number};
use crate::sdp::Codec;

pub use crate::route::{Country, NumberFormat};
pub use calling::Caller;
pub(super) use calling::read_prefixes;
pub use reach::{Advertised, Proxy, Tls, Transport};

/// A trunk, as configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trunk {
    /// The name, which is the file's name without `.toml`.
    pub name: String,
    /// A name or an IP address.
    pub host: String,
    /// The port, if one is given.
    pub port: Option<u16>,
    /// How to reach it; `None`: as the DNS says (NAPTR, SRV), else UDP.
    pub transport: Option<Transport>,
    /// Certificates, for [`Transport::Tls`].
    pub tls: Tls,
    /// Where requests go first, if not to the host.
    pub outbound_proxy: Option<Proxy>,
    /// Our address as the trunk is told it.
    pub advertised: Advertised,
    /// How often the trunk is asked with OPTIONS whether it lives; `None` is never.
    pub options_every: Option<Duration>,
    /// The user for authentication and registration; without it, none is done.
    pub username: Option<String>,
    /// The password of that user.
    pub password: Option<Secret>,
    /// Whether and for how long to register.
    pub register: Option<Register>,
    /// Who is calling.
    pub caller: Caller,
    /// The country of the trunk, which decides what a national number is.
    pub country: Country,
    /// How the trunk wants numbers to be written.
    pub number_format: NumberFormat,
    /// Callees' numbers that it wants otherwise; the first line that matches counts.
    pub rewrite: Vec<Rewrite>,
    /// The numbers that it may carry; empty is all.
    pub serves: Vec<Prefix>,
    /// What a minute costs.
    pub cost: Vec<Rate>,
    /// The codecs to offer, best first. Never empty.
    pub codecs: Vec<Codec>,
    /// The most calls at once.
    pub max_calls: u32,
    /// The most new calls in a second.
    pub max_cps: u32,
    /// The domain in From, if it is not the host.
    pub from_domain: Option<String>,
    /// Lower comes first; equal ones go by name.
    pub priority: u32,
    /// When it is left alone because its network fails.
    pub breaker: BreakerLimits,
}

/// `register = true`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Register {
    /// How long a registration is asked for.
    pub expires: Duration,
}

impl Trunk {
    /// The domain for From and To.
    pub fn domain(&self) -> &str {
        self.from_domain.as_deref().unwrap_or(&self.host)
    }

    /// The number of `callee` as it is dialled on this trunk. Never log it.
    pub fn dialled(&self, callee: &Number) -> String {
        write_number(callee, &self.rewrite, self.number_format, self.country)
    }

    /// What routing needs to know of it.
    pub fn limits(&self) -> TrunkLimits {
        TrunkLimits {
            name: self.name.clone(),
            priority: self.priority,
            max_calls: self.max_calls,
            max_cps: self.max_cps,
            serves: self.serves.clone(),
            rates: self.cost.clone(),
            breaker: self.breaker,
        }
    }

    /// Reads the trunk called `name` from `text`; secrets in files are looked for beside it, in `dir`.
    pub(super) fn parse(
        name: &str,
        file: &str,
        text: &str,
        dir: &Path,
        surroundings: &Surroundings<'_>,
    ) -> Result<Self, Vec<Diagnostic>> {
        let source = Source::new(file, text);
        let trunk = document::parse(&source, |table| read(name, table, dir, surroundings)).flatten();
        trunk.filter(|_| source.count() == 0).ok_or_else(|| source.into_diagnostics())
    }
}

fn read(name: &str, table: &Table<'_, '_>, dir: &Path, surroundings: &Surroundings<'_>) -> Option<Trunk> {
    let host = table
        .require("host", "host = \"sip.example.net\"")
        .and_then(|item| item.parsed("\"sip.example.net\"", read_host));
    let port =
        optional(table, "port", |item| item.integer(1..=65535).and_then(|port| u16::try_from(port).ok()));
    let transport = reach::read_transport(table);
    let tls = reach::read_tls(table, dir, transport);
    let outbound_proxy = reach::read_proxy(table);
    let advertised = reach::read_advertised(table);
    let username = optional(table, "username", |item| item.text("\"depot42\"").map(str::to_owned));
    let password = optional(table, "password", |item| secret::read(item, dir, surroundings));
    let register = read_register(table);
    let options_every = reach::read_options_every(table, register.flatten().is_some());
    reach::check_srtp(table);
    let country =
        table.require("country", "country = \"GB\"").and_then(|item| item.parsed("\"GB\"", read_country));
    let caller = calling::read_caller(table);
    let number_format = match table.get("number_format") {
        Some(item) => item.word(NumberFormat::WORDS),
        None => Some(NumberFormat::Plus),
    };
    let (rewrite, serves) = (calling::read_rewrite(table), read_prefixes(table, "serves"));
    let (cost, breaker) = (calling::read_cost(table), calling::read_breaker(table));
    let codecs = read_codecs(table);
    let max_calls = table.get("max_calls").map_or(Some(10), |item| item.integer(1..=10_000));
    let max_cps = table.get("max_cps").map_or(Some(1), |item| item.integer(1..=1000));
    let from_domain = optional(table, "from_domain", |item| item.parsed("\"example.net\"", read_host));
    let priority = table.get("priority").map_or(Some(100), |item| item.integer(0..=10_000));
    table.finish();
    if !table.has("username") {
        let needs = ["password", "register"].into_iter().filter_map(|key| table.get(key));
        needs.for_each(|item| {
            item.key_error(format!("`{}` without `username`", item.key), "add `username = \"...\"`")
        });
    }
    Some(Trunk {
        name: name.to_owned(),
        host: host?,
        port: port?,
        transport: transport?,
        tls: tls?,
        outbound_proxy: outbound_proxy?,
        advertised: advertised?,
        options_every: options_every?,
        username: username?,
        password: password?,
        register: register?,
        caller: caller?,
        country: country?,
        number_format: number_format?,
        rewrite: rewrite?,
        serves: serves?,
        cost: cost?,
        codecs: codecs?,
        max_calls: max_calls?,
        max_cps: max_cps?,
        from_domain: from_domain?,
        priority: priority?,
        breaker: breaker?,
    })
}

/// `Some(None)` when the key is absent, `None` when it was reported.
fn optional<'d, 't, T>(
    table: &Table<'d, 't>,
    key: &'static str,
    read: impl FnOnce(&document::Item<'d, 't>) -> Option<T>,
) -> Option<Option<T>> {
    match table.get(key) {
        Some(item) => read(&item).map(Some),
        None => Some(None),
    }
}

fn read_host(text: &str) -> Result<String, &'static str> {
    if let Ok(address) = text.trim_matches(['[', ']']).parse::<std::net::IpAddr>() {
        return Ok(address.to_string());
    }
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
    };
    match text.len() <= 253 && text.trim_end_matches('.').split('.').all(label) {
        true => Ok(text.trim_end_matches('.').to_owned()),
        false => Err(
            "this is not a host: a name or an IP address, without `sip:` and without a port (that is `port`)",
        ),
    }
}

fn read_register(table: &Table<'_, '_>) -> Option<Option<Register>> {
    let register = table.get("register").map_or(Some(false), |item| item.boolean());
    let expires = match table.get("expires") {
        Some(item) => item.duration(Duration::from_secs(60)..=Duration::from_secs(86_400)),
        None => Some(Duration::from_secs(3600)),
    };
    let expires = expires?;
    Some(register?.then_some(Register { expires }))
}

pub(super) fn read_country(text: &str) -> Result<Country, &'static str> {
    text.parse().map_err(|_| "this is not a country; write its two capital letters (ISO 3166)")
}

fn read_codecs(table: &Table<'_, '_>) -> Option<Vec<Codec>> {
    let Some(item) = table.get("codecs") else { return Some(vec![Codec::Pcma, Codec::Pcmu]) };
    let list = item.list("[\"PCMA\", \"PCMU\"]")?;
    let mut codecs = Vec::new();
    for member in &list {
        let codec = member.word(&[("PCMU", Codec::Pcmu), ("PCMA", Codec::Pcma)])?;
        if codecs.contains(&codec) {
            member.error("this codec is listed twice", "remove one of the two");
            return None;
        }
        codecs.push(codec);
    }
    if codecs.is_empty() {
        item.error("`codecs` is empty", "write `codecs = [\"PCMA\", \"PCMU\"]`");
        return None;
    }
    Some(codecs)
}
