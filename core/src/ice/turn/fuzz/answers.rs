//! What a TURN server of a fuzz target answers, and what its client says.

use std::net::{IpAddr, SocketAddr};

use stun_types::attribute::{
    AlternateServer, AttributeStaticType, AttributeType, ErrorCode, MessageIntegrity, Nonce,
    RawAttribute, Realm,
};
use stun_types::message::{
    BINDING, IntegrityAlgorithm, IntegrityKey, LongTermCredentials, Message, MessageClass,
    MessageType, MessageWrite, MessageWriteExt, MessageWriteVec,
};
use turn_types::attribute::{ChannelNumber, Data, Lifetime, XorPeerAddress, XorRelayedAddress};
use turn_types::message::{ALLOCATE, CHANNEL_BIND, CREATE_PERMISSION, DATA, REFRESH, SEND};

use crate::fuzz::Script;
use crate::ice::IceServer;
use crate::ice::server::Credentials;

/// What the client logs in with.
pub(crate) fn credentials() -> Credentials {
    let server: IceServer = "turn:example.org".parse().expect("valid");
    let server = server.credentials(USER, PASSWORD).expect("they fit");
    server.login().expect("they are set").clone()
}

/// Any answer to a request. `None` when it is none, and nothing answers it.
///
/// An input that has ended answers as a server that does its work: it challenges what is not signed, and grants the rest.
pub(crate) fn answer(script: &mut Script<'_>, request: &[u8]) -> Option<Vec<u8>> {
    let request = Message::from_bytes(request).ok()?;
    if request.class() != MessageClass::Request {
        return None;
    }
    let kind = match script.byte() % 9 {
        0 if is_signed(&request) => Kind::Grant,
        0 | 1 => Kind::Challenge(401),
        2 => Kind::Challenge(438),
        3 => Kind::Grant,
        4 => Kind::Refuse(300 + script.short() % 400),
        5 => Kind::Refuse(script.pick(&[403, 437, 438, 441, 442, 443, 486, 508])),
        6 => Kind::Redirect,
        7 => Kind::Attributes(script.pick(&[MessageClass::Success, MessageClass::Error])),
        _ => return Some(broken(script, &request)),
    };
    Some(compose(script, &request, kind))
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Challenge(u16),
    Grant,
    Refuse(u16),
    Redirect,
    Attributes(MessageClass),
}

fn compose(script: &mut Script<'_>, request: &Message<'_>, kind: Kind) -> Vec<u8> {
    let class = match kind {
        Kind::Grant => MessageClass::Success,
        Kind::Attributes(class) => class,
        Kind::Challenge(_) | Kind::Refuse(_) | Kind::Redirect => MessageClass::Error,
    };
    let kind_of_message = MessageType::from_class_method(class, request.method());
    let id = request.transaction_id();
    let mut message = Message::builder(kind_of_message, id, MessageWriteVec::new());
    let mut add = |attribute: &dyn stun_types::prelude::AttributeWrite| {
        // What stands twice or is too long is left out.
        let _ = message.add_attribute(attribute);
    };
    let error = |code| ErrorCode::new(code, "no").expect("a code");
    match kind {
        Kind::Challenge(code) => {
            add(&error(code));
            add(&Realm::new(script.pick(&REALMS)).expect("short"));
            let nonce = script.byte().to_string();
            add(&Nonce::new(&nonce).expect("short"));
            return message.finish();
        }
        Kind::Grant => {
            add(&XorRelayedAddress::new(any_relayed(script), id));
            add(&Lifetime::new(any_life(script)));
        }
        Kind::Refuse(code) => add(&error(code)),
        Kind::Redirect => {
            add(&error(300));
            add(&AlternateServer::new(any_server(script)));
        }
        Kind::Attributes(_) => {
            for _ in 0..script.byte() % 4 {
                let kind = AttributeType::new(script.short());
                // The builder has these to itself: MESSAGE-INTEGRITY, that of SHA-256, and FINGERPRINT.
                if !matches!(kind.value(), 0x8 | 0x1c | 0x8028) {
                    add(&RawAttribute::new(kind, script.slice(64)));
                }
            }
        }
    }
    let realm = REALMS[usize::from(script.byte() & 1)];
    match script.byte() % 8 {
        0..=4 => sign(&mut message, PASSWORD, realm),
        5 | 6 => {}
        _ => sign(&mut message, "guessed", realm),
    }
    message.finish()
}

fn sign(message: &mut MessageWriteVec, password: &str, realm: &str) {
    message
        .add_message_integrity_with_key(&key(password, realm), IntegrityAlgorithm::Sha1)
        .expect("it is not signed yet");
}

/// A grant with one byte changed.
fn broken(script: &mut Script<'_>, request: &Message<'_>) -> Vec<u8> {
    let (at, with) = (script.short(), script.byte() | 1);
    let mut message = compose(script, request, Kind::Grant);
    let at = usize::from(at) % message.len();
    message[at] ^= with;
    message
}

/// Data of a peer in an indication.
pub(crate) fn indication(peer: SocketAddr, data: &[u8]) -> Vec<u8> {
    let kind = MessageType::from_class_method(MessageClass::Indication, DATA);
    let id = 7_u128.into();
    let mut message = Message::builder(kind, id, MessageWriteVec::new());
    for attribute in [
        &XorPeerAddress::new(peer, id) as &dyn stun_types::prelude::AttributeWrite,
        &Data::new(data),
    ] {
        message.add_attribute(attribute).expect("room");
    }
    message.finish()
}

/// What a client sends a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Said {
    Allocate,
    Refresh,
    Permit(IpAddr),
    Bind { channel: u16, peer: SocketAddr },
    Keepalive,
    ToPeer(SocketAddr),
    OnChannel { channel: u16, len: usize },
}

/// Reads what a client sends a server.
///
/// # Panics
///
/// When no client sends it.
pub(crate) fn said(message: &[u8], padded: bool) -> Said {
    if let [0x40..=0x4f, ..] = message {
        let (channel, len, rest) = header(message);
        let whole = if padded { len.next_multiple_of(4) } else { len };
        assert_eq!(rest, whole, "the length of ChannelData");
        return Said::OnChannel { channel, len };
    }
    let message = Message::from_bytes(message).expect("a whole message");
    let id = message.transaction_id();
    let peer = || message.attribute::<XorPeerAddress>().map(|a| a.addr(id));
    match (message.class(), message.method()) {
        (MessageClass::Request, ALLOCATE) => Said::Allocate,
        (MessageClass::Request, REFRESH) => Said::Refresh,
        (MessageClass::Request, CREATE_PERMISSION) => Said::Permit(peer().expect("a peer").ip()),
        (MessageClass::Request, CHANNEL_BIND) => {
            let channel = message.attribute::<ChannelNumber>().expect("a channel");
            let (channel, peer) = (channel.channel(), peer().expect("a peer"));
            assert!((0x4000..=0x4fff).contains(&channel), "{channel:#x}");
            Said::Bind { channel, peer }
        }
        (MessageClass::Indication, BINDING) => Said::Keepalive,
        (MessageClass::Indication, SEND) => Said::ToPeer(peer().expect("a peer")),
        (class, method) => panic!("no client sends {class:?} {method:?}"),
    }
}

/// Channel, length in the header, and length of what follows it.
pub(super) fn header(message: &[u8]) -> (u16, usize, usize) {
    let [c0, c1, l0, l1] = *message.first_chunk().expect("a header");
    let len = u16::from_be_bytes([l0, l1]).into();
    (u16::from_be_bytes([c0, c1]), len, message.len() - 4)
}

/// Whether a response to a request counts: when it is signed with the key that the client has, or the request was not.
pub(super) fn counts(request: &[u8], response: &Message<'_>) -> bool {
    let signed = Message::from_bytes(request).is_ok_and(|request| is_signed(&request));
    let verifies = |realm: &&str| {
        let key = key(PASSWORD, realm);
        response.validate_integrity_with_key(&key).is_ok()
    };
    !signed || REALMS.iter().any(verifies)
}

/// Where a message sends us.
pub(crate) fn redirect_of(message: &[u8]) -> Option<SocketAddr> {
    let message = Message::from_bytes(message).ok()?;
    let alternate = message.attribute::<AlternateServer>().ok()?;
    Some(alternate.server())
}

fn is_signed(message: &Message<'_>) -> bool {
    message.raw_attribute(MessageIntegrity::TYPE).is_some()
}

fn key(password: &str, realm: &str) -> IntegrityKey {
    LongTermCredentials::new(USER.into(), password.into())
        .to_key(realm.into())
        .make_key(IntegrityAlgorithm::Sha1)
}

fn any_relayed(script: &mut Script<'_>) -> SocketAddr {
    address(script.pick(&RELAYED))
}

/// One of the addresses to which a server may send us.
pub(crate) fn any_server(script: &mut Script<'_>) -> SocketAddr {
    address(script.pick(&ALTERNATES))
}

/// One of the addresses that peers have, or that nobody should have.
pub(crate) fn any_peer(script: &mut Script<'_>) -> SocketAddr {
    address(script.pick(&PEERS))
}

fn any_life(script: &mut Script<'_>) -> u32 {
    script.pick(&[600, 10, 9, 0, 3_600, 100, u32::MAX, 37])
}

pub(crate) fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

const USER: &str = "alice";
const PASSWORD: &str = "secret";
const REALMS: [&str; 2] = ["realm", "other"];

const RELAYED: [&str; 8] = [
    "203.0.113.9:50000",
    "203.0.113.9:50001",
    "10.0.0.9:50000",
    "[2001:db8:9::1]:50000",
    "[::ffff:203.0.113.9]:50000",
    "127.0.0.1:22",
    "224.0.0.1:50000",
    "0.0.0.0:0",
];

/// The last three are not to be used.
const ALTERNATES: [&str; 6] = [
    "198.51.100.7:3478",
    "198.51.100.8:3478",
    "[2001:db8:1::7]:3478",
    "127.0.0.1:22",
    "255.255.255.255:3478",
    "198.51.100.7:0",
];

const PEERS: [&str; 10] = [
    "192.0.2.1:1000",
    "192.0.2.1:1001",
    "192.0.2.2:1000",
    "192.0.2.3:1000",
    "192.0.2.4:1000",
    "10.0.0.7:1000",
    "[2001:db8::1]:1000",
    "[2001:db8::1]:1001",
    "[2001:db8::2]:1000",
    "[fd00::1]:1000",
];
