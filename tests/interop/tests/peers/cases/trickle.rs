//! P16, P17: candidates that come one by one, and those that hide an address.

use bowline::{CandidateRefusal, Config, Event, Side};
use bowline_interop::bridge::Trickle;
use bowline_interop::duo::{Duo, Meeting};

use super::{QUICK, opened_by_offerer, talk};
use crate::table::Outcome;
use crate::{Bench, Verdict};

/// P16: candidates before and after the description of the peer, ones of another generation among them, and the end of
/// candidates. They connect in the usual time, and the others are not used.
pub(super) async fn candidates_come_before_and_after_the_description(bench: Bench) -> Verdict {
    let duo = Meeting::new(bench.offerer)
        .trickle(Trickle::Around)
        .connect(&*bench.stack().await?)
        .await?;
    talk(&duo, opened_by_offerer(&duo).await?).await?;
    let added = remote_candidates(&duo);
    let is_added = |ip: &str| added.iter().any(|added| added.starts_with(ip));
    assert!(is_added("192.0.2.7:"), "the one before: {added:?}");
    assert!(!is_added("192.0.2.8:"), "not of this generation: {added:?}");
    duo.part().await;
    Ok(Outcome::Passed)
}

/// P17: the peer tells names in place of addresses, which bowline must not look up. Its checks tell where it is.
pub(super) async fn a_peer_behind_mdns_names_is_found_by_its_checks(bench: Bench) -> Verdict {
    let config = Config::builder().resolve_local_names(false);
    let duo = Meeting::new(bench.offerer)
        .config(config.build()?)
        .connect(&*bench.stack().await?)
        .await?;
    talk(&duo, opened_by_offerer(&duo).await?).await?;
    let named = |events: &[Event]| {
        let reason = CandidateRefusal::HostName;
        let is_name = |event: &Event| matches!(event, Event::CandidateIgnored { reason: r, .. } if *r == reason);
        events.iter().any(is_name).then_some(())
    };
    duo.events
        .within(QUICK, "a candidate with a name", named)
        .await;
    assert_eq!(remote_candidates(&duo), [] as [String; 0]);
    duo.part().await;
    Ok(Outcome::Passed)
}

/// The peer's candidates that bowline uses.
fn remote_candidates(duo: &Duo) -> Vec<String> {
    let address = |event: &Event| match event {
        Event::CandidateAdded {
            side: Side::Remote,
            address,
            ..
        } => Some(address.to_string()),
        _ => None,
    };
    duo.events.all().iter().filter_map(address).collect()
}
