//! The committed corpus of the fuzz target `endpoint`.

use std::fs;
use std::path::Path;

use bowline_sim::script;

#[test]
fn scripts_of_the_corpus_keep_the_rules() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/endpoint");
    let entries = fs::read_dir(&folder).expect("a folder");
    let mut files: Vec<_> = entries.map(|e| e.expect("an entry").path()).collect();
    files.sort();
    assert!(!files.is_empty());
    for file in files {
        let data = fs::read(&file).expect("a file");
        let name = file.display();
        let steps = script::steps(&data);
        // The test shows the last one when it fails.
        println!("{name}: {steps:?}");
        script::play(&steps);
    }
}
