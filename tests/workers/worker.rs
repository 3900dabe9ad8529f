//! Every misbehaviour the black-box tests need, in one program: `worker SUBCOMMAND ...`.
//!
//! It leaves evidence in files of its own (pids, start times, monotonic times, signals), so that a test can ask the
//! victim instead of believing the supervisor.
#![allow(unsafe_code, clippy::unwrap_used, clippy::disallowed_methods)]

mod attack;
mod early;
mod inherit;
mod lives;
mod notify;
mod output;
mod play;
mod refuse;
mod serve;
mod sys;
mod talk;
mod terminal;
mod tree;
mod usage;

use std::collections::HashMap;
use std::time::Duration;

/// Arguments of a subcommand: words in order, and `--key value` or `--switch`.
pub(crate) struct Args {
    pub(crate) words: Vec<String>,
    options: HashMap<String, String>,
    /// Everything behind `--`.
    pub(crate) rest: Vec<String>,
}

impl Args {
    fn read(list: Vec<String>) -> Args {
        let mut args = Args { words: Vec::new(), options: HashMap::new(), rest: Vec::new() };
        let mut list = list.into_iter().peekable();
        while let Some(word) = list.next() {
            if word == "--" {
                args.rest = list.collect();
                break;
            }
            match word.strip_prefix("--") {
                Some(key) => {
                    let value = list.next_if(|next| !next.starts_with("--")).unwrap_or_default();
                    args.options.insert(key.to_string(), value);
                }
                None => args.words.push(word),
            }
        }
        args
    }

    pub(crate) fn word(&self, at: usize) -> &str {
        self.words.get(at).unwrap_or_else(|| panic!("argument {at} is missing"))
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.options.contains_key(key)
    }

    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        self.options.get(key).map(String::as_str)
    }

    pub(crate) fn number(&self, key: &str, default: i64) -> i64 {
        self.text(key).map_or(default, |v| v.parse().unwrap_or_else(|_| panic!("--{key} {v}")))
    }

    pub(crate) fn millis(&self, key: &str) -> Option<Duration> {
        self.has(key).then(|| Duration::from_millis(self.number(key, 0) as u64))
    }
}

/// Appends one line to a file in one write, so that lines of several processes never mix.
pub(crate) fn note(file: &str, line: &str) {
    use std::io::Write;
    let mut f = std::fs::OpenOptions::new().create(true).append(true).open(file).unwrap();
    f.write_all(format!("{line}\n").as_bytes()).unwrap();
}

fn main() {
    if !early::was_ignored(libc::SIGPIPE) {
        sys::set_action(libc::SIGPIPE, false);
    }
    let mut list: Vec<std::ffi::OsString> = std::env::args_os().skip(1).collect();
    let sub = if list.is_empty() { String::new() } else { list.remove(0).to_string_lossy().into_owned() };
    if sub == "inherit" {
        inherit::print();
        return;
    }
    let list = list.into_iter().map(|w| w.to_string_lossy().into_owned()).collect();
    let args = Args::read(list);
    let code = match sub.as_str() {
        "exit" => lives::exit(&args),
        "die" => lives::die(&args),
        "sleep" => lives::sleep(&args),
        "ignore-term" => lives::ignore_term(&args),
        "signal-log" => lives::signal_log(&args),
        "flaky" => lives::flaky(&args),
        "graceful" => lives::graceful(&args),
        "stop-self" => lives::stop_self(&args),
        "zombie-leader" => lives::zombie_leader(&args),
        "escape-tree" => tree::escape(&args),
        "zombies" => tree::zombies(&args),
        "port" => tree::port(&args),
        "http-server" => serve::http(&args),
        "tcp-server" => serve::tcp(&args),
        "activated" => serve::activated(&args),
        "hold" => serve::hold(&args),
        "play" => play::play(&args),
        "talk" => talk::talk(&args),
        "notify-once" => notify::once(&args),
        "flood" => output::flood(&args),
        "usage" => usage::usage(&args),
        "tty-reader" => terminal::reader(&args),
        "repl" => terminal::repl(&args),
        "mini-shell" => terminal::shell(&args),
        "arrange" => inherit::arrange(&args),
        "freeze" => attack::freeze(&args),
        "hung-dir" => attack::hung_dir(&args),
        "refuse" => refuse::refuse(&args),
        other => panic!("no subcommand {other:?}"),
    };
    std::process::exit(code);
}
