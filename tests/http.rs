//! Health over HTTP, as probes, load balancers and people see it (HTP-01, HTP-08, HTP-09, HTP-12).
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod common;
use common::file::ready_by;
use common::web::{Web, get, page};
use common::{Dog, Run, victim, wait_for};
use serde_json::json;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;

fn sleeper(run: Run) -> Dog {
    run.with_http().worker(["sleep"]).spawn()
}

/// HTP-12: 503 with the reason for as long as it is so
#[test]
fn ready_says_why_not_for_as_long_as_it_is_so() {
    let file = format!(
        "[service.db]\n{}\n[service.web]\n{}\nrequires = [\"db\"]\n",
        ready_by("db-is-up"),
        victim(&["ignore-term"])
    );
    let dog = Run::quick_file(&file).flag("--stop-timeout", "20s").with_http().spawn();
    let not_ready = |path: &str, reason: &str| {
        let answer = dog.wait_page(path, reason, |a| a.status == 503 && a.json()["reason"] == reason);
        assert_eq!(answer.json()["ready"], false, "{answer:?}");
        answer.json()
    };
    let all = not_ready("/ready", "starting");
    assert_eq!(all["not_ready"][1]["waiting_on"], json!(["db"]), "{all}");
    not_ready("/ready/web", "waiting");
    assert_eq!(dog.page("/alive").json()["alive"], true);
    assert_eq!((dog.page("/alive/db").status, dog.page("/alive/web").status), (200, 503));
    std::fs::write(dog.path("db-is-up"), "").unwrap();
    let answer = dog.wait_page("/ready", "ready", |a| a.status == 200);
    assert_eq!(answer.json(), json!({"service": null, "ready": true, "reason": null, "not_ready": []}));
    assert_eq!((dog.page("/ready/web").status, dog.page("/health").status), (200, 200));
    dog.signal(nix::sys::signal::Signal::SIGTERM);
    not_ready("/ready", "shutting_down");
    assert_eq!(dog.page("/alive").status, 200, "it works to its end");
    let pid = dog.pid_of("web", 1);
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).unwrap();
    dog.wait();
}

/// HTP-12: back-off, given up, stopped by hand, and who is not minded
#[test]
fn a_service_that_fails_is_unhealthy_and_one_that_nobody_wants_is_not_minded() {
    let file = format!(
        "[service.good]\n{}\n[service.bad]\n{}\n[service.job]\ntype = \"oneshot\"\ncommand = \"true\"\n",
        victim(&["sleep"]),
        victim(&["exit", "3"])
    );
    let dog =
        Run::quick_file(&file).flag("--restart-delay", "100s").flag("--restart-delay-max", "200s").with_http().spawn();
    dog.wait_service_state("bad", "backoff");
    dog.wait_service_state("job", "done");
    let answer = dog.wait_page("/ready", "unhealthy", |a| a.json()["reason"] == "unhealthy");
    assert_eq!(answer.json()["not_ready"][0]["service"], "bad", "{answer:?}");
    assert_eq!(answer.json()["not_ready"].as_array().unwrap().len(), 1, "{answer:?}");
    assert_eq!((dog.page("/ready/good").status, dog.page("/ready/job").status), (200, 200));
    let health = dog.page("/health");
    assert_eq!((health.status, &health.json()["service"]), (503, &json!("bad")));
    assert_eq!(health.json(), dog.verb(&["health", "--json"]).code(1).json(), "the verb and the page say the same");
    dog.verb(&["stop", "bad"]).code(0);
    assert_eq!((dog.page("/ready").status, dog.page("/health").status), (200, 200), "nobody wants it any more");
    assert_eq!(dog.page("/ready/bad").json()["reason"], "shutting_down");
    dog.verb(&["stop", "good", "job"]).code(0);
    let none = dog.page("/ready");
    assert_eq!((none.status, &none.json()["reason"]), (503, &json!("waiting")), "nothing is up, and nothing comes");
    dog.stop();
}

/// Section 10: replicas by their name and by one of them
#[test]
fn the_name_of_replicas_means_all_of_them() {
    let dog = Run::quick_file(&format!("[service.api]\n{}\nreplicas = 2\n", victim(&["sleep"]))).with_http().spawn();
    dog.wait_page("/ready/api", "all are ready", |a| a.status == 200);
    assert_eq!((dog.page("/alive/api%400").status, dog.page("/alive/api@1").status), (200, 200));
    dog.verb(&["stop", "api@1"]).code(0);
    assert_eq!((dog.page("/ready/api").status, dog.page("/ready/api@0").status), (503, 200));
    assert_eq!(dog.page("/alive/api").json()["states"], json!(["running", "stopped"]));
    dog.stop();
}

/// Section 10: `status`, and the watchdog itself
#[test]
fn detailed_is_status_and_what_the_watchdog_itself_uses() {
    let dog = sleeper(Run::quick());
    dog.wait_page("/ready", "ready", |a| a.status == 200);
    let answer = dog.page("/health/detailed");
    let status = dog.control().call("status", json!({}))["result"].clone();
    let detailed = answer.json();
    assert_eq!(answer.status, 200, "{answer:?}");
    for member in ["name", "pid", "version", "state", "control", "http"] {
        assert_eq!(detailed["instance"][member], status["instance"][member], "{member}");
    }
    let keys = |v: &serde_json::Value| v.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&detailed["services"][0]), keys(&status["services"][0]));
    // nothing but this page has asked for a measurement
    assert!(detailed["services"][0]["memory"]["rss_bytes"].as_u64().unwrap() > 100_000, "{detailed}");
    assert!(status["services"][0]["memory"]["rss_bytes"].is_null(), "{status}");
    let own = &detailed["watchdog"];
    assert!(own["memory"]["rss_bytes"].as_u64().unwrap() > 100_000 && own["cpu"]["seconds"].is_number(), "{own}");
    assert!(own["connections"]["active"].as_u64().unwrap() >= 1 && own["uptime_ms"].is_u64(), "{own}");
    let percent = dog.wait_page("/health/detailed", "the share of a core", |a| {
        a.json()["services"][0]["cpu"]["percent"].is_number()
    });
    assert_eq!(percent.status, 200);
    dog.stop();
}

/// HTP-01: off by default, loopback where only a port is said, another address with a warning
#[test]
fn it_is_off_by_default_and_on_this_machine_alone_where_only_a_port_is_said() {
    let dog = Run::quick().worker(["sleep"]).spawn();
    assert!(dog.control().call("status", json!({}))["result"]["instance"]["http"].is_null());
    dog.stop();
    let dog = Run::quick().flag("--http", ":0").worker(["sleep"]).spawn();
    assert!(dog.http().starts_with("127.0.0.1:"), "{}", dog.http());
    dog.stop().silent();
    let dog = Run::quick().flag("--http", "0.0.0.0:0").worker(["sleep"]).spawn();
    let at = dog.http().replace("0.0.0.0", "127.0.0.1");
    let mut web = Web::connect(&at);
    web.send("GET /alive HTTP/1.1\r\nHost: my.example\r\n\r\n");
    assert_eq!(web.answer().unwrap().status, 200, "who may come here is decided elsewhere");
    dog.stop().says("whoever reaches this address");
}

/// `http` in all three spellings; a port that is taken is the end, said in one line
#[test]
fn a_place_that_cannot_be_had_is_125() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let at = taken.local_addr().unwrap().to_string();
    let line = format!("http {at}: EADDRINUSE");
    Run::quick().flag("--http", &at).worker(["sleep"]).run().code(125).says(&line);
    Run::quick().env("WATCHDOG_HTTP", &at).worker(["sleep"]).run().code(125).says(&line);
    let file = format!("[watchdog]\nhttp = \"{at}\"\n[service.web]\n{}\n", victim(&["sleep"]));
    Run::quick_file(&file).run().code(125).says(&line);
    let off = Run::quick_file(&file).flag("--http", "off").spawn();
    off.wait_service_state("web", "running");
    off.stop();
    Run::quick().flag("--http", "localhost").worker(["sleep"]).run().code(2).says("did you mean \"127.0.0.1:9090\"?");
}

/// A Unix socket of our own: private, replaced when stale, gone at the end
#[test]
fn the_pages_are_at_a_unix_socket_as_well() {
    let run = Run::quick();
    let path = run.path("web.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let dog = run.flag("--http", format!("unix:{}", path.display())).worker(["sleep"]).spawn();
    dog.socket();
    assert_eq!(dog.http(), format!("unix:{}", path.display()));
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let mut stream = UnixStream::connect(&path).unwrap();
    stream.write_all(b"GET /alive HTTP/1.1\r\nHost: whoever\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n") && text.contains("\"alive\":true"), "{text}");
    dog.stop();
    assert!(!path.exists());
}

/// HTP-08: GET and HEAD, nothing else
#[test]
fn get_and_head_are_answered_and_nothing_else() {
    let dog = sleeper(Run::quick());
    let at = dog.http();
    let mut web = Web::connect(&at);
    web.send("HEAD /metrics HTTP/1.1\r\nHost: localhost\r\n\r\nHEAD /health HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let head = web.answer_to(true).unwrap();
    assert!(head.header("Content-Length").unwrap().parse::<usize>().unwrap() > 1000, "{head:?}");
    assert_eq!(web.answer_to(true).unwrap().status, 200, "HEAD has no body");
    for (method, status) in
        [("POST", 405), ("PUT", 405), ("DELETE", 405), ("OPTIONS", 405), ("TRACE", 405), ("BREW", 501)]
    {
        let mut web = Web::connect(&at);
        web.send(&format!("{method} /health HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nx=1"));
        let answer = web.answer().unwrap();
        assert_eq!(answer.status, status, "{method}: {answer:?}");
        assert_eq!(answer.header("Allow").as_deref(), (status == 405).then_some("GET, HEAD"), "{answer:?}");
        assert!(web.closes(common::PATIENCE), "{method}: what follows is not looked at");
    }
    for other in ["\u{16}\u{3}\u{1}\u{2}\0\u{1}\0", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let mut web = Web::connect(&at);
        web.send(other);
        assert!(matches!(web.answer().unwrap().status, 400 | 505));
        assert!(web.closes(common::PATIENCE));
    }
    assert_eq!(dog.page("/alive").status, 200);
    dog.stop();
}

/// HTP-09: nothing of a request comes back, nothing leads anywhere
#[test]
fn unknown_paths_are_404_and_nothing_of_them_comes_back() {
    let dog = sleeper(Run::quick());
    let at = dog.http();
    for path in [
        "/../../etc/passwd",
        "/%2e%2e/secret-word",
        "/ready/secret-word",
        "/ready/%00secret-word",
        "/ready/%zz",
        "/ready/",
        "/ready/a/b",
        "/alive%0d%0aX-Secret-Word:1",
        "//alive",
        "/ALIVE",
        "/secret-word<script>",
    ] {
        let answer = page(&at, path);
        assert_eq!(answer.status, 404, "{path}: {answer:?}");
        let all = format!("{}{}", answer.head, answer.body).to_lowercase();
        assert!(!all.contains("secret") && !all.contains("passwd"), "{path}: {answer:?}");
        assert_eq!(answer.json()["error"]["code"].as_str().map(|c| c.len() > 5), Some(true));
    }
    assert_eq!(page(&at, "/alive?secret-word=1").status, 200, "a query means nothing");
    dog.stop();
}

/// SEC-01, SEC-06: neither arguments nor environment
#[test]
fn no_argument_and_no_variable_is_on_any_page() {
    let run = Run::quick().with_http().env("PASSWORD", "S3CRET-VALUE");
    let dog = run.worker(["sleep", "--password", "S3CRET-WORD"]).spawn();
    let at = dog.http();
    for path in ["/health", "/health/detailed", "/ready", "/alive", "/metrics"] {
        let answer = wait_for(path, || Some(page(&at, path)).filter(|a| !a.body.is_empty()));
        assert!(!answer.body.contains("S3CRET"), "{path}: {}", answer.body);
    }
    dog.stop();
}

/// DNS rebinding: a page in a browser reaches 127.0.0.1 by its own name, and says so
#[test]
fn at_a_loopback_address_a_foreign_host_is_refused() {
    let dog = sleeper(Run::quick());
    let at = dog.http();
    let port = at.rsplit_once(':').unwrap().1.to_owned();
    let asked = |host: &str| {
        let mut web = Web::connect(&at);
        web.send(&format!("GET /alive HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"));
        web.answer().unwrap().status
    };
    for own in [at.clone(), format!("localhost:{port}"), "127.0.0.1".into(), format!("[::1]:{port}")] {
        assert_eq!(asked(&own), 200, "{own}");
    }
    for foreign in ["evil.example", "evil.example:80", "192.168.0.1", "127.0.0.1.evil.example"] {
        assert_eq!(asked(foreign), 403, "{foreign}");
    }
    let mut web = Web::connect(&at);
    web.send(&get("http://evil.example/alive"));
    assert_eq!(web.answer().unwrap().status, 403, "the address in the request line counts");
    dog.stop();
}

/// A reload tells that this is a setting of the watchdog itself
#[test]
fn another_http_waits_for_another_watchdog() {
    let file = |at: &str| format!("[watchdog]\nhttp = \"{at}\"\n[service.web]\n{}\n", victim(&["sleep"]));
    let dog = Run::quick_file(&file("127.0.0.1:0")).spawn();
    let at = dog.http();
    dog.run.write_file(&file("127.0.0.1:1"));
    let answer = dog.verb(&["reload", "--json"]).code(0).json();
    assert_eq!(answer["needs_watchdog_restart"], json!(["http"]), "{answer}");
    assert_eq!(page(&at, "/alive").status, 200);
    dog.stop();
}
