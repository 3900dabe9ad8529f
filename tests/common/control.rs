//! The control socket from both sides of politeness: a raw line client, and the verbs of the command line.

use super::{Dog, wait_for};
use serde_json::{Value, json};
use std::ffi::OsString;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

/// A connection that may say anything.
pub struct Control {
    pub stream: UnixStream,
    pending: Vec<u8>,
}

/// What a verb of the command line answered.
#[derive(Debug)]
pub struct Verb {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Verb {
    #[track_caller]
    pub fn code(self, wanted: i32) -> Verb {
        assert_eq!(self.code, wanted, "exit code of the verb: {self:?}");
        self
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(self.out.trim()).unwrap_or_else(|e| panic!("not JSON: {e}: {self:?}"))
    }

    /// One JSON value per line.
    pub fn json_lines(&self) -> Vec<Value> {
        self.out.lines().map(|l| serde_json::from_str(l).unwrap_or_else(|e| panic!("not JSON: {e}: {l}"))).collect()
    }
}

impl Control {
    pub fn connect(path: &Path) -> Control {
        let stream = wait_for("the control socket", || UnixStream::connect(path).ok());
        stream.set_read_timeout(Some(super::PATIENCE)).unwrap();
        stream.set_write_timeout(Some(super::PATIENCE)).unwrap();
        Control { stream, pending: Vec::new() }
    }

    /// Over a connection that was made elsewhere.
    pub fn over(stream: UnixStream) -> Control {
        Control { stream, pending: Vec::new() }
    }

    /// One line, or `None` when there is none in the time of the stream.
    pub fn try_line(&mut self) -> Option<String> {
        let mut buffer = [0; 4096];
        while let Ok(n) = self.stream.read(&mut buffer) {
            if n == 0 {
                return None;
            }
            self.pending.extend_from_slice(&buffer[..n]);
            if self.pending.contains(&b'\n') {
                return self.line();
            }
        }
        None
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    pub fn ask(&mut self, request: &Value) {
        self.send(format!("{request}\n").as_bytes());
    }

    /// One line, or `None` at the end of the stream.
    pub fn line(&mut self) -> Option<String> {
        loop {
            if let Some(at) = self.pending.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = self.pending.drain(..=at).collect();
                return Some(String::from_utf8(line).unwrap().trim_end().to_string());
            }
            let mut buffer = [0; 4096];
            match self.stream.read(&mut buffer) {
                Ok(0) => return None,
                Ok(n) => self.pending.extend_from_slice(&buffer[..n]),
                Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset => return None,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => panic!("control socket: {e}"),
            }
        }
    }

    pub fn answer(&mut self) -> Value {
        let line = self.line().expect("an answer, not the end of the stream");
        serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line}"))
    }

    /// A request and its answer.
    pub fn call(&mut self, verb: &str, args: Value) -> Value {
        self.ask(&json!({"id": 7, "verb": verb, "services": [], "args": args}));
        let answer = self.answer();
        assert_eq!(answer["id"], 7, "{answer}");
        answer
    }
}

impl Dog {
    /// The control socket of this run.
    pub fn socket(&self) -> PathBuf {
        wait_for("a control socket", || {
            let dir = std::fs::read_dir(self.path("run")).ok()?;
            dir.flatten().map(|e| e.path()).find(|p| p.extension().is_some_and(|x| x == "sock"))
        })
    }

    pub fn control(&self) -> Control {
        Control::connect(&self.socket())
    }

    /// Starts a verb of the command line against this watchdog.
    pub fn start_verb(&self, words: &[&str]) -> std::process::Child {
        let line: Vec<OsString> =
            std::iter::once(super::watchdog()).chain(words.iter().copied()).map(Into::into).collect();
        self.socket();
        let mut command = self.run.command(&line);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// A verb of the command line against this watchdog, to its end.
    pub fn verb(&self, words: &[&str]) -> Verb {
        finish(self.start_verb(words), words)
    }

    /// The service as `status` shows it.
    pub fn status(&self) -> Value {
        let answer = self.control().call("status", json!({}));
        answer["result"]["services"][0].clone()
    }

    pub fn wait_state(&self, state: &str) -> Value {
        wait_for(&format!("state {state}"), || Some(self.status()).filter(|s| s["state"] == state))
    }
}

/// Collects a verb's output with a limit on its time.
pub fn finish(mut child: std::process::Child, words: &[&str]) -> Verb {
    let began = Instant::now();
    let mut pipes = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let out = std::thread::spawn(move || {
        let mut text = Vec::new();
        let _ = pipes.0.read_to_end(&mut text);
        text
    });
    let err = std::thread::spawn(move || {
        let mut text = Vec::new();
        let _ = pipes.1.read_to_end(&mut text);
        text
    });
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if began.elapsed() > super::PATIENCE {
            let _ = child.kill();
            let _ = child.wait();
            panic!("`watchdog {}` did not end", words.join(" "));
        }
        std::thread::sleep(Duration::from_millis(4));
    };
    let text = |t: std::thread::JoinHandle<Vec<u8>>| String::from_utf8_lossy(&t.join().unwrap()).into_owned();
    Verb { code: status.code().unwrap_or(-1), out: text(out), err: text(err) }
}
