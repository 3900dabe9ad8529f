//! A terminal with a little shell in it (`worker mini-shell`), and the keys of a person.

use super::{Dog, Run, lines, wait_for, wait_line, worker};
use nix::pty::openpty;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::cell::Cell;
use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Write};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// The person's side of the terminal.
pub struct Terminal {
    keys: File,
    screen: Arc<Mutex<Vec<u8>>>,
    /// The shell's notes.
    pub notes: std::path::PathBuf,
    shell: i32,
}

impl Run {
    /// Starts the run as the foreground job of a shell in a new terminal.
    pub fn in_terminal(self) -> (Dog, Terminal) {
        let pair = openpty(None, None).unwrap();
        let notes = self.path("shell");
        let mut line: Vec<OsString> = vec![worker().into(), "mini-shell".into(), notes.clone().into(), "--".into()];
        line.extend(self.line());
        let mut command = self.command(&line);
        let side = || Stdio::from(pair.slave.try_clone().unwrap());
        let began = Instant::now();
        let child = command.stdin(side()).stdout(side()).stderr(side()).spawn().unwrap();
        drop(command);
        drop(pair.slave);
        let keys = File::from(pair.master);
        let screen = Arc::new(Mutex::new(Vec::new()));
        let (mut reader, shown) = (keys.try_clone().unwrap(), screen.clone());
        // ends with EIO when the last process has left the terminal
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(n) = reader.read(&mut buffer) {
                shown.lock().unwrap().extend_from_slice(&buffer[..n]);
            }
        });
        let shell = child.id() as i32;
        let job = wait_line(&notes, "job ");
        let pid = job.rsplit(' ').next().unwrap().parse().unwrap();
        (Dog { run: self, child, began, pid: Cell::new(pid), reaped: None }, Terminal { keys, screen, notes, shell })
    }
}

impl Terminal {
    /// Types; `\x03` is Ctrl-C, `\x1a` Ctrl-Z, `\x1c` Ctrl-\.
    pub fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    pub fn screen(&self) -> String {
        String::from_utf8_lossy(&self.screen.lock().unwrap()).into_owned()
    }

    pub fn wait_screen(&self, part: &str) {
        wait_for(&format!("{part:?} on the screen, which shows {:?}", self.screen()), || {
            self.screen().contains(part).then_some(())
        });
    }

    /// `fg` in the shell.
    pub fn foreground(&self) {
        kill(Pid::from_raw(self.shell), Signal::SIGUSR1).unwrap();
    }

    /// Waits for the shell's note and gives all of them.
    pub fn note(&self, part: &str) -> Vec<String> {
        wait_line(&self.notes, part);
        lines(&self.notes)
    }
}
