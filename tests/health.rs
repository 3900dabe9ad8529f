//! What is said of services: one sentence everywhere, what flaps, what was stopped on purpose, and how an end by a rule ends.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod common;
use common::control::finish;
use common::file::SLEEPS;
use common::probes::probe;
use common::{Dog, Run, victim, wait_for};
use serde_json::{Value, json};

/// The first answer of `/stream`, which the page shows.
fn row_of_the_page(dog: &Dog, name: &str) -> Value {
    let mut web = common::web::Web::connect(&dog.http());
    web.send("GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let mut text = String::new();
    wait_for("a state on the page", || {
        let mut piece = [0; 4096];
        let n = std::io::Read::read(&mut web.stream, &mut piece).unwrap();
        text.push_str(&String::from_utf8_lossy(&piece[..n]));
        let data = text.split("event: state\ndata: ").nth(1)?.split("\n\n").next()?;
        let state: Value = serde_json::from_str(data).ok()?;
        state["services"].as_array()?.iter().find(|s| s["name"] == name).cloned()
    })
}

/// The sentence about a service wherever it stands: it must be the same.
fn said_everywhere(dog: &Dog, name: &str) -> String {
    let reason = |value: &Value| value["reason"].as_str().unwrap_or_default().to_owned();
    let status = reason(&dog.service(name));
    let health = dog.verb(&["health", name, "--json"]).json();
    let detailed = dog.page("/health/detailed").json();
    let listed = detailed["services"].as_array().unwrap().iter().find(|s| s["name"] == name).unwrap().clone();
    let all = [
        ("health", reason(&health)),
        ("/health/NAME", reason(&dog.page(&format!("/health/{name}")).json())),
        ("/health/detailed", reason(&listed)),
        ("the page", reason(&row_of_the_page(dog, name))),
    ];
    for (place, said) in all {
        assert_eq!(said, status, "{place} and status");
    }
    for verb in [&["explain", name][..], &["explain", "--why-not", name], &["status", name]] {
        let text = dog.verb(verb).code(0).out;
        assert!(text.contains(&status), "{verb:?} without {status:?}: {text}");
    }
    status
}

/// users 4. Failed before: a failing check of the worker stood in `health` alone; `status`, `explain` and the page said
/// "running; ready when spawned".
#[test]
fn a_failing_check_is_named_everywhere_with_its_message_and_since_when() {
    let talker = victim(&["talk", "hello", "ready", "health:db=pass,queue=no route", "serve"]);
    let file = format!("[service.web]\n{talker}\n[service.fine]\n{SLEEPS}");
    let dog = Run::quick_file(&file).with_http().spawn();
    dog.wait_service("web", "unhealthy", |s| s["health"] == "unhealthy");
    let said = said_everywhere(&dog, "web");
    assert!(said.starts_with("check queue fails: no route (since 2") && said.ends_with("Z)"), "{said}");
    assert_eq!(dog.page("/health/web").status, 503);
    // the look-alike: another service has nothing to do with it
    assert_eq!(said_everywhere(&dog, "fine"), "running; ready when spawned");
    dog.verb(&["health", "fine"]).code(0);
    dog.stop();
}

/// users 4. Failed before: while a service was starting its failing probe was not named, and `/ready` never named one.
#[test]
fn a_failing_probe_is_named_everywhere_with_its_message_and_since_when() {
    let file = format!(
        "[service.web]\n{SLEEPS}{}[service.slow]\n{SLEEPS}{}",
        probe("web", "[\"sh\", \"-c\", \"test -e ok || { echo no database >&2; exit 1; }\"]", "role = \"readiness\""),
        probe("slow", "[\"sh\", \"-c\", \"echo still loading >&2; exit 1\"]", "role = \"readiness\""),
    );
    let run = Run::quick_file(&file).with_http();
    std::fs::write(run.path("ok"), "").unwrap();
    let dog = run.spawn();
    dog.wait_ready("web");
    std::fs::remove_file(dog.path("ok")).unwrap();
    dog.wait_service("web", "not ready", |s| s["ready"] == false);
    let said = said_everywhere(&dog, "web");
    assert!(said.contains("failed 3 times in a row (failures 3): no database (since 2"), "{said}");
    let said = wait_for("the probe of a start", || {
        let said = dog.service("slow")["reason"].as_str().unwrap().to_owned();
        said.contains("failed 3 times").then_some(said)
    });
    assert!(said.starts_with("started; waiting for its probes; probe ") && said.contains("still loading"), "{said}");
    let ready = dog.page("/ready").json();
    let why: Vec<&str> = ready["not_ready"].as_array().unwrap().iter().map(|s| s["why"].as_str().unwrap()).collect();
    assert!(why[0].contains("no database") && why[1].contains("still loading"), "{ready}");
    dog.stop();
}

/// What waits has the same one sentence, and since when.
#[test]
fn one_that_waits_says_for_what_and_since_when() {
    let file = format!("[service.db]\n{SLEEPS}ready = \"line:never\"\n[service.api]\n{SLEEPS}requires = [\"db\"]\n");
    let dog = Run::quick_file(&file).with_http().spawn();
    dog.wait_service_state("api", "waiting");
    let said = said_everywhere(&dog, "api");
    assert!(said.starts_with("waiting for db (ready) (since 2"), "{said}");
    assert_eq!(dog.page("/ready/api").json()["not_ready"][0]["why"], said);
    dog.stop();
}

/// users 5. Failed before: between two crashes it was `running`, ready and healthy, for `ready = auto` is ready at the exec.
#[test]
fn a_service_that_restarts_again_and_again_is_degraded_until_it_is_stable() {
    let script =
        "n=$(cat n 2>/dev/null || echo 0); echo $((n+1)) >n; [ $n -ge 3 ] && exec sleep 1000; sleep 0.1; exit 1";
    let file = format!(
        "[service.web]\ncommand = [\"sh\", \"-c\", {script:?}]\nstable_after = \"15s\"\n[service.fine]\n{SLEEPS}"
    );
    let dog = Run::quick_file(&file).with_http().spawn();
    wait_for("the last start", || (dog.events_for("web", "spawn").len() == 4).then_some(()));
    let web = dog.wait_service("web", "degraded", |s| s["state"] == "running" && s["health"] == "degraded");
    assert_eq!((&web["ready"], &web["restarts"]), (&json!(true), &json!(3)));
    let said = said_everywhere(&dog, "web");
    assert!(said.starts_with("restarted 3 times in 60 s; "), "{said}");
    dog.verb(&["health", "web"]).code(1);
    assert_eq!((dog.page("/health/web").status, dog.page("/ready").status), (503, 200));
    // and once it has been stable, without anything that happens
    dog.wait_service("web", "healthy", |s| s["health"] == "healthy");
    dog.verb(&["health", "web"]).code(0);
    assert_eq!(dog.page("/health").status, 200);
    dog.stop().count("spawn", 5);
}

/// users 8. Failed before: what was stopped on purpose was `unhealthy`, 503 in `/health/NAME`, no metric said that it was
/// not wanted, and why-not said "it was asked to be down".
#[test]
fn what_was_stopped_on_purpose_is_no_error() {
    let file = format!(
        "[service.web]\n{SLEEPS}[service.extra]\n{SLEEPS}autostart = false\n[service.job]\ntype = \"oneshot\"\n\
         command = \"true\"\n[service.bad]\n{}\nrestart = \"never\"\nautostart = false\n",
        victim(&["exit", "3"])
    );
    let dog = Run::quick_file(&file).with_http().spawn();
    dog.wait_ready("web");
    dog.wait_service_state("job", "done");
    dog.verb(&["stop", "web"]).code(0);
    for name in ["web", "extra", "job"] {
        let page = dog.page(&format!("/health/{name}"));
        assert_eq!(page.status, 200, "{page:?}");
        let said = page.json();
        assert_ne!(said["health"], "unhealthy", "{said}");
        assert_eq!(said["state"], if name == "job" { "done" } else { "stopped" }, "{said}");
    }
    assert_eq!((dog.page("/health").status, dog.page("/health/detailed").status), (200, 200));
    let wanted = |name: &str| format!("watchdog_service_wanted{{service=\"{name}\"}}");
    for (name, value) in [("web", 0.0), ("extra", 0.0), ("job", 1.0)] {
        dog.wait_metric(&wanted(name), "wanted", |n| n == value);
    }
    let why = dog.verb(&["explain", "--why-not", "web"]).code(0).out;
    assert!(why.contains("it is not started: stopped on request by pid ") && why.contains("(uid "), "{why}");
    let why = dog.verb(&["explain", "--why-not", "extra"]).code(0).out;
    assert!(why.contains("autostart = false"), "{why}");
    // the look-alikes: a failure is one, and a start brings back all that is judged
    dog.verb(&["start", "bad"]);
    dog.wait_service_state("bad", "failed");
    assert_eq!((dog.page("/health/bad").status, dog.page("/health").status), (503, 503));
    dog.wait_metric(&wanted("bad"), "wanted", |n| n == 1.0);
    dog.stop();
}

/// users 8. Failed before: no sample of `restarts_total` before the first restart, so that its increase was never seen.
#[test]
fn restart_counters_are_there_from_the_start() {
    let dog = Run::quick().with_http().worker(["sleep"]).spawn();
    for cause in ["exited", "signalled", "oom", "hang", "requested"] {
        let sample = format!("watchdog_service_restarts_total{{service=\"worker\",cause=\"{cause}\"}}");
        dog.wait_metric(&sample, "0 from the start", |n| n == 0.0);
    }
    dog.verb(&["restart", "worker"]).code(0);
    dog.wait_metric("watchdog_service_restarts_total{service=\"worker\",cause=\"requested\"}", "one", |n| n == 1.0);
    dog.stop();
}

/// users 6, S1. Failed before: the status was that of the code (143 or 0), and nothing was printed.
#[test]
fn an_end_by_start_timeout_that_no_restart_follows_is_1_and_one_line() {
    for worker in ["trap '' TERM; sleep 100", "trap 'exit 0' TERM; sleep 100 & wait", "exec sleep 100"] {
        let run = Run::once().flag("--ready", "reported").flag("--start-timeout", "300ms");
        let ended = run.program(["sh", "-c", worker]).run().code(1).count("gave-up", 1);
        let ended = ended.says("not ready within start_timeout 300ms").says("restart = never");
        assert_eq!(ended.err.lines().filter(|l| l.contains("start_timeout")).count(), 1, "{}", ended.story());
    }
    // the look-alikes: its own end, and one that was asked for, keep their status and say nothing
    let own = Run::once().flag("--ready", "reported").program(["sh", "-c", "kill -TERM $$"]).run();
    own.code(143).silent();
    let dog = Run::once().flag("--ready", "reported").program(["sleep", "100"]).spawn();
    dog.event("spawn", 1);
    dog.stop().code(143).silent();
}

/// users 6, S1: the same of a limit, a hang and a probe.
#[test]
fn an_end_by_any_other_rule_that_no_restart_follows_is_1_and_one_line() {
    let limited =
        Run::once().flag("--memory-limit", "64KiB").flag("--memory-samples", "1").flag("--sample-interval", "100ms");
    limited.program(["sleep", "100"]).run().code(1).says("memory_limit is 64.0 KiB").says("restart = never");
    let hung = Run::beating().flag("--restart", "never").talks(&["hello", "serve:300", "deaf"]).run();
    hung.code(1).says("no sign of life for").says("restart = never");
    let file = format!(
        "[service.web]\n{SLEEPS}restart = \"never\"\ngive_up = \"exit\"\nready = \"spawned\"\n{}",
        probe("web", "[\"false\"]", "role = \"liveness\"")
    );
    Run::quick_file(&file).run().code(1).says("failed 3 times in a row").says("restart = never");
}

/// 37, users 1. Failed before: only a worker that had checks was ever asked for its numbers.
#[test]
fn numbers_of_a_worker_without_a_health_check_are_shown() {
    let run =
        Run::beating().talks(&["hello", "ready", "metrics:jobs=3", "serve:900", "metrics:jobs=4", "serve"]).with_http();
    let dog = run.spawn();
    wait_for("questions for numbers", || (dog.heard("ask-metrics") >= 2).then_some(()));
    dog.wait_metric("worker_jobs_total{service=\"worker\"}", "its counter", |n| n == 4.0);
    dog.stop();
    // in Node, where it says first that it is there
    let script = "let asked = 0; process.send({type: 'ready'}); process.on('message', m => { \
         if (m.type === 'ping') process.send({type: 'pong', id: m.id}); \
         if (m.type === 'metrics') process.send({type: 'metrics', counters: {jobs: ++asked}, gauges: {}}); });";
    let run = Run::quick().flag("--heartbeat-interval", "200ms").with_http();
    let Some(run) = run.node(script) else { return };
    let dog = run.spawn();
    dog.wait_metric("worker_jobs_total{service=\"node\"}", "its counter", |n| n >= 2.0);
    dog.stop();
}

/// Report 17. Failed before: it waited for the whole time, or for ever without one.
#[test]
fn a_wait_ends_at_once_when_what_it_waits_for_cannot_come() {
    let file = format!(
        "[service.bad]\n{}\nrestart_limit = 1\n[service.api]\n{SLEEPS}requires = [\"bad\"]\n[service.off]\n{SLEEPS}\
         autostart = false\n[service.always]\n{SLEEPS}restart = \"always\"\n[service.done]\ncommand = \"true\"\n\
         [service.slow]\n{SLEEPS}ready = \"line:never\"\n",
        victim(&["exit", "3"])
    );
    let dog = Run::quick_file(&file).spawn();
    dog.wait_service_state("bad", "failed");
    dog.wait_service_state("done", "done");
    for (name, want, why) in [
        ("bad", "ready", "gave up"),
        ("bad", "completed", "gave up"),
        ("api", "ready", "it has failed"),
        ("off", "ready", "autostart = false"),
        ("off", "completed", "autostart = false"),
        ("done", "ready", "not restarted"),
        ("always", "completed", "restart = always"),
    ] {
        // without a time of its own: what is not told ends with the patience of the harness
        let answer = dog.verb(&["wait", name, "--for", want, "--json"]).code(1).json();
        let reason = answer["reason"].as_str().unwrap_or_default();
        assert!(answer["reached"] == false && reason.contains(why), "{name} {want}: {answer}");
    }
    let told = dog.verb(&["wait", "off", "--for", "ready"]).code(1);
    assert!(told.err.contains("off is not ready") && told.err.contains("autostart = false"), "{told:?}");
    // what comes is waited for, and one that waits hears that it does not come any more
    let waits = dog.start_verb(&["wait", "slow", "--for", "ready", "--json"]);
    dog.verb(&["stop", "slow"]).code(0);
    let told = finish(waits, &["wait"]).code(1).json();
    assert!(told["reason"].as_str().unwrap().contains("stopped on request by pid"), "{told}");
    dog.verb(&["wait", "done", "--for", "completed"]).code(0);
    dog.stop();
}

/// R5. Failed before: a hidden service that was not ready made `/ready` 503, while the page counted all as ready.
#[test]
fn a_hidden_service_that_is_not_ready_is_missed_everywhere() {
    let file = format!("[service.web]\n{SLEEPS}[service.shy]\n{SLEEPS}hidden = true\nready = \"line:never\"\n");
    let dog = Run::quick_file(&file).with_http().spawn();
    dog.wait_ready("web");
    dog.event_for("shy", "spawn", 1);
    assert_eq!(dog.page("/ready").status, 503);
    let mut web = common::web::Web::connect(&dog.http());
    web.send("GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let mut text = String::new();
    let state = wait_for("a state on the page", || {
        let mut piece = [0; 4096];
        let n = std::io::Read::read(&mut web.stream, &mut piece).unwrap();
        text.push_str(&String::from_utf8_lossy(&piece[..n]));
        serde_json::from_str::<Value>(text.split("event: state\ndata: ").nth(1)?.split("\n\n").next()?).ok()
    });
    assert_eq!((&state["ready"], &state["wanted"]), (&json!(1), &json!(2)), "{state}");
    assert_eq!(state["services"].as_array().unwrap().len(), 1, "it is hidden from listings");
    dog.stop();
    let text = Run::file(&file);
    let line =
        [common::watchdog(), "run-until-ready", "-f", "watchdog.toml", "--timeout", "300ms", "--json"].map(Into::into);
    let out = text.command(&line).output().unwrap();
    let told: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!((out.status.code(), &told["ready"]), (Some(1), &json!(false)), "{told}");
}

/// Report 44. Failed before: why-not said "its exec has not come; there is no start_timeout".
#[test]
fn a_start_that_its_hook_holds_up_says_so() {
    let file = format!("[service.web]\n{SLEEPS}hook = [\"pre-start:sleep 1000\"]\n[service.fine]\n{SLEEPS}");
    let dog = Run::quick_file(&file).spawn();
    dog.wait_service_state("web", "starting");
    let why = dog.verb(&["explain", "--why-not", "web"]).code(0).out;
    assert!(
        why.contains("it is not started yet: its pre-start hook has been running for ") && why.contains("(sleep)"),
        "{why}"
    );
    let explained = dog.verb(&["explain", "web"]).code(0).out;
    assert!(explained.contains("its pre-start hook has been running for "), "{explained}");
    let fine = dog.verb(&["explain", "--why-not", "fine"]).code(0).out;
    assert!(!fine.contains("hook"), "{fine}");
    dog.stop();
}

/// Report 6. Failed before: nothing was said, and the service was gone or started again and again.
#[test]
fn a_program_that_puts_itself_into_the_background_is_told_how_to_be_run() {
    let run = Run::quick().flag("--restart", "always").flag("--restart-limit", "2");
    let ended = run.program(["sh", "-c", "sleep 1000 & exit 0"]).run();
    let said = |ended: &common::Ended| ended.err.lines().filter(|l| l.contains("Run it in the foreground")).count();
    assert_eq!(said(&ended), 1, "{}", ended.story());
    let told: Vec<Value> = ended.of("leftover-killed").iter().map(|e| e["background"].clone()).collect();
    assert_eq!(told, [json!(true), json!(false), json!(false)]);
    // the look-alikes: one that crashes beside its child, and one that is alone
    for script in ["sleep 1000 & exit 3", "exit 0"] {
        let ended = Run::once().program(["sh", "-c", script]).run();
        assert_eq!(said(&ended), 0, "{}", ended.story());
    }
}

/// Report 52. Failed before: a prompt without a newline, and a text with colours in it or cut by one, never made it ready.
#[test]
fn a_line_that_says_ready_needs_no_newline_and_may_be_coloured_and_in_pieces() {
    for script in [
        "printf 'server is up'",
        "printf 'server \\033[1;32mis\\033[0m up\\n'",
        "printf 'server is\\033['; sleep 0.3; printf '32m u'; sleep 0.3; printf 'p'",
    ] {
        let run = Run::quick().flag("--ready", "line:server is up").flag("--log", "capture");
        let dog = run.program(["sh", "-c", &format!("{script}; exec sleep 1000")]).spawn();
        assert_eq!(dog.event("ready", 1)["ready_by"], "line", "{script}");
        dog.stop();
    }
    // the look-alikes: over two lines, and as the title of a terminal
    for script in ["printf 'server is\\n up\\n'", "printf '\\033]0;server is up\\007\\n'"] {
        let run = Run::quick().flag("--ready", "line:server is up").flag("--log", "capture");
        let dog = run.program(["sh", "-c", &format!("{script}; echo told; exec sleep 1000")]).spawn();
        wait_for("its output", || dog.verb(&["logs"]).out.contains("told").then_some(()));
        assert_eq!(dog.status()["state"], "starting", "{script}");
        dog.stop();
    }
}

/// Report 7b. Failed before: `lines` was 0.
#[test]
fn a_reader_of_up_that_is_gone_costs_lines_that_are_counted() {
    let (reader, writer) = std::io::pipe().unwrap();
    let file = "[service.web]\ncommand = [\"sh\", \"-c\", \"while :; do echo a line of output; sleep 0.01; done\"]\n";
    let dog = Run::quick_file(file).stdout(writer.into()).spawn();
    dog.wait_ready("web");
    drop(reader);
    let event = dog.event("log-dropped", 1);
    let (lines, bytes) = (event["lines"].as_u64().unwrap(), event["bytes"].as_u64().unwrap());
    assert!(event["stream"] == "stdout" && lines >= 1 && bytes >= lines * 10, "{event}");
    dog.stop();
}

/// User report 14. Failed before: without a limit MEMORY and CPU were `-`.
#[test]
fn what_a_service_uses_is_in_status_without_a_limit() {
    let dog = Run::quick().program(["sh", "-c", "while :; do :; done"]).spawn();
    dog.event("ready", 1);
    let used = wait_for("its CPU time", || {
        let status = dog.verb(&["status", "--json"]).code(0).json()["services"][0].clone();
        (status["cpu"]["percent"].as_f64() > Some(1.0)).then_some(status)
    });
    assert!(used["memory"]["rss_bytes"].as_u64() > Some(100_000), "{used}");
    let table = dog.verb(&["status"]).code(0).out;
    let row = table.lines().find(|l| l.starts_with("sh ") && l.contains("running  ")).unwrap();
    assert!(row.contains("KiB") || row.contains("MiB"), "{table}");
    assert!(row.contains('%'), "{table}");
    // nothing is measured for a question that does not ask for it
    let plain = dog.status();
    assert!(plain["memory"]["rss_bytes"].is_null() && plain["cpu"]["percent"].is_null(), "{plain}");
    dog.stop();
}

/// User report 17. Failed before: both were "killed by TERM" in `status`, and "died by SIGTERM" in `explain`.
#[test]
fn a_stop_and_a_crash_by_the_same_signal_look_different() {
    let file = format!("[service.asked]\n{SLEEPS}[service.died]\n{SLEEPS}restart = \"never\"\n");
    let dog = Run::quick_file(&file).spawn();
    dog.wait_ready("asked");
    let died = nix::unistd::Pid::from_raw(dog.pid_of("died", 1));
    nix::sys::signal::kill(died, nix::sys::signal::Signal::SIGTERM).unwrap();
    dog.wait_service("died", "its end", |s| s["state"] == "done" || s["state"] == "failed");
    dog.verb(&["stop", "asked"]).code(0);
    let table = dog.verb(&["status"]).code(0).out;
    let row = |name: &str| table.lines().find(|l| l.starts_with(name)).unwrap().to_owned();
    assert!(row("asked").contains("stopped (TERM)") && row("died").contains("killed by TERM"), "{table}");
    let told = |name: &str| dog.verb(&["explain", name]).code(0).out;
    assert!(told("asked").contains("ended by SIGTERM") && !told("asked").contains("died by"), "{}", told("asked"));
    assert!(told("died").contains("died by SIGTERM"), "{}", told("died"));
    dog.stop();
}

/// User report 15. Failed before: members of a report stood there as JSON, and lists that were empty with their name.
#[test]
fn a_report_is_shown_as_plain_text() {
    let run = Run::quick().flag("--restart", "never").flag("--give-up", "stay").flag("--ready", "reported");
    let dir = run.at("reports");
    let dog = run.flag("--start-timeout", "300ms").flag("--report-dir", dir).program(["sleep", "1000"]).spawn();
    dog.event("exit", 1);
    let ended = dog.wait();
    let folder = ended.run.at("reports");
    let line = [common::watchdog(), "report", "last", "--dir", &folder].map(Into::into);
    let out = ended.run.command(&line).output().unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    assert!(text.contains("start-timeout") && text.contains("never ready"), "{text}");
    for bit in ["said_stopping", "beats ,", "{", "pids=["] {
        assert!(!text.contains(bit), "{bit:?} in\n{text}");
    }
}
