//! What is wrong with a file that a person wrote: where, what, and what to write instead.
//!
//! Printed the way rustc prints its errors; serialised for editors and the API. Pure: reading files is not done here.

pub mod document;

use std::cell::RefCell;
use std::fmt;
use std::ops::Range;

use serde::Serialize;

/// The widest part of a source line that is shown, in characters.
const SHOWN: usize = 140;

/// One finding in one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// The file, as it was named by whoever asked for it to be read.
    pub file: String,
    /// Line, from 1; 0 when the finding is about the file as a whole.
    pub line: usize,
    /// Column in characters, from 1; 0 when the finding is about the file as a whole.
    pub column: usize,
    /// How many characters the caret underlines, at least 1.
    pub width: usize,
    /// The line itself, without its line end. Empty for a finding about the whole file.
    pub source_line: String,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub help: Option<String>,
}

impl Diagnostic {
    /// A finding about a whole file, such as one that cannot be read.
    pub fn whole_file(file: impl Into<String>, message: impl Into<String>, help: Option<String>) -> Self {
        Self {
            file: file.into(),
            line: 0,
            column: 0,
            width: 1,
            source_line: String::new(),
            message: message.into(),
            help,
        }
    }

    /// The part of the line that is shown, and where the caret starts in it (characters, from 0).
    fn window(&self) -> (String, usize) {
        let start = self.column.saturating_sub(1);
        let count = self.source_line.chars().count();
        if count <= SHOWN {
            return (self.source_line.replace('\t', " "), start);
        }
        let from = start.saturating_sub(SHOWN / 3).min(count - SHOWN);
        let part: String = self.source_line.chars().skip(from).take(SHOWN).collect();
        let (before, after) = (if from > 0 { "…" } else { "" }, if from + SHOWN < count { "…" } else { "" });
        (format!("{before}{}{after}", part.replace('\t', " ")), start - from + before.chars().count())
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "error: {}", self.message)?;
        let gutter = " ".repeat(self.line.to_string().len());
        if self.line == 0 {
            writeln!(f, "{gutter}--> {}", self.file)?;
        } else {
            let (shown, start) = self.window();
            let width = self.width.clamp(1, shown.chars().count().saturating_sub(start).max(1));
            writeln!(f, "{gutter}--> {}:{}:{}", self.file, self.line, self.column)?;
            writeln!(f, "{gutter} |")?;
            writeln!(f, "{} | {}", self.line, shown.trim_end())?;
            writeln!(f, "{gutter} | {}{}", " ".repeat(start), "^".repeat(width))?;
        }
        match &self.help {
            Some(help) => writeln!(f, "{gutter} = help: {help}"),
            None => Ok(()),
        }
    }
}

/// Several findings, printed one below the other with a blank line between.
pub fn render(diagnostics: &[Diagnostic]) -> String {
    diagnostics.iter().map(Diagnostic::to_string).collect::<Vec<_>>().join("\n")
}

/// A text under examination, which collects the findings about itself.
#[derive(Debug)]
pub struct Source<'t> {
    file: String,
    text: &'t str,
    found: RefCell<Vec<(usize, Diagnostic)>>,
}

impl<'t> Source<'t> {
    /// Begins the examination of `text`, called `file` in what is reported.
    pub fn new(file: impl Into<String>, text: &'t str) -> Self {
        Self { file: file.into(), text, found: RefCell::new(Vec::new()) }
    }

    /// The text as a whole.
    pub fn text(&self) -> &'t str {
        self.text
    }

    /// Reports `message` at the bytes `span`, without a remedy.
    pub fn error(&self, span: Range<usize>, message: impl Into<String>) {
        self.push(span, message.into(), None, false);
    }

    /// Reports `message` at the bytes `span`, and what to write instead.
    pub fn error_help(&self, span: Range<usize>, message: impl Into<String>, help: impl Into<String>) {
        self.push(span, message.into(), Some(help.into()), false);
    }

    /// As [`Source::error_help`], but what is at `span` is a secret and shown as dots.
    pub fn error_hiding(&self, span: Range<usize>, message: impl Into<String>, help: impl Into<String>) {
        self.push(span, message.into(), Some(help.into()), true);
    }

    /// How much was reported so far.
    pub fn count(&self) -> usize {
        self.found.borrow().len()
    }

    /// What was found, in the order of the text.
    pub fn into_diagnostics(self) -> Vec<Diagnostic> {
        let mut found = self.found.into_inner();
        found.sort_by_key(|(start, _)| *start);
        found.into_iter().map(|(_, diagnostic)| diagnostic).collect()
    }

    fn push(&self, span: Range<usize>, message: String, help: Option<String>, hide: bool) {
        let start = self.boundary(span.start);
        let line_start = self.text[..start].rfind('\n').map_or(0, |at| at + 1);
        let line_end = self.text[start..].find('\n').map_or(self.text.len(), |at| start + at);
        let end = self.boundary(span.end).clamp(start, line_end);
        let (before, marked) = (&self.text[line_start..start], &self.text[start..end]);
        let marked = if hide { "…".repeat(marked.chars().count()) } else { marked.to_owned() };
        let after = if hide { "" } else { self.text[end..line_end].trim_end_matches('\r') };
        let diagnostic = Diagnostic {
            file: self.file.clone(),
            line: self.text[..line_start].matches('\n').count() + 1,
            column: before.chars().count() + 1,
            width: marked.trim_end().chars().count().max(1),
            source_line: format!("{before}{marked}{after}"),
            message,
            help,
        };
        self.found.borrow_mut().push((start, diagnostic));
    }

    /// The nearest character boundary at or before `at`, inside the text.
    fn boundary(&self, at: usize) -> usize {
        (0..=at.min(self.text.len())).rev().find(|at| self.text.is_char_boundary(*at)).unwrap_or(0)
    }
}

/// The nearest of `known` to a word that is none of them, if one is near enough to be meant.
pub fn nearest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let limit = (word.chars().count() / 3).max(1) + usize::from(word.chars().count() > 2);
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// `did you mean …?` when a near word exists, else the list of what may be written.
pub fn suggest<'k>(word: &str, known: impl IntoIterator<Item = &'k str> + Clone, what: &str) -> String {
    if let Some(near) = nearest(word, known.clone()) {
        return format!("did you mean `{near}`?");
    }
    let all: Vec<_> = known.into_iter().map(|word| format!("`{word}`")).collect();
    match all.as_slice() {
        [] => format!("there are no {what} yet"),
        _ => format!("the {what} are {}", all.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_like_rustc() {
        let source = Source::new("plan.toml", "title = \"x\"\nsya = \"Hi\"\n");
        source.error_help(12..15, "unknown key `sya`", "did you mean `say`?");
        let printed = render(&source.into_diagnostics());
        let expected = "error: unknown key `sya`\n --> plan.toml:2:1\n  |\n2 | sya = \"Hi\"\n  | ^^^\n  = help: did you mean `say`?\n";
        assert_eq!(printed, expected);
    }

    #[test]
    fn shows_a_window_of_a_long_line_and_hides_secrets() {
        let text = format!("say = \"{}\" {}", "ä".repeat(200), "oops");
        let source = Source::new("p", &text);
        let at = text.len() - 4;
        source.error(at..at + 4, "m");
        let [found] = <[Diagnostic; 1]>::try_from(source.into_diagnostics()).unwrap();
        let printed = found.to_string();
        let lines: Vec<_> = printed.lines().collect();
        assert!(lines[3].starts_with("1 | …") && lines[3].ends_with("oops"), "{printed}");
        assert_eq!(lines[3].chars().count(), lines[4].chars().count(), "{printed}");

        let source = Source::new("p", "password = \"hunter2\" # hunter2");
        source.error_hiding(11..20, "m", "h");
        let printed = source.into_diagnostics()[0].to_string();
        assert!(!printed.contains("hunter2") && printed.contains("password = ………"), "{printed}");
    }

    #[test]
    fn survives_spans_outside_the_text_and_inside_characters() {
        let source = Source::new("p", "ä");
        for span in [1..2, 0..9, 7..8] {
            source.error(span, "m");
        }
        assert_eq!(source.into_diagnostics().len(), 3);
    }

    #[test]
    fn suggests_near_words_only() {
        assert_eq!(nearest("sya", ["say", "play"]), Some("say"));
        assert_eq!(nearest("gater", ["say", "gather"]), Some("gather"));
        assert_eq!(nearest("xyzzy", ["say", "play"]), None);
        assert_eq!(suggest("xyzzy", ["say", "play"], "keys"), "the keys are `say`, `play`");
    }
}
