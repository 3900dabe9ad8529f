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
}

impl Fault {
    /// A wrong command line or variable.
    pub(crate) fn usage(message: impl Into<String>) -> Fault {
        Fault { message: message.into(), status: USAGE }
    }

    /// A right command line that meets a wrong world.
    pub(crate) fn broken(message: impl Into<String>) -> Fault {
        Fault { message: message.into(), status: BROKEN }
    }

    /// The same fault with the place it was found at in front.
    pub(crate) fn at(mut self, place: &str) -> Fault {
        self.message = format!("{place}: {}", self.message);
        self
    }

    /// The same fault with the nearest right form, if there is one, behind.
    pub(crate) fn or_nearest(mut self, nearest: Option<impl AsRef<str>>) -> Fault {
        if let Some(nearest) = nearest {
            self.message = format!("{}: did you mean {:?}?", self.message, nearest.as_ref());
        }
        self
    }
}

/// The status a list of faults ends with: a usage error is the user's to mend first.
pub(crate) fn status_of(faults: &[Fault]) -> u8 {
    if faults.iter().any(|f| f.status == USAGE) { USAGE } else { BROKEN }
}
