//! `bowline chat`, with lines as other programs would write them.

use bowline::{ChannelKind, Config, Identity, PeerId};
use bowline_tokio::Endpoint;
use bowline_tokio::signalling::room;

use crate::common::{Running, Stage, content, soon};

#[tokio::test]
async fn what_one_says_everybody_else_reads() {
    let stage = Stage::new().await;
    let mut alice = enter(&stage, "alice").await;
    let mut bob = enter(&stage, "bob").await;
    let mut carol = enter(&stage, "carol").await;
    alice.all(&["bob is connected", "carol is connected"]).await;
    bob.all(&["alice is connected", "carol is connected"]).await;
    carol.all(&["alice is connected", "bob is connected"]).await;
    alice.say("hello, Ümlaut 👋").await;
    bob.line("<alice> hello, Ümlaut 👋").await;
    carol.line("<alice> hello, Ümlaut 👋").await;
    carol.say("//etc").await;
    alice.line("<carol> /etc").await;
    bob.line("<carol> /etc").await;

    bob.say("/quit").await;
    bob.success().await;
    for other in [&mut alice, &mut carol] {
        other.line("* bob has left").await;
        other.line("* bob is not here any more").await;
    }
    // The end of the input is another way to leave.
    alice.hang_up();
    alice.success().await;
    carol.line("* alice has left").await;
}

/// People who are keys are called what they say, and told apart by their keys.
#[tokio::test]
async fn people_who_are_keys_meet_keys_only_and_keep_theirs() {
    let stage = Stage::new().await;
    let out = stage.out_text();
    let enter = |name: &'static str, file: &str| {
        let file = format!("{out}/{file}");
        stage.start(&["chat", "kitchen", "--name", name, "--identity", &file])
    };
    let mut alice = enter("alice", "alice.jwk");
    let own = alice.line("in the room kitchen as alice#").await;
    let mut other = enter("alice", "other.jwk");
    let mut bob = stage.start(&["chat", "kitchen", "--name", "bob"]);
    alice
        .all(&[
            "bob is here without a key, and cannot be met",
            " is called alice#",
        ])
        .await;
    bob.line("is here with a key, and meets keys only (--identity)")
        .await;
    let mut seen = alice.seen.iter();
    let called = seen.find(|line| line.contains(" is called alice#"));
    let called = called.and_then(|line| line.rsplit(' ').next());
    let called = called.expect("a name").to_owned();
    assert!(!own.contains(&called), "it is somebody else: {called}");
    other.line("is called alice#").await;
    other.say("hello").await;
    alice.line(&format!("<{called}> hello")).await;
    let file = stage.write("a.bin", &content(1_000));
    alice.say(&format!("/send {file} {called}")).await;
    other.line("offers file 1: a.bin").await;
    alice.say("/peers").await;
    alice.line(" (you)").await;
    let listed = alice.line(&format!("{called} ")).await;
    let key = listed.split(' ').nth(1).expect("its key");
    assert!(
        key.parse::<PeerId>()
            .is_ok_and(|key| key.public_key().is_some())
    );

    alice.say("/quit").await;
    alice.success().await;
    let mut alice = enter("alice", "alice.jwk");
    let again = alice.line("in the room kitchen as alice#").await;
    assert_eq!(again, own);
}

#[tokio::test]
async fn a_peer_cannot_command_the_terminal() {
    let stage = Stage::new().await;
    let mut bob = enter(&stage, "bob").await;
    let id = PeerId::new("mallory").expect("valid");
    let (signalling, _presence) = room(&stage.relay.url(), "kitchen", id).expect("valid");
    let config = Config::builder().loopback(true).ipv6(false).build();
    let mallory = Endpoint::builder(Identity::without_key(id))
        .config(config.expect("valid"))
        .bind_address("127.0.0.1:0".parse().expect("valid"))
        .signalling(signalling)
        .bind()
        .expect("binds");
    let incoming = soon("bob", mallory.accept()).await.expect("open");
    let to_bob = soon("the connection", incoming.accept())
        .await
        .expect("comes up");
    let said =
        serde_json::json!({"type": "chat", "text": "\x1b[2J\n* alice has left\u{202e}\u{9b}31m"});
    to_bob
        .send(ChannelKind::Reliable, said.to_string())
        .await
        .expect("queued");
    let line = bob.line("<mallory> ").await;
    assert_eq!(
        line,
        r"<mallory> \u{1b}[2J\n* alice has left\u{202e}\u{9b}31m"
    );
    let offer =
        serde_json::json!({"type": "file-offer", "transfer": 1, "name": "\x1b]0;x\x07", "size": 1});
    to_bob
        .send(ChannelKind::Control, offer.to_string())
        .await
        .expect("queued");
    let line = bob.line("offered").await;
    assert_eq!(
        line,
        r#"* mallory offered "\u{1b}]0;x\u{7}", which is refused: it is no name for a file"#
    );
}

#[tokio::test]
async fn two_files_go_at_once_and_each_is_asked_about() {
    let stage = Stage::new().await;
    let (mut alice, mut bob) = couple(&stage, &[]).await;
    let (one, two) = (content(3_000_000), content(2_000_000));
    for (name, data) in [("one.bin", &one), ("two with spaces.bin", &two)] {
        alice
            .say(&format!("/send {} bob", stage.write(name, data)))
            .await;
    }
    bob.line("alice offers file 1: one.bin, 3.00 MB (/accept 1 or /refuse 1)")
        .await;
    bob.line("alice offers file 2: two with spaces.bin, 2.00 MB")
        .await;
    let out = stage.out_text();
    bob.say(&format!("/accept 2 {out}")).await;
    bob.say(&format!("/accept 1 {out}")).await;
    let mut done = [
        bob.line(" from alice is in ").await,
        bob.line(" from alice is in ").await,
    ];
    done.sort();
    assert!(
        done[0].starts_with(&format!(
            "* file 1 from alice is in {out}/one.bin, verified"
        )),
        "{done:?}"
    );
    alice.line("* bob has file ").await;
    alice.line("* bob has file ").await;
    assert_eq!(stage.received("one.bin"), one);
    assert_eq!(stage.received("two with spaces.bin"), two);
    assert_eq!(stage.names(), ["one.bin", "two with spaces.bin"]);
}

#[tokio::test]
async fn files_go_both_ways_unasked_where_the_user_said_so() {
    let stage = Stage::new().await;
    let out = stage.out_text();
    let (mut alice, mut bob) = couple(&stage, &["--accept-files", &out]).await;
    let data = content(1_000_000);
    alice
        .say(&format!("/send {}", stage.write("a.bin", &data)))
        .await;
    bob.say(&format!("/send {}", stage.write("b.bin", &data)))
        .await;
    alice.line("is in ").await;
    bob.line("is in ").await;
    assert_eq!(
        (stage.received("a.bin"), stage.received("b.bin")),
        (data.clone(), data)
    );
}

#[tokio::test]
async fn a_file_can_be_refused_and_taken_back() {
    let stage = Stage::new().await;
    let (mut alice, mut bob) = couple(&stage, &[]).await;
    let file = stage.write("a.bin", &content(1_000));
    alice.say(&format!("/send {file}")).await;
    bob.line("alice offers file 1").await;
    bob.say("/refuse 1").await;
    alice
        .line("* file 1, a.bin, with bob: the receiver declined it")
        .await;
    alice.say(&format!("/send {file}")).await;
    bob.line("alice offers file 2").await;
    alice.say("/files").await;
    alice.line("2  a.bin to bob: offered, 1.00 kB").await;
    alice.say("/cancel 2").await;
    bob.line("* file 2, a.bin, with alice: the sender cancelled it")
        .await;
    bob.say("/accept 2").await;
    bob.line("* no file 2 is offered").await;
    alice.say("/send /nowhere/file").await;
    alice
        .line("* /nowhere/file cannot be sent: No such file")
        .await;
}

#[tokio::test]
async fn who_is_killed_and_comes_again_is_connected_again() {
    let stage = Stage::new().await;
    let (mut alice, mut bob) = couple(&stage, &[]).await;
    // The one that connects lives, then the one that accepts.
    bob.kill().await;
    bob = enter(&stage, "bob").await;
    bob.line("alice is connected").await;
    alice.line("bob is connected").await;
    alice.say("again").await;
    bob.line("<alice> again").await;

    alice.kill().await;
    alice = enter(&stage, "alice").await;
    alice.line("bob is connected").await;
    bob.line("alice is connected").await;
    bob.say("and again").await;
    alice.line("<bob> and again").await;
}

#[tokio::test]
async fn a_file_that_was_interrupted_goes_on_when_it_is_sent_again() {
    let stage = Stage::new().await;
    let data = content(2_000_000);
    std::fs::write(stage.out().join("a.bin.bowline-part"), &data[..1_500_000]).expect("writes");
    let out = stage.out_text();
    let (mut alice, mut bob) = couple(&stage, &["--accept-files", &out]).await;
    alice
        .say(&format!("/send {}", stage.write("a.bin", &data)))
        .await;
    bob.line("* file 1, a.bin, goes on at 1.50 MB").await;
    bob.line("* file 1 from alice is in ").await;
    alice.line("* file 1, a.bin, goes on at 1.50 MB").await;
    assert_eq!(stage.received("a.bin"), data);
}

#[tokio::test]
async fn figures_and_explanations_are_there_for_the_asking() {
    let stage = Stage::new().await;
    let (mut alice, mut bob) = couple(&stage, &[]).await;
    alice.say("/peers").await;
    alice.line("alice (you)").await;
    alice.line("bob connected").await;
    alice.say("/stats").await;
    alice.line("peer  state      path").await;
    let row = alice.line("bob   connected  127.0.0.1:").await;
    assert!(row.contains(" - 127.0.0.1:"), "{row}");
    alice.say("/explain").await;
    alice.line("bob: connected").await;
    alice.say("/explain nobody").await;
    alice.line("* there is no such peer").await;
    alice.say("/help").await;
    alice.line("/send FILE [PEER]").await;
    alice.say("/nonsense").await;
    alice
        .line("* /nonsense is not understood; /help shows what is")
        .await;
    alice.say(&"x".repeat(4_097)).await;
    alice.line("* that is too long: 4097 bytes of 4096").await;
    let longest = "x".repeat(4_096);
    alice.say(&longest).await;
    bob.line(&format!("<alice> {longest}")).await;
}

#[tokio::test]
async fn a_wrong_room_or_name_ends_with_two() {
    let stage = Stage::new().await;
    for arguments in [
        &["chat", "a/b"][..],
        &["chat", "a", "--name", "a b"],
        &["chat"],
    ] {
        let (code, lines, errors) = stage.start(arguments).end().await;
        assert_eq!(
            (code, lines.len(), errors.is_empty()),
            (Some(2), 0, false),
            "{arguments:?}"
        );
    }
    let errors = stage
        .start(&["chat", "a", "--accept-files", "/nowhere"])
        .failure()
        .await;
    assert_eq!(errors, "bowline: /nowhere is no directory\n");
}

async fn enter(stage: &Stage, name: &str) -> Running {
    let mut running = stage.start(&["chat", "kitchen", "--name", name]);
    // The first of all lines, so that none is passed over.
    running.line("* in the room kitchen as ").await;
    running
}

/// Alice and bob, connected; `more` is for both.
async fn couple(stage: &Stage, more: &[&str]) -> (Running, Running) {
    let start = |name| stage.start(&[&["chat", "kitchen", "--name", name], more].concat());
    let (mut alice, mut bob) = (start("alice"), start("bob"));
    alice.line("bob is connected").await;
    bob.line("alice is connected").await;
    (alice, bob)
}
