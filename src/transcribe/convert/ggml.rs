//! whisper.cpp's model file: eleven numbers, the mel filters, the vocabulary, then named tensors up to the end.

use std::borrow::Cow;

use super::ConvertError;
use super::mel;
use super::quantise;

/// The file's first four bytes, as a little-endian number.
pub const MAGIC: u32 = 0x6767_6d6c;

/// What a tensor's numbers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// 32-bit floats.
    F32,
    /// 16-bit floats.
    F16,
    /// Blocks of 32 bytes with a scale.
    Q8_0,
}

impl Kind {
    fn code(self) -> i32 {
        match self {
            Self::F32 => 0,
            Self::F16 => 1,
            Self::Q8_0 => 8,
        }
    }
}

/// The file's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Tokens: 51864 for the English models, 51865 for the multilingual ones.
    pub vocabulary: usize,
    /// Positions of the encoder.
    pub audio_context: usize,
    /// Width of the model.
    pub width: usize,
    /// Heads of the encoder's attention.
    pub audio_heads: usize,
    /// Layers of the encoder.
    pub audio_layers: usize,
    /// Positions of the decoder.
    pub text_context: usize,
    /// Heads of the decoder's attention.
    pub text_heads: usize,
    /// Layers of the decoder.
    pub text_layers: usize,
    /// 1 for 16-bit floats, 2007 for `q8_0`.
    pub file_type: usize,
}

/// `ftype` of 16-bit floats.
pub const TYPE_F16: usize = 1;
/// `ftype` of `q8_0`, in the second version of the quantised layouts.
pub const TYPE_Q8_0: usize = 2007;

/// One tensor.
#[derive(Debug, Clone)]
pub struct Tensor<'a> {
    /// Its name in whisper.cpp.
    pub name: String,
    /// Its shape, slowest dimension first (the file has it reversed).
    pub dims: Vec<usize>,
    /// What its numbers are.
    pub kind: Kind,
    /// The numbers, little-endian.
    pub data: Cow<'a, [u8]>,
}

/// A whole model.
#[derive(Debug, Clone)]
pub struct Model<'a> {
    /// Its numbers.
    pub header: Header,
    /// The raw bytes of the tokens that stand for text.
    pub tokens: Vec<Vec<u8>>,
    /// Its tensors, in the order of the file.
    pub tensors: Vec<Tensor<'a>>,
}

impl Model<'_> {
    /// The same model with its matrices (16-bit, two dimensions) as `q8_0`: the layout that whisper.cpp's own tool makes.
    ///
    /// # Errors
    /// [`ConvertError::Layout`] when a matrix does not consist of whole blocks.
    pub fn quantised(mut self) -> Result<Self, ConvertError> {
        for tensor in &mut self.tensors {
            let row = tensor.dims.get(1).copied().unwrap_or(0);
            if tensor.kind != Kind::F16 || tensor.dims.len() != 2 {
                continue;
            }
            let whole = row.is_multiple_of(quantise::BLOCK).then(|| quantise::q8_0(&tensor.data)).flatten();
            let data = whole.ok_or_else(|| {
                ConvertError::Layout(format!("{} has rows of {row}, not a multiple of 32", tensor.name))
            })?;
            tensor.data = Cow::Owned(data);
            tensor.kind = Kind::Q8_0;
        }
        self.header.file_type = TYPE_Q8_0;
        Ok(self)
    }

    /// The file.
    ///
    /// # Errors
    /// [`ConvertError::Layout`] when a number is too large for the file.
    pub fn to_bytes(&self) -> Result<Vec<u8>, ConvertError> {
        let size: usize = self.tensors.iter().map(|tensor| tensor.data.len() + 100).sum();
        let mut out = Writer(Vec::with_capacity(size + 1_000_000));
        out.0.extend(MAGIC.to_le_bytes());
        for number in self.header.numbers() {
            out.number(number)?;
        }
        out.number(mel::BANDS)?;
        out.number(mel::BINS)?;
        out.0.extend(mel::filters().into_iter().flat_map(f32::to_le_bytes));
        out.number(self.tokens.len())?;
        for token in &self.tokens {
            out.number(token.len())?;
            out.0.extend(token);
        }
        self.tensors.iter().try_for_each(|tensor| out.tensor(tensor))?;
        Ok(out.0)
    }
}

impl Header {
    fn numbers(&self) -> [usize; 11] {
        [
            self.vocabulary,
            self.audio_context,
            self.width,
            self.audio_heads,
            self.audio_layers,
            self.text_context,
            self.width,
            self.text_heads,
            self.text_layers,
            mel::BANDS,
            self.file_type,
        ]
    }
}

/// Reads the header of a ggml Whisper model, to tell one from anything else.
///
/// # Errors
/// [`ConvertError::Ggml`] when the file is something else.
pub fn read_header(bytes: &[u8]) -> Result<Header, ConvertError> {
    let word = |index: usize| {
        let found = bytes.get(4 * index..).and_then(|rest| rest.first_chunk::<4>());
        found.map(|word| u32::from_le_bytes(*word)).ok_or_else(|| ConvertError::Ggml("too short".to_owned()))
    };
    if word(0)? != MAGIC {
        return Err(ConvertError::Ggml("it does not begin with the letters of ggml".to_owned()));
    }
    let number = |index: usize| word(index + 1).map(|word| word as usize);
    let header = Header {
        vocabulary: number(0)?,
        audio_context: number(1)?,
        width: number(2)?,
        audio_heads: number(3)?,
        audio_layers: number(4)?,
        text_context: number(5)?,
        text_heads: number(7)?,
        text_layers: number(8)?,
        file_type: number(10)?,
    };
    let plausible = header.audio_context == 1500 && (50_000..60_000).contains(&header.vocabulary);
    if plausible { Ok(header) } else { Err(ConvertError::Ggml(format!("unlikely numbers: {header:?}"))) }
}

struct Writer(Vec<u8>);

impl Writer {
    fn number(&mut self, number: usize) -> Result<(), ConvertError> {
        let number =
            i32::try_from(number).map_err(|_| ConvertError::Layout(format!("{number} is too large")))?;
        self.0.extend(number.to_le_bytes());
        Ok(())
    }

    fn tensor(&mut self, tensor: &Tensor<'_>) -> Result<(), ConvertError> {
        self.number(tensor.dims.len())?;
        self.number(tensor.name.len())?;
        self.0.extend(tensor.kind.code().to_le_bytes());
        tensor.dims.iter().rev().try_for_each(|dim| self.number(*dim))?;
        self.0.extend(tensor.name.as_bytes());
        self.0.extend_from_slice(&tensor.data);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: Header = Header {
        vocabulary: 51_865,
        audio_context: 1500,
        width: 32,
        audio_heads: 1,
        audio_layers: 1,
        text_context: 448,
        text_heads: 1,
        text_layers: 1,
        file_type: TYPE_F16,
    };

    fn model() -> Model<'static> {
        let tensor = |name: &str, dims: &[usize], kind, size| Tensor {
            name: name.to_owned(),
            dims: dims.to_vec(),
            kind,
            data: Cow::Owned(vec![0; size]),
        };
        let tensors = vec![tensor("m", &[2, 32], Kind::F16, 128), tensor("b", &[2], Kind::F32, 8)];
        Model { header: HEADER, tokens: vec![b"ab".to_vec(), Vec::new()], tensors }
    }

    #[test]
    fn writes_what_it_reads() {
        let bytes = model().to_bytes().unwrap();
        assert_eq!(read_header(&bytes).unwrap(), HEADER);
        let tensors_at = 4 + 44 + 8 + 4 * mel::BANDS * mel::BINS + 4 + (4 + 2) + 4;
        let mut expected = Vec::new();
        for number in [2i32, 1, 1, 32, 2] {
            expected.extend(number.to_le_bytes()); // dims, length of the name, kind, then the shape reversed
        }
        expected.push(b'm');
        assert_eq!(bytes[tensors_at..][..21], expected[..]);
        assert_eq!(bytes.len(), tensors_at + 21 + 128 + (4 * 4 + 1) + 8);
    }

    #[test]
    fn only_matrices_are_quantised() {
        let model = model().quantised().unwrap();
        assert_eq!(model.tensors[0].data.len(), 68);
        assert_eq!((model.tensors[0].kind, model.tensors[1].kind), (Kind::Q8_0, Kind::F32));
        assert_eq!(model.header.file_type, TYPE_Q8_0);
    }

    #[test]
    fn anything_else_is_refused() {
        assert!(read_header(b"RIFF....WAVE").is_err());
        assert!(read_header(&MAGIC.to_le_bytes()).is_err());
    }
}
