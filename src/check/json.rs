//! A plan, or what is wrong with it, for programs: product.md section 13.

use crate::settings::Fault;
use crate::settings::plan::Plan;
use crate::settings::plan::told::Told;
use serde_json::{Map, Value, json};

/// `check --json` of a file that is right.
pub(crate) fn valid(plan: &Plan) -> String {
    let services: Vec<Value> = plan
        .services()
        .map(|service| {
            let settings: Map<String, Value> = service.settings.iter().map(setting).collect();
            json!({ "name": service.name, "settings": settings })
        })
        .collect();
    page(&json!({
        "valid": true,
        "errors": [],
        "warnings": plan.warnings,
        "services": services,
        "start_order": plan.order,
    }))
}

fn setting(told: &Told) -> (String, Value) {
    (told.key.to_string(), json!({ "value": told.value, "source": told.source, "at": told.at }))
}

/// `check --json` of one that is not.
pub(crate) fn invalid(faults: &[Fault]) -> String {
    let errors: Vec<Value> = faults.iter().map(error).collect();
    page(&json!({ "valid": false, "errors": errors, "warnings": [], "services": [], "start_order": [] }))
}

/// One error. What is not in a file has no place.
fn error(fault: &Fault) -> Value {
    match fault.place.as_deref() {
        Some(place) => json!({
            "file": place.file,
            "line": Some(place.line).filter(|line| *line > 0),
            "column": Some(place.column).filter(|column| *column > 0),
            "key": Some(&place.key).filter(|key| !key.is_empty()),
            "message": place.message,
            "nearest": fault.nearest,
        }),
        None => json!({
            "file": null,
            "line": null,
            "column": null,
            "key": null,
            "message": fault.bare(),
            "nearest": fault.nearest,
        }),
    }
}

fn page(value: &Value) -> String {
    format!("{value}\n")
}
