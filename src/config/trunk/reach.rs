//! How a trunk is reached: transport, certificates, proxy, our address as it is told to the trunk, and whether it is alive.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::read_host;
use crate::diagnostic::document::{Item, Table};

/// How a trunk is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// UDP.
    Udp,
    /// TCP.
    Tcp,
    /// TLS over TCP.
    Tls,
}

/// `tls = { ... }`. Without a CA, the system's are trusted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tls {
    /// A PEM file with the certificates of who may have signed the trunk's, instead of the system's.
    pub ca: Option<PathBuf>,
    /// A PEM file with our certificate and its chain, and one with its key; both or neither.
    pub client: Option<(PathBuf, PathBuf)>,
    /// The name that the trunk's certificate must carry, if it is not the host.
    pub server_name: Option<String>,
}

/// `outbound_proxy = "HOST[:PORT]"`: every request goes there first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxy {
    /// A name or an IP address.
    pub host: String,
    /// The port, if one is given.
    pub port: Option<u16>,
}

/// The address that the trunk is told to reach us at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Advertised {
    /// The address that the route selects, until the trunk shows another one (RFC 3581).
    Auto,
    /// This one, with the port that we listen on unless one is given: a port forwarded by a router.
    Fixed {
        /// The address.
        ip: IpAddr,
        /// The port.
        port: Option<u16>,
    },
}

/// How often a trunk that we do not register with is asked whether it lives.
const OPTIONS_EVERY: Duration = Duration::from_secs(30);

pub(super) fn read_transport(table: &Table<'_, '_>) -> Option<Option<Transport>> {
    let words = [("udp", Transport::Udp), ("tcp", Transport::Tcp), ("tls", Transport::Tls)];
    table.get("transport").map_or(Some(None), |item| item.word(&words).map(Some))
}

/// Paths are relative to `dir`, where the trunk's file is.
pub(super) fn read_tls(table: &Table<'_, '_>, dir: &Path, transport: Option<Option<Transport>>) -> Option<Tls> {
    let Some(item) = table.get("tls") else { return Some(Tls::default()) };
    if transport.is_some_and(|transport| transport != Some(Transport::Tls)) {
        item.key_error("`tls` without `transport = \"tls\"`", "write `transport = \"tls\"`, or remove `tls`");
        return None;
    }
    let table = item.table("`tls`", "{ ca = \"ca.pem\" }")?;
    let file = |key, what| match table.get(key) {
        Some(item) => read_pem(&item, dir, what).map(Some),
        None => Some(None),
    };
    let (ca, certificate) = (file("ca", "CERTIFICATE"), file("certificate", "CERTIFICATE"));
    let key = file("key", "PRIVATE KEY");
    let server_name = match table.get("server_name") {
        Some(item) => item.parsed("\"sip.example.net\"", read_host).map(Some),
        None => Some(None),
    };
    table.finish();
    for (one, other) in [("certificate", "key"), ("key", "certificate")] {
        if let Some(item) = table.get(one).filter(|_| !table.has(other)) {
            item.key_error(format!("`{one}` without `{other}`"), format!("add `{other} = \"...pem\"`"));
        }
    }
    Some(Tls { ca: ca?, client: certificate?.zip(key?), server_name: server_name? })
}

fn read_pem(item: &Item<'_, '_>, dir: &Path, what: &str) -> Option<PathBuf> {
    let name = item.text("\"trunk.pem\"")?;
    let path = dir.join(name);
    let help = "the path is relative to this file; it must be PEM, as `openssl x509 -in FILE` reads it";
    let wrong = match std::fs::read(&path) {
        Ok(bytes) => {
            let text = String::from_utf8_lossy(&bytes);
            let begins = |line: &str| {
                line.starts_with("-----BEGIN ") && line.trim_end().ends_with(&format!("{what}-----"))
            };
            if text.lines().any(begins) {
                return Some(path);
            }
            format!("the file `{name}` has no line `-----BEGIN {what}-----`")
        }
        Err(error) => format!("the file `{name}` cannot be read: {error}"),
    };
    item.error(wrong, help);
    None
}

pub(super) fn read_proxy(table: &Table<'_, '_>) -> Option<Option<Proxy>> {
    let Some(item) = table.get("outbound_proxy") else { return Some(None) };
    item.parsed("\"proxy.example.net:5060\"", |text| {
        let (host, port) = split_port(text).ok_or("the port is not a number from 1 to 65535")?;
        Ok::<_, &'static str>(Some(Proxy { host: read_host(host)?, port }))
    })
}

pub(super) fn read_advertised(table: &Table<'_, '_>) -> Option<Advertised> {
    let Some(item) = table.get("advertised") else { return Some(Advertised::Auto) };
    item.parsed("\"203.0.113.7:5060\"", |text| {
        if text == "auto" {
            return Ok(Advertised::Auto);
        }
        let (host, port) = split_port(text).ok_or("the port is not a number from 1 to 65535")?;
        let ip: IpAddr = host.trim_matches(['[', ']']).parse().map_err(
            |_| "this is neither `auto` nor an IP address that the trunk can reach, with or without a port",
        )?;
        if ip.is_unspecified() {
            return Err("nobody can reach the unspecified address");
        }
        Ok(Advertised::Fixed { ip, port })
    })
}

/// `HOST`, `HOST:PORT`, `[V6]:PORT` or a bare IPv6 address; `None` when the port is none.
fn split_port(text: &str) -> Option<(&str, Option<u16>)> {
    let is_address = text.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
    match text.rsplit_once(':') {
        _ if is_address => Some((text, None)),
        Some((host, port)) if !host.contains(':') || text.parse::<SocketAddr>().is_ok() => {
            let port = port.parse().ok().filter(|port| *port != 0)?;
            Some((host, Some(port)))
        }
        _ => Some((text, None)),
    }
}

/// `None`: the trunk is not asked. `registers`: a registration says the same, so that it need not be asked.
pub(super) fn read_options_every(table: &Table<'_, '_>, registers: bool) -> Option<Option<Duration>> {
    let Some(item) = table.get("options_every") else {
        return Some((!registers).then_some(OPTIONS_EVERY));
    };
    let time = item.duration(Duration::ZERO..=Duration::from_secs(3600))?;
    if time > Duration::ZERO && time < Duration::from_secs(5) {
        item.error("`options_every` is too often", "write a time from 5s to 1h, or \"0s\" to never ask");
        return None;
    }
    Some((!time.is_zero()).then_some(time))
}

/// Media is not encrypted yet; a file that wants it must not be taken as if it were.
pub(super) fn check_srtp(table: &Table<'_, '_>) {
    let Some(item) = table.get("srtp") else { return };
    match item.text("\"off\"") {
        Some("off") | None => {}
        Some("optional" | "required") => {
            item.error("encrypted media is not supported yet", "write `srtp = \"off\"`, or remove the line");
        }
        Some(other) => {
            item.error(
                format!("`{other}` is not a value of `srtp`"),
                "write `srtp = \"off\"`, the only one supported",
            );
        }
    }
}
