//! The nearest known word to one that is not known.

/// Longest word that is compared: a mistyped name is short, and the work grows with the square.
const LONGEST: usize = 64;

/// The candidate a person most likely meant, or none when nothing is near.
///
/// Near is one edit (insert, delete, replace, swap of neighbours) for every three letters, one at least. Case and the
/// difference of `-` and `_` count nothing.
#[inline(never)]
pub(crate) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = folded(word);
    if word.is_empty() || word.len() > LONGEST {
        return None;
    }
    let allowed = (word.len() / 3).max(1);
    candidates
        .into_iter()
        // What differs more in length is not near, and need not be compared: there may be thousands of names.
        .filter(|c| c.len().abs_diff(word.len()) <= allowed || !c.is_ascii())
        .map(|c| (distance(&word, &folded(c)), c))
        .filter(|(d, c)| *d <= allowed && *d < c.chars().count())
        .min_by_key(|(d, _)| *d)
        .map(|(_, c)| c)
}

fn folded(word: &str) -> Vec<char> {
    word.chars().map(|c| if c == '_' { '-' } else { c.to_ascii_lowercase() }).collect()
}

/// Edits between two words, a swap of neighbours counting one (optimal string alignment).
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, cb) in b.iter().enumerate() {
            let mut cost = (last[j] + usize::from(ca != cb)).min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *ca == b[j - 1] && a[i - 1] == *cb {
                cost = cost.min(before[j - 1] + 1);
            }
            row.push(cost);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: [&str; 4] = ["stop_timeout", "stop_signal", "restart", "restart_delay"];

    #[test]
    fn a_slip_of_the_finger_is_found() {
        assert_eq!(nearest("stop_timeuot", KEYS), Some("stop_timeout"));
        assert_eq!(nearest("stop-timeout", KEYS), Some("stop_timeout"));
        assert_eq!(nearest("restrat", KEYS), Some("restart"));
        assert_eq!(nearest("StopSignal", KEYS), Some("stop_signal"));
    }

    #[test]
    fn nothing_near_is_nothing() {
        assert_eq!(nearest("colour", KEYS), None);
        assert_eq!(nearest("", KEYS), None);
        assert_eq!(nearest("x", ["a", "b"]), None);
    }
}
