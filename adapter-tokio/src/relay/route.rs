use bowline::PeerId;
use serde::Deserialize;

use crate::signalling::RoomName;

/// What the relay reads of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(super) struct Route {
    pub(super) from: PeerId,
    pub(super) to: PeerId,
}

impl Route {
    /// Reads the members `from` and `to` of a JSON object; none when it is anything else, or has one of them twice.
    pub(super) fn of(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }
}

/// Who wants to be where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Names {
    pub(super) peer: PeerId,
    pub(super) room: Option<RoomName>,
}

impl Names {
    /// Reads them out of the query of a request: `peer=ID` once, `room=NAME` at most once.
    pub(super) fn of(query: Option<&str>) -> Option<Self> {
        let query = query?;
        let peer = PeerId::new(once(query, "peer").ok()??).ok()?;
        let room = once(query, "room").ok()?.map(RoomName::new);
        Some(Self {
            peer,
            room: room.transpose().ok()?,
        })
    }
}

/// The access token in the query of a request: `token=TOKEN` once.
pub(super) fn token(query: Option<&str>) -> Option<&str> {
    once(query?, "token").ok()?
}

/// The value of `key` in a query, if it is there. An error when it is there twice.
fn once<'a>(query: &'a str, key: &str) -> Result<Option<&'a str>, ()> {
    let value = |pair: &'a str| pair.strip_prefix(key)?.strip_prefix('=');
    let mut values = query.split('&').filter_map(value);
    let first = values.next();
    if values.next().is_some() {
        Err(())
    } else {
        Ok(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_is_read_and_anything_else_refused() {
        let route = Route::of(r#"{"v":1,"from":"a","x":{"to":"z"},"to":"b"}"#).expect("valid");
        assert_eq!((route.from.as_str(), route.to.as_str()), ("a", "b"));
        let deep = "[".repeat(60_000);
        for bad in [
            "",
            "hello",
            "[]",
            "{}",
            r#"{"from":"a"}"#,
            r#"{"from":"a","to":7}"#,
            r#"{"from":"a","to":""}"#,
            r#"{"from":"a","to":"b","to":"c"}"#,
            r#"{"from":"a","to":"b"} trailing"#,
            deep.as_str(),
        ] {
            assert_eq!(Route::of(bad), None);
        }
    }

    #[test]
    fn names_come_from_the_query_once() {
        let names = |q| {
            let names = Names::of(q)?;
            let room = names.room.map_or_else(String::new, |room| room.to_string());
            Some(format!("{}@{room}", names.peer))
        };
        assert_eq!(names(Some("peer=a")).as_deref(), Some("a@"));
        assert_eq!(names(Some("x=1&peer=a-b")).as_deref(), Some("a-b@"));
        assert_eq!(names(Some("room=r&peer=a")).as_deref(), Some("a@r"));
        for bad in [
            None,
            Some(""),
            Some("peer="),
            Some("peer=a b"),
            Some("peer=a&peer=b"),
            Some("Peer=a"),
            Some("room=r"),
            Some("peer=a&room="),
            Some("peer=a&room=r%20s"),
            Some("peer=a&room=r&room=s"),
        ] {
            assert_eq!(names(bad), None, "{bad:?}");
        }
    }
}
