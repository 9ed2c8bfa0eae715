//! From whisper's tokens to words, and which of them are none.

use super::Word;
use crate::pii::Redacted;

/// One token of text.
#[derive(Debug, Clone, PartialEq)]
pub struct Token {
    /// Its raw bytes: a token may end within a character.
    pub bytes: Vec<u8>,
    /// Its start in milliseconds from the file's beginning.
    pub start_ms: u64,
    /// Its end.
    pub end_ms: u64,
    /// The model's probability for it, 0 to 1.
    pub probability: f32,
}

/// Merges tokens into words (a token that starts with a space starts a word) and drops what stands in brackets: whisper
/// describes sounds there (`[music]`, `(sighs)`), nobody said it.
pub fn merge(tokens: &[Token]) -> Vec<Word> {
    let mut groups: Vec<&[Token]> = Vec::new();
    let mut rest = tokens;
    while !rest.is_empty() {
        let more = rest.iter().skip(1).position(|token| token.bytes.starts_with(b" "));
        let (word, behind) = rest.split_at(more.map_or(rest.len(), |more| more + 1));
        groups.push(word);
        rest = behind;
    }
    let words = groups.into_iter().filter_map(word);
    let mut brackets = Brackets::default();
    words.filter_map(|word| brackets.outside(word)).collect()
}

/// The words as a sentence.
pub fn text(words: &[Word]) -> String {
    words.iter().map(|word| word.text.reveal().as_str()).collect::<Vec<_>>().join(" ")
}

fn word(tokens: &[Token]) -> Option<Word> {
    let bytes: Vec<u8> = tokens.iter().flat_map(|token| token.bytes.iter().copied()).collect();
    let text = String::from_utf8_lossy(&bytes).trim().to_owned();
    let (first, last) = (tokens.first()?, tokens.last()?);
    let sum: f32 = tokens.iter().map(|token| token.probability).sum();
    let confidence = (sum / tokens.len() as f32).clamp(0.0, 1.0);
    let (start_ms, end_ms) = (first.start_ms, last.end_ms.max(first.start_ms));
    (!text.is_empty()).then(|| Word { text: Redacted::new(text), start_ms, end_ms, confidence })
}

#[derive(Default)]
struct Brackets {
    /// The bracket that will close the open one.
    closing: Option<char>,
}

impl Brackets {
    /// The word without what stands in brackets; `None` when nothing is left of it.
    fn outside(&mut self, word: Word) -> Option<Word> {
        let kept: String = word.text.reveal().chars().filter(|character| self.keeps(*character)).collect();
        let said = kept.chars().any(char::is_alphanumeric);
        said.then(|| Word { text: Redacted::new(kept), ..word })
    }

    fn keeps(&mut self, character: char) -> bool {
        if let Some(closing) = self.closing {
            if character == closing {
                self.closing = None;
            }
            return false;
        }
        self.closing = match character {
            '[' => Some(']'),
            '(' => Some(')'),
            '*' => Some('*'),
            '♪' => Some('♪'),
            _ => None,
        };
        self.closing.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(texts: &[&str]) -> Vec<Token> {
        let token = |(index, text): (usize, &&str)| Token {
            bytes: text.as_bytes().to_vec(),
            start_ms: 100 * index as u64,
            end_ms: 100 * (index as u64 + 1),
            probability: if index == 0 { 0.5 } else { 1.0 },
        };
        texts.iter().enumerate().map(token).collect()
    }

    #[test]
    fn tokens_become_words_with_their_times() {
        let words = merge(&tokens(&[" Le", "ave", " it", " there", "."]));
        assert_eq!(text(&words), "Leave it there.");
        assert_eq!((words[0].start_ms, words[0].end_ms, words[0].confidence), (0, 200, 0.75));
        assert_eq!((words[2].start_ms, words[2].end_ms), (300, 500));
    }

    #[test]
    fn a_character_may_be_spread_over_tokens() {
        let mut spread = tokens(&[" caf", "?", "?"]);
        (spread[1].bytes, spread[2].bytes) = (vec![0xc3], vec![0xa9]);
        assert_eq!(text(&merge(&spread)), "café");
    }

    #[test]
    fn what_stands_in_brackets_was_not_said() {
        assert_eq!(merge(&tokens(&[" [", "BLANK", "_", "AUDIO", "]"])), []);
        assert_eq!(
            text(&merge(&tokens(&[" (soft", " music)", " Hello", " *click*", " you", "."]))),
            "Hello you."
        );
        assert_eq!(merge(&tokens(&[" ...", " ♪", " la", " ♪"])), []);
        assert_eq!(merge(&[]), []);
    }
}
