//! A value of a file as a tree of our own: variables put in, each part with its place.

use super::expand::{OwnFacts, Part, expand, so_far};
use super::fault::Fault;
use serde_json::{Value as Json, json};
use std::ffi::OsStr;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// One value and its offset in the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    /// Offset.
    pub(crate) at: usize,
    /// What stands there.
    pub(crate) value: Value,
}

/// What a value may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    /// A text; `written` is how it stands in the file where variables were put into it.
    Text {
        /// As it counts.
        text: String,
        /// As it was written, where that differs.
        written: Option<String>,
        /// Its parts, where some of them are known of one replica alone.
        own: Option<Vec<Part>>,
    },
    /// A number, as it was written.
    Number(String),
    /// `true` or `false`.
    Switch(bool),
    /// `[..]`
    List(Vec<Node>),
    /// `{..}` or a table of its own, in the order of the file.
    Table(Vec<Field>),
}

/// One key of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Field {
    /// Its name.
    pub(crate) key: String,
    /// Offset of the name.
    pub(crate) at: usize,
    /// Its value.
    pub(crate) node: Node,
}

impl Value {
    /// What it is, for people.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Value::Text { .. } => "a text",
            Value::Number(_) => "a number",
            Value::Switch(_) => "true or false",
            Value::List(_) => "a list",
            Value::Table(_) => "a table",
        }
    }
}

/// Makes a tree of what the parser read. What is wrong goes into `faults`, each with its place. `own`: what a service knows
/// of itself is put in later, by `settled`.
pub(crate) fn node<'a>(
    value: &Spanned<DeValue<'_>>,
    own: bool,
    variable: &impl Fn(&str) -> Option<&'a OsStr>,
    faults: &mut Vec<Fault>,
) -> Option<Node> {
    let at = value.span().start;
    let value = match value.get_ref() {
        DeValue::String(text) => text_of(text, at, own, variable, faults)?,
        // Octal stays as it was written: a mask is written so.
        DeValue::Integer(number) => Value::Number(number.to_string()),
        DeValue::Float(number) => Value::Number(number.as_str().to_string()),
        DeValue::Boolean(switch) => Value::Switch(*switch),
        DeValue::Datetime(_) => {
            faults.push(Fault::usage("a date stands here, and no setting takes one").inside(at, ""));
            return None;
        }
        DeValue::Array(items) => {
            let before = faults.len();
            let items: Vec<Node> = items.iter().filter_map(|item| node(item, own, variable, faults)).collect();
            if faults.len() > before {
                return None;
            }
            Value::List(items)
        }
        DeValue::Table(table) => Value::Table(fields(table, own, variable, faults)?),
    };
    Some(Node { at, value })
}

fn text_of<'a>(
    text: &str,
    at: usize,
    own: bool,
    variable: &impl Fn(&str) -> Option<&'a OsStr>,
    faults: &mut Vec<Fault>,
) -> Option<Value> {
    // No path, argument or variable can hold one.
    if text.contains('\0') {
        faults.push(Fault::usage("holds a NUL character").inside(at, ""));
        return None;
    }
    match expand(text, own, variable) {
        Ok(None) => Some(Value::Text { text: text.to_string(), written: None, own: None }),
        Ok(Some(parts)) => {
            let known = !parts.iter().any(|part| matches!(part, Part::Own(..)));
            let own = (!known).then(|| parts.clone());
            Some(Value::Text { text: so_far(&parts), written: Some(text.to_string()), own })
        }
        Err(what) => {
            faults.push(Fault::usage(what).inside(at, ""));
            None
        }
    }
}

fn fields<'a>(
    table: &DeTable<'_>,
    own: bool,
    variable: &impl Fn(&str) -> Option<&'a OsStr>,
    faults: &mut Vec<Fault>,
) -> Option<Vec<Field>> {
    let before = faults.len();
    let mut fields: Vec<Field> = Vec::new();
    for (key, value) in table {
        let named = faults.len();
        if let Some(node) = node(value, own, variable, faults) {
            fields.push(Field { key: key.get_ref().to_string(), at: key.span().start, node });
        }
        for fault in &mut faults[named..] {
            if let Some(inside) = &mut fault.inside {
                inside.1 = format!(".{}{}", key.get_ref(), inside.1);
            }
        }
    }
    fields.sort_by_key(|f| f.at);
    (faults.len() == before).then_some(fields)
}

impl Node {
    /// Its text, or that it is something else.
    pub(crate) fn text(&self) -> Result<&str, Fault> {
        match &self.value {
            Value::Text { text, .. } => Ok(text),
            Value::Number(_) | Value::Switch(_) | Value::List(_) | Value::Table(_) => {
                Err(Fault::usage(format!("{} stands where a text is expected", self.value.kind())))
            }
        }
    }

    /// Whether something of it is known of one replica alone.
    pub(crate) fn has_own(&self) -> bool {
        match &self.value {
            Value::Text { own, .. } => own.is_some(),
            Value::Number(_) | Value::Switch(_) => false,
            Value::List(items) => items.iter().any(Node::has_own),
            Value::Table(fields) => fields.iter().any(|field| field.node.has_own()),
        }
    }

    /// The same for this replica: what is its own is put in.
    pub(crate) fn settled(&self, facts: &OwnFacts) -> Result<Node, Fault> {
        let value = match &self.value {
            Value::Text { written, own: Some(parts), .. } => {
                let text = facts.text(parts).map_err(|what| Fault::usage(what).inside(self.at, ""))?;
                Value::Text { text, written: written.clone(), own: Some(parts.clone()) }
            }
            Value::Text { own: None, .. } | Value::Number(_) | Value::Switch(_) => self.value.clone(),
            Value::List(items) => Value::List(items.iter().map(|i| i.settled(facts)).collect::<Result<_, _>>()?),
            Value::Table(fields) => {
                let settled = |f: &Field| {
                    let node = f.node.settled(facts).map_err(|mut fault| {
                        fault.inside.iter_mut().for_each(|inside| inside.1 = format!(".{}{}", f.key, inside.1));
                        fault
                    })?;
                    Ok(Field { key: f.key.clone(), at: f.at, node })
                };
                Value::Table(fields.iter().map(settled).collect::<Result<_, Fault>>()?)
            }
        };
        Ok(Node { at: self.at, value })
    }

    /// One plain value as the word a flag would have.
    pub(crate) fn word(&self) -> Result<String, Fault> {
        match &self.value {
            Value::Text { text, .. } => Ok(text.clone()),
            Value::Number(number) => Ok(number.clone()),
            Value::Switch(switch) => Ok(switch.to_string()),
            Value::List(_) | Value::Table(_) => {
                Err(Fault::usage(format!("{} stands where one value is expected", self.value.kind())))
            }
        }
    }

    /// The items of a list; anything else is a list of itself.
    pub(crate) fn items(&self) -> &[Node] {
        match &self.value {
            Value::List(items) => items,
            Value::Text { .. } | Value::Number(_) | Value::Switch(_) | Value::Table(_) => std::slice::from_ref(self),
        }
    }

    /// Every text inside into which variables were put: as it counts, as it was written.
    pub(crate) fn expanded<'a>(&'a self, found: &mut Vec<(&'a str, &'a str)>) {
        match &self.value {
            Value::Text { own: Some(parts), .. } => found.extend(parts.iter().filter_map(|part| match part {
                Part::Put(text, written) => Some((text.as_str(), written.as_str())),
                Part::Plain(_) | Part::Own(..) => None,
            })),
            Value::Text { text, written: Some(written), .. } => found.push((text, written)),
            Value::Text { .. } | Value::Number(_) | Value::Switch(_) => {}
            Value::List(items) => items.iter().for_each(|item| item.expanded(found)),
            Value::Table(fields) => fields.iter().for_each(|field| field.node.expanded(found)),
        }
    }

    /// As JSON, as it counts. `of`: what a text means into which variables were put, by the key of its own table.
    pub(crate) fn json(&self, key: &str, of: &impl Fn(&str, &str) -> Json) -> Json {
        match &self.value {
            Value::Text { text, written: None, .. } => json!(text),
            Value::Text { text, written: Some(_), .. } => of(key, text),
            Value::Number(number) => number_json(number),
            Value::Switch(switch) => json!(switch),
            Value::List(items) => items.iter().map(|item| item.json(key, of)).collect(),
            Value::Table(fields) => {
                Json::Object(fields.iter().map(|f| (f.key.clone(), f.node.json(&f.key, of))).collect())
            }
        }
    }
}

/// A number of TOML as one of JSON; what JSON has not stays a text.
fn number_json(number: &str) -> Json {
    let plain = number.replace('_', "");
    serde_json::from_str(plain.trim_start_matches('+')).unwrap_or_else(|_| json!(number))
}
