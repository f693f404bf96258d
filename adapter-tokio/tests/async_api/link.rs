use std::time::Duration;

use bowline::Signal;
use bowline_tokio::relay::{Relay, TlsError, TlsIdentity};
use bowline_tokio::signalling::{
    InvalidCertificate, JoinError, Link, LinkStatus, Presence, Relays, Signalling, room, websocket,
};
use pem_rfc7468::LineEnding;
use rcgen::{CertifiedKey, KeyPair, generate_simple_self_signed};
use tokio::sync::watch;

use crate::common::{connect, id, on_loopback, soon};

fn link(relay: &str, name: &str) -> (Signalling, watch::Receiver<LinkStatus>) {
    let signalling = websocket(relay, id(name)).expect("a valid url");
    let status = signalling.status();
    (signalling, status)
}

async fn up(status: &mut watch::Receiver<LinkStatus>, connects: u64) {
    let connected = status.wait_for(|s| s.up && s.connects >= connects);
    assert!(soon("the link", connected).await.is_ok());
}

fn envelope(from: &str, to: &str, body: &str) -> Signal {
    Signal {
        to: id(to),
        text: format!(r#"{{"from":"{from}","to":"{to}","body":"{body}"}}"#),
    }
}

#[tokio::test]
async fn signals_pass_between_two_links() {
    let relay = Relay::bind("127.0.0.1:0").await.expect("binds");
    let (alice, mut a) = link(&relay.url(), "alice");
    let (mut bob, mut b) = link(&relay.url(), "bob");
    up(&mut a, 1).await;
    up(&mut b, 1).await;
    let signal = envelope("alice", "bob", "hello");
    alice.send(signal.clone()).await.expect("the link is there");
    assert_eq!(soon("the signal", bob.recv()).await, Some(signal.text));
}

#[tokio::test]
async fn a_link_comes_back_when_its_relay_does_and_brings_what_waited() {
    let relay = Relay::bind("127.0.0.1:0").await.expect("binds");
    let address = relay.local_addr();
    let (alice, mut a) = link(&relay.url(), "alice");
    up(&mut a, 1).await;
    soon("closing", relay.close()).await;
    soon("the loss", a.wait_for(|s| !s.up))
        .await
        .expect("the link is there");
    let signal = envelope("alice", "alice", "to myself");
    alice.send(signal.clone()).await.expect("the link is there");
    let relay = Relay::bind(address).await.expect("binds");
    up(&mut a, 2).await;
    let mut alice = alice;
    assert_eq!(soon("the signal", alice.recv()).await, Some(signal.text));
    assert_eq!(relay.stats().peers, 1);
}

#[tokio::test]
async fn a_link_ends_with_its_endpoint() {
    let relay = Relay::bind("127.0.0.1:0").await.expect("binds");
    let (alice, mut status) = link(&relay.url(), "alice");
    up(&mut status, 1).await;
    drop(alice);
    soon("the end", async { while status.changed().await.is_ok() {} }).await;
}

#[tokio::test]
async fn a_link_whose_name_is_taken_says_so_and_waits_long() {
    let relay = Relay::bind("127.0.0.1:0").await.expect("binds");
    let (_first, mut status) = link(&relay.url(), "alice");
    up(&mut status, 1).await;
    let (_second, mut other) = link(&relay.url(), "alice");
    up(&mut other, 1).await;
    soon("the loss", status.wait_for(|s| !s.up))
        .await
        .expect("the link is there");
    let reason = status.borrow().last_error.clone();
    assert_eq!(
        reason.as_deref(),
        Some("another connection has taken this name")
    );
}

async fn until_present(presence: &mut Presence, names: &[&str]) {
    let wanted: Vec<_> = names.iter().map(|name| id(name)).collect();
    let told = async {
        while presence.peers() != wanted {
            assert!(presence.changed().await.is_some(), "the link is there");
        }
    };
    soon("the presence", told).await;
}

#[tokio::test]
async fn a_link_into_a_room_tells_who_is_there_and_carries_their_signals() {
    let relay = Relay::bind("127.0.0.1:0").await.expect("binds");
    let (alice, mut a) = room(&relay.url(), "lobby", id("alice")).expect("valid");
    let (mut bob, mut b) = room(&relay.url(), "lobby", id("bob")).expect("valid");
    until_present(&mut a, &["alice", "bob"]).await;
    until_present(&mut b, &["alice", "bob"]).await;
    let signal = envelope("alice", "bob", "hello");
    alice.send(signal.clone()).await.expect("the link is there");
    assert_eq!(soon("the signal", bob.recv()).await, Some(signal.text));
    drop(alice);
    until_present(&mut b, &["bob"]).await;
    let ended = async { while a.changed().await.is_some() {} };
    soon("the end of the presence", ended).await;
}

#[tokio::test]
async fn the_last_presence_is_kept_while_the_relay_is_away() {
    let relay = Relay::bind("127.0.0.1:0").await.expect("binds");
    let address = relay.local_addr();
    let (alice, mut a) = room(&relay.url(), "lobby", id("alice")).expect("valid");
    let (bob, mut b) = room(&relay.url(), "lobby", id("bob")).expect("valid");
    let mut status = alice.status();
    until_present(&mut a, &["alice", "bob"]).await;
    soon("closing", relay.close()).await;
    let down = status.wait_for(|s| !s.up);
    assert!(soon("the loss", down).await.is_ok());
    drop(bob);
    assert_eq!(a.peers(), [id("alice"), id("bob")]);
    let _relay = Relay::bind(address).await.expect("binds");
    until_present(&mut a, &["alice"]).await;
    let ended = async { while b.changed().await.is_some() {} };
    soon("the end of the presence", ended).await;
}

#[tokio::test]
async fn what_a_peer_says_of_the_room_is_no_presence() {
    let relay = Relay::bind("127.0.0.1:0").await.expect("binds");
    let (mut alice, mut a) = room(&relay.url(), "lobby", id("alice")).expect("valid");
    until_present(&mut a, &["alice"]).await;
    let text = r#"{"type":"room","peers":["mallory"],"from":"alice","to":"alice"}"#;
    let forged = Signal {
        to: id("alice"),
        text: text.to_owned(),
    };
    alice.send(forged).await.expect("the link is there");
    assert_eq!(soon("the text", alice.recv()).await.as_deref(), Some(text));
    assert_eq!(a.peers(), [id("alice")]);
}

#[tokio::test]
async fn a_link_with_two_relays_goes_to_the_other_when_one_is_gone() {
    let first = Relay::bind("127.0.0.1:0").await.expect("binds");
    let second = Relay::bind("127.0.0.1:0").await.expect("binds");
    let relays = Relays::new([first.url(), second.url()]).expect("valid");
    let link = relays.websocket(id("alice"));
    let mut status = link.status();
    up(&mut status, 1).await;
    let (here, there) = if first.stats().peers == 1 {
        (first, second)
    } else {
        (second, first)
    };
    assert_eq!((here.stats().peers, there.stats().peers), (1, 0));
    // A relay that drains says so.
    soon("draining", here.drain(Duration::from_secs(2))).await;
    up(&mut status, 2).await;
    assert_eq!(there.stats().peers, 1);
    let reason = status.borrow().last_error.clone();
    assert_eq!(reason.as_deref(), Some("the relay is about to end"));
}

/// A certificate for 127.0.0.1 and its key.
fn certify() -> CertifiedKey<KeyPair> {
    generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("valid")
}

/// What a relay needs of them.
fn in_pem(certified: &CertifiedKey<KeyPair>) -> [String; 2] {
    let key = certified.signing_key.serialize_der();
    [
        ("CERTIFICATE", &**certified.cert.der()),
        ("PRIVATE KEY", &key),
    ]
    .map(|(label, der)| {
        pem_rfc7468::encode_string(label, LineEnding::LF, der).expect("a short text")
    })
}

/// A relay with this certificate, its URL, and what renews the certificate.
async fn relay_over_tls(certified: &CertifiedKey<KeyPair>) -> (Relay, String, TlsIdentity) {
    let [chain, key] = in_pem(certified);
    let identity = TlsIdentity::from_pem(chain.as_bytes(), key.as_bytes()).expect("usable");
    let builder = Relay::builder().tls(identity.clone());
    let relay = builder.bind("127.0.0.1:0").await.expect("binds");
    let url = format!("wss://{}", relay.local_addr());
    (relay, url, identity)
}

/// The relays of this URL, of which this certificate is trusted.
fn trusting(url: &str, certified: &CertifiedKey<KeyPair>) -> Relays {
    let relays = Relays::new([url]).expect("valid");
    let certificate = certified.cert.der().to_vec();
    relays.root_certificate(certificate).expect("a certificate")
}

/// Waits until a link has been refused, and gives what it says.
async fn refused(link: &Signalling) -> LinkStatus {
    let mut status = link.status();
    let refused = status.wait_for(|s| s.last_error.is_some());
    let refused = soon("the refusal", refused).await;
    refused.expect("it lives").clone()
}

#[test]
fn a_certificate_and_its_key_are_read_and_anything_else_refused() {
    let ([chain, key], [_, other]) = (in_pem(&certify()), in_pem(&certify()));
    let read = |chain: &str, key: &str| {
        let read = TlsIdentity::from_pem(chain.as_bytes(), key.as_bytes());
        read.map(|identity| format!("{identity:?}"))
    };
    assert_eq!(read(&chain, &key).as_deref(), Ok("TlsIdentity(..)"));
    assert_eq!(read(&key, &key), Err(TlsError::Certificate));
    assert_eq!(read("", &key), Err(TlsError::Certificate));
    assert_eq!(read(&chain, &chain), Err(TlsError::Key));
    assert!(matches!(read(&chain, &other), Err(TlsError::Unusable(_))));
}

#[tokio::test]
async fn a_link_over_tls_trusts_the_certificate_that_it_is_given_and_no_other() {
    let certified = certify();
    let (relay, url, _) = relay_over_tls(&certified).await;
    let mut link = trusting(&url, &certified).websocket(id("alice"));
    up(&mut link.status(), 1).await;
    let signal = envelope("alice", "alice", "to myself");
    link.send(signal.clone()).await.expect("the link is there");
    assert_eq!(soon("the signal", link.recv()).await, Some(signal.text));
    let stranger = trusting(&url, &certify()).websocket(id("bob"));
    let status = refused(&stranger).await;
    assert!(!status.up && status.connects == 0, "{status:?}");
    // Without TLS nobody gets anywhere.
    let plain = websocket(&relay.url(), id("carol")).expect("valid");
    refused(&plain).await;
    assert_eq!(relay.stats().peers, 1);
    let broken = Relays::new([&url]).expect("valid").root_certificate([1, 2]);
    assert_eq!(broken.err(), Some(InvalidCertificate));
}

#[tokio::test]
async fn a_certificate_is_renewed_while_the_relay_runs() {
    let (before, after) = (certify(), certify());
    let (_relay, url, identity) = relay_over_tls(&before).await;
    let mut early = trusting(&url, &before).websocket(id("alice"));
    up(&mut early.status(), 1).await;
    let ([_, other], [chain, key]) = (in_pem(&before), in_pem(&after));
    let wrong = identity.renew(chain.as_bytes(), other.as_bytes());
    assert!(matches!(wrong, Err(TlsError::Unusable(_))), "{wrong:?}");
    let still = trusting(&url, &before).websocket(id("bob"));
    up(&mut still.status(), 1).await;
    let renewed = identity.renew(chain.as_bytes(), key.as_bytes());
    assert_eq!(renewed, Ok(()));
    let late = trusting(&url, &after).websocket(id("carol"));
    up(&mut late.status(), 1).await;
    let outdated = trusting(&url, &before).websocket(id("dave"));
    assert_eq!(refused(&outdated).await.connects, 0);
    // Who was there before has noticed nothing.
    let signal = envelope("carol", "alice", "hello");
    late.send(signal.clone()).await.expect("the link is there");
    assert_eq!(soon("the signal", early.recv()).await, Some(signal.text));
    assert_eq!(early.status().borrow().connects, 1);
}

#[tokio::test]
async fn a_wrong_room_or_url_is_refused_at_once() {
    let refused = |url, name| room(url, name, id("alice")).err();
    assert!(matches!(
        refused("ws://host", "a b"),
        Some(JoinError::Room(_))
    ));
    assert!(matches!(
        refused("http://host", "a"),
        Some(JoinError::Url(_))
    ));
}

#[tokio::test]
async fn a_link_that_reports_nothing_is_up() {
    let endpoint = |name: &str| {
        let (
            near,
            Link {
                outbound, inbound, ..
            },
        ) = Signalling::pair();
        let endpoint = on_loopback(name, near).bind().expect("binds");
        (endpoint, outbound, inbound)
    };
    let (alice, mut from_alice, to_alice) = endpoint("alice");
    let (bob, mut from_bob, to_bob) = endpoint("bob");
    tokio::spawn(async move {
        while let Some(signal) = from_alice.recv().await {
            // The test may be over.
            let _ = to_bob.send(signal.text).await;
        }
    });
    tokio::spawn(async move {
        while let Some(signal) = from_bob.recv().await {
            // The test may be over.
            let _ = to_alice.send(signal.text).await;
        }
    });
    let (there, here) = connect(&alice, &bob).await;
    assert_eq!((there.peer(), here.peer()), (id("bob"), id("alice")));
}
