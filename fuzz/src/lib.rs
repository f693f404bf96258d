//! What fuzzing bowline needs and bowline does not: a comparison of descriptions with webrtc-sdp, the parser of Firefox.
//!
//! The bodies of the other targets are in the core (`bowline::fuzz`) and in the simulator (`bowline_sim::script`).

mod sdp;

pub use sdp::{Difference, difference};

/// Reads a description as webrtc-sdp does too.
///
/// # Panics
///
/// When the two disagree for no known reason.
pub fn sdp_differential(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = difference(text);
    }
}
