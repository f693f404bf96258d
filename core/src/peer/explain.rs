//! Why a peer is not connected: from the phase it is in, what was counted, and what the pool knows of its servers.
//!
//! Every suspicion has a weight, and the heaviest comes first. A server that says what is wrong weighs most, because it is
//! right; silence of everybody points to the network here; silence of one to that one.

use std::time::{Duration, Instant};

use super::Peer;
use super::state::Fact;
use crate::diagnosis::{Explanation, Finding, Suspect};
use crate::event::{Cause, Phase, ServerFault, SignalRefusal};
use crate::ice::gather::{PoolView, ServerStatus};

/// Findings with their weights.
#[derive(Default)]
struct Findings(Vec<(u8, Finding)>);

impl Peer {
    /// The explanation that goes with the end that `fact` brings.
    pub(super) fn explain_end(&self, fact: Fact, pool: &PoolView, now: Instant) -> Explanation {
        let mut explanation = self.explain(pool, now);
        if let Fact::Bye(cause @ (Cause::PeerRefused | Cause::PeerBusy)) = fact {
            let refused = Finding {
                suspect: Suspect::Refused,
                cause: cause.to_string(),
                evidence: "its farewell says so".to_owned(),
            };
            explanation.findings.insert(0, refused);
        }
        explanation
    }

    pub(crate) fn explain(&self, pool: &PoolView, now: Instant) -> Explanation {
        let life = self.lifecycle.life();
        let phase = life.phase();
        let mut findings = Findings::default();
        if let Some(phase) = phase {
            self.find(phase, pool, &mut findings, now);
        }
        Explanation {
            state: self.state(),
            phase,
            waited: now.saturating_duration_since(self.lifecycle.since()),
            remaining: self
                .lifecycle
                .deadline()
                .map(|at| at.saturating_duration_since(now)),
            findings: findings.ranked(),
        }
    }

    fn find(&self, phase: Phase, pool: &PoolView, findings: &mut Findings, now: Instant) {
        let needs_signalling = matches!(phase, Phase::Signalling | Phase::Answer | Phase::Restart);
        if needs_signalling && self.signalling.is_held() {
            findings.add(
                SURE,
                Suspect::Signalling,
                "the signalling link is down here",
                "the embedder says so",
            );
        }
        // Before the others of its weight: it says why nothing else helps.
        if needs_signalling && let Some((count, last)) = self.signalling.unopened() {
            findings.add(
                SURE,
                Suspect::Signalling,
                match last {
                    SignalRefusal::NotFresh => "the clock of one of the two is wrong",
                    SignalRefusal::Unsigned | SignalRefusal::Unsealed => {
                        "the peer protects its signalling less than is asked for here"
                    }
                    _ => "somebody alters signalling, or speaks in the peer's name",
                },
                format!("{count} messages in its name were refused, the last as {last}"),
            );
        }
        match phase {
            Phase::Accept => findings.add(
                SURE,
                Suspect::Application,
                "the application has not accepted the peer",
                "an offer waits",
            ),
            Phase::Signalling => findings.add(
                SURE,
                Suspect::Signalling,
                "the peer is not reachable over signalling, or not there",
                format!(
                    "{} messages to it are not acknowledged",
                    self.signalling.unacknowledged()
                ),
            ),
            Phase::Answer => findings.add(
                SURE,
                Suspect::Unanswered,
                "the application at the peer has not accepted yet",
                "the peer acknowledged the offer and has not answered",
            ),
            Phase::Checks => self.find_path(pool, findings, now),
            Phase::Restart => {
                self.find_silence(findings, now);
                self.find_path(pool, findings, now);
            }
            Phase::Handshake => self.find_in_handshake(findings),
            Phase::Drain => findings.add(
                SURE,
                Suspect::Unconfirmed,
                "the peer has not confirmed everything",
                format!("{} bytes are under way", self.channels.backlog()),
            ),
        }
    }

    fn find_in_handshake(&self, findings: &mut Findings) {
        let answered = self.checks.answered;
        if self.wrong_certificate {
            findings.add(
                SURE,
                Suspect::WrongFingerprint,
                "the peer shows another certificate than it announced, or somebody in between does",
                "the fingerprints differ",
            );
        }
        findings.add(
            LIKELY,
            Suspect::LargeDatagrams,
            "datagrams of the size of the handshake do not pass",
            format!("{answered} checks were answered, and dtls is not done"),
        );
    }

    fn find_silence(&self, findings: &mut Findings, now: Instant) {
        if let Some(since) = self.last_received {
            let silent = now.saturating_duration_since(since).as_secs_f64();
            findings.add(
                SURE,
                Suspect::PathLost,
                "the peer or the network fell silent",
                format!("nothing came for {silent:.1} s"),
            );
        }
    }

    /// Why no check succeeds.
    fn find_path(&self, pool: &PoolView, findings: &mut Findings, now: Instant) {
        if !pool.has_sockets {
            findings.add(
                SURE,
                Suspect::NoSocket,
                "no socket is bound here",
                "there is no local candidate",
            );
        }
        let (ours, theirs) = (pool.families, self.signalling.families());
        if theirs == (false, false) {
            findings.add(
                LIKELY,
                Suspect::NoRemoteCandidate,
                "the peer gave no usable address",
                "no candidate was accepted",
            );
        }
        pool.servers
            .iter()
            .for_each(|server| findings.add_server(server, pool.udp_works, now));
        // What keeps a relay away, if one is configured, comes first.
        if matches!(
            (ours, theirs),
            ((true, false), (false, true)) | ((false, true), (true, false))
        ) {
            let (here, there) = if ours.0 {
                ("ipv4", "ipv6")
            } else {
                ("ipv6", "ipv4")
            };
            findings.add(
                STRONG,
                Suspect::NoCommonFamily,
                "the two have no version of ip in common, which only a relay helps against",
                format!("the candidates here are of {here}, and those of the peer of {there}"),
            );
        }
        self.find_on_path(pool, findings, now);
    }

    fn find_on_path(&self, pool: &PoolView, findings: &mut Findings, now: Instant) {
        let checks = self.checks;
        let heard = checks.answered > 0 || checks.received > 0;
        let servers = || pool.servers.iter().filter(|server| server.is_udp);
        let silent = servers().filter(|s| s.is_silent(now)).count();
        if !heard && !pool.udp_works && silent > 0 && silent == servers().count() {
            findings.add(
                STRONG,
                Suspect::UdpBlocked,
                "udp is blocked in the network here",
                format!(
                    "none of {silent} servers and none of {} checks was answered",
                    checks.sent
                ),
            );
        }
        if checks.sent > 0 && !heard {
            findings.add(
                WEAK,
                Suspect::Unreachable,
                "udp between the two is blocked, or the addresses do not reach each other",
                format!(
                    "{} checks were sent, none was answered and none came",
                    checks.sent
                ),
            );
        } else if checks.sent > 0 && checks.answered == 0 {
            findings.add(
                LIKELY,
                Suspect::OneWay,
                "udp passes in one direction only",
                format!(
                    "{} checks came, and none of our {} was answered",
                    checks.received, checks.sent
                ),
            );
        }
        if checks.answered == 0 && !pool.has_relay && pool.mapping_varies == Some(true) {
            findings.add(
                LIKELY,
                Suspect::NatWithoutRelay,
                "the nat here gives every destination another port, which only a relay helps against where the other \
                 side's does too or lets in known ports only",
                "two servers see the same socket at different ports, and there is no relay",
            );
        }
    }
}

impl Findings {
    fn add(
        &mut self,
        weight: u8,
        suspect: Suspect,
        cause: impl Into<String>,
        evidence: impl Into<String>,
    ) {
        let finding = Finding {
            suspect,
            cause: cause.into(),
            evidence: evidence.into(),
        };
        self.0.push((weight, finding));
    }

    fn add_server(&mut self, server: &ServerStatus, udp_works: bool, now: Instant) {
        let uri = &server.uri;
        let (weight, suspect) = match server.fault {
            Some(ServerFault::Unauthorized) => (STRONG, Suspect::TurnUnauthorized),
            Some(ServerFault::Expired) => (STRONG, Suspect::CredentialsExpired),
            Some(ServerFault::ClockSkew) => (STRONG, Suspect::ClockSkew),
            Some(ServerFault::Quota | ServerFault::Capacity) => (STRONG, Suspect::TurnQuota),
            Some(
                ServerFault::Unresolved
                | ServerFault::Forbidden
                | ServerFault::Mismatch
                | ServerFault::Family
                | ServerFault::Transport
                | ServerFault::Redirect
                | ServerFault::Protocol,
            ) => (LIKELY, Suspect::Server),
            Some(ServerFault::Unreachable) | None if server.is_silent(now) => {
                let suspect = if server.is_relay {
                    Suspect::TurnUnreachable
                } else {
                    Suspect::StunSilent
                };
                (if udp_works { STRONG } else { LIKELY }, suspect)
            }
            Some(ServerFault::Unreachable) | None => return,
        };
        let why = server.fault.unwrap_or(ServerFault::Unreachable);
        let asked = server.asked_for(now).as_secs_f64();
        let evidence = format!("it was asked first {asked:.1} s ago");
        self.add(weight, suspect, format!("{uri}: {why}"), evidence);
    }

    /// The heaviest first, and of one weight those that were found first.
    fn ranked(mut self) -> Vec<Finding> {
        self.0.sort_by_key(|(weight, _)| std::cmp::Reverse(*weight));
        self.0.into_iter().map(|(_, finding)| finding).collect()
    }
}

impl ServerStatus {
    /// Whether it was asked some time ago and has never answered.
    fn is_silent(&self, now: Instant) -> bool {
        !self.answered && self.asked_at.is_some() && self.asked_for(now) >= SILENCE
    }

    fn asked_for(&self, now: Instant) -> Duration {
        self.asked_at
            .map_or(Duration::ZERO, |at| now.saturating_duration_since(at))
    }
}

/// It is so.
const SURE: u8 = 4;
/// Somebody says so, or everything points to it.
const STRONG: u8 = 3;
/// It fits what was seen.
const LIKELY: u8 = 2;
/// It fits anything.
const WEAK: u8 = 1;
/// A server that has not answered for so long is silent: three requests went unanswered.
const SILENCE: Duration = Duration::from_millis(1_500);
