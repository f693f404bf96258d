//! The committed corpora go through the bodies of their targets.

use std::fs;
use std::path::{Path, PathBuf};

use super::{
    candidate, candidate_differential, channels, datagram, envelope, frames, gather, ice_server,
    mesh, nat_discovery, peer_state, sdp, turn, turn_stream,
};

#[test]
fn descriptions_of_the_corpora_keep_the_rules() {
    replay(&["fuzz/corpus/sdp", "core/tests/corpora/sdp"], sdp);
}

#[test]
fn candidates_of_the_corpora_keep_the_rules() {
    let folders = ["fuzz/corpus/candidate", "core/tests/corpora/candidate"];
    replay(&folders, candidate);
}

#[test]
fn candidates_of_the_corpora_are_read_as_str0m_reads_them() {
    let folders = ["fuzz/corpus/candidate", "core/tests/corpora/candidate"];
    replay(&folders, candidate_differential);
}

#[test]
fn envelopes_of_the_corpora_keep_the_rules() {
    replay(&["fuzz/corpus/envelope"], envelope);
}

#[test]
fn datagrams_of_the_corpora_keep_the_rules() {
    let folders = [
        "fuzz/corpus/datagram",
        "core/tests/corpora/stun",
        "core/tests/corpora/channeldata",
    ];
    replay(&folders, datagram);
}

#[test]
fn frames_of_the_corpora_keep_the_rules() {
    replay(&["fuzz/corpus/frames"], frames);
}

#[test]
fn scripts_of_channels_of_the_corpora_keep_the_rules() {
    replay(&["fuzz/corpus/channels"], channels);
}

#[test]
fn scripts_of_facts_of_the_corpora_keep_the_rules() {
    replay(&["fuzz/corpus/peer_state"], peer_state);
}

#[test]
fn scripts_of_servers_of_the_corpora_keep_the_rules() {
    replay(&["fuzz/corpus/nat_discovery"], nat_discovery);
}

#[test]
fn scripts_of_turn_servers_of_the_corpora_keep_the_rules() {
    replay(&["fuzz/corpus/turn"], turn);
}

#[test]
fn streams_of_turn_servers_of_the_corpora_keep_the_rules() {
    replay(
        &["fuzz/corpus/turn_stream", "core/tests/corpora/channeldata"],
        turn_stream,
    );
}

#[test]
fn uris_of_the_corpora_keep_the_rules() {
    replay(&["fuzz/corpus/ice_server"], ice_server);
}

#[test]
fn scripts_of_gathering_of_the_corpora_keep_the_rules() {
    replay(&["fuzz/corpus/gather"], gather);
}

#[test]
fn scripts_of_neighbours_of_the_corpora_keep_the_rules() {
    replay(&["fuzz/corpus/mesh"], mesh);
}

/// Gives each file of the folders, which hold some, to a body. A panic names the file.
fn replay(folders: &[&str], body: impl Fn(&[u8])) {
    for folder in folders {
        let files = files(folder);
        assert!(!files.is_empty(), "{folder} is empty");
        for file in files {
            let named = Named(&file);
            body(&fs::read(&file).expect("a file"));
            drop(named);
        }
    }
}

fn files(folder: &str) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let entries = fs::read_dir(root.join(folder)).expect("a folder");
    let mut files: Vec<_> = entries.map(|e| e.expect("an entry").path()).collect();
    files.sort();
    files
}

/// Says which file was read when a body panics.
struct Named<'a>(&'a Path);

impl Drop for Named<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("with {}", self.0.display());
        }
    }
}
