//! The gate before the relay: what is answered here, and what is changed on its way in and out.

use std::net::SocketAddr;

use turn_server_proto::types::attribute::{Data, Lifetime, XorPeerAddress};
use turn_server_proto::types::message::{ALLOCATE, DATA};
use turn_server_proto::types::stun::attribute::{AttributeType, Fingerprint, Nonce};
use turn_server_proto::types::stun::message::{
    BINDING, Message, MessageClass, MessageType, MessageWrite as _, MessageWriteExt as _,
    MessageWriteVec, TransactionId,
};
use turn_server_proto::types::stun::prelude::{AttributeStaticType as _, AttributeWrite as _};

use super::credentials::Standing;
use super::message::{self, CHANGE_REQUEST, Extra, Key};
use super::{Misbehaviour, Moment, Out, Over, Process, Server, Way};
use crate::rng::Stream;

/// What the gate knows of a client.
#[derive(Debug, Default)]
pub(super) struct Client {
    /// With what its last good request was signed.
    key: Option<Key>,
    /// The nonce that the relay wants from it.
    nonce: Option<String>,
    /// The nonce that it was told and has not used.
    unused: Option<String>,
    /// The answer to its last Allocate request.
    allocated: Option<(TransactionId, Vec<u8>)>,
}

impl Server {
    /// A datagram or a frame of a stream has come.
    pub(super) fn handle_frame(&mut self, way: Way, bytes: &[u8], moment: Moment) -> Vec<Out> {
        if let Some(mark) = self.misbehaviour.and_then(Misbehaviour::mark) {
            self.marks.set(mark);
        }
        let silent = self.misbehaviour == Some(Misbehaviour::Silent);
        let Some(process) = self.process.as_mut().filter(|_| !silent) else {
            return Vec::new();
        };
        let message = Message::from_bytes(bytes);
        let request = message.ok().filter(|message| {
            message.has_class(MessageClass::Request) && !process.relay.has_socket(way.to)
        });
        let Some(request) = request else {
            if self.misbehaviour == Some(Misbehaviour::RelaysNothing) {
                return Vec::new();
            }
            let relayed = process.relay.handle(way, bytes, moment.now);
            return self.release(relayed);
        };
        if request.has_method(BINDING) {
            let (from, answer) = self.answer_binding(way, &request);
            return vec![self.sent(Way { from, ..way.back() }, answer)];
        }
        self.handle_turn(way, &request, moment)
    }

    /// The answer to a Binding request, and the address that gives it.
    fn answer_binding(&self, way: Way, request: &Message<'_>) -> (SocketAddr, Vec<u8>) {
        let refusal = match self.misbehaviour {
            Some(Misbehaviour::UnknownAttributes) => Some(420),
            Some(Misbehaviour::Refuses { method, code }) if method.method() == BINDING => {
                Some(code)
            }
            _ => None,
        };
        if let Some(code) = refusal {
            return (way.to, message::error(request, code, Extra::Nothing, None));
        }
        let discovers =
            self.misbehaviour != Some(Misbehaviour::NoOtherAddress) && way.over == Over::Datagrams;
        let known: &[AttributeType] = if discovers {
            &[Fingerprint::TYPE, CHANGE_REQUEST]
        } else {
            &[Fingerprint::TYPE]
        };
        if let Some(refusal) = message::unknown_attributes(request, known) {
            return (way.to, refusal);
        }
        let change = request.raw_attribute(CHANGE_REQUEST);
        let flags = change.and_then(|change| change.value.last().copied());
        let (ip, port) = flags.map_or((false, false), |flags| (flags & 4 != 0, flags & 2 != 0));
        let origin = self.sibling(way.to, ip, port).unwrap_or(way.to);
        let other = self.sibling(way.to, true, true).filter(|_| discovers);
        let seen = match self.misbehaviour {
            Some(Misbehaviour::LyingAddress { address }) => address,
            _ => way.from,
        };
        (origin, message::binding(request, seen, origin, other))
    }

    fn handle_turn(&mut self, way: Way, request: &Message<'_>, moment: Moment) -> Vec<Out> {
        let Some(process) = &mut self.process else {
            return Vec::new();
        };
        let standing = self.credentials.standing(request, moment.unix);
        if let Some(Standing::Valid { name, password }) = &standing
            && process.told.insert(name.clone())
        {
            process.relay.add_user(name, password);
        }
        let key = standing
            .as_ref()
            .and_then(|standing| self.credentials.key(request, standing))
            .filter(|key| key.signed(request));
        if process.clients.len() >= MAX_CLIENTS && !process.clients.contains_key(&way) {
            process.clients.pop_first();
        }
        let realm = &self.spec.realm;
        let (client, nonces) = process.client(way);
        if standing == Some(Standing::Expired) {
            let nonce = client.challenge(nonces);
            let answer = message::error(request, 401, Extra::Challenge(realm, &nonce), None);
            return vec![self.sent(way.back(), answer)];
        }
        let Some(key) = key else {
            return self.pass(way, request.as_bytes(), moment);
        };
        if client.nonce.is_none() {
            return self.reintroduce(way, request, moment);
        }
        client.key = Some(key.clone());
        let again = client.allocated.as_ref();
        if let Some((_, answer)) = again.filter(|(id, _)| *id == request.transaction_id()) {
            let answer = answer.clone();
            return vec![self.sent(way.back(), answer)];
        }
        let answer = match self.misbehaviour {
            Some(Misbehaviour::Refuses { method, code }) if request.has_method(method.method()) => {
                if matches!(code, 401 | 438) {
                    let nonce = client.challenge(nonces);
                    message::error(request, code, Extra::Challenge(realm, &nonce), None)
                } else {
                    message::error(request, code, Extra::Nothing, Some(&key))
                }
            }
            Some(Misbehaviour::Redirects { to }) if request.has_method(ALLOCATE) => {
                message::error(request, 300, Extra::Alternate(to), Some(&key))
            }
            Some(Misbehaviour::NoncePerRequest) => match client.use_up(request) {
                Some(nonce) => {
                    let nonce = Nonce::new(&nonce).expect("it was one before");
                    let nonce = nonce.to_raw().into_owned();
                    let change = |kind| (kind == Nonce::TYPE).then(|| nonce.clone());
                    let changed = message::rewrite(request, change, Some(&key));
                    return self.pass(way, &changed, moment);
                }
                None => {
                    let nonce = client.challenge(nonces);
                    message::error(request, 438, Extra::Challenge(realm, &nonce), None)
                }
            },
            _ => return self.pass(way, request.as_bytes(), moment),
        };
        vec![self.sent(way.back(), answer)]
    }

    /// Answers somebody who authenticates with a nonce from before a crash. The relay would say 400, because it does not
    /// know which algorithms it offered with that nonce: it is made to offer them anew, and 438 comes with the nonce.
    fn reintroduce(&mut self, way: Way, request: &Message<'_>, moment: Moment) -> Vec<Out> {
        let probe = Message::builder_request(ALLOCATE, MessageWriteVec::new()).finish();
        let mut out = self.pass(way, &probe, moment);
        out.retain(|item| matches!(item, Out::Opened(_) | Out::Closed(_)));
        let realm = self.spec.realm.clone();
        let client = self.process.as_mut().map(|process| process.client(way).0);
        if let Some(nonce) = client.and_then(|client| client.nonce.clone()) {
            let challenge = Extra::Challenge(&realm, &nonce);
            let answer = message::error(request, 438, challenge, None);
            out.push(self.sent(way.back(), answer));
        }
        out
    }

    fn pass(&mut self, way: Way, bytes: &[u8], moment: Moment) -> Vec<Out> {
        let Some(process) = &mut self.process else {
            return Vec::new();
        };
        let relayed = process.relay.handle(way, bytes, moment.now);
        self.release(relayed)
    }

    /// Lets bytes that the relay made go out, to a client or to a peer.
    pub(super) fn release_bytes(&mut self, way: Way, bytes: Vec<u8>, out: &mut Vec<Out>) {
        let answer = self
            .process
            .as_mut()
            .filter(|process| !process.relay.has_socket(way.from));
        let misbehaviour = self.misbehaviour;
        let Some((process, message)) = answer
            .zip(Message::from_bytes(&bytes).ok())
            .filter(|(_, message)| message.is_response())
        else {
            out.push(self.sent(way, bytes));
            return;
        };
        let (client, nonces) = process.client(way.back());
        if let Ok(nonce) = message.attribute::<Nonce>() {
            client.nonce = Some(nonce.nonce().to_owned());
            if message.has_class(MessageClass::Error) {
                client.unused = client.nonce.clone();
            }
        }
        if message.has_class(MessageClass::Error) {
            out.push(self.sent(way, bytes));
            return;
        }
        let answer = match misbehaviour {
            Some(Misbehaviour::WrongLifetime { secs }) if message.has_attribute(Lifetime::TYPE) => {
                let lifetime = Lifetime::new(secs).to_raw().into_owned();
                let change = |kind| (kind == Lifetime::TYPE).then(|| lifetime.clone());
                message::rewrite(&message, change, client.key.as_ref())
            }
            _ => bytes.clone(),
        };
        if message.has_method(ALLOCATE) {
            client.allocated = Some((message.transaction_id(), answer.clone()));
        }
        let stranger = match misbehaviour {
            Some(Misbehaviour::Stranger { peer }) => Some(data_from(peer, nonces)),
            _ => None,
        };
        let answers = std::iter::once(answer).chain(stranger);
        out.extend(answers.map(|bytes| self.sent(way, bytes)));
    }
}

impl Process {
    /// A client, and what draws its nonces.
    fn client(&mut self, way: Way) -> (&mut Client, &mut Stream) {
        (self.clients.entry(way).or_default(), &mut self.nonces)
    }
}

impl Client {
    /// A fresh nonce, which says of the server's features what the relay says (RFC 8489 §9.2).
    fn challenge(&mut self, nonces: &mut Stream) -> String {
        let features = self.nonce.as_deref().filter(|n| n.starts_with(COOKIE));
        let mut nonce = features
            .and_then(|nonce| nonce.get(..COOKIE.len() + 4))
            .unwrap_or_default()
            .to_owned();
        nonce.extend(
            nonces.bytes32()[..16]
                .iter()
                .map(|b| char::from(b'a' + b % 26)),
        );
        self.unused = Some(nonce.clone());
        nonce
    }

    /// The nonce that the relay wants, if the one of a request was not used yet.
    fn use_up(&mut self, request: &Message<'_>) -> Option<String> {
        let given = request.attribute::<Nonce>().ok()?;
        let unused = self.unused.take()?;
        (unused == given.nonce()).then(|| self.nonce.clone())?
    }
}

/// A Data indication from a peer.
fn data_from(peer: SocketAddr, stream: &mut Stream) -> Vec<u8> {
    let id = TransactionId::from(u128::from(stream.u64()));
    let kind = MessageType::from_class_method(MessageClass::Indication, DATA);
    let mut message = Message::builder(kind, id, MessageWriteVec::new());
    let room = "a vector has room";
    message
        .add_attribute(&XorPeerAddress::new(peer, id))
        .expect(room);
    message.add_attribute(&Data::new(STRANGER)).expect(room);
    message.finish()
}

/// What a stranger has to say.
const STRANGER: &[u8] = b"\x16from a stranger";
/// How a nonce begins that tells of features.
const COOKIE: &str = "obMatJos2";
/// Clients that the gate remembers. One more, and it forgets another.
const MAX_CLIENTS: usize = 1_024;
