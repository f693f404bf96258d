//! What an endpoint cannot compute again from its recorded inputs: the answers of its transports.
//!
//! A transport (ICE, DTLS, SCTP) draws randomness that no seed of ours controls, and its secrets must not stand in a
//! recording. So a recording does not hold what would be needed to run it again; it holds what it *answered*, call by
//! call. Replayed, everything above the transports (life cycle, signalling, channels, schedule, deadlines) runs for
//! real and gets the same answers in the same order. A call that does not match the recorded one shows the first step
//! at which the code behaves differently from the one that recorded.

use std::collections::VecDeque;
use std::fmt;
use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

/// A recording that is being written or played, or none. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct Tape(Option<Arc<Mutex<Reel>>>);

enum Reel {
    Recording(Recorder),
    Playing(Player),
}

struct Recorder {
    writer: Box<dyn Write + Send>,
    start: Instant,
    payloads: bool,
    /// Whether a write failed; nothing is written after.
    broken: bool,
}

struct Player {
    answers: VecDeque<(String, Value)>,
    start: Instant,
    diverged: Option<Divergence>,
}

/// The first call that was not answered as recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Divergence {
    pub(crate) asked: &'static str,
    pub(crate) recorded: Option<String>,
}

/// A value that can be kept on tape.
pub(crate) trait Taped: Serialize + DeserializeOwned {
    /// The same value with zeros in place of what applications wrote and of keys, unless there is nothing to hide.
    /// `framed` says whether messages have a frame header, which is kept.
    fn redacted(&self, framed: bool) -> Option<Self> {
        let _ = framed;
        None
    }
}

impl Tape {
    pub(crate) fn record(writer: Box<dyn Write + Send>, payloads: bool, start: Instant) -> Self {
        let recorder = Recorder {
            writer,
            start,
            payloads,
            broken: false,
        };
        Self(Some(Arc::new(Mutex::new(Reel::Recording(recorder)))))
    }

    pub(crate) fn play(start: Instant) -> Self {
        let player = Player {
            answers: VecDeque::new(),
            start,
            diverged: None,
        };
        Self(Some(Arc::new(Mutex::new(Reel::Playing(player)))))
    }

    /// Keeps the answer that a transport gave, when recording.
    pub(crate) fn keep<R: Taped>(&self, call: &'static str, answer: &R, framed: bool) {
        let Some(mut reel) = self.reel() else {
            return;
        };
        if let Reel::Recording(recorder) = &mut *reel {
            let redacted = if recorder.payloads {
                None
            } else {
                answer.redacted(framed)
            };
            recorder.line(&Answer {
                call,
                value: redacted.as_ref().unwrap_or(answer),
            });
        }
    }

    /// The recorded answer to a call. `None` when the recording does not have it, which is remembered.
    pub(crate) fn replay<R: Taped>(&self, call: &'static str) -> Option<R> {
        match &mut *self.reel()? {
            Reel::Playing(player) => player.next(call),
            Reel::Recording(_) => None,
        }
    }

    /// Writes a line that is not an answer.
    pub(crate) fn line(&self, line: &impl Serialize) {
        if let Some(mut reel) = self.reel()
            && let Reel::Recording(recorder) = &mut *reel
        {
            recorder.line(line);
        }
    }

    /// Whether lines are wanted, and if so whether with payloads.
    pub(crate) fn is_recording(&self) -> Option<bool> {
        match &*self.reel()? {
            Reel::Recording(recorder) => Some(recorder.payloads),
            Reel::Playing(_) => None,
        }
    }

    pub(crate) fn is_playing(&self) -> bool {
        self.reel()
            .is_some_and(|reel| matches!(&*reel, Reel::Playing(_)))
    }

    /// The time at which the recording begins.
    pub(crate) fn start(&self) -> Option<Instant> {
        Some(match &*self.reel()? {
            Reel::Recording(recorder) => recorder.start,
            Reel::Playing(player) => player.start,
        })
    }

    /// Puts the next recorded answer behind the others.
    pub(crate) fn load(&self, call: String, value: Value) {
        if let Some(mut reel) = self.reel()
            && let Reel::Playing(player) = &mut *reel
        {
            player.answers.push_back((call, value));
        }
    }

    pub(crate) fn divergence(&self) -> Option<Divergence> {
        match &*self.reel()? {
            Reel::Recording(_) => None,
            Reel::Playing(player) => player.diverged.clone(),
        }
    }

    fn reel(&self) -> Option<MutexGuard<'_, Reel>> {
        let reel = self.0.as_ref()?;
        // A reel has no invariant that a panic elsewhere could break.
        Some(reel.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Debug for Tape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tape(..)")
    }
}

impl Recorder {
    fn line(&mut self, line: &impl Serialize) {
        if self.broken {
            return;
        }
        let written = serde_json::to_vec(line)
            .map_err(std::io::Error::from)
            .and_then(|mut text| {
                text.push(b'\n');
                self.writer.write_all(&text)
            });
        if let Err(error) = written {
            tracing::warn!(%error, "the recording ends here: it cannot be written");
            self.broken = true;
        }
    }
}

impl Player {
    fn next<R: DeserializeOwned>(&mut self, asked: &'static str) -> Option<R> {
        if self.diverged.is_some() {
            return None;
        }
        let next = self.answers.pop_front();
        if let Some((call, value)) = next {
            if call == asked
                && let Ok(answer) = serde_json::from_value(value)
            {
                return Some(answer);
            }
            self.diverged = Some(Divergence {
                asked,
                recorded: Some(call),
            });
        } else {
            self.diverged = Some(Divergence {
                asked,
                recorded: None,
            });
        }
        None
    }
}

/// An answer as it stands in a recording.
#[derive(Serialize)]
struct Answer<'a, R> {
    call: &'static str,
    value: &'a R,
}

/// Nanoseconds since the start of a recording: what an `Instant` is on tape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Stamp(u64);

impl Stamp {
    pub(crate) fn new(offset: Duration) -> Self {
        Self(u64::try_from(offset.as_nanos()).unwrap_or(u64::MAX))
    }

    pub(crate) fn offset(self) -> Duration {
        Duration::from_nanos(self.0)
    }
}

impl Taped for Option<Stamp> {}
impl Taped for Option<String> {}
impl Taped for bool {}
impl Taped for usize {}

/// Bytes as text: hexadecimal digits up to the last byte that is not zero, a colon, and the length.
///
/// Zeros are what redaction leaves, and take no room this way.
pub(crate) mod bytes_text {
    use super::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        use std::fmt::Write as _;
        let significant = bytes
            .iter()
            .rposition(|b| *b != 0)
            .map_or(0, |last| last + 1);
        let mut text = String::with_capacity(2 * significant + 8);
        for byte in &bytes[..significant] {
            let _ = write!(text, "{byte:02x}");
        }
        let _ = write!(text, ":{}", bytes.len());
        serializer.serialize_str(&text)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse(&text).ok_or_else(|| {
            serde::de::Error::custom("expected hexadecimal digits, a colon and a length")
        })
    }

    fn parse(text: &str) -> Option<Vec<u8>> {
        let (digits, len) = text.split_once(':')?;
        let len: usize = len.parse().ok().filter(|len| *len <= MAX_LEN)?;
        if !digits.is_ascii() || digits.len() % 2 != 0 || digits.len() / 2 > len {
            return None;
        }
        let mut bytes = Vec::with_capacity(len);
        for at in (0..digits.len()).step_by(2) {
            bytes.push(u8::from_str_radix(digits.get(at..at + 2)?, 16).ok()?);
        }
        bytes.resize(len, 0);
        Some(bytes)
    }

    /// No message or datagram is larger.
    const MAX_LEN: usize = u32::MAX as usize;
}

/// `text` with every ICE password in it replaced by the user name fragment that stands beside it, over and over, to the
/// same length.
///
/// Nothing of the password is left, and another one still looks like another one where ICE restarted. Works on a
/// description and on a description inside a JSON string: either value ends at the first character that is no ice-char
/// (RFC 8839 §5.4).
pub(crate) fn without_passwords(text: &str) -> String {
    let ufrag = text
        .split_once(UFRAG)
        .map_or("", |(_, after)| ice_chars(after));
    let filler = if ufrag.is_empty() { "x" } else { ufrag };
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(PASSWORD) {
        let (before, after) = rest.split_at(at + PASSWORD.len());
        out.push_str(before);
        let end = ice_chars(after).len();
        out.extend(filler.chars().cycle().take(end));
        rest = &after[end..];
    }
    out.push_str(rest);
    out
}

/// The ice-chars at the beginning of `text`.
fn ice_chars(text: &str) -> &str {
    let is_ice_char = |c: char| c.is_ascii_alphanumeric() || c == '+' || c == '/';
    let end = text.find(|c| !is_ice_char(c)).unwrap_or(text.len());
    &text[..end]
}

const UFRAG: &str = "a=ice-ufrag:";
const PASSWORD: &str = "a=ice-pwd:";

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("not poisoned").extend_from_slice(buf);
            Ok(buf.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Blob(#[serde(with = "bytes_text")] Vec<u8>);

    impl Taped for Blob {
        fn redacted(&self, _: bool) -> Option<Self> {
            Some(Self(vec![0; self.0.len()]))
        }
    }

    #[test]
    fn an_answer_is_kept_redacted_and_given_again() {
        let (written, start) = (Shared::default(), Instant::now());
        let tape = Tape::record(Box::new(written.clone()), false, start);
        tape.keep("blob", &Blob(vec![1, 2, 3]), true);
        let text =
            String::from_utf8(written.0.lock().expect("not poisoned").clone()).expect("text");
        assert_eq!(text, "{\"call\":\"blob\",\"value\":\":3\"}\n");

        let player = Tape::play(start);
        player.load("blob".to_owned(), Value::from(":3"));
        assert_eq!(player.replay("blob"), Some(Blob(vec![0, 0, 0])));
        assert_eq!(player.divergence(), None);
    }

    #[test]
    fn the_first_call_that_does_not_match_is_remembered() {
        let tape = Tape::play(Instant::now());
        tape.load("one".to_owned(), Value::from(true));
        assert_eq!(tape.replay::<bool>("two"), None);
        assert_eq!(tape.replay::<bool>("three"), None);
        let expected = Divergence {
            asked: "two",
            recorded: Some("one".to_owned()),
        };
        assert_eq!(tape.divergence(), Some(expected));
    }

    #[test]
    fn passwords_are_replaced_in_plain_and_in_json_text() {
        assert_eq!(
            without_passwords("a=ice-ufrag:ab\r\na=ice-pwd:s3cr/t+\r\na=mid:0"),
            "a=ice-ufrag:ab\r\na=ice-pwd:abababa\r\na=mid:0"
        );
        assert_eq!(
            without_passwords(r#"{"sdp":"a=ice-pwd:abc\r\n"}"#),
            r#"{"sdp":"a=ice-pwd:xxx\r\n"}"#
        );
        assert_eq!(without_passwords("a=ice-pwd:"), "a=ice-pwd:");
    }

    #[test]
    fn bytes_survive_a_round_trip_and_bad_text_is_refused() {
        for bytes in [vec![], vec![0, 0], vec![1, 0, 2, 0, 0]] {
            let text = serde_json::to_string(&Blob(bytes.clone())).expect("has a form");
            assert_eq!(
                serde_json::from_str::<Blob>(&text).expect("reads"),
                Blob(bytes)
            );
        }
        for bad in [
            "\"01\"",
            "\"0:1\"",
            "\"zz:1\"",
            "\"0102:1\"",
            "\":99999999999\"",
        ] {
            assert!(serde_json::from_str::<Blob>(bad).is_err(), "{bad}");
        }
    }
}
