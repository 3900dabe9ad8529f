//! A worker that speaks by a script, step after step, so that it can lie in every dialect without a library.
//!
//! `talk [--log FILE] [--once FILE] [--at-shutdown exit:N|die:SIGNAL] STEP... [-- STEP...]`: what it is told goes into
//! the log. With --once the steps behind `--` are those of every life but the first. After the last step it sleeps.
//!
//! Steps: `hello[:VERSION]`, `ready`, `takes` (the word Shutdown), `status:TEXT`, `beat`, `beats:MS:N`, `pong:NONCE`,
//! `stopping`, `reloading`, `extend:MS`, `health:NAME=pass,NAME=WHY`,
//! `metrics:NAME=N`, `histogram:NAME=N,M` (so many up to 0.5, so many above), `panic:TEXT`, `stack:THREAD:TEXT`, `serve[:MS[:DELAY]]` (answers pings), `deaf[:MS]` (reads and does not answer),
//! `unasked:MS`, `replay:MS`, `double:MS`, `drip:MS` (ways to answer); `bytes:HEX`, `body:N` (a frame of that length), `flood:N`, `descriptors:N`, `lingering` (a descriptor whose close waits), `urgent[:behind]` and `node-urgent[:behind]` (the same out of band, on either channel, with words behind it), `fill` (as many descriptors as go with one message, on all channels), `close`,
//! `heir` and `thief` (children with the channel), `keeper` (a child that says nothing and outlives a TERM); `sleep:MS`, `spin[:MS]`, `stop-self`, `exit:N`, `note:TEXT`,
//! `term` (waits for TERM, which is blocked from the start on), and those of [`crate::notify`].

use crate::sys::{self, mono_ns};
use crate::{Args, note, notify};
use std::time::{Duration, Instant};

/// How a ping is answered.
#[derive(Clone, Copy, PartialEq)]
enum Answer {
    Late(Duration),
    Not,
    Unasked,
    Replay,
    Double,
    Drip(Duration),
}

pub(crate) struct Talker<'a> {
    args: &'a Args,
    fd: i32,
    pending: Vec<u8>,
    first_nonce: Option<u64>,
}

fn frame(variant: u32, fields: &[u8]) -> Vec<u8> {
    let body = [&variant.to_le_bytes()[..], fields].concat();
    [&(body.len() as u32).to_le_bytes()[..], &body].concat()
}

fn text(words: &str) -> Vec<u8> {
    [&(words.len() as u64).to_le_bytes()[..], words.as_bytes()].concat()
}

fn histogram(words: &str) -> Vec<u8> {
    let (name, counts) = words.split_once('=').unwrap();
    let counts: Vec<u64> = counts.split(',').map(|n| n.parse().unwrap()).collect();
    let list = |n: usize| (n as u64).to_le_bytes().to_vec();
    let numbers: Vec<u8> = counts.iter().flat_map(|n| n.to_le_bytes()).collect();
    let bound = 0.5_f64.to_le_bytes().to_vec();
    [list(1), text(name), list(1), bound.clone(), list(counts.len()), numbers, bound].concat()
}

fn pong(nonce: u64) -> Vec<u8> {
    frame(3, &nonce.to_le_bytes())
}

fn ms(word: &str) -> Duration {
    Duration::from_millis(word.parse().unwrap_or_else(|_| panic!("milliseconds: {word:?}")))
}

/// The channel in Node's dialect.
fn node_channel() -> i32 {
    std::env::var("NODE_CHANNEL_FD").unwrap().parse().unwrap()
}

/// A descriptor whose close waits, with the last byte and out of band; and the same bytes once more `behind` it, so that an
/// ordinary read passes over it.
fn out_of_band(fd: i32, bytes: &[u8], behind: bool) {
    let which = sys::lingering();
    sys::behind_the_back_of_the_parent(|| {
        let (last, first) = bytes.split_last().unwrap();
        sys::try_write(fd, first);
        sys::send_out_of_band(fd, &[*last], which);
        sys::close(which);
        if behind {
            sys::try_write(fd, bytes);
        }
    });
}

fn for_ever() -> ! {
    loop {
        std::thread::sleep(Duration::from_secs(3600));
    }
}

pub(crate) fn talk(args: &Args) -> i32 {
    let fd = std::env::var("WATCHDOG_CHANNEL").ok().and_then(|n| n.parse().ok()).unwrap_or(-1);
    sys::close_on_exec(fd);
    let again = args.text("once").is_some_and(|file| {
        let before = std::path::Path::new(file).exists();
        note(file, "lived");
        before
    });
    let steps = if again { &args.rest } else { &args.words };
    if steps.iter().any(|step| step == "term") {
        // from the start, so that it is never too early for one
        sys::block(&[libc::SIGTERM]);
    }
    let mut talker = Talker { args, fd, pending: Vec::new(), first_nonce: None };
    talker.log(&format!("start {}", sys::pid()));
    for step in steps {
        if let Some(code) = talker.step(step) {
            return code;
        }
    }
    for_ever()
}

impl Talker<'_> {
    pub(crate) fn log(&self, line: &str) {
        if let Some(file) = self.args.text("log") {
            note(file, &format!("{line} {}", mono_ns()));
        }
    }

    fn send(&self, bytes: &[u8]) {
        sys::write_fd(self.fd, bytes);
    }

    /// Some: the exit code.
    fn step(&mut self, step: &str) -> Option<i32> {
        let (name, value) = step.split_once(':').unwrap_or((step, ""));
        let number = || value.parse::<u64>().unwrap_or_else(|_| panic!("step {step}"));
        let time = || (!value.is_empty()).then(|| value.split(':').next().map(ms)).flatten();
        match name {
            "hello" => self.send(&frame(0, &value.parse::<u32>().unwrap_or(1).to_le_bytes())),
            "ready" => self.send(&frame(1, &[])),
            "status" => self.send(&frame(2, &text(value))),
            "pong" => self.send(&pong(number())),
            "beat" => self.send(&frame(4, &[])),
            "beats" => {
                let (every, count) = value.split_once(':').unwrap();
                for _ in 0..count.parse::<u64>().unwrap() {
                    self.send(&frame(4, &[]));
                    std::thread::sleep(ms(every));
                }
            }
            "stopping" => self.send(&frame(5, &[])),
            "reloading" => self.send(&frame(6, &[])),
            "extend" => self.send(&frame(7, &number().to_le_bytes())),
            "takes" => self.send(&frame(12, &[])),
            "health" => self.send(&frame(8, &checks(value))),
            "metrics" => self.send(&frame(9, &metrics(value))),
            "histogram" => self.send(&frame(14, &histogram(value))),
            "panic" => self.send(&frame(10, &text(value))),
            "stack" => {
                let (thread, frames) = value.split_once(':').unwrap();
                self.send(&frame(13, &[text(thread), text(frames)].concat()));
            }
            "serve" => {
                let late = value.split_once(':').map_or(Duration::ZERO, |(_, late)| ms(late));
                return self.listen(time().filter(|t| !t.is_zero()), Answer::Late(late));
            }
            "deaf" => return self.listen(time(), Answer::Not),
            "unasked" => return self.listen(time(), Answer::Unasked),
            "replay" => return self.listen(time(), Answer::Replay),
            "double" => return self.listen(time(), Answer::Double),
            "drip" => return self.listen(None, Answer::Drip(ms(value))),
            "bytes" => self.send(&unhex(value)),
            "body" => self.send(&[&(number() as u32).to_le_bytes()[..], &vec![0xee; number() as usize]].concat()),
            "flood" => self.flood(number()),
            "descriptors" => (0..number()).for_each(|_| sys::send_descriptors(self.fd, None, &frame(4, &[]), 0, 3)),
            "lingering" => {
                let which = sys::lingering();
                sys::behind_the_back_of_the_parent(|| {
                    sys::send_descriptors(self.fd, None, &frame(4, &[]), which, 1);
                    sys::close(which);
                });
            }
            "urgent" => out_of_band(self.fd, &frame(4, &[]), value == "behind"),
            "node-urgent" => out_of_band(node_channel(), b"{\"type\":\"beat\"}\n", value == "behind"),
            "fill" => self.fill(),
            "close" => sys::close(self.fd),
            "heir" => self.heir(),
            "thief" => self.thief(),
            "keeper" => {
                _ = sys::fork(|| {
                    sys::setsid();
                    sys::set_action(libc::SIGTERM, true);
                    for_ever()
                })
            }
            "sleep" => std::thread::sleep(ms(value)),
            "spin" => spin(time()),
            "stop-self" => sys::send(sys::pid(), libc::SIGSTOP),
            "exit" => return value.parse().ok(),
            "note" => self.log(value),
            "term" => {
                sys::wait_signal(&[libc::SIGTERM], None);
                self.log("term");
            }
            _ => notify::step(self, name, value),
        }
        None
    }

    fn flood(&self, count: u64) {
        let many = frame(4, &[]).repeat(4096);
        let mut sent = 0;
        while count == 0 || sent < count {
            self.send(&many);
            sent += 4096;
        }
    }

    /// As many descriptors as go with one message, on each channel. The first and the last of them are such that the close waits:
    /// the first keeps those after it open, the last is what there is no room for. Sent by a child, which may have to wait when it
    /// closes its own.
    fn fill(&self) {
        let (mine, theirs) = sys::pipe();
        sys::fork(|| {
            let flags = libc::MSG_NOSIGNAL;
            let node = b"{\"type\":\"beat\"}\n";
            let send = |channel: usize, all: &[i32]| match channel {
                0 => sys::send_all(flags, self.fd, None, &frame(4, &[]), all),
                1 => sys::send_all(flags, node_channel(), None, node, all),
                _ => notify::send_all(flags, b"WATCHDOG=1", all),
            };
            let message = || [&[sys::lingering()][..], &[0; 250], &[sys::lingering()]].concat();
            let all: Vec<Vec<i32>> = (0..3).map(|_| message()).collect();
            for (channel, all) in all.iter().enumerate() {
                // A user may have so many on their way, and no more before some have arrived.
                while !send(channel, all) {
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
            sys::write_fd(theirs, b"x");
            all.iter().flatten().filter(|fd| **fd > 2).for_each(|fd| sys::close(*fd));
            for_ever()
        });
        sys::read_fd(mine, &mut [0]);
    }

    /// A child that keeps the channel and goes on speaking on it.
    fn heir(&self) {
        let fd = self.fd;
        sys::fork(|| {
            sys::setsid();
            sys::set_action(libc::SIGTERM, true);
            self.log("heir");
            loop {
                std::thread::sleep(Duration::from_millis(20));
                sys::try_write(fd, &[frame(4, &[]), frame(2, &text("from the heir"))].concat());
            }
        });
    }

    /// A child that reads away what is meant for its parent.
    fn thief(&self) {
        let fd = self.fd;
        sys::fork(|| {
            loop {
                if sys::wait_readable(fd, None) && sys::read_fd(fd, &mut [0; 256]) == 0 {
                    return 0;
                }
            }
        });
    }

    fn listen(&mut self, time: Option<Duration>, answer: Answer) -> Option<i32> {
        let end = time.map(|t| Instant::now() + t);
        loop {
            let mut left = end.map(|e| e.saturating_duration_since(Instant::now()));
            if left.is_some_and(|l| l.is_zero()) {
                return None;
            }
            if answer == Answer::Unasked {
                self.send(&pong(1_000_000));
                left = Some(Duration::from_millis(20));
            }
            if !sys::wait_readable(self.fd, left) {
                continue;
            }
            let mut buffer = [0; 4096];
            let n = sys::read_fd(self.fd, &mut buffer);
            if n == 0 {
                self.log("eof");
                for_ever();
            }
            self.pending.extend_from_slice(&buffer[..n]);
            while let Some(body) = self.next() {
                if let Some(code) = self.heard(&body, answer) {
                    return Some(code);
                }
            }
        }
    }

    fn next(&mut self) -> Option<Vec<u8>> {
        let length = u32::from_le_bytes(*self.pending.first_chunk::<4>()?) as usize;
        if self.pending.len() < 4 + length {
            return None;
        }
        let whole: Vec<u8> = self.pending.drain(..4 + length).collect();
        Some(whole[4..].to_vec())
    }

    fn heard(&mut self, body: &[u8], answer: Answer) -> Option<i32> {
        let (kind, fields) = body.split_at(4);
        let number = || u64::from_le_bytes(fields[..8].try_into().unwrap());
        match u32::from_le_bytes(kind.try_into().unwrap()) {
            0 => self.log("hello"),
            1 => {
                let nonce = number();
                self.log(&format!("ping {nonce}"));
                let first = *self.first_nonce.get_or_insert(nonce);
                match answer {
                    Answer::Late(late) => {
                        std::thread::sleep(late);
                        self.send(&pong(nonce));
                    }
                    Answer::Not | Answer::Unasked => {}
                    Answer::Replay => self.send(&pong(first)),
                    Answer::Double => self.send(&[pong(nonce), pong(nonce)].concat()),
                    Answer::Drip(gap) => {
                        for byte in pong(nonce) {
                            self.send(&[byte]);
                            std::thread::sleep(gap);
                        }
                    }
                }
            }
            2 => {
                self.log(&format!("shutdown {}", number()));
                match self.args.text("at-shutdown").and_then(|what| what.split_once(':')) {
                    Some(("exit", code)) => return code.parse().ok(),
                    Some(("die", signal)) => {
                        // the runtime's own handler would take it for a stack overflow that is none
                        sys::set_action(sys::signal_number(signal), false);
                        sys::send(sys::pid(), sys::signal_number(signal));
                        for_ever();
                    }
                    _ => {}
                }
            }
            3 => self.log("reload"),
            4 => self.log(&format!("tell {}", String::from_utf8_lossy(&fields[8..]))),
            5 => self.log("low-memory"),
            6 => self.log("ask-health"),
            7 => self.log("ask-metrics"),
            other => self.log(&format!("unknown {other}")),
        }
        None
    }
}

/// `db=pass,queue=full`: a check that does not say `pass` fails with what it says.
fn checks(list: &str) -> Vec<u8> {
    let all: Vec<(&str, &str)> = list.split(',').filter_map(|c| c.split_once('=')).collect();
    let mut fields = (all.len() as u64).to_le_bytes().to_vec();
    for (name, says) in all {
        fields.extend(text(name));
        fields.push(u8::from(says == "pass"));
        fields.extend(text(if says == "pass" { "" } else { says }));
    }
    fields
}

/// `jobs=3`: one counter, and a gauge `load` of 0.5.
fn metrics(counter: &str) -> Vec<u8> {
    let (name, value) = counter.split_once('=').unwrap();
    let counters = [&1_u64.to_le_bytes()[..], &text(name), &value.parse::<u64>().unwrap().to_le_bytes()].concat();
    [counters, [&1_u64.to_le_bytes()[..], &text("load"), &0.5_f64.to_le_bytes()].concat()].concat()
}

fn spin(time: Option<Duration>) {
    let began = Instant::now();
    while time.is_none_or(|t| began.elapsed() < t) {
        std::hint::spin_loop();
    }
}

fn unhex(digits: &str) -> Vec<u8> {
    let pair = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
    (0..digits.len()).step_by(2).map(pair).collect()
}
