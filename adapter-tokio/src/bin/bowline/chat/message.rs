use std::borrow::Cow;

use bowline::Message;
use serde::{Deserialize, Serialize};

/// What people say to each other, as a text on the channel `reliable`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chat {
    text: String,
}

/// How it is written.
#[derive(Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Frame<'a> {
    Chat { text: Cow<'a, str> },
}

impl Chat {
    /// None when `text` is longer than [`MAX_TEXT`].
    pub(crate) fn new(text: &str) -> Option<Self> {
        let text = text.to_owned();
        (text.len() <= MAX_TEXT).then_some(Self { text })
    }

    /// Reads a message. None when it is something else, or longer than it may be.
    pub(crate) fn parse(message: &Message) -> Option<Self> {
        if message.len() > MAX_ENCODED {
            return None;
        }
        let Frame::Chat { text } = serde_json::from_str(message.as_text()?).ok()?;
        Self::new(&text)
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    pub(crate) fn to_message(&self) -> Message {
        let text = Cow::Borrowed(&*self.text);
        let frame = serde_json::to_string(&Frame::Chat { text });
        Message::text(frame.expect("a text is no key"))
    }
}

/// The longest text, in bytes.
pub(crate) const MAX_TEXT: usize = 4_096;
/// The longest message that is read: every byte of the text escaped, and the rest.
const MAX_ENCODED: usize = 6 * MAX_TEXT + 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_written_as_the_protocol_says_and_read_back() {
        let chat = Chat::new("say \"hi\"\n").expect("short");
        let message = chat.to_message();
        assert_eq!(
            message.as_text(),
            Some(r#"{"type":"chat","text":"say \"hi\"\n"}"#)
        );
        assert_eq!(Chat::parse(&message), Some(chat));
        let more = Message::text(r#"{"text":"hi","type":"chat","colour":"red"}"#);
        assert_eq!(Chat::parse(&more).expect("valid").text(), "hi");
    }

    #[test]
    fn a_text_at_the_bound_is_taken_and_one_byte_more_is_not() {
        let longest = "\u{1}".repeat(MAX_TEXT);
        let chat = Chat::new(&longest).expect("at the bound");
        assert_eq!(Chat::parse(&chat.to_message()), Some(chat));
        let longer = format!("{longest}x");
        assert_eq!(Chat::new(&longer), None);
        let message = serde_json::json!({"type": "chat", "text": longer}).to_string();
        assert_eq!(Chat::parse(&Message::text(message)), None);
    }

    #[test]
    fn what_is_no_chat_is_none() {
        for text in [
            "",
            "hi",
            r#"{"text":"hi"}"#,
            r#"{"type":"room","text":"hi"}"#,
            r#"{"type":"chat"}"#,
        ] {
            assert_eq!(Chat::parse(&Message::text(text)), None, "{text}");
        }
        let binary = Message::binary(r#"{"type":"chat","text":"hi"}"#.as_bytes().to_vec());
        assert_eq!(Chat::parse(&binary), None);
    }
}
