//! Who is let in, and what those who are not are told.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;
use bowline::{IceServer, ServerFault, TransportPolicy};
use bowline_interop::coturn::{Coturn, SECRET, Setup, Transport, USER};
use bowline_interop::host::Host;
use bowline_tokio::signalling::MemoryHub;
use data_encoding::BASE64;

use crate::common::{LOOPBACK, Party, connect, relay_only, soon, talk, with};

#[tokio::test]
async fn a_wrong_password_is_told_over_every_transport() {
    let host = Host::new().expect("a namespace");
    host.run(async {
        let coturn = Setup::at(&LOOPBACK).start().await.expect("starts");
        for transport in Transport::ALL {
            let server = coturn.anonymous(transport).credentials(USER, "wrong");
            assert_eq!(
                fault(&coturn, server.expect("valid")).await,
                ServerFault::Unauthorized,
                "{transport:?}"
            );
        }
    })
    .await;
}

#[tokio::test]
async fn credentials_of_a_rest_service_serve_until_they_expire() {
    let host = Host::new().expect("a namespace");
    host.run(async {
        let coturn = Setup::at(&LOOPBACK).with_secret().start().await;
        let coturn = coturn.expect("starts");
        let (hub, fresh) = (MemoryHub::new(), rest(&coturn, wall_clock() + HOUR));
        let party = |name| Party::bind(name, &hub, relay_only(fresh.clone()), None);
        let (alice, bob) = (party("alice"), party("bob"));
        let (there, here) = connect(&alice, &bob).await;
        talk(&there, &here).await;
        assert_eq!(alice.faults(), []);

        let expired = rest(&coturn, wall_clock() - HOUR);
        assert_eq!(fault(&coturn, expired).await, ServerFault::Expired);
        let forged = coturn
            .anonymous(Transport::Udp)
            .credentials(user(wall_clock() + HOUR), "wrong");
        assert_eq!(
            fault(&coturn, forged.expect("valid")).await,
            ServerFault::ClockSkew,
            "refused before its time is over"
        );
    })
    .await;
}

#[tokio::test]
async fn a_user_with_all_its_allocations_is_told_of_the_quota() {
    let host = Host::new().expect("a namespace");
    host.run(async {
        let coturn = Setup::at(&LOOPBACK).with(&["--user-quota=1"]).start().await;
        let coturn = coturn.expect("starts");
        let hub = MemoryHub::new();
        let party = |name| Party::bind(name, &hub, relay_only(coturn.uri(Transport::Udp)), None);
        let first = party("first");
        first.gathered().await;
        assert_eq!(first.faults(), []);
        assert_eq!(party("second").fault().await, ServerFault::Quota);

        // Closing gives the allocation back, and a third has it. coturn counts it until it cleans up, a moment later.
        soon("the close", first.endpoint.close()).await;
        let deleted = coturn.says("delete: realm=<bowline.test>, username=<alice>");
        deleted.await.expect("the allocation is deleted");
        let third = party("third");
        third.gathered().await;
        assert_eq!(third.faults(), []);
    })
    .await;
}

/// What an endpoint with this server is told of it.
async fn fault(coturn: &Coturn, server: IceServer) -> ServerFault {
    let config = with(server).policy(TransportPolicy::Relay).build();
    let certificate = Some(coturn.certificate());
    let party = Party::bind(
        "alice",
        &MemoryHub::new(),
        config.expect("valid"),
        certificate,
    );
    party.fault().await
}

/// The server with the credentials that a REST service would give (draft-uberti-behave-turn-rest-00).
fn rest(coturn: &Coturn, expiry: Duration) -> IceServer {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, SECRET.as_bytes());
    let user = user(expiry);
    let password = BASE64.encode(hmac::sign(&key, user.as_bytes()).as_ref());
    let server = coturn.anonymous(Transport::Udp);
    server.credentials(user, password).expect("valid")
}

fn user(expiry: Duration) -> String {
    format!("{}:{USER}", expiry.as_secs())
}

fn wall_clock() -> Duration {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("the clock is right")
}

const HOUR: Duration = Duration::from_secs(3_600);
