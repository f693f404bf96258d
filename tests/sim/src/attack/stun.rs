//! Connectivity checks and their answers, right or wrong (RFC 8489, RFC 8445 §7).

use std::net::{IpAddr, SocketAddr};

use super::crc::crc32;

/// A connectivity check to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// The transaction.
    pub transaction: [u8; 12],
    /// USERNAME: the receiver's user name fragment, a colon, the sender's.
    pub user_name: String,
    /// The receiver's password, which MESSAGE-INTEGRITY is made with. A wrong one makes a wrong check.
    pub password: String,
    /// Whether the sender controls, and nominates with this check.
    pub nominates: bool,
}

impl Check {
    /// The datagram.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut message = begin(BINDING_REQUEST, self.transaction);
        attribute(&mut message, USERNAME, self.user_name.as_bytes());
        attribute(&mut message, PRIORITY, &PEER_REFLEXIVE.to_be_bytes());
        let role = if self.nominates {
            ICE_CONTROLLING
        } else {
            ICE_CONTROLLED
        };
        attribute(&mut message, role, &[0xff; 8]);
        if self.nominates {
            attribute(&mut message, USE_CANDIDATE, &[]);
        }
        finish(message, &self.password)
    }
}

/// The transaction of a datagram that is a connectivity check.
#[must_use]
pub fn check_transaction(datagram: &[u8]) -> Option<[u8; 12]> {
    let is_check = datagram.starts_with(&BINDING_REQUEST.to_be_bytes());
    datagram.get(8..20)?.try_into().ok().filter(|_| is_check)
}

/// The answer to a check that came from `source`. `password` is that of who answers.
#[must_use]
pub fn answer(transaction: [u8; 12], source: SocketAddr, password: &str) -> Vec<u8> {
    let mut message = begin(BINDING_SUCCESS, transaction);
    attribute(
        &mut message,
        XOR_MAPPED_ADDRESS,
        &xor_address(source, transaction),
    );
    finish(message, password)
}

/// RFC 8489 §14.2.
fn xor_address(address: SocketAddr, transaction: [u8; 12]) -> Vec<u8> {
    let [cookie_high, cookie_low, ..] = COOKIE;
    let mask: Vec<u8> = COOKIE.into_iter().chain(transaction).collect();
    let (family, ip) = match address.ip() {
        IpAddr::V4(ip) => (1, ip.octets().to_vec()),
        IpAddr::V6(ip) => (2, ip.octets().to_vec()),
    };
    let [port_high, port_low] = address.port().to_be_bytes();
    let mut value = vec![0, family, port_high ^ cookie_high, port_low ^ cookie_low];
    value.extend(ip.iter().zip(mask).map(|(byte, mask)| byte ^ mask));
    value
}

fn begin(kind: u16, transaction: [u8; 12]) -> Vec<u8> {
    let mut message = kind.to_be_bytes().to_vec();
    message.extend([0, 0]);
    message.extend(COOKIE);
    message.extend(transaction);
    message
}

fn attribute(message: &mut Vec<u8>, kind: u16, value: &[u8]) {
    message.extend(kind.to_be_bytes());
    message.extend(short(value.len()).to_be_bytes());
    message.extend(value);
    message.resize(message.len().next_multiple_of(4), 0);
}

/// Adds MESSAGE-INTEGRITY and FINGERPRINT, each computed with the length that includes it.
fn finish(mut message: Vec<u8>, password: &str) -> Vec<u8> {
    set_length(&mut message, INTEGRITY_SIZE);
    let hmac = str0m::crypto::from_feature_flags().sha1_hmac_provider;
    let integrity = hmac.sha1_hmac(password.as_bytes(), &[&message]);
    attribute(&mut message, MESSAGE_INTEGRITY, &integrity);
    set_length(&mut message, FINGERPRINT_SIZE);
    let fingerprint = crc32(&message) ^ FINGERPRINT_XOR;
    attribute(&mut message, FINGERPRINT, &fingerprint.to_be_bytes());
    message
}

fn set_length(message: &mut [u8], more: usize) {
    let length = short(message.len() - HEADER + more);
    message[2..4].copy_from_slice(&length.to_be_bytes());
}

fn short(length: usize) -> u16 {
    u16::try_from(length).unwrap_or(u16::MAX)
}

const BINDING_REQUEST: u16 = 0x0001;
const BINDING_SUCCESS: u16 = 0x0101;
const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const HEADER: usize = 20;
const INTEGRITY_SIZE: usize = 24;
const FINGERPRINT_SIZE: usize = 8;
const FINGERPRINT_XOR: u32 = 0x5354_554e;
/// RFC 8445 §5.1.2.1 with the type preference of a peer-reflexive candidate, 110.
const PEER_REFLEXIVE: u32 = (110 << 24) | (65_535 << 8) | 255;

const USERNAME: u16 = 0x0006;
const MESSAGE_INTEGRITY: u16 = 0x0008;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;
const PRIORITY: u16 = 0x0024;
const USE_CANDIDATE: u16 = 0x0025;
const FINGERPRINT: u16 = 0x8028;
const ICE_CONTROLLED: u16 = 0x8029;
const ICE_CONTROLLING: u16 = 0x802a;
