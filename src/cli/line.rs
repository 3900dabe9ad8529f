//! What stands behind a verb: its options and words, and for some of them settings too.

use super::verbs::{Opt, VERBS, Verb};
use super::{
    Command, Control, Drill, FileLine, Format, Given, Install, Output, Report, Shell, Uninstall, Up, at_dashes, next,
    setting, value,
};
use crate::settings::plan::USUAL_FILE;
use crate::settings::{Fault, Flag, nearest, signals, values};
use lexopt::Parser;
use std::ffi::OsString;
use std::path::PathBuf;

/// The pattern of all names.
const EVERY: &str = "*";
/// Longest word of `tell`: what fits into one frame of the channel beside everything else.
const LONGEST_WORD: usize = 4096;

/// Everything behind a verb, as far as it is read.
struct Line {
    verb: &'static Verb,
    parser: Parser,
    control: Control,
    words: Vec<String>,
    flags: Vec<Flag>,
    exits: Option<String>,
    file: Option<PathBuf>,
    up: Up,
    install: Install,
    drill: Drill,
    markdown: bool,
}

/// Reads what stands behind a verb.
pub(super) fn parse(verb: &'static Verb, parser: Parser) -> Result<Command, Fault> {
    let control = Control { verb: &verb.name, ..Control::default() };
    let (words, flags, up) = (Vec::new(), Vec::new(), Up::default());
    let (install, drill) = (Install::default(), Drill::default());
    let mut line =
        Line { verb, parser, control, words, flags, exits: None, file: None, up, install, drill, markdown: false };
    loop {
        if verb.takes_a_program() && at_dashes(&mut line.parser) {
            let command = behind_dashes(&mut line.parser)?;
            match &*verb.name {
                "install" => line.install.command = command,
                _ => line.drill.command = command,
            }
            break;
        }
        match next(&mut line.parser)? {
            Some(Given::Short('h')) => return Ok(Command::Help(Some(verb))),
            Some(Given::Long(name)) if name == "help" => return Ok(Command::Help(Some(verb))),
            Some(given) => line.given(given)?,
            None => break,
        }
    }
    line.command()
}

impl Line {
    /// One flag or word.
    #[inline(never)]
    fn given(&mut self, given: Given) -> Result<(), Fault> {
        let verb = self.verb;
        match given {
            Given::Word(word) => self.words.push(utf8(word)?),
            Given::Short(c) => match verb.options().find(|o| o.short == Some(c)) {
                Some(option) => self.option(option)?,
                None => return Err(Fault::usage(format!("{}: -{c}: unknown flag", verb.name))),
            },
            Given::Long(name) => match verb.options().find(|o| o.long == *name) {
                Some(option) => self.option(option)?,
                None if verb.settings => {
                    let flag = setting(&mut self.parser, &name)?;
                    self.flags.push(flag);
                }
                None => {
                    let known = verb.options().map(|o| &*o.long);
                    let fault = Fault::usage(format!("{}: --{name}: unknown flag", verb.name));
                    return Err(fault.or_nearest(nearest(&name, known).map(|n| format!("--{n}"))));
                }
            },
        }
        Ok(())
    }

    /// One option and its value.
    fn option(&mut self, option: &Opt) -> Result<(), Fault> {
        if option.value.is_empty() {
            self.switch(&option.long);
            return Ok(());
        }
        let given = value(&mut self.parser, &format!("--{}", option.long), &option.value)?;
        // Paths are bytes.
        match &*option.long {
            "instance" => self.control.instance = Some(given),
            "dir" => self.control.dir = Some(given),
            "junit" if given.is_empty() => return Err(Fault::usage("drill: --junit: an empty path")),
            "junit" => self.drill.junit = Some(given.into()),
            "file" if given.is_empty() => {
                return Err(Fault::usage(format!("{}: --file: an empty path", self.verb.name)));
            }
            "file" => self.file = Some(given.into()),
            "root" => self.install.root = Some(given.into()),
            _ => return self.text_option(&option.long, given),
        }
        Ok(())
    }

    fn text_option(&mut self, name: &str, given: OsString) -> Result<(), Fault> {
        let text = utf8(given)?;
        self.text(name, text).map_err(|f| f.at(&format!("{}: --{name}", self.verb.name)))
    }

    fn switch(&mut self, name: &str) {
        match name {
            "json" => self.control.json = true,
            "force" => self.control.force = true,
            "follow" => self.control.follow = true,
            "prefix" => self.control.prefix = true,
            "why-not" => self.control.why_not = true,
            "timestamps" => self.control.timestamps = true,
            "no-dependents" => self.control.no_dependents = true,
            "once" => self.control.once = true,
            "all" => self.control.all = true,
            "no-restart" => self.control.no_restart = true,
            "dry-run" => self.up.dry_run = true,
            "no-progress" => self.up.view.no_progress = true,
            "user" => self.install.user = true,
            "keep-path" => self.install.keep_path = true,
            "no-start" => self.install.no_start = true,
            _ => self.markdown = true,
        }
    }

    fn text(&mut self, name: &str, text: String) -> Result<(), Fault> {
        match name {
            "timeout" => self.control.timeout = Some(values::duration(&text)?),
            "settle" => self.drill.settle = Some(values::duration(&text)?),
            "slow" => self.drill.slow = Some(values::duration(&text)?),
            "only" => self.drill.only = text.split(',').map(|name| name.trim().to_string()).collect(),
            "lines" => self.control.lines = Some(values::count(&text, 0, 1_000_000)? as u64),
            "for" => {
                let words = [("ready", "ready"), ("stopped", "stopped"), ("completed", "completed")];
                self.control.wait_for = values::word(&text, &words)?.to_string();
            }
            "output" => {
                let words = [("prefix", Output::Prefix), ("json", Output::Json), ("none", Output::None)];
                self.up.view.output = Some(values::word(&text, &words)?);
            }
            "run-as" => self.install.run_as = Some(text),
            "format" => self.install.format = manager(&text)?,
            _ => self.exits = Some(text),
        }
        Ok(())
    }

    /// The whole line as what it asks for.
    #[inline(never)]
    fn command(self) -> Result<Command, Fault> {
        let Line { verb, control, words, flags, exits, file, up, install, drill, markdown, .. } = self;
        match &*verb.name {
            "up" if control.json && !up.dry_run => {
                let what = "up: --json goes with --dry-run: lines of services are JSON by --output json";
                Err(Fault::usage(what))
            }
            "up" => Ok(Command::Up(Up { of: FileLine { file, flags }, names: words, json: control.json, ..up })),
            "check" => {
                no_more(verb, &words, 0)?;
                Ok(Command::Check { of: FileLine { file, flags }, json: control.json })
            }
            "run-until-ready" => {
                no_more(verb, &words, 0)?;
                if control.json && up.view.output.is_some_and(|output| output != Output::None) {
                    return Err(Fault::usage(
                        "run-until-ready: --json prints one object and no lines: leave --output out",
                    ));
                }
                let (of, timeout, view) = (FileLine { file, flags }, control.timeout, up.view);
                Ok(Command::UntilReady { of, timeout, view, json: control.json })
            }
            "init" => {
                no_more(verb, &words, 0)?;
                Ok(Command::Init { file: file.unwrap_or_else(|| USUAL_FILE.into()) })
            }
            "install" => {
                no_more(verb, &words, 0)?;
                let of = FileLine { file, flags };
                Ok(Command::Install(to_install(Install { of, dry_run: up.dry_run, ..install }, &control)?))
            }
            "uninstall" => {
                no_more(verb, &words, 1)?;
                let (Install { user, root, .. }, dry_run, json) = (install, up.dry_run, control.json);
                Ok(Command::Uninstall(Uninstall { name: of_a_unit(&words)?, user, root, dry_run, json }))
            }
            "schema" => no_more(verb, &words, 0).map(|()| Command::Schema),
            "simulate" => {
                no_more(verb, &words, 0)?;
                let needs = "simulate: needs --exits, such as --exits 'crash@2s x6, ok 40s'";
                let exits = exits.ok_or_else(|| Fault::usage(needs))?;
                Ok(Command::Simulate { flags, exits, json: control.json })
            }
            "drill" => {
                let needs = "drill: no program: it stands behind the settings and --, as in watchdog drill -- ./server";
                match words.first() {
                    Some(word) if drill.command.is_empty() => Err(Fault::usage(format!(
                        "drill: {word:?} is no setting: did you mean: watchdog drill -- {word}"
                    ))),
                    Some(word) => Err(Fault::usage(format!("drill: {word:?} is one word too many before --"))),
                    None if drill.command.is_empty() => Err(Fault::usage(needs)),
                    None => Ok(Command::Drill(Drill { flags, timeout: control.timeout, json: control.json, ..drill })),
                }
            }
            "start-late" => {
                let delay = values::duration(words.first().map(String::as_str).unwrap_or_default())?;
                Ok(Command::StartLate { delay, command: drill.command })
            }
            "man" => {
                no_more(verb, &words, 1)?;
                Ok(Command::Man(words.first().map(|word| of_a_verb(word)).transpose()?))
            }
            "help-settings" => no_more(verb, &words, 0).map(|()| Command::Settings { markdown }),
            "completions" => {
                no_more(verb, &words, 1)?;
                let shells = [("bash", Shell::Bash), ("zsh", Shell::Zsh), ("fish", Shell::Fish)];
                let needs = "completions: needs a shell: bash, zsh or fish";
                let shell = words.first().ok_or_else(|| Fault::usage(needs))?;
                Ok(Command::Completions(values::word(shell, &shells).map_err(|f| f.at("completions"))?))
            }
            _ => control_line(verb, control, words).map(Command::Control),
        }
    }
}

/// The verb whose manual page is asked for.
fn of_a_verb(word: &str) -> Result<&'static Verb, Fault> {
    let known = || VERBS.iter().map(|verb| &*verb.name);
    VERBS.iter().find(|verb| verb.name == word).ok_or_else(|| {
        Fault::usage(format!("man: {word:?} is no verb")).or_nearest(nearest(word, known()).map(String::from))
    })
}

/// One program or a file, not both.
fn to_install(install: Install, control: &Control) -> Result<Install, Fault> {
    if install.of.file.is_some() && !install.command.is_empty() {
        return Err(Fault::usage("install: one program, or the services of a file: leave -f or -- out"));
    }
    Ok(Install { force: control.force, json: control.json, ..install })
}

/// The name of a service, with or without what systemd puts behind it.
fn of_a_unit(words: &[String]) -> Result<String, Fault> {
    let needs = "uninstall: needs the name of a service: watchdog uninstall NAME";
    let name = words.first().ok_or_else(|| Fault::usage(needs))?;
    values::name(name.strip_suffix(".service").unwrap_or(name)).map_err(|f| f.at("uninstall"))
}

/// The program behind `--`, which is next.
fn behind_dashes(parser: &mut Parser) -> Result<Vec<OsString>, Fault> {
    let mut words: Vec<OsString> = parser.raw_args().map(Iterator::collect).unwrap_or_default();
    words.remove(0);
    if words.is_empty() { Err(Fault::usage(super::NO_PROGRAM)) } else { Ok(words) }
}

/// A manager of services on Linux; others are named, so that nobody looks for the right spelling.
fn manager(text: &str) -> Result<Format, Fault> {
    if matches!(text, "launchd" | "windows") {
        let what = format!("{text}: watchdog runs on Linux alone: systemd, openrc or runit");
        return Err(Fault::usage(what));
    }
    values::word(text, &[Format::Systemd, Format::Openrc, Format::Runit].map(|format| (format.word(), format)))
}

fn utf8(word: OsString) -> Result<String, Fault> {
    word.into_string().map_err(|w| Fault::usage(format!("{w:?} is not UTF-8")))
}

/// Sorts the words of a control verb and says what is missing.
#[inline(never)]
fn control_line(verb: &'static Verb, mut control: Control, mut words: Vec<String>) -> Result<Control, Fault> {
    let needs = |what: &str| Fault::usage(format!("{0}: needs {what}: watchdog {0} {1}", verb.name, verb.arguments));
    let all = control.all;
    match &*verb.name {
        "ls" | "shutdown" | "tree" => no_more(verb, &words, 0)?,
        "signal" => {
            if words.is_empty() {
                return Err(needs("a signal and a service"));
            }
            let number = signals::signal(&words.remove(0)).map_err(|f| f.at("signal"))?;
            control.signal = signals::name(number);
            if words.is_empty() && !all {
                return Err(needs("a service"));
            }
        }
        "start" | "stop" | "restart" if words.is_empty() && !all => {
            return Err(needs("a service, a pattern such as 'web*', or --all"));
        }
        "wait" => {
            no_more(verb, &words, 1)?;
            if words.is_empty() {
                return Err(needs("a service"));
            }
            if control.wait_for.is_empty() {
                return Err(needs("--for ready, --for stopped or --for completed"));
            }
        }
        "health" | "complete" => no_more(verb, &words, 1)?,
        "tell" if all => control.word = told(&std::mem::take(&mut words))?,
        "tell" => {
            if words.len() < 2 {
                return Err(needs("a service and a word for it"));
            }
            control.word = told(&words.split_off(1))?;
        }
        "report" => control.report = reported(verb, &control, &mut words)?,
        _ => {}
    }
    if let (true, Some(word)) = (all, words.first()) {
        return Err(Fault::usage(format!("{}: --all and {word:?}: give one of them", verb.name)));
    }
    control.names = if all { vec![EVERY.to_string()] } else { words };
    Ok(control)
}

/// What `tell` sends: its words, with a blank between.
fn told(words: &[String]) -> Result<String, Fault> {
    let word = words.join(" ");
    if word.trim().is_empty() {
        return Err(Fault::usage("tell: an empty word says nothing"));
    }
    if word.len() > LONGEST_WORD {
        return Err(Fault::usage(format!("tell: a word of {} bytes: at most {LONGEST_WORD}", word.len())));
    }
    Ok(word)
}

/// What `report` is to print; at most one service is left of the words.
fn reported(verb: &'static Verb, control: &Control, words: &mut Vec<String>) -> Result<Report, Fault> {
    if control.dir.is_some() && control.instance.is_some() {
        return Err(Fault::usage("report: --dir reads a directory and -i asks a watchdog: give one of them"));
    }
    let first = words.first().cloned().unwrap_or_default();
    let report = match first.as_str() {
        "list" => Report::List,
        "last" => Report::Last,
        "show" if words.len() > 1 => Report::Show(words.remove(1)),
        "show" => return Err(Fault::usage("report: show needs the id of a report: watchdog report list has them")),
        // A service, or a slip.
        _ if words.len() > 1 => {
            let fault = Fault::usage(format!("report: {first:?} is none of list, show ID, last"));
            return Err(fault.or_nearest(nearest(&first, ["list", "show", "last"])));
        }
        _ => return Ok(Report::List),
    };
    words.remove(0);
    no_more(verb, words, 1)?;
    Ok(report)
}

fn no_more(verb: &Verb, words: &[String], allowed: usize) -> Result<(), Fault> {
    match words.get(allowed) {
        Some(word) => Err(Fault::usage(format!("{}: {word:?} is one word too many", verb.name))),
        None => Ok(()),
    }
}
