//! Signalling between a bowline endpoint and a foreign peer: envelopes on the one side, requests on the other.
//!
//! `core/src/signal/envelope.rs` documents the envelopes. This is what a page has to do to speak with bowline, in the plain
//! form: number what it says, acknowledge what it hears, and act on each message once.

use std::collections::BTreeSet;
use std::sync::Arc;

use bowline_tokio::signalling::Link;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::foreign::ForeignConnection;
use crate::log::Log;

/// Changes a description on its way.
pub type Munge = Arc<dyn Fn(&str) -> String + Send + Sync>;

/// Who makes the offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Offerer {
    /// bowline.
    Bowline,
    /// The foreign peer.
    Peer,
}

/// What passed between the two, as its maker wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Passed {
    /// A description by bowline.
    FromBowline(String),
    /// A description by the peer.
    FromPeer(String),
    /// A candidate by bowline, empty at the end of candidates.
    CandidateFromBowline(String),
    /// The signalling failed.
    Broken(String),
}

/// The two sides of the signalling, and what is between them.
pub(crate) struct Bridge {
    pub(crate) link: Link,
    pub(crate) peer: ForeignConnection,
    pub(crate) candidates: mpsc::UnboundedReceiver<String>,
    /// Applied to the descriptions by bowline before the peer sees them.
    pub(crate) to_peer: Munge,
    /// Applied to the descriptions by the peer before bowline sees them.
    pub(crate) to_bowline: Munge,
    pub(crate) trickle: Trickle,
    /// When the peer is to restart ICE.
    pub(crate) restarts: mpsc::UnboundedReceiver<()>,
    pub(crate) passed: Log<Passed>,
    pub(crate) names: Names,
}

/// How the candidates of the peer reach bowline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trickle {
    /// Those of the description in it, and others when the peer tells them.
    AsTold,
    /// All of them one by one, around a description without any. One that nobody answers comes before it, those of the
    /// peer after it, and beside both one of another generation.
    Around,
}

/// The ids of both sides.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    pub(crate) bowline: String,
    pub(crate) peer: String,
}

/// How far the signalling is.
struct Progress {
    session: String,
    /// That of the last offer.
    generation: u64,
    seq: u64,
    heard: BTreeSet<u64>,
    /// The username fragment of the peer's description; its candidates wait for it.
    ufrag: Option<String>,
    early: Vec<String>,
}

impl Bridge {
    /// Carries the signalling until one side is gone.
    pub(crate) async fn run(mut self, offerer: Offerer) {
        if let Err(error) = self.carry(offerer).await {
            self.passed.push(Passed::Broken(error));
        }
    }

    async fn carry(&mut self, offerer: Offerer) -> Result<(), String> {
        let mut progress = Progress {
            session: SESSION.to_owned(),
            generation: 0,
            seq: 0,
            heard: BTreeSet::new(),
            ufrag: None,
            early: Vec::new(),
        };
        if offerer == Offerer::Peer {
            let sdp = self.peer.offer().await?;
            self.describe(&mut progress, "offer", &sdp).await?;
        }
        loop {
            tokio::select! {
                signal = self.link.outbound.recv() => {
                    let Some(signal) = signal else { return Ok(()) };
                    let envelope = serde_json::from_str(&signal.text).map_err(|e| e.to_string())?;
                    self.on_envelope(&mut progress, &envelope).await?;
                }
                Some(candidate) = self.candidates.recv() => {
                    progress.early.push(candidate);
                    self.trickle(&mut progress).await?;
                }
                Some(()) = self.restarts.recv() => {
                    let sdp = self.peer.offer_restart().await?;
                    progress.generation += 1;
                    self.describe(&mut progress, "offer", &sdp).await?;
                }
            }
        }
    }

    async fn on_envelope(
        &mut self,
        progress: &mut Progress,
        envelope: &Value,
    ) -> Result<(), String> {
        let seq = envelope["seq"].as_u64().unwrap_or_default();
        if seq == 0 {
            return Ok(());
        }
        envelope["session"]
            .as_str()
            .unwrap_or_default()
            .clone_into(&mut progress.session);
        self.say(progress, json!({ "type": "ack", "ack": seq }))
            .await?;
        if !progress.heard.insert(seq) {
            return Ok(());
        }
        let text = |field: &str| envelope[field].as_str().unwrap_or_default().to_owned();
        match envelope["type"].as_str() {
            Some("offer") => {
                self.passed.push(Passed::FromBowline(text("sdp")));
                progress.generation = envelope["generation"].as_u64().unwrap_or_default();
                let answer = self.peer.answer((self.to_peer)(&text("sdp"))).await?;
                self.describe(progress, "answer", &answer).await
            }
            Some("answer") => {
                self.passed.push(Passed::FromBowline(text("sdp")));
                self.peer.accept((self.to_peer)(&text("sdp"))).await
            }
            Some("ice-candidate") => {
                self.passed
                    .push(Passed::CandidateFromBowline(text("candidate")));
                self.peer.candidate(text("candidate")).await
            }
            // The end of candidates and a farewell ask nothing of the peer, and it asks for no restart: ours is the lower id.
            _ => Ok(()),
        }
    }

    /// Sends a description by the peer, and its candidates as the bridge is to.
    async fn describe(
        &mut self,
        progress: &mut Progress,
        kind: &str,
        sdp: &str,
    ) -> Result<(), String> {
        self.passed.push(Passed::FromPeer(sdp.to_owned()));
        let ufrag = attribute(sdp, "ice-ufrag").ok_or("no ice-ufrag in the description")?;
        progress.ufrag = Some(ufrag.to_owned());
        let sdp = (self.to_bowline)(sdp);
        if self.trickle == Trickle::AsTold {
            self.say(progress, json!({ "type": kind, "sdp": sdp }))
                .await?;
            return self.trickle(progress).await;
        }
        let (bare, candidates) = without_candidates(&sdp);
        self.candidate(progress, UNANSWERED, ufrag).await?;
        self.candidate(progress, ANOTHER, OTHER_UFRAG).await?;
        self.say(progress, json!({ "type": kind, "sdp": bare }))
            .await?;
        self.candidate(progress, ANOTHER, OTHER_UFRAG).await?;
        for candidate in &candidates {
            self.candidate(progress, candidate, ufrag).await?;
        }
        // Who has told candidates in the description has told them all; others tell the end themselves.
        if !candidates.is_empty() {
            self.candidate(progress, "", ufrag).await?;
        }
        self.trickle(progress).await
    }

    async fn candidate(
        &mut self,
        progress: &mut Progress,
        candidate: &str,
        ufrag: &str,
    ) -> Result<(), String> {
        let fields = json!({ "type": "ice-candidate", "candidate": candidate, "ufrag": ufrag });
        self.say(progress, fields).await
    }

    async fn trickle(&mut self, progress: &mut Progress) -> Result<(), String> {
        let Some(ufrag) = progress.ufrag.clone() else {
            return Ok(());
        };
        for candidate in std::mem::take(&mut progress.early) {
            self.candidate(progress, &candidate, &ufrag).await?;
        }
        Ok(())
    }

    /// Sends a message of the peer. The field by which bowline peers know each other is left out.
    async fn say(&mut self, progress: &mut Progress, fields: Value) -> Result<(), String> {
        let numbered = fields["type"] != "ack";
        progress.seq += u64::from(numbered);
        let mut envelope = json!({
            "v": 1, "from": self.names.peer, "to": self.names.bowline, "session": progress.session,
            "generation": progress.generation,
            "seq": if numbered { progress.seq } else { 0 },
        });
        for (name, value) in fields.as_object().into_iter().flatten() {
            envelope[name] = value.clone();
        }
        let sent = self.link.inbound.send(envelope.to_string()).await;
        sent.map_err(|_| "the endpoint is gone".to_owned())
    }
}

/// A description without its candidates, and those.
fn without_candidates(sdp: &str) -> (String, Vec<String>) {
    let (mut bare, mut candidates) = (String::new(), Vec::new());
    for line in sdp.lines() {
        match line.strip_prefix("a=") {
            Some(candidate) if candidate.starts_with("candidate:") => {
                candidates.push(candidate.to_owned());
            }
            Some("end-of-candidates") => {}
            Some(_) | None => {
                bare.push_str(line);
                bare.push_str("\r\n");
            }
        }
    }
    (bare, candidates)
}

/// The value of the first attribute of this name in a description.
#[must_use]
pub fn attribute<'a>(sdp: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = sdp.lines();
    lines.find_map(|line| {
        line.strip_prefix("a=")?
            .strip_prefix(name)?
            .strip_prefix(':')
    })
}

/// Where nobody is (RFC 5737).
pub const UNANSWERED: &str = "candidate:7 1 udp 2113937151 192.0.2.7 9 typ host";
/// Of another generation.
pub const ANOTHER: &str = "candidate:8 1 udp 2113937151 192.0.2.8 9 typ host";
const OTHER_UFRAG: &str = "othr";
/// The session of an offer by the peer. Every connection has endpoints of its own, so that one is enough.
const SESSION: &str = "00112233445566778899aabbccddeeff";
