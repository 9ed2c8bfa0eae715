//! Any challenge to us, and any credentials shown to us; then an honest answer to an honest challenge beside them.

#![no_main]

use std::time::{Duration, Instant};

use callahead::pii::Secret;
use callahead::sip::Hop;
use callahead::sip::auth::{Algorithm, Challenge, Challenger, Credentials, DigestClient, Verdict};
use callahead::sip::message::{HeaderName, Message, Method, Uri};
use libfuzzer_sys::fuzz_target;
use rand::SeedableRng;
use rand::rngs::StdRng;

fuzz_target!(|text: &str| {
    let now = Instant::now();
    let mut rng = StdRng::seed_from_u64(1);
    let credentials = Credentials { username: "ada".into(), password: Secret::new("secret") };
    let mut client = DigestClient::new(Some(credentials));
    let mut request = Message::request(Method::Register, Uri::parse("sip:example.com").unwrap());
    let source = Hop::udp("192.0.2.1:5060".parse().unwrap());

    let _ = Challenge::parse(text);
    for (status, name) in [(401, HeaderName::WwwAuthenticate), (407, HeaderName::ProxyAuthenticate)] {
        let mut refusal = Message::response(&[], status, None, source);
        text.lines().for_each(|line| refusal.push(name.clone(), line));
        if client.take_challenges(&refusal) {
            client.authorize(&mut request, &mut rng);
        }
    }
    text.lines().for_each(|line| request.push(HeaderName::Authorization, line));
    let algorithms = [Algorithm::SHA_256, Algorithm::MD5];
    let mut server = Challenger::new("depot", &algorithms, Duration::from_secs(60), false, 7);
    let know = |user: &str| (user == "ada").then(|| Secret::new("secret"));
    let accepted = matches!(server.verify(now, &request, know), Verdict::Accepted { .. });
    assert!(!accepted, "nobody guesses a nonce");
});
