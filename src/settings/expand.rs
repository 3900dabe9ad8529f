//! `${VAR}` and `${VAR:-default}` in the texts of a file, from our own environment. `$$` is one `$`; any other `$` stays.
//!
//! What comes out may be a secret: no error ever shows it.

use std::ffi::OsStr;

/// The text with its variables put in, or `None` where it has none; or what is wrong.
pub(crate) fn expand<'a>(text: &str, variable: impl Fn(&str) -> Option<&'a OsStr>) -> Result<Option<String>, String> {
    if !text.contains('$') {
        return Ok(None);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let behind = &rest[at + 1..];
        if let Some(after) = behind.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some(inside) = behind.strip_prefix('{') {
            let end = inside.find('}').ok_or("${ is not closed by a }: write $$ for a plain $")?;
            out.push_str(&value(&inside[..end], &variable)?);
            rest = &inside[end + 1..];
        } else {
            out.push('$');
            rest = behind;
        }
    }
    out.push_str(rest);
    Ok(Some(out).filter(|out| out != text))
}

fn value<'a>(inside: &str, variable: &impl Fn(&str) -> Option<&'a OsStr>) -> Result<String, String> {
    let (name, default) = match inside.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inside, None),
    };
    let letters = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    if name.is_empty() || !name.bytes().all(letters) || name.as_bytes()[0].is_ascii_digit() {
        return Err(format!("${{{inside}}} is no variable: ${{NAME}} or ${{NAME:-default}}"));
    }
    let found = variable(name);
    match (found, default) {
        // As in a shell: an empty variable takes the default too.
        (None, Some(default)) => Ok(default.to_string()),
        (Some(value), Some(default)) if value.is_empty() => Ok(default.to_string()),
        (Some(value), _) => {
            value.to_str().map(str::to_string).ok_or_else(|| format!("the variable {name} is not UTF-8"))
        }
        (None, None) => Err(format!("the variable {name} is not set: set it, or give a default: ${{{name}:-default}}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Option<String>, String> {
        let set = [("A", "one"), ("EMPTY", ""), ("SECRET", "hunter2")];
        expand(text, |name| set.iter().find(|(k, _)| *k == name).map(|(_, v)| OsStr::new(*v)))
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

    #[test]
    fn what_is_missing_is_named_and_what_is_there_is_not_shown() {
        assert!(of("${NO}").expect_err("missing").contains("variable NO is not set"));
        for wrong in ["${", "${A", "${}", "${1A}", "${A-x}", "${A:?x}", "${A B}", "${SECRET}${"] {
            assert!(!of(wrong).expect_err(wrong).contains("hunter2"));
        }
    }
}
