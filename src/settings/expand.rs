//! `${VAR}` and `${VAR:-default}` in the texts of a file, from our own environment. `$$` is one `$`; any other `$` stays.
//!
//! What comes out may be a secret: no error ever shows it.

use std::ffi::OsStr;

/// What a service knows of itself, in every text of its settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OwnName {
    /// `${WATCHDOG_SERVICE}`: its full name, of a replica with `@` and its index.
    Service,
    /// `${WATCHDOG_REPLICA}`: its index, 0 where there is one.
    Replica,
    /// `${PORT}`: its port; where `port` gives it none, the variable of our own environment.
    Port,
}

/// What is known of one replica of a service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct OwnFacts {
    /// Its full name.
    pub(crate) service: String,
    /// Its index.
    pub(crate) replica: u32,
    /// Its port, where it was given one.
    pub(crate) port: Option<u16>,
}

/// A piece of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// As it stands.
    Plain(String),
    /// Of our environment: what was put in, and how it is written.
    Put(String, String),
    /// Of the service itself: how it is written, and what holds where it is not known.
    Own(OwnName, String, Option<String>),
}

/// The name of a variable that is a service's own.
pub(crate) fn own_name(name: &str) -> Option<OwnName> {
    match name {
        "WATCHDOG_SERVICE" => Some(OwnName::Service),
        "WATCHDOG_REPLICA" => Some(OwnName::Replica),
        "PORT" => Some(OwnName::Port),
        _ => None,
    }
}

impl OwnFacts {
    /// The text of these parts for this replica.
    pub(crate) fn text(&self, parts: &[Part]) -> Result<String, String> {
        let mut out = String::new();
        for part in parts {
            match part {
                Part::Plain(text) | Part::Put(text, _) => out.push_str(text),
                Part::Own(OwnName::Service, ..) => out.push_str(&self.service),
                Part::Own(OwnName::Replica, ..) => out.push_str(&self.replica.to_string()),
                Part::Own(OwnName::Port, _, otherwise) => match (self.port, otherwise) {
                    (Some(port), _) => out.push_str(&port.to_string()),
                    (None, Some(text)) => out.push_str(text),
                    (None, None) => {
                        return Err(
                            "the variable PORT is not set: give the service a port, such as port = 8000, or a \
                                    default: ${PORT:-8000}"
                                .into(),
                        );
                    }
                },
            }
        }
        Ok(out)
    }
}

/// The text as far as it is known before a service is looked at: what is its own stands as it is written.
pub(crate) fn so_far(parts: &[Part]) -> String {
    let piece = |part: &Part| match part {
        Part::Plain(text) | Part::Put(text, _) | Part::Own(_, text, _) => text.clone(),
    };
    parts.iter().map(piece).collect()
}

/// The text in parts, or `None` where it has no variables; or what is wrong. `own`: what a service knows of itself is left
/// for later.
pub(crate) fn expand<'a>(
    text: &str,
    own: bool,
    variable: impl Fn(&str) -> Option<&'a OsStr>,
) -> Result<Option<Vec<Part>>, String> {
    if !text.contains('$') {
        return Ok(None);
    }
    let (mut parts, mut plain, mut rest) = (Vec::new(), String::new(), text);
    while let Some(at) = rest.find('$') {
        plain.push_str(&rest[..at]);
        let behind = &rest[at + 1..];
        if let Some(after) = behind.strip_prefix('$') {
            plain.push('$');
            rest = after;
        } else if let Some(inside) = behind.strip_prefix('{') {
            let end = inside.find('}').ok_or("${ is not closed by a }: write $$ for a plain $")?;
            parts.push(Part::Plain(std::mem::take(&mut plain)));
            parts.push(part(&inside[..end], own, &variable)?);
            rest = &inside[end + 1..];
        } else {
            plain.push('$');
            rest = behind;
        }
    }
    plain.push_str(rest);
    parts.push(Part::Plain(plain));
    let changed = parts.len() > 1 || so_far(&parts) != text;
    Ok(changed.then_some(parts))
}

fn part<'a>(inside: &str, own: bool, variable: &impl Fn(&str) -> Option<&'a OsStr>) -> Result<Part, String> {
    let written = format!("${{{inside}}}");
    let (name, default) = match inside.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inside, None),
    };
    let letters = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    if name.is_empty() || !name.bytes().all(letters) || name.as_bytes()[0].is_ascii_digit() {
        return Err(format!("{written} is no variable: ${{NAME}} or ${{NAME:-default}}"));
    }
    let found = match (variable(name), default) {
        // As in a shell: an empty variable takes the default too.
        (None, Some(default)) => Some(default.to_string()),
        (Some(value), Some(default)) if value.is_empty() => Some(default.to_string()),
        (Some(value), _) => match (value.to_str(), own_name(name)) {
            (Some(text), _) => Some(text.to_string()),
            (None, Some(_)) if own => None,
            (None, _) => return Err(format!("the variable {name} is not UTF-8")),
        },
        (None, None) => None,
    };
    match (own_name(name).filter(|_| own), found) {
        (Some(own), found) => Ok(Part::Own(own, written, found)),
        (None, Some(text)) => Ok(Part::Put(text, written)),
        (None, None) => Err(format!("the variable {name} is not set: set it, or give a default: ${{{name}:-default}}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Option<String>, String> {
        let set = [("A", "one"), ("EMPTY", ""), ("SECRET", "hunter2")];
        let parts = expand(text, false, |name| set.iter().find(|(k, _)| *k == name).map(|(_, v)| OsStr::new(*v)));
        parts.map(|parts| parts.map(|parts| so_far(&parts)))
    }

    #[test]
    fn variables_defaults_and_plain_dollars() {
        for (text, wanted) in [
            ("${A}", "one"),
            ("x${A}y${A}", "xoneyone"),
            ("${B:-two}", "two"),
            ("${EMPTY:-two}", "two"),
            ("${EMPTY}x", "x"),
            ("${B:-}", ""),
            ("${B:-a:-b}", "a:-b"),
            ("$$", "$"),
            ("$${A}", "${A}"),
        ] {
            assert_eq!(of(text), Ok(Some(wanted.to_string())), "{text}");
        }
        for plain in ["", "$HOME", "100 $", "`id`; %s", "{A}"] {
            assert_eq!(of(plain), Ok(None), "{plain}");
        }
    }

    /// users 2. Failed before: no text of a service knew its replica.
    #[test]
    fn what_is_a_services_own_is_put_in_for_each_replica() {
        let facts = |replica, port| OwnFacts { service: format!("web@{replica}"), replica, port };
        let of = |text: &str, port: &str, facts: &OwnFacts| {
            let variable = |name: &str| (name == "PORT" && !port.is_empty()).then(|| OsStr::new(port));
            facts.text(&expand(text, true, variable).expect("valid").expect("with variables"))
        };
        let text = "${WATCHDOG_SERVICE}:${WATCHDOG_REPLICA}:${PORT}";
        assert_eq!(of(text, "", &facts(0, Some(5000))), Ok("web@0:0:5000".into()));
        assert_eq!(of(text, "80", &facts(1, Some(5001))), Ok("web@1:1:5001".into()), "its own port is the nearer one");
        assert_eq!(of(text, "80", &facts(1, None)), Ok("web@1:1:80".into()));
        assert_eq!(of("${PORT:-8080}", "", &facts(0, None)), Ok("8080".into()));
        assert!(of("${PORT}", "", &facts(0, None)).expect_err("no port").contains("port = 8000"));
        assert!(expand("${WATCHDOG_REPLICA}", false, |_| None).expect_err("of no service").contains("is not set"));
    }

    #[test]
    fn what_is_missing_is_named_and_what_is_there_is_not_shown() {
        assert!(of("${NO}").expect_err("missing").contains("variable NO is not set"));
        for wrong in ["${", "${A", "${}", "${1A}", "${A-x}", "${A:?x}", "${A B}", "${SECRET}${"] {
            assert!(!of(wrong).expect_err(wrong).contains("hunter2"));
        }
    }
}
