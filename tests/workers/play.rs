//! A life by the book: what the n-th run does stands in the n-th line of a file.

use crate::sys::{self, wait_signal};
use crate::{Args, note};
use std::time::Duration;

const ENDS: [i32; 3] = [libc::SIGTERM, libc::SIGINT, libc::SIGQUIT];

fn for_ever() -> ! {
    loop {
        std::thread::sleep(Duration::from_secs(3600));
    }
}

/// `play FILE`: lines `code C MS CHILD`, `signal N MS CHILD`, `obeys 0 0 CHILD`, `answers C 0 CHILD`, `deaf 0 0 CHILD`;
/// CHILD is none, obeys or deaf. The last line repeats. A line in FILE.runs for each start, and one in FILE.up when a
/// run that stays is ready to be signalled.
pub(crate) fn play(args: &Args) -> i32 {
    let file = args.word(0);
    let runs = format!("{file}.runs");
    note(&runs, &sys::pid().to_string());
    let count = std::fs::read_to_string(&runs).unwrap().lines().count();
    let text = std::fs::read_to_string(file).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let words: Vec<&str> = lines[count.min(lines.len()) - 1].split(' ').collect();
    let (kind, value, child) = (words[0], words[1].parse::<i32>().unwrap(), words[3]);
    sys::set_rlimit(libc::RLIMIT_CORE, 0, sys::rlimit(libc::RLIMIT_CORE).1);
    for signal in ENDS {
        // a shell lets its background jobs ignore INT and QUIT
        sys::set_action(signal, false);
    }
    if child != "none" {
        let sign = format!("{file}.child.{count}");
        sys::fork(|| {
            sys::setsid();
            if child == "deaf" {
                sys::block(&ENDS);
            }
            note(&sign, "here");
            for_ever()
        });
        while !std::path::Path::new(&sign).exists() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    if ["answers", "deaf"].contains(&kind) {
        sys::block(&ENDS);
    }
    if !["code", "signal"].contains(&kind) {
        note(&format!("{file}.up"), &count.to_string());
    }
    match kind {
        "answers" => {
            wait_signal(&ENDS, None);
            value
        }
        "obeys" | "deaf" => for_ever(),
        _ => {
            std::thread::sleep(Duration::from_millis(words[2].parse().unwrap()));
            if kind == "code" {
                return value;
            }
            if value != libc::SIGKILL {
                sys::set_action(value, false);
            }
            sys::send(sys::pid(), value);
            for_ever()
        }
    }
}
