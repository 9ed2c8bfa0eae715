//! The arithmetic of digest and the reading of its fields (RFC 7616 §3).

use std::fmt::Write;

use md5::Digest as _;

use crate::sip::message::lex;

/// A hash, and whether the session variant is used (RFC 7616 §3.4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Algorithm {
    hash: Hash,
    session: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Hash {
    Md5,
    Sha256,
    Sha512_256,
}

impl Algorithm {
    /// RFC 2617's default.
    pub const MD5: Self = Self { hash: Hash::Md5, session: false };
    /// RFC 7616's default.
    pub const SHA_256: Self = Self { hash: Hash::Sha256, session: false };
    /// The third of RFC 7616.
    pub const SHA_512_256: Self = Self { hash: Hash::Sha512_256, session: false };

    /// Reads the `algorithm` parameter; `None` for one that we do not know.
    pub fn from_token(token: &str) -> Option<Self> {
        let lower = token.to_ascii_lowercase();
        let (name, session) = match lower.strip_suffix("-sess") {
            Some(name) => (name, true),
            None => (lower.as_str(), false),
        };
        let hash = match name {
            "md5" => Hash::Md5,
            "sha-256" => Hash::Sha256,
            "sha-512-256" => Hash::Sha512_256,
            _ => return None,
        };
        Some(Self { hash, session })
    }

    /// The token on the wire.
    pub fn as_str(self) -> &'static str {
        match (self.hash, self.session) {
            (Hash::Md5, false) => "MD5",
            (Hash::Md5, true) => "MD5-sess",
            (Hash::Sha256, false) => "SHA-256",
            (Hash::Sha256, true) => "SHA-256-sess",
            (Hash::Sha512_256, false) => "SHA-512-256",
            (Hash::Sha512_256, true) => "SHA-512-256-sess",
        }
    }

    /// Larger is stronger; the session variant makes no difference.
    pub(super) fn strength(self) -> u8 {
        match self.hash {
            Hash::Md5 => 0,
            Hash::Sha256 => 1,
            Hash::Sha512_256 => 2,
        }
    }

    /// The user's name as it is sent when the server asks for `userhash` (RFC 7616 §3.4.4).
    pub(super) fn user_hash(self, username: &str, realm: &str) -> String {
        self.hex(format!("{username}:{realm}").as_bytes())
    }

    fn hex(self, data: &[u8]) -> String {
        let ring_hex = |algorithm| hex(ring::digest::digest(algorithm, data).as_ref());
        match self.hash {
            Hash::Md5 => hex(&md5::Md5::digest(data)),
            Hash::Sha256 => ring_hex(&ring::digest::SHA256),
            Hash::Sha512_256 => ring_hex(&ring::digest::SHA512_256),
        }
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The quality of protection that is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Qop {
    Auth,
    AuthInt,
}

impl Qop {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::AuthInt => "auth-int",
        }
    }
}

/// Everything that goes into a response (RFC 7616 §3.4.1).
pub(super) struct Question<'a> {
    pub algorithm: Algorithm,
    pub username: &'a str,
    pub realm: &'a str,
    pub password: &'a str,
    pub nonce: &'a str,
    pub cnonce: &'a str,
    /// As it is written: eight hexadecimal digits.
    pub nc: &'a str,
    pub qop: Option<Qop>,
    pub method: &'a str,
    pub uri: &'a str,
    pub body: &'a [u8],
}

impl Question<'_> {
    pub(super) fn response(&self) -> String {
        let hash = |text: String| self.algorithm.hex(text.as_bytes());
        let mut a1 = hash(format!("{}:{}:{}", self.username, self.realm, self.password));
        if self.algorithm.session {
            a1 = hash(format!("{a1}:{}:{}", self.nonce, self.cnonce));
        }
        let a2 = hash(match self.qop {
            Some(Qop::AuthInt) => format!("{}:{}:{}", self.method, self.uri, self.algorithm.hex(self.body)),
            _ => format!("{}:{}", self.method, self.uri),
        });
        hash(match self.qop {
            Some(qop) => {
                format!("{a1}:{}:{}:{}:{}:{a2}", self.nonce, self.nc, self.cnonce, qop.as_str())
            }
            None => format!("{a1}:{}:{a2}", self.nonce),
        })
    }
}

/// The parameters after a scheme: `name=value` separated by commas. Quotes are taken off, escapes are kept.
pub(super) struct Fields<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Fields<'a> {
    pub(super) fn get(&self, name: &str) -> Option<&'a str> {
        self.0.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| *value)
    }
}

/// Reads every scheme of one line: mostly one, though several may follow each other with commas.
pub(super) fn schemes(line: &str) -> Vec<(&str, Fields<'_>)> {
    let mut schemes: Vec<(&str, Fields<'_>)> = Vec::new();
    for piece in lex::split(line, b',') {
        let (head, value) =
            piece.split_once('=').map_or((piece, None), |(head, value)| (head.trim(), Some(value.trim())));
        let (scheme, name) =
            head.split_once([' ', '\t']).map_or((None, head), |(scheme, name)| (Some(scheme), name.trim()));
        if let Some(scheme) = scheme {
            schemes.push((scheme, Fields(Vec::new())));
        }
        if let (Some(value), Some((_, fields))) = (value, schemes.last_mut()) {
            fields.0.push((name, lex::quoted_string(value).map_or(value, |(content, _)| content)));
        }
    }
    schemes
}

/// One challenge that we can answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    /// The realm between its quotes.
    pub realm: String,
    /// The nonce between its quotes.
    pub nonce: String,
    /// To be returned as it came.
    pub opaque: Option<String>,
    /// The algorithm as it was written, where it was.
    pub(super) algorithm_token: Option<String>,
    /// The algorithm.
    pub algorithm: Algorithm,
    pub(super) qop: Option<Qop>,
    /// The nonce was too old; the credentials may be right.
    pub stale: bool,
    /// The user's name is to be sent hashed (RFC 7616 §3.4.4).
    pub userhash: bool,
}

impl Challenge {
    /// Reads the challenges of a WWW-Authenticate or Proxy-Authenticate line that we can answer, in their order.
    pub fn parse(line: &str) -> Vec<Self> {
        schemes(line)
            .iter()
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("Digest"))
            .filter_map(Self::read)
            .collect()
    }

    fn read((_, fields): &(&str, Fields<'_>)) -> Option<Self> {
        let token = fields.get("algorithm");
        let qop = match fields.get("qop") {
            None => None,
            Some(list) => {
                let has = |wanted: &str| list.split(',').any(|one| one.trim().eq_ignore_ascii_case(wanted));
                Some(if has("auth") {
                    Qop::Auth
                } else if has("auth-int") {
                    Qop::AuthInt
                } else {
                    return None;
                })
            }
        };
        let is_true = |name: &str| fields.get(name).is_some_and(|value| value.eq_ignore_ascii_case("true"));
        Some(Self {
            realm: fields.get("realm")?.to_owned(),
            nonce: fields.get("nonce")?.to_owned(),
            opaque: fields.get("opaque").map(str::to_owned),
            algorithm_token: token.map(str::to_owned),
            algorithm: token.map_or(Some(Algorithm::MD5), Algorithm::from_token)?,
            qop,
            stale: is_true("stale"),
            userhash: is_true("userhash"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rfc7616(algorithm: Algorithm) -> String {
        Question {
            algorithm,
            username: "Mufasa",
            realm: "http-auth@example.org",
            password: "Circle of Life",
            nonce: "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",
            cnonce: "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
            nc: "00000001",
            qop: Some(Qop::Auth),
            method: "GET",
            uri: "/dir/index.html",
            body: b"",
        }
        .response()
    }

    #[test]
    fn examples_of_rfc_7616_3_9_1() {
        assert_eq!(rfc7616(Algorithm::MD5), "8ca523f5e9506fed4657c9700eebdbec");
        assert_eq!(
            rfc7616(Algorithm::SHA_256),
            "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"
        );
    }

    /// The values of erratum 4897: the ones printed in the RFC are cut off from SHA-512, which is another function.
    #[test]
    fn example_of_rfc_7616_3_9_2() {
        let algorithm = Algorithm::SHA_512_256;
        let (username, realm) = ("J\u{e4}s\u{f8}n Doe", "api@example.org");
        assert_eq!(
            algorithm.user_hash(username, realm),
            "793263caabb707a56211940d90411ea4a575adeccb7e360aeb624ed06ece9b0b"
        );
        let question = Question {
            algorithm,
            username,
            realm,
            password: "Secret, or not?",
            nonce: "5TsQWLVdgBdmrQ0XsxbDODV+57QdFR34I9HAbC/RVvkK",
            cnonce: "NTg6RKcb9boFIAS3KrFK9BGeh+iDa/sm6jUMp2wds69v",
            nc: "00000001",
            qop: Some(Qop::Auth),
            method: "GET",
            uri: "/doe.json",
            body: b"",
        };
        assert_eq!(question.response(), "3798d4131c277846293534c3edc11bd8a5e4cdcbff78b05db9d95eeb1cec68a5");
    }

    #[test]
    fn example_of_rfc_2617_3_5() {
        let question = Question {
            algorithm: Algorithm::MD5,
            username: "Mufasa",
            realm: "testrealm@host.com",
            password: "Circle Of Life",
            nonce: "dcd98b7102dd2f0e8b11d0f600bfb0c093",
            cnonce: "0a4f113b",
            nc: "00000001",
            qop: Some(Qop::Auth),
            method: "GET",
            uri: "/dir/index.html",
            body: b"",
        };
        assert_eq!(question.response(), "6629fae49393a05397450978507c4ef1");
        assert_eq!(Question { qop: None, ..question }.response(), "670fd8c2df070c60b045671b8b24ff02");
    }

    #[test]
    fn challenges_are_read() {
        let line = r#"Digest realm="a, b", nonce="n\"x", qop="auth,auth-int", algorithm=SHA-256, stale=TRUE, Digest realm="c",nonce="m",algorithm=md5-sess"#;
        let challenges = Challenge::parse(line);
        assert_eq!(challenges.len(), 2);
        assert_eq!((challenges[0].realm.as_str(), challenges[0].nonce.as_str()), ("a, b", r#"n\"x"#));
        assert_eq!(
            (challenges[0].algorithm, challenges[0].qop, challenges[0].stale),
            (Algorithm::SHA_256, Some(Qop::Auth), true)
        );
        assert_eq!(challenges[1].algorithm.as_str(), "MD5-sess");
        for useless in [
            r#"Basic realm="x""#,
            r#"Digest realm="x""#,
            r#"Digest realm="x",nonce="y",algorithm=ROT13"#,
            "NoOneKnowsThisScheme opaque-data=here",
        ] {
            assert!(Challenge::parse(useless).is_empty(), "{useless}");
        }
    }
}
