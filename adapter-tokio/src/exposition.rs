//! The text format of [OpenMetrics] 1.0.
//!
//! `prometheus-client` (0.26) was considered. It keeps the figures itself, in atomics behind a registry; ours are in the
//! core, so that only its encoder would be used, and that is short: nothing has to be escaped, as names of peers have none of
//! the characters that would be.
//!
//! [OpenMetrics]: https://github.com/prometheus/OpenMetrics/blob/v1.0.0/specification/OpenMetrics.md

use std::fmt::{self, Write as _};
use std::time::Duration;

/// The `Content-Type` of the text.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The text that `write` writes, with its end.
pub(crate) fn encode(write: impl FnOnce(&mut String) -> fmt::Result) -> String {
    let mut text = String::new();
    // A `String` takes everything.
    let _ = write(&mut text);
    text.push_str("# EOF\n");
    text
}

/// One family: how it is called, and where its samples come from.
pub(crate) struct Family<T> {
    kind: Kind,
    /// It ends with the unit, where there is one.
    pub(crate) name: &'static str,
    help: &'static str,
    /// `None` where there is nothing to tell.
    value: fn(&T) -> Option<Value>,
}

#[derive(Clone, Copy)]
enum Kind {
    Counter,
    Gauge,
}

pub(crate) enum Value {
    Count(u64),
    Seconds(Duration),
}

impl<T> Family<T> {
    pub(crate) fn write_head(&self, text: &mut String) -> fmt::Result {
        let Self { name, help, .. } = self;
        let kind = match self.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        writeln!(text, "# TYPE {name} {kind}")?;
        if let Some(unit) = UNITS.into_iter().find(|unit| name.ends_with(unit)) {
            writeln!(text, "# UNIT {name} {unit}")?;
        }
        writeln!(text, "# HELP {name} {help}")
    }

    /// Writes the sample with these labels, in braces, or none of them.
    pub(crate) fn write_sample(
        &self,
        text: &mut String,
        labels: impl fmt::Display,
        of: &T,
    ) -> fmt::Result {
        let Some(value) = (self.value)(of) else {
            return Ok(());
        };
        let suffix = match self.kind {
            Kind::Counter => "_total",
            Kind::Gauge => "",
        };
        writeln!(text, "{}{suffix}{labels} {value}", self.name)
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => write!(f, "{count}"),
            Self::Seconds(duration) => write!(f, "{}", duration.as_secs_f64()),
        }
    }
}

pub(crate) const fn counter<T>(
    name: &'static str,
    help: &'static str,
    value: fn(&T) -> Option<Value>,
) -> Family<T> {
    let kind = Kind::Counter;
    Family {
        kind,
        name,
        help,
        value,
    }
}

pub(crate) const fn gauge<T>(
    name: &'static str,
    help: &'static str,
    value: fn(&T) -> Option<Value>,
) -> Family<T> {
    let kind = Kind::Gauge;
    Family {
        kind,
        name,
        help,
        value,
    }
}

#[expect(clippy::unnecessary_wraps, reason = "what a family asks for")]
pub(crate) fn count(count: u64) -> Option<Value> {
    Some(Value::Count(count))
}

pub(crate) fn size(size: usize) -> Option<Value> {
    count(u64::try_from(size).unwrap_or(u64::MAX))
}

pub(crate) fn seconds(duration: Option<Duration>) -> Option<Value> {
    duration.map(Value::Seconds)
}

/// The units that are told of, of those that names end with.
const UNITS: [&str; 2] = ["bytes", "seconds"];

/// A family of counters of what was dropped or refused, with the label `cause`.
pub(crate) struct ByCause<T: 'static> {
    pub(crate) family: Family<u64>,
    pub(crate) causes: &'static [Cause<T>],
}

/// How a cause is called, and where its count is.
pub(crate) type Cause<T> = (&'static str, fn(&T) -> u64);

impl<T> ByCause<T> {
    pub(crate) fn write(&self, text: &mut String, of: &T) -> fmt::Result {
        self.family.write_head(text)?;
        for (cause, count) in self.causes {
            let label = format_args!("{{cause=\"{cause}\"}}");
            self.family.write_sample(text, label, &count(of))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_no_exponent() {
        for (value, text) in [
            (Value::Count(u64::MAX), "18446744073709551615"),
            (Value::Seconds(Duration::from_nanos(1)), "0.000000001"),
            (Value::Seconds(Duration::ZERO), "0"),
            (
                Value::Seconds(Duration::from_secs(100_000_000)),
                "100000000",
            ),
        ] {
            assert_eq!(value.to_string(), text);
        }
    }
}
