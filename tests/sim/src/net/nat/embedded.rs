//! IPv4 addresses embedded in IPv6 ones, by the well-known prefix `64:ff9b::/96` (RFC 6052 section 2.1).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The IPv6 address that stands for an IPv4 one. An IPv6 address stands for itself.
pub(in crate::net) fn embed(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(embed_ip(address.ip()), address.port())
}

/// The same without a port.
pub(crate) fn embed_ip(ip: IpAddr) -> IpAddr {
    let IpAddr::V4(v4) = ip else { return ip };
    let [a, b, c, d] = v4.octets();
    let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    IpAddr::V6(Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low))
}

/// The IPv4 address that an IPv6 one stands for.
pub(in crate::net) fn extract(address: SocketAddr) -> Option<SocketAddr> {
    let IpAddr::V6(v6) = address.ip() else {
        return None;
    };
    let [0x64, 0xff9b, 0, 0, 0, 0, high, low] = v6.segments() else {
        return None;
    };
    let v4 = Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low));
    Some(SocketAddr::new(IpAddr::V4(v4), address.port()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(address: &str) -> SocketAddr {
        address.parse().expect("an address")
    }

    #[test]
    fn the_last_32_bits_are_the_ipv4_address() {
        let (v4, v6) = (at("192.0.2.33:7"), at("[64:ff9b::192.0.2.33]:7"));
        assert_eq!(embed(v4), v6);
        assert_eq!(extract(v6), Some(v4));
        assert_eq!(embed(v6), v6);
        for other in [
            "192.0.2.33:7",
            "[64:ff9b:1::c000:221]:7",
            "[::ffff:192.0.2.33]:7",
        ] {
            assert_eq!(extract(at(other)), None, "{other}");
        }
    }
}
