//! Text that others wrote, made harmless: nothing that a terminal would obey or hide reaches one.

use serde_json::Value;
use watchdog_engine::is_hidden;

/// One line: each letter that would not be seen is spelt out.
pub(crate) fn clean(text: &str) -> String {
    clean_but(text, |_| false)
}

/// The same with tabs as they are.
pub(crate) fn clean_but_tabs(text: &str) -> String {
    clean_but(text, |c| c == '\t')
}

fn clean_but(text: &str, kept: impl Fn(char) -> bool) -> String {
    if !text.contains(is_hidden) {
        return text.to_string();
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_hidden(c) && !kept(c) { spell(&mut out, c) } else { out.push(c) }
    }
    out
}

/// Spells one letter out.
pub(crate) fn spell(out: &mut String, c: char) {
    out.extend(c.escape_default());
}

/// JSON on one line. What JSON may leave as it is, and a terminal does not, is spelt out: it is read as the same.
pub(crate) fn json(value: &Value) -> String {
    let text = value.to_string();
    if !text.contains(is_hidden) {
        return text;
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_hidden(c) {
            c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| out.push_str(&format!("\\u{unit:04x}")));
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// L6. Failed before: changes of direction, letters without a width and ends of lines reached terminals.
    #[test]
    fn nothing_hidden_is_left_and_nothing_else_is_touched() {
        let sly = "a\u{202e}b\u{200b}c\u{2028}d\u{9b}1m\u{1b}[2J\te\u{e0041}";
        assert_eq!(clean(sly), "a\\u{202e}b\\u{200b}c\\u{2028}d\\u{9b}1m\\u{1b}[2J\\te\\u{e0041}");
        assert!(clean_but_tabs(sly).contains('\t'));
        assert_eq!(clean("grüße 中文 \u{1f600}"), "grüße 中文 \u{1f600}");
        let text = json(&json!({ "line": sly }));
        assert!(!text.contains(is_hidden), "{text}");
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), json!({ "line": sly }));
    }
}
