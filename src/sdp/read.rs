//! Reading descriptions of equipment that does not read the grammar: what we need is found, the rest may be as it likes.

use sdp_types::Session;

use super::offer_answer::SdpError;

/// The largest description read, in bytes.
pub const MAX_SDP: usize = 16 * 1024;
/// The most m= lines read.
pub const MAX_MEDIA: usize = 32;

/// Reads a description, whose size is bounded first.
pub(super) fn read(text: &[u8]) -> Result<Session, SdpError> {
    if text.len() > MAX_SDP {
        return Err(SdpError::TooLarge);
    }
    let plain = plain(&String::from_utf8_lossy(text));
    let session = Session::parse(plain.as_bytes()).map_err(|error| SdpError::Malformed(error.to_string()))?;
    if session.medias.len() > MAX_MEDIA { Err(SdpError::TooLarge) } else { Ok(session) }
}

/// The lines that a negotiation reads, tidied: no NUL, no blanks at line ends or doubled between words, no second session-level
/// c=. Names, times, bandwidths and keys, which equipment fills with anything, are left out.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let (mut in_media, mut connected) = (false, false);
    for line in text.split(['\r', '\n']) {
        let line = line.trim_matches(|c: char| c.is_whitespace() || c == '\0');
        let Some((kind, value)) = line.split_once('=') else { continue };
        let kind = kind.trim();
        match kind {
            "v" | "m" | "c" => {
                let again = kind == "c" && !in_media && std::mem::replace(&mut connected, true);
                if again {
                    continue;
                }
                in_media |= kind == "m";
                plain.push_str(kind);
                plain.push('=');
                let words: Vec<&str> = value.split_whitespace().collect();
                plain.push_str(&words.join(" "));
            }
            "a" => {
                plain.push_str("a=");
                plain.push_str(value.trim());
            }
            _ => continue,
        }
        plain.push_str("\r\n");
    }
    plain.replace('\0', "")
}
