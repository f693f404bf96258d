//! Why a peer is not connected: from the phase it is in and what was counted.

use std::time::Instant;

use super::Peer;
use crate::diagnosis::{Explanation, Finding};
use crate::event::{PeerState, Phase};

impl Peer {
    pub(crate) fn explain(&self, has_sockets: bool, now: Instant) -> Explanation {
        let life = self.lifecycle.life();
        let phase = life.phase();
        Explanation {
            state: self.state(),
            phase,
            waited: now.saturating_duration_since(self.lifecycle.since()),
            remaining: self
                .lifecycle
                .deadline()
                .map(|at| at.saturating_duration_since(now)),
            findings: phase
                .map(|phase| self.findings(phase, has_sockets, now))
                .unwrap_or_default(),
        }
    }

    fn findings(&self, phase: Phase, has_sockets: bool, now: Instant) -> Vec<Finding> {
        let mut findings = Vec::new();
        let mut find = |cause: &str, evidence: String| {
            findings.push(Finding {
                cause: cause.to_owned(),
                evidence,
            });
        };
        match phase {
            Phase::Accept => {
                find(
                    "the application has not accepted the peer",
                    "an offer waits".to_owned(),
                );
            }
            Phase::Signalling => {
                let waits = self.signalling.unacknowledged();
                find(
                    "the peer is not reachable over signalling, or not there",
                    format!("{waits} messages to it are not acknowledged"),
                );
            }
            Phase::Answer => find(
                "the application at the peer has not accepted yet",
                "the peer acknowledged the offer and has not answered".to_owned(),
            ),
            Phase::Checks | Phase::Restart => {
                if !has_sockets {
                    find(
                        "no socket is bound here",
                        "there is no local candidate".to_owned(),
                    );
                }
                if !self.signalling.has_candidates() {
                    find(
                        "the peer gave no usable address",
                        "no candidate was accepted".to_owned(),
                    );
                }
                self.find_on_path(&mut find);
            }
            Phase::Handshake => find(
                "datagrams of the size of the handshake do not pass, or the certificate is not the announced one",
                format!(
                    "{} checks were answered, and dtls is not done",
                    self.checks.answered
                ),
            ),
            Phase::Drain => {
                let backlog = self.channels.backlog();
                find(
                    "the peer has not confirmed everything",
                    format!("{backlog} bytes are under way"),
                );
            }
        }
        if let Some(since) = self.last_received
            && self.state() == PeerState::Disconnected
        {
            let silent = now.saturating_duration_since(since).as_secs_f64();
            find(
                "the peer or the network fell silent",
                format!("nothing came for {silent:.1} s"),
            );
        }
        findings
    }

    fn find_on_path(&self, find: &mut impl FnMut(&str, String)) {
        let checks = self.checks;
        if checks.sent > 0 && checks.answered == 0 && checks.received == 0 {
            find(
                "udp between the two is blocked, or the addresses do not reach each other",
                format!(
                    "{} checks were sent, none was answered and none came",
                    checks.sent
                ),
            );
        } else if checks.sent > 0 && checks.answered == 0 {
            find(
                "udp passes in one direction only",
                format!(
                    "{} checks came, and none of our {} was answered",
                    checks.received, checks.sent
                ),
            );
        }
    }
}
