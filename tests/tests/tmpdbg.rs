//! debugging
use bowline_sim::*;
#[test]
fn dbg() {
    let s = Scenario::read(std::path::Path::new(&std::env::var("S").unwrap())).unwrap();
    let from: f64 = std::env::var("T").unwrap().parse().unwrap();
    let w = s.play(RunOptions { record: Record::Everything, ..Default::default() });
    for e in w.trace().entries() { if e.at.as_secs_f64() >= from && !matches!(e.what, What::Datagram{..}) { let t = format!("{:?}", e.what); println!("{} {}", e.at, &t[..t.len().min(300)]); } }
    println!("{:?}", w.violations());
}
