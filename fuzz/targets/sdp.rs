//! Any offer: it is refused, or answered with something that can be read.

#![no_main]

use callahead::sdp::offer_answer::{Direction, MediaPolicy, SdpError, SessionOrigin, accept, answer};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let policy = MediaPolicy::default();
    let origin = SessionOrigin { id: 1, version: 1 };
    let address = "192.0.2.9:4000".parse().unwrap();
    if let Ok((ours, _)) = answer(bytes, &policy, origin, address, Direction::SendRecv) {
        let read = accept(&ours, &policy, Direction::SendRecv);
        let broken = matches!(read, Err(SdpError::Malformed(_) | SdpError::TooLarge | SdpError::NoAddress));
        assert!(!broken, "our own answer: {read:?}");
    }
    let _ = accept(bytes, &policy, Direction::SendRecv);
});
