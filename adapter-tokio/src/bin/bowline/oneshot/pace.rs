use std::str::FromStr;

/// Bytes in each second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pace(u64);

impl Pace {
    pub(crate) fn bytes(self) -> u64 {
        self.0
    }
}

impl FromStr for Pace {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (digits, unit) = match text.to_ascii_lowercase().as_bytes() {
            [.., b'k'] => (&text[..text.len() - 1], 1_000),
            [.., b'm'] => (&text[..text.len() - 1], 1_000_000),
            [.., b'g'] => (&text[..text.len() - 1], 1_000_000_000),
            _ => (text, 1),
        };
        let number: Option<u64> = digits.parse().ok();
        match number.and_then(|number| number.checked_mul(unit)) {
            Some(bytes) if bytes > 0 => Ok(Self(bytes)),
            _ => Err("bytes in each second, as 500k, 2M or 1G"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pace_is_a_number_with_a_unit() {
        for (text, bytes) in [
            ("1", 1),
            ("500k", 500_000),
            ("2M", 2_000_000),
            ("1g", 1_000_000_000),
        ] {
            assert_eq!(text.parse(), Ok(Pace(bytes)));
        }
        for bad in ["", "0", "k", "-1", "1.5M", "1 k", "20000000000G", "ä"] {
            assert!(bad.parse::<Pace>().is_err(), "{bad}");
        }
    }
}
