//! Passwords, tokens and keys: how they are made and what of them is stored. Nothing here can be read back.

use std::fmt::Write as _;

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};

use super::{Result, StoreError};
use crate::pii::Secret;

/// The shortest password that is accepted, in characters.
pub const MIN_PASSWORD: usize = 8;
/// The longest password that is hashed, in bytes: hashing is paid by us.
pub const MAX_PASSWORD: usize = 1024;

/// A new random token: `prefix` and 256 bits in hex.
///
/// # Errors
/// [`StoreError::Hash`] when the operating system gives no randomness.
pub fn token(prefix: &str) -> Result<Secret> {
    let mut bytes = [0_u8; 32];
    SystemRandom::new().fill(&mut bytes).map_err(|_| StoreError::Hash("no randomness".to_owned()))?;
    Ok(Secret::new(format!("{prefix}{}", hex(&bytes))))
}

/// A made-up password that can be typed: four groups of four letters and digits, 80 bits, none that look alike.
///
/// # Errors
/// [`StoreError::Hash`] when the operating system gives no randomness.
pub fn random_password() -> Result<Secret> {
    const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let mut bytes = [0_u8; 16];
    SystemRandom::new().fill(&mut bytes).map_err(|_| StoreError::Hash("no randomness".to_owned()))?;
    let mut password = String::new();
    for (at, byte) in bytes.iter().enumerate() {
        if at > 0 && at % 4 == 0 {
            password.push('-');
        }
        password.push(char::from(LETTERS[usize::from(byte % 32)]));
    }
    Ok(Secret::new(password))
}

/// What is stored of a token: its SHA-256. Tokens are random, so that a slow hash would add nothing.
pub fn token_hash(token: &Secret) -> String {
    hex(digest(&SHA256, token.reveal().as_bytes()).as_ref())
}

/// Hashes a password with argon2id, off the async threads.
///
/// # Errors
/// [`StoreError::Hash`].
pub async fn hash_password(password: &Secret) -> Result<String> {
    let password = password.clone();
    let hashed = tokio::task::spawn_blocking(move || {
        Argon2::default().hash_password(password.reveal().as_bytes()).map(|hash| hash.to_string())
    });
    hashed.await.map_err(|e| StoreError::Hash(e.to_string()))?.map_err(|e| StoreError::Hash(e.to_string()))
}

/// Whether a password fits a hash. A password that is too long fits none.
///
/// # Errors
/// [`StoreError::Hash`] when the stored hash is not one or the work could not be done.
pub async fn verify_password(password: &Secret, hash: &str) -> Result<bool> {
    if password.reveal().len() > MAX_PASSWORD {
        return Ok(false);
    }
    let (password, hash) = (password.clone(), hash.to_owned());
    let verified = tokio::task::spawn_blocking(move || {
        let parsed = PasswordHash::new(&hash).map_err(|e| StoreError::Hash(e.to_string()))?;
        Ok(Argon2::default().verify_password(password.reveal().as_bytes(), &parsed).is_ok())
    });
    verified.await.map_err(|e| StoreError::Hash(e.to_string()))?
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}"); // writing to a String cannot fail
        text
    })
}
