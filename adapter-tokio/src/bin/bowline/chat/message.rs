use std::borrow::Cow;

use bowline::{Message, PeerId};
use serde::{Deserialize, Serialize};

/// What people say to each other, as a text on the channel `reliable`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Chat {
    /// A text, of at most [`MAX_TEXT`] bytes.
    Text(String),
    /// What the sender is called, where people are keys.
    Name(PeerId),
}

/// How it is written.
#[derive(Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Frame<'a> {
    Chat { text: Cow<'a, str> },
    Name { name: PeerId },
}

impl Chat {
    /// None when `text` is longer than [`MAX_TEXT`].
    pub(crate) fn text(text: &str) -> Option<Self> {
        (text.len() <= MAX_TEXT).then(|| Self::Text(text.to_owned()))
    }

    /// Reads a message. None when it is something else, or longer than it may be.
    pub(crate) fn parse(message: &Message) -> Option<Self> {
        if message.len() > MAX_ENCODED {
            return None;
        }
        match serde_json::from_str(message.as_text()?).ok()? {
            Frame::Chat { text } => Self::text(&text),
            Frame::Name { name } => Some(Self::Name(name)),
        }
    }

    pub(crate) fn to_message(&self) -> Message {
        let frame = match self {
            Self::Text(text) => Frame::Chat { text: text.into() },
            Self::Name(name) => Frame::Name { name: *name },
        };
        let frame = serde_json::to_string(&frame);
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
        let chat = Chat::text("say \"hi\"\n").expect("short");
        let message = chat.to_message();
        assert_eq!(
            message.as_text(),
            Some(r#"{"type":"chat","text":"say \"hi\"\n"}"#)
        );
        assert_eq!(Chat::parse(&message), Some(chat));
        let more = Message::text(r#"{"text":"hi","type":"chat","colour":"red"}"#);
        assert_eq!(Chat::parse(&more), Chat::text("hi"));
    }

    #[test]
    fn a_name_is_written_as_the_protocol_says_and_read_back() {
        let name = Chat::Name(PeerId::new("ann").expect("valid"));
        let message = name.to_message();
        assert_eq!(message.as_text(), Some(r#"{"type":"name","name":"ann"}"#));
        assert_eq!(Chat::parse(&message), Some(name));
        for bad in ["", "a b", "a\n", "a#b"] {
            let message = serde_json::json!({"type": "name", "name": bad}).to_string();
            assert_eq!(Chat::parse(&Message::text(message)), None, "{bad:?}");
        }
    }

    #[test]
    fn a_text_at_the_bound_is_taken_and_one_byte_more_is_not() {
        let longest = "\u{1}".repeat(MAX_TEXT);
        let chat = Chat::text(&longest).expect("at the bound");
        assert_eq!(Chat::parse(&chat.to_message()), Some(chat));
        let longer = format!("{longest}x");
        assert_eq!(Chat::text(&longer), None);
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
            r#"{"type":"name"}"#,
        ] {
            assert_eq!(Chat::parse(&Message::text(text)), None, "{text}");
        }
        let binary = Message::binary(r#"{"type":"chat","text":"hi"}"#.as_bytes().to_vec());
        assert_eq!(Chat::parse(&binary), None);
    }
}
