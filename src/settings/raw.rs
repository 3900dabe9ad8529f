//! A value as it was written, before anybody knows what it means.

use super::fault::Fault;
use super::node::{Node, Value};
use super::values;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

/// Which layer a value was written in: it decides how lists are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layer {
    /// A key of a file: an array, a table, or a single value.
    File,
    /// One environment variable.
    Variable,
    /// One flag, perhaps given several times.
    Flag,
}

/// The words given for one setting in one layer. Never empty but for an empty array of a file.
#[derive(Clone, Debug)]
pub(crate) struct Raw {
    /// Where they come from.
    pub(crate) layer: Layer,
    /// A repeated flag, the items of an array, the `K=V` of a table; else one.
    pub(crate) words: Vec<OsString>,
    /// Whether the words are the items of an array or table, and are cut no further.
    pub(crate) items: bool,
    /// The value itself, for the settings that are more than words.
    pub(crate) tree: Option<Node>,
    /// Whether one of the words was a number or a truth value, not a text.
    pub(crate) untexted: bool,
}

impl Raw {
    /// One word of one layer.
    pub(crate) fn one(layer: Layer, word: impl Into<OsString>) -> Raw {
        Raw { layer, words: vec![word.into()], items: false, tree: None, untexted: false }
    }

    /// A value of a file in the words of a flag; `tree`: as it stands.
    pub(crate) fn of(node: &Node, tree: bool) -> Result<Raw, Fault> {
        let mut raw = Raw { words: Vec::new(), ..Raw::one(Layer::File, "") };
        if tree {
            raw.tree = Some(node.clone());
            return Ok(raw);
        }
        let untexted = |node: &Node| matches!(node.value, Value::Number(_) | Value::Switch(_));
        match &node.value {
            Value::List(items) => {
                raw.items = true;
                for (at, item) in items.iter().enumerate() {
                    let word = item.word().map_err(|f| f.inside(item.at, format!("[{at}]")))?;
                    raw.words.push(word.into());
                    raw.untexted |= untexted(item);
                }
            }
            Value::Table(fields) => {
                raw.items = true;
                for field in fields {
                    let word = field.node.word().map_err(|f| f.inside(field.node.at, format!(".{}", field.key)))?;
                    raw.words.push(format!("{}={word}", field.key).into());
                }
            }
            Value::Text { .. } | Value::Number(_) | Value::Switch(_) => {
                raw.words.push(node.word()?.into());
                raw.untexted = untexted(node);
            }
        }
        Ok(raw)
    }

    /// The value as it stands in a file.
    pub(crate) fn tree(&self) -> Result<&Node, Fault> {
        self.tree.as_ref().ok_or_else(|| Fault::usage("stands in a file alone, under [service.NAME]"))
    }

    /// The only word; of a flag that was repeated, the last.
    pub(crate) fn word(&self) -> Result<&OsStr, Fault> {
        match (self.items, self.words.last()) {
            (false, Some(word)) => Ok(word),
            _ => Err(Fault::usage("takes one value, not a list")),
        }
    }

    /// The only word, as text.
    pub(crate) fn text(&self) -> Result<&str, Fault> {
        utf8(self.word()?)
    }

    /// The only word, as a path. Bytes as they are; empty is refused.
    pub(crate) fn path(&self) -> Result<PathBuf, Fault> {
        self.texted()?;
        path(self.word()?)
    }

    /// All words, cut at commas; nothing at all is an empty list.
    pub(crate) fn list(&self) -> Result<Vec<String>, Fault> {
        self.os_list().iter().map(|word| utf8(word).map(|t| t.trim().to_string())).collect()
    }

    /// All words as paths, cut at commas.
    pub(crate) fn paths(&self) -> Result<Vec<PathBuf>, Fault> {
        self.texted()?;
        self.os_list().iter().map(|word| path(word)).collect()
    }

    /// A path or a name is a text: a number in its place is a slip.
    fn texted(&self) -> Result<(), Fault> {
        match (self.untexted, self.words.last()) {
            (true, Some(word)) => Err(Fault::usage(format!("takes a text, not {}", word.display()))),
            _ => Ok(()),
        }
    }

    /// K=V words: a flag is one pair and may hold commas, a variable holds several pairs with commas between.
    pub(crate) fn pairs(&self) -> Vec<OsString> {
        if self.layer == Layer::Variable { self.os_list() } else { self.words.clone() }
    }

    /// All words as text, cut nowhere.
    pub(crate) fn texts(&self) -> Result<Vec<&str>, Fault> {
        self.words.iter().map(|word| utf8(word)).collect()
    }

    /// Shorthands for the table.
    pub(crate) fn duration(&self) -> Result<Duration, Fault> {
        values::duration(self.text()?)
    }

    /// A switch.
    pub(crate) fn switch(&self) -> Result<bool, Fault> {
        values::switch(self.text()?)
    }

    /// A whole number inside bounds.
    pub(crate) fn count(&self, low: i64, high: i64) -> Result<i64, Fault> {
        values::count(self.text()?, low, high)
    }

    /// A whole number that counts something, up to a million.
    pub(crate) fn number(&self) -> Result<u32, Fault> {
        Ok(self.count(0, 1_000_000)? as u32)
    }

    fn os_list(&self) -> Vec<OsString> {
        if self.items {
            return self.words.clone();
        }
        let parts = self.words.iter().flat_map(|w| w.as_bytes().split(|b| *b == b','));
        let parts: Vec<&[u8]> = parts.collect();
        if let [only] = parts.as_slice()
            && only.is_empty()
        {
            return Vec::new();
        }
        parts.into_iter().map(|p| OsStr::from_bytes(p).to_os_string()).collect()
    }
}

fn utf8(word: &OsStr) -> Result<&str, Fault> {
    word.to_str().ok_or_else(|| Fault::usage(format!("{word:?} is not UTF-8")))
}

fn path(word: &OsStr) -> Result<PathBuf, Fault> {
    if word.is_empty() { Err(Fault::usage("an empty path")) } else { Ok(PathBuf::from(word)) }
}
