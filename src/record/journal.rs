//! The journal's format, and reading it.
//!
//! ```text
//! header   magic "callrec1", u32 length, JSON of the specification, SHA-256 of all that
//! block    u32 length, runs, SHA-256 of (the hash before, length, runs)
//! run      u8 kind (0 received, 1 sent, 2 lost), u8 codec's payload type, u16 zero, u32 length, u64 position, payload
//! ```
//! Numbers are little-endian. A run is one side's contiguous audio, one byte a sample; its position counts 8 kHz samples
//! since the recording began. A `lost` run has no payload: its position is the number of frames lost before the block.
//! The hashes form a chain: a block that is torn, changed, moved or missing ends what can be read.

use std::fs::File;
use std::io::{self, BufReader, Read};

use ring::digest::{Context, SHA256};

use super::RecordingSpec;
use super::tap::Frame;
use crate::audio::Codec;
use crate::media::Side;

const MAGIC: &[u8; 8] = b"callrec1";
/// A specification longer than this is none of ours.
const MAX_HEADER: u32 = 4096;
/// A block longer than this is none of ours: two rings' worth of frames fit several times.
const MAX_BLOCK: u32 = 1 << 20;
const RUN_HEADER: usize = 16;
const HASH: usize = 32;

type Hash = [u8; HASH];

/// Builds the bytes of one journal, block after block.
pub(super) struct Encoder {
    last: Hash,
    /// The block being built, its length field included.
    block: Vec<u8>,
    /// Where each side's open run begins in its own buffer.
    runs: [Run; 2],
}

#[derive(Default)]
struct Run {
    codec: Option<Codec>,
    position: u64,
    payload: Vec<u8>,
}

impl Encoder {
    /// The encoder and the header's bytes.
    pub fn new(spec: &RecordingSpec) -> serde_json::Result<(Self, Vec<u8>)> {
        let json = serde_json::to_vec(spec)?;
        let mut header = MAGIC.to_vec();
        header.extend((json.len() as u32).to_le_bytes());
        header.extend(json);
        let last = hash(&[&header]);
        header.extend(last);
        Ok((Self { last, block: Vec::new(), runs: Default::default() }, header))
    }

    /// Adds one frame to the block.
    pub fn frame(&mut self, frame: &Frame) {
        let side = usize::from(frame.side == Side::Sent);
        let payload = frame.payload.get(..usize::from(frame.length)).unwrap_or_default();
        let run = &self.runs[side];
        let continues =
            run.codec == Some(frame.codec) && run.position + run.payload.len() as u64 == frame.position;
        if !continues {
            self.close_run(side);
            (self.runs[side].codec, self.runs[side].position) = (Some(frame.codec), frame.position);
        }
        self.runs[side].payload.extend_from_slice(payload);
    }

    /// Adds the note that `frames` were lost.
    pub fn lost(&mut self, frames: u64) {
        write_run(&mut self.block, 2, 0, frames, &[]);
    }

    /// The finished block; `None` when nothing was added. The chain goes on from it only after
    /// [`Encoder::written`].
    pub fn block(&mut self) -> Option<&[u8]> {
        self.close_run(0);
        self.close_run(1);
        if self.block.is_empty() {
            return None;
        }
        let length = (self.block.len() as u32).to_le_bytes();
        self.block.splice(..0, length);
        let next = hash(&[&self.last, &self.block]);
        self.block.extend(next);
        Some(&self.block)
    }

    /// Notes that the last block is in the file.
    pub fn written(&mut self) {
        if let Some(hash) = self.block.last_chunk() {
            self.last = *hash;
        }
        self.block.clear();
    }

    /// Drops the last block, which the file did not take.
    pub fn unwritten(&mut self) {
        self.block.clear();
    }

    fn close_run(&mut self, side: usize) {
        let run = &mut self.runs[side];
        if let Some(codec) = run.codec.take()
            && !run.payload.is_empty()
        {
            write_run(&mut self.block, side as u8, codec.payload_type(), run.position, &run.payload);
            run.payload.clear();
        }
    }
}

fn write_run(block: &mut Vec<u8>, kind: u8, codec: u8, position: u64, payload: &[u8]) {
    block.extend([kind, codec, 0, 0]);
    block.extend((payload.len() as u32).to_le_bytes());
    block.extend(position.to_le_bytes());
    block.extend(payload);
}

fn hash(parts: &[&[u8]]) -> Hash {
    let mut context = Context::new(&SHA256);
    parts.iter().for_each(|part| context.update(part));
    let mut hash = [0; HASH];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

/// What a journal holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Entry<'a> {
    Audio { side: Side, codec: Codec, position: u64, payload: &'a [u8] },
    Lost(u64),
}

/// Reads a journal as far as its chain holds.
pub(super) struct Reader {
    file: BufReader<File>,
    last: Hash,
    block: Vec<u8>,
    /// Bytes known to be good.
    good: u64,
    /// The journal's identity.
    pub spec: RecordingSpec,
}

impl Reader {
    /// Reads the header; `None` when it is not whole.
    pub fn open(file: File) -> io::Result<Option<Self>> {
        let mut file = BufReader::new(file);
        let mut start = [0; 12];
        let Some(()) = read_whole(&mut file, &mut start)? else { return Ok(None) };
        let length = u32::from_le_bytes([start[8], start[9], start[10], start[11]]);
        if !start.starts_with(MAGIC) || length > MAX_HEADER {
            return Ok(None);
        }
        let mut json = vec![0; length as usize];
        let mut last = [0; HASH];
        let whole =
            read_whole(&mut file, &mut json)?.is_some() && read_whole(&mut file, &mut last)?.is_some();
        if !whole || hash(&[&start, &json]) != last {
            return Ok(None);
        }
        let Ok(spec) = serde_json::from_slice(&json) else { return Ok(None) };
        let good = (start.len() + json.len() + HASH) as u64;
        Ok(Some(Self { file, last, block: Vec::new(), good, spec }))
    }

    /// Hands out the next block's entries; `false` at the end of what is whole.
    pub fn block(&mut self, mut entry: impl FnMut(Entry<'_>)) -> io::Result<bool> {
        let mut length = [0; 4];
        let Some(()) = read_whole(&mut self.file, &mut length)? else { return Ok(false) };
        let size = u32::from_le_bytes(length);
        if size > MAX_BLOCK {
            return Ok(false);
        }
        self.block.resize(size as usize, 0);
        let mut found = [0; HASH];
        let whole = read_whole(&mut self.file, &mut self.block)?.is_some()
            && read_whole(&mut self.file, &mut found)?.is_some();
        if !whole || hash(&[&self.last, &length, &self.block]) != found {
            return Ok(false);
        }
        self.last = found;
        self.good += (length.len() + self.block.len() + HASH) as u64;
        let mut rest = self.block.as_slice();
        while let Some((run, after)) = split_run(rest) {
            if let Some(run) = run {
                entry(run);
            }
            rest = after;
        }
        Ok(true)
    }

    /// Bytes up to the end of the last whole block.
    pub fn good(&self) -> u64 {
        self.good
    }
}

/// The first run, `None` inside when it is of a kind that this version does not know.
fn split_run(bytes: &[u8]) -> Option<(Option<Entry<'_>>, &[u8])> {
    let (header, rest) = bytes.split_first_chunk::<RUN_HEADER>()?;
    let [kind, codec, _, _, a, b, c, d, position @ ..] = *header;
    let (payload, rest) = rest.split_at_checked(u32::from_le_bytes([a, b, c, d]) as usize)?;
    let position = u64::from_le_bytes(position);
    let side = if kind == 0 { Side::Received } else { Side::Sent };
    let entry = match (kind, Codec::of_payload_type(codec)) {
        (2, _) => Some(Entry::Lost(position)),
        (0 | 1, Some(codec)) => Some(Entry::Audio { side, codec, position, payload }),
        _ => None,
    };
    Some((entry, rest))
}

/// Fills `buffer`; `None` when the file ends before.
fn read_whole(file: &mut impl Read, buffer: &mut [u8]) -> io::Result<Option<()>> {
    match file.read_exact(buffer) {
        Ok(()) => Ok(Some(())),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

/// SHA-256 in hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// SHA-256 of a file, in hexadecimal.
pub(super) fn hash_file(file: &mut File) -> io::Result<String> {
    let mut context = Context::new(&SHA256);
    let mut buffer = vec![0; 1 << 16];
    loop {
        let length = file.read(&mut buffer)?;
        if length == 0 {
            return Ok(hex(context.finish().as_ref()));
        }
        context.update(&buffer[..length]);
    }
}
