//! A TURN server that asks for no credentials and has one allocation: what relaying costs the endpoints, and little else.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use bowline::Transmit;

/// Where it listens.
pub(crate) const SERVER: SocketAddr =
    SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::new(10, 255, 0, 1), 3_478));
/// The relayed address.
pub(crate) const RELAYED: SocketAddr =
    SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::new(10, 255, 0, 1), 50_000));

/// The server.
#[derive(Default)]
pub(crate) struct Turn {
    client: Option<SocketAddr>,
    peers: BTreeMap<u16, SocketAddr>,
    channels: BTreeMap<SocketAddr, u16>,
}

impl Turn {
    /// Takes datagrams for one of its addresses, and gives what it sends: where from, where to, the size of each and all.
    pub(crate) fn handle(
        &mut self,
        transmit: Transmit,
        contents: &[u8],
    ) -> Vec<(Transmit, Vec<u8>)> {
        let datagrams = contents.chunks(transmit.segment_size.max(1));
        if transmit.destination == RELAYED {
            let Some((client, channel)) = self.client.zip(self.channels.get(&transmit.source))
            else {
                return Vec::new();
            };
            let mut all = Vec::with_capacity(contents.len() + 64 * 4);
            for data in datagrams {
                let len = u16::try_from(data.len()).expect("a datagram");
                all.extend_from_slice(&channel.to_be_bytes());
                all.extend_from_slice(&len.to_be_bytes());
                all.extend_from_slice(data);
            }
            return vec![sent(SERVER, client, transmit.segment_size + 4, all)];
        }
        if contents.first() == Some(&0x40) {
            return self.forward(transmit.segment_size, datagrams);
        }
        datagrams
            .filter_map(|request| self.answer(transmit.source, request))
            .collect()
    }

    fn forward<'a>(
        &self,
        segment_size: usize,
        datagrams: impl Iterator<Item = &'a [u8]>,
    ) -> Vec<(Transmit, Vec<u8>)> {
        let mut all = Vec::new();
        let mut to = None;
        for datagram in datagrams {
            let channel = u16::from_be_bytes([datagram[0], datagram[1]]);
            to = self.peers.get(&channel).copied();
            all.extend_from_slice(&datagram[4..]);
        }
        to.map(|to| sent(RELAYED, to, segment_size - 4, all))
            .into_iter()
            .collect()
    }

    /// Allocate and ChannelBind are granted; nothing else is answered.
    fn answer(&mut self, client: SocketAddr, request: &[u8]) -> Option<(Transmit, Vec<u8>)> {
        let attributes = match request.get(..2)? {
            [0, 3] => {
                self.client = Some(client);
                let mut attributes = vec![0, 0x16, 0, 8];
                attributes.extend(xored(RELAYED));
                attributes.extend([0, 0x0d, 0, 4, 0, 0, 2, 0x58]);
                attributes
            }
            [0, 9] => {
                let channel = u16::from_be_bytes([request[24], request[25]]);
                let peer = unxored(&request[32..40]);
                self.peers.insert(channel, peer);
                self.channels.insert(peer, channel);
                Vec::new()
            }
            _ => return None,
        };
        let len = u16::try_from(attributes.len())
            .expect("short")
            .to_be_bytes();
        let answer = [&[1, request[1]], &len[..], &request[4..20], &attributes].concat();
        Some(sent(SERVER, client, answer.len(), answer))
    }
}

fn sent(
    source: SocketAddr,
    destination: SocketAddr,
    segment_size: usize,
    contents: Vec<u8>,
) -> (Transmit, Vec<u8>) {
    let transmit = Transmit {
        source,
        destination,
        segment_size,
    };
    (transmit, contents)
}

/// An IPv4 address as STUN writes it (RFC 8489 section 14.2).
fn xored(address: SocketAddr) -> [u8; 8] {
    let SocketAddr::V4(address) = address else {
        panic!("IPv4 only");
    };
    let [p0, p1] = (address.port() ^ 0x2112).to_be_bytes();
    let [a, b, c, d] = (u32::from(*address.ip()) ^ COOKIE).to_be_bytes();
    [0, 1, p0, p1, a, b, c, d]
}

fn unxored(value: &[u8]) -> SocketAddr {
    let port = u16::from_be_bytes([value[2], value[3]]) ^ 0x2112;
    let ip = u32::from_be_bytes([value[4], value[5], value[6], value[7]]) ^ COOKIE;
    SocketAddr::from((Ipv4Addr::from(ip), port))
}

const COOKIE: u32 = 0x2112_a442;
