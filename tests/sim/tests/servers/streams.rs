//! TURN over a stream.

use std::time::Duration;

use bowline_sim::{ServerSpec, World};
use turn_client_proto::api::{TurnConfig, TurnRecvRet};
use turn_client_proto::prelude::*;
use turn_client_proto::tcp::TurnClientTcp;
use turn_server_proto::stun::agent::Transmit;
use turn_server_proto::types::TransportType::{Tcp, Udp};
use turn_server_proto::types::TurnCredentials;

use crate::station::{Station, instant};

/// A client whose stream is torn into pieces of `tear` bytes, in both directions.
struct Lab {
    world: World,
    client: TurnClientTcp,
    tear: usize,
    relayed: Vec<Vec<u8>>,
}

impl Lab {
    fn new(tear: usize) -> Self {
        let spec = ServerSpec::new("turn").user("alice", "secret");
        let mut world = World::builder(1).peer("peer").server(spec).build();
        let local = "10.9.9.9:40000".parse().expect("an address");
        let server = world.server_addresses(0)[0];
        let config = TurnConfig::new(TurnCredentials::new("alice", "secret"));
        world.run_for(Duration::from_secs(1));
        Self {
            client: TurnClientTcp::allocate(local, server, config),
            world,
            tear,
            relayed: Vec::new(),
        }
    }

    /// Lets all be said.
    fn settle(&mut self) {
        for _ in 0..20 {
            let now = instant(self.world.now());
            let _wait = self.client.poll(now);
            while let Some(transmit) = self.client.poll_transmit(now) {
                self.write(&transmit.data);
            }
            let (client, server) = (self.client.local_addr(), self.client.remote_addr());
            let written = self.world.take_streams(0).into_iter();
            let frames = written.map(|output| output.bytes.expect("it does not hang up"));
            let bytes = frames.map(unpadded).collect::<Vec<_>>().concat();
            for piece in bytes.chunks(self.tear) {
                let transmit = Transmit::new(piece.to_vec(), Tcp, server, client);
                if let TurnRecvRet::PeerData(data) = self.client.recv(transmit, now) {
                    self.relayed.push(data.data().to_vec());
                }
                let more = std::iter::from_fn(|| self.client.poll_recv(now));
                self.relayed.extend(more.map(|data| data.data().to_vec()));
            }
            self.world.run_for(Duration::from_millis(20));
        }
    }

    fn write(&mut self, bytes: &[u8]) {
        let way = (self.client.local_addr(), self.client.remote_addr());
        for piece in padded(bytes.to_vec()).chunks(self.tear) {
            self.world.handle_stream(0, way, piece);
        }
    }
}

/// What the client of turn-client-proto 0.7 leaves out (RFC 8656 section 12.5).
fn padded(mut frame: Vec<u8>) -> Vec<u8> {
    if frame[0] >= 0x40 {
        frame.resize(frame.len().next_multiple_of(4), 0);
    }
    frame
}

/// A frame of the server as that client takes it.
fn unpadded(mut frame: Vec<u8>) -> Vec<u8> {
    assert_eq!(frame.len() % 4, 0);
    if frame[0] >= 0x40 {
        frame.truncate(4 + usize::from(u16::from_be_bytes([frame[2], frame[3]])));
    }
    frame
}

#[test]
fn a_stream_may_be_torn_anywhere() {
    for tear in [1, 2, 3, 4, 7, 19, 20, 21, 64, 10_000] {
        let mut lab = Lab::new(tear);
        let peer = Station::new(&mut lab.world, 0);
        lab.settle();
        let relay = lab.client.relayed_addresses().next();
        let (_, relay) = relay.expect("an allocation");
        let address = lab.world.addresses(0)[0];
        let now = instant(lab.world.now());
        let asked = lab.client.bind_channel(Udp, address, now);
        asked.expect("there is an allocation");
        lab.settle();
        for data in [&b"\x16odd"[..], b"\x16even", b"\x16"] {
            let now = instant(lab.world.now());
            let sent = lab.client.send_to(Udp, address, data, now);
            let sent = sent.expect("there is a channel").map(|t| t.build().data);
            lab.write(&sent.expect("it goes at once"));
            peer.state().outbox.push((relay, data.to_vec()));
        }
        lab.settle();
        let heard: Vec<_> = peer.state().heard.iter().map(|(_, b)| b.len()).collect();
        assert_eq!(heard, [4, 5, 1], "{tear}");
        let relayed: Vec<_> = lab.relayed.iter().map(Vec::len).collect();
        assert_eq!(relayed, [4, 5, 1], "{tear}");
        let way = (lab.client.local_addr(), lab.client.remote_addr());
        lab.world.end_stream(0, way);
        lab.world.run_for(Duration::from_secs(1_900));
        assert_eq!(lab.world.allocations(0), 0);
    }
}

#[test]
fn a_server_hangs_up_on_what_is_not_turn() {
    let mut lab = Lab::new(10_000);
    lab.write(b"\x16\x03\x01\x02\0");
    let written = lab.world.take_streams(0);
    assert!(written.iter().any(|output| output.bytes.is_none()));
}
