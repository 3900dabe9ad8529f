//! The command line as types. What a setting's value means is not decided here: see `settings`.

mod line;
pub(crate) mod verbs;

use crate::settings::foreign;
use crate::settings::table::{self, Setting, Shape};
use crate::settings::{self, Fault, Flag, nearest};
use lexopt::{Arg, Parser};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;
use verbs::Verb;

/// What a command line asks for.
#[derive(Debug)]
pub(crate) enum Command {
    /// `watchdog [SETTINGS] -- PROGRAM [ARGS]..`
    Supervise {
        /// In the order they were given.
        flags: Vec<Flag>,
        /// Byte for byte.
        command: Vec<OsString>,
    },
    /// A verb that speaks to a running watchdog.
    Control(Control),
    /// `simulate`
    Simulate {
        /// The settings to try.
        flags: Vec<Flag>,
        /// The script.
        exits: String,
        /// Print JSON.
        json: bool,
    },
    /// `up`
    Up(Up),
    /// `check`
    Check {
        /// The file and the settings over it.
        of: FileLine,
        /// Print JSON.
        json: bool,
    },
    /// `init`
    Init {
        /// Where it is written.
        file: PathBuf,
    },
    /// `schema`
    Schema,
    /// `run-until-ready`
    UntilReady {
        /// The file and the settings over it.
        of: FileLine,
        /// `--timeout`
        timeout: Option<Duration>,
        /// How it looks.
        view: View,
        /// Print one JSON object at the end, and nothing else.
        json: bool,
    },
    /// `install`
    Install(Install),
    /// `uninstall`
    Uninstall(Uninstall),
    /// `drill`
    Drill(Drill),
    /// `start-late`
    StartLate {
        /// How long nothing happens.
        delay: Duration,
        /// What follows, byte for byte.
        command: Vec<OsString>,
    },
    /// `--help`, or that of a verb.
    Help(Option<&'static Verb>),
    /// `--version`
    Version,
    /// `completions SHELL`
    Completions(Shell),
    /// `man`
    Man(Option<&'static Verb>),
    /// `help-settings`
    Settings {
        /// For the README.
        markdown: bool,
    },
}

/// A file of services, and what is laid over it.
#[derive(Debug, Default)]
pub(crate) struct FileLine {
    /// `-f`, where it was given.
    pub(crate) file: Option<PathBuf>,
    /// Settings, in the order they were given.
    pub(crate) flags: Vec<Flag>,
}

/// `drill`, with everything it was given.
#[derive(Debug, Default)]
pub(crate) struct Drill {
    /// Settings, in the order they were given.
    pub(crate) flags: Vec<Flag>,
    /// The program, byte for byte.
    pub(crate) command: Vec<OsString>,
    /// `--only`; none for all.
    pub(crate) only: Vec<String>,
    /// `--timeout`
    pub(crate) timeout: Option<Duration>,
    /// `--settle`
    pub(crate) settle: Option<Duration>,
    /// `--slow`
    pub(crate) slow: Option<Duration>,
    /// `--junit`
    pub(crate) junit: Option<PathBuf>,
    /// Print one JSON object.
    pub(crate) json: bool,
}

/// `up`, with everything it was given.
#[derive(Debug, Default)]
pub(crate) struct Up {
    /// The file and the settings over it.
    pub(crate) of: FileLine,
    /// Services; none for all.
    pub(crate) names: Vec<String>,
    /// `--dry-run`
    pub(crate) dry_run: bool,
    /// Print that as JSON.
    pub(crate) json: bool,
    /// How it looks.
    pub(crate) view: View,
}

/// What is shown while services run.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct View {
    /// `--output`, where it was given.
    pub(crate) output: Option<Output>,
    /// `--no-progress`
    pub(crate) no_progress: bool,
}

/// How lines of services are shown by `up`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// With the name in front.
    Prefix,
    /// As JSON lines.
    Json,
    /// Not at all.
    None,
}

/// For which manager of services.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Format {
    /// A unit.
    #[default]
    Systemd,
    /// A script of /etc/init.d, printed.
    Openrc,
    /// A directory of a service, printed as the script that makes it.
    Runit,
}

impl Format {
    /// As it is written.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Format::Systemd => "systemd",
            Format::Openrc => "openrc",
            Format::Runit => "runit",
        }
    }
}

/// `install`, with everything it was given.
#[derive(Debug, Default)]
pub(crate) struct Install {
    /// The file and the settings over it; of a program the settings alone.
    pub(crate) of: FileLine,
    /// What stands behind `--`; nothing: the services of a file.
    pub(crate) command: Vec<OsString>,
    /// `--user`
    pub(crate) user: bool,
    /// `--run-as`
    pub(crate) run_as: Option<String>,
    /// `--format`
    pub(crate) format: Format,
    /// `--root`
    pub(crate) root: Option<PathBuf>,
    /// `--dry-run`
    pub(crate) dry_run: bool,
    /// `--keep-path`
    pub(crate) keep_path: bool,
    /// `--no-start`
    pub(crate) no_start: bool,
    /// `--force`
    pub(crate) force: bool,
    /// Print JSON.
    pub(crate) json: bool,
}

/// `uninstall`, with everything it was given.
#[derive(Debug, Default)]
pub(crate) struct Uninstall {
    /// Of the unit.
    pub(crate) name: String,
    /// `--user`
    pub(crate) user: bool,
    /// `--root`
    pub(crate) root: Option<PathBuf>,
    /// `--dry-run`
    pub(crate) dry_run: bool,
    /// Print JSON.
    pub(crate) json: bool,
}

/// A shell that has completions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// A verb that speaks to a running watchdog, with everything it was given.
#[derive(Debug, Default)]
pub(crate) struct Control {
    /// `ls`, `status`, ..
    pub(crate) verb: &'static str,
    /// `-i`
    pub(crate) instance: Option<OsString>,
    /// `--json`
    pub(crate) json: bool,
    /// `--once`
    pub(crate) once: bool,
    /// `--all`
    pub(crate) all: bool,
    /// Services.
    pub(crate) names: Vec<String>,
    /// `--timeout`
    pub(crate) timeout: Option<Duration>,
    /// `--force`
    pub(crate) force: bool,
    /// `--no-dependents`
    pub(crate) no_dependents: bool,
    /// `--no-restart`
    pub(crate) no_restart: bool,
    /// `-f`
    pub(crate) follow: bool,
    /// `-n`
    pub(crate) lines: Option<u64>,
    /// `--prefix`
    pub(crate) prefix: bool,
    /// `--timestamps`
    pub(crate) timestamps: bool,
    /// Of `signal`, without SIG.
    pub(crate) signal: String,
    /// `--for`
    pub(crate) wait_for: String,
    /// Of `tell`.
    pub(crate) word: String,
    /// `--why-not`
    pub(crate) why_not: bool,
    /// Of `report`.
    pub(crate) report: Report,
    /// `--dir`
    pub(crate) dir: Option<OsString>,
}

/// What `report` is to print.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Report {
    /// All there are, a line each.
    #[default]
    List,
    /// The one with this id.
    Show(String),
    /// The newest.
    Last,
}

const USAGE: &str =
    "no program: usage: watchdog [SETTINGS] -- PROGRAM [ARGS]..., or watchdog VERB; see watchdog --help";
const NO_PROGRAM: &str = "no program: it stands behind the settings and --";

/// Reads a command line, without the name of the program in front.
pub(crate) fn parse(arguments: Vec<OsString>) -> Result<Command, Fault> {
    let first = arguments.first().filter(|a| !a.as_bytes().starts_with(b"-")).cloned();
    let mut parser = Parser::from_args(arguments);
    let Some(first) = first else {
        return supervise(parser);
    };
    let _ = parser.next();
    let word = first.to_string_lossy();
    if let Some(verb) = verbs::find(&word) {
        return line::parse(verb, parser);
    }
    if verbs::LATER.contains(&word.as_ref()) {
        return Err(Fault::usage(format!("{word}: not in this version")));
    }
    let known = verbs::VERBS.iter().map(|v| &*v.name).chain(verbs::LATER);
    let near = nearest(&word, known).filter(|_| !word.contains('/'));
    let rest: Vec<OsString> = parser.raw_args().map(Iterator::collect).unwrap_or_default();
    let fault = Fault::usage(format!("unknown verb {word:?}"));
    Err(match near {
        Some(verb) => fault.or_nearest(Some(verb)),
        None => missing_dashes(&[], &first, &rest),
    })
}

/// The prefix form.
fn supervise(mut parser: Parser) -> Result<Command, Fault> {
    let mut flags: Vec<Flag> = Vec::new();
    loop {
        if at_dashes(&mut parser) {
            let mut command: Vec<OsString> = parser.raw_args().map(Iterator::collect).unwrap_or_default();
            command.remove(0);
            if command.is_empty() {
                return Err(Fault::usage(NO_PROGRAM));
            }
            return Ok(Command::Supervise { flags, command });
        }
        match next(&mut parser)? {
            Some(Given::Long(name)) if name == "help" => return Ok(Command::Help(None)),
            Some(Given::Long(name)) if name == "version" => return Ok(Command::Version),
            Some(Given::Short('h')) => return Ok(Command::Help(None)),
            Some(Given::Short('V')) => return Ok(Command::Version),
            Some(Given::Long(name)) => flags.push(setting(&mut parser, &name)?),
            Some(Given::Short(c)) => return Err(Fault::usage(format!("-{c}: unknown flag"))),
            Some(Given::Word(word)) => {
                let rest: Vec<OsString> = parser.raw_args().map(Iterator::collect).unwrap_or_default();
                return Err(missing_dashes(&flags, &word, &rest));
            }
            None if flags.is_empty() => {
                return Err(Fault::usage(USAGE));
            }
            None => return Err(Fault::usage(NO_PROGRAM)),
        }
    }
}

/// What lexopt gives, owned, so that the parser is free for the value.
enum Given {
    Long(String),
    Short(char),
    Word(OsString),
}

fn next(parser: &mut Parser) -> Result<Option<Given>, Fault> {
    match parser.next() {
        Ok(Some(Arg::Long(name))) => Ok(Some(Given::Long(name.to_string()))),
        Ok(Some(Arg::Short(c))) => Ok(Some(Given::Short(c))),
        Ok(Some(Arg::Value(word))) => Ok(Some(Given::Word(word))),
        Ok(None) => Ok(None),
        Err(e) => Err(Fault::usage(e.to_string())),
    }
}

/// Whether the next argument is the `--` before a program.
fn at_dashes(parser: &mut Parser) -> bool {
    parser.try_raw_args().is_some_and(|raw| raw.peek().is_some_and(|a| a == "--"))
}

/// The value of a flag; the `--` before the program is none.
fn value(parser: &mut Parser, flag: &str, example: &str) -> Result<OsString, Fault> {
    let missing = || Fault::usage(format!("{flag}: needs a value, such as {flag} {example}"));
    if at_dashes(parser) {
        return Err(missing());
    }
    parser.value().map_err(|_| missing())
}

/// One setting and its value.
fn setting(parser: &mut Parser, name: &str) -> Result<Flag, Fault> {
    let key = name.replace('-', "_");
    let Some(setting) = table::find(&key).filter(|s| s.has_flag() && !name.contains('_')) else {
        return Err(unknown_flag(name, &key));
    };
    let value = match setting.shape {
        Shape::Switch => parser.optional_value().unwrap_or_else(|| "true".into()),
        Shape::Optional(alone) => parser.optional_value().unwrap_or_else(|| (*alone).into()),
        Shape::One | Shape::List | Shape::Tree => value(parser, &setting.flag(), example(setting))?,
    };
    Ok((setting, value))
}

/// A value that could stand there.
fn example(setting: &Setting) -> &str {
    match &setting.default {
        table::Standard::Value(text) => text,
        table::Standard::Words(_) => &setting.value,
    }
}

fn unknown_flag(name: &str, key: &str) -> Fault {
    if settings::LATER.iter().any(|(k, _)| *k == key) && !name.contains('_') {
        return Fault::usage(format!("--{name}: {}", settings::refusal(key)));
    }
    if table::find(key).is_some_and(|s| !s.has_flag()) && !name.contains('_') {
        return Fault::usage(format!("--{name}: {}", settings::in_a_file_alone(key)));
    }
    if let Some((fault, _)) = foreign::key(name) {
        return Fault::usage(format!("--{name}: {}", fault.message.replacen("unknown key", "unknown setting", 1)));
    }
    let with_flag = |key: &&str| table::find(key).is_none_or(Setting::has_flag);
    let flags: Vec<String> = table::keys().filter(with_flag).map(table::flag).collect();
    let plain = flags.iter().map(|f| &f[2..]).chain(["help", "version"]);
    let fault = Fault::usage(format!("--{name}: unknown setting"));
    fault.or_nearest(nearest(name, plain).map(|n| format!("--{n}")))
}

/// A program where a verb or a setting is expected.
fn missing_dashes(flags: &[Flag], word: &OsStr, rest: &[OsString]) -> Fault {
    let mut line = "watchdog".to_string();
    if !flags.is_empty() {
        line.push_str(" [SETTINGS]");
    }
    line.push_str(" --");
    for part in std::iter::once(word).chain(rest.iter().map(OsString::as_os_str)).filter(|p| *p != "--") {
        line.push(' ');
        line.push_str(&part.to_string_lossy());
    }
    Fault::usage(format!("{word:?} is neither a verb nor a setting: did you mean: {line}"))
}

#[cfg(test)]
mod tests;
