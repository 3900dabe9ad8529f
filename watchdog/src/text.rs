//! Letters that people would not see, or that would change how others are shown.

/// Whether a terminal does something else with this letter than to show it: control characters of both kinds, ends of lines
/// and paragraphs, changes of direction, letters without a width, and other format characters. Text in which they are taken
/// out or spelt out is what it looks like.
#[must_use]
pub fn is_hidden(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_control();
    }
    c.is_control()
        || matches!(u32::from(c),
            // soft hyphen, joiner of graphemes, mark of Arabic letters, separator of Mongolian vowels
            0xAD | 0x34F | 0x61C | 0x180E
            // fillers of Hangul and vowels of Khmer without a shape
            | 0x115F | 0x1160 | 0x17B4 | 0x17B5 | 0x3164 | 0xFFA0
            // without a width, marks of direction
            | 0x200B..=0x200F
            // ends of lines and paragraphs, embeddings and overrides of direction
            | 0x2028..=0x202E
            // joiners, invisible operators, isolates of direction, and what was deprecated
            | 0x2060..=0x206F
            | 0xFEFF
            // annotations, and what is none
            | 0xFFF0..=0xFFFB
            // format of shorthand and of music
            | 0x1BCA0..=0x1BCA3 | 0x1D173..=0x1D17A
            // tags
            | 0xE0000..=0xE0FFF)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_seen_is_shown_and_the_rest_is_not() {
        let hidden = "\0\t\n\u{1b}\u{7f}\u{85}\u{9b}\u{ad}\u{61c}\u{200b}\u{200d}\u{200e}\u{2028}\u{2029}\u{202a}\u{202e}\u{2060}\u{2066}\u{2069}\u{feff}\u{fff9}\u{e0041}";
        assert_eq!(hidden.chars().find(|c| !is_hidden(*c)), None);
        let seen = "a ~\u{a0}\u{a1}äß中日本語한국어العربية\u{301}‐—…€\u{1f600}\u{fe0f}\u{fffd}";
        assert_eq!(seen.chars().find(|c| is_hidden(*c)), None);
    }
}
