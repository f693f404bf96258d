//! A host without an endpoint: it sends what it is told, keeps what it hears, and may have a TURN client.

use std::cell::{RefCell, RefMut};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bowline_sim::attack::{Attacker, Hands, Heard};
use bowline_sim::{HostId, Time, World};
use turn_client_proto::api::{TurnConfig, TurnEvent, TurnRecvRet};
use turn_client_proto::prelude::*;
use turn_client_proto::udp::TurnClientUdp;
use turn_server_proto::stun::Instant;
use turn_server_proto::stun::agent::Transmit;
use turn_server_proto::types::stun::attribute::{AttributeType, ErrorCode, MappedSocketAddr};
use turn_server_proto::types::stun::message::Message;
use turn_server_proto::types::{TransportType, TurnCredentials};

/// What a test and the station share.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) client: Option<TurnClientUdp>,
    /// What will be sent at the next tick.
    pub(crate) outbox: Vec<(SocketAddr, Vec<u8>)>,
    /// Every datagram that came: source and contents.
    pub(crate) heard: Vec<(SocketAddr, Vec<u8>)>,
    /// What peers sent through the relay.
    pub(crate) relayed: Vec<(SocketAddr, Vec<u8>)>,
    pub(crate) events: Vec<TurnEvent>,
    now: Time,
}

/// A handle on the state.
#[derive(Debug, Clone)]
pub(crate) struct Station(Rc<RefCell<State>>);

impl Station {
    /// Takes the place of a host.
    pub(crate) fn new(world: &mut World, host: HostId) -> Self {
        let station = Self(Rc::default());
        world.take_over(host, station.clone());
        station
    }

    /// The same with a TURN client, which begins to allocate.
    pub(crate) fn with_client(
        world: &mut World,
        host: HostId,
        server: SocketAddr,
        user: (&str, &str),
    ) -> Self {
        let station = Self::new(world, host);
        let local = world.addresses(host)[0];
        let config = TurnConfig::new(TurnCredentials::new(user.0, user.1));
        station.state().client = Some(TurnClientUdp::allocate(local, server, config));
        station
    }

    pub(crate) fn state(&self) -> RefMut<'_, State> {
        self.0.borrow_mut()
    }

    /// Calls the TURN client.
    pub(crate) fn client<T>(&self, call: impl FnOnce(&mut TurnClientUdp, Instant) -> T) -> T {
        let mut state = self.state();
        let now = instant(state.now);
        call(state.client.as_mut().expect("it has one"), now)
    }

    /// Sends to a peer through the relay.
    pub(crate) fn relay(&self, peer: SocketAddr, data: &[u8]) {
        let sent = self.client(|client, now| {
            let sent = client.send_to(TransportType::Udp, peer, data.to_vec(), now);
            sent.expect("there is a permission").map(|t| t.build())
        });
        let sent = sent.expect("over datagrams it goes at once");
        self.state().outbox.push((sent.to, sent.data));
    }

    /// The address that the relay gave.
    pub(crate) fn relayed_address(&self) -> Option<SocketAddr> {
        let address = |client: &mut TurnClientUdp, _| client.relayed_addresses().next();
        self.client(address).map(|(_, address)| address)
    }

    /// The codes of all errors that came.
    pub(crate) fn codes(&self) -> Vec<u16> {
        let state = self.state();
        let messages = state.heard.iter();
        let messages = messages.filter_map(|(_, bytes)| Message::from_bytes(bytes).ok());
        let codes = messages.filter_map(|message| message.attribute::<ErrorCode>().ok());
        codes.map(|code| code.code()).collect()
    }
}

impl State {
    fn turn(&mut self, hands: &mut Hands<'_>) {
        self.now = hands.now();
        let now = instant(self.now);
        let local = hands.addresses()[0];
        for (to, bytes) in self.outbox.drain(..) {
            hands.send(local, to, bytes);
        }
        let Some(client) = &mut self.client else {
            return;
        };
        let _wait = client.poll(now);
        while let Some(transmit) = client.poll_transmit(now) {
            hands.send(transmit.from, transmit.to, transmit.data.to_vec());
        }
        self.events
            .extend(std::iter::from_fn(|| client.poll_event()));
    }
}

impl Attacker for Station {
    fn on_start(&mut self, hands: &mut Hands<'_>) {
        self.state().turn(hands);
    }

    fn on_timeout(&mut self, hands: &mut Hands<'_>) {
        self.state().turn(hands);
    }

    fn on_datagram(&mut self, datagram: &Heard<'_>, hands: &mut Hands<'_>) {
        let mut state = self.state();
        state.now = hands.now();
        let bytes = datagram.contents.to_vec();
        state.heard.push((datagram.source, bytes.clone()));
        let now = instant(state.now);
        if let Some(client) = &mut state.client {
            let (from, to) = (datagram.source, datagram.destination);
            let transmit = Transmit::new(bytes, TransportType::Udp, from, to);
            if let TurnRecvRet::PeerData(data) = client.recv(transmit, now) {
                let relayed = (data.peer, data.data().to_vec());
                state.relayed.push(relayed);
            }
        }
        state.turn(hands);
    }

    fn poll_timeout(&self) -> Option<Time> {
        Some(self.state().now.after(TICK))
    }
}

/// The time of the world, as the client takes it.
pub(crate) fn instant(time: Time) -> Instant {
    Instant::from_nanos(i64::try_from(time.as_nanos()).expect("a short test"))
}

/// The address in an attribute that is not masked.
pub(crate) fn plain_address(bytes: &[u8], kind: u16) -> Option<SocketAddr> {
    let message = Message::from_bytes(bytes).expect("a STUN message");
    let attribute = message.raw_attribute(AttributeType::new(kind))?;
    let address = MappedSocketAddr::from_raw(&attribute).expect("an address");
    Some(address.addr())
}

/// How often it looks at what it was told.
const TICK: Duration = Duration::from_millis(10);
