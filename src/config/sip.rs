//! `[sip]`: where SIP is listened on, and our certificate.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::engine::{DAY, join, time};
use super::pem;
use crate::diagnostic::document::{Item, Table};

/// The most addresses of one kind.
const MOST: usize = 16;

/// `[sip]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sip {
    /// Where to listen for UDP and TCP; at least one address. The unspecified one means all; trunks are then told the
    /// address that the route selects.
    pub listen: Vec<SocketAddr>,
    /// Where to listen for TLS.
    pub listen_tls: Vec<SocketAddr>,
    /// Where to listen for WebSockets, for browser phones on this machine or behind a proxy that ends TLS.
    pub listen_ws: Vec<SocketAddr>,
    /// Where to listen for WebSockets over TLS, for browser phones.
    pub listen_wss: Vec<SocketAddr>,
    /// The DNS servers to ask; empty is those of `/etc/resolv.conf`.
    pub dns: Vec<SocketAddr>,
    /// Our certificate with its chain, and its key: PEM files that were readable and belong together.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// How long the SIP messages of calls are kept; zero: they are not kept at all.
    pub keep_trace: Duration,
}

/// Reads the section; paths are relative to `dir`.
pub(super) fn read(table: &Table<'_, '_>, dir: &Path) -> Option<Sip> {
    let listen = match table.get("listen") {
        Some(item) => addresses(&item, "127.0.0.1:5060"),
        None => "127.0.0.1:5060".parse().ok().map(|address| vec![address]),
    };
    let others = |key, example| table.get(key).map_or(Some(Vec::new()), |item| addresses(&item, example));
    let listen_tls = others("listen_tls", "0.0.0.0:5061");
    let listen_ws = others("listen_ws", "127.0.0.1:5080");
    let listen_wss = others("listen_wss", "0.0.0.0:5443");
    let dns = read_dns(table);
    let identity = read_identity(table, dir);
    let keep_trace = time(table, "keep_trace", 14 * DAY, Duration::ZERO, 365 * DAY);
    Some(Sip {
        listen: listen?,
        listen_tls: listen_tls?,
        listen_ws: listen_ws?,
        listen_wss: listen_wss?,
        dns: dns?,
        identity: identity?,
        keep_trace: keep_trace?,
    })
}

/// One address or a list of them.
fn addresses(item: &Item<'_, '_>, example: &str) -> Option<Vec<SocketAddr>> {
    let quoted = format!("\"{example}\"");
    let parse = |item: &Item<'_, '_>| {
        item.parsed(&quoted, |text| {
            text.parse::<SocketAddr>().map_err(|_| "this is not an IP address with a port")
        })
    };
    if item.as_text().is_some() {
        return Some(vec![parse(item)?]);
    }
    let list = item.list(&format!("[{quoted}]"))?;
    if list.is_empty() || list.len() > MOST {
        item.error(
            format!("`{}` must have 1 to {MOST} addresses", item.key),
            format!("write `{} = {quoted}`", item.key),
        );
        return None;
    }
    list.iter().map(parse).collect()
}

/// The most DNS servers that may be named.
const MAX_DNS: usize = 8;

/// Addresses with or without a port, which is 53 then.
fn read_dns(table: &Table<'_, '_>) -> Option<Vec<SocketAddr>> {
    let Some(item) = table.get("dns") else { return Some(Vec::new()) };
    let members = item.list("[\"127.0.0.1:53\"]")?;
    if members.len() > MAX_DNS {
        item.error("`dns` names too many servers", format!("name {MAX_DNS} at most"));
        return None;
    }
    let read = |text: &str| {
        let bare = || text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 53));
        text.parse::<SocketAddr>().or_else(|_| bare()).map_err(|_| "this is not the IP address of a DNS server")
    };
    members.iter().map(|member| member.parsed("\"127.0.0.1:53\"", read)).collect()
}

/// `certificate` and `key`, which `listen_tls` and `listen_wss` need.
fn read_identity(table: &Table<'_, '_>, dir: &Path) -> Option<Option<(PathBuf, PathBuf)>> {
    let secure = ["listen_tls", "listen_wss"].into_iter().find_map(|key| table.get(key));
    let (certificate, key) = match (table.get("certificate"), table.get("key"), secure) {
        (Some(certificate), Some(key), Some(_)) => (certificate, key),
        (None, None, None) => return Some(None),
        (None, _, Some(listen)) => {
            let help = "add `certificate = \"fullchain.pem\"` and `key = \"privkey.pem\"`, as your authority gave them";
            listen.key_error(format!("`{}` without `certificate`", listen.key), help);
            return None;
        }
        (Some(certificate), None, _) => {
            certificate.key_error("`certificate` without `key`", "add `key = \"privkey.pem\"`");
            return None;
        }
        (certificate, key, None) => {
            if let Some(item) = certificate.or(key) {
                let help = format!("add `listen_tls = \"0.0.0.0:5061\"`, or remove `{}`", item.key);
                item.key_error(format!("`{}` without `listen_tls` or `listen_wss`", item.key), help);
            }
            return None;
        }
    };
    let path = |item: &Item<'_, '_>| item.text("\"fullchain.pem\"").map(|path| join(dir, path));
    let (chain_file, key_file) = (path(&certificate)?, path(&key)?);
    if let Err(error) = pem::identity(&chain_file, &key_file) {
        let item = if error.path() == key_file { key } else { certificate };
        item.error(
            error.to_string(),
            "the path is relative to this file; `openssl x509 -in FILE` shows a certificate",
        );
        return None;
    }
    Some(Some((chain_file, key_file)))
}
