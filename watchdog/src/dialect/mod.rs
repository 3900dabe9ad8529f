//! How workers speak: bytes to news and words to bytes, one file a dialect. Pure: nothing here owns a descriptor, asks the
//! time or waits. Whatever a worker sends, what comes out is bounded and fit to be shown to people.

pub(crate) mod lanes;
pub(crate) mod line;
pub(crate) mod native;
pub(crate) mod node;
pub(crate) mod notify;

use crate::machine::{News, Spread};
use std::time::Duration;
use worker_sdk::wire::{BOUNDS_MAX, NAME_MAX};

/// Longest time that a worker can ask for or announce: sums with it do not overflow, and nobody means a longer one.
pub(crate) const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// What came on a channel on which a descriptor may travel.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Said {
    /// Something.
    News(News),
    /// The descriptor that travels with these bytes is the file of the lanes: see [`lanes::decode`].
    LanesFile,
}

/// One line for people: without control characters, `max` bytes at most, cut between two characters.
fn line_of(text: &str, max: usize) -> String {
    kept(text, max, |c| !c.is_control())
}

/// The same for a text of several lines: newlines and tabs stay.
fn lines_of(text: &str, max: usize) -> String {
    kept(text, max, |c| !c.is_control() || c == '\n' || c == '\t')
}

fn kept(text: &str, max: usize, keep: impl Fn(char) -> bool) -> String {
    let mut out = String::new();
    for c in text.chars().filter(|c| keep(*c)) {
        if out.len() + c.len_utf8() > max {
            break;
        }
        out.push(c);
    }
    out
}

/// A time in milliseconds, at most [`LONGEST`].
fn millis(ms: u64) -> Duration {
    Duration::from_millis(ms).min(LONGEST)
}

/// A time as milliseconds on a wire.
fn as_millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// A distribution that is one: bounds ascend, and there is one count more than bounds. Its name is cut.
fn spread(name: &str, bounds: Vec<f64>, counts: Vec<u64>, sum: f64) -> Option<Spread> {
    let ascend = bounds.windows(2).all(|two| two[0] < two[1]) && bounds.iter().all(|bound| bound.is_finite());
    let fits = ascend && counts.len() == bounds.len() + 1 && bounds.len() <= BOUNDS_MAX;
    fits.then(|| Spread { name: line_of(name, NAME_MAX), bounds, counts, sum })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_for_people_hold_no_control_characters_and_are_cut_between_two() {
        assert_eq!(line_of("a\u{1b}[2Jb\nc\u{85}", 100), "a[2Jbc");
        assert_eq!(lines_of("a\n\tb\r\0", 100), "a\n\tb");
        assert_eq!(line_of("ääää", 5), "ää");
        assert_eq!(line_of("", 0), "");
    }
}
