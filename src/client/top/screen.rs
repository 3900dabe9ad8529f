//! The terminal of `top`: taken over, drawn on and given back, whatever ends us.
//!
//! Nothing waits for a slow terminal: a picture goes out piece by piece while the loop goes on, and the next one is drawn
//! from what holds then, when the last one is through.

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
use ratatui::backend::{Backend, ClearType, WindowSize};
use ratatui::buffer::Cell;
use ratatui::layout::{Position, Size};
use ratatui::style::{Color, Modifier};
use ratatui::text::Span;
use std::convert::Infallible;
use std::io::{self, stdin, stdout};
use std::os::fd::AsFd;
use std::sync::{Mutex, PoisonError};

/// Written at once: a terminal that says it takes something promises no more.
const PIECE: usize = 256;
/// Columns and rows that are drawn on at most: what a terminal says of itself may be anything up to 65535 x 65535, and each
/// cell costs memory.
const WIDEST: u16 = 700;
const HIGHEST: u16 = 250;
/// How long the end waits for a terminal that takes nothing.
const LAST_WAIT: u16 = 1000;
/// The end of whatever was being sent; another screen, no cursor, no line breaks of its own.
const ENTER: &[u8] = b"\x18\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J";
/// The end of whatever was being sent, then all of it back.
const LEAVE: &[u8] = b"\x18\x1b[0m\x1b[?7h\x1b[?25h\x1b[?1049l";

/// How the terminal was found; there while it is ours, so that a panic can give it back.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

/// Takes the terminal over, or takes it again after a stop.
pub(super) fn enter() -> io::Result<()> {
    let mut before = BEFORE.lock().unwrap_or_else(PoisonError::into_inner);
    let found = match before.take() {
        Some(found) => found,
        None => tcgetattr(stdin())?,
    };
    let mut raw = found.clone();
    *before = Some(found);
    cfmakeraw(&mut raw);
    tcsetattr(stdin(), SetArg::TCSADRAIN, &raw)?;
    Ok(())
}

/// Gives it back as it was found. Called at every end, by a panic too; a second time it does nothing.
pub(crate) fn give_back() {
    // A panic in the middle of `enter` has the lock; then nothing of the terminal is changed yet.
    let Ok(mut before) = BEFORE.try_lock() else { return };
    if let Some(found) = before.take() {
        write_all(LEAVE);
        let _ = tcsetattr(stdin(), SetArg::TCSANOW, &found);
    }
}

/// As much as the terminal takes within a while.
fn write_all(mut bytes: &[u8]) {
    while !bytes.is_empty() && is_ready(LAST_WAIT) {
        match write_piece(bytes) {
            Some(n) => bytes = &bytes[n..],
            None => return,
        }
    }
}

/// One piece, to a terminal that takes it; `None`: it is gone.
fn write_piece(bytes: &[u8]) -> Option<usize> {
    match nix::unistd::write(stdout(), &bytes[..bytes.len().min(PIECE)]) {
        Ok(n) => Some(n),
        Err(nix::errno::Errno::EINTR | nix::errno::Errno::EAGAIN) => Some(0),
        Err(_) => None,
    }
}

fn is_ready(patience: u16) -> bool {
    let out = stdout();
    let mut fds = [PollFd::new(out.as_fd(), PollFlags::POLLOUT)];
    poll(&mut fds, PollTimeout::from(patience)).is_ok_and(|n| n > 0)
        && fds[0].revents().is_some_and(|r| r.contains(PollFlags::POLLOUT))
}

/// Where ratatui draws: bytes that wait for the terminal.
#[derive(Default)]
pub(super) struct Ansi {
    waiting: Vec<u8>,
    /// Where the next letter would go by itself.
    at: Option<(u16, u16)>,
}

impl Ansi {
    /// With the beginning of it all on its way.
    pub(super) fn new() -> Ansi {
        Ansi { waiting: ENTER.to_vec(), at: None }
    }

    /// The same once more: somebody else had the terminal.
    pub(super) fn begin_anew(&mut self) {
        *self = Ansi::new();
    }

    /// Whether the last picture is still on its way.
    pub(super) fn is_behind(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// One piece to a terminal that takes something. False: it is gone.
    pub(super) fn pass_on(&mut self) -> bool {
        match write_piece(&self.waiting) {
            Some(n) => self.waiting.drain(..n).count() == n,
            None => false,
        }
    }

    fn put(&mut self, text: &str) {
        self.waiting.extend_from_slice(text.as_bytes());
    }

    /// Colours and the rest of one cell, from nothing.
    fn style(&mut self, (fg, bg, modifier): (Color, Color, Modifier)) {
        let mut codes = String::from("0");
        for (one, code) in [
            (Modifier::BOLD, 1),
            (Modifier::DIM, 2),
            (Modifier::ITALIC, 3),
            (Modifier::UNDERLINED, 4),
            (Modifier::REVERSED, 7),
            (Modifier::CROSSED_OUT, 9),
        ] {
            if modifier.contains(one) {
                codes.push_str(&format!(";{code}"));
            }
        }
        codes.push_str(&colour(fg, 30));
        codes.push_str(&colour(bg, 40));
        self.put(&format!("\x1b[{codes}m"));
    }
}

/// `;31`; the default colour is what 0 has set already. `base`: 30 for letters, 40 for what is behind them.
fn colour(colour: Color, base: u8) -> String {
    let plain = match colour {
        Color::Reset => return String::new(),
        Color::Indexed(n) => return format!(";{};5;{n}", base + 8),
        Color::Rgb(r, g, b) => return format!(";{};2;{r};{g};{b}", base + 8),
        Color::Black => 0,
        Color::Red => 1,
        Color::Green => 2,
        Color::Yellow => 3,
        Color::Blue => 4,
        Color::Magenta => 5,
        Color::Cyan => 6,
        Color::Gray => 7,
        Color::DarkGray => 60,
        Color::LightRed => 61,
        Color::LightGreen => 62,
        Color::LightYellow => 63,
        Color::LightBlue => 64,
        Color::LightMagenta => 65,
        Color::LightCyan => 66,
        Color::White => 67,
    };
    format!(";{}", base + plain)
}

impl Backend for Ansi {
    /// Nothing is written here that could fail.
    type Error = Infallible;

    fn draw<'a, I: Iterator<Item = (u16, u16, &'a Cell)>>(&mut self, content: I) -> Result<(), Infallible> {
        let mut now = None;
        for (x, y, cell) in content {
            if self.at != Some((x, y)) {
                self.put(&format!("\x1b[{};{}H", y + 1, x + 1));
            }
            let style = (cell.fg, cell.bg, cell.modifier);
            if now != Some(style) {
                self.style(style);
                now = Some(style);
            }
            self.put(cell.symbol());
            let width = Span::raw(cell.symbol()).width().max(1);
            self.at = Some((x.saturating_add(u16::try_from(width).unwrap_or(1)), y));
        }
        if now.is_some() {
            self.put("\x1b[0m");
        }
        Ok(())
    }

    fn hide_cursor(&mut self) -> Result<(), Infallible> {
        self.put("\x1b[?25l");
        Ok(())
    }

    fn show_cursor(&mut self) -> Result<(), Infallible> {
        self.put("\x1b[?25h");
        Ok(())
    }

    fn get_cursor_position(&mut self) -> Result<Position, Infallible> {
        Ok(self.at.map_or(Position::ORIGIN, |(x, y)| Position { x, y }))
    }

    fn set_cursor_position<P: Into<Position>>(&mut self, position: P) -> Result<(), Infallible> {
        let Position { x, y } = position.into();
        self.put(&format!("\x1b[{};{}H", y + 1, x + 1));
        self.at = Some((x, y));
        Ok(())
    }

    fn clear(&mut self) -> Result<(), Infallible> {
        self.clear_region(ClearType::All)
    }

    fn clear_region(&mut self, clear_type: ClearType) -> Result<(), Infallible> {
        self.put(match clear_type {
            ClearType::All => "\x1b[2J",
            ClearType::AfterCursor => "\x1b[J",
            ClearType::BeforeCursor => "\x1b[1J",
            ClearType::CurrentLine => "\x1b[2K",
            ClearType::UntilNewLine => "\x1b[K",
        });
        Ok(())
    }

    fn size(&self) -> Result<Size, Infallible> {
        // Where the terminal does not say, what terminals used to be.
        let (width, height) = watchdog_engine::terminal_size().unwrap_or((80, 24));
        Ok(Size { width: width.min(WIDEST), height: height.min(HIGHEST) })
    }

    fn window_size(&mut self) -> Result<WindowSize, Infallible> {
        Ok(WindowSize { columns_rows: self.size()?, pixels: Size::ZERO })
    }

    fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_side_by_side_is_sent_without_a_jump() {
        let mut screen = Ansi::default();
        let (mut a, b, mut wide) = (Cell::new("a"), Cell::new("b"), Cell::new("日"));
        a.set_fg(Color::Red);
        wide.set_bg(Color::Indexed(7));
        let cells = [(3, 1, &a), (4, 1, &b), (5, 1, &wide), (7, 1, &b), (0, 2, &b)];
        let Ok(()) = screen.draw(cells.into_iter());
        let sent = String::from_utf8(screen.waiting).unwrap();
        assert_eq!(sent, "\x1b[2;4H\x1b[0;31ma\x1b[0mb\x1b[0;48;5;7m日\x1b[0mb\x1b[3;1Hb\x1b[0m");
    }

    #[test]
    fn every_colour_has_its_code() {
        assert_eq!((colour(Color::White, 30), colour(Color::DarkGray, 40)), (";97".into(), ";100".into()));
        assert_eq!((colour(Color::Rgb(1, 2, 3), 30), colour(Color::Reset, 40)), (";38;2;1;2;3".into(), String::new()));
    }
}
