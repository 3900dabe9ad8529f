//! `top`: the services of one watchdog as they are now, and what a person may do about them.
//!
//! One loop waits for keys, signals, answers and the terminal alike. Everything shown comes over the control socket; the
//! watchdog measures only as long as somebody asks.

#![expect(clippy::disallowed_methods, reason = "a client waits for real time; the rule is for the engine")]

mod columns;
mod draw;
mod keys;
mod model;
mod paint;
mod screen;
mod talk;

use super::connection::Connection;
use super::{Failure, NO, QUICK, USAGE, find, line, print};
use crate::cli::Control;
use crate::output;
use crate::settings::{World, reason};
use keys::{Key, Keys};
use model::{Mode, Model, Wish};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use paint::Paint;
use ratatui::Terminal;
use screen::Ansi;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::io::{IsTerminal, stdin, stdout};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};
use talk::Talk;

pub(crate) use screen::give_back;

/// Between two questions.
const EVERY: Duration = Duration::from_secs(1);
/// Between two pictures of things that come at any time, such as lines.
const PICTURE: Duration = Duration::from_millis(100);
/// For the rest of a key.
const KEY: Duration = Duration::from_millis(150);
/// A question that is open for so long: people are told.
const LATE: Duration = Duration::from_secs(5);
/// Rows of a page key.
const PAGE: isize = 10;
/// Signals that we hear rather than die of: the terminal is given back first.
const SIGNALS: [Signal; 7] = [
    Signal::SIGINT,
    Signal::SIGTERM,
    Signal::SIGHUP,
    Signal::SIGQUIT,
    Signal::SIGTSTP,
    Signal::SIGCONT,
    Signal::SIGWINCH,
];

/// Shows it, or prints it once.
pub(super) fn run(control: &Control, world: &World) -> Result<u8, Failure> {
    if control.once || control.json {
        return once(control, &find::one(control.instance.as_deref(), &control.names, world)?);
    }
    let plain = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
    if plain || !stdout().is_terminal() || !stdin().is_terminal() {
        let what = if plain { "TERM names no terminal that can be drawn on" } else { "this is no terminal" };
        return Err(Failure::new(USAGE, format!("top: {what}: use watchdog top --once, or watchdog status")));
    }
    let path = find::one(control.instance.as_deref(), &control.names, world)?;
    // A watchdog that is not there, or names that are not, are said where people look.
    ask(&mut Connection::open(&path)?, "status", &control.names, json!({}))?;
    let mut top = Top::begin(Talk::new(path, control.names.clone()))?;
    let status = top.run();
    screen::give_back();
    status
}

fn ask(connection: &mut Connection, verb: &str, names: &[String], arguments: Value) -> Result<Value, Failure> {
    connection.send(verb, names, arguments)?;
    connection.answer(Some(QUICK))
}

/// A plain page for pipes and programs: CPU is the mean of one second.
fn once(control: &Control, path: &std::path::Path) -> Result<u8, Failure> {
    let mut connection = Connection::open(path)?;
    ask(&mut connection, "status", &control.names, json!({ "sample": true }))?;
    std::thread::sleep(EVERY);
    let status = ask(&mut connection, "status", &control.names, json!({ "sample": true }))?;
    if control.json {
        return Ok(output::page(&line(&status)));
    }
    let explained = ask(&mut connection, "explain", &control.names, json!({}))?;
    let page = format!("{}\n{}", print::answer("status", &status), print::answer("explain", &explained));
    Ok(output::page(&page))
}

/// A `top` that runs.
struct Top {
    terminal: Terminal<Ansi>,
    signals: SignalFd,
    mask: SigSet,
    keys: Keys,
    /// When the last key came.
    touched: Instant,
    talk: Talk,
    model: Model,
    paint: Paint,
    /// When to ask again.
    next: Instant,
    asked: Instant,
    drawn: Instant,
    /// Something is to be seen that was not drawn yet; at once: a person waits for it.
    stale: bool,
    at_once: bool,
    /// Nothing of what is on the screen is believed.
    anew: bool,
}

/// Why the loop ends.
enum End {
    /// A person has seen enough.
    Left,
    /// A signal, or a terminal that is gone.
    Signal(i32),
}

impl Top {
    fn begin(talk: Talk) -> Result<Top, Failure> {
        let broken = |what: &str, e: std::io::Error| Failure::new(NO, format!("top: {what}: {}", reason(&e)));
        let mask: SigSet = SIGNALS.into_iter().collect();
        mask.thread_block().map_err(|e| broken("signals", e.into()))?;
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        let signals = SignalFd::with_flags(&mask, flags).map_err(|e| broken("signals", e.into()))?;
        screen::enter().map_err(|e| broken("the terminal", e))?;
        let Ok(terminal): Result<_, Infallible> = Terminal::new(Ansi::new());
        let now = Instant::now();
        Ok(Top {
            terminal,
            signals,
            mask,
            keys: Keys::default(),
            touched: now,
            talk,
            model: Model::new(),
            paint: Paint { colours: output::colours() },
            next: now,
            asked: now,
            drawn: now,
            stale: true,
            at_once: true,
            anew: false,
        })
    }

    fn run(&mut self) -> Result<u8, Failure> {
        loop {
            self.ask_in_time();
            self.draw_in_time();
            if let Some(end) = self.wait() {
                return Ok(match end {
                    End::Left => 0,
                    End::Signal(number) => u8::try_from(128 + number).unwrap_or(u8::MAX),
                });
            }
        }
    }

    fn ask_in_time(&mut self) {
        let now = Instant::now();
        if now < self.next {
            return;
        }
        self.next = now + EVERY;
        if !self.talk.is_waiting() {
            self.asked = now;
        } else if now.duration_since(self.asked) >= LATE {
            self.model.silent = Some(format!("for {}s", now.duration_since(self.asked).as_secs()));
        }
        self.talk.ask(&mut self.model);
        self.stale = true;
    }

    /// A picture, if there is something new and the last one is through.
    fn draw_in_time(&mut self) {
        let now = Instant::now();
        let due = self.at_once || now.duration_since(self.drawn) >= PICTURE;
        if !self.stale || !due || self.terminal.backend().is_behind() {
            return;
        }
        let Top { terminal, model, paint, anew, .. } = self;
        if std::mem::take(anew) {
            let Ok(()): Result<_, Infallible> = terminal.clear();
        }
        let Ok(_): Result<_, Infallible> = terminal.draw(|frame| draw::picture(frame, model, *paint));
        (self.drawn, self.stale, self.at_once) = (now, false, false);
    }

    /// Waits for whatever comes first, and takes it.
    fn wait(&mut self) -> Option<End> {
        let behind = self.terminal.backend().is_behind();
        let now = Instant::now();
        let mut until = self.next;
        if self.keys.is_open() {
            until = until.min(self.touched + KEY);
        }
        if self.stale && !behind {
            until = until.min(if self.at_once { now } else { self.drawn + PICTURE });
        }
        let patience = until.saturating_duration_since(now).as_millis().saturating_add(1);
        let patience = PollTimeout::try_from(patience).unwrap_or(PollTimeout::ZERO);
        let (input, out) = (stdin(), stdout());
        let (typed, signalled, writable, heard) = {
            let wanted = if behind { PollFlags::POLLOUT } else { PollFlags::empty() };
            let mut fds = vec![
                PollFd::new(input.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
                PollFd::new(out.as_fd(), wanted),
            ];
            fds.extend(self.talk.fds().into_iter().map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
            if poll(&mut fds, patience).is_err() {
                return None;
            }
            let is = |at: usize| fds.get(at).and_then(PollFd::revents).is_some_and(|r| !r.is_empty());
            (is(0), is(1), is(2), (3..fds.len()).any(is))
        };
        if heard && self.talk.hear(&mut self.model) {
            self.stale = true;
        }
        // With nothing to write only its end is told of.
        if writable && (!behind || !self.terminal.backend_mut().pass_on()) {
            return Some(End::Signal(Signal::SIGHUP as i32));
        }
        if signalled && let Some(end) = self.on_signals() {
            return Some(end);
        }
        self.on_input(typed)
    }

    fn on_signals(&mut self) -> Option<End> {
        while let Ok(Some(info)) = self.signals.read_signal() {
            match Signal::try_from(i32::try_from(info.ssi_signo).unwrap_or(0)) {
                Ok(Signal::SIGWINCH) => self.redraw(),
                Ok(Signal::SIGCONT) => self.come_back(),
                Ok(Signal::SIGTSTP) => self.suspend(),
                Ok(signal) => return Some(End::Signal(signal as i32)),
                Err(_) => {}
            }
        }
        None
    }

    /// The shell gets its terminal until it gives it back.
    fn suspend(&mut self) {
        screen::give_back();
        let _ = self.mask.thread_unblock();
        // The whole job, as the terminal itself does it. Where nobody could ever wake us the kernel passes over it.
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(0), Signal::SIGTSTP);
        let _ = self.mask.thread_block();
        self.come_back();
    }

    fn come_back(&mut self) {
        if screen::enter().is_ok() {
            self.terminal.backend_mut().begin_anew();
            self.redraw();
        }
    }

    /// Whatever is on the screen, all of it is drawn.
    fn redraw(&mut self) {
        (self.stale, self.at_once, self.anew) = (true, true, true);
    }

    fn on_input(&mut self, typed: bool) -> Option<End> {
        let now = Instant::now();
        if typed {
            let mut piece = [0; 256];
            match nix::unistd::read(stdin(), &mut piece) {
                Ok(0) => return Some(End::Signal(Signal::SIGHUP as i32)),
                Ok(n) => self.keys.push(&piece[..n]),
                Err(nix::errno::Errno::EINTR | nix::errno::Errno::EAGAIN) => {}
                Err(_) => return Some(End::Signal(Signal::SIGHUP as i32)),
            }
            self.touched = now;
        }
        let late = now.duration_since(self.touched) >= KEY;
        while let Some(key) = self.keys.take(late) {
            if self.on_key(key) {
                return Some(End::Left);
            }
            (self.stale, self.at_once) = (true, true);
        }
        None
    }

    /// One key. True: that was the last.
    fn on_key(&mut self, key: Key) -> bool {
        if key == Key::Ctrl('c') {
            return true;
        }
        match std::mem::replace(&mut self.model.mode, Mode::Look) {
            Mode::Help if key == Key::Letter('q') => return true,
            Mode::Help => {}
            Mode::Sure(wish) => {
                self.model.message.clear();
                if matches!(key, Key::Letter('y' | 'Y')) {
                    self.talk.wish(wish, &mut self.model);
                }
            }
            Mode::Filter => self.on_filter_key(key),
            Mode::Look => return self.on_look_key(key),
        }
        false
    }

    fn on_look_key(&mut self, key: Key) -> bool {
        self.model.message.clear();
        let moved = match key {
            Key::Letter('q') => return true,
            Key::Letter('j') | Key::Down => self.model.go(1),
            Key::Letter('k') | Key::Up => self.model.go(-1),
            Key::PageDown => self.model.go(PAGE),
            Key::PageUp => self.model.go(-PAGE),
            Key::Letter('g') | Key::Home => self.model.go(isize::MIN),
            Key::Letter('G') | Key::End => self.model.go(isize::MAX),
            Key::Ctrl('i') => {
                self.model.below = self.model.below.next();
                false
            }
            Key::Letter('?' | 'h') => self.set(Mode::Help),
            Key::Letter('/') => self.set(Mode::Filter),
            Key::Letter('s') => self.wish("start", false),
            Key::Letter('x') => self.wish("stop", true),
            Key::Letter('r') => self.wish("restart", true),
            Key::Escape => {
                self.model.filter.clear();
                self.model.select_somebody()
            }
            Key::Ctrl('z') => {
                self.suspend();
                false
            }
            Key::Ctrl('l') => {
                self.redraw();
                false
            }
            // What a defect would do to the terminal; in no release.
            Key::Ctrl('p') if cfg!(debug_assertions) => panic!("asked for by a key"),
            Key::Letter(_) | Key::Ctrl(_) | Key::Enter | Key::Backspace | Key::Other => false,
        };
        self.look(moved);
        false
    }

    fn set(&mut self, mode: Mode) -> bool {
        self.model.mode = mode;
        false
    }

    /// `ask`: what ends a process is asked for twice.
    fn wish(&mut self, verb: &'static str, ask: bool) -> bool {
        if let Some(service) = self.model.selected.clone() {
            let wish = Wish { verb, service };
            match ask {
                true => self.model.mode = Mode::Sure(wish),
                false => self.talk.wish(wish, &mut self.model),
            }
        }
        false
    }

    fn on_filter_key(&mut self, key: Key) {
        let moved = match key {
            Key::Enter => return,
            Key::Escape => {
                self.model.filter.clear();
                return self.select();
            }
            Key::Backspace => {
                self.model.filter.pop();
                self.model.select_somebody()
            }
            Key::Letter(letter) => self.model.type_letter(letter),
            Key::Up => self.model.go(-1),
            Key::Down => self.model.go(1),
            Key::PageUp | Key::PageDown | Key::Home | Key::End | Key::Ctrl(_) | Key::Other => false,
        };
        self.model.mode = Mode::Filter;
        self.look(moved);
    }

    fn select(&mut self) {
        let moved = self.model.select_somebody();
        self.look(moved);
    }

    /// Somebody else is looked at.
    fn look(&mut self, moved: bool) {
        if moved {
            self.talk.follow(&mut self.model);
            self.talk.explain_at_once(&mut self.model);
        }
    }
}
