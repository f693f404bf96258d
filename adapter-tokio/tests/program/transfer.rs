//! `bowline send` and `bowline receive`, interrupted and not.

use std::fs;

use crate::common::{Running, Stage, content};

/// Large enough for an interruption in the middle.
const SIZE: usize = 4_000_000;
/// So slow that whoever is interrupted at a tenth is far from done.
const SLOW: [&str; 2] = ["--limit-rate", "1M"];

#[tokio::test]
async fn a_file_is_sent_to_whoever_has_the_code_and_verified() {
    let stage = Stage::new().await;
    let data = content(SIZE);
    let (sender, code) = stage.send(&[&stage.write("a.bin", &data)]).await;
    let receiver = stage.receive(&code, &[]);
    let (sent, received) = (sender.success().await, receiver.success().await);
    assert_eq!(stage.received("a.bin"), data);
    assert_eq!(stage.names(), ["a.bin"]);
    assert!(
        received.contains(&"receiving a.bin, 4.00 MB".to_owned()),
        "{received:#?}"
    );
    let checksum = |lines: &[String]| lines.last().expect("has lines").clone();
    assert_eq!(checksum(&sent), checksum(&received));
    assert!(checksum(&sent).starts_with("sha256 ") && checksum(&sent).ends_with(", verified"));
    for lines in [&sent, &received] {
        assert!(
            lines.iter().any(|line| line.starts_with(" 50 %  ")),
            "{lines:#?}"
        );
        assert!(!lines.concat().contains('\x1b'), "a bar is for terminals");
    }
}

#[tokio::test]
async fn an_empty_file_is_sent() {
    let stage = Stage::new().await;
    let (sender, code) = stage.send(&[&stage.write("empty", b"")]).await;
    stage.receive(&code, &[]).success().await;
    sender.success().await;
    assert_eq!(stage.received("empty"), b"");
    assert_eq!(stage.names(), ["empty"]);
}

#[tokio::test]
async fn a_receiver_that_is_killed_goes_on_where_it_was() {
    let stage = Stage::new().await;
    let data = content(SIZE);
    let file = stage.write("a.bin", &data);
    let (mut sender, code) = stage.send(&[&[&*file], &SLOW[..]].concat()).await;
    interrupted(stage.receive(&code, &[]), &stage).await;

    let receiver = stage.receive(&code, &[]);
    sender.line("the receiver has come back").await;
    sender.line("going on at ").await;
    assert!(
        receiver
            .success()
            .await
            .iter()
            .any(|line| line.starts_with("going on at "))
    );
    sender.success().await;
    assert_eq!(stage.received("a.bin"), data);
    assert_eq!(stage.names(), ["a.bin"]);
}

#[tokio::test]
async fn a_sender_that_is_killed_goes_on_where_it_was() {
    let stage = Stage::new().await;
    let data = content(SIZE);
    let file = stage.write("a.bin", &data);
    let (sender, code) = stage.send(&[&[&*file], &SLOW[..]].concat()).await;
    let mut receiver = stage.receive(&code, &[]);
    receiver.line(" 10 %  ").await;
    sender.kill().await;

    let (sender, again) = stage.send(&[&file, "--code", &code]).await;
    assert_eq!(again, code);
    receiver
        .line("the sender is gone; waiting up to 10:00")
        .await;
    receiver.line("going on at ").await;
    receiver.success().await;
    assert!(
        sender
            .success()
            .await
            .iter()
            .any(|line| line.starts_with("going on at "))
    );
    assert_eq!(stage.received("a.bin"), data);
    assert_eq!(stage.names(), ["a.bin"]);
}

#[tokio::test]
async fn when_both_are_killed_both_go_on_where_they_were() {
    let stage = Stage::new().await;
    let data = content(SIZE);
    let file = stage.write("a.bin", &data);
    let (sender, code) = stage.send(&[&[&*file], &SLOW[..]].concat()).await;
    interrupted(stage.receive(&code, &[]), &stage).await;
    sender.kill().await;

    let receiver = stage.receive(&code, &[]);
    let (sender, _) = stage.send(&[&file, "--code", &code]).await;
    for running in [sender, receiver] {
        let lines = running.success().await;
        assert!(
            lines.iter().any(|line| line.starts_with("going on at ")),
            "{lines:#?}"
        );
    }
    assert_eq!(stage.received("a.bin"), data);
    assert_eq!(stage.names(), ["a.bin"]);
}

#[tokio::test]
async fn a_part_that_is_damaged_is_begun_anew() {
    let stage = Stage::new().await;
    let data = content(SIZE);
    let mut part = data[..1_000_000].to_vec();
    part[500_000] ^= 1;
    fs::write(stage.out().join("a.bin.bowline-part"), part).expect("writes");
    let (sender, code) = stage.send(&[&stage.write("a.bin", &data)]).await;
    let lines = stage.receive(&code, &[]).success().await;
    assert!(
        !lines.iter().any(|line| line.starts_with("going on at ")),
        "{lines:#?}"
    );
    sender.success().await;
    assert_eq!(stage.received("a.bin"), data);
    assert_eq!(stage.names(), ["a.bin"]);
}

#[tokio::test]
async fn a_file_that_is_there_is_kept_unless_the_user_asks() {
    let stage = Stage::new().await;
    let file = stage.write("a.txt", b"new");
    fs::write(stage.out().join("a.txt"), "old").expect("writes");
    let (sender, code) = stage.send(&[&file]).await;
    let lines = stage.receive(&code, &[]).success().await;
    sender.success().await;
    assert!(
        lines.iter().any(|line| line.contains("a (1).txt: 3 B in")),
        "{lines:#?}"
    );
    assert_eq!(
        (stage.received("a.txt"), stage.received("a (1).txt")),
        (b"old".into(), b"new".into())
    );

    let (sender, code) = stage.send(&[&file]).await;
    stage.receive(&code, &["--overwrite"]).success().await;
    sender.success().await;
    assert_eq!(stage.received("a.txt"), b"new");
    assert_eq!(stage.names(), ["a (1).txt", "a.txt"]);
}

#[cfg(unix)]
#[tokio::test]
async fn an_interruption_says_how_to_go_on_and_the_other_side_waits() {
    let stage = Stage::new().await;
    let data = content(SIZE);
    let file = stage.write("a.bin", &data);
    let (mut sender, code) = stage.send(&[&[&*file], &SLOW[..]].concat()).await;
    let mut receiver = stage.receive(&code, &[]);
    receiver.line(" 10 %  ").await;
    receiver.interrupt();
    assert_eq!(receiver.failure().await, "bowline: interrupted\n");
    assert_eq!(stage.names(), ["a.bin.bowline-part"]);

    sender
        .line("the receiver is gone; waiting up to 10:00 for it to come back")
        .await;
    sender.interrupt();
    let relay = stage.relay.url();
    let hint = format!("to go on: bowline send {file} --code {code} --relay {relay}\n");
    assert_eq!(
        sender.failure().await,
        format!("bowline: interrupted\n{hint}")
    );
}

#[cfg(unix)]
#[tokio::test]
async fn a_full_disk_fails_on_both_sides_and_the_part_stays() {
    let stage = Stage::new().await;
    let (sender, code) = stage.send(&[&stage.write("a.bin", &content(SIZE))]).await;
    let mut receiver = stage.receive_with_file_limit(&code, 2_000);
    receiver.line(" 10 %  ").await;
    let error = receiver.failure().await;
    assert!(
        error.starts_with("bowline: it cannot be stored: File too large"),
        "{error}"
    );
    let error = sender.failure().await;
    assert!(
        error.starts_with("bowline: it cannot be stored: at the receiver\nto go on:"),
        "{error}"
    );
    assert_eq!(stage.names(), ["a.bin.bowline-part"]);
    assert_eq!(
        stage.received("a.bin.bowline-part"),
        content(SIZE)[..2_000 * 512]
    );
}

#[tokio::test]
async fn a_wrong_command_line_ends_with_two_and_a_reason() {
    let table: [(&[&str], &str); 6] = [
        (
            &["receive", "lusab-babad"],
            "a code has three words, as lusab-babad-gutih, and not 2",
        ),
        (
            &["receive", "lusab-babad-gutix"],
            "\"gutix\" is no word of a code",
        ),
        (&["receive"], "required"),
        (&["send", "a", "--code", "1234"], "a code has three words"),
        (&["send", "a", "--limit-rate", "0"], "bytes in each second"),
        (&["send"], "required"),
    ];
    let stage = Stage::new().await;
    for (arguments, reason) in table {
        let (code, lines, errors) = stage.start(arguments).end().await;
        assert_eq!((code, lines.len()), (Some(2), 0), "{arguments:?}");
        assert!(errors.contains(reason), "{errors}");
    }
}

#[tokio::test]
async fn what_cannot_work_fails_at_once_and_says_why() {
    let stage = Stage::new().await;
    let directory = stage.out().into_os_string().into_string().expect("is text");
    let errors = stage.start(&["send", &directory]).failure().await;
    assert!(
        errors.ends_with("it is no regular file; a directory can be sent as an archive\n"),
        "{errors}"
    );
    let errors = stage.start(&["send", "/nowhere/file"]).failure().await;
    assert!(
        errors.starts_with("bowline: /nowhere/file cannot be sent: No such file"),
        "{errors}"
    );
    let hidden = stage.write(".hidden", b"");
    let errors = stage.start(&["send", &hidden]).failure().await;
    assert!(
        errors.ends_with("its name would be refused: it begins with a dot\n"),
        "{errors}"
    );

    let code = "lusab-babad-gutih";
    let errors = stage
        .start(&["receive", code, "--output", "/nowhere/file"])
        .failure()
        .await;
    assert_eq!(errors, "bowline: /nowhere/file is in no directory\n");
    let errors = stage
        .start(&["receive", code, "--wait", "0"])
        .failure()
        .await;
    assert_eq!(errors, "bowline: no sender came within 0.00 ms\n");

    // The port of a listener that is gone.
    let gone = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
    let url = format!("ws://{}", gone.local_addr().expect("bound"));
    drop(gone);
    let errors = Running::start(&["receive", code, "--relay", &url])
        .failure()
        .await;
    assert!(
        errors.starts_with(&format!("bowline: the relay at {url} cannot be reached: ")),
        "{errors}"
    );
    assert_eq!(errors.lines().count(), 1);
}

/// Kills a receiver in the middle.
async fn interrupted(mut receiver: Running, stage: &Stage) {
    receiver.line(" 10 %  ").await;
    receiver.kill().await;
    assert_eq!(stage.names(), ["a.bin.bowline-part"]);
}
