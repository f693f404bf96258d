use std::net::TcpListener;
use std::process::{Output, Stdio};

use tokio::process::Command;

use crate::common::soon;

async fn bowline(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bowline"));
    let running = command
        .args(arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    soon("the end of the program", running)
        .await
        .expect("starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test]
async fn the_demo_tells_its_story_without_control_characters_and_succeeds() {
    let output = bowline(&["demo", "--file", "2"]).await;
    let (story, errors) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{story}{errors}");
    assert_eq!(errors, "");
    for part in [
        "alice  connected to carol in",
        "control 60/60, reliable 60/60",
        "has the file: 2 MiB",
        "carol  is back from",
        "last word delivered, 0 messages lost",
    ] {
        assert!(story.contains(part), "{part:?} is not in:\n{story}");
    }
    assert!(!story.contains('\x1b'), "colours are for terminals");
    let ends = story
        .lines()
        .filter(|line| line.ends_with("closed by the peer") || line.ends_with("closed by us"));
    assert!(ends.count() >= 3, "{story}");
    // 60 messages between three, the file in 32 chunks, 25 messages during the outage, and bob's last word.
    let table: Vec<&str> = story.lines().rev().take(3).collect();
    for (row, counts) in table.iter().rev().zip([
        ["20/20", "52/52"].as_slice(),
        &["45/45", "20/20"],
        &["20/20", "20/20"],
    ]) {
        for count in counts {
            assert!(row.contains(count), "{count} is not in:\n{row}");
        }
        assert!(!row.contains("0/0 "), "{row}");
    }
    for line in story.lines() {
        assert!(line.chars().count() <= 100, "too wide:\n{line}");
    }
}

#[tokio::test]
async fn a_recording_of_the_demo_replays_as_recorded() {
    let file = concat!(env!("CARGO_TARGET_TMPDIR"), "/alice.rec");
    let output = bowline(&["demo", "--file", "1", "--record", file]).await;
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));

    let output = bowline(&["replay", file]).await;
    let (story, errors) = (text(&output.stdout), text(&output.stderr));
    assert_eq!((output.status.code(), &*errors), (Some(0), ""), "{story}");
    let summary = story.lines().last().unwrap_or_default();
    assert!(summary.ends_with("as recorded"), "{summary}");
    assert!(
        story.contains("carol: connecting -> connected, established"),
        "{story}"
    );
}

#[tokio::test]
async fn a_wrong_command_line_ends_with_two_and_says_why_on_standard_error() {
    for arguments in [
        &["nonsense"][..],
        &["demo", "--file", "0"],
        &["serve", "--listen", "here"],
        &[],
    ] {
        let output = bowline(arguments).await;
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(
            output.stdout.is_empty() && !output.stderr.is_empty(),
            "{arguments:?}"
        );
    }
}

#[tokio::test]
async fn help_is_no_error_and_has_examples() {
    for arguments in [&["--help"][..], &["demo", "--help"], &["serve", "--help"]] {
        let output = bowline(arguments).await;
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert!(text(&output.stdout).contains("Examples:"), "{arguments:?}");
    }
}

#[tokio::test]
async fn a_server_whose_address_is_taken_fails_with_one_line() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("binds");
    let address = taken.local_addr().expect("bound").to_string();
    let output = bowline(&["serve", "--listen", &address]).await;
    assert_eq!(output.status.code(), Some(1));
    let errors = text(&output.stderr);
    assert!(
        errors.starts_with(&format!("bowline: cannot listen at {address}: ")),
        "{errors}"
    );
    assert_eq!(errors.lines().count(), 1);
}
