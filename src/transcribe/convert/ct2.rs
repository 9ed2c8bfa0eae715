//! Reads the CTranslate2 container (version 6, little-endian): a list of named arrays, borrowed from the file's bytes.

use std::collections::BTreeMap;

use super::ConvertError;

/// The version of the container that is understood.
const VERSION: u32 = 6;
/// What the container must say it holds.
const SPEC: &str = "WhisperSpec";
/// No known model comes near these: they bound what a damaged file can make us read.
const MAX_VARIABLES: u32 = 10_000;
const MAX_RANK: u8 = 4;

/// What an array's numbers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dtype {
    /// 32-bit IEEE 754.
    F32,
    /// Signed bytes.
    I8,
    /// Signed 16-bit integers.
    I16,
    /// Signed 32-bit integers.
    I32,
    /// 16-bit IEEE 754.
    F16,
}

impl Dtype {
    fn from_code(code: u8) -> Option<Self> {
        [Self::F32, Self::I8, Self::I16, Self::I32, Self::F16].get(usize::from(code)).copied()
    }

    /// Bytes for one number.
    pub fn width(self) -> usize {
        match self {
            Self::F32 | Self::I32 => 4,
            Self::I16 | Self::F16 => 2,
            Self::I8 => 1,
        }
    }
}

/// One array of the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable<'a> {
    /// Its shape, slowest dimension first; empty for a single number.
    pub dims: Vec<usize>,
    /// What its numbers are.
    pub dtype: Dtype,
    /// The numbers, little-endian.
    pub data: &'a [u8],
}

impl Variable<'_> {
    /// The value of a single integer, as `encoder/num_heads` is.
    pub fn integer(&self) -> Option<i64> {
        match (self.dtype, self.data) {
            (Dtype::I8, &[a]) => Some(i64::from(a.cast_signed())),
            (Dtype::I16, &[a, b]) => Some(i64::from(i16::from_le_bytes([a, b]))),
            (Dtype::I32, &[a, b, c, d]) => Some(i64::from(i32::from_le_bytes([a, b, c, d]))),
            _ => None,
        }
    }
}

/// The container's arrays by name.
pub type Variables<'a> = BTreeMap<String, Variable<'a>>;

/// Parses a whole container.
///
/// # Errors
/// [`ConvertError::Ct2`] says what does not fit, and where.
pub fn parse(bytes: &[u8]) -> Result<Variables<'_>, ConvertError> {
    let mut reader = Reader { bytes, at: 0 };
    let version = reader.u32()?;
    if version != VERSION {
        return Err(reader.error(format!("container version {version}, only {VERSION} is understood")));
    }
    let spec = reader.string()?;
    if spec != SPEC {
        return Err(reader.error(format!("holds a {spec:?}, not a {SPEC}")));
    }
    let _revision = reader.u32()?;
    let count = reader.u32()?;
    if count > MAX_VARIABLES {
        return Err(reader.error(format!("{count} variables")));
    }
    let mut variables = Variables::new();
    for _ in 0..count {
        let name = reader.string()?;
        let variable = reader.variable(&name)?;
        variables.insert(name, variable);
    }
    // What follows are aliases; the only one ties the output projection to the embedding, which ggml does by itself.
    Ok(variables)
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn error(&self, message: String) -> ConvertError {
        ConvertError::Ct2 { at: self.at, message }
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], ConvertError> {
        let end = self.at.checked_add(count);
        let found = end.and_then(|end| self.bytes.get(self.at..end));
        let taken = found.ok_or_else(|| self.error(format!("ends {count} bytes too early")))?;
        self.at += count;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ConvertError> {
        let taken = self.take(N)?;
        taken.try_into().map_err(|_| self.error("ends too early".to_owned()))
    }

    fn u8(&mut self) -> Result<u8, ConvertError> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn u32(&mut self) -> Result<u32, ConvertError> {
        self.array().map(u32::from_le_bytes)
    }

    fn string(&mut self) -> Result<String, ConvertError> {
        let length = usize::from(u16::from_le_bytes(self.array()?));
        let bytes = self.take(length)?;
        let text = bytes.strip_suffix(&[0]).unwrap_or(bytes);
        String::from_utf8(text.to_vec()).map_err(|_| self.error("a name that is not UTF-8".to_owned()))
    }

    fn variable(&mut self, name: &str) -> Result<Variable<'a>, ConvertError> {
        let rank = self.u8()?;
        if rank > MAX_RANK {
            return Err(self.error(format!("{name} has {rank} dimensions")));
        }
        let dims: Vec<usize> =
            (0..rank).map(|_| self.u32().map(|dim| dim as usize)).collect::<Result<_, _>>()?;
        let code = self.u8()?;
        let dtype = Dtype::from_code(code).ok_or_else(|| self.error(format!("{name} has type {code}")))?;
        let size = self.u32()? as usize;
        let wanted = dims.iter().try_fold(dtype.width(), |product, dim| product.checked_mul(*dim));
        if wanted != Some(size) {
            return Err(self.error(format!("{name} has {size} bytes for the shape {dims:?}")));
        }
        Ok(Variable { dims, dtype, data: self.take(size)? })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Writes a container with these arrays.
    pub(crate) fn container(variables: &[(&str, &[u32], u8, Vec<u8>)]) -> Vec<u8> {
        let mut out = VERSION.to_le_bytes().to_vec();
        push_string(&mut out, SPEC);
        out.extend(3u32.to_le_bytes());
        out.extend(u32::try_from(variables.len()).unwrap().to_le_bytes());
        for (name, dims, dtype, data) in variables {
            push_string(&mut out, name);
            out.push(u8::try_from(dims.len()).unwrap());
            dims.iter().for_each(|dim| out.extend(dim.to_le_bytes()));
            out.push(*dtype);
            out.extend(u32::try_from(data.len()).unwrap().to_le_bytes());
            out.extend(data);
        }
        out.extend(0u32.to_le_bytes());
        out
    }

    fn push_string(out: &mut Vec<u8>, text: &str) {
        out.extend(u16::try_from(text.len() + 1).unwrap().to_le_bytes());
        out.extend(text.as_bytes());
        out.push(0);
    }

    #[test]
    fn reads_names_shapes_and_numbers() {
        let bytes = container(&[("a", &[2, 1], 4, vec![1, 2, 3, 4]), ("heads", &[], 2, vec![8, 0])]);
        let variables = parse(&bytes).unwrap();
        assert_eq!(variables["a"], Variable { dims: vec![2, 1], dtype: Dtype::F16, data: &[1, 2, 3, 4] });
        assert_eq!(variables["heads"].integer(), Some(8));
        assert_eq!(variables["a"].integer(), None);
    }

    #[test]
    fn a_file_cut_anywhere_is_an_error() {
        let bytes = container(&[("a", &[2, 1], 4, vec![1, 2, 3, 4])]);
        let whole = bytes.len() - 4; // without the aliases, which are not read
        for length in 0..whole {
            assert!(parse(&bytes[..length]).is_err(), "cut at {length}");
        }
    }

    #[test]
    fn a_size_that_does_not_fit_the_shape_is_an_error() {
        let bytes = container(&[("a", &[u32::MAX, u32::MAX, u32::MAX], 0, vec![1, 2, 3, 4])]);
        assert!(matches!(parse(&bytes), Err(ConvertError::Ct2 { .. })));
    }
}
