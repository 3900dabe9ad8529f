//! The files of `deploy/` against the program they are for: every flag, variable and verb in them is one of this version, every
//! port and path meets its other end, and the lines do what they are there for.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod common;
use common::folder::Folder;
use common::{Run, skip, watchdog};
use serde_json::Value;
use std::collections::BTreeSet;
use std::process::{Command, Stdio};

fn read(name: &str) -> String {
    std::fs::read_to_string(format!("{}/deploy/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// The documents of a YAML file; `None` where nobody here reads YAML.
fn yaml(name: &str) -> Option<Vec<Value>> {
    let script = "import json, sys, yaml; print(json.dumps(list(yaml.safe_load_all(sys.stdin))))";
    let mut child =
        Command::new("python3").args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().ok()?;
    let text = read(name);
    std::io::Write::write_all(child.stdin.as_mut().unwrap(), text.as_bytes()).ok();
    let out = child.wait_with_output().unwrap();
    if !out.status.success() {
        let has_yaml = Command::new("python3").args(["-c", "import yaml"]).stderr(Stdio::null()).status();
        assert!(!has_yaml.is_ok_and(|s| s.success()), "{name} is no YAML");
        skip("python3-yaml is not installed");
        return None;
    }
    Some(serde_json::from_slice(&out.stdout).unwrap())
}

/// Words of a JSON or YAML list.
fn words(value: &Value) -> Vec<String> {
    value
        .as_array()
        .unwrap_or_else(|| panic!("a list: {value}"))
        .iter()
        .map(|w| w.as_str().unwrap().to_string())
        .collect()
}

/// Quoted words of a list in HCL, whose only escapes here are none.
fn hcl_list(text: &str, key: &str) -> Vec<String> {
    let at = text.find(&format!("{key} = [")).unwrap_or_else(|| panic!("no {key}"));
    let list = &text[at..at + text[at..].find(']').unwrap()];
    list.split('"').skip(1).step_by(2).map(str::to_string).collect()
}

/// An instruction of a Dockerfile, continued lines as one.
fn instructions(name: &str) -> Vec<(String, String)> {
    let text = read(name).lines().filter(|l| !l.trim_start().starts_with('#')).collect::<Vec<_>>().join("\n");
    let whole = text.replace("\\\n", " ");
    let line = |l: &str| l.trim().split_once(' ').map(|(word, rest)| (word.to_string(), rest.trim().to_string()));
    whole.lines().filter_map(line).collect()
}

/// The words of `["a", "b"]` in a Dockerfile.
fn exec_form(rest: &str) -> Vec<String> {
    words(&serde_json::from_str(&rest[rest.find('[').unwrap()..]).unwrap_or_else(|e| panic!("{e}: {rest}")))
}

fn last<'a>(all: &'a [(String, String)], word: &str) -> &'a str {
    all.iter().rfind(|(w, _)| w == word).map(|(_, rest)| rest.as_str()).unwrap_or_else(|| panic!("no {word}"))
}

/// Settings of this version, by their keys.
fn keys() -> BTreeSet<String> {
    let out = Command::new(watchdog()).arg("help-settings").output().unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    text.lines().map(|l| l.split('\t').next().unwrap().to_string()).collect()
}

/// That the flags of an entry point are settings with values of the right form, and that a program follows. What a later
/// version brings may stand there already.
#[track_caller]
fn is_a_line(line: &[String]) {
    assert_eq!(line[0], "/watchdog", "{line:?}");
    let at = line.iter().position(|w| w == "--").unwrap_or_else(|| panic!("no -- in {line:?}"));
    assert_eq!(line[at + 1], "/server", "{line:?}");
    let keys = keys();
    let mut flags = Vec::new();
    for flag in &line[1..at] {
        let name = flag.strip_prefix("--").and_then(|f| f.split('=').next()).unwrap_or_else(|| panic!("{flag}"));
        let later = name == "http" && !keys.contains("http");
        assert!(later || keys.contains(&name.replace('-', "_")), "{flag} is no setting");
        if !later {
            flags.push(flag.as_str());
        }
    }
    let folder = Folder::empty();
    let said = folder.verb(&[&["install", "--dry-run"], flags.as_slice(), &["--", "sleep", "1"]].concat());
    assert_eq!(said.code, 0, "{line:?}: {}", said.err);
}

#[track_caller]
fn is_a_variable(name: &str) {
    let known = ["WATCHDOG_RUNTIME_DIR".to_string()];
    let settings: Vec<String> = keys().iter().map(|k| format!("WATCHDOG_{}", k.to_ascii_uppercase())).collect();
    assert!(known.iter().chain(&settings).any(|k| k == name), "{name} is no variable of ours");
}

/// `watchdog health`, as a check of health is.
#[track_caller]
fn is_a_health_check(line: &[String]) {
    assert_eq!(line, ["/watchdog", "health"]);
    assert_eq!(Folder::empty().verb(&["health", "--help"]).code, 0);
}

fn value_of(line: &[String], flag: &str) -> String {
    let prefix = format!("{flag}=");
    line.iter().find_map(|w| w.strip_prefix(&prefix)).unwrap_or_else(|| panic!("no {flag} in {line:?}")).to_string()
}

fn seconds(text: &str) -> u64 {
    text.strip_suffix('s').unwrap_or_else(|| panic!("seconds: {text}")).parse().unwrap()
}

#[test]
fn the_dockerfiles_end_in_an_image_with_nothing_else() {
    for name in ["Dockerfile", "Dockerfile.distroless"] {
        let all = instructions(name);
        assert_eq!(last(&all, "FROM"), "scratch", "{name}");
        let begin = all.iter().rposition(|(w, _)| w == "FROM").unwrap();
        let end = &all[begin..];
        assert!(!end.iter().any(|(w, _)| w == "RUN"), "{name}: there is no shell to run anything");
        let mut line = exec_form(last(end, "ENTRYPOINT"));
        line.extend(exec_form(last(end, "CMD")));
        is_a_line(&line);
        is_a_health_check(&exec_form(last(end, "HEALTHCHECK")));
        let user = last(end, "USER");
        let (uid, gid) = user.split_once(':').unwrap();
        assert!(uid.parse::<u32>().unwrap() > 0 && uid == gid, "{name}: a number, and not root");
        let env: Vec<(&str, &str)> = last(end, "ENV").split_whitespace().map(|p| p.split_once('=').unwrap()).collect();
        env.iter().for_each(|(key, _)| is_a_variable(key));
        // The directories that those variables name are made, and belong to that user.
        for key in ["WATCHDOG_RUNTIME_DIR", "WATCHDOG_REPORT_DIR"] {
            let dir = env.iter().find(|(k, _)| *k == key).map(|(_, v)| *v).unwrap_or_else(|| panic!("{name}: {key}"));
            assert!(all.iter().any(|(w, rest)| w == "RUN" && rest.contains(&format!("/state{dir} "))), "{name}: {dir}");
        }
        assert!(
            end.iter().any(|(w, rest)| w == "COPY" && rest.contains(&format!("--chown={user} /state/ /"))),
            "{name}"
        );
        // What is copied from a stage is named as a stage.
        for (_, rest) in end.iter().filter(|(w, rest)| w == "COPY" && rest.contains("--from=")) {
            let stage = rest.split("--from=").nth(1).unwrap().split(' ').next().unwrap();
            assert!(all.iter().any(|(w, r)| w == "FROM" && r.ends_with(&format!(" AS {stage}"))), "{name}: {stage}");
        }
    }
}

#[test]
fn the_compose_file_meets_the_image_and_leaves_restarts_to_the_watchdog() {
    let Some(all) = yaml("compose.yaml") else { return };
    let web = &all[0]["services"]["web"];
    let mut line = words(&web["entrypoint"]);
    line.extend(words(&web["command"]));
    is_a_line(&line);
    let check = words(&web["healthcheck"]["test"]);
    assert_eq!(check[0], "CMD");
    is_a_health_check(&check[1..]);
    let http = value_of(&line, "--http");
    let port = http.rsplit(':').next().unwrap();
    assert!(words(&web["ports"]).contains(&format!("127.0.0.1:{port}:{port}")), "loopback of this machine alone");
    assert!(seconds(web["stop_grace_period"].as_str().unwrap()) > seconds(&value_of(&line, "--stop-timeout")));
    let file = web["build"]["dockerfile"].as_str().unwrap();
    let dockerfile = instructions(file.strip_prefix("deploy/").unwrap());
    let uid = last(&dockerfile, "USER").split(':').next().unwrap().to_string();
    assert!(words(&web["tmpfs"]).iter().any(|t| t.starts_with("/run/watchdog:") && t.contains(&format!("uid={uid},"))));
    assert_eq!(web["restart"], "on-failure:3", "not for ever: the watchdog has tried already");
}

#[test]
fn the_manifest_of_kubernetes_meets_its_own_ends() {
    let Some(all) = yaml("kubernetes.yaml") else { return };
    let deployment = all.iter().find(|d| d["kind"] == "Deployment").unwrap();
    let pod = &deployment["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    let mut line = words(&container["command"]);
    line.extend(words(&container["args"]));
    is_a_line(&line);
    let ports = container["ports"].as_array().unwrap();
    let number = |name: &str| ports.iter().find(|p| p["name"] == name).map(|p| p["containerPort"].to_string());
    let http = value_of(&line, "--http");
    assert!(http.starts_with("0.0.0.0:"), "probes come from outside of the pod");
    assert_eq!(number("watchdog").as_deref(), http.rsplit(':').next());
    for (probe, path) in [("startupProbe", "/ready"), ("readinessProbe", "/ready"), ("livenessProbe", "/alive")] {
        let get = &container[probe]["httpGet"];
        assert_eq!((get["path"].as_str(), get["port"].as_str()), (Some(path), Some("watchdog")), "{probe}");
    }
    assert_eq!(container["terminationMessagePath"], value_of(&line, "--termination-message"));
    let pause = container["lifecycle"]["preStop"]["sleep"]["seconds"].as_u64().unwrap();
    let grace = pod["terminationGracePeriodSeconds"].as_u64().unwrap();
    assert!(
        grace > pause + seconds(&value_of(&line, "--stop-timeout")),
        "the watchdog ends the program, not the kubelet"
    );
    let mounts = container["volumeMounts"].as_array().unwrap();
    for variable in container["env"].as_array().unwrap() {
        let (name, value) = (variable["name"].as_str().unwrap(), variable["value"].as_str().unwrap());
        is_a_variable(name);
        let mounted = mounts.iter().any(|m| value.starts_with(&format!("{}/", m["mountPath"].as_str().unwrap())));
        assert!(mounted, "{name}={value} is on a file system that is read only");
    }
    let volumes: BTreeSet<&str> =
        pod["volumes"].as_array().unwrap().iter().filter_map(|v| v["name"].as_str()).collect();
    assert!(mounts.iter().all(|m| volumes.contains(m["name"].as_str().unwrap())));
    assert_eq!(pod["enableServiceLinks"], false, "a Service called watchdog would bring variables WATCHDOG_..");
    let labels = &deployment["spec"]["template"]["metadata"]["labels"];
    let service = all.iter().find(|d| d["kind"] == "Service").unwrap();
    assert_eq!((&service["spec"]["selector"], &deployment["spec"]["selector"]["matchLabels"]), (labels, labels));
    assert!(number(service["spec"]["ports"][0]["targetPort"].as_str().unwrap()).is_some());
    let scraped = &deployment["spec"]["template"]["metadata"]["annotations"]["prometheus.io/port"];
    assert_eq!(scraped.as_str(), number("watchdog").as_deref());
}

#[test]
fn the_job_of_nomad_meets_its_own_ends() {
    let text = read("nomad.hcl");
    let bare: String = text.lines().filter(|l| !l.trim_start().starts_with('#')).collect::<Vec<_>>().join("\n");
    for pair in [('{', '}'), ('[', ']')] {
        assert_eq!(bare.matches(pair.0).count(), bare.matches(pair.1).count(), "{pair:?}");
    }
    let mut line = hcl_list(&bare, "entrypoint");
    line.extend(hcl_list(&bare, "args").iter().map(|w| w.replace("${NOMAD_ALLOC_DIR}", "/tmp")));
    is_a_line(&line);
    let port = value_of(&line, "--http").rsplit(':').next().unwrap().to_string();
    let ports: Vec<&str> = bare.split("port \"").skip(1).filter_map(|part| part.split('"').next()).collect();
    assert_eq!(ports, ["http", "watchdog"]);
    assert!(bare.contains(&format!("port \"watchdog\" {{\n        to = {port}")), "the port of --http");
    let checks: Vec<&str> = bare.split("check {").skip(1).collect();
    assert!(checks.len() == 2 && checks.iter().all(|c| c.contains("port     = \"watchdog\"")));
    for path in ["/ready", "/health"] {
        assert_eq!(bare.matches(&format!("path     = \"{path}\"")).count(), 1, "{path}");
    }
    let timeout = bare.split("kill_timeout = \"").nth(1).unwrap().split('"').next().unwrap();
    assert!(seconds(timeout) > seconds(&value_of(&line, "--stop-timeout")));
    for name in bare.split_whitespace().filter(|w| w.starts_with("WATCHDOG_")) {
        is_a_variable(name);
    }
}

/// The line of the manifest with a program of this machine in the place of the container's: it is healthy while it runs, and
/// leaves its message when it gives up.
#[test]
fn the_line_of_the_manifest_does_what_it_is_there_for() {
    let Some(all) = yaml("kubernetes.yaml") else { return };
    let container =
        &all.iter().find(|d| d["kind"] == "Deployment").unwrap()["spec"]["template"]["spec"]["containers"][0];
    let mut run = Run::quick();
    let message = run.at("message");
    for flag in words(&container["args"]).iter().take_while(|w| *w != "--") {
        let (name, value) = flag.split_once('=').unwrap();
        run = match name {
            "--http" => continue,
            "--stop-timeout" => continue,
            "--termination-message" => run.flag(name, &message),
            _ => run.flag(name, value),
        };
    }
    // A directory that is made in one that is there, as on the volume.
    let own = run.at("volume/own");
    std::fs::create_dir(run.path("volume")).unwrap();
    let script = "while [ ! -e go ]; do sleep 0.02; done; echo cannot go on; exit 3";
    let run = run.no_runtime_dir().env("WATCHDOG_RUNTIME_DIR", &own).flag("--restart-limit", "1");
    let dog = run.program(["sh", "-c", script]).spawn();
    dog.event("ready", 1);
    let health = || Command::new(watchdog()).arg("health").env("WATCHDOG_RUNTIME_DIR", &own).output().unwrap();
    let out = health();
    assert!(out.status.success(), "{out:?}");
    std::fs::write(dog.path("go"), "").unwrap();
    let ended = dog.wait().code(3);
    let text = std::fs::read_to_string(&message).unwrap();
    assert!(text.starts_with("web failed: ") && text.contains("cannot go on"), "{text}\n{}", ended.story());
    assert_eq!(health().status.code(), Some(3), "there is no watchdog any more");
}

/// What people copy from the documents is of this version too.
#[test]
fn the_documents_name_files_that_are_there() {
    for page in ["docs/scaling.md", "docs/service.md", "README.md"] {
        let text = std::fs::read_to_string(format!("{}/{page}", env!("CARGO_MANIFEST_DIR"))).unwrap();
        for word in text.split(|c: char| c.is_whitespace() || "()`\"',;".contains(c)) {
            let file = word.trim_start_matches("../").trim_end_matches(['.', ':']);
            if file.starts_with("deploy/") || file.starts_with("scripts/") || file.starts_with("docs/") {
                let path = format!("{}/{file}", env!("CARGO_MANIFEST_DIR"));
                assert!(std::path::Path::new(&path).exists(), "{page}: {file}");
            }
        }
    }
}
