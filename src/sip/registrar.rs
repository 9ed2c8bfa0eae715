//! The registrar of the house (RFC 3261 §10.3): who may register, and where their telephones are.
//!
//! A telephone is reached through the hop that its REGISTER came from, whatever its Contact says: behind a NAT nothing else
//! gets through, and on a connection nothing else exists. Path is kept (RFC 3327). Bindings expire by `now`, when anybody looks.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::Hop;
use super::auth::{Algorithm, Challenger, Verdict};
use super::message::{Header, HeaderName, Message, NameAddr, Uri, delta_seconds};
use super::rate::{Penalty, PenaltyBox};
use crate::pii::Secret;

/// The shortest and the longest life of a binding, in seconds; the longest is also what is granted when none is asked for.
const MIN_EXPIRES: u32 = 60;
const MAX_EXPIRES: u32 = 3600;
/// How long a nonce may be used.
const NONCE_LIFETIME: Duration = Duration::from_secs(300);
/// The most proxies in a Path.
const MAX_PATH: usize = 8;

/// Who may register.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The password.
    pub password: Secret,
    /// How many devices at once; a further one takes the place of the one that was heard of longest ago.
    pub max_contacts: usize,
    /// Its devices give up when they are offered anything but MD5.
    pub md5_only: bool,
}

/// Where one device of an account is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// Its Contact, for the Request-URI.
    pub contact: Uri,
    /// Where it was when it registered, and where its messages go.
    pub hop: Hop,
    /// The proxies on the way, for Route, nearest to us first.
    pub path: Box<[Box<str>]>,
    /// When it is forgotten.
    pub expires_at: Instant,
    call_id: Box<str>,
    cseq: u32,
}

/// What a REGISTER gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// This status with these fields.
    Respond(u16, Vec<Header>),
    /// Nothing.
    Silence,
}

/// Accounts and their bindings.
#[derive(Debug)]
pub struct Registrar {
    accounts: HashMap<String, Account>,
    bindings: HashMap<String, Vec<Binding>>,
    challenger: Challenger,
    /// For INVITE: 407.
    proxy: Challenger,
    penalties: PenaltyBox,
}

impl Registrar {
    /// Nobody may register yet. `seed` feeds the nonces.
    pub fn new(realm: &str, seed: u64) -> Self {
        let algorithms = [Algorithm::SHA_256, Algorithm::MD5];
        Self {
            accounts: HashMap::new(),
            bindings: HashMap::new(),
            challenger: Challenger::new(realm, &algorithms, NONCE_LIFETIME, false, seed),
            proxy: Challenger::new(realm, &algorithms, NONCE_LIFETIME, true, !seed),
            penalties: PenaltyBox::default(),
        }
    }

    /// Replaces who may register. Bindings of accounts that are gone or have another password go too.
    pub fn set_accounts(&mut self, accounts: HashMap<String, Account>) {
        let old = std::mem::replace(&mut self.accounts, accounts);
        let same = |name: &str| {
            let (old, new) = (old.get(name), self.accounts.get(name));
            old.zip(new).is_some_and(|(old, new)| old.password == new.password)
        };
        self.bindings.retain(|name, _| same(name));
    }

    /// Where the devices of `name` are now, the one heard of last first.
    pub fn bindings(&self, now: Instant, name: &str) -> Vec<&Binding> {
        let all = self.bindings.get(name).into_iter().flatten();
        all.rev().filter(|binding| binding.expires_at > now).collect()
    }

    /// The addresses from which devices have registered.
    pub fn addresses(&self, now: Instant) -> HashSet<IpAddr> {
        let all = self.bindings.values().flatten().filter(|binding| binding.expires_at > now);
        all.map(|binding| binding.hop.address.ip()).collect()
    }

    /// Forgets what has expired.
    pub fn sweep(&mut self, now: Instant) {
        self.bindings.retain(|_, bindings| {
            bindings.retain(|binding| binding.expires_at > now);
            !bindings.is_empty()
        });
    }

    /// Answers a REGISTER that came from `source`. The address of a trunk is `trusted`: its mistakes are never held against it.
    pub fn handle(&mut self, now: Instant, source: Hop, trusted: bool, request: &Message) -> Answer {
        self.sweep(now);
        let address = source.address.ip();
        if !trusted && self.penalties.is_silenced(now, address) && !self.is_bound(source) {
            return Answer::Silence;
        }
        let (accounts, unknown) = (&self.accounts, self.unknown_to(request, HeaderName::To));
        let verdict = self.challenger.verify_with(now, request, unknown, |user| {
            accounts.get(user).map(|account| account.password.clone())
        });
        match verdict {
            Verdict::Accepted { username } => {
                self.penalties.forgive(address);
                match self.register(now, source, &username, request) {
                    Ok(headers) => Answer::Respond(200, headers),
                    Err((status, headers)) => Answer::Respond(status, headers),
                }
            }
            Verdict::Challenge(headers) => Answer::Respond(401, headers),
            Verdict::Wrong(headers) if trusted => Answer::Respond(401, headers),
            Verdict::Wrong(headers) => match self.penalties.fail(now, address) {
                Penalty::Challenge => Answer::Respond(401, headers),
                Penalty::Forbid => Answer::Respond(403, Vec::new()),
                Penalty::Silence => Answer::Silence,
            },
        }
    }

    /// Who makes a call from `source`, where somebody has registered.
    ///
    /// # Errors
    /// What the INVITE gets instead.
    pub fn caller(&mut self, now: Instant, source: Hop, invite: &Message) -> Result<String, Answer> {
        let address = source.address.ip();
        if self.penalties.is_silenced(now, address) && !self.is_bound(source) {
            return Err(Answer::Silence);
        }
        let (accounts, unknown) = (&self.accounts, self.unknown_to(invite, HeaderName::From));
        let password = |user: &str| accounts.get(user).map(|account| account.password.clone());
        match self.proxy.verify_with(now, invite, unknown, password) {
            Verdict::Accepted { username } => {
                self.penalties.forgive(address);
                Ok(username)
            }
            Verdict::Challenge(headers) => Err(Answer::Respond(407, headers)),
            Verdict::Wrong(headers) => Err(match self.penalties.fail(now, address) {
                Penalty::Challenge => Answer::Respond(407, headers),
                Penalty::Forbid => Answer::Respond(403, Vec::new()),
                Penalty::Silence => Answer::Silence,
            }),
        }
    }

    /// What must not be offered to whoever `field` names.
    fn unknown_to(&self, request: &Message, field: HeaderName) -> &'static [Algorithm] {
        let value = request.header(field).unwrap_or_default();
        let address = NameAddr::parse(&value).and_then(|address| address.to_uri().ok());
        let account = address.and_then(|address| self.accounts.get(address.user()?));
        if account.is_some_and(|account| account.md5_only) { &[Algorithm::SHA_256] } else { &[] }
    }

    fn is_bound(&self, source: Hop) -> bool {
        self.bindings.values().flatten().any(|binding| binding.hop == source)
    }

    /// RFC 3261 §10.3, steps 4 to 8, for a request whose credentials are right. All of it happens or nothing.
    fn register(
        &mut self,
        now: Instant,
        source: Hop,
        user: &str,
        request: &Message,
    ) -> Result<Vec<Header>, Refused> {
        let refused = |status| (status, Vec::new());
        let to = request.header(HeaderName::To).unwrap_or_default();
        let address = NameAddr::parse(&to).and_then(|to| to.to_uri().ok()).ok_or(refused(400))?;
        if address.user() != Some(user) {
            return Err(refused(403));
        }
        let account = self.accounts.get(user).ok_or(refused(404))?;
        let mut bindings = self.bindings.get(user).cloned().unwrap_or_default();
        let call_id = request.call_id();
        let cseq = request.cseq().map(|cseq| cseq.number).unwrap_or_default();
        // A request that was overtaken by a later one of the same device changes nothing.
        let is_old = |binding: &Binding| *binding.call_id == *call_id && cseq <= binding.cseq;
        let default = request.header(HeaderName::Expires).and_then(|value| delta_seconds(&value));
        let contacts = request.list(HeaderName::Contact);
        if contacts.iter().any(|contact| contact.trim() == "*") {
            if contacts.len() > 1 || default != Some(0) {
                return Err(refused(400));
            }
            if bindings.iter().any(is_old) {
                return Err(refused(500));
            }
            bindings.clear();
        } else if contacts.len() > account.max_contacts {
            return Err(refused(403));
        }
        let path: Box<[Box<str>]> =
            request.list(HeaderName::from_token("Path")).into_iter().map(String::into_boxed_str).collect();
        if path.len() > MAX_PATH {
            return Err(refused(400));
        }
        for contact in contacts.iter().filter(|contact| contact.trim() != "*") {
            let (uri, expires) = read_contact(contact, default).ok_or(refused(400))?;
            if expires > 0 && expires < MIN_EXPIRES {
                return Err((423, vec![Header::new(HeaderName::MinExpires, &MIN_EXPIRES.to_string())]));
            }
            if let Some(at) = bindings.iter().position(|binding| is_same(&binding.contact, &uri)) {
                if bindings.get(at).is_some_and(is_old) {
                    return Err(refused(500));
                }
                bindings.remove(at);
            }
            if expires > 0 {
                let expires_at = now + Duration::from_secs(expires.min(MAX_EXPIRES).into());
                let call_id = call_id.as_ref().into();
                bindings.push(Binding {
                    contact: uri,
                    hop: source,
                    path: path.clone(),
                    expires_at,
                    call_id,
                    cseq,
                });
            }
        }
        let surplus = bindings.len().saturating_sub(account.max_contacts);
        bindings.drain(..surplus);
        bindings.shrink_to_fit();
        let headers = granted(now, &bindings, &path);
        match bindings.is_empty() {
            true => self.bindings.remove(user),
            false => self.bindings.insert(user.to_owned(), bindings),
        };
        Ok(headers)
    }
}

type Refused = (u16, Vec<Header>);

/// A Contact with the life that is asked for it, in seconds.
fn read_contact(text: &str, default: Option<u32>) -> Option<(Uri, u32)> {
    let contact = NameAddr::parse(text)?;
    let own = contact.params.value("expires").and_then(|value| delta_seconds(&value));
    Some((contact.to_uri().ok()?, own.or(default).unwrap_or(MAX_EXPIRES)))
}

/// What of RFC 3261 §19.1.4 tells devices apart: user, host, port and transport.
fn is_same(one: &Uri, other: &Uri) -> bool {
    let transport = |uri: &Uri| uri.params().value("transport").map(|value| value.to_ascii_lowercase());
    one.scheme() == other.scheme()
        && one.user() == other.user()
        && one.host().eq_ignore_ascii_case(other.host())
        && one.port() == other.port()
        && transport(one) == transport(other)
}

/// All bindings with what is left of their lives (RFC 3261 §10.3 step 8), and the Path as it came (RFC 3327 §5.3).
fn granted(now: Instant, bindings: &[Binding], path: &[Box<str>]) -> Vec<Header> {
    let contact = |binding: &Binding| {
        let left = binding.expires_at.saturating_duration_since(now).as_secs();
        Header::new(HeaderName::Contact, &format!("<{}>;expires={left}", binding.contact.as_str()))
    };
    let path = path.iter().map(|proxy| Header::new(HeaderName::from_token("Path"), proxy));
    bindings.iter().map(contact).chain(path).collect()
}

#[cfg(test)]
#[path = "registrar_tests.rs"]
mod tests;
