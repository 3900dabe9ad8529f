//! Every setting of a service, with its value and the layer that it comes from: for `check`.

use super::Said;
use crate::settings::expand::OwnFacts;
use crate::settings::file::{Entry, ServiceTable};
use crate::settings::needs::{self, KINDS};
use crate::settings::node::Node;
use crate::settings::probes;
use crate::settings::raw::Raw;
use crate::settings::table::{Scope, Setting, Shape, Standard, TABLE};
pub(crate) use serde_json::Value;
use serde_json::{Map, json};
use std::os::unix::ffi::OsStrExt;
use watchdog_engine::spec::Kind;

/// What stands in the place of a value of the environment.
const VEILED: &str = "***";

/// One setting.
#[derive(Debug)]
pub(crate) struct Told {
    /// Its key.
    pub(crate) key: &'static str,
    /// As in TOML, with variables put in: what is used; null where nothing holds but what is inherited.
    pub(crate) value: Value,
    /// `flag`, `variable`, `file`, `default`.
    pub(crate) source: &'static str,
    /// The flag, the variable, or `FILE:LINE`.
    pub(crate) at: Option<String>,
    /// Why a default comes to something else here.
    pub(crate) note: Option<&'static str>,
}

/// One service.
#[derive(Debug)]
pub(crate) struct ToldService<'a> {
    /// Its name, one for all replicas.
    pub(crate) name: &'a str,
    /// All of its settings, in the order of the list.
    pub(crate) settings: Vec<Told>,
}

impl Told {
    /// Whether anybody said it.
    pub(crate) fn is_said(&self) -> bool {
        self.source != "default"
    }
}

impl Said {
    /// All services in the order of the file, disabled ones too.
    pub(crate) fn services(&self) -> impl Iterator<Item = ToldService<'_>> {
        self.contents.services.iter().map(|table| ToldService { name: &table.name, settings: self.service(table) })
    }

    /// The settings of the watchdog.
    pub(crate) fn instance(&self) -> Vec<Told> {
        let of = TABLE.iter().filter(|s| s.scope == Scope::Instance);
        of.map(|setting| self.told(setting, &[&self.contents.watchdog], None)).collect()
    }

    fn service(&self, table: &ServiceTable) -> Vec<Told> {
        let of = TABLE.iter().filter(|s| matches!(s.scope, Scope::Service | Scope::OneService));
        let kind = kind(table);
        // Of several replicas each has values of its own: they are shown as they are written.
        let facts = Some(self.facts(table, 0)).filter(|(_, replicas)| *replicas == 1).map(|(facts, _)| facts);
        of.map(|setting| match setting.fits(kind) {
            true => self.told(setting, &[&table.entries, &self.contents.defaults], facts.as_ref()),
            false => Told { key: &setting.key, value: Value::Null, source: "default", at: None, note: None },
        })
        .collect()
    }

    /// The strongest layer that says it: flag, variable, then these tables in their order.
    fn told(&self, setting: &'static Setting, tables: &[&Vec<Entry>], facts: Option<&OwnFacts>) -> Told {
        let is = |s: &&'static Setting| std::ptr::eq(*s, setting);
        let flag = self.flags.iter().find(|(s, _)| is(s));
        let variable = self.variables.iter().find(|(s, _)| is(s));
        let entry = tables.iter().find_map(|entries| entries.iter().rfind(|e| is(&e.setting)));
        let key: &'static str = &setting.key;
        let mut told = match (flag, variable, entry) {
            (Some((_, raw)), _, _) => {
                Told { key, value: of_raw(setting, raw), source: "flag", at: Some(setting.flag()), note: None }
            }
            (None, Some((_, raw)), _) => {
                Told { key, value: of_raw(setting, raw), source: "variable", at: Some(setting.variable()), note: None }
            }
            (None, None, Some(entry)) => {
                let source = &self.sources[entry.spot.source];
                let at = format!("{}:{}", source.shown, source.position(entry.spot.at).0);
                let settled = facts.filter(|_| entry.node.has_own()).and_then(|facts| entry.node.settled(facts).ok());
                let value = of_node(setting, settled.as_ref().unwrap_or(&entry.node));
                Told { key, value, source: "file", at: Some(at), note: None }
            }
            (None, None, None) => Told { key, value: of_default(setting), source: "default", at: None, note: None },
        };
        match key {
            "env" if told.is_said() => told.value = self.env(tables, flag.map(|f| &f.1), variable.map(|v| &v.1)),
            "probe" => veil_headers(&mut told.value),
            _ => {}
        }
        told
    }

    /// What a replica of a service knows of itself, and how many there are. What is not understood counts as not said.
    pub(super) fn facts(&self, table: &ServiceTable, replica: u32) -> (OwnFacts, u32) {
        let said = |key: &str| {
            let is = |s: &&'static Setting| s.key == key;
            let above = self.flags.iter().chain(&self.variables).find(|(s, _)| is(s)).map(|(_, raw)| raw.clone());
            let mut tables = [&table.entries, &self.contents.defaults].into_iter();
            above.or_else(|| {
                tables.find_map(|t| t.iter().rfind(|e| is(&e.setting))).and_then(|e| Raw::of(&e.node, false).ok())
            })
        };
        let replicas = said("replicas").and_then(|raw| needs::replicas(&raw).ok()).unwrap_or(1);
        let first = said("port").and_then(|raw| needs::first_port(&raw).ok()?);
        let port = first.and_then(|first| u16::try_from(u32::from(first) + replica).ok());
        let name = &table.name;
        let service = if replicas == 1 { name.clone() } else { format!("{name}@{replica}") };
        (OwnFacts { service, replica, port }, replicas)
    }

    /// The names of all layers together; never a value.
    fn env(&self, tables: &[&Vec<Entry>], flag: Option<&Raw>, variable: Option<&Raw>) -> Value {
        let mut names = Map::new();
        let entries = tables.iter().rev().flat_map(|entries| entries.iter().filter(|e| e.setting.key == "env"));
        let of_files = entries.filter_map(|entry| Raw::of(&entry.node, false).ok());
        for raw in of_files.collect::<Vec<_>>().iter().chain(variable).chain(flag) {
            for pair in raw.pairs() {
                let name = pair.as_bytes().split(|b| *b == b'=').next().unwrap_or_default();
                names.insert(String::from_utf8_lossy(name).into_owned(), json!(VEILED));
            }
        }
        Value::Object(names)
    }
}

/// What a service of a file that is right is.
fn kind(table: &ServiceTable) -> Kind {
    let entry = table.entries.iter().rfind(|entry| entry.setting.key == "type");
    let word = entry.and_then(|entry| entry.node.text().ok());
    KINDS.iter().find(|(known, _)| word == Some(known)).map(|(_, kind)| *kind).unwrap_or_default()
}

/// What a request carries may be a password.
fn veil_headers(probes: &mut Value) {
    let tables = match probes {
        Value::Array(items) => items.as_mut_slice(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
            std::slice::from_mut(probes)
        }
    };
    for headers in tables.iter_mut().filter_map(|probe| probe.get_mut("headers")?.as_object_mut()) {
        headers.values_mut().for_each(|value| *value = json!(VEILED));
    }
}

/// A flag or variable as a file would have it.
fn of_raw(setting: &Setting, raw: &Raw) -> Value {
    let words: Vec<String> = raw.words.iter().map(|w| w.to_string_lossy().into_owned()).collect();
    match (setting.shape, words.as_slice()) {
        (Shape::List, _) => raw.list().unwrap_or(words).into_iter().map(|w| typed(setting, &w)).collect(),
        (_, [.., last]) => typed(setting, last),
        (_, []) => Value::Null,
    }
}

fn of_default(setting: &Setting) -> Value {
    match (setting.up, setting.default) {
        (Some(text), _) => typed(setting, &text),
        (None, Standard::Value(text)) if setting.shape == Shape::List || text.contains(',') => {
            text.split(',').map(|text| typed(setting, text)).collect()
        }
        (None, Standard::Value(text)) => typed(setting, &text),
        (None, Standard::Words(_)) => match &*setting.key {
            "stop_signal" => json!("TERM"),
            "dialects" => json!(["native", "notify"]),
            _ => Value::Null,
        },
    }
}

/// A value of a file.
fn of_node(setting: &Setting, node: &Node) -> Value {
    node.json("", &|key, text| {
        let form = probes::KEYS.iter().find(|(known, ..)| setting.key == "probe" && *known == key);
        match (form, key) {
            (Some((_, "N", _)), _) => in_toml(text, true, false),
            (None, "once") => in_toml(text, false, true),
            (Some(_) | None, _) => typed(setting, text),
        }
    })
}

/// What a word of this setting is in TOML.
fn typed(setting: &Setting, text: &str) -> Value {
    let counts = matches!(&*setting.value, "N" | "N[/udp],.." | "END,..");
    let switch = matches!(setting.shape, Shape::Switch | Shape::Optional(_)) || setting.value.starts_with("true|");
    in_toml(text, counts, switch)
}

/// A number or a truth value where one is taken; everything else is a text.
fn in_toml(text: &str, counts: bool, switch: bool) -> Value {
    match (text.parse::<i64>(), text) {
        (Ok(number), _) if counts && number.to_string() == text => json!(number),
        (_, "true") if switch => json!(true),
        (_, "false") if switch => json!(false),
        _ => json!(text),
    }
}
