//! Requests that a client would not make.

use std::net::SocketAddr;

use bowline_tokio::turn_server::{PeerPolicy, TurnCredentials, TurnLimits, TurnServer};
use stun_proto::types::attribute::{
    AttributeType, ErrorCode, Nonce, RawAttribute, Realm, Username,
};
use stun_proto::types::message::{
    BINDING, IntegrityAlgorithm, LongTermCredentials, Message, MessageClass, MessageWriteVec,
    Method,
};
use stun_proto::types::prelude::{MessageWrite, MessageWriteExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use turn_types::attribute::RequestedTransport;
use turn_types::message::{ALLOCATE, CONNECT, CREATE_PERMISSION, REFRESH};

use super::user::{credentials, heard, server, stranger};

/// A socket, and what it was told to ask with.
struct Hand {
    socket: UdpSocket,
    server: SocketAddr,
    nonce: String,
}

impl Hand {
    async fn new(server: &TurnServer) -> Self {
        let mut hand = Self {
            socket: stranger().await.0,
            server: server.local_addr(),
            nonce: String::new(),
        };
        let refused = hand.ask(&request(ALLOCATE).finish()).await;
        let refused = Message::from_bytes(&refused).expect("a message");
        assert_eq!(code(&refused), 401);
        assert_eq!(
            refused.attribute::<Realm>().expect("a realm").realm(),
            "bowline"
        );
        let nonce = refused.attribute::<Nonce>().expect("a nonce");
        nonce.nonce().clone_into(&mut hand.nonce);
        hand
    }

    async fn ask(&self, request: &[u8]) -> Vec<u8> {
        self.socket
            .send_to(request, self.server)
            .await
            .expect("sent");
        heard(&self.socket).await.0
    }

    /// Asks with credentials, and gives the code of the refusal.
    async fn refused(&self, request: MessageWriteVec, login: &TurnCredentials) -> u16 {
        let answer = self.ask(&self.signed(request, login)).await;
        code(&Message::from_bytes(&answer).expect("a message"))
    }

    fn signed(&self, mut request: MessageWriteVec, login: &TurnCredentials) -> Vec<u8> {
        let add = "valid";
        request
            .add_attribute(&Username::new(login.username()).expect(add))
            .expect(add);
        request
            .add_attribute(&Realm::new("bowline").expect(add))
            .expect(add);
        request
            .add_attribute(&Nonce::new(&self.nonce).expect(add))
            .expect(add);
        let login =
            LongTermCredentials::new(login.username().to_owned(), login.password().to_owned());
        let key = login
            .to_key("bowline".to_owned())
            .make_key(IntegrityAlgorithm::Sha1);
        request
            .add_message_integrity_with_key(&key, IntegrityAlgorithm::Sha1)
            .expect(add);
        request.finish()
    }
}

/// A request, for UDP where it is for an allocation.
fn request(method: Method) -> MessageWriteVec {
    let mut request = Message::builder_request(method, MessageWriteVec::new());
    if method == ALLOCATE {
        let udp = RequestedTransport::new(RequestedTransport::UDP);
        request.add_attribute(&udp).expect("room");
    }
    request
}

fn code(answer: &Message<'_>) -> u16 {
    assert!(answer.has_class(MessageClass::Error));
    answer.attribute::<ErrorCode>().expect("a code").code()
}

async fn plain_server() -> TurnServer {
    server(PeerPolicy::default(), TurnLimits::default()).await
}

#[tokio::test]
async fn an_allocation_that_is_asked_for_again_is_answered_again_alike() {
    let server = plain_server().await;
    let hand = Hand::new(&server).await;
    let request = hand.signed(request(ALLOCATE), &credentials("alice"));
    let first = hand.ask(&request).await;
    let message = Message::from_bytes(&first).expect("a message");
    assert!(message.has_class(MessageClass::Success));
    assert_eq!(hand.ask(&request).await, first);
    assert_eq!(server.stats().allocations, 1);
}

#[tokio::test]
async fn what_does_not_fit_the_allocation_is_refused() {
    let server = plain_server().await;
    let hand = Hand::new(&server).await;
    let (alice, bob) = (credentials("alice"), credentials("bob"));
    for method in [REFRESH, CREATE_PERMISSION] {
        let mismatch = hand.refused(request(method), &alice).await;
        assert_eq!(mismatch, 437, "there is none yet");
    }
    hand.ask(&hand.signed(request(ALLOCATE), &alice)).await;
    assert_eq!(hand.refused(request(ALLOCATE), &alice).await, 437);
    assert_eq!(hand.refused(request(REFRESH), &bob).await, 441);
    assert_eq!(hand.refused(request(CONNECT), &alice).await, 400);
    assert_eq!(hand.refused(request(CREATE_PERMISSION), &alice).await, 400);
    assert_eq!(server.stats().allocations, 1);
}

#[tokio::test]
async fn tcp_to_peers_is_refused() {
    let server = plain_server().await;
    let hand = Hand::new(&server).await;
    let mut request = Message::builder_request(ALLOCATE, MessageWriteVec::new());
    let tcp = RequestedTransport::new(RequestedTransport::TCP);
    request.add_attribute(&tcp).expect("room");
    assert_eq!(hand.refused(request, &credentials("alice")).await, 400);
    super::user::until("no place is kept", || server.stats().allocations == 0).await;
}

#[tokio::test]
async fn a_nonce_of_somebody_else_is_stale() {
    let server = plain_server().await;
    let (mut hand, other) = (Hand::new(&server).await, Hand::new(&server).await);
    hand.nonce.clone_from(&other.nonce);
    let alice = credentials("alice");
    assert_eq!(hand.refused(request(ALLOCATE), &alice).await, 438);
    hand.nonce = "made up".to_owned();
    assert_eq!(hand.refused(request(ALLOCATE), &alice).await, 438);
}

#[tokio::test]
async fn a_question_that_is_not_understood_is_refused() {
    let server = plain_server().await;
    let hand = Hand::new(&server).await;
    let mut request = Message::builder_request(BINDING, MessageWriteVec::new());
    // CHANGE-REQUEST of RFC 5780.
    let change = RawAttribute::new(AttributeType::new(3), &[0, 0, 0, 6]);
    request.add_attribute(&change).expect("room");
    let answer = hand.ask(&request.finish()).await;
    assert_eq!(code(&Message::from_bytes(&answer).expect("a message")), 420);
}

#[tokio::test]
async fn noise_is_not_answered_and_harms_nobody() {
    let server = plain_server().await;
    let hand = Hand::new(&server).await;
    let mut noise = vec![0_u8; 1_500];
    for round in 0..=255_u8 {
        getrandom::fill(&mut noise).expect("randomness");
        noise[0] = round;
        hand.socket
            .send_to(&noise, hand.server)
            .await
            .expect("sent");
        let mut stream = TcpStream::connect(hand.server).await.expect("connects");
        // It fails when the server has had enough.
        let _ = stream.write_all(&noise).await;
        if round >= 0x80 {
            let mut nothing = Vec::new();
            let ended = stream.read_to_end(&mut nothing).await;
            assert!(ended.is_err() || nothing.is_empty());
        }
    }
    let answer = hand.ask(&request(BINDING).finish()).await;
    let answer = Message::from_bytes(&answer).expect("a message");
    assert!(answer.has_class(MessageClass::Success));
    let answer = hand
        .ask(&hand.signed(request(ALLOCATE), &credentials("alice")))
        .await;
    let answer = Message::from_bytes(&answer).expect("a message");
    assert!(answer.has_class(MessageClass::Success));
}
