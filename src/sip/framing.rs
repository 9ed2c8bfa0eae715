//! From a stream of bytes to messages: SIP over TCP and TLS (RFC 3261 §18.3, keep-alive of RFC 5626 §3.5.1).
//!
//! A stream has no message boundaries but Content-Length. A [`Framer`] takes the bytes in whatever pieces they come, looks at
//! each once, and gives back whole messages. It does not read them; that is [`super::message::Message::parse`]'s business.
//! What cannot be framed ends the stream, because nobody knows where the next message would begin.

use super::message::{MAX_MESSAGE, decimal};

/// The largest head: start line and fields with their line breaks, in bytes.
pub const MAX_HEAD: usize = 64_000;

/// What a stream held.
#[derive(Clone, PartialEq, Eq)]
pub enum Piece {
    /// A whole message, head and body.
    Message(Vec<u8>),
    /// One line break between messages: the answer to a ping of ours.
    Pong,
    /// A second line break after the first: a ping. Answer it with one line break.
    Ping,
}

/// Shows no bytes: they hold numbers and names.
impl std::fmt::Debug for Piece {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Message(bytes) => write!(f, "Message({} bytes)", bytes.len()),
            Self::Pong => f.write_str("Pong"),
            Self::Ping => f.write_str("Ping"),
        }
    }
}

/// Why a stream cannot be read on. Close the connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FramingError {
    /// The first byte of a TLS handshake.
    #[error("this is TLS on a connection without it")]
    Tls,
    /// The first line of an HTTP request or response.
    #[error("this is HTTP, not SIP")]
    Http,
    /// Anything else whose first line is not of SIP.
    #[error("the first line is not of SIP")]
    Garbage,
    /// The head is longer than [`MAX_HEAD`].
    #[error("the head of a message is longer than {MAX_HEAD} bytes")]
    HeadTooLarge,
    /// Head and body are longer than [`MAX_MESSAGE`]. The head is here for the answer 513.
    #[error("a message is longer than {MAX_MESSAGE} bytes")]
    TooLarge(Vec<u8>),
    /// No Content-Length, which a stream needs (RFC 3261 §18.3). The head is here for the answer 400.
    #[error("Content-Length is missing")]
    LengthMissing(Vec<u8>),
    /// Content-Length is no number, or there are two that differ. The head is here for the answer 400.
    #[error("Content-Length is malformed")]
    LengthMalformed(Vec<u8>),
}

impl FramingError {
    /// The head of the message and the status to answer it with, where enough of it came for an answer.
    pub fn answerable(&self) -> Option<(&[u8], u16)> {
        match self {
            Self::TooLarge(head) => Some((head, 513)),
            Self::LengthMissing(head) | Self::LengthMalformed(head) => Some((head, 400)),
            Self::Tls | Self::Http | Self::Garbage | Self::HeadTooLarge => None,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Between messages, after so many line breaks of the ping that may be under way (0 or 1).
    Between(u8),
    /// In the first line.
    FirstLine,
    /// In the fields; the current line began at this offset.
    Fields(usize),
    /// In the body, which ends at this offset.
    Body(usize),
}

/// Cuts one direction of a connection into messages.
#[derive(Debug)]
pub struct Framer {
    buffer: Vec<u8>,
    /// Where the current message begins.
    start: usize,
    /// How far the buffer has been looked at.
    at: usize,
    state: State,
}

impl Default for Framer {
    fn default() -> Self {
        Self { buffer: Vec::new(), start: 0, at: 0, state: State::Between(0) }
    }
}

impl Framer {
    /// Takes what came. Drain [`Self::poll_piece`] after each push: the buffer then never holds more than one message
    /// and one push.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.rebase();
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next piece; `Ok(None)` when more bytes are needed.
    ///
    /// # Errors
    /// The stream cannot be read on; do not call this again.
    pub fn poll_piece(&mut self) -> Result<Option<Piece>, FramingError> {
        loop {
            let piece = match self.state {
                State::Between(breaks) => self.between(breaks)?,
                State::FirstLine => self.first_line()?,
                State::Fields(line) => self.fields(line)?,
                State::Body(end) => self.body(end),
            };
            match piece {
                Step::Again => {}
                Step::More => return Ok(None),
                Step::Piece(piece) => return Ok(Some(piece)),
            }
        }
    }

    /// Whether a message has begun that is not complete.
    pub fn is_within_message(&self) -> bool {
        !matches!(self.state, State::Between(_))
    }

    /// What was looked at of the current message.
    fn head(&self) -> &[u8] {
        self.buffer.get(self.start..self.at).unwrap_or_default()
    }

    /// Moves the offsets after everything before `start` was dropped.
    fn rebase(&mut self) {
        let dropped = std::mem::take(&mut self.start);
        self.at -= dropped;
        self.state = match self.state {
            State::Fields(line) => State::Fields(line - dropped),
            State::Body(end) => State::Body(end - dropped),
            state => state,
        };
        // A large message leaves no large buffer behind.
        self.buffer.shrink_to(self.buffer.len().max(8192));
    }

    fn between(&mut self, breaks: u8) -> Result<Step, FramingError> {
        let Some(byte) = self.buffer.get(self.at).copied() else {
            self.start = self.at;
            return Ok(Step::More);
        };
        self.start = self.at;
        match byte {
            b'\n' if breaks == 1 => {
                self.at += 1;
                self.state = State::Between(0);
                return Ok(Step::Piece(Piece::Ping));
            }
            b'\n' => {
                self.at += 1;
                self.state = State::Between(1);
                return Ok(Step::Piece(Piece::Pong));
            }
            b'\r' => self.at += 1,
            0x16 => return Err(FramingError::Tls),
            byte if super::message::lex::is_token_byte(byte) => self.state = State::FirstLine,
            _ => return Err(FramingError::Garbage),
        }
        Ok(Step::Again)
    }

    fn first_line(&mut self) -> Result<Step, FramingError> {
        let Some(end) = self.find_line_break()? else { return Ok(Step::More) };
        let line = self.buffer.get(self.start..end).unwrap_or_default();
        check_first_line(line)?;
        self.state = State::Fields(self.at);
        Ok(Step::Again)
    }

    fn fields(&mut self, line: usize) -> Result<Step, FramingError> {
        let Some(end) = self.find_line_break()? else { return Ok(Step::More) };
        if !matches!(self.buffer.get(line..end), Some([] | [b'\r'])) {
            self.state = State::Fields(self.at);
            return Ok(Step::Again);
        }
        let length = match content_length(self.head()) {
            Length::Missing => return Err(FramingError::LengthMissing(self.head().to_vec())),
            Length::Malformed => return Err(FramingError::LengthMalformed(self.head().to_vec())),
            Length::Known(length) => length,
        };
        let end = self.at.saturating_add(length);
        if end - self.start > MAX_MESSAGE {
            return Err(FramingError::TooLarge(self.head().to_vec()));
        }
        self.state = State::Body(end);
        Ok(Step::Again)
    }

    fn body(&mut self, end: usize) -> Step {
        let Some(message) = self.buffer.get(self.start..end) else {
            self.at = self.buffer.len();
            return Step::More;
        };
        let message = message.to_vec();
        (self.start, self.at) = (end, end);
        self.state = State::Between(0);
        Step::Piece(Piece::Message(message))
    }

    /// Where the LF of the current line is; looks on from where it stopped the last time.
    fn find_line_break(&mut self) -> Result<Option<usize>, FramingError> {
        let unseen = self.buffer.get(self.at..).unwrap_or_default();
        let found = unseen.iter().position(|byte| *byte == b'\n').map(|after| self.at + after);
        self.at = found.map_or(self.buffer.len(), |at| at + 1);
        if self.at - self.start > MAX_HEAD {
            return Err(FramingError::HeadTooLarge);
        }
        Ok(found)
    }
}

enum Step {
    Again,
    More,
    Piece(Piece),
}

/// Whether a line can open a message: `SIP/x` in front, or ` SIP/` within. The version is not judged here: a wrong one gets 505.
fn check_first_line(line: &[u8]) -> Result<(), FramingError> {
    let has = |wanted: &[u8]| line.windows(wanted.len()).any(|window| window.eq_ignore_ascii_case(wanted));
    if line.get(..4).is_some_and(|start| start.eq_ignore_ascii_case(b"SIP/")) || has(b" SIP/") {
        return Ok(());
    }
    if line.starts_with(b"HTTP/") || has(b" HTTP/1.") {
        return Err(FramingError::Http);
    }
    Err(FramingError::Garbage)
}

enum Length {
    Missing,
    Malformed,
    Known(usize),
}

/// Content-Length or its compact form `l`, folded or not. Two that say the same are let through: they are framed alike, and
/// the parser refuses them with an answer.
fn content_length(head: &[u8]) -> Length {
    let mut found = None;
    let mut lines = head.split(|byte| *byte == b'\n').skip(1).peekable();
    while let Some(line) = lines.next() {
        let mut value = match line.iter().position(|byte| *byte == b':').map(|colon| line.split_at(colon)) {
            Some((name, value)) if is_content_length(name) => value.get(1..).unwrap_or_default().to_vec(),
            _ => continue,
        };
        while let Some(folded) = lines.next_if(|line| matches!(line.first(), Some(b' ' | b'\t'))) {
            value.extend_from_slice(folded);
        }
        let number = std::str::from_utf8(value.trim_ascii()).ok().and_then(decimal);
        let Some(number) = number.and_then(|number| usize::try_from(number).ok()) else {
            return Length::Malformed;
        };
        if found.is_some_and(|known| known != number) {
            return Length::Malformed;
        }
        found = Some(number);
    }
    found.map_or(Length::Missing, Length::Known)
}

fn is_content_length(name: &[u8]) -> bool {
    let name = name.trim_ascii_end();
    name.eq_ignore_ascii_case(b"content-length") || name.eq_ignore_ascii_case(b"l")
}

#[cfg(test)]
mod tests;
