//! The list of verbs: usage, options and meaning, read by the parser, `--help`, the manual and the completions.

use crate::settings::Fixed;

/// One verb.
#[derive(Debug)]
pub(crate) struct Verb {
    /// What a user types.
    pub(crate) name: Fixed<16>,
    /// Its own arguments.
    pub(crate) arguments: Fixed<40>,
    /// One line for people.
    pub(crate) meaning: Fixed<96>,
    /// Places of its options; a pointer here would be written at each start, with the page that it stands on.
    options: [u8; MOST],
    /// Whether it takes settings too.
    pub(crate) settings: bool,
}

/// Most options of one verb.
const MOST: usize = 12;
/// No option.
const NONE: u8 = u8::MAX;

const fn places(some: &[u8]) -> [u8; MOST] {
    let (mut all, mut at) = ([NONE; MOST], 0);
    while at < some.len() {
        all[at] = some[at];
        at += 1;
    }
    all
}

impl Verb {
    /// Its options.
    pub(crate) fn options(&self) -> impl Iterator<Item = &'static Opt> {
        self.options.iter().filter_map(|place| OPTIONS.get(usize::from(*place)))
    }

    /// Whether a program may stand behind it, after `--`.
    pub(crate) fn takes_a_program(&self) -> bool {
        self.arguments.contains("-- PROGRAM")
    }
}

/// One option of a verb.
#[derive(Debug)]
pub(crate) struct Opt {
    /// Without dashes.
    pub(crate) long: Fixed<16>,
    /// One letter, or none.
    pub(crate) short: Option<char>,
    /// What a value looks like; empty for a switch.
    pub(crate) value: Fixed<32>,
    /// One line for people.
    pub(crate) meaning: Fixed<112>,
}

/// One option, shortly.
const fn opt(long: &str, short: Option<char>, value: &str, meaning: &str) -> Opt {
    Opt { long: Fixed::new(long), short, value: Fixed::new(value), meaning: Fixed::new(meaning) }
}

macro_rules! options {
    ($($name:ident = $option:expr;)*) => {
        /// The options of all verbs, each at the place of its name.
        static OPTIONS: &[Opt] = &[$($option),*];

        #[derive(Clone, Copy)]
        #[expect(non_camel_case_types, clippy::upper_case_acronyms, reason = "the names of the constants")]
        enum Place { $($name),* }

        $(const $name: u8 = Place::$name as u8;)*
    };
}

options! {
    INSTANCE = opt("instance", Some('i'), "INSTANCE", "which watchdog: a name, NAME.PID, a pid or a socket path");
    JSON = opt("json", None, "", "print JSON");
    TIMEOUT = opt("timeout", None, "DURATION", "give up waiting after this long");
    GRACE = opt("timeout", None, "DURATION", "grace before KILL, instead of stop_timeout");
    ALL = opt("all", None, "", "all services, instead of names");
    FORCE = opt("force", None, "", "kill at once, without the stop signal");
    FOLLOW = opt("follow", Some('f'), "", "go on with what comes");
    COUNT = opt("lines", Some('n'), "N", "begin with the last N");
    PREFIX = opt("prefix", None, "", "service and stream before each line");
    TIMESTAMPS = opt("timestamps", None, "", "time before each line");
    FOR = opt("for", None, "ready|stopped|completed", "what to wait for");
    EXITS = opt("exits", None, "SCRIPT", "how runs end, such as 'crash@2s x6, ok 40s'");
    WHY_NOT = opt("why-not", None, "", "what keeps it from running or from being ready");
    DIR = opt("dir", None, "DIR", "read this directory of reports, and ask nobody");
    FILE = opt("file", Some('f'), "FILE", "the file of services; by default watchdog.toml");
    DRY_RUN = opt("dry-run", None, "", "print what would be started, in which order, and touch nothing");
    OUTPUT = opt("output", None, "prefix|json|none", "lines of the services: NAME | text, JSON as of logs --json, or none [prefix]");
    NO_PROGRESS = opt("no-progress", None, "", "no view of who is waited for; also by the variable NO_PROGRESS");
    NO_DEPENDENTS = opt("no-dependents", None, "", "leave those alone that need it");
    NO_RESTART = opt("no-restart", None, "", "restart nobody: what needs a restart waits for the next one");
    OF_USER = opt("user", None, "", "a service of this user alone (systemctl --user)");
    RUN_AS = opt("run-as", None, "USER", "who the watchdog and its services run as [root]");
    MANAGER = opt("format", None, "systemd|openrc|runit", "for which manager: a unit, or a template that is printed [systemd]");
    ROOT = opt("root", None, "DIR", "into a system below this directory, such as an image: systemctl is not called");
    TRY = opt("dry-run", None, "", "print it, and touch nothing");
    KEEP_PATH = opt("keep-path", None, "", "with the PATH of this shell, not the usual one; a unit of this user has it anyhow");
    NO_START = opt("no-start", None, "", "do not start it now");
    OVER = opt("force", None, "", "also over a unit that watchdog install did not write");
    ONCE = opt("once", None, "", "print a plain page once instead");
    ONLY = opt("only", None, "CASE,..", "these cases: ready, term, leftovers, crash, hang, slow-start, flood");
    CASE_TIMEOUT = opt("timeout", None, "DURATION", "most that one case may take [2m]");
    SETTLE = opt("settle", None, "DURATION", "how long the program has to stay once it is ready [1s]");
    SLOW = opt("slow", None, "DURATION", "how much later the program begins in slow-start [3s]");
    JUNIT = opt("junit", None, "FILE", "write the result as JUnit XML, too");
    MARKDOWN = opt("markdown", None, "", "as a table for the README");
}

/// The verbs of this version, in the order of `--help`.
#[rustfmt::skip]
pub(crate) static VERBS: &[Verb] = &[
    Verb { name: Fixed::new("up"), arguments: Fixed::new("[SETTINGS] [NAME..]"), meaning: Fixed::new("run the services of a file: all, or these and what they need"), options: places(&[FILE, DRY_RUN, OUTPUT, NO_PROGRESS, JSON]), settings: true },
    Verb { name: Fixed::new("run-until-ready"), arguments: Fixed::new("[SETTINGS]"), meaning: Fixed::new("start all, wait until all are ready, stop; names what was not ready"), options: places(&[FILE, TIMEOUT, OUTPUT, NO_PROGRESS, JSON]), settings: true },
    Verb { name: Fixed::new("check"), arguments: Fixed::new("[SETTINGS]"), meaning: Fixed::new("say what a file means, or all that is wrong with it; touches nothing"), options: places(&[FILE, JSON]), settings: true },
    Verb { name: Fixed::new("init"), arguments: Fixed::new(""), meaning: Fixed::new("write a commented sample of the file"), options: places(&[FILE]), settings: false },
    Verb { name: Fixed::new("schema"), arguments: Fixed::new(""), meaning: Fixed::new("print a JSON schema of the file, for editors"), options: places(&[]), settings: false },
    Verb { name: Fixed::new("ls"), arguments: Fixed::new(""), meaning: Fixed::new("watchdogs running here for this user"), options: places(&[JSON]), settings: false },
    Verb { name: Fixed::new("status"), arguments: Fixed::new("[NAME..]"), meaning: Fixed::new("what is running, since when, and why"), options: places(&[INSTANCE, JSON]), settings: false },
    Verb { name: Fixed::new("top"), arguments: Fixed::new("[NAME..]"), meaning: Fixed::new("the same on the whole terminal as it changes, with keys to act"), options: places(&[ONCE, INSTANCE, JSON]), settings: false },
    Verb { name: Fixed::new("start"), arguments: Fixed::new("NAME.."), meaning: Fixed::new("start, and wait until ready"), options: places(&[ALL, TIMEOUT, INSTANCE, JSON]), settings: false },
    Verb { name: Fixed::new("stop"), arguments: Fixed::new("NAME.."), meaning: Fixed::new("stop, and wait until gone"), options: places(&[ALL, GRACE, INSTANCE, JSON]), settings: false },
    Verb { name: Fixed::new("restart"), arguments: Fixed::new("NAME.."), meaning: Fixed::new("replace, and wait until the new one is ready"), options: places(&[ALL, FORCE, NO_DEPENDENTS, INSTANCE, JSON]), settings: false },
    Verb { name: Fixed::new("signal"), arguments: Fixed::new("SIGNAL NAME.."), meaning: Fixed::new("send a signal"), options: places(&[ALL, INSTANCE, JSON]), settings: false },
    Verb { name: Fixed::new("tell"), arguments: Fixed::new("NAME WORD.."), meaning: Fixed::new("send the worker words of its own"), options: places(&[ALL, INSTANCE, JSON]), settings: false },
    Verb { name: Fixed::new("reload"), arguments: Fixed::new("[NAME..]"), meaning: Fixed::new("have workers read their own configuration again; without a name: read the file again"), options: places(&[ALL, NO_RESTART, INSTANCE, JSON]), settings: false },
    Verb { name: Fixed::new("tree"), arguments: Fixed::new(""), meaning: Fixed::new("who needs whom, and who waits for whom"), options: places(&[INSTANCE, JSON]), settings: false },
    Verb { name: Fixed::new("events"), arguments: Fixed::new("[NAME..]"), meaning: Fixed::new("what happened"), options: places(&[FOLLOW, COUNT, INSTANCE, JSON]), settings: false },
    Verb { name: Fixed::new("logs"), arguments: Fixed::new("[NAME..]"), meaning: Fixed::new("last lines of output"), options: places(&[FOLLOW, COUNT, PREFIX, TIMESTAMPS, INSTANCE, JSON]), settings: false },
    Verb { name: Fixed::new("explain"), arguments: Fixed::new("[NAME..]"), meaning: Fixed::new("what happened, which rule decided, what comes next"), options: places(&[WHY_NOT, INSTANCE, JSON]), settings: false },
    Verb { name: Fixed::new("report"), arguments: Fixed::new("[list|show ID|last] [NAME]"), meaning: Fixed::new("reports on kills and unclean deaths; also without a watchdog"), options: places(&[DIR, INSTANCE, JSON]), settings: false },
    Verb { name: Fixed::new("health"), arguments: Fixed::new("[NAME]"), meaning: Fixed::new("exit 0 if healthy, 1 if not"), options: places(&[INSTANCE, JSON]), settings: false },
    Verb { name: Fixed::new("wait"), arguments: Fixed::new("NAME"), meaning: Fixed::new("wait for a state; the last lines of output on failure"), options: places(&[FOR, TIMEOUT, INSTANCE, JSON]), settings: false },
    Verb { name: Fixed::new("shutdown"), arguments: Fixed::new(""), meaning: Fixed::new("stop everything and end the watchdog"), options: places(&[INSTANCE, JSON]), settings: false },
    Verb { name: Fixed::new("simulate"), arguments: Fixed::new("[SETTINGS]"), meaning: Fixed::new("print the restart timeline that the settings produce"), options: places(&[EXITS, JSON]), settings: true },
    Verb { name: Fixed::new("install"), arguments: Fixed::new("[SETTINGS] [-- PROGRAM [ARGS]..]"), meaning: Fixed::new("as a service of systemd: one program, or the services of a file"), options: places(&[FILE, OF_USER, RUN_AS, KEEP_PATH, MANAGER, ROOT, TRY, NO_START, OVER, JSON]), settings: true },
    Verb { name: Fixed::new("uninstall"), arguments: Fixed::new("NAME"), meaning: Fixed::new("stop such a service and take its unit away"), options: places(&[OF_USER, ROOT, TRY, JSON]), settings: false },
    Verb { name: Fixed::new("drill"), arguments: Fixed::new("[SETTINGS] -- PROGRAM [ARGS]..."), meaning: Fixed::new("run the failure catalogue against a program; for people and for CI"), options: places(&[ONLY, CASE_TIMEOUT, SETTLE, SLOW, JUNIT, JSON]), settings: true },
    Verb { name: Fixed::new("completions"), arguments: Fixed::new("bash|zsh|fish"), meaning: Fixed::new("print completions for a shell"), options: places(&[]), settings: false },
    Verb { name: Fixed::new("man"), arguments: Fixed::new("[VERB]"), meaning: Fixed::new("print the manual page, or that of a verb"), options: places(&[]), settings: false },
];

/// For those who build the pages; not shown.
pub(crate) static HIDDEN: Verb = Verb {
    name: Fixed::new("help-settings"),
    arguments: Fixed::new(""),
    meaning: Fixed::new("print the table of settings"),
    options: places(&[MARKDOWN]),
    settings: false,
};

/// For the case of `drill` in which a program begins late: `start-late DURATION -- PROGRAM`; not shown.
pub(crate) static START_LATE: Verb = Verb {
    name: Fixed::new("start-late"),
    arguments: Fixed::new("DURATION -- PROGRAM [ARGS]..."),
    meaning: Fixed::new("wait, then become the program"),
    options: places(&[]),
    settings: false,
};

/// For the completions of shells; not shown.
pub(crate) static COMPLETE: Verb = Verb {
    name: Fixed::new("complete"),
    arguments: Fixed::new("services|instances|reports"),
    meaning: Fixed::new("print the words that may stand here"),
    options: places(&[INSTANCE]),
    settings: false,
};

/// Verbs of the contract that come later.
pub(crate) const LATER: [&str; 3] = ["upgrade", "import", "hold"];

/// The verb of this name.
pub(crate) fn find(name: &str) -> Option<&'static Verb> {
    VERBS.iter().chain([&HIDDEN, &START_LATE, &COMPLETE]).find(|v| v.name == *name)
}
