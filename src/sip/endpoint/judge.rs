//! What a request outside of every call gets, in the order of RFC 3261 §8.2.

use super::{Endpoint, origin};
use crate::sip::message::{Header, HeaderName, Message, Method, NameAddr, Scheme};
use crate::sip::refer::{BadReplaces, Replaces};
use crate::sip::session::{TEXT, judge_text, too_brief, unsupported};
use crate::sip::{ALLOW, SUPPORTED, SessionId};

pub(super) enum Judgement {
    /// This status with these fields.
    Answer(u16, Vec<Header>),
    /// For the registrar.
    HandUp,
    /// A new call, and the session whose place it takes.
    Call(Option<(SessionId, Replaces)>),
}

impl Endpoint {
    pub(super) fn judge(&self, method: &Method, in_dialog: bool, request: &Message) -> Judgement {
        let plain = |status| Judgement::Answer(status, Vec::new());
        let with = |status, name, value: &str| Judgement::Answer(status, vec![Header::new(name, value)]);
        if in_dialog
            || matches!(method, Method::Bye | Method::Cancel | Method::Info | Method::Prack | Method::Update)
            || *method == Method::Notify
        {
            return plain(481);
        }
        match method {
            Method::Invite | Method::Options => {}
            Method::Register if self.takes_registrations() => {}
            Method::Message if self.config.messages => {}
            // A call may be sent on by who is in it, and by nobody else.
            Method::Refer => return plain(403),
            Method::Other(_) => return with(501, HeaderName::Allow, &self.allow()),
            _ => return with(405, HeaderName::Allow, &self.allow()),
        }
        if request.uri().is_none_or(|uri| uri.scheme() == Scheme::Other) {
            return plain(416);
        }
        if *method == Method::Invite && self.origins.contains_key(&origin(request)) {
            return plain(482);
        }
        if let Some(names) = unsupported(request) {
            return with(420, HeaderName::Unsupported, &names);
        }
        match method {
            Method::Register => judge_register(request),
            Method::Options => Judgement::Answer(200, self.capabilities()),
            Method::Message => match judge_text(request) {
                (200, _) => Judgement::HandUp,
                (status, header) => Judgement::Answer(status, header.into_iter().collect()),
            },
            _ => self.judge_invite(request),
        }
    }

    fn judge_invite(&self, request: &Message) -> Judgement {
        if !readable(request) {
            return Judgement::Answer(415, vec![Header::new(HeaderName::Accept, "application/sdp")]);
        }
        let accepted = request.list(HeaderName::Accept);
        let understands = |range: &String| {
            let essence = range.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
            matches!(essence.as_str(), "application/sdp" | "application/*" | "*/*")
        };
        if !accepted.is_empty() && !accepted.iter().any(understands) {
            return Judgement::Answer(406, Vec::new());
        }
        if let Some(least) = too_brief(request) {
            return Judgement::Answer(422, vec![least]);
        }
        if !self.config.incoming {
            return Judgement::Answer(403, Vec::new());
        }
        if self.sessions.len() >= self.config.max_sessions {
            return Judgement::Answer(503, vec![Header::new(HeaderName::RetryAfter, "10")]);
        }
        match Replaces::of(request) {
            Err(BadReplaces) => Judgement::Answer(400, Vec::new()),
            Ok(None) => Judgement::Call(None),
            Ok(Some(replaces)) => {
                let named = (replaces.call_id.clone(), replaces.to_tag.clone());
                match self.dialogs.get(&named) {
                    Some(id) => Judgement::Call(Some((*id, replaces))),
                    None => Judgement::Answer(481, Vec::new()),
                }
            }
        }
    }
}

impl Endpoint {
    /// The methods that are taken here.
    fn allow(&self) -> String {
        let mut methods: Vec<&str> = ALLOW.split(", ").collect();
        methods.retain(|method| *method != "MESSAGE" || self.config.messages);
        if self.takes_registrations() {
            methods.push("REGISTER");
        }
        methods.join(", ")
    }

    fn takes_registrations(&self) -> bool {
        self.config.registrar || self.door.is_open()
    }

    /// RFC 3261 §11.2.
    fn capabilities(&self) -> Vec<Header> {
        let text = if self.config.messages { format!(", {TEXT}") } else { String::new() };
        vec![
            Header::new(HeaderName::Allow, &self.allow()),
            Header::new(HeaderName::Accept, &format!("application/sdp{text}")),
            Header::new(HeaderName::Supported, SUPPORTED),
        ]
    }
}

/// A registrar knows addresses of record by `sip:`, `sips:` and `tel:` only (RFC 4475 §3.3.4).
fn judge_register(request: &Message) -> Judgement {
    let to = request.header(HeaderName::To).unwrap_or_default();
    let uri = NameAddr::parse(&to).and_then(|to| to.to_uri().ok());
    match uri {
        Some(uri) if uri.scheme() != Scheme::Other => Judgement::HandUp,
        _ => Judgement::Answer(400, Vec::new()),
    }
}

/// Whether we can read the body: none, SDP, or parts of which one may be SDP, not encoded.
fn readable(request: &Message) -> bool {
    if request.body().is_empty() {
        return true;
    }
    let encoded = request
        .header(HeaderName::ContentEncoding)
        .is_some_and(|value| !value.eq_ignore_ascii_case("identity"));
    let kind = request.header(HeaderName::ContentType).unwrap_or_default().to_ascii_lowercase();
    let essence = kind.split(';').next().unwrap_or_default().trim();
    !encoded && (essence == "application/sdp" || essence.starts_with("multipart/"))
}
