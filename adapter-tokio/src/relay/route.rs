use bowline::PeerId;
use serde::Deserialize;

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

/// Reads the name out of the query of a request: `peer=ID`, once.
pub(super) fn peer_of(query: Option<&str>) -> Option<PeerId> {
    let mut names = query?
        .split('&')
        .filter_map(|pair| pair.strip_prefix("peer="));
    let name = names.next()?;
    if names.next().is_some() {
        None
    } else {
        PeerId::new(name).ok()
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
    fn a_name_comes_from_the_query_once() {
        let name = |q| peer_of(q).map(|id| id.to_string());
        assert_eq!(name(Some("peer=a")).as_deref(), Some("a"));
        assert_eq!(name(Some("x=1&peer=a-b")).as_deref(), Some("a-b"));
        for bad in [
            None,
            Some(""),
            Some("peer="),
            Some("peer=a b"),
            Some("peer=a&peer=b"),
            Some("Peer=a"),
        ] {
            assert_eq!(name(bad), None, "{bad:?}");
        }
    }
}
