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
pub fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| TABLE[usize::from(crc as u8 ^ byte)] ^ (crc >> 8);
    !bytes.iter().fold(u32::MAX, step)
}

const TABLE: [u32; 256] = table();

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut n = 0;
    while n < 256 {
        let mut crc = n as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 {
                (crc >> 1) ^ 0xedb8_8320
            } else {
                crc >> 1
            };
            bit += 1;
        }
        table[n] = crc;
        n += 1;
    }
    table
}
