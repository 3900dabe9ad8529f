//! The one list of settings. Flags, variables, keys of the file, `--help`, the manual, the completions and the table of
//! the README are all read from it; a new setting is one entry here.

use super::draft::{ControlWish, LogFormat, ReportWish};
use super::fault::Fault;
use super::fixed::Fixed;
use super::raw::Raw;
use super::{alive, commands, hooks, later, levels, limits, needs, probes, rlimit, signals, values, web};
use std::time::Duration;
use watchdog_engine::spec::{
    HeartbeatMode, HookUser, LimitAction, LimitScope, LogMode, OnDeath, OnHang, Policy, Scope as SignalScope, Stdin,
    Strategy,
};

use super::setting::Set;
pub(crate) use super::setting::{GROUPS, Group, Scope, Setting, Shape, Standard, flag, variable};

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
const HOOK_USERS: [(&str, HookUser); 2] = [("watchdog", HookUser::Watchdog), ("service", HookUser::Service)];
const BEATS: [(&str, HeartbeatMode); 3] =
    [("auto", HeartbeatMode::Auto), ("required", HeartbeatMode::Required), ("off", HeartbeatMode::Off)];
const HANGS: [(&str, OnHang); 2] = [("restart", OnHang::Restart), ("record", OnHang::Record)];
const LIMIT_ACTIONS: [(&str, LimitAction); 2] = [("restart", LimitAction::Restart), ("warn", LimitAction::Warn)];
const MEASURED: [(&str, LimitScope); 2] = [("tree", LimitScope::Tree), ("main", LimitScope::Main)];
const STRATEGIES: [(&str, Strategy); 3] = [
    ("one-for-one", Strategy::OneForOne),
    ("one-for-all", Strategy::OneForAll),
    ("rest-for-one", Strategy::RestForOne),
];
const FORMATS: [(&str, LogFormat); 2] = [("text", LogFormat::Text), ("json", LogFormat::Json)];

/// A setting as it is written down here.
#[derive(Clone, Copy)]
struct Row {
    key: &'static str,
    group: Group,
    value: &'static str,
    shape: Shape,
    scope: Scope,
    default: Standard,
    up: Option<Fixed<8>>,
    meaning: &'static str,
    set: Set,
}

/// A setting of the usual kind; the others say what differs.
const fn service(
    key: &'static str,
    group: Group,
    value: &'static str,
    default: Standard,
    meaning: &'static str,
    set: Set,
) -> Row {
    Row { key, group, value, shape: Shape::One, scope: Scope::Service, default, up: None, meaning, set }
}

/// A setting that names one thing: in `[service.NAME]` alone.
const fn of_one(
    key: &'static str,
    group: Group,
    value: &'static str,
    default: Standard,
    meaning: &'static str,
    set: Set,
) -> Row {
    Row { scope: Scope::OneService, ..service(key, group, value, default, meaning, set) }
}

const fn value(text: &str) -> Standard {
    Standard::Value(Fixed::new(text))
}

const fn words(text: &str) -> Standard {
    Standard::Words(Fixed::new(text))
}

/// Every setting, in the order of `--help`.
pub(crate) static TABLE: [Setting; ROWS.len()] = settings();

/// What reads them, in the same order: apart, so that the texts hold no address.
pub(super) static SETS: [Set; ROWS.len()] = sets();

const fn settings() -> [Setting; ROWS.len()] {
    let mut all = [setting(0); ROWS.len()];
    let mut at = 0;
    while at < all.len() {
        all[at] = setting(at);
        at += 1;
    }
    all
}

const fn setting(at: usize) -> Setting {
    let Row { key, group, value, shape, scope, default, up, meaning, .. } = ROWS[at];
    let (key, value, meaning) = (Fixed::new(key), Fixed::new(value), Fixed::new(meaning));
    Setting { key, group, value, shape, scope, default, up, meaning, at }
}

const fn sets() -> [Set; ROWS.len()] {
    let mut all = [ROWS[0].set; ROWS.len()];
    let mut at = 0;
    while at < all.len() {
        all[at] = ROWS[at].set;
        at += 1;
    }
    all
}

#[rustfmt::skip]
const ROWS: &[Row] = &[
    Row { scope: Scope::Instance, ..service("name", Group::Name, "NAME", words("basename of PROGRAM"),
        "name of the service and of this watchdog", |d, r| { d.name = Some(values::name(r.text()?)?); Ok(()) }) },
    service("title", Group::Name, "TEXT", words("none"),
        "a title for people", |d, r| { d.spec.title = r.text()?.to_string(); Ok(()) }),
    service("description", Group::Name, "TEXT", words("none"),
        "a sentence for people", |d, r| { d.spec.description = r.text()?.to_string(); Ok(()) }),
    Row { shape: Shape::Switch, ..service("hidden", Group::Name, "", value("false"),
        "left out of `status` and `tree` unless it is named", |d, r| { d.spec.hidden = r.switch()?; Ok(()) }) },

    Row { shape: Shape::Tree, ..of_one("command", Group::Launch, "ARGV|TEXT", words("none"),
        "what to run: a list of words, or one text that is split like a shell would",
        |d, r| { d.command = Some(commands::command(r)?); Ok(()) }) },
    Row { shape: Shape::Switch, ..of_one("shell", Group::Launch, "", value("false"),
        "give the text of command to /bin/sh -c", |d, r| { d.shell = r.switch()?; Ok(()) }) },

    service("cwd", Group::Launch, "PATH", words("inherited"),
        "working directory, entered as the worker's user", |d, r| { d.spec.launch.cwd = Some(r.path()?); Ok(()) }),
    Row { shape: Shape::List, ..service("env", Group::Launch, "K=V", words("inherited"),
        "environment variable; repeatable", |d, r| d.add_env(r)) },
    Row { shape: Shape::List, ..service("env_file", Group::Launch, "PATH,..", words("none"),
        "files of KEY=VALUE lines, read before env; -PATH may be missing", |d, r| { d.env_files = r.paths()?; Ok(()) }) },
    Row { shape: Shape::Optional(Fixed::new("true")), ..service("env_watch", Group::Launch, "DURATION|off", value("off"),
        "reload this long after the last change of an env_file; the bare flag means 5s",
        |d, r| { d.env_watch = needs::env_watch(r)?; Ok(()) }) },
    service("port", Group::Launch, "N", words("none"),
        "replica i gets PORT = N + i: in its environment, in its probes and as ${PORT}",
        |d, r| { d.port = needs::first_port(r)?; Ok(()) }),
    Row { shape: Shape::Switch, ..service("clear_env", Group::Launch, "", value("false"),
        "begin with an empty environment", |d, r| { d.clear_env = r.switch()?; Ok(()) }) },
    service("user", Group::Launch, "USER", words("inherited"),
        "user to become, with its groups, HOME, USER and LOGNAME", |d, r| { d.user = Some(r.text()?.to_string()); Ok(()) }),
    service("group", Group::Launch, "GROUP", words("the user's"),
        "primary group to become", |d, r| { d.group = Some(r.text()?.to_string()); Ok(()) }),
    service("umask", Group::Launch, "OCTAL", words("inherited"),
        "file mode creation mask", |d, r| { d.spec.launch.umask = Some(values::umask(r.text()?)?); Ok(()) }),
    service("nice", Group::Launch, "N", words("inherited"),
        "scheduling priority, -20 to 19", |d, r| { d.spec.launch.nice = Some(r.count(-20, 19)? as i32); Ok(()) }),
    service("oom_score_adj", Group::Launch, "N", words("inherited"),
        "how soon the kernel picks it when memory is out, -1000 to 1000",
        |d, r| { d.spec.launch.oom_score_adj = Some(r.count(-1000, 1000)? as i32); Ok(()) }),
    Row { shape: Shape::List, ..service("rlimit", Group::Launch, "NAME=SOFT[:HARD],..", words("inherited"),
        "resource limits, such as nofile=1024:4096",
        |d, r| { d.spec.launch.rlimits = r.list()?.iter().map(|i| rlimit::rlimit(i)).collect::<Result<_, _>>()?; Ok(()) }) },
    Row { shape: Shape::Switch, ..service("no_new_privs", Group::Launch, "", value("false"),
        "never gain privileges by exec", |d, r| { d.spec.launch.no_new_privs = r.switch()?; Ok(()) }) },
    Row { up: Some(Fixed::new("null")), ..service("stdin", Group::Launch, "inherit|null", value("inherit"),
        "what the worker reads", |d, r| { d.spec.launch.stdin = values::word(r.text()?, &STDINS)?; Ok(()) }) },

    of_one("type", Group::Place, "service|oneshot|target|probe", value("service"),
        "kept up; run once; a name for what it requires; a name for what its probes find",
        |d, r| { d.spec.kind = values::word(r.text()?, &needs::KINDS)?; Ok(()) }),
    Row { shape: Shape::Tree, ..of_one("requires", Group::Place, "LIST", words("none"),
        "must be there first and stay: \"NAME\" or { service, condition, once }",
        |d, r| { d.requires = needs::needs(d, r)?; Ok(()) }) },
    Row { shape: Shape::Tree, ..of_one("wants", Group::Place, "NAME,..", words("none"),
        "started as well and waited for, and not needed", |d, r| { d.wants = needs::names(d, r)?; Ok(()) }) },
    Row { shape: Shape::Tree, ..of_one("depends_on", Group::Place, "NAME,..|TABLE", words("none"),
        "as in compose: must have started, be ready or completed first, and need not stay",
        |d, r| { d.depends_on = needs::depends_on(d, r)?; Ok(()) }) },
    Row { shape: Shape::Tree, ..of_one("after", Group::Place, "NAME,..", words("none"),
        "come first where they are started at all", |d, r| { d.after = needs::names(d, r)?; Ok(()) }) },
    Row { shape: Shape::Tree, ..of_one("conflicts", Group::Place, "NAME,..", words("none"),
        "never up at the same time", |d, r| { d.conflicts = needs::names(d, r)?; Ok(()) }) },
    of_one("autostart", Group::Place, "true|false|ignore", value("true"),
        "started with the watchdog; only for another that needs it; by hand alone",
        |d, r| { d.spec.place.autostart = needs::autostart(r)?; Ok(()) }),
    Row { shape: Shape::Switch, ..of_one("enabled", Group::Place, "", value("true"),
        "false leaves it out, as if it were not in the file", |d, r| { d.enabled = r.switch()?; Ok(()) }) },
    of_one("replicas", Group::Place, "N", value("1"),
        "identical workers NAME@0, NAME@1.., the index in WATCHDOG_REPLICA and in log_file",
        |d, r| { d.replicas = needs::replicas(r)?; Ok(()) }),
    of_one("wait_for_file", Group::Place, "PATH", words("none"),
        "a file that must be there before a start",
        |d, r| { d.spec.place.wait_for_file = given(r).then(|| r.path()).transpose()?; Ok(()) }),
    service("wait_for_file_timeout", Group::Place, "DURATION", value("60s"),
        "how long that file is waited for; 0 waits for ever",
        |d, r| { d.wait_for_file_timeout = needs::patience(r)?; Ok(()) }),

    service("restart", Group::Restart, "POLICY", value("on-failure"),
        "when to start again: always, on-failure, on-success, unless-stopped, never",
        |d, r| { d.spec.restart.policy = values::word(r.text()?, &POLICIES)?; Ok(()) }),
    service("restart_delay", Group::Restart, "DURATION,..", value("1s"),
        "pause before a restart; a list is taken as it stands, its last entry repeats", |d, r| {
            let delays = r.list()?.iter().map(|i| values::duration(i)).collect::<Result<Vec<_>, _>>()?;
            if delays.is_empty() { return Err(Fault::usage("an empty list: one duration at least")); }
            d.delays = delays;
            Ok(())
        }),
    service("restart_delay_factor", Group::Restart, "N", value("2"),
        "growth of the pause from one restart of a streak to the next; 1 keeps it",
        |d, r| { d.delay_factor = values::factor(r.text()?)?; Ok(()) }),
    service("restart_delay_max", Group::Restart, "DURATION", value("60s"),
        "longest pause of the growing kind", |d, r| { d.delay_max = r.duration()?; Ok(()) }),
    service("restart_delay_jitter", Group::Restart, "PERCENT", value("20%"),
        "random spread of a pause, both ways",
        |d, r| { d.spec.restart.jitter = values::percent(r.text()?)?; Ok(()) }),
    Row { shape: Shape::Switch, ..service("fast_first_restart", Group::Restart, "", value("true"),
        "the first failure after a stable run restarts at once",
        |d, r| { d.spec.restart.fast_first = r.switch()?; Ok(()) }) },
    service("stable_after", Group::Restart, "DURATION", value("30s"),
        "a run this long ends a streak of failures", |d, r| { d.spec.restart.stable_after = r.duration()?; Ok(()) }),
    service("restart_limit", Group::Restart, "N", value("5"),
        "consecutive unstable restarts, then give up; 0 = never give up",
        |d, r| { d.spec.restart.limit = r.number()?; Ok(()) }),
    service("crash_loop_limit", Group::Restart, "N", value("5"),
        "restarts inside the window, then a pause; 0 = off",
        |d, r| { d.spec.restart.crash_loop_limit = r.count(0, 1000)? as u32; Ok(()) }),
    service("crash_loop_window", Group::Restart, "DURATION", value("60s"),
        "length of that sliding window", |d, r| { d.spec.restart.crash_loop_window = r.duration()?; Ok(()) }),
    service("crash_loop_pause", Group::Restart, "DURATION", value("60s"),
        "length of that pause", |d, r| { d.spec.restart.crash_loop_pause = r.duration()?; Ok(()) }),
    service("restart_total", Group::Restart, "N", words("none"),
        "restarts in all, then give up", |d, r| { d.spec.restart.total = match r.text()? { "none" | "off" => None, _ => Some(r.number()?) }; Ok(()) }),
    Row { up: Some(Fixed::new("stay")), ..service("give_up", Group::Restart, "ACTION", value("exit"),
        "then: exit with the worker's status, stay failed, stop-all, or exec:COMMAND",
        |d, r| { d.spec.restart.give_up = commands::give_up(r)?; Ok(()) }) },
    service("success_on", Group::Restart, "END,..", value("0,HUP,INT,TERM,PIPE"),
        "exit codes and signals that count as success",
        |d, r| { d.spec.restart.success_on = signals::ends(&r.list()?)?; Ok(()) }),
    service("no_restart_on", Group::Restart, "END,..", value("78,125"),
        "exit codes and signals after which it is never started again",
        |d, r| { d.spec.restart.no_restart_on = signals::ends(&r.list()?)?; Ok(()) }),
    service("max_age", Group::Restart, "DURATION", words("none"),
        "replace a healthy worker this long after it was ready",
        |d, r| { d.spec.max_age = match r.text()? { "none" | "off" => None, _ => Some(r.duration()?) }; Ok(()) }),
    service("max_age_jitter", Group::Restart, "PERCENT", value("10%"),
        "random spread of max_age", |d, r| { d.spec.max_age_jitter = values::percent(r.text()?)?; Ok(()) }),

    service("stop_signal", Group::Stop, "SIGNAL", words("TERM"),
        "first signal of a stop", |d, r| { d.spec.stop.signal = Some(signals::signal(r.text()?)?); Ok(()) }),
    service("stop_timeout", Group::Stop, "DURATION", value("10s"),
        "from that signal to KILL; 0 kills at once", |d, r| { d.spec.stop.timeout = r.duration()?; Ok(()) }),
    service("shutdown_timeout", Group::Stop, "DURATION", words("stop_timeout"),
        "the same for the end of the watchdog itself", |d, r| { d.shutdown_timeout = Some(r.duration()?); Ok(()) }),
    service("signal_scope", Group::Stop, "main|group|tree", value("group"),
        "who gets the first signal and the forwarded ones",
        |d, r| { d.spec.stop.scope = values::word(r.text()?, &SCOPES)?; Ok(()) }),
    Row { shape: Shape::List, ..service("rewrite_signal", Group::Stop, "FROM:TO,..", words("none"),
        "signals to exchange before anything looks at them; TO 0 drops one",
        |d, r| { d.spec.rewrite_signal = r.list()?.iter().map(|i| signals::rewrite(i)).collect::<Result<_, _>>()?; Ok(()) }) },
    service("reload_signal", Group::Stop, "SIGNAL", words("none"),
        "signal by which `reload` has the worker read its own configuration again",
        |d, r| { d.spec.reload_signal = match r.text()? { "none" | "off" => None, text => Some(signals::signal(text)?) }; Ok(()) }),
    service("kill_wait", Group::Stop, "DURATION", value("1s"),
        "from KILL to the state stuck", |d, r| { d.spec.stop.kill_wait = r.duration()?; Ok(()) }),
    service("on_watchdog_death", Group::Stop, "stop|kill|keep", value("stop"),
        "what the worker gets when the watchdog dies",
        |d, r| { d.spec.stop.on_watchdog_death = values::word(r.text()?, &DEATHS)?; Ok(()) }),

    service("ready", Group::Ready, "WHEN", value("auto"),
        "ready when: auto, spawned, alive:DURATION, reported, probe, fd, line:TEXT, port:N",
        |d, r| { d.spec.ready = alive::ready(r.text()?)?; Ok(()) }),
    service("start_timeout", Group::Ready, "DURATION", value("30s"),
        "a start not ready by then has failed; 0: never, as for a oneshot or readiness probes",
        |d, r| { d.spec.start_timeout = Some(alive::start_timeout(r.text()?)?); Ok(()) }),
    Row { shape: Shape::List, ..service("dialects", Group::Ready, "DIALECT,..", words("native,notify"),
        "ways to speak that it is offered: notify:PATH and fd too; or none",
        |d, r| { d.dialects = Some(alive::dialects(&r.list()?)?); Ok(()) }) },
    service("heartbeat", Group::Ready, "auto|required|off", value("auto"),
        "beats are watched from the first one on, from ready on, or never",
        |d, r| { d.spec.heartbeat.mode = values::word(r.text()?, &BEATS)?; Ok(()) }),
    service("heartbeat_interval", Group::Ready, "DURATION", value("10s"),
        "from one ping to the next", |d, r| { d.spec.heartbeat.interval = beat(r)?; Ok(()) }),
    service("heartbeat_timeout", Group::Ready, "DURATION", value("5s"),
        "how long the answer to a ping may take", |d, r| { d.spec.heartbeat.timeout = beat(r)?; Ok(()) }),
    service("heartbeat_misses", Group::Ready, "N", value("3"),
        "pings in a row without an answer that count as a hang",
        |d, r| { d.spec.heartbeat.misses = r.count(1, 1000)? as u32; Ok(()) }),
    service("on_hang", Group::Ready, "restart|record", value("restart"),
        "what follows a hang: evidence and a restart, or evidence alone",
        |d, r| { d.spec.heartbeat.on_hang = values::word(r.text()?, &HANGS)?; Ok(()) }),
    service("hang_signal", Group::Ready, "SIGNAL", value("ABRT"),
        "signal that makes a hung worker show its stacks before the kill",
        |d, r| { d.spec.heartbeat.hang_signal = signals::signal(r.text()?)?; Ok(()) }),
    service("hang_dump_timeout", Group::Ready, "DURATION", value("5s"),
        "from that signal to KILL; 0 kills at once", |d, r| { d.spec.heartbeat.hang_dump_timeout = r.duration()?; Ok(()) }),

    Row { shape: Shape::Tree, ..of_one("probe", Group::Probes, "CHECK|TABLES", words("none"),
        "http://H:P/path, tcp://H:P, unix:PATH, exec:CMD, port:N; or tables with all their keys",
        |d, r| { d.probes = probes::probes(d, r)?; Ok(()) }) },
    service("start_period", Group::Probes, "DURATION", value("5s"),
        "failures of probes this long after the start do not count",
        |d, r| { d.start_period = r.duration()?; Ok(()) }),
    Row { shape: Shape::Tree, ..of_one("ports", Group::Probes, "N[/udp],..", words("none"),
        "ports it will listen on: who holds one of them before a start is said",
        |d, r| { d.spec.ports.declared = needs::ports(d, r)?; Ok(()) }) },
    Row { shape: Shape::Switch, ..service("kill_others", Group::Probes, "", value("false"),
        "end whoever holds one of them: the owner of the socket alone, and none of another user",
        |d, r| { d.spec.ports.kill_others = r.switch()?; Ok(()) }) },
    Row { shape: Shape::List, ..service("process_filters", Group::Probes, "TEXT,..", words("none"),
        "only those whose name holds one of these texts", |d, r| { d.spec.ports.process_filters = filters(r)?; Ok(()) }) },

    service("memory_limit", Group::Limits, "SIZE|auto|off", value("off"),
        "resident memory; auto is 90 % of the control group's limit",
        |d, r| { d.spec.limits.memory = limits::memory(r.text()?)?; Ok(()) }),
    service("memory_soft_limit", Group::Limits, "SIZE|off", value("off"),
        "a warning, and the word `low on memory` to the worker, from here on",
        |d, r| { d.spec.limits.memory_soft = limits::memory_soft(r.text()?)?; Ok(()) }),
    service("memory_samples", Group::Limits, "N", value("3"),
        "samples in a row above memory_limit that count",
        |d, r| { d.spec.limits.memory_samples = r.count(1, 1000)? as u32; Ok(()) }),
    service("memory_action", Group::Limits, "restart|warn", value("restart"),
        "what follows then", |d, r| { d.spec.limits.memory_action = values::word(r.text()?, &LIMIT_ACTIONS)?; Ok(()) }),
    service("cpu_limit", Group::Limits, "PERCENT|off", value("off"),
        "processor time in percent of one core, such as 150%",
        |d, r| { d.spec.limits.cpu = limits::cpu(r.text()?)?; Ok(()) }),
    service("cpu_samples", Group::Limits, "N", value("5"),
        "samples whose mean counts", |d, r| { d.spec.limits.cpu_samples = r.count(1, 1000)? as u32; Ok(()) }),
    service("cpu_action", Group::Limits, "restart|warn", value("restart"),
        "what follows then", |d, r| { d.spec.limits.cpu_action = values::word(r.text()?, &LIMIT_ACTIONS)?; Ok(()) }),
    service("limit_scope", Group::Limits, "tree|main", value("tree"),
        "who is measured: the worker and its descendants, or the worker alone",
        |d, r| { d.spec.limits.scope = values::word(r.text()?, &MEASURED)?; Ok(()) }),
    service("sample_interval", Group::Limits, "DURATION", value("5s"),
        "from one sample to the next; without a limit there are none",
        |d, r| { d.spec.limits.interval = at_least(r, Duration::from_millis(100))?; Ok(()) }),

    Row { up: Some(Fixed::new("capture")), ..service("log", Group::Log, "inherit|tee|capture", value("inherit"),
        "output: straight through, through us too, or kept by us only",
        |d, r| { d.spec.log.mode = values::word(r.text()?, &LOGS)?; Ok(()) }) },
    service("log_file", Group::Log, "PATH", words("off"),
        "file for the output, raw, rotated", |d, r| { d.spec.log.file = given(r).then(|| r.path()).transpose()?; Ok(()) }),
    service("log_file_stderr", Group::Log, "PATH", words("off"),
        "a file of its own for what comes from stderr; off: with log_file",
        |d, r| { d.spec.log.stderr_file = given(r).then(|| r.path()).transpose()?; Ok(()) }),
    service("log_max_size", Group::Log, "SIZE", value("10MiB"),
        "size at which such a file is rotated", |d, r| {
            let size = values::size(r.text()?)?;
            if size < 4096 { return Err(Fault::usage("less than 4KiB is no log file")); }
            d.spec.log.max_size = size;
            Ok(())
        }),
    service("log_keep", Group::Log, "N", value("10"),
        "rotated files kept, compressed", |d, r| { d.spec.log.keep = r.count(0, 1000)? as u32; Ok(()) }),
    service("log_lines", Group::Log, "N", value("1000"),
        "last lines kept in memory for `logs`", |d, r| { d.spec.log.lines = r.count(0, 100_000)? as usize; Ok(()) }),

    Row { scope: Scope::Instance, ..service("report_dir", Group::Reports, "PATH|off", words("INSTANCE in the state directory"),
        "directory of reports on kills and unclean deaths; off: none", |d, r| {
            d.report_dir = if given(r) { ReportWish::Path(r.path()?) } else { ReportWish::Off };
            Ok(())
        }) },
    Row { scope: Scope::Instance, ..service("report_keep", Group::Reports, "N", value("20"),
        "reports kept for each service; 0 writes none", |d, r| { d.report_keep = r.count(0, 1000)? as u32; Ok(()) }) },
    Row { shape: Shape::List, ..service("hook", Group::Reports, "[EVENT[+..]:]COMMAND", words("none"),
        "command for events; pre-start:COMMAND may forbid a start; repeatable",
        |d, r| { d.spec.hooks = hooks::hooks(r)?; Ok(()) }) },
    service("hook_user", Group::Reports, "watchdog|service", value("watchdog"),
        "as whose user hooks and the command of give_up run",
        |d, r| { d.spec.hook_user = values::word(r.text()?, &HOOK_USERS)?; Ok(()) }),

    Row { scope: Scope::Instance, ..service("control", Group::Watchdog, "PATH|off", words("in the runtime directory"),
        "control socket", |d, r| {
            d.control = if given(r) { ControlWish::Path(r.path()?) } else { ControlWish::Off };
            Ok(())
        }) },
    Row { scope: Scope::Instance, ..service("http", Group::Watchdog, "ADDR:PORT|unix:PATH", words("off"),
        "health and metrics over HTTP; a port alone is at 127.0.0.1",
        |d, r| { d.http = web::http(r)?; Ok(()) }) },
    Row { scope: Scope::Instance, shape: Shape::Optional(Fixed::new("on")),
        ..service("http_control", Group::Watchdog, "PATH|on|off", words("off"),
        "start, stop, restart over HTTP by the token in this file; on: beside the control socket",
        |d, r| { d.http_control = web::control(r)?; Ok(()) }) },
    Row { scope: Scope::Instance, ..service("events_file", Group::Watchdog, "PATH", words("off"),
        "file for all events, JSON lines", |d, r| { d.events_file = given(r).then(|| r.path()).transpose()?; Ok(()) }) },
    Row { scope: Scope::Instance, ..service("termination_message", Group::Watchdog, "PATH", words("off"),
        "file for the reason and the last lines when it gives up, such as /dev/termination-log",
        |d, r| { d.termination_message = given(r).then(|| r.path()).transpose()?; Ok(()) }) },
    Row { scope: Scope::Instance, shape: Shape::Optional(Fixed::new("TERM")),
        ..service("die_with_parent", Group::Watchdog, "SIGNAL", words("off"),
        "signal the watchdog gets when its parent dies; the bare flag means TERM", |d, r| {
            d.die_with_parent = match r.text()? {
                "off" | "false" => None,
                "true" => Some(15),
                text => Some(signals::signal(text)?),
            };
            Ok(())
        }) },
    Row { scope: Scope::Instance, ..service("state", Group::Watchdog, "PATH", words("none"),
        "file that keeps what was stopped by hand over a restart of the watchdog",
        |d, r| { d.state = given(r).then(|| r.path()).transpose()?; Ok(()) }) },
    Row { scope: Scope::Instance, ..service("strategy", Group::Watchdog, "one-for-one|one-for-all|rest-for-one",
        value("one-for-one"), "who is restarted with a service that failed: nobody, all, those behind it",
        |d, r| { d.strategy = values::word(r.text()?, &STRATEGIES)?; Ok(()) }) },
    Row { scope: Scope::Instance, up: Some(Fixed::new("info")), ..service("log_level", Group::Watchdog, "FILTER", value("warn"),
        "what the watchdog itself says: off, error, warn, info, debug, trace",
        |d, r| { d.log_level = levels::check(r.text()?)?; Ok(()) }) },
    Row { scope: Scope::Instance, ..service("log_format", Group::Watchdog, "text|json", value("text"),
        "how it says it", |d, r| { d.log_format = values::word(r.text()?, &FORMATS)?; Ok(()) }) },
    Row { scope: Scope::CommandLine, ..service("config", Group::Watchdog, "FILE", words("none"),
        "TOML file whose [defaults] and [watchdog] are read first", |_, _| Ok(())) },
];

/// `process_filters`: an empty one would be in every name.
fn filters(raw: &Raw) -> Result<Vec<String>, Fault> {
    let filters = raw.list()?;
    if filters.iter().any(String::is_empty) {
        return Err(Fault::usage("an empty text is in every name"));
    }
    Ok(filters)
}

/// The measure of a heartbeat: less than 10 ms is no pause but a load.
fn beat(raw: &Raw) -> Result<Duration, Fault> {
    at_least(raw, Duration::from_millis(10))
}

/// A duration that must not be shorter than this.
fn at_least(raw: &Raw, least: Duration) -> Result<Duration, Fault> {
    let duration = raw.duration()?;
    if duration >= least {
        return Ok(duration);
    }
    let least = format!("{}ms", least.as_millis());
    Err(Fault::usage(format!("{:?} is too short: at least {least}", raw.text()?)))
}

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
    TABLE.iter().map(|s| &*s.key).chain(later::KEYS.iter().map(|(key, _)| *key))
}
