//! The promises of the house, kept by reading the sources: who may know whom, where unsafe lives, no dead files, no holes.

use std::fs;
use std::path::{Path, PathBuf};

/// One source file: its path from the root of the repository, and its text without comments.
struct Source {
    path: String,
    code: String,
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn sources() -> Vec<Source> {
    let mut found = Vec::new();
    for folder in ["src", "watchdog", "worker-sdk"] {
        walk(&root().join(folder), &mut found);
    }
    assert!(found.len() > 20, "only {} sources found", found.len());
    found
}

fn walk(folder: &Path, found: &mut Vec<Source>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.flatten().map(|e| e.path()) {
        if path.is_dir() && path.file_name().is_some_and(|n| n != "target") {
            walk(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            let text = fs::read_to_string(&path).expect("a source is text");
            let code = text.lines().map(without_comment).collect::<Vec<_>>().join("\n");
            let path = path.strip_prefix(root()).expect("inside the repository").to_string_lossy().into_owned();
            found.push(Source { path, code });
        }
    }
}

/// A line up to its comment; `//` inside a text (an address) stays.
fn without_comment(line: &str) -> &str {
    let cut = line.match_indices("//").find(|(at, _)| line[..*at].matches('"').count().is_multiple_of(2));
    cut.map_or(line, |(at, _)| &line[..at])
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// `name` as a whole word.
fn has_word(code: &str, name: &str) -> bool {
    code.match_indices(name)
        .any(|(at, _)| !code[..at].ends_with(is_word) && !code[at + name.len()..].starts_with(is_word))
}

/// The first names after `crate::`, also those of `use crate::{a, b::c}`.
fn ours(code: &str) -> Vec<String> {
    let mut names = Vec::new();
    for (at, path) in code.match_indices("crate::") {
        let rest = &code[at + path.len()..];
        match rest.strip_prefix('{') {
            Some(group) => names.extend(top_level_names(group)),
            None => names.push(first_name(rest)),
        }
    }
    names
}

fn first_name(text: &str) -> String {
    text.trim_start().chars().take_while(|c| is_word(*c)).collect()
}

fn top_level_names(group: &str) -> Vec<String> {
    let (mut depth, mut names, mut begin) = (0, Vec::new(), 0);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                names.push(first_name(&group[begin..at]));
                begin = at + 1;
                if c == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    names.retain(|n| !n.is_empty());
    names
}

/// Which rooms of the engine a room may know; plain words of `lib.rs` are free to all. `None`: all of them.
fn may_know(room: &str) -> Option<&'static [&'static str]> {
    Some(match room {
        "machine" => &["spec", "machine"],
        "sys" => &["sys"],
        "dialect" => &["sys", "machine", "spec", "dialect"],
        "ports" => &["sys", "spec", "ports"],
        "probe" => &["sys", "machine", "spec", "probe"],
        "recorder" => &["sys", "machine", "spec", "recorder"],
        "logs" => &["sys", "machine", "spec", "logs"],
        // Of the logs the control room takes lines and the rotating file, not the pipes: see the test below.
        "control" => &["sys", "machine", "spec", "control", "logs"],
        // And the pages over HTTP take the shapes of the control room, not its clients: see the test below.
        "http" => &["sys", "machine", "spec", "http", "control"],
        _ => return None,
    })
}

#[test]
fn rooms_of_the_engine_know_only_whom_they_may() {
    let rooms: Vec<String> = fs::read_dir(root().join("watchdog/src"))
        .expect("the engine is there")
        .flatten()
        .map(|e| e.path().file_stem().unwrap_or_default().to_string_lossy().into_owned())
        .collect();
    for source in sources() {
        let Some(inside) = source.path.strip_prefix("watchdog/src/") else { continue };
        let room = inside.split(['/', '.']).next().unwrap_or_default();
        let Some(allowed) = may_know(room) else { continue };
        for name in ours(&source.code).iter().filter(|n| rooms.contains(n)) {
            assert!(allowed.contains(&name.as_str()), "{}: {room} may not know {name}", source.path);
        }
    }
}

#[test]
fn the_control_room_takes_only_lines_and_a_file_from_the_logs() {
    let allowed = ["Line", "LogFile", "FileError", "Lost"];
    for source in sources().iter().filter(|s| s.path.starts_with("watchdog/src/control/")) {
        for (at, path) in source.code.match_indices("crate::logs::") {
            let rest = &source.code[at + path.len()..];
            let names = rest.strip_prefix('{').map_or_else(|| vec![first_name(rest)], top_level_names);
            assert!(names.iter().all(|n| allowed.contains(&n.as_str())), "{}: {names:?} of the logs", source.path);
        }
    }
}

#[test]
fn the_http_room_takes_only_shapes_from_the_control_room() {
    let allowed = ["Frame", "about", "health_of", "heartbeat", "millis", "service", "why"];
    for source in sources().iter().filter(|s| s.path.starts_with("watchdog/src/http/")) {
        for (at, path) in source.code.match_indices("crate::control::") {
            let rest = &source.code[at + path.len()..];
            let names = rest.strip_prefix('{').map_or_else(|| vec![first_name(rest)], top_level_names);
            assert!(
                names.iter().all(|n| allowed.contains(&n.as_str())),
                "{}: {names:?} of the control room",
                source.path
            );
        }
    }
}

#[test]
fn the_machine_is_pure() {
    let world = ["fs", "net", "io", "process", "thread", "env"];
    for source in sources().iter().filter(|s| s.path.starts_with("watchdog/src/machine/")) {
        if source.path.ends_with("machine/tests/transitions.rs") {
            continue; // writes the table of transitions
        }
        for module in world {
            assert!(!source.code.contains(&format!("std::{module}")), "{}: std::{module}", source.path);
            let mut groups = source.code.lines().filter(|l| l.trim_start().starts_with("use std::{"));
            assert!(!groups.any(|l| has_word(l, module)), "{}: std::{module}", source.path);
        }
        for word in ["Instant", "SystemTime", "println", "eprintln"] {
            assert!(!has_word(&source.code, word), "{}: {word}", source.path);
        }
    }
}

#[test]
fn unsafe_lives_in_its_homes() {
    let sys = ["spawn", "spawn/child", "signals", "reap", "fds", "closer"].map(|f| format!("watchdog/src/sys/{f}.rs"));
    let sdk = ["lanes", "env", "stacks"].map(|f| format!("worker-sdk/src/{f}.rs"));
    for source in sources() {
        // They count allocations for the benchmarks and budgets; a part of no program of ours. `src/counted.rs` is compiled by
        // its feature alone, see the test below.
        let measures = ["watchdog/examples/many.rs", "src/counted.rs"].map(String::from);
        let at_home = sys.iter().chain(&sdk).chain(&measures).any(|home| *home == source.path);
        assert!(at_home || !has_word(&source.code, "unsafe"), "{}: unsafe", source.path);
    }
}

/// The build that is measured is not the one that is shipped: what counts and wastes is compiled by its feature alone, and no
/// default feature asks for it.
#[test]
fn what_counts_and_wastes_is_a_feature() {
    for (file, line) in [("src/main.rs", "mod counted;"), ("watchdog/src/lib.rs", "mod waste;")] {
        let text = fs::read_to_string(root().join(file)).expect("a source");
        let gate = format!("#[cfg(feature = \"counted\")]\n{line}");
        assert!(text.contains(&gate), "{file}: `{line}` without its feature");
    }
    for source in sources().iter().filter(|s| !s.path.ends_with("waste.rs")) {
        let lines: Vec<&str> = source.code.lines().map(str::trim).collect();
        for pair in lines.windows(2).filter(|pair| pair[1].contains("waste::")) {
            assert_eq!(pair[0], "#[cfg(feature = \"counted\")]", "{}: {}", source.path, pair[1]);
        }
    }
    for manifest in ["Cargo.toml", "watchdog/Cargo.toml"] {
        let text = fs::read_to_string(root().join(manifest)).expect("a manifest");
        assert!(!text.lines().any(|l| l.starts_with("default =")), "{manifest}: default features");
    }
}

/// Where a path is opened by the watchdog itself, and why it waits for nothing and reads no more than a bound there. Everything
/// else goes through `sys/paths.rs`: in a directory of another user a plain open follows their links and waits for their FIFOs.
const OPENS: [(&str, &str); 12] = [
    ("watchdog/src/sys/paths.rs", "the one way to files that others may control"),
    ("watchdog/src/sys/proc.rs", "/proc of a pid, up to a size; an environment up to ENVIRON_MAX"),
    ("watchdog/src/sys/reading.rs", "/proc of a pid, one read of a line"),
    ("watchdog/src/sys/sockets.rs", "/proc of a pid, line by line up to a number"),
    ("watchdog/src/sys/cgroup.rs", "the control group that is ours"),
    ("watchdog/src/sys/fds.rs", "our own standard output once more, without waiting"),
    ("watchdog/src/sys/notify_dir.rs", "the directory that we have made, never through a link"),
    ("watchdog/src/sys/spawn/child.rs", "in the child, which has a deadline and is killed"),
    ("watchdog/src/reactor/launch.rs", "the beginning of a program, known to be a file before it is opened"),
    ("watchdog/src/reactor/mod.rs", "WATCHDOG_DEBUG_PANIC, which a test sets"),
    ("src/settings/bounded.rs", "what the operator names, up to a size, and no FIFO"),
    ("src/settings/users.rs", "/etc/passwd and /etc/group, which are root's"),
];

/// Ways to open a file.
const WAYS: [&str; 12] = [
    "File::open(",
    "File::create(",
    "File::create_new(",
    "File::options(",
    "OpenOptions::new(",
    "fs::read(",
    "fs::read_to_string(",
    "fs::write(",
    "fs::copy(",
    "fcntl::open(",
    "openat(",
    "SYS_openat",
];

/// Lines that open something whose name is not written out there.
fn opens(code: &str) -> Vec<&str> {
    let own = code.split("#[cfg(test)]").next().unwrap_or_default();
    let is_open = |line: &&str| {
        WAYS.iter().any(|way| {
            let found = |at: usize| !line[..at].ends_with(is_word) && !line[at + way.len()..].starts_with("\"/dev/");
            line.match_indices(way).any(|(at, _)| found(at))
        })
    };
    own.lines().filter(is_open).collect()
}

/// SECURITY.md, "The rule": nothing that a less privileged party chose (descriptor, path, process memory) is opened, closed or read in
/// the loop without a bound.
#[test]
fn what_others_may_choose_is_opened_in_few_places() {
    let in_the_loop = |path: &str| path.starts_with("watchdog/src/") || path.starts_with("src/settings/");
    let is_test = |path: &str| path.ends_with("tests.rs") || path.contains("/tests/");
    let all = sources();
    let mut used = Vec::new();
    for source in all.iter().filter(|s| in_the_loop(&s.path) && !is_test(&s.path)) {
        let opens = opens(&source.code);
        let allowed = OPENS.iter().any(|(file, _)| *file == source.path);
        assert!(allowed || opens.is_empty(), "{}: {opens:?}: use sys/paths.rs, or say why it has a bound", source.path);
        if !opens.is_empty() {
            used.push(source.path.as_str());
        }
        let reads_memory = ["/environ", "/mem\"", "process_vm_readv"].iter().any(|word| source.code.contains(word));
        assert!(!reads_memory || source.path == "watchdog/src/sys/proc.rs", "{}: memory of a process", source.path);
    }
    let spare: Vec<&str> = OPENS.iter().map(|(file, _)| *file).filter(|file| !used.contains(file)).collect();
    assert!(spare.is_empty(), "they open nothing any more, take them out: {spare:?}");
}

#[test]
fn command_lines_and_toml_stop_at_the_front_door() {
    let words = ["lexopt", "toml", "env_logger"];
    for source in sources().iter().filter(|s| !s.path.starts_with("src/")) {
        for word in words {
            assert!(!source.code.contains(&format!("{word}::")), "{}: {word}", source.path);
        }
    }
    for package in ["watchdog", "worker-sdk"] {
        let manifest = fs::read_to_string(root().join(package).join("Cargo.toml")).expect("a manifest");
        for word in words {
            assert!(!manifest.lines().any(|l| l.starts_with(word)), "{package}/Cargo.toml: {word}");
        }
    }
}

#[test]
fn every_file_is_somebodys_module() {
    let all = sources();
    for source in all.iter().filter(|s| s.path.contains("src/")) {
        let path = Path::new(&source.path);
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let folder = path.parent().unwrap_or(Path::new(""));
        if ["main", "lib", "build"].contains(&stem.as_ref()) {
            continue;
        }
        let (name, home) = match stem.as_ref() {
            "mod" => (folder.file_name().unwrap_or_default().to_string_lossy(), folder.parent().unwrap_or(folder)),
            _ => (stem, folder),
        };
        let parents = [home.join("mod.rs"), home.join("lib.rs"), home.join("main.rs"), home.with_extension("rs")];
        let line = format!("mod {name};");
        let claims = |s: &Source| parents.iter().any(|p| p.as_path() == Path::new(&s.path)) && s.code.contains(&line);
        assert!(all.iter().any(claims), "{}: no `{line}` anywhere: a dead file", source.path);
    }
}

#[test]
fn nothing_is_left_for_later() {
    for source in sources() {
        for hole in ["todo!", "unimplemented!", "dbg!"] {
            assert!(!source.code.contains(hole), "{}: {hole}", source.path);
        }
    }
}

#[test]
fn the_machine_names_every_state() {
    let all = sources();
    for file in ["service", "alive", "hang", "usage", "wishes", "judge", "state"] {
        let path = format!("watchdog/src/machine/{file}.rs");
        let source = all.iter().find(|s| s.path == path).expect("a file of the machine");
        let blind = source.code.lines().find(|l| l.trim_start().starts_with("_ =>"));
        assert_eq!(blind, None, "{path}: says nothing of the states it does not name");
    }
}

#[test]
fn the_reader_of_these_sources_reads_well() {
    assert_eq!(ours("use crate::{sys::fds, spec::{Spec, Stop}, machine};"), ["sys", "spec", "machine"]);
    assert_eq!(ours("crate::signal_name(9)"), ["signal_name"]);
    assert_eq!(without_comment("let a = 1; // unsafe"), "let a = 1; ");
    assert_eq!(without_comment("\"tcp://x\" // y"), "\"tcp://x\" ");
    let code = "LogFile::open(p);\nFile::open(\"/dev/null\");\nFile::open(path);\n#[cfg(test)]\nfs::read(path)";
    assert_eq!(opens(code), ["File::open(path);"]);
    assert!(has_word("an unsafe block", "unsafe") && !has_word("unsafe_code", "unsafe"));
}
