//! The whole path of a key that the parser did not take into its tree, because it stands there already.

use std::ops::Range;
use toml::de::DeTable;

/// `service.web.nice` of the `nice` at this place. What cannot be made out is left off.
pub(super) fn path(text: &str, span: Range<usize>) -> String {
    let Some(before) = text.get(..span.end) else { return String::new() };
    let begin = before.rfind('\n').map_or(0, |at| at + 1);
    let line = before[begin..].trim_start();
    let own = match line.strip_prefix('[') {
        Some(header) => return parts(header.trim_start_matches('[')).join("."),
        None => match line.split_once('=') {
            // Inside of a table in braces: the key of that, and this one.
            Some((outer, _)) => [parts(outer), parts(&text[span])].concat(),
            None => parts(line),
        },
    };
    [table(&before[..begin]), own].concat().join(".")
}

/// The table that is open at the end of this text.
fn table(before: &str) -> Vec<String> {
    before.lines().rev().find_map(header).unwrap_or_default()
}

/// `[a.b]` and `[[a.b]]`; the items of a list that is written over several lines are none.
fn header(line: &str) -> Option<Vec<String>> {
    let inside = line.trim_start().strip_prefix('[')?;
    let (inside, end) = inside.strip_prefix('[').map_or((inside, "]"), |inside| (inside, "]]"));
    let (key, behind) = inside.split_once(end)?;
    let behind = behind.trim_start();
    (behind.is_empty() || behind.starts_with('#')).then(|| parts(key)).filter(|parts| !parts.is_empty())
}

/// The parts of `a."b c".d`; none of what is no key.
fn parts(key: &str) -> Vec<String> {
    let line = format!("{key} = 0");
    let (mut found, mut at) = (Vec::new(), DeTable::parse(&line).ok().map(|table| table.into_inner()));
    while let Some((key, value)) = at.and_then(|table| table.into_iter().next()) {
        found.push(key.into_inner().into_owned());
        at = value.into_inner().as_table().cloned();
    }
    found
}

#[cfg(test)]
mod tests {
    use super::path;

    fn of(text: &str, key: &str) -> String {
        let at = text.rfind(key).expect(key);
        path(text, at..at + key.len())
    }

    #[test]
    fn a_key_has_the_path_of_its_table() {
        assert_eq!(of("[service.a]\nnice = 1\nnice = 2\n", "nice"), "service.a.nice");
        assert_eq!(of("[service.a]\n[service.b]\n  [ service . \"a\" ] # again\n", "\"a\""), "service.a");
        assert_eq!(of("[service.\"a b\"]\nx = [\n [1]]\nx = 2\n", "x"), "service.a b.x");
        assert_eq!(of("[service]\na.nice = 1\na.nice = 2\n", "nice"), "service.a.nice");
        assert_eq!(of("[service.a]\nenv = { B = 1, A = 1, A = 2 }\n", "A"), "service.a.env.A");
        assert_eq!(of("[[service.a.probe]]\nname = \"x\"\nname = \"y\"\n", "name"), "service.a.probe.name");
        assert_eq!((of("a = 1\na = 2", "a"), of("= = 1", "=")), ("a".into(), String::new()));
    }
}
