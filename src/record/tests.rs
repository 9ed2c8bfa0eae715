//! Journals that are cut, damaged, killed and full, and what is finished from them.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use super::journal::{Encoder, Entry, Reader};
use super::tap::Frame;
use super::*;
use crate::audio::{Codec, FRAME};
use crate::media::{Side, Tap as _};

fn spec() -> RecordingSpec {
    RecordingSpec { id: Uuid::now_v7(), attempt: Uuid::now_v7(), started_at: jiff::Timestamp::UNIX_EPOCH }
}

fn recorder(directory: &Path) -> Recorder {
    Recorder::start(RecorderConfig { directory: directory.into(), min_free_bytes: 0 }).unwrap()
}

/// A frame whose bytes tell its side and number.
fn frame(side: Side, number: u64) -> Frame {
    let base = if side == Side::Received { 0x80 } else { 0 };
    let payload = [base | (number % 100) as u8; FRAME];
    Frame { side, codec: Codec::Pcmu, length: FRAME as u8, position: number * FRAME as u64, payload }
}

fn put(tap: &mut Tap, side: Side, number: u64) {
    let frame = frame(side, number);
    tap.frame(side, frame.position, frame.codec, &frame.payload);
    tap.clock(frame.position);
}

/// A channel's frames as the byte that fills each, `None` for one that is not such a frame.
fn channel(path: &Path, channel: usize) -> Vec<Option<u8>> {
    let mut wav = hound::WavReader::open(path).unwrap();
    assert_eq!((wav.spec().channels, wav.spec().sample_rate, wav.spec().bits_per_sample), (2, 8000, 16));
    let samples: Vec<i16> = wav.samples::<i16>().map(Result::unwrap).skip(channel).step_by(2).collect();
    let uniform =
        |frame: &[i16]| frame.iter().all(|sample| *sample == frame[0]).then(|| Codec::Pcmu.encode(frame[0]));
    samples.chunks(FRAME).map(uniform).collect()
}

fn expected(side: Side, numbers: impl Iterator<Item = u64>) -> Vec<Option<u8>> {
    numbers.map(|number| Some(frame(side, number).payload[0])).collect()
}

const SILENCE: Option<u8> = Some(0xff);

#[test]
fn a_recording_is_whole_frame_by_frame() {
    let directory = tempfile::tempdir().unwrap();
    let recorder = recorder(directory.path());
    let spec = spec();
    let (mut tap, handle) = recorder.begin(&spec).unwrap();
    for number in 0..100 {
        put(&mut tap, Side::Received, if number % 10 == 3 { number + 1 } else { number });
        if (20..40).contains(&number) {
            put(&mut tap, Side::Sent, number);
        }
    }
    assert_eq!(handle.position(), Duration::from_millis(99 * 20));
    assert!(matches!(finish(handle.journal()), Err(RecordError::Live(_))), "it is being written");
    assert!(recover(directory.path()).unwrap().is_empty());
    drop(tap);
    let ended = handle.wait_closed();
    assert_eq!(ended.gaps, 0);
    let finished = finish(&ended.journal).unwrap();
    assert!(!ended.journal.exists());
    assert_eq!(finished.duration, Duration::from_secs(2));
    assert_eq!((finished.channels, finished.gaps, finished.torn_bytes), (2, 0, 0));
    assert_eq!(finished.spec, spec);
    assert_eq!(finished.bytes, fs::metadata(&finished.path).unwrap().len());
    let sum = Command::new("sha256sum").arg(&finished.path).output().unwrap().stdout;
    assert!(String::from_utf8(sum).unwrap().starts_with(&finished.sha256));
    // Packets 3, 13, ... were lost on the way: silence, and the rest stays in its place.
    let mut left = expected(Side::Received, 0..100);
    left.iter_mut().skip(3).step_by(10).for_each(|frame| *frame = SILENCE);
    assert_eq!(channel(&finished.path, 0), left);
    let mut right = vec![SILENCE; 100];
    right[20..40].copy_from_slice(&expected(Side::Sent, 20..40));
    assert_eq!(channel(&finished.path, 1), right);
}

#[test]
fn frames_out_of_order_find_their_place() {
    let directory = tempfile::tempdir().unwrap();
    let (mut tap, handle) = recorder(directory.path()).begin(&spec()).unwrap();
    for number in [0, 1, 4, 3, 2, 5, 1500, 1499, 5] {
        put(&mut tap, Side::Received, number);
    }
    drop(tap);
    let finished = finish(&handle.wait_closed().journal).unwrap();
    let left = channel(&finished.path, 0);
    assert_eq!(left.len(), 1501);
    assert_eq!(left[..6], expected(Side::Received, 0..6));
    assert_eq!(left[6..1499], [SILENCE; 1493]);
    assert_eq!(left[1499..], expected(Side::Received, 1499..1501));
}

/// A journal's bytes: `blocks` blocks of two frames.
fn journal_bytes(blocks: u64) -> (Vec<u8>, Vec<usize>) {
    let (mut encoder, mut bytes) = Encoder::new(&spec()).unwrap();
    let mut ends = vec![bytes.len()];
    for block in 0..blocks {
        encoder.frame(&frame(Side::Received, block));
        encoder.frame(&frame(Side::Sent, block));
        bytes.extend(encoder.block().unwrap());
        encoder.written();
        ends.push(bytes.len());
    }
    (bytes, ends)
}

fn read(path: &Path) -> Option<(u64, u64)> {
    let mut reader = Reader::open(fs::File::open(path).unwrap()).unwrap()?;
    let mut runs = 0;
    while reader.block(|entry| runs += u64::from(matches!(entry, Entry::Audio { .. }))).unwrap() {}
    Some((runs, reader.good()))
}

#[test]
fn a_tail_torn_anywhere_costs_its_block_only() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("torn.journal");
    let (bytes, ends) = journal_bytes(3);
    for length in ends[2]..bytes.len() {
        fs::write(&path, &bytes[..length]).unwrap();
        assert_eq!(read(&path), Some((4, ends[2] as u64)), "torn after {length} bytes");
        // What a file system may leave after a power loss: the length, without the data.
        let mut zeros = bytes[..length].to_vec();
        zeros.resize(bytes.len(), 0);
        fs::write(&path, &zeros).unwrap();
        let (runs, _) = read(&path).unwrap();
        assert_eq!(runs, 4, "zeros after {length} bytes");
    }
    for length in 0..ends[0] {
        fs::write(&path, &bytes[..length]).unwrap();
        assert_eq!(read(&path), None, "half a header of {length} bytes");
    }
}

#[test]
fn a_changed_byte_ends_what_is_trusted() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("changed.journal");
    let (bytes, ends) = journal_bytes(3);
    for at in (ends[1]..ends[2]).step_by(7) {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        fs::write(&path, &changed).unwrap();
        assert_eq!(read(&path), Some((2, ends[1] as u64)), "byte {at}");
    }
    let mut swapped = bytes[..ends[0]].to_vec();
    swapped.extend(&bytes[ends[1]..]);
    fs::write(&path, &swapped).unwrap();
    assert_eq!(read(&path), Some((0, ends[0] as u64)), "a block is missing");
}

#[test]
fn recovery_finishes_what_can_be_and_names_what_cannot() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let (bytes, ends) = journal_bytes(5);
    fs::write(at("torn.journal"), &bytes[..ends[5] - 10]).unwrap();
    fs::write(at("torn.wav.partial"), b"an earlier try").unwrap();
    fs::write(at("empty.journal"), b"").unwrap();
    fs::write(at("other.txt"), b"not ours").unwrap();
    let mut recovered = recover(directory.path()).unwrap();
    recovered.sort_by(|a, b| a.journal.cmp(&b.journal));
    assert_eq!(recovered.len(), 2);
    assert!(
        matches!(&recovered[0].result, Err(RecordError::NotAJournal(path)) if path == &at("empty.journal"))
    );
    let torn = recovered[1].result.as_ref().unwrap();
    assert_eq!(torn.duration, Duration::from_millis(80));
    assert_eq!(torn.torn_bytes, (ends[5] - 10 - ends[4]) as u64);
    assert_eq!(channel(&torn.path, 0), expected(Side::Received, 0..4));
    let mut names: Vec<_> = fs::read_dir(directory.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["empty.journal", "other.txt", "torn.wav"]);
}

#[test]
fn a_recorder_that_falls_behind_leaves_a_counted_gap() {
    let directory = tempfile::tempdir().unwrap();
    let recorder = recorder(directory.path());
    let (mut tap, handle) = recorder.begin(&spec()).unwrap();
    // Far faster than the recorder empties its rings.
    let pushed = 16 * tap::RING as u64;
    (0..pushed).for_each(|number| put(&mut tap, Side::Received, number));
    drop(tap);
    let ended = handle.wait_closed();
    assert!(ended.gaps >= tap::RING as u64, "{} gaps", ended.gaps);
    let finished = finish(&ended.journal).unwrap();
    assert_eq!(finished.gaps, ended.gaps);
    let whole = channel(&finished.path, 0).iter().filter(|frame| **frame != SILENCE).count() as u64;
    assert_eq!(whole + finished.gaps, pushed);
}

#[test]
fn a_nearly_full_disk_is_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let config = RecorderConfig { directory: directory.path().into(), min_free_bytes: u64::MAX };
    let refused = Recorder::start(config).unwrap().begin(&spec()).err().unwrap();
    assert!(
        matches!(&refused, RecordError::NoSpace { needed: u64::MAX, path, .. } if path == directory.path())
    );
    let message = refused.to_string();
    assert!(message.starts_with("disk_full: ") && message.contains("delete something"), "{message}");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn positions_beyond_a_day_are_dropped_and_counted() {
    let directory = tempfile::tempdir().unwrap();
    let (mut tap, handle) = recorder(directory.path()).begin(&spec()).unwrap();
    put(&mut tap, Side::Received, 0);
    for position in [tap::LONGEST - FRAME as u64 + 1, tap::LONGEST, u64::MAX - 10, u64::MAX] {
        tap.frame(Side::Received, position, Codec::Pcmu, &[0x10; FRAME]);
    }
    drop(tap);
    let finished = finish(&handle.wait_closed().journal).unwrap();
    assert_eq!((finished.gaps, finished.duration), (4, Duration::from_millis(20)));
}

#[test]
fn recovery_removes_half_files_that_belong_to_no_journal() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let (_tap, handle) = recorder(directory.path()).begin(&spec()).unwrap();
    let of_a_live_one = handle.journal().with_extension("wav.partial");
    for path in [&at("orphan.wav.partial"), &at("notes.partial"), &of_a_live_one] {
        fs::write(path, b"half").unwrap();
    }
    assert!(recover(directory.path()).unwrap().is_empty());
    assert!(!at("orphan.wav.partial").exists());
    assert!(at("notes.partial").exists() && of_a_live_one.exists());
}

#[test]
fn finishing_on_a_full_disk_says_so() {
    let path = Path::new("/recordings/x.wav.partial");
    let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
    let directory = tempfile::tempdir().unwrap();
    let error = super::finish::refused(directory.path(), path, 7 << 20, full);
    assert!(error.to_string().starts_with("disk_full: "), "{error}");
    let other = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
    assert!(matches!(super::finish::refused(directory.path(), path, 0, other), RecordError::Io { .. }));
}

/// Runs this test binary again, with only the ignored test `name`, on `directory`.
fn again(name: &str, directory: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "--ignored", "--nocapture", &format!("record::tests::{name}")]);
    command.env("RECORD_TEST_DIRECTORY", directory).stdout(Stdio::piped());
    command
}

/// `None` when somebody runs the ignored tests by themselves: the children have no parent then.
fn child_directory() -> Option<PathBuf> {
    Some(std::env::var_os("RECORD_TEST_DIRECTORY")?.into())
}

/// Waits until the journal holds this many frames.
fn wait_written(handle: &Handle, frames: u64) {
    while handle.bytes() < frames * FRAME as u64 {
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn kill_9_costs_nothing_that_was_written() {
    let directory = tempfile::tempdir().unwrap();
    let mut child = again("child_that_is_killed", directory.path()).spawn().unwrap();
    let mut output = std::io::BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while !line.contains("written") {
        line.clear();
        assert_ne!(std::io::BufRead::read_line(&mut output, &mut line).unwrap(), 0, "the child ended early");
    }
    assert!(recover(directory.path()).unwrap().is_empty(), "the child writes it");
    child.kill().unwrap();
    child.wait().unwrap();
    let recovered = recover(directory.path()).unwrap();
    let finished = recovered[0].result.as_ref().unwrap();
    assert_eq!(channel(&finished.path, 0), expected(Side::Received, 0..150));
    assert!(recover(directory.path()).unwrap().is_empty());
}

#[test]
#[ignore = "the child of kill_9_costs_nothing_that_was_written"]
fn child_that_is_killed() {
    let Some(directory) = child_directory() else { return };
    let recorder = recorder(&directory);
    let (mut tap, handle) = recorder.begin(&spec()).unwrap();
    for numbers in [0..70, 70..150] {
        let end = numbers.end;
        numbers.for_each(|number| put(&mut tap, Side::Received, number));
        wait_written(&handle, end);
    }
    println!("written");
    std::io::stdout().flush().unwrap();
    loop {
        std::thread::park();
    }
}

#[test]
fn a_disk_that_fills_up_costs_a_gap_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let output = again("child_on_a_full_disk", directory.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let recovered = recover(directory.path()).unwrap();
    let finished = recovered[0].result.as_ref().unwrap();
    assert_eq!(finished.gaps, 200);
    assert_eq!(finished.torn_bytes, 0, "the refused block was cut off");
    let left = channel(&finished.path, 0);
    assert_eq!(left[..50], expected(Side::Received, 0..50));
    assert_eq!(left[50..250], [SILENCE; 200]);
    assert_eq!(left[250..], expected(Side::Received, 250..260));
}

/// A limit on file sizes stands for the full disk: it makes writes fail half-way in the same place.
#[test]
#[ignore = "the child of a_disk_that_fills_up_costs_a_gap_and_nothing_else"]
fn child_on_a_full_disk() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let Some(directory) = child_directory() else { return };
    let recorder = recorder(&directory);
    let (mut tap, handle) = recorder.begin(&spec()).unwrap();
    (0..50).for_each(|number| put(&mut tap, Side::Received, number));
    wait_written(&handle, 50);
    let (_, hard) = getrlimit(Resource::RLIMIT_FSIZE).unwrap();
    // SAFETY: ignoring a signal installs no code of ours; without it the limit kills instead of failing the write.
    #[allow(unsafe_code)] // nix marks every use of signal(2) unsafe
    unsafe {
        nix::sys::signal::signal(nix::sys::signal::SIGXFSZ, nix::sys::signal::SigHandler::SigIgn).unwrap();
    }
    setrlimit(Resource::RLIMIT_FSIZE, handle.bytes() + 10, hard).unwrap();
    (50..250).for_each(|number| put(&mut tap, Side::Received, number));
    while handle.gaps() < 200 {
        std::thread::sleep(Duration::from_millis(10));
    }
    setrlimit(Resource::RLIMIT_FSIZE, hard, hard).unwrap();
    (250..260).for_each(|number| put(&mut tap, Side::Received, number));
    drop(tap);
    assert_eq!(handle.wait_closed().gaps, 200);
}
