//! What the user types.

/// A line that was typed, understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command {
    Nothing,
    Say(String),
    Peers,
    /// A file for everybody, or for the peer that is named at the end.
    Send(String),
    Accept {
        number: u32,
        directory: Option<String>,
    },
    Refuse(u32),
    Cancel(u32),
    Files,
    Stats,
    Explain(Option<String>),
    Help,
    Quit,
    /// What is wrong with the line.
    Wrong(String),
}

impl Command {
    pub(crate) fn parse(line: &str) -> Self {
        let line = line.trim();
        // A second slash for those who want to say one.
        if let Some(said) = line.strip_prefix("//") {
            return Self::Say(format!("/{said}"));
        }
        let Some(command) = line.strip_prefix('/') else {
            return match line {
                "" => Self::Nothing,
                said => Self::Say(said.to_owned()),
            };
        };
        let (name, rest) = command
            .split_once(char::is_whitespace)
            .map_or((command, ""), |(name, rest)| (name, rest.trim()));
        match (name, rest) {
            ("peers", "") => Self::Peers,
            ("send", file) if !file.is_empty() => Self::Send(file.to_owned()),
            ("accept", rest) => Self::accept(rest),
            ("refuse", rest) => Self::numbered("refuse", rest, Self::Refuse),
            ("cancel", rest) => Self::numbered("cancel", rest, Self::Cancel),
            ("files", "") => Self::Files,
            ("stats", "") => Self::Stats,
            ("explain", "") => Self::Explain(None),
            ("explain", peer) => Self::Explain(Some(peer.to_owned())),
            ("help", "") => Self::Help,
            ("quit" | "exit", "") => Self::Quit,
            ("send", _) => Self::usage("send FILE [PEER]"),
            _ => Self::Wrong(format!("/{name} is not understood; /help shows what is")),
        }
    }

    fn accept(rest: &str) -> Self {
        let (number, directory) = rest
            .split_once(char::is_whitespace)
            .map_or((rest, None), |(number, rest)| {
                (number, Some(rest.trim().to_owned()))
            });
        match number.parse() {
            Ok(number) => Self::Accept { number, directory },
            Err(_) => Self::usage("accept NUMBER [DIR]"),
        }
    }

    fn numbered(name: &str, rest: &str, command: impl FnOnce(u32) -> Self) -> Self {
        match rest.parse() {
            Ok(number) => command(number),
            Err(_) => Self::usage(&format!("{name} NUMBER")),
        }
    }

    fn usage(usage: &str) -> Self {
        Self::Wrong(format!("usage: /{usage}"))
    }
}

pub(crate) const HELP: &str = "\
/peers                  who is here
/send FILE [PEER]       offers a file to everybody, or to one
/accept NUMBER [DIR]    takes a file that is offered
/refuse NUMBER          does not
/cancel NUMBER          stops a file, either way
/files                  all files that are offered or under way
/stats                  path and standby, round trip, rates and queue of every peer
/explain [PEER]         why a peer is not connected
/quit                   leaves, as Ctrl-D does
//TEXT                  says /TEXT";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_understood() {
        let say = |text: &str| Command::Say(text.to_owned());
        let accept = |number, directory: Option<&str>| Command::Accept {
            number,
            directory: directory.map(str::to_owned),
        };
        for (line, command) in [
            ("", Command::Nothing),
            ("  ", Command::Nothing),
            (" hello there ", say("hello there")),
            ("//etc", say("/etc")),
            ("/peers", Command::Peers),
            (
                "/send my file.txt bob",
                Command::Send("my file.txt bob".to_owned()),
            ),
            ("/accept 1", accept(1, None)),
            ("/accept 12  some where ", accept(12, Some("some where"))),
            ("/refuse 3", Command::Refuse(3)),
            ("/cancel 4", Command::Cancel(4)),
            ("/files", Command::Files),
            ("/stats ", Command::Stats),
            ("/explain", Command::Explain(None)),
            ("/explain bob", Command::Explain(Some("bob".to_owned()))),
            ("/help", Command::Help),
            ("/quit", Command::Quit),
            ("/exit", Command::Quit),
        ] {
            assert_eq!(Command::parse(line), command, "{line:?}");
        }
    }

    #[test]
    fn what_is_not_understood_says_why() {
        for (line, why) in [
            ("/send", "usage: /send FILE [PEER]"),
            ("/accept", "usage: /accept NUMBER [DIR]"),
            ("/accept x", "usage: /accept NUMBER [DIR]"),
            ("/refuse -1", "usage: /refuse NUMBER"),
            ("/cancel 99999999999", "usage: /cancel NUMBER"),
            (
                "/peers all",
                "/peers is not understood; /help shows what is",
            ),
            ("/", "/ is not understood; /help shows what is"),
        ] {
            assert_eq!(
                Command::parse(line),
                Command::Wrong(why.to_owned()),
                "{line:?}"
            );
        }
    }
}
