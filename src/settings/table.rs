//! The one list of settings. Flags, variables, keys of the file, `--help`, the manual, the completions and the table of
//! the README are all read from it; a new setting is one entry here.

use super::draft::{ControlWish, Draft, LogFormat};
use super::fault::Fault;
use super::raw::Raw;
use super::{later, levels, rlimit, signals, values};
use watchdog_engine::spec::{GiveUp, LogMode, OnDeath, Policy, Scope as SignalScope, Stdin};

/// One setting.
#[derive(Debug)]
pub(crate) struct Setting {
    /// As in the file; flag and variable are made from it.
    pub(crate) key: &'static str,
    /// Where `--help` shows it.
    pub(crate) group: Group,
    /// What a value looks like, for `--help`; empty for a plain switch.
    pub(crate) value: &'static str,
    /// How the flag is given.
    pub(crate) shape: Shape,
    /// Whose setting it is, and so in which table of a file it stands.
    pub(crate) scope: Scope,
    /// What holds when nobody says anything.
    pub(crate) default: Standard,
    /// One line for people.
    pub(crate) meaning: &'static str,
    /// Reads a value and writes it down.
    pub(crate) set: fn(&mut Draft, &Raw) -> Result<(), Fault>,
}

/// How a flag is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// `--flag VALUE`.
    One,
    /// `--flag A,B`, and the flag may be repeated: each adds to the list.
    List,
    /// `--flag` or `--flag=false`.
    Switch,
    /// `--flag` alone means this, `--flag=VALUE` another.
    Optional(&'static str),
}

/// What holds when nobody says anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standard {
    /// This value; a test proves that it is the engine's default too.
    Value(&'static str),
    /// Something that is no value, said in words.
    Words(&'static str),
}

/// Whose setting it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Of each service: `[defaults]` and `[service.NAME]`.
    Service,
    /// Of one service and no other: only `[service.NAME]`.
    OneService,
    /// Of the watchdog: `[watchdog]`.
    Instance,
    /// Of the command line: flag and variable only.
    CommandLine,
}

/// The parts of `--help`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Group {
    /// Who it is.
    Name,
    /// How a worker is started.
    Launch,
    /// When it is started again.
    Restart,
    /// How it is ended.
    Stop,
    /// When it counts as up.
    Ready,
    /// Where its output goes.
    Log,
    /// The watchdog itself.
    Watchdog,
}

/// The groups in their order, with their headings.
pub(crate) const GROUPS: [(Group, &str); 7] = [
    (Group::Name, "name"),
    (Group::Launch, "launch"),
    (Group::Restart, "restart"),
    (Group::Stop, "stop and signals"),
    (Group::Ready, "ready and alive"),
    (Group::Log, "output"),
    (Group::Watchdog, "the watchdog itself"),
];

const POLICIES: [(&str, Policy); 5] = [
    ("always", Policy::Always),
    ("on-failure", Policy::OnFailure),
    ("on-success", Policy::OnSuccess),
    ("unless-stopped", Policy::UnlessStopped),
    ("never", Policy::Never),
];
const STDINS: [(&str, Stdin); 2] = [("inherit", Stdin::Inherit), ("null", Stdin::Null)];
const SCOPES: [(&str, SignalScope); 3] =
    [("main", SignalScope::Main), ("group", SignalScope::Group), ("tree", SignalScope::Tree)];
const LOGS: [(&str, LogMode); 3] =
    [("inherit", LogMode::Inherit), ("tee", LogMode::Tee), ("capture", LogMode::Capture)];
const DEATHS: [(&str, OnDeath); 3] = [("stop", OnDeath::Stop), ("kill", OnDeath::Kill), ("keep", OnDeath::Keep)];
const FORMATS: [(&str, LogFormat); 2] = [("text", LogFormat::Text), ("json", LogFormat::Json)];

/// Reads of a closed list whose later words are known already.
fn built(raw: &Raw, now: &[&str], later: &[&str]) -> Result<(), Fault> {
    let text = raw.text()?;
    let head = text.split(':').next().unwrap_or_default();
    if later.contains(&head) {
        return Err(Fault::usage(format!("{text:?} is {}", later::refusal(""))));
    }
    let words: Vec<(&str, ())> = now.iter().map(|w| (*w, ())).collect();
    values::word(text, &words)
}

fn give_up(raw: &Raw) -> Result<GiveUp, Fault> {
    let text = raw.text()?;
    if let Some(command) = text.strip_prefix("exec:") {
        return values::command(command).map(GiveUp::Exec);
    }
    let words = [("exit", 0), ("stay", 1), ("stop-all", 2), ("exec:COMMAND", 3)];
    match values::word(text, &words)? {
        0 => Ok(GiveUp::Exit),
        1 => Ok(GiveUp::Stay),
        2 => Ok(GiveUp::StopAll),
        _ => values::command("").map(GiveUp::Exec),
    }
}

/// A setting of the usual kind; the others say what differs.
const fn service(
    key: &'static str,
    group: Group,
    value: &'static str,
    default: Standard,
    meaning: &'static str,
    set: fn(&mut Draft, &Raw) -> Result<(), Fault>,
) -> Setting {
    Setting { key, group, value, shape: Shape::One, scope: Scope::Service, default, meaning, set }
}

use Standard::{Value, Words};

/// Every setting, in the order of `--help`.
#[rustfmt::skip]
pub(crate) static TABLE: &[Setting] = &[
    Setting { scope: Scope::OneService, ..service("name", Group::Name, "NAME", Words("basename of PROGRAM"),
        "name of the service and of this watchdog", |d, r| { d.name = Some(values::name(r.text()?)?); Ok(()) }) },
    service("title", Group::Name, "TEXT", Words("none"),
        "a title for people", |d, r| { d.spec.title = r.text()?.to_string(); Ok(()) }),
    service("description", Group::Name, "TEXT", Words("none"),
        "a sentence for people", |d, r| { d.spec.description = r.text()?.to_string(); Ok(()) }),

    service("cwd", Group::Launch, "PATH", Words("inherited"),
        "working directory, entered as the worker's user", |d, r| { d.spec.launch.cwd = Some(r.path()?); Ok(()) }),
    Setting { shape: Shape::List, ..service("env", Group::Launch, "K=V", Words("inherited"),
        "environment variable; repeatable", |d, r| d.add_env(r)) },
    Setting { shape: Shape::List, ..service("env_file", Group::Launch, "PATH,..", Words("none"),
        "files of KEY=VALUE lines, read before env", |d, r| { d.env_files = r.paths()?; Ok(()) }) },
    Setting { shape: Shape::Switch, ..service("clear_env", Group::Launch, "", Value("false"),
        "begin with an empty environment", |d, r| { d.clear_env = r.switch()?; Ok(()) }) },
    service("user", Group::Launch, "USER", Words("inherited"),
        "user to become, with its groups, HOME, USER and LOGNAME", |d, r| { d.user = Some(r.text()?.to_string()); Ok(()) }),
    service("group", Group::Launch, "GROUP", Words("the user's"),
        "primary group to become", |d, r| { d.group = Some(r.text()?.to_string()); Ok(()) }),
    service("umask", Group::Launch, "OCTAL", Words("inherited"),
        "file mode creation mask", |d, r| { d.spec.launch.umask = Some(values::umask(r.text()?)?); Ok(()) }),
    service("nice", Group::Launch, "N", Words("inherited"),
        "scheduling priority, -20 to 19", |d, r| { d.spec.launch.nice = Some(r.count(-20, 19)? as i32); Ok(()) }),
    service("oom_score_adj", Group::Launch, "N", Words("inherited"),
        "how soon the kernel picks it when memory is out, -1000 to 1000",
        |d, r| { d.spec.launch.oom_score_adj = Some(r.count(-1000, 1000)? as i32); Ok(()) }),
    Setting { shape: Shape::List, ..service("rlimit", Group::Launch, "NAME=SOFT[:HARD],..", Words("inherited"),
        "resource limits, such as nofile=1024:4096",
        |d, r| { d.spec.launch.rlimits = r.list()?.iter().map(|i| rlimit::rlimit(i)).collect::<Result<_, _>>()?; Ok(()) }) },
    Setting { shape: Shape::Switch, ..service("no_new_privs", Group::Launch, "", Value("false"),
        "never gain privileges by exec", |d, r| { d.spec.launch.no_new_privs = r.switch()?; Ok(()) }) },
    service("stdin", Group::Launch, "inherit|null", Value("inherit"),
        "what the worker reads", |d, r| { d.spec.launch.stdin = values::word(r.text()?, &STDINS)?; Ok(()) }),

    service("restart", Group::Restart, "POLICY", Value("on-failure"),
        "when to start again: always, on-failure, on-success, unless-stopped, never",
        |d, r| { d.spec.restart.policy = values::word(r.text()?, &POLICIES)?; Ok(()) }),
    service("restart_delay", Group::Restart, "DURATION,..", Value("1s"),
        "pause before a restart; a list is taken as it stands, its last entry repeats", |d, r| {
            let delays = r.list()?.iter().map(|i| values::duration(i)).collect::<Result<Vec<_>, _>>()?;
            if delays.is_empty() { return Err(Fault::usage("an empty list: one duration at least")); }
            d.delays = delays;
            Ok(())
        }),
    service("restart_delay_factor", Group::Restart, "N", Value("2"),
        "growth of the pause from one restart of a streak to the next; 1 keeps it",
        |d, r| { d.delay_factor = values::factor(r.text()?)?; Ok(()) }),
    service("restart_delay_max", Group::Restart, "DURATION", Value("60s"),
        "longest pause of the growing kind", |d, r| { d.delay_max = r.duration()?; Ok(()) }),
    service("restart_delay_jitter", Group::Restart, "PERCENT", Value("20%"),
        "random spread of a pause, both ways",
        |d, r| { d.spec.restart.jitter = values::percent(r.text()?)?; Ok(()) }),
    Setting { shape: Shape::Switch, ..service("fast_first_restart", Group::Restart, "", Value("true"),
        "the first failure after a stable run restarts at once",
        |d, r| { d.spec.restart.fast_first = r.switch()?; Ok(()) }) },
    service("stable_after", Group::Restart, "DURATION", Value("30s"),
        "a run this long ends a streak of failures", |d, r| { d.spec.restart.stable_after = r.duration()?; Ok(()) }),
    service("restart_limit", Group::Restart, "N", Value("5"),
        "consecutive unstable restarts, then give up; 0 = never give up",
        |d, r| { d.spec.restart.limit = r.number()?; Ok(()) }),
    service("crash_loop_limit", Group::Restart, "N", Value("5"),
        "restarts inside the window, then a pause; 0 = off",
        |d, r| { d.spec.restart.crash_loop_limit = r.count(0, 1000)? as u32; Ok(()) }),
    service("crash_loop_window", Group::Restart, "DURATION", Value("60s"),
        "length of that sliding window", |d, r| { d.spec.restart.crash_loop_window = r.duration()?; Ok(()) }),
    service("crash_loop_pause", Group::Restart, "DURATION", Value("60s"),
        "length of that pause", |d, r| { d.spec.restart.crash_loop_pause = r.duration()?; Ok(()) }),
    service("restart_total", Group::Restart, "N", Words("none"),
        "restarts in all, then give up", |d, r| { d.spec.restart.total = match r.text()? { "none" | "off" => None, _ => Some(r.number()?) }; Ok(()) }),
    service("give_up", Group::Restart, "ACTION", Value("exit"),
        "then: exit with the worker's status, stay failed, stop-all, or exec:COMMAND",
        |d, r| { d.spec.restart.give_up = give_up(r)?; Ok(()) }),
    service("success_on", Group::Restart, "END,..", Value("0,HUP,INT,TERM,PIPE"),
        "exit codes and signals that count as success",
        |d, r| { d.spec.restart.success_on = signals::ends(&r.list()?)?; Ok(()) }),
    service("no_restart_on", Group::Restart, "END,..", Value("78,125"),
        "exit codes and signals after which it is never started again",
        |d, r| { d.spec.restart.no_restart_on = signals::ends(&r.list()?)?; Ok(()) }),
    service("max_age", Group::Restart, "DURATION", Words("none"),
        "replace a healthy worker this long after it was ready",
        |d, r| { d.spec.max_age = match r.text()? { "none" | "off" => None, _ => Some(r.duration()?) }; Ok(()) }),
    service("max_age_jitter", Group::Restart, "PERCENT", Value("10%"),
        "random spread of max_age", |d, r| { d.spec.max_age_jitter = values::percent(r.text()?)?; Ok(()) }),

    service("stop_signal", Group::Stop, "SIGNAL", Words("TERM"),
        "first signal of a stop", |d, r| { d.spec.stop.signal = Some(signals::signal(r.text()?)?); Ok(()) }),
    service("stop_timeout", Group::Stop, "DURATION", Value("10s"),
        "from that signal to KILL; 0 kills at once", |d, r| { d.spec.stop.timeout = r.duration()?; Ok(()) }),
    service("shutdown_timeout", Group::Stop, "DURATION", Words("stop_timeout"),
        "the same for the end of the watchdog itself", |d, r| { d.shutdown_timeout = Some(r.duration()?); Ok(()) }),
    service("signal_scope", Group::Stop, "main|group|tree", Value("group"),
        "who gets the first signal and the forwarded ones",
        |d, r| { d.spec.stop.scope = values::word(r.text()?, &SCOPES)?; Ok(()) }),
    Setting { shape: Shape::List, ..service("rewrite_signal", Group::Stop, "FROM:TO,..", Words("none"),
        "signals to exchange before anything looks at them; TO 0 drops one",
        |d, r| { d.spec.rewrite_signal = r.list()?.iter().map(|i| signals::rewrite(i)).collect::<Result<_, _>>()?; Ok(()) }) },
    service("kill_wait", Group::Stop, "DURATION", Value("1s"),
        "from KILL to the state stuck", |d, r| { d.spec.stop.kill_wait = r.duration()?; Ok(()) }),
    service("on_watchdog_death", Group::Stop, "stop|kill|keep", Value("stop"),
        "what the worker gets when the watchdog dies",
        |d, r| { d.spec.stop.on_watchdog_death = values::word(r.text()?, &DEATHS)?; Ok(()) }),

    service("ready", Group::Ready, "auto|spawned", Value("auto"),
        "when the worker counts as ready",
        |_, r| built(r, &["auto", "spawned"], &["reported", "probe", "fd", "line", "port"])),
    service("heartbeat", Group::Ready, "auto|off", Value("auto"),
        "whether beats of the worker are watched", |_, r| built(r, &["auto", "off"], &["required"])),

    service("log", Group::Log, "inherit|tee|capture", Value("inherit"),
        "output: straight through, through us too, or kept by us only",
        |d, r| { d.spec.log.mode = values::word(r.text()?, &LOGS)?; Ok(()) }),
    service("log_file", Group::Log, "PATH", Words("off"),
        "file for the output, raw, rotated", |d, r| { d.spec.log.file = given(r).then(|| r.path()).transpose()?; Ok(()) }),
    service("log_max_size", Group::Log, "SIZE", Value("10MiB"),
        "size at which that file is rotated", |d, r| {
            let size = values::size(r.text()?)?;
            if size < 4096 { return Err(Fault::usage("less than 4KiB is no log file")); }
            d.spec.log.max_size = size;
            Ok(())
        }),
    service("log_keep", Group::Log, "N", Value("10"),
        "rotated files kept, compressed", |d, r| { d.spec.log.keep = r.count(0, 1000)? as u32; Ok(()) }),
    service("log_lines", Group::Log, "N", Value("1000"),
        "last lines kept in memory for `logs`", |d, r| { d.spec.log.lines = r.count(0, 100_000)? as usize; Ok(()) }),

    Setting { scope: Scope::Instance, ..service("control", Group::Watchdog, "PATH|off", Words("in the runtime directory"),
        "control socket", |d, r| {
            d.control = if given(r) { ControlWish::Path(r.path()?) } else { ControlWish::Off };
            Ok(())
        }) },
    Setting { scope: Scope::Instance, ..service("events_file", Group::Watchdog, "PATH", Words("off"),
        "file for all events, JSON lines", |d, r| { d.events_file = given(r).then(|| r.path()).transpose()?; Ok(()) }) },
    Setting { scope: Scope::Instance, shape: Shape::Optional("TERM"),
        ..service("die_with_parent", Group::Watchdog, "SIGNAL", Words("off"),
        "signal the watchdog gets when its parent dies; the bare flag means TERM", |d, r| {
            d.die_with_parent = match r.text()? {
                "off" | "false" => None,
                "true" => Some(15),
                text => Some(signals::signal(text)?),
            };
            Ok(())
        }) },
    Setting { scope: Scope::Instance, ..service("log_level", Group::Watchdog, "FILTER", Value("warn"),
        "what the watchdog itself says: off, error, warn, info, debug, trace",
        |d, r| { d.log_level = levels::check(r.text()?)?; Ok(()) }) },
    Setting { scope: Scope::Instance, ..service("log_format", Group::Watchdog, "text|json", Value("text"),
        "how it says it", |d, r| { d.log_format = values::word(r.text()?, &FORMATS)?; Ok(()) }) },
    Setting { scope: Scope::CommandLine, ..service("config", Group::Watchdog, "FILE", Words("none"),
        "TOML file whose [defaults] and [watchdog] are read first", |_, _| Ok(())) },
];

/// Whether a path was given, rather than `off` or the `false` of a file.
fn given(raw: &Raw) -> bool {
    !raw.text().is_ok_and(|t| matches!(t, "off" | "false"))
}

/// The setting with this key.
pub(crate) fn find(key: &str) -> Option<&'static Setting> {
    TABLE.iter().find(|s| s.key == key)
}

/// Every key that may be meant: built or not.
pub(crate) fn keys() -> impl Iterator<Item = &'static str> {
    TABLE.iter().map(|s| s.key).chain(later::KEYS.iter().map(|(key, _)| *key))
}

impl Setting {
    /// `--stop-timeout`.
    pub(crate) fn flag(&self) -> String {
        flag(self.key)
    }

    /// `WATCHDOG_STOP_TIMEOUT`.
    pub(crate) fn variable(&self) -> String {
        variable(self.key)
    }

    /// The default as people read it.
    pub(crate) fn default_text(&self) -> &'static str {
        match self.default {
            Value(text) | Words(text) => text,
        }
    }
}

/// The flag of a key.
pub(crate) fn flag(key: &str) -> String {
    format!("--{}", key.replace('_', "-"))
}

/// The variable of a key.
pub(crate) fn variable(key: &str) -> String {
    format!("WATCHDOG_{}", key.to_ascii_uppercase())
}
