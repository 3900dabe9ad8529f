//! The metrics of many services: written while they are read. Each piece leads to the next one, which is written when the first of
//! its readers comes to it. So a page is never there as a whole, one who reads slowly holds the piece it reads and no more, and
//! the loop writes a bounded piece at a time.

use super::metrics::{Place, write_on};
use super::router::View;
use std::cell::OnceCell;
use std::fmt::Write;
use std::rc::Rc;

/// Bytes after which a piece is full.
const FULL: usize = 32 * 1024;
/// A page that is not longer goes to all who ask for it within a second; of a longer one each writes its own.
const SHARED: usize = 1024 * 1024;

/// A part of a page, in the form in which it is sent (RFC 9112, 7.1).
#[derive(Debug)]
pub(crate) struct Piece {
    pub(super) bytes: Rc<[u8]>,
    /// Bytes of the page up to its end.
    until: usize,
    /// Where the page goes on; `None`: this is the last one.
    after: Option<Place>,
    next: OnceCell<Rc<Piece>>,
}

/// A piece is the same as itself alone.
impl PartialEq for Piece {
    fn eq(&self, other: &Piece) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Eq for Piece {}

/// What follows a piece.
pub(super) enum Next {
    /// This one.
    There(Rc<Piece>),
    /// One that is not written yet.
    Unwritten,
    /// Nothing.
    End,
}

impl Piece {
    /// The first one, as a whole page where it is all of it.
    pub(super) fn first(view: &View<'_>) -> Result<String, Rc<Piece>> {
        let mut text = String::new();
        match write_on(view, Place::default(), FULL, &mut text) {
            None => Ok(text),
            after => Err(Rc::new(Piece::of(&text, 0, after))),
        }
    }

    fn of(text: &str, before: usize, after: Option<Place>) -> Piece {
        let mut framed = String::with_capacity(text.len() + 24);
        if !text.is_empty() {
            // Writing to a text does not fail.
            let _ = write!(framed, "{:x}\r\n{text}\r\n", text.len());
        }
        if after.is_none() {
            framed.push_str("0\r\n\r\n");
        }
        let until = before + text.len();
        Piece { bytes: framed.into_bytes().into(), until, after, next: OnceCell::new() }
    }

    pub(super) fn next(&self) -> Next {
        match (self.next.get(), self.after) {
            (Some(next), _) => Next::There(next.clone()),
            (None, Some(_)) => Next::Unwritten,
            (None, None) => Next::End,
        }
    }

    /// Writes the next one. False: other services have other places by now, so that this page has no whole rest.
    pub(crate) fn write_next(&self, view: &View<'_>) -> bool {
        let Some(place) = self.after.filter(|_| self.next.get().is_none()) else { return true };
        if place.layout() != Some(view.layout) {
            return false;
        }
        let mut text = String::new();
        let after = write_on(view, place, FULL, &mut text);
        self.next.get_or_init(|| Rc::new(Piece::of(&text, self.until, after)));
        true
    }

    /// The page has become too long to be kept for others.
    pub(crate) fn is_long(&self) -> bool {
        self.until > SHARED
    }
}
