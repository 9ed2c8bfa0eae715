//! rsip and rsipstack, which have the same names for the same things, as readers.

use super::Reading;

macro_rules! oracle {
    ($name:ident, $sip:path, $via:ident) => {
        /// `None` when it refuses the message or one of the fields that we compare.
        pub fn $name(bytes: &[u8]) -> Option<Reading> {
            use sip::prelude::*;
            use $sip as sip;
            let message = sip::SipMessage::try_from(bytes).ok()?;
            let body = match &message {
                sip::SipMessage::Request(request) => request.body.clone(),
                sip::SipMessage::Response(response) => response.body.clone(),
            };
            let (start, uri) = match &message {
                sip::SipMessage::Request(request) => (request.method.to_string(), request.uri.to_string()),
                sip::SipMessage::Response(response) => {
                    (response.status_code.code().to_string(), String::new())
                }
            };
            let via = message.$via().ok()?.typed().ok()?;
            let branch = via.branch().map(|branch| branch.value().to_owned()).unwrap_or_default();
            let from = message.from_header().ok()?.typed().ok()?;
            let to = message.to_header().ok()?.typed().ok()?;
            let cseq = message.cseq_header().ok()?.typed().ok()?;
            let contact = match message.contact_header() {
                Ok(contact) => contact.typed().ok()?.uri.to_string(),
                Err(_) => String::new(),
            };
            Some(Reading {
                start,
                uri,
                via: format!("{} {branch}", via.uri.host_with_port),
                from_tag: from.tag().map(|tag| tag.value().to_owned()).unwrap_or_default(),
                to_tag: to.tag().map(|tag| tag.value().to_owned()).unwrap_or_default(),
                call_id: message.call_id_header().ok()?.value().to_owned(),
                cseq: format!("{} {}", cseq.seq, cseq.method),
                contact,
                body,
            })
        }
    };
}

oracle!(rsip, ::rsip, via_header);
oracle!(rsipstack, ::rsipstack::sip, top_via_header);
