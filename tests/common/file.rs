//! Runs of `watchdog up`: the services of a file, with the harness and the four checks of every other run.

use super::{Dog, Run, wait_for};
use serde_json::{Value, json};
use std::path::Path;

/// `command = [...]` of the victim with these arguments, for a file.
pub fn victim(words: &[&str]) -> String {
    let program = super::worker().to_string_lossy().into_owned();
    let all: Vec<&str> = std::iter::once(program.as_str()).chain(words.iter().copied()).collect();
    format!("command = {}", json!(all))
}

/// A service that stays.
pub const SLEEPS: &str = "command = [\"sleep\", \"1000\"]\n";

/// A service that is ready when a file is there.
pub fn ready_by(file: &str) -> String {
    let script = format!("while [ ! -e {file} ]; do sleep 0.02; done; echo up now; exec sleep 1000");
    format!("command = [\"sh\", \"-c\", {script:?}]\nready = \"line:up now\"\nstart_timeout = \"60s\"\n")
}

/// A service that runs this script and stays.
pub fn says(script: &str) -> String {
    format!("command = [\"sh\", \"-c\", \"{script}; exec sleep 1000\"]\n")
}

impl Run {
    /// The services of this file, with the defaults of the product. What [`Run::flag`] sets is for all of them; paths
    /// are relative to the folder of the run, which is everybody's working directory.
    pub fn file(text: &str) -> Run {
        let mut run = Run::new();
        run.of_a_file = true;
        run.write_file(text);
        run
    }

    /// Short pauses and a short grace, so that a test takes no time.
    pub fn quick_file(text: &str) -> Run {
        let run = Run::file(text).flag("--restart-delay", "50ms").flag("--restart-delay-jitter", "0%");
        run.flag("--stop-timeout", "500ms").switch("--no-progress")
    }

    /// A run in a terminal as people have it.
    pub fn on_screen(text: &str) -> Run {
        let run = Run::file(text).env("TERM", "xterm").without_env("NO_COLOR").without_env("NO_PROGRESS");
        run.flag("--stop-timeout", "500ms").flag("--restart-delay", "50ms")
    }

    /// Another file in the place of the first, whole at every moment.
    pub fn write_file(&self, text: &str) {
        let new = self.path("watchdog.toml.new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, self.path("watchdog.toml")).unwrap();
    }
}

impl Dog {
    /// One service as `status` shows it.
    pub fn service(&self, name: &str) -> Value {
        let answer = self.control().call("status", json!({}));
        let all = answer["result"]["services"].as_array().cloned().unwrap_or_default();
        all.into_iter().find(|s| s["name"] == name).unwrap_or_else(|| panic!("no service {name}: {answer}"))
    }

    /// Waits until `status` shows one service as wanted.
    pub fn wait_service(&self, name: &str, what: &str, mut wanted: impl FnMut(&Value) -> bool) -> Value {
        wait_for(&format!("{name}: {what}"), || Some(self.service(name)).filter(|s| wanted(s)))
    }

    /// Waits for one service to be in this state.
    pub fn wait_service_state(&self, name: &str, state: &str) -> Value {
        self.wait_service(name, state, |s| s["state"] == state)
    }

    /// Waits for one service to be ready.
    pub fn wait_ready(&self, name: &str) -> Value {
        self.wait_service(name, "ready", |s| s["ready"] == true)
    }

    /// Events of one kind and service so far.
    pub fn events_for(&self, name: &str, kind: &str) -> Vec<Value> {
        self.events_of(kind).into_iter().filter(|e| e["service"] == name).collect()
    }

    /// Waits for the n-th event of a kind of one service (the first is 1).
    pub fn event_for(&self, name: &str, kind: &str, nth: usize) -> Value {
        wait_for(&format!("event {kind} number {nth} of {name}"), || {
            self.events_for(name, kind).into_iter().nth(nth - 1)
        })
    }

    /// Pid of the n-th process of a service.
    pub fn pid_of(&self, name: &str, nth: usize) -> i32 {
        self.event_for(name, "spawn", nth)["pid"].as_i64().unwrap() as i32
    }
}

/// A port that nobody holds now. Another may take it before it is used: rare, and then the test is to be run again.
pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The port that the victim has written down.
pub fn port_in(path: &Path) -> u16 {
    wait_for("a port that was written down", || super::lines(path).last()?.trim().parse().ok())
}
