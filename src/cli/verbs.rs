//! The list of verbs: usage, options and meaning, read by the parser, `--help`, the manual and the completions.

/// One verb.
#[derive(Debug)]
pub(crate) struct Verb {
    /// What a user types.
    pub(crate) name: &'static str,
    /// Its own arguments.
    pub(crate) arguments: &'static str,
    /// One line for people.
    pub(crate) meaning: &'static str,
    /// Its options.
    pub(crate) options: &'static [&'static Opt],
    /// Whether it takes settings too.
    pub(crate) settings: bool,
}

impl Verb {
    /// Whether a program may stand behind it, after `--`.
    pub(crate) fn takes_a_program(&self) -> bool {
        self.arguments.contains("-- PROGRAM")
    }
}

/// One option of a verb.
#[derive(Debug)]
pub(crate) struct Opt {
    /// Without dashes.
    pub(crate) long: &'static str,
    /// One letter, or none.
    pub(crate) short: Option<char>,
    /// What a value looks like; empty for a switch.
    pub(crate) value: &'static str,
    /// One line for people.
    pub(crate) meaning: &'static str,
}

/// One option, shortly.
const fn opt(long: &'static str, short: Option<char>, value: &'static str, meaning: &'static str) -> Opt {
    Opt { long, short, value, meaning }
}

static INSTANCE: Opt =
    opt("instance", Some('i'), "INSTANCE", "which watchdog: a name, NAME.PID, a pid or a socket path");
static JSON: Opt = opt("json", None, "", "print JSON");
static TIMEOUT: Opt = opt("timeout", None, "DURATION", "give up waiting after this long");
static GRACE: Opt = opt("timeout", None, "DURATION", "grace before KILL, instead of stop_timeout");
static ALL: Opt = opt("all", None, "", "all services, instead of names");
static FORCE: Opt = opt("force", None, "", "kill at once, without the stop signal");
static FOLLOW: Opt = opt("follow", Some('f'), "", "go on with what comes");
static COUNT: Opt = opt("lines", Some('n'), "N", "begin with the last N");
static PREFIX: Opt = opt("prefix", None, "", "service and stream before each line");
static TIMESTAMPS: Opt = opt("timestamps", None, "", "time before each line");
static FOR: Opt = opt("for", None, "ready|stopped|completed", "what to wait for");
static EXITS: Opt = opt("exits", None, "SCRIPT", "how runs end, such as 'crash@2s x6, ok 40s'");
static WHY_NOT: Opt = opt("why-not", None, "", "what keeps it from running or from being ready");
static DIR: Opt = opt("dir", None, "DIR", "read this directory of reports, and ask nobody");
static FILE: Opt = opt("file", Some('f'), "FILE", "the file of services; by default watchdog.toml");
static DRY_RUN: Opt = opt("dry-run", None, "", "print what would be started, in which order, and touch nothing");
static OUTPUT: Opt = opt(
    "output",
    None,
    "prefix|json|none",
    "lines of the services: NAME | text, JSON as of logs --json, or none [prefix]",
);
static NO_PROGRESS: Opt =
    opt("no-progress", None, "", "no view of who is waited for; also by the variable NO_PROGRESS");
static NO_DEPENDENTS: Opt = opt("no-dependents", None, "", "leave those alone that need it");
static NO_RESTART: Opt = opt("no-restart", None, "", "restart nobody: what needs a restart waits for the next one");
static OF_USER: Opt = opt("user", None, "", "a service of this user alone (systemctl --user)");
static RUN_AS: Opt = opt("run-as", None, "USER", "who the watchdog and its services run as [root]");
static MANAGER: Opt =
    opt("format", None, "systemd|openrc|runit", "for which manager: a unit, or a template that is printed [systemd]");
static ROOT: Opt =
    opt("root", None, "DIR", "into a system below this directory, such as an image: systemctl is not called");
static TRY: Opt = opt("dry-run", None, "", "print it, and touch nothing");
static KEEP_PATH: Opt =
    opt("keep-path", None, "", "with the PATH of this shell, not the usual one; a unit of this user has it anyhow");
static NO_START: Opt = opt("no-start", None, "", "do not start it now");
static OVER: Opt = opt("force", None, "", "also over a unit that watchdog install did not write");
static ONCE: Opt = opt("once", None, "", "print a plain page once instead");
static ONLY: Opt = opt("only", None, "CASE,..", "these cases: ready, term, leftovers, crash, hang, slow-start, flood");
static CASE_TIMEOUT: Opt = opt("timeout", None, "DURATION", "most that one case may take [2m]");
static SETTLE: Opt = opt("settle", None, "DURATION", "how long the program has to stay once it is ready [1s]");
static SLOW: Opt = opt("slow", None, "DURATION", "how much later the program begins in slow-start [3s]");
static JUNIT: Opt = opt("junit", None, "FILE", "write the result as JUnit XML, too");
static MARKDOWN: Opt = opt("markdown", None, "", "as a table for the README");

/// The verbs of this version, in the order of `--help`.
#[rustfmt::skip]
pub(crate) static VERBS: &[Verb] = &[
    Verb { name: "up", arguments: "[SETTINGS] [NAME..]", meaning: "run the services of a file: all, or these and what they need", options: &[&FILE, &DRY_RUN, &OUTPUT, &NO_PROGRESS, &JSON], settings: true },
    Verb { name: "run-until-ready", arguments: "[SETTINGS]", meaning: "start all, wait until all are ready, stop; names what was not ready", options: &[&FILE, &TIMEOUT, &OUTPUT, &NO_PROGRESS, &JSON], settings: true },
    Verb { name: "check", arguments: "[SETTINGS]", meaning: "say what a file means, or all that is wrong with it; touches nothing", options: &[&FILE, &JSON], settings: true },
    Verb { name: "init", arguments: "", meaning: "write a commented sample of the file", options: &[&FILE], settings: false },
    Verb { name: "schema", arguments: "", meaning: "print a JSON schema of the file, for editors", options: &[], settings: false },
    Verb { name: "ls", arguments: "", meaning: "watchdogs running here for this user", options: &[&JSON], settings: false },
    Verb { name: "status", arguments: "[NAME..]", meaning: "what is running, since when, and why", options: &[&INSTANCE, &JSON], settings: false },
    Verb { name: "top", arguments: "[NAME..]", meaning: "the same on the whole terminal as it changes, with keys to act", options: &[&ONCE, &INSTANCE, &JSON], settings: false },
    Verb { name: "start", arguments: "NAME..", meaning: "start, and wait until ready", options: &[&ALL, &TIMEOUT, &INSTANCE, &JSON], settings: false },
    Verb { name: "stop", arguments: "NAME..", meaning: "stop, and wait until gone", options: &[&ALL, &GRACE, &INSTANCE, &JSON], settings: false },
    Verb { name: "restart", arguments: "NAME..", meaning: "replace, and wait until the new one is ready", options: &[&ALL, &FORCE, &NO_DEPENDENTS, &INSTANCE, &JSON], settings: false },
    Verb { name: "signal", arguments: "SIGNAL NAME..", meaning: "send a signal", options: &[&ALL, &INSTANCE, &JSON], settings: false },
    Verb { name: "tell", arguments: "NAME WORD..", meaning: "send the worker words of its own", options: &[&ALL, &INSTANCE, &JSON], settings: false },
    Verb { name: "reload", arguments: "[NAME..]", meaning: "have workers read their own configuration again; without a name: read the file again", options: &[&ALL, &NO_RESTART, &INSTANCE, &JSON], settings: false },
    Verb { name: "tree", arguments: "", meaning: "who needs whom, and who waits for whom", options: &[&INSTANCE, &JSON], settings: false },
    Verb { name: "events", arguments: "[NAME..]", meaning: "what happened", options: &[&FOLLOW, &COUNT, &INSTANCE, &JSON], settings: false },
    Verb { name: "logs", arguments: "[NAME..]", meaning: "last lines of output", options: &[&FOLLOW, &COUNT, &PREFIX, &TIMESTAMPS, &INSTANCE, &JSON], settings: false },
    Verb { name: "explain", arguments: "[NAME..]", meaning: "what happened, which rule decided, what comes next", options: &[&WHY_NOT, &INSTANCE, &JSON], settings: false },
    Verb { name: "report", arguments: "[list|show ID|last] [NAME]", meaning: "reports on kills and unclean deaths; also without a watchdog", options: &[&DIR, &INSTANCE, &JSON], settings: false },
    Verb { name: "health", arguments: "[NAME]", meaning: "exit 0 if healthy, 1 if not", options: &[&INSTANCE, &JSON], settings: false },
    Verb { name: "wait", arguments: "NAME", meaning: "wait for a state; the last lines of output on failure", options: &[&FOR, &TIMEOUT, &INSTANCE, &JSON], settings: false },
    Verb { name: "shutdown", arguments: "", meaning: "stop everything and end the watchdog", options: &[&INSTANCE, &JSON], settings: false },
    Verb { name: "simulate", arguments: "[SETTINGS]", meaning: "print the restart timeline that the settings produce", options: &[&EXITS, &JSON], settings: true },
    Verb { name: "install", arguments: "[SETTINGS] [-- PROGRAM [ARGS]..]", meaning: "as a service of systemd: one program, or the services of a file", options: &[&FILE, &OF_USER, &RUN_AS, &KEEP_PATH, &MANAGER, &ROOT, &TRY, &NO_START, &OVER, &JSON], settings: true },
    Verb { name: "uninstall", arguments: "NAME", meaning: "stop such a service and take its unit away", options: &[&OF_USER, &ROOT, &TRY, &JSON], settings: false },
    Verb { name: "drill", arguments: "[SETTINGS] -- PROGRAM [ARGS]...", meaning: "run the failure catalogue against a program; for people and for CI", options: &[&ONLY, &CASE_TIMEOUT, &SETTLE, &SLOW, &JUNIT, &JSON], settings: true },
    Verb { name: "completions", arguments: "bash|zsh|fish", meaning: "print completions for a shell", options: &[], settings: false },
    Verb { name: "man", arguments: "[VERB]", meaning: "print the manual page, or that of a verb", options: &[], settings: false },
];

/// For those who build the pages; not shown.
pub(crate) static HIDDEN: Verb = Verb {
    name: "help-settings",
    arguments: "",
    meaning: "print the table of settings",
    options: &[&MARKDOWN],
    settings: false,
};

/// For the case of `drill` in which a program begins late: `start-late DURATION -- PROGRAM`; not shown.
pub(crate) static START_LATE: Verb = Verb {
    name: "start-late",
    arguments: "DURATION -- PROGRAM [ARGS]...",
    meaning: "wait, then become the program",
    options: &[],
    settings: false,
};

/// For the completions of shells; not shown.
pub(crate) static COMPLETE: Verb = Verb {
    name: "complete",
    arguments: "services|instances|reports",
    meaning: "print the words that may stand here",
    options: &[&INSTANCE],
    settings: false,
};

/// Verbs of the contract that come later.
pub(crate) const LATER: [&str; 3] = ["upgrade", "import", "hold"];

/// The verb of this name.
pub(crate) fn find(name: &str) -> Option<&'static Verb> {
    VERBS.iter().chain([&HIDDEN, &START_LATE, &COMPLETE]).find(|v| v.name == name)
}
