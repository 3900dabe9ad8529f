//! `/metrics`: what stands there is true, and the readers of the Prometheus project take it (HTP-13).
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod common;
use common::probes::probe;
use common::web::{metric, page};
use common::{Dog, Run, procs, skip, stays, victim, wait_for};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Reads a page as a Prometheus client does, and prints what it understood.
const READER: &str = "
import json, sys
from prometheus_client.parser import text_string_to_metric_families as families
print(json.dumps([[f.name, f.type, f.documentation, [[s.name, s.labels, repr(s.value)] for s in f.samples]]
                  for f in families(sys.stdin.read())]))
";

fn doc(name: &str) -> String {
    std::fs::read_to_string(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// Name, kind and labels of each metric that docs/metrics.md lists.
fn documented() -> BTreeMap<String, (String, BTreeSet<String>)> {
    let page = doc("docs/metrics.md");
    let rows = page.lines().filter(|l| l.starts_with("| `watchdog_") || l.starts_with("| `process_"));
    rows.map(|row| {
        let cells: Vec<&str> = row.split(" | ").collect();
        let labels = cells[2].split(", ").map(|l| l.trim_matches('`').to_owned()).filter(|l| !l.is_empty()).collect();
        (cells[0].trim_matches(&['|', ' ', '`'][..]).to_owned(), (cells[1].to_owned(), labels))
    })
    .collect()
}

/// Everything that has a metric at the same time: a worker that speaks, is measured, probed, over its limits and restarted.
fn everything() -> Dog {
    let talker = victim(&["talk", "hello", "ready", "metrics:jobs \"done\"\\=3", "histogram:took=2,1", "serve"]);
    let file = format!(
        "[service.web]\n{talker}\nmemory_limit = \"1MiB\"\nmemory_soft_limit = \"512KiB\"\ncpu_limit = \"1%\"\n\
         memory_action = \"warn\"\ncpu_action = \"warn\"\n{}[service.bad]\n{}\n[service.lost]\n{}\nrequires = [\"bad\"]\n",
        probe("web", "\"exec:true\"", "name = \"asks\"\nrole = \"readiness\""),
        victim(&["exit", "3"]),
        victim(&["sleep"]),
    );
    let run = Run::quick_file(&file).flag("--sample-interval", "100ms").flag("--heartbeat-interval", "100ms");
    let dog = run.flag("--restart-limit", "2").with_http().spawn();
    dog.wait_service_state("bad", "failed");
    dog.wait_ready("web");
    kill(Pid::from_raw(dog.pid_of("web", 1)), Signal::SIGKILL).unwrap();
    dog.pid_of("web", 2);
    dog.wait_metric("watchdog_service_heartbeat_rtt_seconds_count{service=\"web\"}", "beats", |n| n >= 1.0);
    dog.wait_metric("watchdog_service_over_limit_samples_total{service=\"web\",limit=\"memory\"}", "over", |n| {
        n >= 1.0
    });
    dog.page("/alive");
    dog.wait_metric("watchdog_http_responses_total{code=\"200\"}", "counted", |n| n >= 1.0);
    dog.wait_metric("worker_jobs__done___total{service=\"web\"}", "its own", |n| n == 3.0);
    dog
}

/// HTP-13: the official parser takes it, and it is what docs/metrics.md says: no more, no less
#[test]
fn the_parser_of_the_prometheus_project_takes_the_page_and_it_is_as_documented() {
    let dog = everything();
    let text = dog.page("/metrics").body;
    dog.stop();
    assert!(text.contains("worker_took_bucket{service=\"web\",le=\"0.5\"} 2\n"), "{text}");
    assert!(text.contains("worker_took_count{service=\"web\"} 3\n"), "{text}");
    let Some(families) = parsed(&text) else { return };
    let documented = documented();
    assert!(documented.len() > 30, "{documented:?}");
    let mut seen = BTreeSet::new();
    for family in families.as_array().unwrap() {
        let (kind, samples) = (family[1].as_str().unwrap(), family[3].as_array().unwrap());
        // the reader takes the end of a counter's name off
        let end = if kind == "counter" { "_total" } else { "" };
        let name = format!("{}{end}", family[0].as_str().unwrap());
        if name.starts_with("worker_") {
            assert_eq!(samples[0][1]["service"], "web", "{family}");
            continue;
        }
        let (wanted, labels) = documented.get(&name).unwrap_or_else(|| panic!("{name} is not in docs/metrics.md"));
        assert_eq!(kind, wanted, "{name}");
        assert!(!samples.is_empty(), "{name} has no sample, although everything that has one is there");
        for sample in samples {
            let own: BTreeSet<String> = sample[1].as_object().unwrap().keys().filter(|k| *k != "le").cloned().collect();
            assert!(own.is_subset(labels), "{name}: {sample}");
        }
        assert!(family[2].as_str().is_some_and(|help| help.len() > 8), "{name} has no help");
        seen.insert(name);
    }
    let missing: Vec<&String> = documented.keys().filter(|name| !seen.contains(*name)).collect();
    assert!(missing.is_empty(), "documented, and not on the page: {missing:?}");
    let probes = text.lines().find(|l| l.starts_with("watchdog_service_probe_success")).unwrap();
    assert_eq!(probes, "watchdog_service_probe_success{service=\"web\",probe=\"asks\"} 1");
}

/// What the official client of Prometheus makes of a page; `None`, said so, where there is none.
fn parsed(text: &str) -> Option<Value> {
    let has = |python: &&&str| {
        let mut command = Command::new(python);
        command.args(["-c", "import prometheus_client"]).stderr(Stdio::null());
        command.status().is_ok_and(|s| s.success())
    };
    let Some(python) = ["python3", "/usr/bin/python3"].iter().find(has) else {
        skip("the Python client of Prometheus is not installed (python3-prometheus-client)");
        return None;
    };
    let mut reader =
        Command::new(python).args(["-c", READER]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    reader.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = reader.wait_with_output().unwrap();
    assert!(output.status.success(), "the parser refuses the page:\n{text}");
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

/// Samples of a page by name and labels, those of workers left out.
fn samples(text: &str) -> BTreeMap<String, f64> {
    let own = text.lines().filter(|l| !l.starts_with('#') && !l.starts_with("worker_"));
    own.map(|l| l.rsplit_once(' ').unwrap()).map(|(name, n)| (name.to_owned(), n.parse().unwrap())).collect()
}

/// HTP-13: whatever ends and comes again
#[test]
fn no_count_ever_goes_back() {
    let file = format!(
        "[service.web]\n{}\n{}[service.spin]\n{}\n",
        victim(&["talk", "hello", "ready", "serve"]),
        probe("web", "\"exec:true\"", "role = \"readiness\""),
        victim(&["talk", "spin"]),
    );
    let run = Run::quick_file(&file).flag("--heartbeat-interval", "100ms").flag("--restart-limit", "0");
    let dog = run.flag("--crash-loop-limit", "0").flag("--restart-delay-factor", "1").with_http().spawn();
    let at = dog.http();
    let mut before: BTreeMap<String, f64> = BTreeMap::new();
    for round in 1..=5 {
        for name in ["web", "spin"] {
            let pid = dog.pid_of(name, round);
            dog.wait_ready(name);
            // measured in each of its lives, and used something
            let measured = format!("watchdog_service_resident_memory_bytes{{service=\"{name}\"}}");
            dog.wait_metric(&measured, "measured", |n| n > 0.0);
            kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
        }
        let now = samples(&page(&at, "/metrics").body);
        for (sample, n) in &before {
            let name = sample.split('{').next().unwrap();
            if ["_total", "_count", "_sum", "_bucket"].iter().any(|end| name.ends_with(end)) {
                let later = now.get(sample).unwrap_or_else(|| panic!("{sample} is gone"));
                assert!(later >= n, "{sample} was {n} and is {later}");
            }
        }
        before = now;
    }
    let used = "watchdog_service_cpu_seconds_total{service=\"spin\"}";
    dog.wait_metric(used, "the time of all its lives", |n| n >= before[used] && n > 0.0);
    dog.wait_metric("watchdog_service_exits_total{service=\"web\",signal=\"KILL\"}", "all of them", |n| n == 5.0);
    dog.wait_metric("watchdog_service_restarts_total{service=\"web\",cause=\"signalled\"}", "all", |n| n == 5.0);
    dog.stop();
}

/// What is measured is what the kernel says
#[test]
fn memory_threads_and_descriptors_are_those_of_the_processes() {
    let dog = Run::quick().with_http().worker(["sleep"]).spawn();
    let pid = dog.worker_pid(1);
    let name = dog.status()["name"].as_str().unwrap().to_owned();
    let of = |what: &str| format!("watchdog_service_{what}{{service=\"{name}\"}}");
    // at its start these change
    let kib = |pid| procs::status_field(pid, "VmRSS") as f64;
    dog.wait_metric(&of("resident_memory_bytes"), "as the kernel has it", |n| (n / 1024.0 - kib(pid)).abs() < 2048.0);
    let open = || std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count() as f64;
    dog.wait_metric(&of("open_fds"), "as the kernel has it", |n| n == open());
    dog.wait_metric(&of("threads"), "as the kernel has it", |n| n == procs::status_field(pid, "Threads") as f64);
    let own = metric(&dog.page("/metrics").body, "process_resident_memory_bytes").unwrap();
    assert!((own / 1024.0 - kib(dog.pid())).abs() < 4096.0, "{own} bytes, {} KiB", kib(dog.pid()));
    dog.stop().code(143);
}

/// Who looks changes nothing: limits are judged by their own samples
#[test]
fn scrapes_are_no_samples_of_a_limit() {
    let run = Run::quick().flag("--cpu-limit", "1%").flag("--cpu-samples", "2").flag("--sample-interval", "1h");
    let dog = run.with_http().talks(&["spin"]).spawn();
    let at = dog.http();
    let name = dog.status()["name"].as_str().unwrap().to_owned();
    let used = format!("watchdog_service_cpu_seconds_total{{service=\"{name}\"}}");
    stays("no threshold", Duration::from_millis(3500), || {
        page(&at, "/metrics");
        dog.events_of("threshold").is_empty()
    });
    dog.wait_metric(&used, "it used more than its limit", |n| n > 0.1);
    dog.stop().count("threshold", 0);
}

/// A dashboard that asks for what is not there shows nothing, and says nothing
#[test]
fn the_dashboard_asks_for_metrics_that_exist() {
    let known: BTreeSet<String> = documented()
        .into_iter()
        .flat_map(|(name, (kind, _))| {
            let ends: &[&str] = match kind.as_str() {
                "histogram" => &["_bucket", "_sum", "_count"],
                "summary" => &["_sum", "_count"],
                _ => &[""],
            };
            ends.iter().map(move |end| format!("{name}{end}")).collect::<Vec<_>>()
        })
        .collect();
    let of_workers = doc("docs/metrics.md");
    let dashboard: Value = serde_json::from_str(&doc("deploy/grafana.json")).unwrap();
    let mut asked = BTreeSet::new();
    expressions(&dashboard, &mut asked);
    assert!(asked.len() > 10, "{asked:?}");
    let mut used = BTreeSet::new();
    for expression in &asked {
        let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        for word in words.filter(|w| ["watchdog_", "process_", "worker_"].iter().any(|p| w.starts_with(p))) {
            let exists = known.contains(word) || of_workers.contains(&format!("| `{word}` |"));
            assert!(exists, "{word} of {expression} does not exist");
            used.insert(word.to_owned());
        }
    }
    for part in ["restarts", "state", "resident_memory", "cpu_seconds", "heartbeat_rtt", "probe_", "connections"] {
        assert!(used.iter().any(|w| w.contains(part)), "nothing about {part}: {used:?}");
    }
}

/// All members `expr` and `query` of a dashboard.
fn expressions(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            for (key, value) in members {
                if let Some(text) = value.as_str().filter(|_| key == "expr" || key == "query") {
                    found.insert(text.to_owned());
                }
                expressions(value, found);
            }
        }
        Value::Array(all) => all.iter().for_each(|value| expressions(value, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// A reload gives the place of a service to another: what was counted of the first is not the other's
#[test]
fn counts_go_with_the_service_they_are_about() {
    let file = |name: &str| format!("[service.{name}]\n{}\n", victim(&["sleep"]));
    let dog = Run::quick_file(&file("old")).with_http().spawn();
    kill(Pid::from_raw(dog.pid_of("old", 1)), Signal::SIGKILL).unwrap();
    dog.wait_metric("watchdog_service_exits_total{service=\"old\",signal=\"KILL\"}", "counted", |n| n == 1.0);
    dog.run.write_file(&file("new"));
    dog.verb(&["reload"]).code(0);
    dog.wait_ready("new");
    wait_for("only the new one", || {
        let text = dog.page("/metrics").body;
        (text.contains("service=\"new\"") && !text.contains("service=\"old\"")).then_some(())
    });
    assert!(!dog.page("/metrics").body.contains("watchdog_service_exits_total{service=\"new\",signal=\"KILL\"}"));
    dog.stop();
}
