//! A terminal with a little shell in it (`worker mini-shell`), and the keys of a person.

use super::grid::Grid;
use super::{Dog, Run, lines, wait_for, wait_line, worker};
use nix::fcntl::OFlag;
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::cell::Cell;
use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// The person's side of the terminal.
pub struct Terminal {
    keys: File,
    screen: Arc<Mutex<Vec<u8>>>,
    /// The shell's notes.
    pub notes: std::path::PathBuf,
    shell: i32,
    size: (u16, u16),
}

impl Run {
    /// Starts the run as the foreground job of a shell in a new terminal that does not know how large it is.
    pub fn in_terminal(self) -> (Dog, Terminal) {
        self.in_terminal_of(0, 0)
    }

    /// The same in a terminal of so many columns and rows.
    pub fn in_terminal_of(self, width: u16, height: u16) -> (Dog, Terminal) {
        // every descriptor close-on-exec from its first instant: other tests of this process fork at any time
        let master = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let mut options = std::fs::OpenOptions::new();
        let options = options.read(true).write(true).custom_flags(OFlag::O_NOCTTY.bits());
        let slave = options.open(ptsname_r(&master).unwrap()).unwrap();
        let (columns, rows) = (width.to_string(), height.to_string());
        let mut stty = Command::new("stty");
        let sized = stty.args(["cols", &columns, "rows", &rows]).stdin(slave.try_clone().unwrap()).status();
        assert!(sized.unwrap().success());
        let notes = self.path("shell");
        let mut line: Vec<OsString> = vec![worker().into(), "mini-shell".into(), notes.clone().into(), "--".into()];
        line.extend(self.line());
        let mut command = self.command(&line);
        let side = || Stdio::from(slave.try_clone().unwrap());
        let began = Instant::now();
        let child = command.stdin(side()).stdout(side()).stderr(side()).spawn().unwrap();
        drop(command);
        drop(slave);
        let keys = File::from(OwnedFd::from(master));
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
        (
            Dog { run: self, child, began, pid: Cell::new(pid), reaped: None },
            Terminal { keys, screen, notes, shell, size: (width, height) },
        )
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

    /// What a person sees.
    pub fn grid(&self) -> Grid {
        Grid::of(&self.screen(), usize::from(self.size.0), usize::from(self.size.1))
    }

    /// Waits until a person sees this.
    #[track_caller]
    pub fn wait_grid(&self, what: &str, mut wanted: impl FnMut(&Grid) -> bool) -> Grid {
        let began = Instant::now();
        loop {
            let grid = self.grid();
            if wanted(&grid) {
                return grid;
            }
            assert!(began.elapsed() < super::PATIENCE, "waited in vain for {what}: {grid:#?}");
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
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
