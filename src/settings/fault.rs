//! What can be wrong with the words of a user, and the one line that says so.

/// Exit status of a wrong command line or variable.
pub(crate) const USAGE: u8 = 2;
/// Exit status of anything else that keeps a watchdog from starting (bad file, user, cwd).
pub(crate) const BROKEN: u8 = 125;

/// One thing that is wrong: lower case, the thing first, then the cause, then the nearest right form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// Without the prefix `watchdog: `.
    pub(crate) message: String,
    /// `USAGE` or `BROKEN`.
    pub(crate) status: u8,
    /// The nearest right form, which stands at the end of the message too.
    pub(crate) nearest: Option<String>,
    /// The setting it is about, where several were looked at together.
    pub(crate) about: Option<&'static str>,
    /// Where inside a value of a file: its offset in the text, and the rest of the key (`[1].service`).
    pub(crate) inside: Option<Box<(usize, String)>>,
    /// Where in a file, once that is known.
    pub(crate) place: Option<Box<Place>>,
}

/// A place in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// As it was named.
    pub(crate) file: String,
    /// Which of the files, and the offset in it: the order in which faults are said.
    pub(crate) order: (usize, usize),
    /// From 1; 0 where the file as a whole is meant.
    pub(crate) line: usize,
    /// From 1, in characters; 0 where none is meant.
    pub(crate) column: usize,
    /// `service.web.port`; empty where no key is meant.
    pub(crate) key: String,
    /// The message without place and nearest form.
    pub(crate) message: String,
}

impl Fault {
    /// A wrong command line or variable.
    pub(crate) fn usage(message: impl Into<String>) -> Fault {
        Fault { message: message.into(), status: USAGE, nearest: None, about: None, inside: None, place: None }
    }

    /// A right command line that meets a wrong world.
    pub(crate) fn broken(message: impl Into<String>) -> Fault {
        Fault { status: BROKEN, ..Fault::usage(message) }
    }

    /// The same fault with the place it was found at in front.
    pub(crate) fn at(mut self, place: &str) -> Fault {
        self.message = format!("{place}: {}", self.message);
        self
    }

    /// The same fault with the nearest right form, if there is one, behind.
    pub(crate) fn or_nearest(mut self, nearest: Option<impl AsRef<str>>) -> Fault {
        if let Some(nearest) = nearest {
            self.message.push_str(&meant(nearest.as_ref()));
            self.nearest = Some(nearest.as_ref().to_string());
        }
        self
    }

    /// The same fault, about this setting.
    pub(crate) fn about(mut self, key: &'static str) -> Fault {
        self.about = Some(key);
        self
    }

    /// The same fault, at this place inside the value it is about.
    pub(crate) fn inside(mut self, at: usize, key: impl Into<String>) -> Fault {
        self.inside = Some(Box::new((at, key.into())));
        self
    }

    /// The message without the nearest form.
    pub(crate) fn bare(&self) -> &str {
        let end = self.nearest.as_deref().map(meant);
        end.and_then(|end| self.message.strip_suffix(end.as_str())).unwrap_or(&self.message)
    }
}

fn meant(nearest: &str) -> String {
    format!(": did you mean {nearest:?}?")
}

/// The status a list of faults ends with: a usage error is the user's to mend first.
pub(crate) fn status_of(faults: &[Fault]) -> u8 {
    if faults.iter().any(|f| f.status == USAGE) { USAGE } else { BROKEN }
}
