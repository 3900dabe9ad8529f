//! How much a terminal has room for, and how much of it a text takes.

use watchdog_engine::terminal_size;

/// Columns and rows of our terminal.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    pub(super) width: usize,
    pub(super) height: usize,
}

impl Room {
    /// As it is at this moment: people drag windows about. Where the terminal does not say, what terminals used to be.
    pub(super) fn now() -> Room {
        let (width, height) = terminal_size().unwrap_or((80, 24));
        Room { width: usize::from(width), height: usize::from(height) }
    }
}

/// As much of the beginning of this text as fits.
pub(super) fn fit(text: &str, width: usize) -> &str {
    let mut used = 0;
    for (at, c) in text.char_indices() {
        used += wide(c);
        if used > width {
            return &text[..at];
        }
    }
    text
}

/// Columns that it takes.
pub(super) fn columns(text: &str) -> usize {
    text.chars().map(wide).sum()
}

/// Letters of East Asia and pictures take two columns. Accents of their own take none; counted as one they only make a
/// line end early.
fn wide(c: char) -> usize {
    let two = matches!(u32::from(c),
        0x1100..=0x115f | 0x2e80..=0x303e | 0x3041..=0xa4cf | 0xac00..=0xd7a3 | 0xf900..=0xfaff
        | 0xfe30..=0xfe6f | 0xff00..=0xff60 | 0xffe0..=0xffe6 | 0x1f300..=0x1faff | 0x2_0000..=0x3_fffd);
    1 + usize::from(two)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_by_the_columns_that_it_takes() {
        assert_eq!((fit("abcdef", 4), fit("abc", 4), fit("abc", 0)), ("abcd", "abc", ""));
        assert_eq!((fit("日本語", 5), columns("日本語…")), ("日本", 7));
    }
}
