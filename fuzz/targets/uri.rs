//! Two texts, split at the first line break: URIs compare with themselves and with each other alike from both sides.

#![no_main]

use callahead::sip::message::Uri;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let (one, other) = text.split_once('\n').unwrap_or((text, text));
    let Ok(one) = Uri::parse(one) else { return };
    assert_eq!(Uri::parse(one.as_str()).as_ref(), Ok(&one));
    assert!(one.is_equivalent(&one), "equal to itself");
    let _ = (one.user(), one.user_decoded(), one.host(), one.port(), one.headers(), one.number());
    let _ = (one.socket_addr(), one.params().iter().count(), one.tel());
    if let Ok(other) = Uri::parse(other) {
        assert_eq!(one.is_equivalent(&other), other.is_equivalent(&one), "equality has no direction");
    }
});
