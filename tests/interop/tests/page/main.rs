//! The page of `bowline serve` in Chromium, driven as a person would: `cargo test -p bowline-interop --test page`.
//!
//! It needs `chromium` and `chromium-driver` of Debian, and nothing but the loopback interface.

mod driver;
mod member;
mod stage;
mod terminal;
mod view;

use std::fs;
use std::future::Future;
use std::time::Duration;

use bowline::{Cause, ChannelKind, Identity, PeerState, Rollover, UnixTime};
use bowline_tokio::Connection;
use member::{Member, end_of, hear, say};
use stage::Stage;
use terminal::Terminal;
use view::View;

#[tokio::test]
async fn a_page_and_two_terminals_share_messages_and_files() {
    let stage = Stage::set().await;
    let folders = [(); 3].map(|()| tempfile::tempdir().expect("a directory"));
    let [alices, walters, own] = folders.each_ref().map(|folder| folder.path());
    let page = stage.open("carol").await;
    let relay = stage.server.url();
    let mut alice = Terminal::enter(&relay, "alice", alices);
    let mut walter = Terminal::enter(&relay, "walter", walters);
    for (terminal, name) in [(&alice, "alice"), (&walter, "walter")] {
        page.until_peer(name, "connected").await;
        terminal.until("carol is connected").await;
    }
    alice.until("walter is connected").await;

    alice.say("Hello from a terminal. Who is where?");
    page.until_said("Hello from a terminal. Who is where?")
        .await;
    walter
        .until("<alice> Hello from a terminal. Who is where?")
        .await;
    page.say("In a browser, without an account or a plug-in.")
        .await;
    for terminal in [&alice, &walter] {
        terminal
            .until("<carol> In a browser, without an account or a plug-in.")
            .await;
    }
    walter.say("I am on another terminal. Send us the photos!");
    page.until_said("I am on another terminal. Send us the photos!")
        .await;

    let photos = noise(20_000_000);
    fs::write(own.join("photos.zip"), &photos).expect("written");
    page.send_file_to_all(&own.join("photos.zip")).await;
    for (terminal, folder) in [(&alice, alices), (&walter, walters)] {
        terminal.until("from carol is in ").await;
        assert!(fs::read(folder.join("photos.zip")).expect("there") == photos);
    }
    page.until_transfer("photos.zip", "checksum verified").await;

    let map = noise(20_000_001);
    fs::write(own.join("map of the coast.bin"), &map).expect("written");
    alice.say(&format!(
        "/send {} carol",
        own.join("map of the coast.bin").display()
    ));
    page.press("map of the coast.bin", "Accept").await;
    page.until_transfer("map of the coast.bin", "checksum verified")
        .await;
    alice.until("carol has file").await;
    page.press("map of the coast.bin", "Save").await;
    assert!(stage.saved("map of the coast.bin").await == map);
    keep_picture(&page).await;

    walter.say("/quit");
    page.until_peer("walter", "").await;
}

/// Keeps what the page looks like, where the environment says so.
async fn keep_picture(page: &View) {
    if let Some(path) = std::env::var_os("BOWLINE_SCREENSHOT") {
        // Cargo runs tests in the folder of their package; people mean the one they are in, mostly the root.
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
        let picture = page.picture().await;
        fs::write(std::path::Path::new(root).join(path), picture).expect("written");
    }
}

#[tokio::test]
async fn two_pages_talk_and_exchange_a_file() {
    let stage = Stage::set().await;
    let (ann, bob) = (stage.open("ann").await, stage.open("bob").await);
    ann.until_peer("bob", "connected").await;
    bob.until_peer("ann", "connected").await;
    ann.say("hello <b>bob</b>").await;
    bob.until_said("hello <b>bob</b>").await;
    bob.say("hello ann").await;
    ann.until_said("hello ann").await;

    let (path, content) = (stage.downloads.path().join("offered.bin"), noise(3_000_001));
    fs::write(&path, &content).expect("written");
    bob.send_file("ann", &path).await;
    ann.press("offered.bin", "Accept").await;
    bob.until_transfer("offered.bin", "checksum verified").await;
    fs::remove_file(&path).expect("its name is free");
    ann.press("offered.bin", "Save").await;
    assert!(stage.saved("offered.bin").await == content);
}

#[tokio::test]
async fn a_page_and_bowline_peers_connect_whoever_offers() {
    let stage = Stage::set().await;
    let page = stage.open("page").await;
    for name in ["alice", "zoe"] {
        let mut member = Member::join(&stage.server.url(), name);
        let connection = member.meet("page").await;
        page.until_peer(name, "connected").await;
        say(&connection, "<img src=x onerror=alert(1)>").await;
        page.until_said("<img src=x onerror=alert(1)>").await;
        assert_eq!(page.count("#log img").await, 0, "a text is a text");
        page.say("hello from the page").await;
        assert_eq!(hear(&connection).await, "hello from the page");
        let details = page.peer_details(name).await;
        assert!(
            details.contains("bowline") && details.contains("host"),
            "{details}"
        );
        member.endpoint.close().await;
        page.until_peer(name, "").await;
    }
}

/// People who are keys meet each other, wherever they are, and nobody who is none.
#[tokio::test]
async fn pages_and_terminals_that_are_keys_meet_each_other_and_no_names() {
    let stage = Stage::set().await;
    let folders = [(); 2].map(|()| tempfile::tempdir().expect("a directory"));
    let [tims, nobodys] = folders.each_ref().map(|folder| folder.path());
    let relay = stage.server.url();
    let (ann, eve) = (
        stage.open_sealed("ann").await,
        stage.open_sealed("eve").await,
    );
    let mut tim = Terminal::enter_sealed(&relay, "tim", tims);
    tim.until("is called ann#").await;
    tim.until("is called eve#").await;
    for (view, name) in [(&ann, "tim"), (&ann, "eve"), (&eve, "ann"), (&eve, "tim")] {
        view.until_peer(name, "connected").await;
    }
    tim.say("sealed, from a terminal");
    for view in [&ann, &eve] {
        view.until_said("sealed, from a terminal").await;
    }
    ann.say("sealed, from a page").await;
    eve.until_said("sealed, from a page").await;
    tim.until("> sealed, from a page").await;

    let mut plain = Terminal::enter(&relay, "nobody", nobodys);
    plain.until("is here with a key, and meets keys only").await;
    tim.until("nobody is here without a key, and cannot be met")
        .await;
    ann.until_said("nobody is here without a key, and cannot be met")
        .await;
    // A page that is loaded again has the key that it had.
    let who = "return document.querySelector('#where strong')?.textContent ?? '';";
    let before = ann.text(who, "").await;
    assert!(before.starts_with("ann#"), "{before}");
    ann.reload().await;
    until("the same key", async || ann.text(who, "").await == before).await;
    plain.say("/quit");
}

/// A page with a key of its own, as another site would write it, and an endpoint with one: who offers, the keys decide.
#[tokio::test]
async fn a_page_that_is_a_key_and_a_bowline_peer_talk_over_sealed_signalling() {
    let stage = Stage::set().await;
    let page = stage.open("host").await;
    for private_key in [[1; 32], [2; 32], [3; 32]] {
        let id = page.text(&ECHO.replace("WANTED", "true"), "sealed").await;
        let identity = Identity::from_private_key(private_key);
        let mut member = Member::enter(&stage.server.url(), "sealed", identity);
        let connection = member.meet(&id).await;
        let sent = connection.send(ChannelKind::Reliable, "hello").await;
        sent.expect("the connection is open");
        let back = soon("the echo", connection.recv_from(ChannelKind::Reliable)).await;
        assert_eq!(&back.expect("the connection is open").data[..], b"hello");
        let kept = page
            .text("return JSON.stringify(window.refused);", "")
            .await;
        assert_eq!(kept, "[]", "signals that were refused");
        page.text("window.room.close(); return '';", "").await;
        let end = end_of(&connection).await;
        assert_eq!(end, (PeerState::Closed, Some(Cause::RemoteClose)));
    }
}

/// Enters a room with a new key that is WANTED, answers each message with the same, and gives the id.
const ECHO: &str = "return import('/bowline.js').then(async ({ Room, Identity }) => {
    const isWanted = (id) => WANTED;
    let identity = await Identity.generate();
    while (!isWanted(identity.id)) identity = await Identity.generate();
    const room = new Room({ url: `ws://${location.host}/`, room: arguments[0], identity });
    window.room = room;
    window.refused = [];
    window.rollovers = [];
    room.addEventListener('rollover', ({ detail }) => window.rollovers.push(`${detail.old} ${detail.new}`));
    room.addEventListener('refused', ({ detail }) => window.refused.push(detail.reason));
    room.addEventListener('message', ({ detail }) => detail.peer.send('reliable', detail.data));
    return identity.id;
});";

/// The endpoint of an old key, and the one of the new key that takes its place.
#[tokio::test]
async fn a_page_learns_of_a_new_key_from_both() {
    let stage = Stage::set().await;
    let page = stage.open("host").await;
    // It leaves it to the new key to offer: what the page offers says nothing of keys.
    let id = page
        .text(&ECHO.replace("WANTED", "id > 'n'"), "sealed")
        .await;
    let identity = |n: u8| Identity::from_private_key([n; 32]);
    let is_low = |n: &u8| identity(*n).id().as_str() < "n";
    let low = (5..).find(is_low).expect("most are");
    let hour = UnixTime::from_duration(now_and(Duration::from_secs(3_600)));
    let rollover = Rollover::new(&identity(4), &identity(low), hour).expect("two keys");
    let [old, new] = [rollover.old_id(), rollover.new_id()];
    let said = "return window.rollovers.join();";
    let mut before = Member::enter(&stage.server.url(), "sealed", identity(4));
    let connection = before.meet(&id).await;
    before
        .endpoint
        .announce_rollover(rollover.clone())
        .expect("its key");
    let end = end_of(&connection).await;
    assert_eq!(end, (PeerState::Closed, Some(Cause::LocalClose)));
    let once = format!("{old} {new}");
    until("the old key says so", async || {
        page.text(said, "").await.starts_with(&once)
    })
    .await;
    page.text("window.rollovers = []; return '';", "").await;
    let mut after = Member::enter(&stage.server.url(), "sealed", identity(low));
    after.endpoint.announce_rollover(rollover).expect("its key");
    after.meet(&id).await;
    until("the new key says so", async || {
        page.text(said, "").await.starts_with(&once)
    })
    .await;
}

/// The time that is `later` from now, since 1970.
fn now_and(later: Duration) -> Duration {
    let now = std::time::SystemTime::now();
    let now = now.duration_since(std::time::UNIX_EPOCH).expect("after it");
    now + later
}

#[tokio::test]
async fn a_page_and_bowline_peers_survive_the_loss_of_the_relay() {
    let mut stage = Stage::set().await;
    let page = stage.open("page").await;
    let relay = stage.server.url();
    let (mut alice, mut zoe) = (Member::join(&relay, "alice"), Member::join(&relay, "zoe"));
    let connections = [alice.meet("page").await, zoe.meet("page").await];
    page.until_link("Relay connected").await;
    stage.server.stop();
    page.until_link("Relay lost, trying again").await;
    talk(&page, &connections, "while the relay is away").await;

    stage.server.start_again();
    page.until_link("Relay connected").await;
    talk(&page, &connections, "when it is back").await;
    let mut late = Member::join(&relay, "late");
    let connection = late.meet("page").await;
    page.until_peer("late", "connected").await;
    say(&connection, "late, but here").await;
    page.until_said("late, but here").await;
}

#[tokio::test]
async fn a_page_that_is_loaded_again_comes_back_to_its_peers() {
    let stage = Stage::set().await;
    let page = stage.open("page").await;
    let relay = stage.server.url();
    let (mut alice, mut zoe) = (Member::join(&relay, "alice"), Member::join(&relay, "zoe"));
    let connections = [alice.meet("page").await, zoe.meet("page").await];
    talk(&page, &connections, "before").await;
    page.reload().await;
    let closed = (PeerState::Closed, Some(Cause::RemoteClose));
    for connection in &connections {
        assert_eq!(end_of(connection).await, closed, "it said goodbye");
    }
    let connections = [alice.meet("page").await, zoe.meet("page").await];
    talk(&page, &connections, "afterwards").await;
}

#[tokio::test]
async fn ice_is_restarted_from_the_bowline_side_and_nothing_is_lost() {
    let stage = Stage::set().await;
    let page = stage.open("page").await;
    let relay = stage.server.url();
    // Of these two one offers the restart, the other asks the page to.
    let (mut alice, mut zoe) = (Member::join(&relay, "alice"), Member::join(&relay, "zoe"));
    let connections = [alice.meet("page").await, zoe.meet("page").await];
    for (connection, name) in connections.iter().zip(["alice", "zoe"]) {
        page.until_peer(name, "connected").await;
        connection.restart_ice();
        say(connection, &format!("{name} restarts")).await;
        until("the restart", async || {
            page.peer_details(name).await.contains("ICE restarts\n1")
        })
        .await;
        page.until_said(&format!("{name} restarts")).await;
        assert_eq!(page.peer_state(name).await, "connected");
    }
    talk(&page, &connections, "on the new path").await;
}

/// Says something to the page from everywhere, and back.
async fn talk(page: &View, connections: &[Connection], when: &str) {
    for (number, connection) in connections.iter().enumerate() {
        let text = format!("to the page {when}, from {number}");
        say(connection, &text).await;
        page.until_said(&text).await;
    }
    page.say(&format!("from the page {when}")).await;
    for connection in connections {
        assert_eq!(hear(connection).await, format!("from the page {when}"));
    }
}

/// Far longer than anything here takes, even on a machine with much else to do.
const DEADLINE: Duration = Duration::from_secs(60);

/// Waits for `future`; fails with `what` when it does not come.
async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what} did not happen in time"),
    }
}

/// Waits until `condition` holds.
async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    let poll = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    soon(what, poll).await;
}

/// Bytes in which no two blocks are alike, always the same.
fn noise(size: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}
