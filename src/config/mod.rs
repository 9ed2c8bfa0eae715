//! The engine's configuration: raw TOML with positions, compiled into [`Config`]; errors say where and what to write.
pub mod diagnostic;
pub mod document;

pub use diagnostic::Diagnostic;
