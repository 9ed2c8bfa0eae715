//! Asking for credentials, as a registrar or carrier does (RFC 7616 §3.3-3.5).

use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::digest::{Algorithm, Qop, Question, schemes};
use super::nonce::{Nonces, same};
use crate::pii::Secret;
use crate::sip::message::{Header, HeaderName, Message};

/// Issues nonces and checks answers to them.
#[derive(Debug)]
pub struct Challenger {
    realm: String,
    algorithms: Vec<Algorithm>,
    proxy: bool,
    nonces: Nonces,
}

/// What became of a request's credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// They are right.
    Accepted {
        /// The user.
        username: String,
    },
    /// There are none for this realm, or their nonce is too old: answer 401 or 407 with these fields.
    Challenge(Vec<Header>),
    /// They are wrong: answer 403, or challenge again with these fields.
    Wrong(Vec<Header>),
}

impl Challenger {
    /// `proxy`: challenge with 407 and Proxy-Authenticate instead of 401 and WWW-Authenticate. `algorithms` are offered in
    /// this order; nonces live for `lifetime`, and no other server's are taken unless it has the same `seed`.
    pub fn new(realm: &str, algorithms: &[Algorithm], lifetime: Duration, proxy: bool, seed: u64) -> Self {
        Self {
            realm: realm.to_owned(),
            algorithms: algorithms.to_vec(),
            proxy,
            nonces: Nonces::new(lifetime, &mut StdRng::seed_from_u64(seed)),
        }
    }

    /// The status of a challenge: 401 or 407.
    pub fn status(&self) -> u16 {
        if self.proxy { 407 } else { 401 }
    }

    /// Checks the credentials of `request`; `password` tells that of a user.
    pub fn verify(
        &mut self,
        now: Instant,
        request: &Message,
        password: impl Fn(&str) -> Option<Secret>,
    ) -> Verdict {
        self.verify_with(now, request, &[], password)
    }

    /// The same, but a challenge leaves out the algorithms `unknown` to the other side: there are clients that give up when
    /// they see one, although RFC 8760 §2.4 wants them to look for another.
    pub fn verify_with(
        &mut self,
        now: Instant,
        request: &Message,
        unknown: &[Algorithm],
        password: impl Fn(&str) -> Option<Secret>,
    ) -> Verdict {
        let field = if self.proxy { HeaderName::ProxyAuthorization } else { HeaderName::Authorization };
        let mut stale = false;
        for line in request.lines(field) {
            for (scheme, fields) in schemes(&line) {
                if !scheme.eq_ignore_ascii_case("Digest") || fields.get("realm") != Some(self.realm.as_str())
                {
                    continue;
                }
                let answer = |name: &str| fields.get(name).unwrap_or_default();
                let username = answer("username").to_owned();
                let right =
                    password(&username).is_some_and(|password| self.is_right(request, &answer, &password));
                if !right {
                    let fields = self.challenge(now, unknown, false);
                    return Verdict::Wrong(fields);
                }
                let count = fields.get("nc").map(|count| u32::from_str_radix(count, 16).unwrap_or(0));
                if self.nonces.take(now, answer("nonce"), count) {
                    return Verdict::Accepted { username };
                }
                stale = true;
            }
        }
        Verdict::Challenge(self.challenge(now, unknown, stale))
    }

    fn is_right<'a>(&self, request: &Message, answer: &impl Fn(&str) -> &'a str, password: &Secret) -> bool {
        let algorithm = match answer("algorithm") {
            "" => Some(Algorithm::MD5),
            token => Algorithm::from_token(token),
        };
        let Some(algorithm) = algorithm.filter(|algorithm| self.algorithms.contains(algorithm)) else {
            return false;
        };
        let qop = match answer("qop") {
            "auth" => Some(Qop::Auth),
            "auth-int" => Some(Qop::AuthInt),
            "" => None,
            _ => return false,
        };
        let question = Question {
            algorithm,
            username: answer("username"),
            realm: &self.realm,
            password: password.reveal(),
            nonce: answer("nonce"),
            cnonce: answer("cnonce"),
            nc: answer("nc"),
            qop,
            method: request.method().map(|method| method.as_str()).unwrap_or_default(),
            uri: answer("uri"),
            body: request.body(),
        };
        same(&question.response(), &answer("response").to_ascii_lowercase())
    }

    fn challenge(&mut self, now: Instant, unknown: &[Algorithm], stale: bool) -> Vec<Header> {
        let nonce = self.nonces.issue(now);
        let name = if self.proxy { HeaderName::ProxyAuthenticate } else { HeaderName::WwwAuthenticate };
        let stale = if stale { ", stale=true" } else { "" };
        let line = |algorithm: &Algorithm| {
            let text = format!(
                "Digest realm=\"{}\", nonce=\"{nonce}\", algorithm={}, qop=\"auth,auth-int\"{stale}",
                self.realm,
                algorithm.as_str()
            );
            Header::new(name.clone(), &text)
        };
        self.algorithms.iter().filter(|algorithm| !unknown.contains(algorithm)).map(line).collect()
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test begins at some time")]
mod tests {
    use super::super::{Credentials, DigestClient};
    use super::*;
    use crate::sip::message::{Method, Uri};

    fn register() -> Message {
        Message::request(Method::Register, Uri::parse("sip:example.com").unwrap())
    }

    fn response(status: u16, fields: Vec<Header>) -> Message {
        let mut response =
            Message::response(&[], status, None, crate::sip::Hop::udp("192.0.2.1:5060".parse().unwrap()));
        fields.into_iter().for_each(|field| response.push_header(field));
        response
    }

    fn client(password: &str) -> DigestClient {
        DigestClient::new(Some(Credentials { username: "ada".into(), password: Secret::new(password) }))
    }

    fn challenge(verdict: Verdict) -> Vec<Header> {
        match verdict {
            Verdict::Challenge(fields) => fields,
            other => panic!("{other:?}"),
        }
    }

    fn know(user: &str) -> Option<Secret> {
        (user == "ada").then(|| Secret::new("secret"))
    }

    #[test]
    fn every_algorithm_is_accepted_and_counts_past_ff() {
        let now = Instant::now();
        let mut rng = StdRng::seed_from_u64(1);
        for algorithm in ["MD5", "MD5-sess", "SHA-256", "SHA-256-sess", "SHA-512-256", "SHA-512-256-sess"] {
            let algorithm = Algorithm::from_token(algorithm).unwrap();
            let mut server = Challenger::new("depot", &[algorithm], Duration::from_secs(60), false, 2);
            let mut client = client("secret");
            let fields = challenge(server.verify(now, &register(), know));
            assert!(client.take_challenges(&response(401, fields)));
            for _ in 0..300 {
                let mut request = register();
                client.authorize(&mut request, &mut rng);
                assert_eq!(server.verify(now, &request, know), Verdict::Accepted { username: "ada".into() });
                // The same answer again is a replay.
                assert!(matches!(server.verify(now, &request, know), Verdict::Challenge(_)));
            }
        }
    }

    #[test]
    fn a_wrong_password_is_refused_once_and_not_tried_again() {
        let now = Instant::now();
        let mut rng = StdRng::seed_from_u64(1);
        let mut server =
            Challenger::new("depot", &[Algorithm::SHA_256, Algorithm::MD5], Duration::from_secs(60), true, 2);
        let mut client = client("guess");
        let fields = challenge(server.verify(now, &register(), know));
        assert_eq!(fields.len(), 2);
        assert!(client.take_challenges(&response(407, fields)));
        let mut request = register();
        client.authorize(&mut request, &mut rng);
        let Verdict::Wrong(fields) = server.verify(now, &request, know) else { panic!() };
        assert!(!client.take_challenges(&response(407, fields)));
        assert!(!DigestClient::new(None).take_challenges(&response(407, server.challenge(now, &[], false))));
    }

    #[test]
    fn a_stale_nonce_is_renewed() {
        let now = Instant::now();
        let later = now + Duration::from_secs(61);
        let mut rng = StdRng::seed_from_u64(1);
        let mut server = Challenger::new("depot", &[Algorithm::MD5], Duration::from_secs(60), false, 2);
        let mut client = client("secret");
        assert!(client.take_challenges(&response(401, challenge(server.verify(now, &register(), know)))));
        let mut request = register();
        client.authorize(&mut request, &mut rng);
        let fields = challenge(server.verify(later, &request, know));
        assert!(fields[0].value().contains("stale=true"));
        assert!(client.take_challenges(&response(401, fields)));
        client.authorize(&mut request, &mut rng);
        assert!(matches!(server.verify(later, &request, know), Verdict::Accepted { .. }));
    }

    #[test]
    fn answers_of_401_and_407_stand_side_by_side() {
        let now = Instant::now();
        let mut rng = StdRng::seed_from_u64(1);
        let mut proxy = Challenger::new("edge", &[Algorithm::MD5], Duration::from_secs(60), true, 2);
        let mut server = Challenger::new("core", &[Algorithm::SHA_256], Duration::from_secs(60), false, 3);
        let mut client = client("secret");
        let mut request = register();
        assert!(client.take_challenges(&response(407, challenge(proxy.verify(now, &request, know)))));
        client.authorize(&mut request, &mut rng);
        assert!(matches!(proxy.verify(now, &request, know), Verdict::Accepted { .. }));
        assert!(client.take_challenges(&response(401, challenge(server.verify(now, &request, know)))));
        client.authorize(&mut request, &mut rng);
        assert!(matches!(proxy.verify(now, &request, know), Verdict::Accepted { .. }));
        assert!(matches!(server.verify(now, &request, know), Verdict::Accepted { .. }));
    }
}
