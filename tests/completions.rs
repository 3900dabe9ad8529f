//! What shells offer: names of services, watchdogs, signals, reports and files, asked of the program within a bounded time.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod common;
use common::file::SLEEPS;
use common::{Dog, Run, Verb, wait_for, watchdog};
use nix::sys::signal::Signal;
use std::process::{Command, Stdio};

/// A shop, with a report of something that failed.
fn shop() -> Dog {
    let text = format!(
        "[service.web]\n{SLEEPS}replicas = 2\n[service.worker]\n{SLEEPS}\
         [service.bad]\ncommand = [\"sh\", \"-c\", \"kill -9 $$\"]\nrestart = \"never\"\n"
    );
    let dog = Run::quick_file(&text).flag("--name", "shop").spawn();
    dog.wait_ready("web@1");
    wait_for("a report", || dog.service("bad")["last_report"].as_str().map(|_| ()));
    dog
}

fn says(dog: &Dog, program: &str, arguments: &[&str]) -> Verb {
    let line: Vec<std::ffi::OsString> = [program].iter().chain(arguments).map(Into::into).collect();
    let path = format!("{}:{}", std::path::Path::new(watchdog()).parent().unwrap().display(), env!("PATH"));
    let mut command: Command = dog.run.command(&line);
    command.env("PATH", path).env("HOME", dog.path("")).current_dir(dog.path(""));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    common::control::finish(command.spawn().unwrap(), arguments)
}

/// What bash offers for the last of these words.
fn bash(dog: &Dog, words: &[&str]) -> Vec<String> {
    let quoted: Vec<String> = words.iter().map(|w| format!("'{w}'")).collect();
    let script = format!(
        "source <(watchdog completions bash); COMP_WORDS=(watchdog {}); COMP_CWORD={}; _watchdog; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        quoted.join(" "),
        words.len()
    );
    let said = says(dog, "bash", &["-c", &script]);
    assert!(said.code == 0 && said.err.is_empty(), "{said:?}");
    said.out.lines().filter(|l| !l.is_empty()).map(str::to_string).collect()
}

/// users 12. Failed before: only verbs and flags were offered.
#[test]
fn bash_offers_what_there_is() {
    let dog = shop();
    let report = dog.service("bad")["last_report"].as_str().unwrap().to_string();
    let cases: [(&[&str], &[&str]); 9] = [
        (&["stop", "w"], &["web", "web@0", "web@1", "worker"]),
        (&["wait", "b"], &["bad"]),
        (&["signal", "US"], &["USR1", "USR2"]),
        (&["signal", "USR1", "wo"], &["worker"]),
        (&["status", "-i", ""], &["shop"]),
        (&["logs", "-i", "shop", "wor"], &["worker"]),
        (&["logs", "-i", "none", "wor"], &[]),
        (&["report", "show", ""], &[&report]),
        (&["up", "-f", "watch"], &["watchdog.toml"]),
    ];
    for (words, offered) in cases {
        assert_eq!(bash(&dog, words), offered, "{words:?}");
    }
    assert!(bash(&dog, &["stop", "--t"]).contains(&"--timeout".to_string()));
    assert!(bash(&dog, &["report", ""]).contains(&"show".to_string()));
    dog.stop().code(0);
}

/// The other two, where they are installed; what they call is the same.
#[test]
fn zsh_and_fish_understand_their_scripts() {
    let dog = shop();
    let is_there = |shell: &str| {
        let there = Command::new(shell).arg("--version").stdout(Stdio::null()).status().is_ok();
        if !there {
            common::skip(&format!("{shell} is not installed"));
        }
        there
    };
    if is_there("fish") {
        for (line, offered) in [("stop work", "worker"), ("status -i sh", "shop"), ("signal USR1 work", "worker")] {
            let script = format!("watchdog completions fish | source; complete -C 'watchdog {line}'");
            let said = says(&dog, "fish", &["--no-config", "-c", &script]);
            assert!(said.out.lines().any(|l| l.split('\t').next() == Some(offered)), "{line}: {said:?}");
        }
    }
    if is_there("zsh") {
        let script =
            "watchdog completions zsh > z.zsh; zsh -n z.zsh && autoload -U compinit && compinit -u -D && . ./z.zsh";
        let said = says(&dog, "zsh", &["-f", "-c", script]);
        assert!(said.code == 0 && said.err.is_empty(), "{said:?}");
    }
    dog.stop().code(0);
}

/// The words end soon, whatever a watchdog does, and nothing is said that a shell would show.
#[test]
fn a_watchdog_that_stands_still_costs_a_completion_little() {
    let dog = shop();
    dog.signal(Signal::SIGSTOP);
    for (kind, offered) in [("services", ""), ("instances", "shop\n"), ("reports", "")] {
        let said = dog.verb(&["complete", kind]).code(0);
        assert_eq!((said.out.as_str(), said.err.as_str()), (offered, ""), "{kind}");
    }
    dog.signal(Signal::SIGCONT);
    dog.verb(&["complete", "services", "-i", "none"]).code(0);
    dog.verb(&["complete", "else"]).code(0);
    dog.stop().code(0);
}
