//! What a worker was told in confidence is nowhere to be read (SEC-*).
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod common;
use common::{Run, wait_for};
use serde_json::json;
use std::os::unix::fs::PermissionsExt;

const SECRET: &str = "S3CRET-7f3a";

/// Everything that the run left in its folder, but the env file that holds the secret.
fn written(run: &Run) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    let mut folders = vec![run.dir.path().to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            let (path, kind) = (entry.path(), entry.file_type().unwrap());
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file() && !path.ends_with("secret.env") {
                found.push((path.to_string_lossy().into_owned(), std::fs::read(&path).unwrap()));
            }
        }
    }
    found
}

/// SEC-01, SEC-02, SEC-03, SEC-08
#[test]
fn arguments_and_environment_are_in_no_answer_and_no_file() {
    let run = Run::quick().flag("--log-level", "trace").flag("--restart-delay", "20s");
    let file = run.path("secret.env");
    std::fs::write(&file, format!("FROM_FILE={SECRET}\n")).unwrap();
    let run = run.flag("--env-file", &file).flag("--env", format!("TOKEN={SECRET}")).env("OUTER", SECRET);
    let dog = run.worker(["exit", "9", "--password", SECRET]).spawn();
    dog.event("restart-scheduled", 1);
    let mut said = String::new();
    for verb in ["status", "explain", "events", "ls", "health"] {
        for more in [&[][..], &["--json"]] {
            let answer = dog.verb(&[&[verb], more].concat());
            said += &(answer.out + &answer.err);
        }
    }
    for verb in ["status", "explain", "health"] {
        said += &dog.control().call(verb, json!({})).to_string();
    }
    assert!(said.contains("exit") && !said.contains(SECRET), "an answer tells it: {said}");
    assert!(!dog.err().is_empty(), "trace says something");
    let ended = dog.stop().code(9);
    for (path, bytes) in written(&ended.run) {
        assert!(!bytes.windows(SECRET.len()).any(|w| w == SECRET.as_bytes()), "{path} tells it");
    }
}

/// SEC-01, SEC-02: nor in the words about what is wrong
#[test]
fn errors_do_not_repeat_what_is_confidential() {
    let run = Run::once().worker(["exit", "0", "--password", SECRET]);
    let ended = run.flag("--cwd", "/no/such/dir").run().code(125);
    assert!(!ended.err.contains(SECRET), "{}", ended.err);
    let ended = Run::once().program(["/no/such/program", SECRET]).run().code(127);
    assert!(!ended.err.contains(SECRET), "{}", ended.err);
    let run = Run::once();
    let file = run.path("secret.env");
    std::fs::write(&file, format!("A=1\n{SECRET}\n")).unwrap();
    let ended = run.flag("--env-file", &file).worker(["exit", "0"]).run().count("spawn", 0);
    assert!(ended.err.contains("secret.env") && !ended.err.contains(SECRET), "{}", ended.err);
}

/// SEC-03: whatever we create is nobody else's to read
#[test]
fn files_of_ours_are_private_whatever_the_umask() {
    let run = Run::quick().arranged(["--umask", "000"]).flag("--log", "capture");
    let (events, log) = (run.path("events"), run.path("log"));
    let dog = run.flag("--log-file", &log).worker(["sleep", "--say", "words"]).spawn();
    for path in [events, log, dog.socket()] {
        let mode = wait_for("the file", || path.metadata().ok()).permissions().mode() & 0o777;
        assert_eq!(mode & 0o137, 0, "{}: {mode:o}", path.display());
    }
    dog.stop();
}
