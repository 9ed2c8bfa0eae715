//! Names to hops: the DNS answers what [`Locate`] asks. `/etc/hosts` comes first; where the DNS fails, the last good hops are kept.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hickory_resolver::config::{LookupIpStrategy, NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::op::Query as DnsQuery;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use hickory_resolver::{Hosts, TokioResolver};
use tracing::{info, warn};

use crate::sip::locate::{Answer, Locate, Located, Naptr, Query, Srv};
use crate::sip::{Hop, Transport};

/// How long a server may take to be located, over all queries.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long one query may take; there is a second try.
const QUERY: Duration = Duration::from_secs(2);
/// The bounds of how long an answer holds.
const TTL: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(3600));
/// How long the last good hops are used before a DNS that failed is asked again.
const AFTER_FAILURE: Duration = Duration::from_secs(10);
/// The most servers whose hops are remembered.
const MAX_KEPT: usize = 1024;

/// What is looked for, as configured.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Server {
    /// A name or an address.
    pub host: String,
    /// The port, if one is given.
    pub port: Option<u16>,
    /// The transport, if one is given.
    pub transport: Option<Transport>,
}

/// Where a server is, and until when that holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// In order of preference; not empty.
    pub hops: Vec<Hop>,
    /// When to look again.
    pub until: Instant,
}

/// Why a server is not found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// The DNS says that there is nothing.
    #[error("the DNS has no address for `{0}`; check the name, or write an IP address")]
    Nothing(String),
    /// The DNS does not answer, and never has for this name.
    #[error("the DNS does not answer for `{0}`; check /etc/resolv.conf or `dns` in [sip] of callahead.toml")]
    Silent(String),
}

/// Asks the DNS.
pub struct Resolver {
    /// `None`: there is no name server to ask.
    dns: Option<TokioResolver>,
    hosts: Hosts,
    kept: Mutex<HashMap<Server, Kept>>,
}

/// The last good hops of a server.
struct Kept {
    hops: Vec<Hop>,
    /// The DNS has failed since: it is left alone until then.
    failed_until: Option<Instant>,
}

impl Resolver {
    /// Asks `servers`, or those of `/etc/resolv.conf` if there are none. Without any, only addresses and the names in
    /// `/etc/hosts` are found, which is logged.
    pub fn new(servers: &[SocketAddr]) -> Self {
        let dns =
            build(servers).inspect_err(|error| warn!(%error, "no DNS: only addresses and /etc/hosts")).ok();
        let hosts = Hosts::from_system().unwrap_or_else(|error| {
            warn!(%error, "/etc/hosts cannot be read");
            Hosts::default()
        });
        Self { dns, hosts, kept: Mutex::default() }
    }

    /// Where `server` is now. Servers of equal priority are drawn anew each time (RFC 2782).
    ///
    /// # Errors
    /// It has no address, or the DNS fails and nothing is known from before.
    pub async fn locate(&self, server: &Server) -> Result<Found, ResolveError> {
        let now = Instant::now();
        if let Some(found) = self.during_failure(server, now) {
            return Ok(found);
        }
        let located = match tokio::time::timeout(PATIENCE, self.ask(server)).await {
            Ok(located) => located,
            Err(_) => Located { hops: Vec::new(), ttl: None, complete: false },
        };
        let now = Instant::now();
        let lasts = located.ttl.unwrap_or(TTL.1).clamp(TTL.0, TTL.1);
        if located.complete {
            return self.settle(server, located.hops, now + lasts);
        }
        if let Some(found) = self.last_good(server, now) {
            warn!(host = server.host, "the DNS fails: the last known addresses are kept");
            return Ok(found);
        }
        match located.hops.is_empty() {
            true => Err(ResolveError::Silent(server.host.clone())),
            // Some query failed, another was answered: better than no call.
            false => Ok(Found { hops: located.hops, until: now + AFTER_FAILURE }),
        }
    }

    fn settle(&self, server: &Server, hops: Vec<Hop>, until: Instant) -> Result<Found, ResolveError> {
        let mut kept = self.kept();
        if hops.is_empty() {
            kept.remove(server);
            return Err(ResolveError::Nothing(server.host.clone()));
        }
        if kept.get(server).is_some_and(|kept| kept.failed_until.is_some()) {
            info!(host = server.host, "the DNS answers again");
        }
        if kept.len() < MAX_KEPT || kept.contains_key(server) {
            kept.insert(server.clone(), Kept { hops: hops.clone(), failed_until: None });
        }
        Ok(Found { hops, until })
    }

    fn during_failure(&self, server: &Server, now: Instant) -> Option<Found> {
        let kept = self.kept();
        let known = kept.get(server)?;
        let until = known.failed_until.filter(|until| *until > now)?;
        Some(Found { hops: known.hops.clone(), until })
    }

    fn last_good(&self, server: &Server, now: Instant) -> Option<Found> {
        let mut kept = self.kept();
        let known = kept.get_mut(server)?;
        let until = now + AFTER_FAILURE;
        known.failed_until = Some(until);
        Some(Found { hops: known.hops.clone(), until })
    }

    async fn ask(&self, server: &Server) -> Located {
        let Server { host, port, transport } = server;
        // A name of the machine's own or of the local network has no services.
        let port = match host.contains('.') && !self.is_in_hosts(host) {
            true => *port,
            false => port.or_else(|| Some(transport.unwrap_or(Transport::Udp).default_port())),
        };
        let supported = [Transport::Udp, Transport::Tcp, Transport::Tls];
        let mut locate = Locate::new(host, port, *transport, false, &supported, rand::random());
        while let Some(query) = locate.poll_query() {
            let answer = match &self.dns {
                Some(dns) => answer(dns, &query).await,
                None => self.ask_hosts(&query),
            };
            locate.handle_answer(answer);
        }
        locate.finish()
    }

    fn is_in_hosts(&self, host: &str) -> bool {
        !self.hosts_of(host).is_empty()
    }

    fn ask_hosts(&self, query: &Query) -> Answer {
        let Query::Addresses(host, ..) = query else { return Answer::Failed };
        let addresses = self.hosts_of(host);
        if addresses.is_empty() { Answer::Failed } else { Answer::Addresses { ttl: TTL.1, addresses } }
    }

    fn hosts_of(&self, host: &str) -> Vec<IpAddr> {
        let Ok(name) = Name::from_utf8(host) else { return Vec::new() };
        let look = |kind| self.hosts.lookup_static_host(&DnsQuery::query(name.clone(), kind));
        let found = [RecordType::A, RecordType::AAAA].into_iter().filter_map(look);
        found
            .flat_map(|lookup| {
                lookup.answers().iter().filter_map(|record| record.data.ip_addr()).collect::<Vec<_>>()
            })
            .collect()
    }

    fn kept(&self) -> MutexGuard<'_, HashMap<Server, Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn build(servers: &[SocketAddr]) -> Result<TokioResolver, NetError> {
    let mut builder = if servers.is_empty() {
        TokioResolver::builder_tokio()?
    } else {
        let server = |address: &SocketAddr| {
            let mut server = NameServerConfig::udp_and_tcp(address.ip());
            server.connections.iter_mut().for_each(|connection| connection.port = address.port());
            server
        };
        let config = ResolverConfig::from_name_servers(servers.iter().map(server).collect());
        TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
    };
    let options: &mut ResolverOpts = builder.options_mut();
    options.timeout = QUERY;
    options.attempts = 2;
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    (options.positive_min_ttl, options.positive_max_ttl) = (Some(TTL.0), Some(TTL.1));
    (options.negative_min_ttl, options.negative_max_ttl) = (Some(TTL.0), Some(Duration::from_secs(60)));
    builder.build()
}

async fn answer(dns: &TokioResolver, query: &Query) -> Answer {
    let lasts = |until: Instant| until.saturating_duration_since(Instant::now());
    let (name, kind) = match query {
        Query::Naptr(name) => (name, RecordType::NAPTR),
        Query::Srv(name, _) => (name, RecordType::SRV),
        Query::Addresses(name, ..) => {
            return match dns.lookup_ip(rooted(name)).await {
                Ok(found) => {
                    Answer::Addresses { ttl: lasts(found.valid_until()), addresses: found.iter().collect() }
                }
                Err(error) => failure(&error),
            };
        }
    };
    let found = match dns.lookup(rooted(name), kind).await {
        Ok(found) => found,
        Err(error) => return failure(&error),
    };
    let (ttl, records) = (lasts(found.valid_until()), found.answers().iter().map(|record| &record.data));
    match query {
        Query::Naptr(_) => Answer::Naptr { ttl, records: records.filter_map(naptr).collect() },
        _ => Answer::Srv { ttl, records: records.filter_map(srv).collect() },
    }
}

/// A name with dots is looked up as it is, without the search list of `/etc/resolv.conf`.
fn rooted(name: &str) -> String {
    if name.contains('.') && !name.ends_with('.') { format!("{name}.") } else { name.to_owned() }
}

fn failure(error: &NetError) -> Answer {
    if error.is_no_records_found() { Answer::None(None) } else { Answer::Failed }
}

fn naptr(data: &RData) -> Option<Naptr> {
    let RData::NAPTR(record) = data else { return None };
    Some(Naptr {
        order: record.order,
        preference: record.preference,
        flags: String::from_utf8_lossy(&record.flags).into_owned(),
        services: String::from_utf8_lossy(&record.services).into_owned(),
        replacement: record.replacement.to_ascii(),
    })
}

fn srv(data: &RData) -> Option<Srv> {
    let RData::SRV(record) = data else { return None };
    let target = record.target.to_ascii();
    Some(Srv { priority: record.priority, weight: record.weight, port: record.port, target })
}
