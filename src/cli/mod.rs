//! The command line as types. What a setting's value means is not decided here: see `settings`.

pub(crate) mod verbs;

use crate::settings::table::{self, Setting, Shape};
use crate::settings::{self, Fault, Flag, nearest, signals, values};
use lexopt::{Arg, Parser};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
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
    /// `--help`, or that of a verb.
    Help(Option<&'static Verb>),
    /// `--version`
    Version,
    /// `completions SHELL`
    Completions(Shell),
    /// `man`
    Man,
    /// `help-settings`
    Settings {
        /// For the README.
        markdown: bool,
    },
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
    /// Services.
    pub(crate) names: Vec<String>,
    /// `--timeout`
    pub(crate) timeout: Option<Duration>,
    /// `--force`
    pub(crate) force: bool,
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
}

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
        return verb_line(verb, parser);
    }
    if verbs::LATER.contains(&word.as_ref()) {
        return Err(Fault::usage(format!("{word}: not in this version")));
    }
    let known = verbs::VERBS.iter().map(|v| v.name).chain(verbs::LATER);
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
                return Err(Fault::usage("no program behind --"));
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
                return Err(Fault::usage("no program: watchdog [SETTINGS] -- PROGRAM [ARGS]..."));
            }
            None => return Err(Fault::usage("no program: it stands behind the settings and --")),
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
    let Some(setting) = table::find(&key).filter(|_| !name.contains('_')) else {
        return Err(unknown_flag(name, &key));
    };
    let value = match setting.shape {
        Shape::Switch => parser.optional_value().unwrap_or_else(|| "true".into()),
        Shape::Optional(alone) => parser.optional_value().unwrap_or_else(|| alone.into()),
        Shape::One | Shape::List => value(parser, &setting.flag(), example(setting))?,
    };
    Ok((setting, value))
}

/// A value that could stand there.
fn example(setting: &Setting) -> &'static str {
    match setting.default {
        table::Standard::Value(text) => text,
        table::Standard::Words(_) => setting.value,
    }
}

fn unknown_flag(name: &str, key: &str) -> Fault {
    if settings::LATER.iter().any(|(k, _)| *k == key) && !name.contains('_') {
        return Fault::usage(format!("--{name}: {}", settings::refusal(key)));
    }
    let flags: Vec<String> = table::keys().map(table::flag).collect();
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

/// Everything behind a verb.
fn verb_line(verb: &'static Verb, mut parser: Parser) -> Result<Command, Fault> {
    let mut control = Control { verb: verb.name, ..Control::default() };
    let mut flags = Vec::new();
    let mut words: Vec<String> = Vec::new();
    let (mut exits, mut markdown) = (None, false);
    while let Some(given) = next(&mut parser)? {
        let long = match given {
            Given::Long(name) if name == "help" => return Ok(Command::Help(Some(verb))),
            Given::Short('h') => return Ok(Command::Help(Some(verb))),
            Given::Word(word) => {
                let word = word.into_string().map_err(|w| Fault::usage(format!("{w:?} is not UTF-8")))?;
                words.push(word);
                continue;
            }
            Given::Short(c) => match verb.options.iter().find(|o| o.short == Some(c)) {
                Some(option) => option.long,
                None => return Err(Fault::usage(format!("{}: -{c}: unknown flag", verb.name))),
            },
            Given::Long(name) => match verb.options.iter().find(|o| o.long == name) {
                Some(option) => option.long,
                None if verb.name == "simulate" => {
                    flags.push(setting(&mut parser, &name)?);
                    continue;
                }
                None => {
                    let known = verb.options.iter().map(|o| o.long);
                    let fault = Fault::usage(format!("{}: --{name}: unknown flag", verb.name));
                    return Err(fault.or_nearest(nearest(&name, known).map(|n| format!("--{n}"))));
                }
            },
        };
        let place = format!("{}: --{long}", verb.name);
        let mut text = |example: &str| {
            let value = value(&mut parser, &format!("--{long}"), example)?;
            value.into_string().map_err(|v| Fault::usage(format!("{v:?} is not UTF-8")).at(&place))
        };
        match long {
            "instance" => control.instance = Some(value(&mut parser, "-i", "NAME")?),
            "json" => control.json = true,
            "force" => control.force = true,
            "follow" => control.follow = true,
            "prefix" => control.prefix = true,
            "timestamps" => control.timestamps = true,
            "markdown" => markdown = true,
            "timeout" => control.timeout = Some(values::duration(&text("10s")?).map_err(|f| f.at(&place))?),
            "lines" => {
                control.lines = Some(values::count(&text("100")?, 0, 1_000_000).map_err(|f| f.at(&place))? as u64)
            }
            "for" => {
                let words = [("ready", "ready"), ("stopped", "stopped"), ("completed", "completed")];
                control.wait_for = values::word(&text("ready")?, &words).map_err(|f| f.at(&place))?.to_string();
            }
            _ => exits = Some(text("'crash x6'")?),
        }
    }
    match verb.name {
        "simulate" => {
            no_more(verb, &words, 0)?;
            let exits =
                exits.ok_or_else(|| Fault::usage("simulate: needs --exits, such as --exits 'crash@2s x6, ok 40s'"))?;
            Ok(Command::Simulate { flags, exits, json: control.json })
        }
        "man" => no_more(verb, &words, 0).map(|()| Command::Man),
        "help-settings" => no_more(verb, &words, 0).map(|()| Command::Settings { markdown }),
        "completions" => {
            no_more(verb, &words, 1)?;
            let shells = [("bash", Shell::Bash), ("zsh", Shell::Zsh), ("fish", Shell::Fish)];
            let shell = words.first().ok_or_else(|| Fault::usage("completions: needs a shell: bash, zsh or fish"))?;
            Ok(Command::Completions(values::word(shell, &shells).map_err(|f| f.at("completions"))?))
        }
        _ => control_line(verb, control, words).map(Command::Control),
    }
}

/// Sorts the words of a control verb and says what is missing.
fn control_line(verb: &'static Verb, mut control: Control, mut words: Vec<String>) -> Result<Control, Fault> {
    let needs = |what: &str| Fault::usage(format!("{0}: needs {what}: watchdog {0} {1}", verb.name, verb.arguments));
    match verb.name {
        "ls" | "shutdown" => no_more(verb, &words, 0)?,
        "signal" => {
            if words.is_empty() {
                return Err(needs("a signal and a service"));
            }
            let number = signals::signal(&words.remove(0)).map_err(|f| f.at("signal"))?;
            control.signal = signals::name(number);
            if words.is_empty() {
                return Err(needs("a service"));
            }
        }
        "start" | "stop" | "restart" if words.is_empty() => return Err(needs("a service")),
        "wait" => {
            no_more(verb, &words, 1)?;
            if words.is_empty() {
                return Err(needs("a service"));
            }
            if control.wait_for.is_empty() {
                return Err(needs("--for ready, --for stopped or --for completed"));
            }
        }
        "health" => no_more(verb, &words, 1)?,
        _ => {}
    }
    control.names = words;
    Ok(control)
}

fn no_more(verb: &Verb, words: &[String], allowed: usize) -> Result<(), Fault> {
    match words.get(allowed) {
        Some(word) => Err(Fault::usage(format!("{}: {word:?} is one word too many", verb.name))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
