//! TURN messages between us and a server (RFC 8656): requests and indications out, responses and data in. No state.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use stun_proto::auth::LongTermClientAuth;
use stun_types::attribute::{AlternateServer, AttributeStaticType, ErrorCode};
use stun_types::message::{
    Message, MessageClass, MessageHeader, MessageType, MessageWrite, MessageWriteExt,
    MessageWriteVec,
};
use stun_types::prelude::{Attribute, AttributeFromRaw};
use turn_types::AddressFamily;
use turn_types::attribute::{
    ChannelNumber, Data, Lifetime, RequestedAddressFamily, RequestedTransport, XorPeerAddress,
    XorRelayedAddress,
};
use turn_types::message::{ALLOCATE, CHANNEL_BIND, CREATE_PERMISSION, DATA, REFRESH, SEND};

use crate::ice::stun::TransactionId;

/// What is asked of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Request {
    /// An allocation for UDP, of a family (section 7.1).
    Allocate { ipv6: bool },
    /// That the allocation lives on, or ends at 0 seconds (section 8.1).
    Refresh { seconds: u32 },
    /// That data from and to an address passes (section 9.1).
    Permit { ip: IpAddr },
    /// A channel to a peer (section 12.1).
    Bind { channel: u16, peer: SocketAddr },
}

impl Request {
    /// The message, signed when the server has named its realm. `None` when what the server named cannot be repeated.
    pub(super) fn build(self, id: TransactionId, auth: &mut LongTermClientAuth) -> Option<Vec<u8>> {
        let method = match self {
            Self::Allocate { .. } => ALLOCATE,
            Self::Refresh { .. } => REFRESH,
            Self::Permit { .. } => CREATE_PERMISSION,
            Self::Bind { .. } => CHANNEL_BIND,
        };
        let kind = MessageType::from_class_method(MessageClass::Request, method);
        let mut message = Message::builder(kind, id.into(), MessageWriteVec::new());
        match self {
            Self::Allocate { ipv6 } => {
                // REQUESTED-TRANSPORT is a MUST.
                let udp = RequestedTransport::new(RequestedTransport::UDP);
                message.add_attribute(&udp).ok()?;
                message.add_attribute(&Lifetime::new(LIFETIME)).ok()?;
                if ipv6 {
                    let family = RequestedAddressFamily::new(AddressFamily::IPV6);
                    message.add_attribute(&family).ok()?;
                }
            }
            Self::Refresh { seconds } => message.add_attribute(&Lifetime::new(seconds)).ok()?,
            Self::Permit { ip } => {
                let peer = XorPeerAddress::new(SocketAddr::new(ip, 0), id.into());
                message.add_attribute(&peer).ok()?;
            }
            Self::Bind { channel, peer } => {
                message.add_attribute(&ChannelNumber::new(channel)).ok()?;
                let peer = XorPeerAddress::new(peer, id.into());
                message.add_attribute(&peer).ok()?;
            }
        }
        let mut message = auth.sign_outgoing_message(message).ok()?;
        message.add_fingerprint().ok()?;
        Some(message.finish())
    }
}

/// Data for a peer without a channel (section 11.1).
pub(super) fn send_indication(id: TransactionId, peer: SocketAddr, data: &[u8]) -> Option<Vec<u8>> {
    let kind = MessageType::from_class_method(MessageClass::Indication, SEND);
    let room = MessageWriteVec::with_capacity(INDICATION_ROOM + data.len());
    let mut message = Message::builder(kind, id.into(), room);
    let peer = XorPeerAddress::new(peer, id.into());
    message.add_attribute(&peer).ok()?;
    message.add_attribute(&Data::new(data)).ok()?;
    Some(message.finish())
}

/// Data for a peer with a channel (section 12.4): the one copy that relaying takes. Over a stream it is padded to a
/// multiple of four bytes (section 12.5: MUST).
pub(super) fn channel_data(channel: u16, data: &[u8], padded: bool) -> Option<Vec<u8>> {
    let len = u16::try_from(data.len()).ok()?;
    let mut message = Vec::with_capacity(CHANNEL_HEADER + data.len() + 3);
    message.extend_from_slice(&channel.to_be_bytes());
    message.extend_from_slice(&len.to_be_bytes());
    message.extend_from_slice(data);
    if padded {
        message.resize(message.len().next_multiple_of(4), 0);
    }
    Some(message)
}

/// What came from a server.
pub(super) enum Incoming<'a> {
    /// Data of a channel, and where in the datagram it stands.
    Channel { channel: u16, data: Range<usize> },
    /// Data of a peer without a channel.
    Data {
        peer: SocketAddr,
        data: Range<usize>,
    },
    /// A response to a request.
    Response(TransactionId, Message<'a>),
}

/// Reads one whole message. `None`: it is nothing that a TURN server sends a client, and as good as not received.
pub(super) fn read(message: &[u8]) -> Option<Incoming<'_>> {
    if let [first @ 0x40..=0x4f, second, l0, l1, data @ ..] = message {
        let len = usize::from(u16::from_be_bytes([*l0, *l1]));
        let channel = u16::from_be_bytes([*first, *second]);
        // Over UDP there may be padding behind the data, and it is not looked at (section 12.5).
        return (len <= data.len()).then(|| Incoming::Channel {
            channel,
            data: CHANNEL_HEADER..CHANNEL_HEADER + len,
        });
    }
    // The codec reads on behind the length that the header gives.
    let [_, _, l0, l1] = *message.first_chunk::<4>()?;
    let len = usize::from(u16::from_be_bytes([l0, l1]));
    if len.checked_add(MessageHeader::LENGTH)? != message.len() || !len.is_multiple_of(4) {
        return None;
    }
    let whole = Message::from_bytes(message).ok()?;
    match whole.class() {
        MessageClass::Indication if whole.has_method(DATA) => read_data(&whole),
        MessageClass::Success | MessageClass::Error => {
            let id = TransactionId::of_message(message)?;
            Some(Incoming::Response(id, whole))
        }
        MessageClass::Indication | MessageClass::Request => None,
    }
}

/// Section 11.4: XOR-PEER-ADDRESS and DATA, or it is silently discarded.
fn read_data<'a>(message: &Message<'_>) -> Option<Incoming<'a>> {
    let (mut peer, mut data) = (None, None);
    for (offset, raw) in message.iter_attributes() {
        let kind = raw.get_type();
        if kind == XorPeerAddress::TYPE {
            let address = XorPeerAddress::from_raw_ref(&raw).ok()?;
            peer = peer.or(Some(address.addr(message.transaction_id())));
        } else if kind == Data::TYPE {
            let start = offset.checked_add(ATTRIBUTE_HEADER)?;
            data = data.or(Some(start..start.checked_add(usize::from(raw.length()))?));
        }
    }
    Some(Incoming::Data {
        peer: peer?,
        data: data?,
    })
}

/// What an allocation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Granted {
    pub(super) relayed: SocketAddr,
    pub(super) seconds: u32,
}

/// Reads a success response to Allocate.
pub(super) fn granted(message: &Message<'_>, ipv6: bool) -> Option<Granted> {
    let id = message.transaction_id();
    let relayed = message.attribute::<XorRelayedAddress>().ok()?.addr(id);
    let is_usable = relayed.is_ipv6() == ipv6
        && relayed.port() != 0
        && !relayed.ip().is_unspecified()
        && !relayed.ip().is_multicast();
    is_usable.then_some(Granted {
        relayed,
        seconds: lifetime(message)?,
    })
}

/// The LIFETIME of a success response, in seconds.
pub(super) fn lifetime(message: &Message<'_>) -> Option<u32> {
    let lifetime = message.attribute::<Lifetime>().ok()?;
    Some(lifetime.seconds())
}

/// The code of an error response.
pub(super) fn error_code(message: &Message<'_>) -> Option<u16> {
    let error = message.attribute::<ErrorCode>().ok()?;
    Some(error.code())
}

/// Where a 300 sends us (RFC 8489 section 10).
pub(super) fn alternate(message: &Message<'_>) -> Option<SocketAddr> {
    let alternate = message.attribute::<AlternateServer>().ok()?;
    Some(alternate.server())
}

/// How long an allocation is asked for, in seconds: the default of section 3.2.
pub(super) const LIFETIME: u32 = 600;
/// Type and length.
const ATTRIBUTE_HEADER: usize = 4;
/// Channel number and length.
pub(super) const CHANNEL_HEADER: usize = 4;
/// The header, an IPv6 address, and the header and padding of the data.
const INDICATION_ROOM: usize = MessageHeader::LENGTH + 24 + 7;
