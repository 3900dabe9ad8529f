//! Output: every byte, in order, bounded in memory, and never a reason to block (LOG-*).
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod common;
use common::{Dog, Run, procs, skip, stays, wait_for, within};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

fn logs(dog: &Dog, args: Value) -> Vec<Value> {
    let mut control = dog.control();
    control.ask(&json!({"id": 1, "verb": "logs", "services": [], "args": args}));
    let mut items = Vec::new();
    loop {
        let answer = control.answer();
        match answer.get("item") {
            Some(item) => items.push(item.clone()),
            None => {
                assert_eq!(answer["ok"], true, "{answer}");
                return items;
            }
        }
    }
}

fn text(items: &[Value]) -> Vec<String> {
    items.iter().map(|i| i["line"].as_str().unwrap().to_string()).collect()
}

/// LOG-01
#[test]
fn nothing_is_lost_and_the_order_is_kept() {
    let run = Run::once().flag("--log", "tee").flag("--log-max-size", "1GiB");
    let file = run.path("log");
    let words = ["flood", "lines", "--lines", "40000", "--size", "200", "--to", "both"];
    let ended = run.flag("--log-file", &file).worker(words).run().code(0);
    let wanted: Vec<String> = (0..40_000).map(|i| format!("{i:08}")).collect();
    let head = |t: &str| t.lines().map(|l| l[..8.min(l.len())].to_string()).collect::<Vec<_>>();
    assert!(head(&ended.out) == wanted, "stdout: {} lines", ended.out.lines().count());
    assert!(head(&ended.err) == wanted, "stderr: {} lines", ended.err.lines().count());
    let kept = std::fs::read_to_string(&file).unwrap();
    assert_eq!(kept.lines().count(), 80_000);
    assert_eq!(kept.len(), ended.out.len() + ended.err.len(), "the file is raw");
}

/// LOG-01: through a slow pipe, byte for byte
#[test]
fn tee_is_byte_for_byte_through_a_slow_pipe() {
    let (mut reader, writer) = std::io::pipe().unwrap();
    let run = Run::once().flag("--log", "tee").stdout(writer.into());
    let dog = run.worker(["flood", "lines", "--lines", "30000", "--size", "100"]).spawn();
    let mut all = Vec::new();
    let mut buffer = vec![0; 30_000];
    while let Ok(n) = reader.read(&mut buffer) {
        if n == 0 {
            break;
        }
        all.extend_from_slice(&buffer[..n]);
        if all.len() < 300_000 {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    assert_eq!(all.len(), 30_000 * 100);
    assert!(all.chunks(100).enumerate().all(|(i, l)| l.starts_with(format!("{i:08} ").as_bytes())));
    dog.wait().code(0);
}

/// LOG-01: whatever the bytes are, and wherever a read cuts them: to a slow reader and into the file alike
#[test]
fn bytes_of_any_kind_come_through_a_slow_pipe_and_into_the_file() {
    let (mut reader, writer) = std::io::pipe().unwrap();
    let run = Run::once().flag("--log", "tee").stdout(writer.into());
    let (file, copy) = (run.path("log"), run.path("copy"));
    // newlines are one byte of 256; then a line that is longer than the limit, empty ones, and no newline at the end
    let make = "head -c 1500000 /dev/urandom; head -c 70000 /dev/zero; printf '\\n\\n\\nend'";
    let line = format!("{{ {make}; }} > copy; cat copy");
    let dog = run.flag("--log-file", &file).flag("--log-max-size", "1GiB").program(["sh", "-c", &line]).spawn();
    let (mut all, mut buffer) = (Vec::new(), vec![0; 7000]);
    while let Ok(n @ 1..) = reader.read(&mut buffer) {
        all.extend_from_slice(&buffer[..n]);
        if all.len() < 500_000 {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
    let ended = dog.wait().code(0);
    let wanted = std::fs::read(&copy).unwrap();
    assert_eq!(wanted.len(), 1_570_006);
    assert!(all == wanted, "{} bytes at the reader", all.len());
    let mut kept = std::fs::read(&file).unwrap();
    assert_eq!(kept.pop(), Some(b'\n'), "the last line of a run is completed");
    assert!(kept == wanted, "{} bytes in the file", kept.len());
    drop(ended);
}

/// LOG-01: many at once, each into its own file, through one loop
#[test]
fn many_that_talk_at_once_lose_no_line_of_their_files() {
    const SERVICES: usize = 40;
    let worker = common::worker();
    let text: String = (0..SERVICES)
        .map(|n| {
            let words = ["flood", "lines", "--lines", "5000", "--size", "90", "--to", "both", "--stay"];
            let command = json!([&[worker.to_str().unwrap()][..], &words[..]].concat());
            format!("[service.s{n}]\ncommand = {command}\nlog_file = \"log.{n}\"\nlog_file_stderr = \"err.{n}\"\n")
        })
        .collect();
    let dog = Run::quick_file(&text).spawn();
    let names: Vec<String> = (0..SERVICES).flat_map(|n| [format!("log.{n}"), format!("err.{n}")]).collect();
    let size = |name: &String| dog.path(name).metadata().map_or(0, |m| m.len());
    wait_for("all bytes in all files", || names.iter().all(|name| size(name) >= 5000 * 90).then_some(()));
    for name in &names {
        let kept = std::fs::read_to_string(dog.path(name)).unwrap();
        let whole = |(n, line): (usize, &str)| line.len() == 89 && line.starts_with(&format!("{n:08} "));
        assert!(kept.lines().count() == 5000 && kept.lines().enumerate().all(whole), "{name}");
    }
    dog.stop();
}

/// LOG-02
#[test]
fn pieces_of_a_line_are_one_record() {
    let dog = Run::quick().flag("--log", "capture").worker(["flood", "halves", "--stay"]).spawn();
    let items = wait_for("the line", || Some(logs(&dog, json!({}))).filter(|i| !i.is_empty()));
    assert_eq!(text(&items), ["first half, second half"]);
    let item = &items[0];
    assert_eq!(
        (&item["stream"], &item["partial"], &item["encoding"]),
        (&"stdout".into(), &false.into(), &"utf8".into())
    );
    assert_eq!((&item["service"], &item["generation"]), (&"worker".into(), &1.into()), "{item}");
    dog.stop().code(143);
}

/// LOG-03
#[test]
fn a_long_line_is_split_and_marked() {
    let dog = Run::quick().flag("--log", "capture").worker(["flood", "long", "--size", "50000", "--stay"]).spawn();
    let items = wait_for("the last line", || {
        Some(logs(&dog, json!({}))).filter(|i| i.last().is_some_and(|l| l["line"] == "after"))
    });
    let pieces = &items[..items.len() - 1];
    assert_eq!(pieces.iter().map(|p| p["line"].as_str().unwrap().len()).sum::<usize>(), 50_000);
    assert!(pieces.iter().all(|p| p["line"].as_str().unwrap().len() <= 16 * 1024));
    let (last, first) = pieces.split_last().unwrap();
    assert!(first.len() >= 3 && first.iter().all(|p| p["partial"] == true), "marked: {:?}", pieces.len());
    assert_eq!(last["partial"], false, "the last piece ends the line");
    dog.stop().code(143);
}

/// LOG-04
#[test]
fn endless_output_without_a_newline_is_bounded() {
    let run = Run::quick().flag("--log", "capture");
    let file = run.path("log");
    let run = run.flag("--log-file", &file).flag("--log-max-size", "1MiB").flag("--log-keep", "2");
    let dog = run.worker(["flood", "endless-nonl"]).spawn();
    wait_for("some output", || logs(&dog, json!({"n": 1})).pop());
    let rss = procs::status_field(dog.pid(), "VmRSS");
    std::thread::sleep(Duration::from_millis(700));
    let grown = procs::status_field(dog.pid(), "VmRSS") - rss.min(procs::status_field(dog.pid(), "VmRSS"));
    assert!(grown < 8 * 1024, "{grown} KiB more");
    let kept: usize = logs(&dog, json!({})).iter().map(|i| i["line"].as_str().unwrap().len()).sum();
    assert!(kept <= 300 * 1024, "the ring is bounded: {kept}");
    let began = Instant::now();
    let ended = dog.stop();
    assert!(began.elapsed() < Duration::from_secs(6), "the flood held up the end");
    let size = |name: &str| ended.run.path(name).metadata().map_or(0, |m| m.len());
    assert!(size("log") <= 1_048_576 + 70_000, "{}", size("log"));
}

/// LOG-05
#[test]
fn the_last_line_needs_no_newline() {
    for die in [false, true] {
        let run = Run::quick().flag("--log", "capture").flag("--give-up", "stay").flag("--restart-limit", "1");
        let run = run.flag("--restart", "on-failure").flag("--no-restart-on", "5,KILL");
        let words: &[&str] = if die { &["flood", "nonl", "--die"] } else { &["flood", "nonl", "--code", "5"] };
        let dog = run.worker(words).spawn();
        dog.event("exit", 1);
        let items = wait_for("two lines", || Some(logs(&dog, json!({}))).filter(|i| i.len() == 2));
        assert_eq!(text(&items), ["whole", "no newline at the end"]);
        assert_eq!(items[1]["partial"], true, "{}", items[1]);
        dog.stop();
    }
}

/// LOG-06
#[test]
fn odd_bytes_arrive_as_they_are_and_the_answers_stay_json() {
    let run = Run::once().flag("--log", "tee");
    let file = run.path("log");
    let ended = run.flag("--log-file", &file).worker(["flood", "nul"]).run().code(0);
    let wanted = b"a\0b\xff\xfe\x1b[31mred\r\ngr\xc3\xbcn \xe2\x80\xa8 end\n".to_vec();
    assert_eq!(std::fs::read(ended.run.path("out")).unwrap(), wanted);
    assert_eq!(std::fs::read(&file).unwrap(), wanted);
    let dog = Run::quick().flag("--log", "capture").worker(["flood", "nul", "--stay"]).spawn();
    let items = wait_for("two lines", || Some(logs(&dog, json!({}))).filter(|i| i.len() == 2));
    assert_eq!(items[0]["encoding"], "base64", "{}", items[0]);
    assert!(items[0]["line"].as_str().unwrap().starts_with("YQBi//4bWzMxbXJlZA"), "{}", items[0]);
    assert_eq!((&items[1]["encoding"], &items[1]["line"]), (&"utf8".into(), &"grün \u{2028} end".into()));
    // for people: no control characters of a worker reach the terminal of whoever looks
    let line = format!("'{}' logs worker", common::watchdog());
    let line: Vec<std::ffi::OsString> = ["script", "-qec", &line, "/dev/null"].iter().map(Into::into).collect();
    let shown = dog.run.command(&line).stdin(std::process::Stdio::null()).output();
    let Ok(shown) = shown else {
        dog.stop();
        return common::skip("script is not installed");
    };
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("red") && !shown.contains('\u{1b}'), "raw escape: {shown:?}");
    // L6: nor what a terminal would hide; a pipe has the bytes as they are
    assert!(shown.contains("grün \\u{2028} end") && !shown.contains('\u{2028}'), "{shown:?}");
    assert!(dog.verb(&["logs"]).code(0).out.contains("grün \u{2028} end\n"));
    dog.stop();
}

/// LOG-07
#[test]
fn a_worker_cannot_forge_an_event() {
    let run = Run::quick().flag("--log", "tee");
    let dog = run.worker(["flood", "forge", "--stay"]).spawn();
    wait_for("both lines", || (logs(&dog, json!({})).len() == 2).then_some(()));
    assert!(!dog.events().iter().any(|e| e["code"] == 77), "{:?}", dog.events());
    for item in dog.verb(&["logs", "worker", "--json"]).code(0).json_lines() {
        assert!(item["event"].is_null() && item["line"].is_string(), "{item}");
    }
    dog.stop().count("exit", 1);
}

/// LOG-08
#[test]
fn a_full_disk_stops_nobody() {
    if !common::can_unshare(&["--mount"]) {
        return skip("needs root to mount a small file system");
    }
    let run = Run::quick().flag("--log", "capture").leaves_alive();
    let small = run.path("small");
    std::fs::create_dir(&small).unwrap();
    let file = small.join("log");
    let mount = format!("mount -t tmpfs -o size=64k none '{}' && exec \"$@\"", small.display());
    let run = run.flag("--log-file", &file).under(["unshare", "--mount", "sh", "-c", &mount, "sh"]);
    let dog = run.worker(["flood", "lines", "--lines", "5000", "--size", "100", "--stay"]).spawn();
    wait_for("the last line in the ring", || {
        logs(&dog, json!({"n": 1})).pop().filter(|l| l["line"].as_str().unwrap().starts_with("00004999"))
    });
    // the worker was not blocked by it, and the watchdog supervises
    assert_eq!(dog.status()["state"], "running");
    // the room comes back: what was lost is counted
    let root = format!("/proc/{}/root{}", dog.pid(), file.display());
    std::fs::OpenOptions::new().write(true).open(&root).unwrap().set_len(0).unwrap();
    let ended = dog.stop();
    let dropped = ended.of("log-dropped");
    assert!(!dropped.is_empty(), "no log-dropped\n{}", ended.story());
    let bytes: u64 = dropped.iter().map(|e| e["bytes"].as_u64().unwrap()).sum();
    assert!((430_000..=500_000).contains(&bytes), "{bytes} of 500000 bytes on 64 KiB\n{}", ended.story());
}

/// LOG-09
#[test]
fn a_log_that_was_moved_away_is_no_crash() {
    let run = Run::quick().flag("--log", "capture").flag("--restart-delay", "5ms").flag("--restart-limit", "20");
    let dir = run.path("logs");
    std::fs::create_dir(&dir).unwrap();
    let dog = run.flag("--log-file", dir.join("log")).worker(["flood", "endless"]).spawn();
    wait_for("some output", || dir.join("log").metadata().ok().filter(|m| m.len() > 0));
    std::fs::rename(dir.join("log"), dir.join("moved")).unwrap();
    std::fs::remove_dir_all(&dir).unwrap();
    stays("it lives", Duration::from_millis(300), || procs::alive(dog.pid()));
    assert_eq!(dog.status()["state"], "running");
    dog.stop();
}

/// LOG-10
#[test]
fn a_reader_that_leaves_ends_a_worker_that_inherits_its_pipe() {
    let (reader, writer) = std::io::pipe().unwrap();
    let run = Run::once().stdout(writer.into());
    let dog = run.worker(["flood", "endless"]).spawn();
    dog.event("spawn", 1);
    drop(reader);
    dog.wait().code(141);
}

/// LOG-10: through us the worker lives, what is lost is counted
#[test]
fn a_reader_that_leaves_does_not_harm_a_teed_worker() {
    let (reader, writer) = std::io::pipe().unwrap();
    let run = Run::quick().flag("--log", "tee").stdout(writer.into());
    let dog = run.worker(["flood", "endless"]).spawn();
    wait_for("some output", || logs(&dog, json!({"n": 1})).pop());
    drop(reader);
    let worker = dog.worker_pid(1);
    stays("both live", Duration::from_millis(400), || procs::alive(worker) && procs::alive(dog.pid()));
    dog.stop().count("exit", 1);
}

/// LOG-11
#[test]
fn a_stalled_reader_holds_up_the_worker_but_never_us() {
    let (reader, writer) = std::io::pipe().unwrap();
    let run = Run::quick().flag("--log", "tee").stdout(writer.into());
    let dog = run.worker(["flood", "endless"]).spawn();
    wait_for("some output", || logs(&dog, json!({"n": 1})).pop());
    let before = procs::cpu_ticks(dog.pid());
    std::thread::sleep(Duration::from_millis(500));
    let worker = dog.worker_pid(1);
    let held = within(Duration::from_secs(5), || procs::state(worker) == Some('S'));
    assert!(held, "back-pressure reaches the worker");
    assert_eq!(dog.status()["state"], "running", "the control socket answers");
    assert!(procs::cpu_ticks(dog.pid()) - before < 30, "no busy loop");
    let began = Instant::now();
    let ended = dog.stop();
    assert!(began.elapsed() < Duration::from_secs(6), "the ladder ends everything all the same");
    assert!([143, 137].contains(&ended.code), "{}", ended.story());
    drop(reader);
}

/// LOG-12
#[test]
fn our_own_messages_into_a_stalled_pipe_block_nobody() {
    let (reader, writer) = std::io::pipe().unwrap();
    let run = Run::quick().flag("--log-level", "trace").stderr(writer.into());
    let run = run.flag("--restart-delay", "1ms").flag("--restart-delay-factor", "1");
    let run = run.flag("--restart-limit", "0").flag("--crash-loop-limit", "0");
    let dog = run.program(["sh", "-c", "exec 2>/dev/null; exit 1"]).spawn();
    // far more messages than a pipe holds
    dog.event("spawn", 300);
    let mut control = dog.control();
    for _ in 0..200 {
        control.call("status", json!({}));
    }
    let began = Instant::now();
    dog.signal(Signal::SIGTERM);
    let ended = dog.wait();
    assert!(began.elapsed() < Duration::from_secs(6));
    assert!(ended.of("spawn").len() >= 300);
    drop(reader);
}

/// LOG-13
#[test]
#[ignore = "simulator only: EIO and ENOMEM on a pipe cannot be made from outside"]
fn read_errors_of_the_log_pipe_do_not_block_the_worker() {}

/// LOG-14
#[test]
fn odd_log_paths_are_refused_and_never_block() {
    let base = Run::once();
    let (dir, fifo, link) = (base.path("dir"), base.path("fifo"), base.path("link"));
    std::fs::create_dir(&dir).unwrap();
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
    std::os::unix::fs::symlink("/etc/hostname", &link).unwrap();
    let before = std::fs::read("/etc/hostname").unwrap_or_default();
    for path in [&dir, &fifo, &link, &base.path("fifo/dir/log")] {
        let run = Run::once().flag("--log", "tee").flag("--log-file", path);
        let ended = run.worker(["exit", "0", "--say", "words"]).run().before(4000);
        assert!(ended.code == 125 || ended.code == 2, "{}: {}", path.display(), ended.story());
        assert!(ended.err.contains(&*path.to_string_lossy()), "{}", ended.err);
    }
    assert_eq!(std::fs::read("/etc/hostname").unwrap_or_default(), before, "a link was followed");
}

/// Section 2: which service, which key, which path, and why in words
#[test]
fn a_file_that_cannot_be_opened_is_named_by_its_key_and_why_in_words() {
    let sleeps = "command = [\"sleep\", \"1000\"]\n";
    let logs =
        |rest: &str| format!("[service.good]\n{sleeps}[service.a]\n{sleeps}log_file = \"/proc/nodir/x.log\"\n{rest}");
    for (text, says) in [
        (logs(""), "service.a.log_file /proc/nodir/x.log: no such file or directory"),
        (logs("replicas = 2\n").replace("/nodir", ""), "service.a.log_file /proc/x@0.log: no such file or directory"),
        (format!("[defaults]\nlog_file = \"/\"\n[service.b]\n{sleeps}"), "service.b.log_file /: is a directory"),
        (
            format!("[watchdog]\nevents_file = \"/nodir/e\"\n[service.b]\n{sleeps}"),
            "events_file: /nodir/e: there is no directory /nodir",
        ),
    ] {
        let ended = Run::quick_file(&text).no_events().spawn().wait().code(125);
        assert!(ended.err.contains(says), "{says:?} is not in {:?}", ended.err);
    }
    let ended =
        Run::once().flag("--log", "tee").flag("--log-file", "/proc/nodir/x").worker(["exit", "0"]).run().code(125);
    assert!(ended.err.contains("watchdog: log_file /proc/nodir/x: no such file or directory"), "{}", ended.err);
}

/// LOG-14: the log is nobody else's to read
#[test]
fn a_log_file_is_private() {
    let run = Run::once().flag("--log", "capture").arranged(["--umask", "000"]);
    let file = run.path("log");
    let ended = run.flag("--log-file", &file).worker(["exit", "0", "--say", "words"]).run().code(0);
    let mode = file.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode & 0o137, 0, "0640 or tighter: {mode:o}");
    drop(ended);
}

/// LOG-15
#[test]
fn rotation_keeps_what_was_asked_for_and_loses_no_line() {
    let run = Run::once().flag("--log", "capture").flag("--log-max-size", "100KiB").flag("--log-keep", "3");
    let dir = run.path("logs");
    std::fs::create_dir(&dir).unwrap();
    let words = ["flood", "lines", "--lines", "2500", "--size", "100"];
    let ended = run.flag("--log-file", dir.join("log")).worker(words).run().code(0);
    let mut names: Vec<String> =
        std::fs::read_dir(&dir).unwrap().flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    // half-compressed pieces have a test of their own
    names.retain(|n| !n.ends_with(".part"));
    names.sort();
    assert_eq!(names.len(), 3, "250 kB in pieces of 100 KiB: {names:?}");
    // put together again, oldest first: every line once
    let mut all = Vec::new();
    for name in names.iter().rev() {
        let path = dir.join(name);
        let out = if name.ends_with(".gz") {
            std::process::Command::new("gzip").arg("-dc").arg(&path).output().unwrap().stdout
        } else {
            std::fs::read(&path).unwrap()
        };
        all.push(String::from_utf8(out).unwrap());
    }
    all.sort();
    let text = all.concat();
    let numbers: Vec<u64> = text.lines().map(|l| l[..8].parse().unwrap()).collect();
    assert!(numbers == (0..2500).collect::<Vec<u64>>(), "{} lines", numbers.len());
    drop(ended);
}

/// LOG-15: no more files than asked for
#[test]
fn old_pieces_are_dropped() {
    let run = Run::once().flag("--log", "capture").flag("--log-max-size", "20KiB").flag("--log-keep", "2");
    let dir = run.path("logs");
    std::fs::create_dir(&dir).unwrap();
    let words = ["flood", "lines", "--lines", "4000", "--size", "100"];
    let ended = run.flag("--log-file", dir.join("log")).worker(words).run().code(0);
    let names: Vec<_> = std::fs::read_dir(&dir).unwrap().flatten().map(|e| e.file_name()).collect();
    let whole = names.iter().filter(|n| !n.to_string_lossy().ends_with(".part")).count();
    assert!(whole <= 3, "{names:?}");
    drop(ended);
}

/// LOG-15: the end of the watchdog in the middle of a compression leaves whole files only
#[test]
fn no_half_compressed_piece_is_left_behind() {
    let run = Run::once().flag("--log", "capture").flag("--log-max-size", "4MiB").flag("--log-keep", "3");
    let dir = run.path("logs");
    std::fs::create_dir(&dir).unwrap();
    let words = ["flood", "lines", "--lines", "90000", "--size", "100"];
    let ended = run.flag("--log-file", dir.join("log")).worker(words).run().code(0);
    let names: Vec<_> = std::fs::read_dir(&dir).unwrap().flatten().map(|e| e.file_name()).collect();
    assert!(!names.iter().any(|n| n.to_string_lossy().ends_with(".part")), "{names:?}");
    drop(ended);
}

/// LOG-16, its short form: the events of a crash loop stay few bytes each
#[test]
fn the_events_of_a_crash_loop_are_small() {
    let run = Run::quick().flag("--restart-delay", "1ms").flag("--restart-delay-factor", "1");
    let run = run.flag("--restart-limit", "50").flag("--crash-loop-limit", "0");
    let ended = run.worker(["exit", "1"]).run().code(1).count("spawn", 51);
    let size = ended.run.path("events").metadata().map_or(0, |m| m.len());
    assert!(size < 200_000, "{size} bytes for 51 runs");
}

/// The ring: lines and their number
#[test]
fn the_ring_keeps_the_last_lines() {
    let run = Run::quick().flag("--log", "capture").flag("--log-lines", "50");
    let dog = run.worker(["flood", "lines", "--lines", "500", "--size", "60", "--stay"]).spawn();
    wait_for("the last line", || {
        logs(&dog, json!({"n": 1})).pop().filter(|l| l["line"].to_string().contains("00000499"))
    });
    assert_eq!(logs(&dog, json!({})).len(), 50);
    let three = text(&logs(&dog, json!({"n": 3})));
    assert!(three[0].starts_with("00000497") && three.len() == 3, "{three:?}");
    let shown = dog.verb(&["logs", "-n", "2", "worker"]).code(0);
    assert!(shown.out.contains("00000498") && shown.out.lines().count() == 2, "{shown:?}");
    dog.stop();
}

/// log = inherit has no ring: said with the way out
#[test]
fn logs_of_an_uncaptured_worker_are_refused_with_a_hint() {
    let dog = Run::quick().worker(["sleep"]).spawn();
    let verb = dog.verb(&["logs", "worker"]).code(4);
    assert!(verb.err.contains("--log tee"), "{verb:?}");
    dog.stop();
}

/// logs -f
#[test]
fn following_shows_new_lines_until_the_end() {
    let run = Run::quick().flag("--log", "tee");
    let line = "echo first; while [ ! -e go ]; do sleep 0.02; done; echo second >&2; sleep 100";
    let dog = run.program(["sh", "-c", line]).spawn();
    let mut control = dog.control();
    control.ask(&json!({"id": 1, "verb": "logs", "services": [], "args": {"follow": true}}));
    assert_eq!(control.answer()["item"]["line"], "first");
    std::fs::write(dog.path("go"), "").unwrap();
    let second = control.answer();
    assert_eq!((&second["item"]["line"], &second["item"]["stream"]), (&"second".into(), &"stderr".into()));
    dog.stop();
}

/// CTL-10: a follower that stops reading is bounded and harms nobody
#[test]
fn a_follower_that_does_not_read_is_dropped_or_bounded() {
    let run = Run::quick().flag("--log", "capture");
    let dog = run.worker(["flood", "endless"]).spawn();
    let mut control = dog.control();
    control.ask(&json!({"id": 1, "verb": "logs", "services": [], "args": {"follow": true}}));
    control.answer();
    let rss = procs::status_field(dog.pid(), "VmRSS");
    std::thread::sleep(Duration::from_millis(800));
    assert!(procs::status_field(dog.pid(), "VmRSS") < rss + 8 * 1024, "its memory grows with the follower");
    assert_eq!(dog.status()["state"], "running");
    dog.stop();
}

/// capture: nothing of the worker on our own streams; tee: all of it; and the variable form
#[test]
fn capture_is_silent_and_tee_is_not() {
    let ended = Run::once().flag("--log", "capture").worker(["exit", "0", "--say", "words\n"]).run().code(0);
    assert!(ended.out.is_empty());
    let ended = Run::once().env("WATCHDOG_LOG", "tee").worker(["exit", "0", "--say", "words\n"]).run().code(0);
    assert_eq!(ended.out, "words\n");
}

/// logs: the forms for people and for programs
#[test]
fn lines_are_shown_with_prefix_and_time_where_asked_for() {
    let dog = Run::quick().flag("--log", "capture").worker(["sleep", "--say", "words\n"]).spawn();
    wait_for("the line", || (logs(&dog, json!({})).len() == 1).then_some(()));
    let shown = |words: &[&str]| dog.verb(&[&["logs", "worker"], words].concat()).code(0).out;
    assert_eq!(shown(&[]), "words\n");
    assert_eq!(shown(&["--prefix"]), "worker stdout | words\n");
    let timed = shown(&["--prefix", "--timestamps"]);
    let (time, rest) = timed.split_once(' ').unwrap();
    assert!(time.ends_with('Z') && time.contains('T') && rest == "worker stdout | words\n", "{timed}");
    let item: Value = serde_json::from_str(shown(&["--json"]).trim()).unwrap();
    assert_eq!((&item["line"], &item["stream"]), (&"words".into(), &"stdout".into()), "{item}");
    dog.stop();
}
