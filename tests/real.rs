//! Programs that people run: started under default settings, they answer; killed, they come back; stopped, they are
//! gone. Each test needs its program and says so when it is missing.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod common;
use common::procs::{self, Proc};
use common::{Dog, Run, marked, skip, stays, wait_for};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

/// A port that was free a moment ago.
fn port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The path of a program; in CI as root a missing one fails the test.
fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    let found = dirs.map(|d| d.join(name)).find(|p| p.is_file());
    if found.is_none() {
        skip(&format!("{name} is not installed"));
    }
    found
}

/// What a server says to `words`.
fn ask(port: u16, words: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
    stream.write_all(words.as_bytes()).ok()?;
    let mut buffer = [0; 4096];
    let n = stream.read(&mut buffer).ok()?;
    Some(String::from_utf8_lossy(&buffer[..n]).into_owned())
}

fn answers(port: u16, words: &str, wanted: &str) {
    wait_for(&format!("{wanted:?} on port {port}"), || ask(port, words).filter(|a| a.contains(wanted)));
}

/// The first question is answered: it was ready.
fn answers_once(port: u16, words: &str, wanted: &str) {
    let answer = ask(port, words);
    assert!(answer.as_ref().is_some_and(|a| a.contains(wanted)), "{answer:?}");
}

const HTTP: &str = "GET / HTTP/1.0\r\n\r\n";

/// Answers, is killed, answers again with another pid, stops cleanly within its grace.
fn lives_and_heals(dog: Dog, check: impl Fn(), codes: &[i32]) {
    check();
    let first = dog.worker_pid(1);
    kill(Pid::from_raw(first), Signal::SIGKILL).unwrap();
    let second = dog.worker_pid(2);
    assert_ne!(first, second);
    check();
    let old: Vec<Proc> = marked(&dog.run.mark).into_iter().filter(|p| p.parent == first || p.pid == first).collect();
    assert!(old.is_empty(), "of the old generation: {old:?}");
    dog.signal(Signal::SIGTERM);
    let ended = dog.wait();
    assert!(codes.contains(&ended.code), "{}", ended.story());
    ended.count("spawn", 2).count("kill-escalated", 0);
}

#[test]
fn redis_lives_and_heals() {
    let Some(redis) = find("redis-server") else { return };
    let (run, port) = (Run::new(), port());
    let words =
        [redis.to_string_lossy().into_owned(), "--port".into(), port.to_string(), "--save".into(), String::new()];
    lives_and_heals(run.program(words).spawn(), || answers(port, "PING\r\n", "PONG"), &[0]);
}

#[test]
fn nginx_lives_and_heals() {
    let Some(nginx) = find("nginx") else { return };
    let (run, port) = (Run::new(), port());
    let dir = run.at("");
    let config = format!(
        "daemon off; pid {dir}nginx.pid; error_log {dir}error.log; worker_processes 2; events {{}}\n\
         http {{ access_log off; client_body_temp_path {dir}b; proxy_temp_path {dir}p; fastcgi_temp_path {dir}f;\n\
         uwsgi_temp_path {dir}u; scgi_temp_path {dir}s;\n\
         server {{ listen 127.0.0.1:{port}; location / {{ return 200 'hello from nginx'; }} }} }}\n"
    );
    std::fs::write(run.path("nginx.conf"), config).unwrap();
    std::fs::set_permissions(run.dir.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    let conf = run.at("nginx.conf");
    let dog = run.program([&*nginx.to_string_lossy(), "-c", &conf]).spawn();
    // its workers are orphans when the master is killed: the port is free again only when they were swept
    lives_and_heals(dog, || answers(port, HTTP, "hello from nginx"), &[0]);
}

/// A new cluster, ready to be started; `None` (and said so) where that cannot be.
fn postgres() -> Option<(Run, PathBuf, u16)> {
    let bin = std::fs::read_dir("/usr/lib/postgresql").ok().and_then(|mut d| d.next()).and_then(Result::ok);
    let Some(bin) = bin.map(|d| d.path().join("bin")).filter(|b| b.join("postgres").exists()) else {
        skip("postgres is not installed");
        return None;
    };
    if !common::is_root() {
        skip("needs root to become the user postgres");
        return None;
    }
    let (run, port) = (Run::new(), port());
    std::fs::set_permissions(run.dir.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    let data = run.at("data");
    let made = Command::new("setpriv")
        .args(["--reuid=postgres", "--regid=postgres", "--init-groups"])
        .arg(bin.join("initdb"))
        .args(["--no-sync", "--auth=trust", "-D", &data])
        .current_dir("/")
        .stdout(Stdio::null())
        .status();
    assert!(made.unwrap().success(), "initdb");
    let socket = run.at("");
    let run = run.flag("--user", "postgres").flag("--stop-signal", "INT");
    let words = ["-D", &data, "-p", &port.to_string(), "-h", "127.0.0.1", "-k", &socket, "-c", "fsync=off"];
    let program = bin.join("postgres").to_string_lossy().into_owned();
    Some((run.program(std::iter::once(program.as_str()).chain(words)), bin, port))
}

#[test]
fn postgres_lives_and_heals() {
    let Some((run, bin, port)) = postgres() else { return };
    let dog = run.spawn();
    // an SSL request is answered by one letter as soon as connections are taken
    let check = || {
        wait_for("psql", || {
            let mut psql = Command::new(bin.join("psql"));
            psql.args(["-U", "postgres", "-h", "127.0.0.1", "-p", &port.to_string(), "-Atc", "select 6*7", "postgres"]);
            let out = psql.stderr(Stdio::null()).output().ok()?;
            String::from_utf8_lossy(&out.stdout).contains("42").then_some(())
        });
    };
    lives_and_heals(dog, check, &[0]);
}

#[test]
fn node_lives_and_heals() {
    let Some(node) = find("node") else { return };
    let (run, port) = (Run::new(), port());
    let script = format!(
        "const s = require('http').createServer((q, r) => r.end('hello from node')).listen({port}, '127.0.0.1');\
         process.on('SIGTERM', () => s.close(() => process.exit(0)));"
    );
    let dog = run.program([&*node.to_string_lossy(), "-e", &script]).spawn();
    lives_and_heals(dog, || answers(port, HTTP, "hello from node"), &[0]);
}

#[test]
fn python_lives_and_heals() {
    let Some(_) = find("python3") else { return };
    let (run, port) = (Run::new(), port());
    let dog = run.program(["python3", "-m", "http.server", "--bind", "127.0.0.1", &port.to_string()]).spawn();
    // no handler for TERM: dies by it
    lives_and_heals(dog, || answers(port, HTTP, "200 OK"), &[143]);
}

/// A program that daemonizes is told apart: its main process ends well, and nothing of it is left behind.
#[test]
fn a_program_that_puts_itself_into_the_background_is_not_left_running() {
    let Some(redis) = find("redis-server") else { return };
    let (run, port) = (Run::new(), port());
    let words = ["--port", &port.to_string(), "--save", "", "--daemonize", "yes"];
    let program = redis.to_string_lossy().into_owned();
    let ended = run.program(std::iter::once(program.as_str()).chain(words)).run().code(0).count("spawn", 1);
    assert!(ask(port, "PING\r\n").is_none(), "it still answers");
    drop(ended);
}

/// A shell with a pipeline: the exit status is the shell's, nothing is left.
#[test]
fn a_shell_pipeline_is_one_worker() {
    let line = "yes | head -n 100000 | wc -l; exit 3";
    let ended = Run::once().program(["sh", "-c", line]).run().code(3);
    assert_eq!(ended.out.trim(), "100000");
    let dog = Run::quick().program(["sh", "-c", "sleep 1000 | sleep 1000 | sleep 1000"]).spawn();
    let pid = dog.worker_pid(1);
    wait_for("the pipeline", || (procs::children(pid).len() == 3).then_some(()));
    dog.stop().code(143);
}

/// Ready by its own word and no other; then it lives on, for it never beats, through many intervals of a heartbeat.
fn says_that_it_is_ready(run: Run, dialect: &str, check: impl Fn()) {
    let run = run.flag("--ready", "reported").flag("--start-timeout", "60s");
    let run = run.flag("--heartbeat-interval", "200ms").flag("--heartbeat-timeout", "200ms");
    let dog = run.flag("--heartbeat-misses", "2").spawn();
    let ready = dog.event("ready", 1);
    assert_eq!(ready["ready_by"], dialect, "{ready}");
    // what it said is true
    check();
    let pid = dog.worker_pid(1);
    stays("it is not judged", Duration::from_millis(1600), || {
        dog.events_of("hang").is_empty() && procs::alive(pid) && dog.events_of("exit").is_empty()
    });
    let status = dog.status();
    assert_eq!((&status["heartbeat"]["armed"], &status["state"]), (&false.into(), &"running".into()), "{status}");
    let ended = dog.stop().count("ready", 1).count("spawn", 1).count("hang", 0).count("proto-error", 0);
    assert!(ended.of("notify-denied").is_empty(), "{}", ended.story());
}

#[test]
fn redis_says_that_it_is_ready() {
    let Some(redis) = find("redis-server") else { return };
    let port = port();
    let words = ["--port", &port.to_string(), "--save", "", "--supervised", "systemd"];
    let program = redis.to_string_lossy().into_owned();
    let run = Run::new().program(std::iter::once(program.as_str()).chain(words));
    says_that_it_is_ready(run, "notify", || answers_once(port, "PING\r\n", "PONG"));
}

#[test]
fn postgres_says_that_it_is_ready() {
    let Some((run, bin, port)) = postgres() else { return };
    says_that_it_is_ready(run, "notify", || {
        let mut psql = Command::new(bin.join("psql"));
        psql.args(["-U", "postgres", "-h", "127.0.0.1", "-p", &port.to_string(), "-Atc", "select 6*7", "postgres"]);
        let out = psql.output().unwrap();
        assert!(String::from_utf8_lossy(&out.stdout).contains("42"), "{out:?}");
    });
}

#[test]
fn gunicorn_says_that_it_is_ready() {
    let Some(gunicorn) = find("gunicorn") else { return };
    let (run, port) = (Run::new(), port());
    let app = "def app(environ, start):\n    start('200 OK', [])\n    return [b'hello from gunicorn']\n";
    std::fs::write(run.path("hello.py"), app).unwrap();
    let bind = format!("127.0.0.1:{port}");
    let run = run.program([&*gunicorn.to_string_lossy(), "-b", &bind, "-w", "2", "hello:app"]);
    says_that_it_is_ready(run, "notify", || answers(port, HTTP, "hello from gunicorn"));
}

/// As it is written for pm2's `wait_ready`.
#[test]
fn node_says_that_it_is_ready() {
    let Some(node) = find("node") else { return };
    let (run, port) = (Run::new(), port());
    let script = format!(
        "require('http').createServer((q, r) => r.end('hello from node'))\
         .listen({port}, '127.0.0.1', () => {{ if (process.send) process.send('ready') }});"
    );
    let run = run.program([&*node.to_string_lossy(), "-e", &script]);
    says_that_it_is_ready(run, "node", || answers_once(port, HTTP, "hello from node"));
}
