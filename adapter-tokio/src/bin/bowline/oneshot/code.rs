//! The code that two people tell each other: 48 random bits as three proquints, words of five letters that can be said
//! aloud (Wilkerson, "A Proposal for Proquints", 2009).

use std::fmt;
use std::str::FromStr;

/// A code. It is the name of the room at the relay, and all that keeps others out of it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Code(String);

impl Code {
    /// A code that nobody can guess.
    pub(crate) fn random() -> Result<Self, getrandom::Error> {
        let mut words = [[0; 2]; WORDS];
        getrandom::fill(words.as_flattened_mut())?;
        let words = words.map(|word| proquint(u16::from_be_bytes(word)));
        Ok(Self(words.join("-")))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Shows that there is one, for logs.
impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Code(..)")
    }
}

impl FromStr for Code {
    type Err = String;

    /// Reads a code as people write it: capitals, and spaces in place of hyphens, are no mistakes.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let lower = text.to_ascii_lowercase();
        let words: Vec<_> = lower
            .split(|c: char| c == '-' || c.is_whitespace())
            .filter(|word| !word.is_empty())
            .collect();
        if words.len() != WORDS {
            let count = words.len();
            return Err(format!(
                "a code has three words, as lusab-babad-gutih, and not {count}"
            ));
        }
        match words.iter().find(|word| !is_proquint(word)) {
            None => Ok(Self(words.join("-"))),
            Some(word) => {
                let word = crate::text::excerpt(word, 20);
                Err(format!(
                    "\"{word}\" is no word of a code, as lusab-babad-gutih"
                ))
            }
        }
    }
}

/// A word for 16 bits: consonant, vowel, consonant, vowel, consonant, of 4, 2, 4, 2 and 4 bits.
fn proquint(bits: u16) -> String {
    let pick = |letters: &[u8], shift: u16| {
        let mask = if letters.len() == 4 { 3 } else { 15 };
        char::from(letters[usize::from(bits >> shift & mask)])
    };
    [
        pick(CONSONANTS, 12),
        pick(VOWELS, 10),
        pick(CONSONANTS, 6),
        pick(VOWELS, 4),
        pick(CONSONANTS, 0),
    ]
    .iter()
    .collect()
}

fn is_proquint(word: &str) -> bool {
    let due = [CONSONANTS, VOWELS, CONSONANTS, VOWELS, CONSONANTS];
    word.len() == due.len()
        && word
            .bytes()
            .zip(due)
            .all(|(letter, set)| set.contains(&letter))
}

const WORDS: usize = 3;
const CONSONANTS: &[u8] = b"bdfghjklmnprstvz";
const VOWELS: &[u8] = b"aiou";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_are_those_of_the_proposal() {
        // 127.0.0.1, and the ends of the range.
        assert_eq!(proquint(0x7f00), "lusab");
        assert_eq!(proquint(0x0001), "babad");
        assert_eq!(
            (proquint(0), proquint(u16::MAX)),
            ("babab".into(), "zuzuz".into())
        );
    }

    #[test]
    fn a_random_code_is_a_valid_one_and_another_each_time() {
        let codes = [(); 2].map(|()| Code::random().expect("there is randomness"));
        assert_ne!(codes[0], codes[1]);
        for code in &codes {
            assert_eq!(code.as_str().parse().as_ref(), Ok(code));
            assert_eq!(format!("{code:?}"), "Code(..)");
        }
    }

    #[test]
    fn a_code_is_read_as_people_write_it() {
        for text in [
            "lusab-babad-gutih",
            " Lusab BABAD  gutih\n",
            "lusab--babad-gutih-",
        ] {
            let code: Code = text.parse().expect("valid");
            assert_eq!(code.as_str(), "lusab-babad-gutih");
        }
    }

    #[test]
    fn a_malformed_code_is_refused_with_a_reason() {
        let why = |text: &str| text.parse::<Code>().expect_err("refused");
        let number = "a code has three words, as lusab-babad-gutih, and not";
        assert_eq!(why(""), format!("{number} 0"));
        assert_eq!(why("lusab-babad"), format!("{number} 2"));
        assert_eq!(why("lusab-babad-gutih-lusab"), format!("{number} 4"));
        for word in [
            "lusa", "lusabb", "lusax", "lusab1", "ululu", "lüsab", "../..",
        ] {
            let why = why(&format!("{word}-babad-gutih"));
            assert_eq!(
                why,
                format!("\"{word}\" is no word of a code, as lusab-babad-gutih")
            );
        }
        assert!(why("\x1b[2J-babad-gutih").starts_with("\"\\u{1b}[2j\" is"));
    }
}
