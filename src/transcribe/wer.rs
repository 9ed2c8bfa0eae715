//! Word error rate: how many words must be changed, added or left out to turn what was heard into what was said.

use std::ops::AddAssign;

/// Errors out of words; add them up over many clips.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wer {
    /// Words changed, added or left out.
    pub errors: usize,
    /// Words said.
    pub words: usize,
}

impl Wer {
    /// Errors per hundred words said; 0 when none were.
    pub fn percent(self) -> f64 {
        if self.words == 0 { 0.0 } else { 100.0 * self.errors as f64 / self.words as f64 }
    }
}

impl AddAssign for Wer {
    fn add_assign(&mut self, other: Self) {
        self.errors += other.errors;
        self.words += other.words;
    }
}

/// Compares what was said with what was heard. Case, punctuation, hyphens and the spelling of small numbers do not count.
pub fn compare(said: &str, heard: &str) -> Wer {
    let (said, heard) = (words(said), words(heard));
    // one row of Levenshtein's table: the cost of turning the words so far into the first n heard
    let mut row: Vec<usize> = (0..=heard.len()).collect();
    for (index, word) in said.iter().enumerate() {
        let mut next = vec![index + 1];
        for (column, other) in heard.iter().enumerate() {
            let cost = |at: usize, row: &[usize]| row.get(at).copied().unwrap_or(usize::MAX - 1);
            let changed = cost(column, &row) + usize::from(word != other);
            next.push(changed.min(cost(column + 1, &row) + 1).min(cost(column, &next) + 1));
        }
        row = next;
    }
    Wer { errors: row.last().copied().unwrap_or(0), words: said.len() }
}

fn words(text: &str) -> Vec<String> {
    let lower = text.to_lowercase().replace('’', "'");
    let parts = lower.split(|c: char| !(c.is_alphanumeric() || c == '\''));
    parts.map(|part| part.trim_matches('\'')).filter(|part| !part.is_empty()).map(number).collect()
}

/// Small numbers in one spelling.
fn number(word: &str) -> String {
    const NUMBERS: [&str; 13] = [
        "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven",
        "twelve",
    ];
    NUMBERS.iter().position(|name| *name == word).map_or_else(|| word.to_owned(), |number| number.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spelling_does_not_count() {
        assert_eq!(
            compare("Press 1, or twenty-two -- Waldo's!", "press one or twenty two waldo’s"),
            Wer { errors: 0, words: 6 }
        );
    }

    #[test]
    fn each_kind_of_error_counts_one() {
        assert_eq!(compare("leave it there", "leave it here"), Wer { errors: 1, words: 3 });
        assert_eq!(compare("leave it there", "leave there"), Wer { errors: 1, words: 3 });
        assert_eq!(compare("leave it there", "please leave it there"), Wer { errors: 1, words: 3 });
        assert_eq!(compare("", "thank you"), Wer { errors: 2, words: 0 });
        assert_eq!(compare("a b", ""), Wer { errors: 2, words: 2 });
    }

    #[test]
    fn sums_weigh_by_words() {
        let mut sum = Wer::default();
        sum += Wer { errors: 1, words: 1 };
        sum += Wer { errors: 0, words: 3 };
        assert_eq!(sum.percent(), 25.0);
        assert_eq!(Wer::default().percent(), 0.0);
    }
}
