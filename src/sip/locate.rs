//! Where a SIP server is: its name becomes transports, ports and addresses in order of preference (RFC 3263 §4, RFC 2782).
//!
//! ```text
//!   address ──────────────────────────────────────────────────────────► hop
//!   name with a port ─────────────────────────────────► A, AAAA ──────► hops
//!   name with a transport ──────────► SRV ────────────► A, AAAA ──────► hops
//!   name alone ──────────► NAPTR ───► SRV ────────────► A, AAAA ──────► hops
//!                            └─ none ─► SRV of each ─ none ─► A, AAAA ─► hops
//! ```
//! Ask [`Locate::poll_query`], hand the answer to [`Locate::handle_answer`], until there is nothing to ask.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::hop::{Hop, Transport};

/// The most hops found for one server.
pub const MAX_HOPS: usize = 32;
/// The most records looked at for one server, addresses aside.
pub const MAX_RECORDS: usize = 64;

/// One question for the DNS.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Query {
    /// The services of a domain (RFC 3403).
    Naptr(String),
    /// The servers of a service: `_sip._udp.example.net`, and what that service's transport is.
    Srv(String, Transport),
    /// The addresses of a host, A and AAAA, for this port and transport.
    Addresses(String, u16, Transport),
}

/// A NAPTR record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Naptr {
    /// Lower comes first.
    pub order: u16,
    /// Lower comes first among equal orders.
    pub preference: u16,
    /// `s`: the replacement has SRV records.
    pub flags: String,
    /// `SIP+D2U`, `SIP+D2T`, `SIPS+D2T`.
    pub services: String,
    /// The name to go on with.
    pub replacement: String,
}

/// An SRV record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Srv {
    /// Lower comes first.
    pub priority: u16,
    /// The share among equal priorities.
    pub weight: u16,
    /// The port.
    pub port: u16,
    /// The host; `.` says that there is no such service.
    pub target: String,
}

/// The answer to the last query. `ttl` is how long it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// To [`Query::Naptr`].
    Naptr {
        /// How long it holds.
        ttl: Duration,
        /// The records.
        records: Vec<Naptr>,
    },
    /// To [`Query::Srv`].
    Srv {
        /// How long it holds.
        ttl: Duration,
        /// The records.
        records: Vec<Srv>,
    },
    /// To [`Query::Addresses`].
    Addresses {
        /// How long it holds.
        ttl: Duration,
        /// The addresses.
        addresses: Vec<IpAddr>,
    },
    /// To any: there is no such record. How long that holds, if it is known.
    None(Option<Duration>),
    /// To any: nobody knows; the server was silent or failed.
    Failed,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located {
    /// The hops, best first; empty when the name leads nowhere.
    pub hops: Vec<Hop>,
    /// How long it holds: the shortest time of any answer; `None` when no answer was needed.
    pub ttl: Option<Duration>,
    /// Whether every query was answered. If not, the hops are what was left, and older ones may be better.
    pub complete: bool,
}

/// The search for one server.
#[derive(Debug)]
pub struct Locate {
    host: String,
    transport: Option<Transport>,
    supported: Vec<Transport>,
    rng: StdRng,
    pending: VecDeque<Query>,
    asked: Option<Query>,
    /// What is left to try while nothing was found, the next one last.
    fallbacks: Vec<Fallback>,
    /// Transports whose SRV record says that they are not offered (`.`).
    refused: Vec<Transport>,
    records: usize,
    found: Located,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fallback {
    Services,
    Addresses,
}

impl Locate {
    /// Looks for `host`, a name or an address, with the port and transport that its URI or configuration names. `secure` is
    /// `sips`: TLS alone will do. `supported` are the transports that we can use, the one we like best first.
    pub fn new(
        host: &str,
        port: Option<u16>,
        transport: Option<Transport>,
        secure: bool,
        supported: &[Transport],
        rng_seed: u64,
    ) -> Self {
        let transport = if secure { Some(Transport::Tls) } else { transport };
        let host = host.trim_matches(['[', ']']).trim_end_matches('.').to_owned();
        let mut locate = Self {
            supported: transport.map_or_else(|| supported.to_vec(), |transport| vec![transport]),
            transport,
            rng: StdRng::seed_from_u64(rng_seed),
            pending: VecDeque::new(),
            asked: None,
            fallbacks: Vec::new(),
            refused: Vec::new(),
            records: 0,
            found: Located { hops: Vec::new(), ttl: None, complete: true },
            host,
        };
        let (transport, host) = (locate.transport_without_dns(), locate.host.clone());
        if let Ok(address) = host.parse::<IpAddr>() {
            let port = port.unwrap_or_else(|| transport.default_port());
            locate.found.hops.push(Hop::new(transport, SocketAddr::new(address, port)));
        } else if let Some(port) = port {
            locate.pending.push_back(Query::Addresses(host, port, transport));
        } else if locate.transport.is_some() {
            locate.fallbacks = vec![Fallback::Addresses, Fallback::Services];
        } else {
            locate.pending.push_back(Query::Naptr(host));
            locate.fallbacks = vec![Fallback::Addresses, Fallback::Services];
        }
        locate
    }

    /// The next question; answer it before the next one is asked. `None`: everything that can be known is.
    pub fn poll_query(&mut self) -> Option<Query> {
        if self.found.hops.len() >= MAX_HOPS {
            return None;
        }
        while self.pending.is_empty() && self.found.hops.is_empty() {
            self.fall_back()?;
        }
        self.asked = self.pending.pop_front();
        self.asked.clone()
    }

    /// Takes the answer to the last question. An answer of another kind than the question is no answer.
    pub fn handle_answer(&mut self, answer: Answer) {
        let Some(asked) = self.asked.take() else { return };
        match (asked, answer) {
            (Query::Naptr(_), Answer::Naptr { ttl, records }) => {
                self.note_ttl(Some(ttl));
                self.take_services(records);
            }
            (Query::Srv(_, transport), Answer::Srv { ttl, records }) => {
                self.note_ttl(Some(ttl));
                self.take_servers(records, transport);
            }
            (Query::Addresses(_, port, transport), Answer::Addresses { ttl, addresses }) => {
                self.note_ttl(Some(ttl));
                self.take_addresses(&addresses, port, transport);
            }
            (_, Answer::None(ttl)) => self.note_ttl(ttl),
            _ => self.found.complete = false,
        }
    }

    /// What was found; complete once [`Self::poll_query`] has nothing to ask.
    pub fn finish(self) -> Located {
        self.found
    }

    /// RFC 3263 §4.1: the one that is asked for, else UDP, if we speak it.
    fn transport_without_dns(&self) -> Transport {
        let udp = || self.supported.contains(&Transport::Udp).then_some(Transport::Udp);
        self.transport.or_else(udp).or(self.supported.first().copied()).unwrap_or(Transport::Udp)
    }

    fn fall_back(&mut self) -> Option<()> {
        match self.fallbacks.pop()? {
            Fallback::Services => {
                let named = |transport| service(transport).map(|service| (service, transport));
                for (service, transport) in self.supported.iter().copied().filter_map(named) {
                    self.pending.push_back(Query::Srv(format!("{service}.{}", self.host), transport));
                }
            }
            Fallback::Addresses => {
                let transport = self.transport_without_dns();
                if !self.refused.contains(&transport) {
                    let port = transport.default_port();
                    self.pending.push_back(Query::Addresses(self.host.clone(), port, transport));
                }
            }
        }
        Some(())
    }

    /// RFC 3263 §4.1: the services that we speak, by order and preference.
    fn take_services(&mut self, mut records: Vec<Naptr>) {
        records.truncate(self.room());
        self.records += records.len();
        records.sort_by_key(|record| (record.order, record.preference));
        for record in records {
            let Some(transport) = transport_of(&record.services) else { continue };
            let leads_to_srv = record.flags.eq_ignore_ascii_case("s") && !is_root(&record.replacement);
            if leads_to_srv && self.supported.contains(&transport) {
                self.pending.push_back(Query::Srv(plain(&record.replacement), transport));
            }
        }
    }

    /// RFC 2782: by priority, and by weighted chance among equals. They come before whatever else is still to ask.
    fn take_servers(&mut self, mut records: Vec<Srv>, transport: Transport) {
        records.truncate(self.room());
        self.records += records.len();
        if records.iter().any(|record| is_root(&record.target)) {
            self.refused.push(transport);
        }
        // Port 0 is nowhere.
        records.retain(|record| !is_root(&record.target) && record.port != 0);
        if !records.is_empty() {
            // There are servers: if none of them has an address, the domain's own address is not a replacement.
            self.fallbacks.clear();
        }
        records.sort_by_key(|record| record.priority);
        let mut ordered = Vec::new();
        while let Some(priority) = records.first().map(|record| record.priority) {
            let count = records.iter().take_while(|record| record.priority == priority).count();
            self.draw(records.drain(..count).collect(), &mut ordered);
        }
        for record in ordered.into_iter().rev() {
            self.pending.push_front(Query::Addresses(plain(&record.target), record.port, transport));
        }
    }

    /// Draws servers of one priority: each next one by chance, in proportion to its weight among those left.
    fn draw(&mut self, mut left: Vec<Srv>, ordered: &mut Vec<Srv>) {
        // Weight 0 first: then it is drawn only by the number 0.
        left.sort_by_key(|record| record.weight != 0);
        while !left.is_empty() {
            let sum: u32 = left.iter().map(|record| u32::from(record.weight)).sum();
            let drawn = self.rng.random_range(0..=sum);
            let mut running = 0;
            let reached = |record: &Srv| {
                running += u32::from(record.weight);
                running >= drawn
            };
            let index = left.iter().position(reached).unwrap_or(0);
            ordered.push(left.remove(index));
        }
    }

    fn take_addresses(&mut self, addresses: &[IpAddr], port: u16, transport: Transport) {
        for address in addresses {
            let hop = Hop::new(transport, SocketAddr::new(*address, port));
            if self.found.hops.len() < MAX_HOPS && !self.found.hops.contains(&hop) {
                self.found.hops.push(hop);
            }
        }
    }

    fn note_ttl(&mut self, ttl: Option<Duration>) {
        self.found.ttl = self.found.ttl.into_iter().chain(ttl).min();
    }

    fn room(&self) -> usize {
        MAX_RECORDS.saturating_sub(self.records)
    }
}

/// The name under which SRV records of a transport are; WebSocket has none.
fn service(transport: Transport) -> Option<&'static str> {
    match transport {
        Transport::Udp => Some("_sip._udp"),
        Transport::Tcp => Some("_sip._tcp"),
        Transport::Tls => Some("_sips._tcp"),
        Transport::Ws | Transport::Wss => None,
    }
}

fn transport_of(services: &str) -> Option<Transport> {
    let known = [("SIP+D2U", Transport::Udp), ("SIP+D2T", Transport::Tcp), ("SIPS+D2T", Transport::Tls)];
    known.iter().find(|(word, _)| word.eq_ignore_ascii_case(services)).map(|(_, transport)| *transport)
}

fn is_root(name: &str) -> bool {
    name.trim_end_matches('.').is_empty()
}

fn plain(name: &str) -> String {
    name.trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: &[Transport] = &[Transport::Udp, Transport::Tcp, Transport::Tls];
    const MINUTE: Duration = Duration::from_secs(60);

    /// A zone: `(name, kind, data)`, and what is asked of it in order.
    fn locate(locate: Locate, zone: &[(&str, &str)]) -> (Vec<String>, Located) {
        let (mut locate, mut asked) = (locate, Vec::new());
        while let Some(query) = locate.poll_query() {
            let (name, kind) = match &query {
                Query::Naptr(name) => (name, "NAPTR"),
                Query::Srv(name, _) => (name, "SRV"),
                Query::Addresses(name, ..) => (name, "A"),
            };
            let key = format!("{name} {kind}");
            let data: Vec<&str> = zone.iter().filter(|(k, _)| *k == key).map(|(_, data)| *data).collect();
            asked.push(key);
            locate.handle_answer(answer(&query, &data));
        }
        (asked, locate.finish())
    }

    fn answer(query: &Query, data: &[&str]) -> Answer {
        let ttl = MINUTE;
        let words = |line: &&str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        match query {
            _ if data.is_empty() => Answer::None(None),
            _ if data == ["FAILED"] => Answer::Failed,
            Query::Naptr(_) => {
                let records = data.iter().map(words).map(|w| Naptr {
                    order: w[0].parse().unwrap(),
                    preference: w[1].parse().unwrap(),
                    flags: w[2].clone(),
                    services: w[3].clone(),
                    replacement: w[4].clone(),
                });
                Answer::Naptr { ttl, records: records.collect() }
            }
            Query::Srv(..) => {
                let records = data.iter().map(words).map(|w| Srv {
                    priority: w[0].parse().unwrap(),
                    weight: w[1].parse().unwrap(),
                    port: w[2].parse().unwrap(),
                    target: w[3].clone(),
                });
                Answer::Srv { ttl: ttl / 2, records: records.collect() }
            }
            Query::Addresses(..) => {
                Answer::Addresses { ttl, addresses: data.iter().map(|a| a.parse().unwrap()).collect() }
            }
        }
    }

    type Row<'a> = (&'a str, Option<u16>, Option<Transport>, bool, &'a str, &'a str);

    #[test]
    fn names_lead_to_hops_as_rfc_3263_says() {
        use Transport::{Tcp, Tls, Udp};
        let zone = [
            ("full.test NAPTR", "50 50 s SIPS+D2T _sips._tcp.full.test."),
            ("full.test NAPTR", "50 40 s SIP+D2T _sip._tcp.full.test."),
            ("full.test NAPTR", "90 10 s SIP+D2U _sip._udp.full.test."),
            ("full.test NAPTR", "10 10 u E2U+sip !x!y!"),
            ("_sip._tcp.full.test SRV", "0 1 5070 one.full.test."),
            ("_sips._tcp.full.test SRV", "0 1 5071 one.full.test."),
            ("_sip._udp.full.test SRV", "20 1 5060 two.full.test."),
            ("_sip._udp.full.test SRV", "10 1 5060 one.full.test."),
            ("one.full.test A", "192.0.2.1"),
            ("two.full.test A", "192.0.2.2"),
            ("two.full.test A", "2001:db8::2"),
            ("srv.test A", "192.0.2.9"),
            ("_sip._tcp.srv.test SRV", "0 0 5062 one.full.test."),
            ("bare.test A", "192.0.2.3"),
            ("none.test A", "192.0.2.4"),
            ("_sip._udp.none.test SRV", "0 0 0 ."),
            ("gone.test A", "192.0.2.5"),
            ("_sip._udp.gone.test SRV", "0 0 5060 nowhere.test."),
        ];
        let table: &[Row<'_>] = &[
            ("192.0.2.7", None, None, false, "", "udp:192.0.2.7:5060"),
            ("[2001:db8::7]", Some(5070), Some(Tcp), false, "", "tcp:[2001:db8::7]:5070"),
            ("192.0.2.7", None, None, true, "", "tls:192.0.2.7:5061"),
            ("full.test", Some(5080), None, false, "full.test A", ""),
            (
                "two.full.test",
                Some(5080),
                Some(Tcp),
                false,
                "two.full.test A",
                "tcp:192.0.2.2:5080 tcp:[2001:db8::2]:5080",
            ),
            (
                "full.test",
                None,
                Some(Udp),
                false,
                "_sip._udp.full.test SRV, one.full.test A, two.full.test A",
                "udp:192.0.2.1:5060 udp:192.0.2.2:5060 udp:[2001:db8::2]:5060",
            ),
            (
                "full.test",
                None,
                None,
                true,
                "_sips._tcp.full.test SRV, one.full.test A",
                "tls:192.0.2.1:5071",
            ),
            (
                "full.test.",
                None,
                None,
                false,
                "full.test NAPTR, _sip._tcp.full.test SRV, one.full.test A, _sips._tcp.full.test SRV, one.full.test A, \
              _sip._udp.full.test SRV, one.full.test A, two.full.test A",
                "tcp:192.0.2.1:5070 tls:192.0.2.1:5071 udp:192.0.2.1:5060 udp:192.0.2.2:5060 udp:[2001:db8::2]:5060",
            ),
            (
                "srv.test",
                None,
                None,
                false,
                "srv.test NAPTR, _sip._udp.srv.test SRV, _sip._tcp.srv.test SRV, one.full.test A, _sips._tcp.srv.test SRV",
                "tcp:192.0.2.1:5062",
            ),
            (
                "bare.test",
                None,
                None,
                false,
                "bare.test NAPTR, _sip._udp.bare.test SRV, _sip._tcp.bare.test SRV, _sips._tcp.bare.test SRV, bare.test A",
                "udp:192.0.2.3:5060",
            ),
            (
                "bare.test",
                None,
                Some(Tls),
                false,
                "_sips._tcp.bare.test SRV, bare.test A",
                "tls:192.0.2.3:5061",
            ),
            ("none.test", None, Some(Udp), false, "_sip._udp.none.test SRV", ""),
            ("gone.test", None, Some(Udp), false, "_sip._udp.gone.test SRV, nowhere.test A", ""),
        ];
        for (host, port, transport, secure, queries, hops) in table {
            let (asked, found) = locate(Locate::new(host, *port, *transport, *secure, ALL, 1), &zone);
            let found: Vec<String> = found.hops.iter().map(ToString::to_string).collect();
            assert_eq!((asked.join(", ").as_str(), found.join(" ").as_str()), (*queries, *hops), "{host}");
        }
    }

    #[test]
    fn the_shortest_time_counts_and_silence_is_not_absence() {
        let zone = [("_sip._udp.a.test SRV", "0 0 5060 b.test."), ("b.test A", "192.0.2.1")];
        let udp = Some(Transport::Udp);
        let (_, found) = locate(Locate::new("a.test", None, udp, false, ALL, 1), &zone);
        assert_eq!((found.ttl, found.complete), (Some(MINUTE / 2), true));
        let zone = [("_sip._udp.a.test SRV", "FAILED"), ("a.test A", "192.0.2.1")];
        let (_, found) = locate(Locate::new("a.test", None, udp, false, ALL, 1), &zone);
        assert_eq!((found.hops.len(), found.complete), (1, false));
    }

    #[test]
    fn weights_are_shares() {
        let record =
            |weight, target: &str| Srv { priority: 1, weight, port: 5060, target: target.to_owned() };
        let mut first = [0_u32; 3];
        for seed in 0..4000 {
            let mut locate = Locate::new("a.test", None, Some(Transport::Udp), false, ALL, seed);
            locate.poll_query().unwrap();
            let records = vec![record(75, "heavy"), record(25, "light"), record(0, "spare")];
            locate.handle_answer(Answer::Srv { ttl: MINUTE, records });
            let Some(Query::Addresses(name, ..)) = locate.poll_query() else {
                panic!("no address is asked for")
            };
            first[["heavy", "light", "spare"].iter().position(|known| *known == name).unwrap()] += 1;
        }
        let [heavy, light, spare] = first;
        assert!((2850..3150).contains(&heavy) && (850..1150).contains(&light), "{first:?}");
        assert!((1..120).contains(&spare), "about one in a hundred: {first:?}");
    }

    #[test]
    fn a_huge_answer_is_cut() {
        let record = |n: u16| Srv { priority: n, weight: 0, port: 5060, target: format!("h{n}.test") };
        let mut locate = Locate::new("a.test", None, Some(Transport::Udp), false, ALL, 1);
        let mut asked = 0;
        while let Some(query) = locate.poll_query() {
            asked += 1;
            locate.handle_answer(match query {
                Query::Srv(..) => Answer::Srv { ttl: MINUTE, records: (0..1000).map(record).collect() },
                _ if asked % 3 != 0 => Answer::None(None),
                _ => {
                    Answer::Addresses { ttl: MINUTE, addresses: vec![IpAddr::from([192, 0, 2, asked as u8])] }
                }
            });
        }
        let hops = locate.finish().hops.len();
        assert!(hops <= MAX_HOPS && asked <= 1 + MAX_RECORDS, "{hops} hops after {asked} questions");
    }
}
