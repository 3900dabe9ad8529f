//! One line from a client: a closed list of verbs, everything bounded, nothing that could name a program or a file.

use serde::Deserialize;
use serde_json::{Map, Value};
use std::time::Duration;

/// Names in one request.
const MAX_NAMES: usize = 1000;
/// Longest pattern of names, and patterns in one request: comparing is bounded work.
const LONGEST_PATTERN: usize = 128;
const MAX_PATTERNS: usize = 16;
/// Longest wait a client may ask for; the machine's clock is far from its end then.
const MAX_MILLIS: u64 = 1000 * 60 * 60 * 24 * 365 * 100;

/// What can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Status,
    Start,
    Stop,
    Restart,
    Signal,
    Events,
    Logs,
    Explain,
    Health,
    Wait,
    Shutdown,
    Reload,
    Tell,
    Report,
    Tree,
}

impl Verb {
    /// All, with their words.
    pub(crate) const ALL: [(&'static str, Verb); 15] = [
        ("status", Verb::Status),
        ("start", Verb::Start),
        ("stop", Verb::Stop),
        ("restart", Verb::Restart),
        ("signal", Verb::Signal),
        ("events", Verb::Events),
        ("logs", Verb::Logs),
        ("explain", Verb::Explain),
        ("health", Verb::Health),
        ("wait", Verb::Wait),
        ("shutdown", Verb::Shutdown),
        ("reload", Verb::Reload),
        ("tell", Verb::Tell),
        ("report", Verb::Report),
        ("tree", Verb::Tree),
    ];

    fn parse(word: &str) -> Option<Verb> {
        Verb::ALL.iter().find(|(w, _)| *w == word).map(|(_, v)| *v)
    }
}

/// A request that is well formed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Ask {
    /// Given back with the answer.
    pub id: Value,
    /// What.
    pub verb: Verb,
    /// For whom; empty: all.
    pub services: Vec<String>,
    args: Map<String, Value>,
}

/// A request that is not.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct AskError {
    /// The id, as far as it could be read.
    pub id: Value,
    /// What is wrong.
    pub message: String,
    /// The nearest right form.
    pub nearest: Option<String>,
}

#[derive(Deserialize)]
struct Raw {
    #[serde(default)]
    id: Value,
    verb: String,
    #[serde(default)]
    services: Vec<String>,
    #[serde(default)]
    args: Map<String, Value>,
}

impl Ask {
    /// Reads one line.
    ///
    /// # Errors
    /// Says what is wrong and repeats at most 64 characters of it.
    pub(crate) fn parse(text: &[u8]) -> Result<Ask, AskError> {
        let raw: Raw = serde_json::from_slice(text).map_err(|e| AskError {
            id: Value::Null,
            message: format!("not a request: {}", cut(&e.to_string())),
            nearest: Some(r#"{"id":1,"verb":"status","services":[],"args":{}}"#.into()),
        })?;
        // Only what is plainly an id goes back: a deep structure would come back as large as it came.
        let id = if raw.id.is_number() || raw.id.is_string() { raw.id } else { Value::Null };
        let Some(verb) = Verb::parse(&raw.verb) else {
            let nearest = nearest(&raw.verb, Verb::ALL.iter().map(|(w, _)| *w));
            return Err(AskError { id, message: format!("unknown verb {:?}", cut(&raw.verb)), nearest });
        };
        if raw.services.len() > MAX_NAMES {
            return Err(AskError { id, message: format!("more than {MAX_NAMES} names"), nearest: None });
        }
        if raw.services.iter().filter(|name| is_pattern(name)).count() > MAX_PATTERNS {
            return Err(AskError { id, message: format!("more than {MAX_PATTERNS} patterns"), nearest: None });
        }
        Ok(Ask { id, verb, services: raw.services, args: raw.args })
    }

    /// A duration in milliseconds among the arguments.
    ///
    /// # Errors
    /// Not a whole number of milliseconds, or more than a hundred years.
    pub(crate) fn millis(&self, key: &str) -> Result<Option<Duration>, AskError> {
        match self.args.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(v) => match v.as_u64().filter(|n| *n <= MAX_MILLIS) {
                Some(n) => Ok(Some(Duration::from_millis(n))),
                None => Err(self.wrong(key, "a whole number of milliseconds")),
            },
        }
    }

    /// A count among the arguments.
    ///
    /// # Errors
    /// Not a whole number.
    pub(crate) fn count(&self, key: &str) -> Result<Option<usize>, AskError> {
        match self.args.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(v) => match v.as_u64().and_then(|n| usize::try_from(n).ok()) {
                Some(n) => Ok(Some(n)),
                None => Err(self.wrong(key, "a whole number")),
            },
        }
    }

    /// A switch among the arguments, off when it is not there.
    ///
    /// # Errors
    /// Not true or false.
    pub(crate) fn switch(&self, key: &str) -> Result<bool, AskError> {
        match self.args.get(key) {
            None | Some(Value::Null) => Ok(false),
            Some(Value::Bool(b)) => Ok(*b),
            Some(_) => Err(self.wrong(key, "true or false")),
        }
    }

    /// A word among the arguments.
    ///
    /// # Errors
    /// Missing, or not a text.
    pub(crate) fn word(&self, key: &str) -> Result<&str, AskError> {
        self.args.get(key).and_then(Value::as_str).ok_or_else(|| self.wrong(key, "a text"))
    }

    /// An error about one argument.
    #[must_use]
    pub(crate) fn wrong(&self, key: &str, want: &str) -> AskError {
        AskError { id: self.id.clone(), message: format!("args.{key}: {want} is needed"), nearest: None }
    }
}

/// Whether this stands for many names. No name has these letters.
#[must_use]
pub(crate) fn is_pattern(name: &str) -> bool {
    name.contains(['*', '?'])
}

/// Whether the pattern is all of this name: `*` is any letters or none, `?` is one. One that is too long matches nothing.
#[must_use]
pub(crate) fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    if pattern.len() > LONGEST_PATTERN {
        return false;
    }
    // Where the last `*` stands, and how much of the name it has taken.
    let (mut at, mut from, mut star) = (0, 0, None);
    while from < name.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, from));
                at += 1;
            }
            Some(b) if *b == b'?' || *b == name[from] => (at, from) = (at + 1, from + 1),
            Some(_) | None => match star.as_mut() {
                Some((place, taken)) => {
                    *taken += 1;
                    (at, from) = (*place + 1, *taken);
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|b| *b == b'*')
}

fn cut(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(64).collect()
}

/// The known word that is nearest by edits, if it is near at all.
pub(crate) fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    let word: Vec<char> = word.chars().take(64).collect();
    let best = known.map(|k| (distance(&word, &k.chars().collect::<Vec<_>>()), k)).min()?;
    (best.0 <= 1 + word.len() / 3).then(|| best.1.to_owned())
}

/// Levenshtein distance.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut corner = i;
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let here = row[j + 1];
            row[j + 1] = (corner + usize::from(x != y)).min(here + 1).min(row[j] + 1);
            corner = here;
        }
    }
    row.last().copied().unwrap_or(a.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_wrong_verb_is_answered_with_the_nearest() {
        let e = Ask::parse(br#"{"id":7,"verb":"statsu"}"#).unwrap_err();
        assert_eq!((e.id, e.nearest), (Value::from(7), Some("status".into())));
        let e = Ask::parse(br#"{"id":{"a":[1]},"verb":"__class__.x"}"#).unwrap_err();
        assert_eq!((e.id, e.nearest), (Value::Null, None));
    }

    #[test]
    fn a_pattern_is_the_whole_name() {
        for (pattern, name, is) in [
            ("*", "web", true),
            ("*", "", true),
            ("web*", "web@0", true),
            ("w?b", "web", true),
            ("w?b", "wb", false),
            ("*b*", "web", true),
            ("*@1", "web@11", false),
            ("*a*a*b", "aaaaaaab", true),
            ("*a*a*c", "aaaaaaab", false),
            ("web", "web1", false),
        ] {
            assert_eq!(matches(pattern, name), is, "{pattern} {name}");
        }
        assert!(!matches(&"*".repeat(LONGEST_PATTERN + 1), "web"));
        let many = vec!["a*"; MAX_PATTERNS + 1];
        let line = serde_json::json!({ "verb": "status", "services": many }).to_string();
        assert!(Ask::parse(line.as_bytes()).is_err());
    }

    #[test]
    fn arguments_are_checked() {
        let ask = Ask::parse(br#"{"verb":"stop","args":{"timeout_ms":-1,"n":1.5,"force":"yes"}}"#).unwrap();
        assert!(ask.millis("timeout_ms").is_err() && ask.count("n").is_err() && ask.switch("force").is_err());
        assert!(ask.millis("none").unwrap().is_none());
    }

    #[test]
    fn deep_nesting_is_an_error_and_no_overflow() {
        let deep = format!(r#"{{"verb":"status","args":{{"a":{}1{}}}}}"#, "[".repeat(10_000), "]".repeat(10_000));
        assert!(Ask::parse(deep.as_bytes()).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Ask::parse(&bytes);
        }
    }
}
