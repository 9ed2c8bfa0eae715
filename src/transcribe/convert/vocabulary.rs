//! The text of each token, from a Hugging Face `tokenizer.json` of the GPT-2 kind.
//!
//! GPT-2 writes every byte as a printable character; undoing that map gives the raw bytes that ggml stores.

use std::collections::HashMap;

use serde::Deserialize;

use super::ConvertError;

/// How many tokens stand for text; whisper.cpp adds those above by itself.
pub const TEXT_TOKENS: usize = 50_257;

#[derive(Deserialize)]
struct Tokenizer {
    model: Bpe,
    #[serde(default)]
    added_tokens: Vec<Added>,
}

#[derive(Deserialize)]
struct Bpe {
    vocab: HashMap<String, usize>,
}

#[derive(Deserialize)]
struct Added {
    id: usize,
    content: String,
}

/// The raw bytes of the tokens 0..[`TEXT_TOKENS`]. A token that the file does not name is empty: the multilingual
/// vocabulary leaves the last one out.
///
/// # Errors
/// [`ConvertError::Tokenizer`] when the file is not such a tokenizer.
pub fn tokens(json: &[u8]) -> Result<Vec<Vec<u8>>, ConvertError> {
    let bad = |error: &dyn std::fmt::Display| ConvertError::Tokenizer(error.to_string());
    let tokenizer: Tokenizer = serde_json::from_slice(json).map_err(|error| bad(&error))?;
    if tokenizer.model.vocab.len() < TEXT_TOKENS - 1 {
        return Err(bad(&format!("only {} tokens", tokenizer.model.vocab.len())));
    }
    let bytes = bytes_by_character();
    let mut tokens = vec![Vec::new(); TEXT_TOKENS];
    for added in tokenizer.added_tokens {
        if let Some(token) = tokens.get_mut(added.id) {
            *token = added.content.into_bytes();
        }
    }
    for (text, id) in tokenizer.model.vocab {
        let Some(token) = tokens.get_mut(id) else { continue };
        let raw: Option<Vec<u8>> = text.chars().map(|character| bytes.get(&character).copied()).collect();
        *token = raw.ok_or_else(|| bad(&format!("token {id} is not in GPT-2's alphabet")))?;
    }
    Ok(tokens)
}

/// GPT-2's alphabet: printable Latin-1 characters stand for themselves, the other bytes for U+0100 onwards, in order.
fn bytes_by_character() -> HashMap<char, u8> {
    let mut shifted = (0x100u32..).filter_map(char::from_u32);
    let printable = |byte: u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    (0..=u8::MAX)
        .filter_map(|byte| {
            let character = if printable(byte) { Some(char::from(byte)) } else { shifted.next() };
            character.map(|character| (character, byte))
        })
        .collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A tokenizer with made-up tokens and `last` at the end.
    pub(crate) fn tokenizer(last: &str) -> Vec<u8> {
        let mut vocab: HashMap<String, usize> =
            (3..TEXT_TOKENS - 1).map(|id| (format!("t{id}"), id)).collect();
        vocab.extend([("Ġhello".to_owned(), 0), ("Ã©".to_owned(), 1), ("Ċ".to_owned(), 2)]);
        let added = serde_json::json!([{ "id": TEXT_TOKENS - 1, "content": last }]);
        serde_json::to_vec(&serde_json::json!({ "model": { "vocab": vocab }, "added_tokens": added }))
            .unwrap()
    }

    #[test]
    fn undoes_the_map_of_bytes() {
        let tokens = tokens(&tokenizer("<|endoftext|>")).unwrap();
        assert_eq!(tokens.len(), TEXT_TOKENS);
        assert_eq!(tokens[0], b" hello");
        assert_eq!(tokens[1], "é".as_bytes());
        assert_eq!(tokens[2], b"\n");
        assert_eq!(tokens[TEXT_TOKENS - 1], b"<|endoftext|>");
    }

    #[test]
    fn the_alphabet_has_every_byte_once() {
        let map = bytes_by_character();
        let bytes: std::collections::BTreeSet<u8> = map.values().copied().collect();
        assert_eq!((map.len(), bytes.len()), (256, 256));
    }

    #[test]
    fn something_else_is_refused() {
        assert!(matches!(tokens(b"{}"), Err(ConvertError::Tokenizer(_))));
        assert!(matches!(tokens(br#"{"model":{"vocab":{"a":0}}}"#), Err(ConvertError::Tokenizer(_))));
    }
}
