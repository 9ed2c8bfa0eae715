//! Turns the weights as they can be had (CTranslate2, 16-bit) into the file that whisper.cpp reads (ggml, `q8_0`).
//!
//! Nothing here does I/O. The result depends on the input alone, so that its SHA-256 can be recorded.

pub mod ct2;
pub mod ggml;
mod layout;
pub mod mel;
pub mod quantise;
pub mod vocabulary;

/// Why a model cannot be converted.
#[derive(Debug, thiserror::Error)]
pub enum ConvertError {
    /// The CTranslate2 file is damaged or of another kind.
    #[error("model.bin is not a Whisper model for CTranslate2: {message} (at byte {at})")]
    Ct2 {
        /// Where in the file.
        at: usize,
        /// What does not fit.
        message: String,
    },
    /// The tokenizer is damaged or of another kind.
    #[error("tokenizer.json is not Whisper's: {0}")]
    Tokenizer(String),
    /// The arrays do not make up a Whisper model.
    #[error("not a Whisper model: {0}")]
    Layout(String),
    /// The ggml file is damaged or of another kind.
    #[error("not a ggml Whisper model: {0}")]
    Ggml(String),
}

/// Converts CTranslate2's `model.bin` and its `tokenizer.json` to a ggml file quantised to `q8_0`.
///
/// # Errors
/// [`ConvertError`] names the file that does not fit, and why.
pub fn ct2_to_q8_0(model: &[u8], tokenizer: &[u8]) -> Result<Vec<u8>, ConvertError> {
    let variables = ct2::parse(model)?;
    let tokens = vocabulary::tokens(tokenizer)?;
    layout::model(&variables, tokens)?.quantised()?.to_bytes()
}

/// What tests of the whole way need: the smallest model that converts.
#[cfg(test)]
pub(super) mod tests {
    pub(crate) use super::layout::tests::tiny;
    pub(crate) use super::vocabulary::tests::tokenizer;
}
