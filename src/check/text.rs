//! A plan for people.

use crate::settings::plan::Plan;
use crate::settings::plan::told::{Told, Value};
use std::fmt::Write;

/// Widest column of keys and of values.
const WIDEST: usize = 40;

/// `watchdog check`
pub(crate) fn page(plan: &Plan) -> String {
    let mut page = String::new();
    let services = plan.services();
    for (title, told) in std::iter::once(("[watchdog]".to_string(), plan.said.instance()))
        .chain(services.map(|service| (format!("[service.{}]", service.name), service.settings)))
    {
        let said: Vec<&Told> = told.iter().filter(|t| t.is_said() || t.note.is_some()).collect();
        if said.is_empty() && title == "[watchdog]" {
            continue;
        }
        let _ = writeln!(page, "{title}");
        section(&mut page, &said);
        page.push('\n');
    }
    page.push_str("start order:\n");
    page.push_str(&order(plan));
    page
}

fn section(page: &mut String, said: &[&Told]) {
    let values: Vec<String> = said.iter().map(|t| value(&t.value)).collect();
    let wide = |lengths: &mut dyn Iterator<Item = usize>| lengths.filter(|l| *l <= WIDEST).max().unwrap_or(0);
    let keys = wide(&mut said.iter().map(|t| t.key.len()));
    let width = wide(&mut values.iter().map(|v| v.chars().count()));
    for (told, value) in said.iter().zip(&values) {
        let from = told.at.as_deref().or(told.note).unwrap_or_default();
        let _ = writeln!(page, "  {:keys$} = {value:width$}  # {from}", told.key);
    }
}

fn value(value: &Value) -> String {
    value.to_string()
}

/// The layers of a start, a line each.
pub(crate) fn order(plan: &Plan) -> String {
    let mut page = String::new();
    let width = plan.order.len().to_string().len();
    for (index, layer) in plan.order.iter().enumerate() {
        let _ = writeln!(page, "  {:>width$}  {}", index + 1, layer.join(" "));
    }
    if plan.order.is_empty() {
        page.push_str("  nothing starts by itself\n");
    }
    page
}
