//! Words for a terminal: what peers sent, made harmless, and figures that people read.

use std::time::Duration;

/// `text` with everything that could move the cursor, hide or reorder what is shown replaced by its escape, as `\n` or
/// `\u{1b}`: nothing that a peer says reaches a terminal in another way.
pub(crate) fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if is_deceptive(c) {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// The beginning of `text`, at most `most` characters, [`printable`].
pub(crate) fn excerpt(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}...", printable(&text[..end])),
        None => printable(text),
    }
}

/// Whether a character is not shown, or changes how its neighbours are shown: controls, breaks of lines, marks of
/// direction, invisible spaces and tags. The joiners stay, which many scripts and emoji need.
pub(crate) fn is_deceptive(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}'
            | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}')
}

/// A number of bytes with three digits, as `12.3 MB`.
pub(crate) fn bytes(count: u64) -> String {
    if count < 1_000 {
        return format!("{count} B");
    }
    #[allow(clippy::cast_precision_loss)] // It is for people.
    let mut value = count as f64;
    let mut unit = "B";
    for larger in ["kB", "MB", "GB", "TB", "PB"] {
        // What would be shown as 1000 is one of the next unit.
        if value < 999.5 {
            break;
        }
        value /= 1_000.0;
        unit = larger;
    }
    let decimals = if value < 9.995 {
        2
    } else {
        usize::from(value < 99.95)
    };
    format!("{value:.decimals$} {unit}")
}

/// How fast: bytes in each second.
pub(crate) fn rate(count: u64, elapsed: Duration) -> String {
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss
    )]
    let each_second = (count as f64 / elapsed.as_secs_f64().max(1e-9)) as u64;
    format!("{}/s", bytes(each_second))
}

/// A duration: `12 ms`, `3.4 s`, `2:05`, `1:02:03`.
pub(crate) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 if duration.subsec_millis() == 0 => format!("{:.2} ms", duration.as_secs_f64() * 1e3),
        0 => format!("{} ms", duration.subsec_millis()),
        1..60 => format!("{:.1} s", duration.as_secs_f64()),
        60..3_600 => format!("{}:{:02}", seconds / 60, seconds % 60),
        _ => format!(
            "{}:{:02}:{:02}",
            seconds / 3_600,
            seconds / 60 % 60,
            seconds % 60
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_command_the_terminal_is_shown_as_its_escape() {
        for (raw, shown) in [
            (
                "plain, ümläut, 日本, 👨\u{200d}👩",
                "plain, ümläut, 日本, 👨\u{200d}👩",
            ),
            ("\x1b[2J\x1b]0;title\x07", "\\u{1b}[2J\\u{1b}]0;title\\u{7}"),
            ("two\r\nlines\u{2028}three", "two\\r\\nlines\\u{2028}three"),
            ("\u{9b}31m", "\\u{9b}31m"),
            ("gpj.\u{202e}exe", "gpj.\\u{202e}exe"),
            ("a\u{2066}b\u{200f}", "a\\u{2066}b\\u{200f}"),
            ("\u{200b}\u{feff}\u{e0041}", "\\u{200b}\\u{feff}\\u{e0041}"),
            ("\0\t\x7f", "\\u{0}\\t\\u{7f}"),
        ] {
            assert_eq!(printable(raw), shown);
        }
    }

    #[test]
    fn an_excerpt_ends_between_characters() {
        assert_eq!(excerpt("äöü", 3), "äöü");
        assert_eq!(excerpt("äöü", 2), "äö...");
        assert_eq!(excerpt("\n\n\n", 1), "\\n...");
    }

    #[test]
    fn figures_have_three_digits_and_a_unit() {
        for (count, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1_000, "1.00 kB"),
            (9_994, "9.99 kB"),
            (12_345, "12.3 kB"),
            (99_960, "100 kB"),
            (999_499, "999 kB"),
            (999_500, "1.00 MB"),
            (1_073_741_824, "1.07 GB"),
            (u64::MAX, "18447 PB"),
        ] {
            assert_eq!(bytes(count), text);
        }
        assert_eq!(rate(3_000_000, Duration::from_secs(2)), "1.50 MB/s");
        for (millis, text) in [
            (0, "0.00 ms"),
            (12, "12 ms"),
            (3_400, "3.4 s"),
            (125_000, "2:05"),
            (3_723_000, "1:02:03"),
        ] {
            assert_eq!(duration(Duration::from_millis(millis)), text);
        }
    }
}
