//! Who calls: the asserted identity, what the caller wants hidden, and who diverted the call (RFC 3323, 3325, 5806, 7044).

use std::fmt;

use super::message::{Address, Header, HeaderName, Message, NameAddr, Uri};
use crate::pii::Redacted;

/// The most values of one field that are read.
const MAX_VALUES: usize = 16;

/// Something that the caller wants hidden (RFC 3323 §4.2, RFC 3325 §9.3, RFC 7044 §7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PrivacyValue {
    /// Nothing: also no default of the network's.
    None,
    /// The asserted identity.
    Id,
    /// The display name and address in From.
    User,
    /// Via, Contact and Record-Route.
    Header,
    /// The media addresses.
    Session,
    /// History-Info.
    History,
    /// Refuse the request rather than ignore this field.
    Critical,
}

const PRIVACY: [(PrivacyValue, &str); 7] = [
    (PrivacyValue::None, "none"),
    (PrivacyValue::Id, "id"),
    (PrivacyValue::User, "user"),
    (PrivacyValue::Header, "header"),
    (PrivacyValue::Session, "session"),
    (PrivacyValue::History, "history"),
    (PrivacyValue::Critical, "critical"),
];

/// A Privacy field; empty without one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Privacy(Vec<PrivacyValue>);

impl Privacy {
    /// Asks for these.
    pub fn new(values: &[PrivacyValue]) -> Self {
        Self(values.to_vec())
    }

    /// Reads the fields of `message`; unknown values are passed over.
    pub fn of(message: &Message) -> Self {
        let mut wanted = Vec::new();
        for line in message.lines(HeaderName::Privacy) {
            for word in line.split([';', ',']).map(str::trim) {
                let known = PRIVACY.iter().find(|(_, name)| name.eq_ignore_ascii_case(word));
                if let Some((value, _)) = known.filter(|(value, _)| !wanted.contains(value)) {
                    wanted.push(*value);
                }
            }
        }
        Self(wanted)
    }

    /// Whether `value` is asked for.
    pub fn wants(&self, value: PrivacyValue) -> bool {
        self.0.contains(&value)
    }

    /// Whether the caller's number must not be shown to the callee: `id`, `user` or `header`, without `none`.
    pub fn hides_caller(&self) -> bool {
        let hidden = [PrivacyValue::Id, PrivacyValue::User, PrivacyValue::Header];
        !self.wants(PrivacyValue::None) && hidden.into_iter().any(|value| self.wants(value))
    }

    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Writes the value of the field.
impl fmt::Display for Privacy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, wanted) in self.0.iter().enumerate() {
            let name = PRIVACY.iter().find(|(value, _)| value == wanted).map_or("", |(_, name)| name);
            write!(f, "{}{name}", if at == 0 { "" } else { ";" })?;
        }
        Ok(())
    }
}

/// How far the sender of a request is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// A trunk: what it asserts holds (RFC 3325 §5).
    Asserts,
    /// A phone that has authenticated: it may say which of its identities it prefers (RFC 3325 §6).
    Prefers,
    /// Anybody: From is all there is, and may say anything.
    Nothing,
}

/// Who calls, as far as a request tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The number without separators, or the user name; `None` when it is withheld.
    pub number: Option<Redacted>,
    /// The display name.
    pub display: Option<Redacted>,
    /// A trusted network vouches for the number. Otherwise the caller may have made it up.
    pub asserted: bool,
    /// What the caller wants hidden. An asserted number may be kept, and must not be shown when this says so.
    pub privacy: Privacy,
    /// Who sent the call on to us last.
    pub diverted_from: Option<Redacted>,
}

impl Caller {
    /// Reads `request`, whose sender is believed as far as `trust` says.
    pub fn of(request: &Message, trust: Trust) -> Self {
        let better = match trust {
            Trust::Asserts => identity(&request.list(HeaderName::PAssertedIdentity)),
            Trust::Prefers => identity(&request.list(HeaderName::PPreferredIdentity)),
            Trust::Nothing => None,
        };
        let asserted = better.is_some() && trust == Trust::Asserts;
        let from = || request.header(HeaderName::From).and_then(|from| named(&from));
        let (number, display) = better.or_else(from).unwrap_or_default();
        Self {
            number: number.map(Redacted::new),
            display: display.map(Redacted::new),
            asserted,
            privacy: Privacy::of(request),
            diverted_from: diverted_from(request).map(Redacted::new),
        }
    }
}

type Named = (Option<String>, Option<String>);

/// The number and name of P-Asserted-Identity, which may hold a SIP and a tel URI (RFC 3325 §9.1): a telephone number first.
fn identity(values: &[String]) -> Option<Named> {
    let read: Vec<Named> = values.iter().take(2).filter_map(|value| named(value)).collect();
    let is_number = |named: &&Named| named.0.as_deref().is_some_and(is_telephone);
    let chosen = read.iter().find(is_number).or_else(|| read.iter().find(|named| named.0.is_some()))?;
    let display = chosen.1.clone().or_else(|| read.iter().find_map(|named| named.1.clone()));
    Some((chosen.0.clone(), display))
}

/// The number and name of one address; neither when it is anonymous (RFC 3323 §4.1.1.3).
fn named(value: &str) -> Option<Named> {
    let address = NameAddr::parse(value)?;
    let uri = address.to_uri().ok()?;
    let anonymous = uri.host().to_ascii_lowercase().ends_with("anonymous.invalid")
        || uri.user().is_some_and(|user| user.eq_ignore_ascii_case("anonymous"));
    if anonymous {
        return Some((None, None));
    }
    let display = address.display_name().map(|name| name.trim().to_owned());
    Some((number(&uri), display.filter(|name| !name.is_empty())))
}

/// The telephone number without its visual separators (RFC 3966 §5.1.1), or the user name as it is.
fn number(uri: &Uri) -> Option<String> {
    let number = uri.number().filter(|number| !number.is_empty())?;
    let digits: String = number.chars().filter(|sign| !matches!(sign, '-' | '.' | '(' | ')')).collect();
    Some(if is_telephone(&digits) { digits } else { number.to_owned() })
}

fn is_telephone(number: &str) -> bool {
    let digits = number.strip_prefix('+').unwrap_or(number);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'*' | b'#'))
}

/// Who diverted last: the first Diversion value (RFC 5806 §4), else the entry that History-Info says was retargeted last.
fn diverted_from(request: &Message) -> Option<String> {
    let diversion = request.list(HeaderName::Diversion);
    if let Some(value) = diversion.first() {
        return named(value)?.0;
    }
    let mut history = request.list(HeaderName::HistoryInfo);
    history.truncate(MAX_VALUES);
    let entries: Vec<NameAddr<'_>> = history.iter().filter_map(|value| NameAddr::parse(value)).collect();
    let at_index = |index: &str| {
        entries.iter().find(|entry| entry.params.value("index").is_some_and(|known| known == index))
    };
    // RFC 7044 §10.3: `mp` names the entry that was mapped to this one. Before that, RFC 4244 §4.1 wrote the status of the
    // refusal or redirection into the retargeted entry's URI.
    let mapped = entries.iter().rev().find_map(|entry| at_index(&entry.params.value("mp")?));
    let retargeted = || entries.iter().rev().find(|entry| has_reason(entry.uri));
    let entry = mapped.or_else(retargeted)?;
    number(&entry.to_uri().ok()?)
}

fn has_reason(uri: &str) -> bool {
    let headers = uri.split_once('?').map(|(_, headers)| headers.to_ascii_lowercase()).unwrap_or_default();
    headers.split('&').any(|header| header.starts_with("reason="))
}

/// Who we say that calls, beside From.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// P-Asserted-Identity, for a trunk that trusts us: at most a SIP and a tel URI (RFC 3325 §9.1).
    pub asserted: Vec<Address>,
    /// P-Preferred-Identity, for a trunk that asserts for us.
    pub preferred: Option<Address>,
    /// The Privacy field.
    pub privacy: Privacy,
    /// From says nobody.
    pub anonymous: bool,
}

impl Identity {
    /// The callee does not learn who calls, the trunk does: an anonymous From, and `Privacy: id` (RFC 3325 §7).
    pub fn withheld(asserted: Address) -> Self {
        let privacy = Privacy::new(&[PrivacyValue::Id]);
        Self { asserted: vec![asserted], preferred: None, privacy, anonymous: true }
    }

    /// The From field without its tag: `from`, or nobody (RFC 3323 §4.1.1.3).
    pub fn from_field(&self, from: &Address) -> String {
        match self.anonymous {
            true => "\"Anonymous\" <sip:anonymous@anonymous.invalid>".to_owned(),
            false => from.to_string(),
        }
    }

    /// The fields beside From.
    pub fn headers(&self) -> Vec<Header> {
        let field = |name, address: &Address| Header::new(name, &address.to_string());
        let asserted =
            self.asserted.iter().take(2).map(|address| field(HeaderName::PAssertedIdentity, address));
        let preferred = self.preferred.iter().map(|address| field(HeaderName::PPreferredIdentity, address));
        let privacy =
            (!self.privacy.is_empty()).then(|| Header::new(HeaderName::Privacy, &self.privacy.to_string()));
        asserted.chain(preferred).chain(privacy).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(trust: Trust, fields: &[&str]) -> (Option<String>, Option<String>, bool, bool, Option<String>) {
        let from = fields
            .iter()
            .find(|field| field.starts_with("From"))
            .map_or("From: <sip:f@x>;tag=1", |from| from);
        let others: String = fields
            .iter()
            .filter(|field| !field.starts_with("From"))
            .map(|field| format!("{field}\r\n"))
            .collect();
        let text = format!(
            "INVITE sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP h\r\n{from}\r\nTo: <sip:a@b>\r\nCall-ID: x\r\nCSeq: 1 INVITE\r\n{others}\r\n"
        );
        let caller = Caller::of(&Message::parse(text.as_bytes()).unwrap(), trust);
        let shown = |value: Option<Redacted>| value.map(Redacted::into_inner);
        let hidden = caller.privacy.hides_caller();
        (shown(caller.number), shown(caller.display), caller.asserted, hidden, shown(caller.diverted_from))
    }

    #[test]
    fn a_trunks_word_beats_from_and_a_strangers_does_not() {
        let some = |text: &str| Some(text.to_owned());
        let from = "From: \"Ada L\" <sip:+44-20.7183(8750)@x;user=phone>;tag=1";
        let asserted = "P-Asserted-Identity: \"Depot\" <sip:depot@x>, <tel:+44207000000;ext=1>";
        let preferred = "P-Preferred-Identity: <sip:+15550100@x>";
        let table = [
            (Trust::Nothing, vec![from, asserted], (some("+442071838750"), some("Ada L"), false)),
            (Trust::Asserts, vec![from, asserted], (some("+44207000000"), some("Depot"), true)),
            (Trust::Asserts, vec![from, preferred], (some("+442071838750"), some("Ada L"), false)),
            (Trust::Prefers, vec![from, asserted, preferred], (some("+15550100"), None, false)),
            (Trust::Nothing, vec!["From: sip:ada-b@x;tag=1"], (some("ada-b"), None, false)),
            (
                Trust::Asserts,
                vec![from, "P-Asserted-Identity: <mailto:x>"],
                (some("+442071838750"), some("Ada L"), false),
            ),
        ];
        for (trust, fields, expected) in table {
            let (number, display, asserted, ..) = caller(trust, &fields);
            assert_eq!((number, display, asserted), expected, "{fields:?}");
        }
    }

    #[test]
    fn withheld_numbers_are_known_to_the_trunk_alone() {
        let from = "From: \"Anonymous\" <sip:anonymous@anonymous.invalid>;tag=1";
        assert_eq!(caller(Trust::Asserts, &[from]), (None, None, false, false, None));
        let fields = [from, "P-Asserted-Identity: <tel:+4930123>", "Privacy: user ; ID;what"];
        assert_eq!(caller(Trust::Asserts, &fields), (Some("+4930123".into()), None, true, true, None));
        assert!(!caller(Trust::Asserts, &["Privacy: none"]).3);
        assert!(!caller(Trust::Asserts, &["Privacy: critical;session"]).3);
    }

    #[test]
    fn diversions_are_read_in_both_forms() {
        let table: [(&[&str], Option<&str>); 6] = [
            (
                &["Diversion: <tel:+4930111>;reason=user-busy, <sip:+4930222@x>;reason=unconditional"],
                Some("+4930111"),
            ),
            (&["Diversion: \"Desk\" <sip:+4930333@x>", "History-Info: <sip:9@x>;index=1"], Some("+4930333")),
            (&["History-Info: <sip:+4930444@x>;index=1, <sip:+4930555@x>;index=1.1;mp=1"], Some("+4930444")),
            (
                &[
                    "History-Info: <sip:+4930666@x?Reason=SIP%3Bcause%3D302>;index=1",
                    "History-Info: <sip:+4930777@x>;index=1.1",
                ],
                Some("+4930666"),
            ),
            (&["History-Info: <sip:+4930777@x>;index=1, <sip:+4930888@x>;index=1.1"], None),
            (&["Diversion: <sip:anonymous@anonymous.invalid>"], None),
        ];
        for (fields, expected) in table {
            assert_eq!(caller(Trust::Asserts, fields).4.as_deref(), expected, "{fields:?}");
        }
    }

    #[test]
    fn what_is_withheld_is_written() {
        let address = |text: &str| Address::new(Uri::parse(text).unwrap());
        let withheld = Identity::withheld(address("tel:+4930123"));
        let from = address("sip:+4930123@x");
        assert_eq!(withheld.from_field(&from), "\"Anonymous\" <sip:anonymous@anonymous.invalid>");
        let lines = |identity: &Identity| -> Vec<String> {
            identity.headers().iter().map(|field| String::from_utf8_lossy(field.raw()).into_owned()).collect()
        };
        assert_eq!(lines(&withheld), ["P-Asserted-Identity: <tel:+4930123>", "Privacy: id"]);
        let plain = Identity { preferred: Some(from.clone()), ..Identity::default() };
        assert_eq!(plain.from_field(&from), "<sip:+4930123@x>");
        assert_eq!(lines(&plain), ["P-Preferred-Identity: <sip:+4930123@x>"]);
    }
}
