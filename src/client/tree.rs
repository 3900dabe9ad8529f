//! `tree`: who needs whom, indented; what several need is printed in full once.

use super::form::{cell, clean, coloured};
use serde_json::Value;
use std::collections::{HashMap, HashSet};

/// Deepest indentation: what lies deeper than this is below the one before it all the same.
const DEEPEST: usize = 40;

/// `tree`
pub(super) fn page(answer: &Value) -> String {
    let nodes = answer["tree"].as_array().map(Vec::as_slice).unwrap_or_default();
    let name = |node: &Value| node["name"].as_str().map(str::to_string);
    let by_name: HashMap<String, &Value> = nodes.iter().filter_map(|node| Some((name(node)?, node))).collect();
    let needed: HashSet<&str> = nodes.iter().flat_map(needs).collect();
    let is_root = |node: &&Value| node["name"].as_str().is_some_and(|name| !needed.contains(name));
    let (mut page, mut printed) = (String::new(), HashSet::new());
    // Roots first; then what only a ring holds, so that nothing is left out.
    for node in nodes.iter().filter(is_root).chain(nodes) {
        let mut open = vec![(node, 0)];
        while let Some((node, depth)) = open.pop() {
            let own = node["name"].as_str().unwrap_or_default();
            let again = !printed.insert(own);
            if again && depth == 0 {
                continue;
            }
            page.push_str(&line(node, depth, again));
            if !again {
                let below: Vec<&Value> = needs(node).filter_map(|n| by_name.get(n).copied()).collect();
                open.extend(below.into_iter().rev().map(|node| (node, depth + 1)));
            }
        }
    }
    page
}

/// The names of what a service requires: plain, or each with its condition.
fn needs(node: &Value) -> impl Iterator<Item = &str> {
    let items = node["requires"].as_array().map(Vec::as_slice).unwrap_or_default();
    items.iter().filter_map(|item| item.as_str().or_else(|| item["service"].as_str()))
}

fn line(node: &Value, depth: usize, again: bool) -> String {
    let indent = "  ".repeat(depth.min(DEEPEST));
    let mut line = format!("{indent}{}  {}", cell(&node["name"]), coloured(&cell(&node["state"])));
    if node["ready"] == Value::Bool(true) {
        line.push_str(", ready");
    }
    let waiting: Vec<String> =
        node["waiting_on"].as_array().into_iter().flatten().filter_map(|w| w.as_str().map(clean)).collect();
    if !waiting.is_empty() {
        line.push_str(&format!(", waits for {}", waiting.join(", ")));
    }
    if again && needs(node).next().is_some() {
        line.push_str(", as above");
    }
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_is_below_what_needs_it_and_printed_in_full_once() {
        let node = |name: &str, state: &str, ready: bool, requires: Value, waiting_on: Value| json!({ "name": name, "state": state, "ready": ready, "requires": requires, "waiting_on": waiting_on });
        let nodes = json!({ "tree": [
            node("db", "running", true, json!(["disk"]), json!([])),
            node("disk", "done", true, json!([]), json!([])),
            node("api", "waiting", false, json!([{ "service": "db" }, "migrate"]), json!(["migrate"])),
            node("migrate", "running", false, json!(["db"]), json!([])),
        ] });
        let wanted = "api  waiting, waits for migrate\n  db  running, ready\n    disk  done, ready\n  migrate  running\n    \
                      db  running, ready, as above\n";
        assert_eq!(page(&nodes), wanted);
    }

    #[test]
    fn a_ring_and_nonsense_end() {
        let ring =
            json!({ "tree": [{ "name": "a", "requires": ["b"] }, { "name": "b", "requires": ["a", "c"] }, {}, 5] });
        assert!(page(&ring).starts_with("a  -\n  b  -\n    a  -, as above\n"), "{}", page(&ring));
        assert_eq!(page(&json!({})), "");
        let chain: Vec<Value> =
            (0..5000).map(|n| json!({ "name": format!("s{n}"), "requires": [format!("s{}", n + 1)] })).collect();
        assert_eq!(page(&json!({ "tree": chain })).lines().count(), 5000);
    }
}
