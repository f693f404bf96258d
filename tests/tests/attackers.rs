//! Attackers against an endpoint that two honest peers talk with: what it costs, what it keeps, and what they notice.
//!
//! `ATTACK_FIGURES=1 cargo test -p bowline-tests --test attackers -- --nocapture` prints what each attack cost.

mod attackers {
    mod candidates;
    mod handshake;
    mod own;
    mod replays;
    mod sctp;
    mod stage;
    mod storms;
    mod stun;
    mod trust;
    mod unread;
}
