//! A JSON schema of the file, for editors, from the one list of settings. What it cannot say, `watchdog check` does.

use crate::settings::later;
use crate::settings::needs::{CONDITIONS, NEED_KEYS};
use crate::settings::probes::{self, ROLES};
use crate::settings::table::{Scope, Setting, Shape, Standard, TABLE};
use serde_json::{Map, Value, json};

/// `watchdog schema`
pub(crate) fn schema() -> String {
    let service = |s: &Setting| matches!(s.scope, Scope::Service | Scope::OneService);
    let schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "watchdog.toml",
        "description": "The services that `watchdog up` runs.",
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "watchdog": table(|s| s.scope == Scope::Instance),
            "defaults": table(|s| s.scope == Scope::Service),
            "service": {
                "type": "object",
                "additionalProperties": false,
                "patternProperties": { "^[A-Za-z0-9._-]{1,64}$": { "$ref": "#/$defs/service" } },
            },
        },
        "$defs": { "service": table(service), "probe": probe(), "need": need() },
    });
    format!("{schema:#}\n")
}

fn table(belongs: impl Fn(&Setting) -> bool) -> Value {
    let of = |key: &str| TABLE.iter().find(|s| s.key == key && belongs(s));
    let mut properties: Map<String, Value> =
        TABLE.iter().filter(|s| belongs(s)).map(|s| (s.key.to_string(), property(s))).collect();
    for (alias, key) in later::ALIASES {
        properties.extend(of(key).map(|setting| (alias.to_string(), property(setting))));
    }
    json!({ "type": "object", "additionalProperties": false, "properties": properties })
}

fn property(setting: &Setting) -> Value {
    let mut property = match setting.shape {
        Shape::Switch => json!({ "type": ["boolean", "string"] }),
        Shape::Optional(_) => json!({ "type": ["string", "boolean"] }),
        Shape::List => list(setting),
        Shape::Tree => tree(&setting.key),
        Shape::One if setting.value.ends_with(",..") => json!({ "type": ["string", "integer", "array"] }),
        Shape::One => one(setting),
    };
    if let Some(members) = property.as_object_mut() {
        members.insert("description".into(), json!(&*setting.meaning));
        let default: &str = match (&setting.up, &setting.default) {
            (Some(text), _) => text,
            (None, Standard::Value(text)) => text,
            (None, Standard::Words(_)) => return property,
        };
        members.insert("default".into(), json!(default));
    }
    property
}

/// One value. Any may be a text, for `${VAR}` is one.
fn one(setting: &Setting) -> Value {
    let words: Vec<&str> = setting.value.split('|').collect();
    if words.len() > 1 && words.iter().all(|w| !w.contains(char::is_uppercase)) {
        let of = |word: &&str| match *word {
            "true" => json!(true),
            "false" => json!(false),
            other => json!(other),
        };
        let words: Vec<Value> = words.iter().map(of).collect();
        return json!({ "anyOf": [{ "enum": words }, expansion()] });
    }
    match &*setting.value {
        "N" => json!({ "type": ["integer", "number", "string"] }),
        _ => json!({ "type": ["string", "integer", "boolean"] }),
    }
}

/// A text into which a variable is put.
fn expansion() -> Value {
    json!({ "type": "string", "pattern": "\\$\\{" })
}

fn list(setting: &Setting) -> Value {
    let scalar = json!(["string", "integer"]);
    let mut forms = vec![json!({ "type": scalar }), json!({ "type": "array", "items": { "type": scalar } })];
    if matches!(&*setting.key, "env" | "rlimit") {
        forms.push(json!({ "type": "object", "additionalProperties": { "type": ["string", "number", "boolean"] } }));
    }
    json!({ "anyOf": forms })
}

/// What is more than words.
fn tree(key: &str) -> Value {
    let text = json!({ "type": "string" });
    let or_list = |item: Value| json!({ "anyOf": [item, { "type": "array", "items": item }] });
    match key {
        "requires" => or_list(json!({ "anyOf": [text, { "$ref": "#/$defs/need" }] })),
        "depends_on" => {
            let conditions = ["service_started", "service_healthy", "service_completed_successfully"];
            let properties = json!({
                "condition": { "anyOf": [{ "enum": conditions }, expansion()] },
                "restart": { "type": ["boolean", "string"] },
                "required": { "type": ["boolean", "string"] },
            });
            let one = json!({ "type": "object", "additionalProperties": false, "properties": properties });
            json!({ "anyOf": [text, { "type": "array", "items": text }, { "type": "object", "additionalProperties": one }] })
        }
        "probe" => or_list(json!({ "anyOf": [text, { "$ref": "#/$defs/probe" }] })),
        "ports" => or_list(json!({ "type": ["integer", "string"], "minimum": 1, "maximum": 65535 })),
        _ => or_list(text),
    }
}

fn need() -> Value {
    let conditions: Vec<&str> = CONDITIONS.iter().map(|(word, _)| *word).collect();
    let of = |key: &str| match key {
        "service" => json!({ "type": "string" }),
        "condition" => json!({ "anyOf": [{ "enum": conditions }, expansion()] }),
        _ => json!({ "type": ["boolean", "string"] }),
    };
    let properties: Map<String, Value> = NEED_KEYS.iter().map(|key| (key.to_string(), of(key))).collect();
    json!({ "type": "object", "additionalProperties": false, "required": ["service"], "properties": properties })
}

fn probe() -> Value {
    let property = |key: &str, form: &str, meaning: &str| {
        let text = json!({ "type": "string" });
        let mut property = match (key, form) {
            ("check", _) => json!({ "anyOf": [text, { "type": "array", "items": text }] }),
            ("role", _) => {
                let role = json!({ "anyOf": [{ "enum": ROLES }, expansion()] });
                json!({ "anyOf": [role, { "type": "array", "items": role }] })
            }
            ("headers", _) => json!({ "type": "object" }),
            ("status", _) => json!({ "type": ["integer", "string", "array"] }),
            (_, "N") | (_, "DURATION") => json!({ "type": ["integer", "string"] }),
            _ => text,
        };
        property["description"] = json!(meaning);
        property
    };
    let all = probes::KEYS.iter().map(|(key, form, meaning)| (key.to_string(), property(key, form, meaning)));
    let properties: Map<String, Value> = all.collect();
    json!({ "type": "object", "additionalProperties": false, "required": ["check"], "properties": properties })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As much of a validator as this schema needs; the only pattern of a value is that of an expansion.
    fn valid(root: &Value, schema: &Value, value: &Value) -> Result<(), String> {
        if let Some(path) = schema["$ref"].as_str() {
            return valid(root, root.pointer(&path[1..]).expect("a definition"), value);
        }
        if let Some(forms) = schema["anyOf"].as_array() {
            let fits = forms.iter().any(|form| valid(root, form, value).is_ok());
            return if fits { Ok(()) } else { Err(format!("{value} fits none of {schema}")) };
        }
        if let Some(words) = schema["enum"].as_array() {
            return if words.contains(value) { Ok(()) } else { Err(format!("{value} is none of {words:?}")) };
        }
        let is = |kind: &Value| match kind.as_str() {
            Some("integer") => value.is_i64(),
            Some("number") => value.is_number(),
            Some("boolean") => value.is_boolean(),
            Some("array") => value.is_array(),
            Some("object") => value.is_object(),
            _ => value.is_string(),
        };
        if schema["pattern"].is_string() && !value.as_str().is_some_and(|text| text.contains("${")) {
            return Err(format!("{value} is no expansion"));
        }
        let kinds = schema["type"].as_array().cloned().unwrap_or_else(|| vec![schema["type"].clone()]);
        if !kinds.iter().any(is) {
            return Err(format!("{value} is none of {kinds:?}"));
        }
        value.as_array().into_iter().flatten().try_for_each(|item| match schema.get("items") {
            Some(items) => valid(root, items, item),
            None => Ok(()),
        })?;
        for (key, inside) in value.as_object().into_iter().flatten() {
            let pattern = schema["patternProperties"].as_object().and_then(|p| p.values().next());
            match (schema["properties"].get(key), pattern, &schema["additionalProperties"]) {
                (Some(property), ..) | (None, Some(property), _) => valid(root, property, inside)?,
                (None, None, Value::Bool(false)) => return Err(format!("{key} is no key here")),
                (None, None, _) => {}
            }
        }
        Ok(())
    }

    fn judged(text: &str) -> Result<(), String> {
        let schema: Value = serde_json::from_str(&schema()).expect("JSON");
        valid(&schema, &schema, &toml::from_str(text).expect("TOML"))
    }

    #[test]
    fn the_schema_takes_the_sample_and_refuses_what_check_refuses() {
        let sample = crate::help::sample();
        assert_eq!(judged(&sample), Ok(()));
        let uncommented = sample.lines().map(|l| match l.strip_prefix('#') {
            Some(rest) if !rest.starts_with(' ') => rest,
            _ => l,
        });
        assert_eq!(judged(&uncommented.collect::<Vec<_>>().join("\n")), Ok(()));
        assert_eq!(judged("[service.a]\nenabled = \"${ON:-false}\"\ntype = \"${T}\"\nmaxRestarts = 3\n"), Ok(()));
        for wrong in [
            "[servise.a]\n",
            "[service.a]\ncomand = \"x\"\n",
            "[defaults]\ncommand = \"x\"\n",
            "[service.a]\nrequires = [{ servce = \"b\" }]\n",
            "[service.a]\ntype = \"onshot\"\n",
            "[[service.a.probe]]\nchek = \"port:1\"\n",
            "[service.a]\ncommand = 5\n",
        ] {
            assert!(judged(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_setting_is_in_its_table() {
        let schema: Value = serde_json::from_str(&schema()).expect("JSON");
        for setting in &TABLE {
            let table = match setting.scope {
                Scope::Service => "/properties/defaults",
                Scope::OneService => "/$defs/service",
                Scope::Instance => "/properties/watchdog",
                Scope::CommandLine => continue,
            };
            let property = &schema.pointer(table).expect("a table")["properties"][&*setting.key];
            assert_eq!(property["description"], *setting.meaning, "{}", setting.key);
        }
    }
}
