//! What is secret is in no log line and in no `Debug` form.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex};
use std::thread::ThreadId;

use bowline::{ChannelKind, Message, PeerState, Seed, Signal};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Metadata, Subscriber};

use crate::common::{Parcel, World, id, millis, secs};

const PAYLOAD: &str = "the-treasure-is-under-the-old-oak";

/// Everything that one thread logs, at every level, as one text.
///
/// It is installed for the whole process: what a thread installs for itself depends on what others do at that moment.
#[derive(Clone)]
struct Log(Arc<Mutex<String>>, ThreadId);

impl Visit for Log {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let mut log = self.0.lock().expect("not poisoned");
        writeln!(log, "{field}={value:?}").expect("a string grows");
    }
}

impl Subscriber for Log {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        std::thread::current().id() == self.1
    }

    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        Interest::sometimes()
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        span.record(&mut self.clone());
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, values: &Record<'_>) {
        values.record(&mut self.clone());
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        event.record(&mut self.clone());
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[test]
fn no_log_line_holds_a_password_or_a_message() {
    let log = Log(Arc::default(), std::thread::current().id());
    tracing::subscriber::set_global_default(log.clone()).expect("nobody else does");
    let mut world = World::connected();
    for n in 0..20 {
        let now = world.now;
        for (side, other) in [(0, "bob"), (1, "alice")] {
            let mut peer = world.peer(side, other);
            for kind in ChannelKind::ALL {
                peer.send(kind, PAYLOAD, now).expect("queued");
            }
            if n == 10 {
                peer.restart_ice(now);
            }
        }
        world.run(millis(50));
    }
    // Signalling that cannot be read is logged too, and must not be quoted.
    let signals: Vec<_> = world.sent.iter().map(|(_, p)| p.clone()).collect();
    for parcel in signals {
        if let Parcel::Signal { to, mut text } = parcel {
            text.pop();
            text = text
                .replace("a=setup", "a=setupp")
                .replace("a=mid", "a=dim");
            world.deliver(Parcel::Signal {
                to,
                text: text.clone(),
            });
            world.deliver(Parcel::Signal {
                to,
                text: text + "}",
            });
            world.drain();
        }
    }
    let now = world.now;
    world.peer(0, "bob").close(now);
    world.run(secs(3));
    assert!(world.saw_state(0, PeerState::Closed));
    let log = log.0.lock().expect("not poisoned").clone();
    assert!(log.contains("peer state"), "the log was taken");
    assert!(log.lines().count() > 100, "{}", log.lines().count());
    let passwords = world.passwords();
    assert!(
        passwords.len() >= 4,
        "two descriptions and two of the restart"
    );
    for password in passwords {
        let line = log.lines().find(|line| line.contains(&password));
        assert_eq!(line, None, "an ice password is logged");
    }
    let hex: String = PAYLOAD.bytes().map(|byte| format!("{byte:02x}")).collect();
    let list = format!("{:?}", PAYLOAD.as_bytes());
    for form in [PAYLOAD, &hex, list.trim_matches(['[', ']'])] {
        assert!(!log.contains(form), "a message is logged");
    }
    let seed = format!("{:?}", [1_u8; 32]);
    assert!(
        !log.contains(seed.trim_matches(['[', ']'])),
        "a seed is logged"
    );
}

#[test]
fn no_debug_form_holds_a_secret() {
    let message = Message::text(PAYLOAD);
    let signal = Signal {
        to: id("bob"),
        text: PAYLOAD.to_owned(),
    };
    let seed = Seed::from(*b"the-treasure-is-under-the-old-oa");
    let refused = bowline::SendError {
        reason: bowline::SendRefusal::Closing,
        message: message.clone(),
    };
    let forms = [
        format!("{message:?}"),
        format!("{signal:?}"),
        format!("{seed:?}"),
        format!("{refused:?} {refused}"),
    ];
    for form in forms {
        assert!(!form.contains("treasure"), "{form}");
        assert!(!form.contains("116, 104, 101"), "{form}");
    }
    let mut world = World::connected();
    let now = world.now;
    world
        .peer(0, "bob")
        .send(ChannelKind::Reliable, PAYLOAD, now)
        .expect("queued");
    world.run(secs(1));
    let told = format!("{:?}", world.events(1));
    assert!(told.contains("Message(text, 33 bytes)") && !told.contains("treasure"));
    for password in world.passwords() {
        assert!(!told.contains(&password));
    }
}
