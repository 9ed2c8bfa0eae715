//! G.711 mu-law and A-law (ITU-T G.711), one byte a sample at 8 kHz.

/// The two codecs of every telephone trunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Codec {
    /// mu-law, static RTP payload type 0.
    Pcmu,
    /// A-law, static RTP payload type 8.
    Pcma,
}

const PCMU_DECODED: [i16; 256] = table(Codec::Pcmu);
const PCMA_DECODED: [i16; 256] = table(Codec::Pcma);

impl Codec {
    /// The static RTP payload type (RFC 3551 §6).
    pub const fn payload_type(self) -> u8 {
        match self {
            Codec::Pcmu => 0,
            Codec::Pcma => 8,
        }
    }

    /// The codec of a static payload type.
    pub const fn of_payload_type(payload_type: u8) -> Option<Self> {
        match payload_type {
            0 => Some(Codec::Pcmu),
            8 => Some(Codec::Pcma),
            _ => None,
        }
    }

    /// The name in SDP.
    pub const fn name(self) -> &'static str {
        match self {
            Codec::Pcmu => "PCMU",
            Codec::Pcma => "PCMA",
        }
    }

    /// The byte that stands for silence.
    pub const fn silence(self) -> u8 {
        match self {
            Codec::Pcmu => 0xff,
            Codec::Pcma => 0xd5,
        }
    }

    /// One sample from its byte.
    pub fn decode(self, byte: u8) -> i16 {
        match self {
            Codec::Pcmu => PCMU_DECODED[usize::from(byte)],
            Codec::Pcma => PCMA_DECODED[usize::from(byte)],
        }
    }

    /// The byte of one sample.
    pub const fn encode(self, sample: i16) -> u8 {
        match self {
            Codec::Pcmu => encode_pcmu(sample),
            Codec::Pcma => encode_pcma(sample),
        }
    }

    /// Decodes into `samples` as many bytes as both hold, and returns their number.
    pub fn decode_into(self, bytes: &[u8], samples: &mut [i16]) -> usize {
        for (sample, byte) in samples.iter_mut().zip(bytes) {
            *sample = self.decode(*byte);
        }
        bytes.len().min(samples.len())
    }

    /// Encodes into `bytes` as many samples as both hold, and returns their number.
    pub fn encode_into(self, samples: &[i16], bytes: &mut [u8]) -> usize {
        for (byte, sample) in bytes.iter_mut().zip(samples) {
            *byte = self.encode(*sample);
        }
        bytes.len().min(samples.len())
    }
}

const fn table(codec: Codec) -> [i16; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = match codec {
            Codec::Pcmu => decode_pcmu(byte as u8),
            Codec::Pcma => decode_pcma(byte as u8),
        };
        byte += 1;
    }
    table
}

const fn decode_pcmu(byte: u8) -> i16 {
    let bits = !byte;
    let magnitude = ((((bits & 0x0f) as i16) << 3) + 0x84) << ((bits & 0x70) >> 4);
    if bits & 0x80 != 0 { 0x84 - magnitude } else { magnitude - 0x84 }
}

const fn decode_pcma(byte: u8) -> i16 {
    let bits = byte ^ 0x55;
    let mantissa = ((bits & 0x0f) as i16) << 4;
    let magnitude = match (bits & 0x70) >> 4 {
        0 => mantissa + 8,
        segment => (mantissa + 0x108) << (segment - 1),
    };
    if bits & 0x80 != 0 { magnitude } else { -magnitude }
}

const fn encode_pcmu(sample: i16) -> u8 {
    let sign = if sample < 0 { 0x80 } else { 0 };
    let mut magnitude = sample.unsigned_abs() as u32;
    if magnitude > 32_635 {
        magnitude = 32_635;
    }
    magnitude += 0x84;
    let segment = 24 - magnitude.leading_zeros();
    let mantissa = (magnitude >> (segment + 3)) & 0x0f;
    !(sign | ((segment << 4) | mantissa) as u8)
}

const fn encode_pcma(sample: i16) -> u8 {
    let (mask, magnitude) = if sample >= 0 { (0xd5, sample >> 3) } else { (0x55, !(sample >> 3)) };
    let magnitude = magnitude as u32;
    // Segments 0 and 1 have the same step.
    let segment = 27_u32.saturating_sub(magnitude.leading_zeros());
    let shift = if segment < 2 { 1 } else { segment };
    ((segment << 4) | ((magnitude >> shift) & 0x0f)) as u8 ^ mask
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_of_the_standard() {
        let pcmu = [(0, 0xff), (-1, 0x7f), (32_635, 0x80), (-32_768, 0x00), (1000, 0xce), (-1000, 0x4e)];
        let pcma = [(0, 0xd5), (-1, 0x55), (32_767, 0xaa), (-32_768, 0x2a), (1000, 0xfa), (-1000, 0x7a)];
        for (sample, byte) in pcmu {
            assert_eq!(Codec::Pcmu.encode(sample), byte, "mu-law {sample}");
        }
        for (sample, byte) in pcma {
            assert_eq!(Codec::Pcma.encode(sample), byte, "A-law {sample}");
        }
        assert_eq!(Codec::Pcmu.decode(0x80), 32_124);
        assert_eq!(Codec::Pcma.decode(0xaa), 32_256);
    }

    #[test]
    fn every_byte_survives_a_round_trip() {
        for codec in [Codec::Pcmu, Codec::Pcma] {
            for byte in 0..=255 {
                // mu-law has two zeros; the negative one comes back as the positive one.
                let expected = if codec == Codec::Pcmu && byte == 0x7f { 0xff } else { byte };
                assert_eq!(codec.encode(codec.decode(byte)), expected, "{codec:?} {byte:#x}");
            }
            assert!(codec.decode(codec.silence()).abs() <= 8);
        }
    }

    #[test]
    fn no_sample_is_further_off_than_its_step() {
        for codec in [Codec::Pcmu, Codec::Pcma] {
            for sample in i16::MIN..=i16::MAX {
                let back = i32::from(codec.decode(codec.encode(sample)));
                let error = (back - i32::from(sample)).unsigned_abs();
                assert!(error <= 16 + sample.unsigned_abs() as u32 / 30, "{codec:?} {sample} -> {back}");
            }
        }
    }
}
