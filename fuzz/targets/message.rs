//! Any datagram: it is refused, or comes out as it went in, and every view of it answers.

#![no_main]

use callahead::sip::Hop;
use callahead::sip::message::{HeaderName, Message, NameAddr, Via};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(message) = Message::parse(bytes) else { return };
    let printed = message.to_bytes();
    assert_eq!(Message::parse(&printed).as_ref(), Ok(&message), "what is printed reads the same");
    assert!(message.cseq().is_some() && message.top_via(|via| via.sent_by()).is_some());
    let _ = (message.from_tag(), message.to_tag(), message.branch(), message.contact(), message.sdp());
    assert!(message.parts().count() <= message.body().len());
    for header in message.headers() {
        let value = header.value();
        let _ = Via::parse(&value).map(|via| via.sent_by());
        if let Some(address) = NameAddr::parse(&value) {
            let _ = (address.display_name(), address.to_uri(), address.tag());
        }
    }
    for name in [HeaderName::Contact, HeaderName::Via, HeaderName::RecordRoute] {
        let _ = message.list(name);
    }
    let source = Hop::udp("[2001:db8::1]:5060".parse().unwrap());
    if !message.is_response() {
        let response = Message::response(message.headers(), 200, Some("tag"), source);
        assert!(Message::parse(&response.to_bytes()).is_ok(), "a response to it can be read");
        let _ = message.response_destination(source);
    }
});
