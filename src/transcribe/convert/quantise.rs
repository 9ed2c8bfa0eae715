//! ggml's `q8_0`: blocks of 32 numbers, each a 16-bit scale and 32 signed bytes. The arithmetic is ggml's, so that the
//! bytes are the same as its own tool writes.

use half::f16;

/// Numbers in a block.
pub const BLOCK: usize = 32;
/// Bytes of a block: the scale and the numbers.
pub const BLOCK_BYTES: usize = 2 + BLOCK;

/// Quantises 16-bit floats (little-endian); `None` when they do not fill whole blocks.
pub fn q8_0(halves: &[u8]) -> Option<Vec<u8>> {
    if halves.is_empty() || !halves.len().is_multiple_of(2 * BLOCK) {
        return None;
    }
    let mut out = Vec::with_capacity(halves.len() / (2 * BLOCK) * BLOCK_BYTES);
    for block in halves.chunks_exact(2 * BLOCK) {
        quantise_block(block, &mut out);
    }
    Some(out)
}

/// The 32-bit floats that 16-bit ones stand for, both little-endian.
pub fn widen(halves: &[u8]) -> Vec<u8> {
    numbers(halves).flat_map(f32::to_le_bytes).collect()
}

fn numbers(halves: &[u8]) -> impl Iterator<Item = f32> {
    halves.as_chunks::<2>().0.iter().map(|pair| f16::from_le_bytes(*pair).to_f32())
}

fn quantise_block(block: &[u8], out: &mut Vec<u8>) {
    let largest = numbers(block).fold(0f32, |largest, number| largest.max(number.abs()));
    let scale = largest / 127.0;
    let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
    out.extend(f16::from_f32(scale).to_le_bytes());
    out.extend(numbers(block).map(|number| ((number * inverse).round() as i8).cast_unsigned()));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn halves(numbers: &[f32]) -> Vec<u8> {
        numbers.iter().flat_map(|number| f16::from_f32(*number).to_le_bytes()).collect()
    }

    #[test]
    fn the_largest_number_becomes_127() {
        let numbers: Vec<f32> = (0..32).map(|i| i as f32 - 25.4).collect();
        let bytes = q8_0(&halves(&numbers)).unwrap();
        assert_eq!(bytes.len(), BLOCK_BYTES);
        let scale = f16::from_le_bytes([bytes[0], bytes[1]]).to_f32();
        assert_eq!(bytes[2].cast_signed(), -127);
        for (number, byte) in numbers.iter().zip(&bytes[2..]) {
            assert!((f32::from(byte.cast_signed()) * scale - number).abs() < 0.12, "{number}");
        }
    }

    #[test]
    fn a_block_of_zeros_stays_zero() {
        assert_eq!(q8_0(&[0; 64]).unwrap(), [0; 34]);
    }

    #[test]
    fn a_broken_block_is_refused() {
        assert_eq!(q8_0(&[0; 62]), None);
        assert_eq!(q8_0(&[]), None);
    }

    #[test]
    fn widening_keeps_the_value() {
        assert_eq!(widen(&halves(&[1.5, -0.25])), [1.5f32.to_le_bytes(), (-0.25f32).to_le_bytes()].concat());
    }
}
