//! The modules of Callahead's core that read what strangers send, built without the rest of the engine.

#[path = "../../src/pii.rs"]
pub mod pii;
#[path = "../../src/sdp/mod.rs"]
pub mod sdp;
#[path = "../../src/sip/mod.rs"]
pub mod sip;
