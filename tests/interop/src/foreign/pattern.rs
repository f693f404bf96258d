//! Messages that both sides can make and check without sending them to each other: a pattern, numbered.

/// The message of `size` bytes with this number.
///
/// # Panics
///
/// When `size` is less than 4.
#[must_use]
#[allow(
    clippy::cast_possible_truncation,
    reason = "the pattern is what is left"
)]
pub fn numbered(size: usize, number: u32) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..size).map(|i| (i * 31 + (i >> 8) * 17) as u8).collect();
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    bytes
}

/// The CRC-32 of `bytes` (ISO-HDLC, as in zip).
#[must_use]
#[allow(clippy::cast_possible_truncation, reason = "the low byte is meant")]
pub fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| TABLE[usize::from(crc as u8 ^ byte)] ^ (crc >> 8);
    !bytes.iter().fold(u32::MAX, step)
}

const TABLE: [u32; 256] = table();

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut n = 0;
    while n < 256_u32 {
        let mut crc = n;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 {
                (crc >> 1) ^ 0xedb8_8320
            } else {
                crc >> 1
            };
            bit += 1;
        }
        table[n as usize] = crc;
        n += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_one_that_everybody_means() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn a_message_carries_its_number_and_differs_from_its_neighbour_only_there() {
        let (one, two) = (numbered(600, 1), numbered(600, 2));
        assert_eq!(one[..4], [0, 0, 0, 1]);
        assert_eq!(one[4..], two[4..]);
        assert_ne!(crc32(&one), crc32(&two));
    }
}
