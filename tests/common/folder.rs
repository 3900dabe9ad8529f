//! A folder with a file of services, for the verbs that read one.

use super::{Run, watchdog};
use serde_json::Value;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// A service that would leave a trace.
pub const RAN: &str = "[service.a]\ncommand = [\"touch\", \"ran\"]\n";

/// A folder with a file of services.
pub struct Folder {
    run: Run,
}

/// How a verb ended.
#[derive(Debug)]
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
    pub took: Duration,
}

impl Folder {
    pub fn empty() -> Folder {
        Folder { run: Run::new() }
    }

    pub fn with(text: &str) -> Folder {
        Folder::empty().file("watchdog.toml", text)
    }

    pub fn file(self, name: &str, text: impl AsRef<[u8]>) -> Folder {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        self
    }

    pub fn env(mut self, key: &str, value: &str) -> Folder {
        self.run = self.run.env(key, value);
        self
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.run.path(name)
    }

    pub fn verb(&self, words: &[&str]) -> Said {
        let line: Vec<OsString> =
            std::iter::once(watchdog()).chain(words.iter().copied()).map(OsString::from).collect();
        let began = Instant::now();
        let out = self.run.command(&line).stdin(std::process::Stdio::null()).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let (took, code) = (began.elapsed(), out.status.code().unwrap_or(-1));
        Said { code, out: text(out.stdout), err: text(out.stderr), took }
    }

    pub fn check(&self) -> Said {
        self.verb(&["check"])
    }

    pub fn json(&self) -> Value {
        let said = self.verb(&["check", "--json"]);
        serde_json::from_str(&said.out).unwrap_or_else(|e| panic!("{e}: {said:?}"))
    }

    /// Both refuse it, nothing is started, and every part is said in one line of its own.
    #[track_caller]
    pub fn refused(self, parts: &[&str]) -> Said {
        let (check, up) = (self.check(), self.verb(&["up"]));
        assert_eq!((check.code, up.code), (1, 125), "{check:?} {up:?}");
        assert_eq!(check.err, up.err, "both say the same");
        assert!(check.out.is_empty() && up.out.is_empty(), "errors go to stderr");
        assert_eq!(check.err.lines().count(), parts.len(), "{}", check.err);
        for part in parts {
            assert!(check.err.lines().any(|l| l.contains(part)), "{part:?} is not in {}", check.err);
        }
        assert!(!self.path("ran").exists() && !self.path("run").exists(), "something was started");
        check
    }

    #[track_caller]
    pub fn valid(self) -> Folder {
        let said = self.check();
        assert_eq!(said.code, 0, "{said:?}");
        self
    }
}
