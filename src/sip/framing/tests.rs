//! The framer against what comes over real connections: split anywhere, pinged, folded, oversized, and not SIP at all.

use proptest::prelude::*;

use super::*;

fn all(framer: &mut Framer, bytes: &[u8]) -> Result<Vec<Piece>, FramingError> {
    framer.push(bytes);
    let mut pieces = Vec::new();
    while let Some(piece) = framer.poll_piece()? {
        pieces.push(piece);
    }
    Ok(pieces)
}

fn once(bytes: &[u8]) -> Result<Vec<Piece>, FramingError> {
    all(&mut Framer::default(), bytes)
}

fn message(fields: &str, body: &str) -> Vec<u8> {
    format!("OPTIONS sip:a@b SIP/2.0\r\n{fields}\r\n{body}").into_bytes()
}

#[test]
fn content_length_in_every_spelling_ends_the_message() {
    for fields in [
        "Content-Length: 4\r\n",
        "content-length :4\r\n",
        "l: 4\r\n",
        "L:4\r\n",
        "Content-Length:\r\n 4\r\n",
        "l:\r\n\t \r\n 4 \r\nX: y\r\n",
        "X: y\r\n z\r\nl: 4\n",
        "l: 4\r\nContent-Length: 04\r\n",
    ] {
        let one = message(fields, "body");
        let two = [one.clone(), one.clone()].concat();
        assert_eq!(once(&two).unwrap(), vec![Piece::Message(one); 2], "{fields:?}");
    }
}

#[test]
fn a_folded_line_that_looks_empty_does_not_end_the_head() {
    let bytes = message("X: y\r\n \r\nl: 0\r\n", "");
    assert_eq!(once(&bytes).unwrap(), [Piece::Message(bytes)]);
}

#[test]
fn what_only_looks_like_content_length_does_not_count() {
    // A continuation line, a value and the first line.
    let bytes = message("X: y\r\n l: 7\r\nSubject: Content-Length: 9\r\nl: 0\r\n", "");
    assert_eq!(once(&bytes).unwrap(), [Piece::Message(bytes)]);
}

#[test]
fn line_breaks_between_messages_are_pings_and_pongs() {
    let one = message("l: 0\r\n", "");
    let stream = [b"\r\n\r\n".as_slice(), &one, b"\r\n", &one, b"\r\n\r\n\r\n\r\n"].concat();
    let expected = [
        Piece::Pong,
        Piece::Ping,
        Piece::Message(one.clone()),
        Piece::Pong,
        Piece::Message(one),
        Piece::Pong,
        Piece::Ping,
        Piece::Pong,
        Piece::Ping,
    ];
    assert_eq!(once(&stream).unwrap(), expected);
}

#[test]
fn what_cannot_be_framed_says_why() {
    assert_eq!(once(b"\x16\x03\x01\x02\x00"), Err(FramingError::Tls));
    assert_eq!(once(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"), Err(FramingError::Http));
    assert_eq!(once(b"HTTP/1.1 200 OK\r\n"), Err(FramingError::Http));
    assert_eq!(once(b"hello\r\n"), Err(FramingError::Garbage));
    assert_eq!(once(b"\x00\x00"), Err(FramingError::Garbage));
    assert_eq!(once(b" SIP/2.0 200 OK\r\n"), Err(FramingError::Garbage));
    let head = message("X: y\r\n", "");
    assert_eq!(once(&head), Err(FramingError::LengthMissing(head.clone())));
    for wrong in ["x", "-1", "1 2", "", "99999999999", "4\r\nl: 5"] {
        let head = message(&format!("Content-Length: {wrong}\r\n"), "");
        assert_eq!(once(&head), Err(FramingError::LengthMalformed(head.clone())), "{wrong}");
    }
    let head = message("l: 65535\r\n", "");
    let error = once(&head).unwrap_err();
    assert_eq!(error.answerable(), Some((head.as_slice(), 513)));
}

#[test]
fn a_head_without_end_is_given_up_before_it_fills_the_memory() {
    for endless in [b"OPTIONS ".as_slice(), b"OPTIONS sip:a@b SIP/2.0\r\nX: "] {
        let mut framer = Framer::default();
        all(&mut framer, endless).unwrap();
        let outcome = (0..MAX_HEAD).find_map(|_| all(&mut framer, b"x").err());
        assert_eq!(outcome, Some(FramingError::HeadTooLarge));
        assert!(framer.buffer.len() <= MAX_HEAD + 1);
    }
}

#[test]
fn the_largest_message_passes_and_its_buffer_does_not_stay() {
    let head = message("l: 65000\r\n", "");
    let body = vec![b'x'; 65_000];
    let mut framer = Framer::default();
    let whole = [head, body].concat();
    assert_eq!(all(&mut framer, &whole).unwrap(), [Piece::Message(whole)]);
    assert!(!framer.is_within_message());
    all(&mut framer, b"O").unwrap();
    assert!(framer.is_within_message());
    assert!(framer.buffer.capacity() <= 16_384, "{}", framer.buffer.capacity());
}

fn any_stream() -> impl Strategy<Value = Vec<u8>> {
    let body = prop::collection::vec(any::<u8>(), 0..40);
    let piece = prop_oneof![
        4 => (body, "(Content-Length|l|L)", "[ -~]{0,20}").prop_map(|(body, name, value)| {
            let head = format!("SIP/2.0 200 OK\r\nX:{value}\r\n {value}\r\n{name}: {}\r\n\r\n", body.len());
            [head.as_bytes(), &body].concat()
        }),
        1 => Just(b"\r\n\r\n".to_vec()),
        1 => Just(b"\r\n".to_vec()),
        1 => "[ -~]{0,9}".prop_map(String::into_bytes),
    ];
    prop::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat())
}

/// Everything up to the end or the error.
fn in_pieces<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Piece>, Option<FramingError>) {
    let (mut framer, mut found) = (Framer::default(), Vec::new());
    for bytes in pieces {
        framer.push(bytes);
        loop {
            match framer.poll_piece() {
                Ok(Some(piece)) => found.push(piece),
                Ok(None) => break,
                Err(error) => return (found, Some(error)),
            }
        }
    }
    (found, None)
}

proptest! {
    #[test]
    fn any_split_gives_the_same_pieces(stream in any_stream(), size in 1_usize..30) {
        let whole = in_pieces([stream.as_slice()]);
        prop_assert_eq!(&in_pieces(stream.chunks(1)), &whole);
        prop_assert_eq!(&in_pieces(stream.chunks(size)), &whole);
    }

    #[test]
    fn any_bytes_end_in_pieces_or_an_error(stream in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert_eq!(in_pieces(stream.chunks(7)), in_pieces([stream.as_slice()]));
    }
}
