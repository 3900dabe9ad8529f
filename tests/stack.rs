//! A real stack from one file: PostgreSQL with its own readiness, a migration, two replicas of an API, a worker. It comes up
//! in order, heals after a kill of each part, reloads a changed API alone, and goes down in reverse order with nothing left.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod common;

use common::file::free_port;
use common::{Dog, Run, is_root, skip, wait_for};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Each replica serves what the migration made, from the database, on a port of its own.
const API: &str = r#"
import http.server, os, subprocess, sys
port = int(sys.argv[1]) + int(os.environ["WATCHDOG_REPLICA"])
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        word = subprocess.run(PSQL + ["select word from words"], capture_output=True, text=True)
        body = (sys.argv[2] + " says " + word.stdout.strip()).encode()
        self.send_response(200 if word.returncode == 0 else 503)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args):
        pass
http.server.HTTPServer(("127.0.0.1", port), Handler).serve_forever()
"#;

struct Stack {
    dog: Dog,
    psql: Vec<String>,
    api_port: u16,
}

fn bin() -> Option<PathBuf> {
    let dirs = std::fs::read_dir("/usr/lib/postgresql").ok()?;
    dirs.flatten().map(|d| d.path().join("bin")).find(|b| b.join("postgres").exists())
}

fn text(run: &Run, bin: &std::path::Path, port: u16, api_port: u16, greeting: &str) -> String {
    let (dir, bin) = (run.at(""), bin.display());
    let psql = format!("{bin}/psql -U postgres -h 127.0.0.1 -p {port} -v ON_ERROR_STOP=1 -Atqc");
    format!(
        r#"
[defaults]
stop_timeout = "10s"
restart_delay = "100ms"

[service.worker]
command = ["sh", "-c", "while :; do {psql} 'select 1' postgres >/dev/null || exit 1; sleep 0.2; done"]
requires = ["api"]

[service.api]
command = ["python3", "{dir}/api.py", "{api_port}", "{greeting}"]
replicas = 2
requires = ["db", {{ service = "migrate", condition = "completed", once = true }}]
start_timeout = "60s"
[service.migrate]
type = "oneshot"
command = "{bin}/psql -U postgres -h 127.0.0.1 -p {port} -v ON_ERROR_STOP=1 -Atqf {dir}/migrate.sql postgres"
requires = ["db"]

[service.db]
command = ["{bin}/postgres", "-D", "{dir}/data", "-p", "{port}", "-h", "127.0.0.1", "-k", "{dir}", "-c", "fsync=off"]
user = "postgres"
stop_signal = "INT"
ready = "reported"
"#
    )
}

fn stack() -> Option<Stack> {
    let (Some(bin), true) = (bin(), is_root()) else {
        skip("needs postgres, and root to become its user");
        return None;
    };
    if Command::new("python3").arg("--version").stdout(Stdio::null()).status().is_err() {
        skip("python3 is not installed");
        return None;
    }
    let (port, api_port) = (free_port(), 20_000 + free_port() / 4 * 2 % 20_000);
    let run = Run::file("");
    std::fs::set_permissions(run.dir.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    let made = Command::new("setpriv")
        .args(["--reuid=postgres", "--regid=postgres", "--init-groups"])
        .arg(bin.join("initdb"))
        .args(["--no-sync", "--auth=trust", "-D", &run.at("data")])
        .current_dir("/")
        .stdout(Stdio::null())
        .status();
    assert!(made.unwrap().success(), "initdb");
    let psql = ["psql", "-U", "postgres", "-h", "127.0.0.1", "-p", &port.to_string(), "-Atqc"];
    let mut psql: Vec<String> = psql.iter().map(ToString::to_string).collect();
    psql[0] = bin.join("psql").display().to_string();
    let list = serde_json::to_string(&psql).unwrap();
    std::fs::write(
        run.path("api.py"),
        API.replace("PSQL", &list).replace("select word from words\"]", "select word from words\", \"postgres\"]"),
    )
    .unwrap();
    let sql = "create table if not exists words (word text); delete from words; insert into words values ('hello');";
    std::fs::write(run.path("migrate.sql"), sql).unwrap();
    run.write_file(&text(&run, &bin, port, api_port, "one"));
    let dog = run.spawn();
    Some(Stack { dog, psql, api_port })
}

impl Stack {
    fn says(&self, replica: u16, words: &str) {
        wait_for(&format!("{words:?} of replica {replica}"), || {
            let mut stream = TcpStream::connect(("127.0.0.1", self.api_port + replica)).ok()?;
            stream.write_all(b"GET / HTTP/1.0\r\n\r\n").ok()?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).ok()?;
            answer.contains(words).then_some(())
        });
    }

    fn all_ready(&self) {
        for name in ["db", "api@0", "api@1", "worker"] {
            self.dog.wait_ready(name);
        }
        wait_for("all ready at once", || {
            ["db", "api@0", "api@1", "worker"].iter().all(|n| self.dog.service(n)["ready"] == true).then_some(())
        });
    }

    fn generation(&self, name: &str) -> u64 {
        self.dog.service(name)["generation"].as_u64().unwrap()
    }
}

fn place(events: &[Value], kind: &str, name: &str) -> usize {
    events
        .iter()
        .position(|e| e["event"] == kind && e["service"] == name)
        .unwrap_or_else(|| panic!("no {kind} of {name}"))
}

#[test]
fn a_real_stack_comes_up_in_order_heals_reloads_one_part_and_goes_down_in_reverse() {
    let Some(stack) = stack() else { return };
    stack.all_ready();
    stack.says(0, "one says hello");
    stack.says(1, "one says hello");
    let events = stack.dog.events();
    assert_eq!(stack.dog.service("db")["ready_by"], "notify", "its own READY=1");
    let steps = [
        ("ready", "db"),
        ("spawn", "migrate"),
        ("exit", "migrate"),
        ("spawn", "api@0"),
        ("ready", "api@0"),
        ("spawn", "worker"),
    ];
    let places: Vec<usize> = steps.iter().map(|(kind, name)| place(&events, kind, name)).collect();
    assert!(places.windows(2).all(|w| w[0] < w[1]), "{steps:?}: {places:?}");

    for name in ["worker", "api@0", "api@1", "db"] {
        let (before, migrations) = (stack.generation(name), stack.generation("migrate"));
        let pid = stack.dog.service(name)["pid"].as_i64().unwrap();
        kill(Pid::from_raw(pid as i32), Signal::SIGKILL).unwrap();
        stack.dog.wait_service(name, "another generation", |s| s["generation"].as_u64() > Some(before));
        stack.all_ready();
        stack.says(0, "one says hello");
        stack.says(1, "one says hello");
        assert_eq!(stack.generation("migrate"), migrations, "once is enough");
    }

    let before: Vec<u64> = ["db", "migrate"].iter().map(|n| stack.generation(n)).collect();
    let port = stack.psql[6].parse().unwrap();
    stack.dog.run.write_file(&text(&stack.dog.run, &bin().unwrap(), port, stack.api_port, "two"));
    let told = stack.dog.verb(&["reload", "--json"]).code(0).json();
    assert_eq!(told["restarted"], serde_json::json!(["api@0", "api@1"]));
    stack.says(0, "two says hello");
    stack.says(1, "two says hello");
    stack.all_ready();
    assert_eq!(["db", "migrate"].iter().map(|n| stack.generation(n)).collect::<Vec<_>>(), before);

    let already = stack.dog.events().len();
    let ended = stack.dog.stop();
    let last = &ended.events[already..];
    let order: Vec<usize> = ["worker", "api@0", "db"].iter().map(|n| place(last, "exit", n)).collect();
    assert!(order.windows(2).all(|w| w[0] < w[1]) && place(last, "exit", "api@1") < order[2], "{}", ended.story());
    ended.code(0);
}
