//! A registrar and devices with and without the right password.

#![allow(clippy::disallowed_methods, reason = "a test begins at some time")]

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::*;
use crate::sip::auth::{Credentials, DigestClient};
use crate::sip::message::Method;

struct House {
    registrar: Registrar,
    now: Instant,
}

/// A device: its password and its messages' Call-ID and number.
struct Device {
    auth: DigestClient,
    rng: StdRng,
    source: Hop,
    call_id: String,
    cseq: u32,
}

impl House {
    fn new() -> Self {
        let mut registrar = Registrar::new("house", 1);
        let account = Account { password: Secret::new("right"), max_contacts: 2, md5_only: false };
        registrar.set_accounts(HashMap::from([("desk".to_owned(), account)]));
        Self { registrar, now: Instant::now() }
    }

    /// What the device gets in the end: it answers one challenge.
    fn register(&mut self, device: &mut Device, fields: &[(&str, &str)]) -> Answer {
        let mut answer = self.send(device, fields);
        if let Answer::Respond(401, headers) = &answer {
            let mut challenge = Message::response(&[], 401, None, device.source);
            headers.iter().for_each(|header| challenge.push_header(header.clone()));
            if device.auth.take_challenges(&challenge) {
                answer = self.send(device, fields);
            }
        }
        answer
    }

    fn send(&mut self, device: &mut Device, fields: &[(&str, &str)]) -> Answer {
        device.cseq += 1;
        let request = device.request(fields);
        self.registrar.handle(self.now, device.source, false, &request)
    }

    fn contacts(&self) -> Vec<&str> {
        self.registrar
            .bindings(self.now, "desk")
            .into_iter()
            .map(|binding| binding.contact.as_str())
            .collect()
    }

    fn later(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
    }
}

impl Device {
    fn new(password: &str, host: u8) -> Self {
        let credentials = Credentials { username: "desk".into(), password: Secret::new(password) };
        Self {
            auth: DigestClient::new(Some(credentials)),
            rng: StdRng::seed_from_u64(host.into()),
            source: Hop::udp(format!("192.0.2.{host}:40000").parse().unwrap()),
            call_id: format!("device-{host}"),
            cseq: 0,
        }
    }

    fn request(&mut self, fields: &[(&str, &str)]) -> Message {
        let mut request = Message::request(Method::Register, Uri::parse("sip:house").unwrap());
        request.push(HeaderName::To, "<sip:desk@house>");
        request.push(HeaderName::CallId, &self.call_id);
        request.push(HeaderName::CSeq, &format!("{} REGISTER", self.cseq));
        fields.iter().for_each(|(name, value)| request.push(HeaderName::from_token(name), value));
        self.auth.authorize(&mut request, &mut self.rng);
        request
    }
}

fn status(answer: &Answer) -> u16 {
    match answer {
        Answer::Respond(status, _) => *status,
        Answer::Silence => 0,
    }
}

#[test]
fn a_device_registers_is_reached_through_its_hop_and_expires() {
    let (mut house, mut device) = (House::new(), Device::new("right", 1));
    let fields =
        [("Contact", "<sip:desk@10.0.0.5:5060>"), ("Expires", "120"), ("Path", "<sip:edge.example;lr>")];
    let Answer::Respond(200, headers) = house.register(&mut device, &fields) else { panic!() };
    let text: Vec<_> = headers.iter().map(|header| header.value().into_owned()).collect();
    assert_eq!(text, ["<sip:desk@10.0.0.5:5060>;expires=120", "<sip:edge.example;lr>"]);
    let [binding] = house.registrar.bindings(house.now, "desk")[..] else { panic!() };
    assert_eq!((binding.hop, &*binding.path[0]), (device.source, "<sip:edge.example;lr>"));
    assert_eq!(house.registrar.addresses(house.now), HashSet::from([device.source.address.ip()]));
    house.later(120);
    assert!(house.contacts().is_empty() && house.registrar.addresses(house.now).is_empty());
    house.registrar.sweep(house.now);
    assert!(house.registrar.bindings.is_empty(), "nothing is kept of it");
}

#[test]
fn lives_are_bounded() {
    let (mut house, mut device) = (House::new(), Device::new("right", 1));
    let answer = house.register(&mut device, &[("Contact", "<sip:desk@10.0.0.5>;expires=59")]);
    assert_eq!(answer, Answer::Respond(423, vec![Header::new(HeaderName::MinExpires, "60")]));
    house.register(&mut device, &[("Contact", "<sip:desk@10.0.0.5>;expires=99999999999")]);
    house.later(3599);
    assert_eq!(house.contacts().len(), 1);
    house.later(1);
    assert!(house.contacts().is_empty());
}

#[test]
fn devices_are_bounded_replaced_and_removed() {
    let mut house = House::new();
    let mut devices: Vec<_> = (1..=3).map(|host| Device::new("right", host)).collect();
    for (number, device) in devices.iter_mut().enumerate() {
        let contact = format!("<sip:desk@10.0.0.{number}>");
        assert_eq!(status(&house.register(device, &[("Contact", &contact)])), 200);
    }
    assert_eq!(house.contacts(), ["sip:desk@10.0.0.2", "sip:desk@10.0.0.1"], "the oldest had to go");
    let many = [("Contact", "<sip:a@h>, <sip:b@h>, <sip:c@h>")];
    assert_eq!(status(&house.register(&mut devices[0], &many)), 403);
    house.register(&mut devices[1], &[("Contact", "<sip:desk@10.0.0.1>;expires=0")]);
    assert_eq!(house.contacts(), ["sip:desk@10.0.0.2"]);
    assert_eq!(status(&house.register(&mut devices[1], &[("Contact", "*")])), 400, "without Expires: 0");
    let all = [("Contact", "*"), ("Expires", "0")];
    assert_eq!(status(&house.register(&mut devices[1], &all)), 200);
    assert!(house.contacts().is_empty());
}

#[test]
fn an_overtaken_request_changes_nothing() {
    let (mut house, mut device) = (House::new(), Device::new("right", 1));
    house.register(&mut device, &[("Contact", "<sip:desk@10.0.0.5>")]);
    device.cseq -= 1;
    assert_eq!(status(&house.register(&mut device, &[("Contact", "<sip:desk@10.0.0.5>;expires=0")])), 500);
    device.cseq -= 1;
    assert_eq!(status(&house.register(&mut device, &[("Contact", "*"), ("Expires", "0")])), 500);
    assert_eq!(house.contacts().len(), 1);
}

#[test]
fn wrong_passwords_are_challenged_forbidden_and_silenced_but_not_for_who_is_bound() {
    let mut house = House::new();
    let contact = [("Contact", "<sip:desk@10.0.0.5>")];
    let mut neighbour = Device::new("right", 9);
    assert_eq!(status(&house.register(&mut neighbour, &contact)), 200);
    let mut guess = || {
        let mut thief = Device::new("wrong", 9);
        thief.source = Hop::udp("192.0.2.9:666".parse().unwrap());
        status(&house.register(&mut thief, &contact))
    };
    let got: Vec<_> = (0..6).map(|_| guess()).collect();
    assert_eq!(got, [401, 401, 401, 403, 0, 0]);
    assert_eq!(
        status(&house.register(&mut neighbour, &contact)),
        200,
        "the same address, but a known device"
    );
    for _ in 0..20 {
        let mut trunk = Device::new("wrong", 7);
        let request = trunk.request(&contact);
        let Answer::Respond(401, headers) = house.registrar.handle(house.now, trunk.source, true, &request)
        else {
            panic!()
        };
        let mut challenge = Message::response(&[], 401, None, trunk.source);
        headers.into_iter().for_each(|header| challenge.push_header(header));
        assert!(trunk.auth.take_challenges(&challenge));
        let request = trunk.request(&contact);
        assert_eq!(status(&house.registrar.handle(house.now, trunk.source, true, &request)), 401);
    }
    assert_eq!(house.registrar.penalties.len(), 0, "the neighbour was forgiven, a trunk is never noted");
}

#[test]
fn a_stranger_cannot_register_for_another_and_a_changed_password_ends_bindings() {
    let (mut house, mut device) = (House::new(), Device::new("right", 1));
    let account = |password| Account { password: Secret::new(password), max_contacts: 2, md5_only: false };
    let both = |desk| HashMap::from([("desk".into(), account(desk)), ("shed".into(), account("other"))]);
    house.registrar.set_accounts(both("right"));
    let mut request = device.request(&[("Contact", "<sip:desk@10.0.0.5>")]);
    let Answer::Respond(401, headers) = house.registrar.handle(house.now, device.source, false, &request)
    else {
        panic!()
    };
    let mut challenge = Message::response(&[], 401, None, device.source);
    headers.into_iter().for_each(|header| challenge.push_header(header));
    device.auth.take_challenges(&challenge);
    request = device.request(&[("Contact", "<sip:desk@10.0.0.5>")]);
    request.set(HeaderName::To, "<sip:shed@house>");
    assert_eq!(status(&house.registrar.handle(house.now, device.source, false, &request)), 403);
    assert_eq!(status(&house.register(&mut device, &[("Contact", "<sip:desk@10.0.0.5>")])), 200);
    house.registrar.set_accounts(both("right"));
    assert_eq!(house.contacts().len(), 1);
    house.registrar.set_accounts(both("changed"));
    assert!(house.contacts().is_empty());
}

#[test]
fn a_device_that_gives_up_at_sha_256_is_offered_md5_alone() {
    let mut house = House::new();
    let algorithms = |answer: Answer| -> Vec<bool> {
        let Answer::Respond(401, headers) = answer else { panic!("{answer:?}") };
        headers.iter().map(|header| header.value().contains("algorithm=MD5")).collect()
    };
    let mut device = Device::new("right", 7);
    assert_eq!(algorithms(house.send(&mut device, &[])), [false, true]);
    let account = Account { password: Secret::new("right"), max_contacts: 2, md5_only: true };
    house.registrar.set_accounts(HashMap::from([("desk".to_owned(), account)]));
    assert_eq!(algorithms(house.send(&mut device, &[])), [true]);
    let answer = house.register(&mut device, &[("Contact", "<sip:desk@192.0.2.7>")]);
    assert!(matches!(answer, Answer::Respond(200, _)), "{answer:?}");
}
