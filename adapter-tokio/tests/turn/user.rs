use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use bowline_tokio::turn_server::{
    PeerPolicy, TurnConfig, TurnCredentials, TurnLimits, TurnSecret, TurnServer,
};
use stun_proto::agent::Transmit;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{sleep_until, timeout};
use turn_client_proto::api::{
    TurnClientApi, TurnConfig as Settings, TurnEvent, TurnPollRet, TurnRecvRet,
};
use turn_client_proto::tcp::TurnClientTcp;
use turn_client_proto::udp::TurnClientUdp;
use turn_types::{TransportType, TurnCredentials as Login};

const DEADLINE: Duration = Duration::from_secs(30);

pub(crate) fn secret() -> TurnSecret {
    TurnSecret::new(b"of this test")
}

pub(crate) fn credentials(name: &str) -> TurnCredentials {
    secret().issue(name, Duration::from_secs(60))
}

pub(crate) async fn server(peers: PeerPolicy, limits: TurnLimits) -> TurnServer {
    let config = TurnConfig {
        peers,
        limits,
        ..TurnConfig::default()
    };
    TurnServer::bind(([127, 0, 0, 1], 0).into(), secret(), config)
        .await
        .expect("binds")
}

/// A peer without a server.
pub(crate) async fn stranger() -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .expect("binds");
    let address = socket.local_addr().expect("bound");
    (socket, address)
}

/// The next datagram of a socket.
pub(crate) async fn heard(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = vec![0; 2_000];
    let received = timeout(DEADLINE, socket.recv_from(&mut buffer)).await;
    let (count, from) = received.expect("in time").expect("received");
    buffer.truncate(count);
    (buffer, from)
}

pub(crate) enum Wire {
    Udp(UdpSocket),
    Tcp(TcpStream),
}

/// A TURN client and its socket.
pub(crate) struct User<C> {
    client: C,
    wire: Wire,
    local: SocketAddr,
    server: SocketAddr,
    began: Instant,
    /// Of a stream: what is no whole message yet.
    unread: Vec<u8>,
    pub(crate) events: Vec<TurnEvent>,
    pub(crate) received: Vec<(SocketAddr, Vec<u8>)>,
}

impl User<TurnClientUdp> {
    pub(crate) async fn udp(server: &TurnServer, username: &str, password: &str) -> Self {
        let (socket, local) = stranger().await;
        let server = server.local_addr();
        let client = TurnClientUdp::allocate(local, server, settings(username, password));
        Self::new(client, Wire::Udp(socket), local, server)
    }
}

impl User<TurnClientTcp> {
    pub(crate) async fn tcp(server: &TurnServer, username: &str, password: &str) -> Self {
        let server = server.local_addr();
        let stream = TcpStream::connect(server).await.expect("connects");
        let local = stream.local_addr().expect("bound");
        let client = TurnClientTcp::allocate(local, server, settings(username, password));
        Self::new(client, Wire::Tcp(stream), local, server)
    }
}

fn settings(username: &str, password: &str) -> Settings {
    Settings::new(Login::new(username, password))
}

impl<C: TurnClientApi> User<C> {
    fn new(client: C, wire: Wire, local: SocketAddr, server: SocketAddr) -> Self {
        Self {
            client,
            wire,
            local,
            server,
            began: Instant::now(),
            unread: Vec::new(),
            events: Vec::new(),
            received: Vec::new(),
        }
    }

    /// Turns until `done`. The client neither pads channel data on a stream nor expects padding (RFC 8656 section 12.5 has
    /// it so): this does.
    pub(crate) async fn run_until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        let turning = async {
            let mut buffer = vec![0; 70_000];
            loop {
                let until = self.drive().await;
                if done(self) {
                    return;
                }
                tokio::select! {
                    count = receive(&mut self.wire, &mut buffer) => self.on_received(&buffer[..count]),
                    () = sleep_until(until.into()) => {}
                }
            }
        };
        if timeout(DEADLINE, turning).await.is_err() {
            panic!("{what} did not happen in time: {:?}", self.events);
        }
    }

    async fn drive(&mut self) -> Instant {
        let polled = self.client.poll(self.now());
        while let Some(transmit) = self.client.poll_transmit(self.now()) {
            self.send(transmit.data.as_ref()).await;
        }
        while let Some(data) = self.client.poll_recv(self.now()) {
            self.received.push((data.peer, data.data().to_vec()));
        }
        while let Some(event) = self.client.poll_event() {
            self.events.push(event);
        }
        match polled {
            TurnPollRet::WaitUntil(until) => {
                let nanos = u64::try_from(until.as_nanos()).expect("after the beginning");
                self.began + Duration::from_nanos(nanos)
            }
            _ => Instant::now() + DEADLINE,
        }
    }

    fn on_received(&mut self, bytes: &[u8]) {
        if let Wire::Udp(_) = self.wire {
            return self.on_bytes(bytes);
        }
        self.unread.extend_from_slice(bytes);
        while let &[kind, _, high, low, ..] = self.unread.as_slice() {
            let length = usize::from(u16::from_be_bytes([high, low]));
            let length = length + if kind < 0x40 { 20 } else { 4 };
            let padded = length.next_multiple_of(4);
            if self.unread.len() < padded {
                return;
            }
            let rest = self.unread.split_off(padded);
            let message = std::mem::replace(&mut self.unread, rest);
            self.on_bytes(&message[..length]);
        }
    }

    fn on_bytes(&mut self, bytes: &[u8]) {
        let transport = self.transport();
        let received = Transmit::new(bytes.to_vec(), transport, self.server, self.local);
        let now = self.now();
        if let TurnRecvRet::PeerData(data) = self.client.recv(received, now) {
            self.received.push((data.peer, data.data().to_vec()));
        }
    }

    async fn send(&mut self, bytes: &[u8]) {
        match &mut self.wire {
            Wire::Udp(socket) => {
                socket.send_to(bytes, self.server).await.expect("sent");
            }
            // It fails when the server has closed it.
            Wire::Tcp(stream) => {
                let mut padded = bytes.to_vec();
                padded.resize(bytes.len().next_multiple_of(4), 0);
                drop(stream.write_all(&padded).await);
            }
        }
    }

    fn transport(&self) -> TransportType {
        match self.wire {
            Wire::Udp(_) => TransportType::Udp,
            Wire::Tcp(_) => TransportType::Tcp,
        }
    }

    fn now(&self) -> stun_proto::Instant {
        let nanos = self.began.elapsed().as_nanos();
        stun_proto::Instant::from_nanos(i64::try_from(nanos).expect("not so long"))
    }

    pub(crate) async fn allocate(&mut self) -> SocketAddr {
        self.run_until("the allocation", |user| {
            user.client.relayed_addresses().next().is_some()
        })
        .await;
        let (_, address) = self
            .client
            .relayed_addresses()
            .next()
            .expect("there is one");
        address
    }

    pub(crate) async fn fails(&mut self) {
        self.run_until("the refusal", |user| {
            let failed = |event: &TurnEvent| matches!(event, TurnEvent::AllocationCreateFailed(_));
            user.events.iter().any(failed)
        })
        .await;
    }

    pub(crate) fn ask_permission(&mut self, peer: SocketAddr) {
        let now = self.now();
        self.client
            .create_permission(TransportType::Udp, peer.ip(), now)
            .expect("not there yet");
    }

    pub(crate) async fn permit(&mut self, peer: SocketAddr) {
        self.ask_permission(peer);
        self.run_until("the permission", |user| {
            user.client.have_permission(TransportType::Udp, peer.ip())
        })
        .await;
    }

    pub(crate) async fn bind_channel(&mut self, peer: SocketAddr) {
        let now = self.now();
        self.client
            .bind_channel(TransportType::Udp, peer, now)
            .expect("not there yet");
        self.run_until("the channel", |user| {
            let made = |event: &TurnEvent| matches!(event, TurnEvent::ChannelCreated(_, to) if *to == peer);
            user.events.iter().any(made)
        })
        .await;
    }

    pub(crate) async fn say(&mut self, peer: SocketAddr, text: &[u8]) {
        let now = self.now();
        let sent = self.client.send_to(TransportType::Udp, peer, text, now);
        if let Some(transmit) = sent.expect("permitted") {
            self.send(&transmit.build().data).await;
        }
    }

    pub(crate) async fn hears(&mut self, count: usize) {
        self.run_until("the data", |user| user.received.len() >= count)
            .await;
    }

    pub(crate) async fn delete(&mut self) {
        let now = self.now();
        self.client.delete(now).expect("there is one");
        self.run_until("the end", |user| {
            user.client.relayed_addresses().next().is_none()
        })
        .await;
    }
}

async fn receive(wire: &mut Wire, buffer: &mut [u8]) -> usize {
    match wire {
        Wire::Udp(socket) => socket.recv(buffer).await.expect("received"),
        Wire::Tcp(stream) => match stream.read(buffer).await {
            Ok(count @ 1..) => count,
            Ok(0) | Err(_) => std::future::pending().await,
        },
    }
}

/// Waits until the server has what is asked.
pub(crate) async fn until(what: &str, done: impl Fn() -> bool) {
    let waiting = async {
        while !done() {
            tokio::task::yield_now().await;
        }
    };
    assert!(timeout(DEADLINE, waiting).await.is_ok(), "{what}");
}
