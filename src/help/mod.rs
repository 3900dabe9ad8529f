//! Everything printed from the list of settings and the list of verbs: `--help`, the manual, completions, README table.

mod completions;
mod manual;
mod sample;
mod schema;

pub(crate) use completions::completions;
pub(crate) use manual::{manual, manual_of};
pub(crate) use sample::sample;
pub(crate) use schema::schema;

use crate::cli::verbs::{Opt, VERBS, Verb};
use crate::settings::table::{GROUPS, Scope, Setting, Shape, TABLE};
use std::fmt::Write;

/// Column at which meanings begin.
const COLUMN: usize = 38;

/// Of the verbs that run a file.
const UP_SHOWS: &str = "\nLines of services are shown as NAME | text: on a terminal each in its colour, the bar in bold red for what went to\n\
stderr, control characters as text; without colours by NO_COLOR or TERM=dumb; through a pipe byte for byte. On a\n\
terminal a view below them says who waits for whom until all are ready. --output has no variable and no key.\n";

/// Of `up`.
const UP_STATUS: &str = "\nexit status: 0 after a requested stop or when all are done; with give_up = stop-all that of \
the first\nfailed; 125 a file that is wrong or cannot be read; 2 usage, or a NAME that is not in the file\n";

/// Of `drill`.
const DRILL: &str = "\ncases: ready (in start_timeout, and it stays), term (the stop signal ends it in stop_timeout with a status of\n\
success_on), leftovers (nobody outlives it), crash (after a KILL it comes back), hang (after a STOP it is noticed and\n\
comes back, if it beats), slow-start (it begins later and is not killed), flood (its output is flooded; it stays, and\n\
the watchdog answers). What cannot be tried here is skipped, and says why.\n\
\nexit status: 0 all passed or were skipped; 1 something failed; 2 usage; 125 the drill could not go on; 128+N it was\n\
broken off by signal N, and everything that it had started is ended\n";

/// Of `top`.
const TOP: &str = "\nkeys: up and down choose, s starts, x stops, r restarts, / filters, tab gives the explanation or the lines more\n\
room, ? shows all keys, q leaves. Memory and CPU are measured once a second while it runs. Without colours by NO_COLOR.\n\
\nexit status: 0 left; 1 no; 2 usage, or no terminal (--once needs none); 3 no such watchdog or service; 4 refused;\n\
128+N ended by signal N\n";

/// `watchdog --help`
pub(crate) fn page() -> String {
    let mut page = String::from(
        "watchdog: keeps a program alive, and says why it did what it did\n\n\
         usage: watchdog [SETTINGS] -- PROGRAM [ARGS]...   supervise one program\n       \
         watchdog up [-f FILE] [NAME..]             run the services of a file\n       \
         watchdog VERB [OPTIONS]                    speak to a running watchdog\n\nverbs:\n",
    );
    for verb in VERBS {
        line(&mut page, &format!("  {} {}", verb.name, verb.arguments), &verb.meaning);
    }
    page.push_str(
        "\nwatchdog VERB --help shows the options of a verb; -i INSTANCE, else WATCHDOG_INSTANCE, chooses among several\n\
         watchdogs. watchdog --version (-V) and --help (-h) need nothing else.\n",
    );
    for (group, heading) in GROUPS {
        let _ = write!(page, "\n{heading}:\n");
        for setting in TABLE.iter().filter(|s| s.group == group) {
            let up = setting.up.map(|up| format!("; {up} in up")).unwrap_or_default();
            let meaning = format!("{} [{}{up}]", setting.meaning, setting.default_text());
            line(&mut page, &format!("  {}", flag(setting)), &meaning);
        }
    }
    page.push_str(
        "\nEach --setting is also a variable (--stop-timeout is WATCHDOG_STOP_TIMEOUT) and a key (stop_timeout) of\n\
         [defaults], [service.NAME] or [watchdog] in a file; what has no -- stands under [service.NAME] alone. Flag over\n\
         variable over file over default, shown in []. watchdog init writes a sample with all of them.\n\
         Units are required: 500ms 10s 1m30s 2h 7d; KiB MiB GiB = 1024, KB MB GB = 1000; 20%.\n\n\
         exit status: the worker's own (128+N for death by signal N); 127 program not found; 126 not executable;\n\
         2 a wrong command line or variable; 125 anything else that keeps the watchdog from starting or going on.\n",
    );
    page
}

/// `watchdog VERB --help`
pub(crate) fn verb(verb: &Verb) -> String {
    let mut page = String::new();
    let _ = write!(page, "watchdog {}: {}\n\nusage: {}\n", verb.name, verb.meaning, usage(verb));
    if verb.options().next().is_some() {
        page.push_str("\noptions:\n");
        for option in verb.options() {
            line(&mut page, &format!("  {}", option_flag(option)), &option.meaning);
        }
    }
    if verb.settings {
        page.push_str("\nSETTINGS are those of watchdog --help; in up and check they hold for every service.\n");
    }
    if verb.options().any(|option| option.long == "output") {
        page.push_str(UP_SHOWS);
    }
    page.push_str(exit_status(verb));
    page
}

/// What its statuses mean, and what else is said below its options.
fn exit_status(verb: &Verb) -> &'static str {
    match &*verb.name {
        "up" => UP_STATUS,
        "run-until-ready" => {
            "\nexit status: 0 all were ready; 1 not, and it says who and why; 125 a file that is wrong; 2 usage\n"
        }
        "install" | "uninstall" => {
            "\nexit status: 0 done; 1 no, and it says why; 2 usage; 4 refused: no right to it, or somebody else's unit\n"
        }
        "drill" => DRILL,
        "top" => TOP,
        "check" => "\nexit status: 0 valid; 1 not, or no such file; 2 usage\n",
        _ => "\nexit status: 0 yes or done; 1 no; 2 usage; 3 no such watchdog or service; 4 refused\n",
    }
}

/// `watchdog help-settings`
pub(crate) fn settings(markdown: bool) -> String {
    let mut page = String::new();
    if markdown {
        page.push_str("| setting | value | default | meaning |\n|---|---|---|---|\n");
    }
    for setting in &TABLE {
        let value =
            if setting.value.is_empty() { "true\\|false".to_string() } else { setting.value.replace('|', "\\|") };
        let _ = match markdown {
            true => writeln!(
                page,
                "| `{}` | {value} | {}{} | {}{} |",
                setting.key,
                setting.default_text(),
                setting.up.map(|up| format!(" (`up`: {up})")).unwrap_or_default(),
                setting.meaning.replace('|', "\\|"),
                if setting.has_flag() { "" } else { " (file only)" }
            ),
            false => writeln!(page, "{}\t{}\t{}", setting.key, setting.default_text(), setting.meaning),
        };
    }
    page
}

/// The usage line of a verb.
fn usage(verb: &Verb) -> String {
    let options = if verb.options().next().is_none() { "" } else { " [OPTIONS]" };
    let arguments = if verb.arguments.is_empty() { String::new() } else { format!(" {}", verb.arguments) };
    format!("watchdog {}{options}{arguments}", verb.name)
}

/// A flag and what its value looks like.
fn flag(setting: &Setting) -> String {
    match setting.shape {
        _ if !setting.has_flag() => key_line(setting),
        Shape::One | Shape::List => format!("{} {}", setting.flag(), setting.value),
        Shape::Optional(_) => format!("{}[={}]", setting.flag(), setting.value),
        Shape::Switch => format!("{}[=false]", setting.flag()),
        Shape::Tree => key_line(setting),
    }
}

/// A key of a file and what its value looks like.
fn key_line(setting: &Setting) -> String {
    let value = if setting.value.is_empty() { "true|false" } else { &setting.value };
    format!("{} = {value}", setting.key)
}

fn option_flag(option: &Opt) -> String {
    let short = option.short.map(|c| format!("-{c}, ")).unwrap_or_default();
    format!("{short}--{} {}", option.long, option.value).trim_end().to_string()
}

/// One line of two columns; what is too long for the first gets a line of its own.
fn line(page: &mut String, left: &str, right: &str) {
    let left = left.trim_end();
    let _ = if left.len() + 2 > COLUMN {
        writeln!(page, "{left}\n{:COLUMN$}{right}", "")
    } else {
        writeln!(page, "{left:COLUMN$}{right}")
    };
}

/// Where a setting stands in a file.
fn place(setting: &Setting) -> &'static str {
    match setting.scope {
        Scope::Service => "[defaults], [service.NAME]",
        Scope::OneService => "[service.NAME]",
        Scope::Instance => "[watchdog]",
        Scope::CommandLine => "not in a file",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The page people see is a file, so that a change to it is seen in review. UPDATE_EXPECT=1 rewrites it.
    #[test]
    fn the_help_is_the_one_in_docs() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/help.txt");
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            std::fs::write(path, page()).expect("write docs/help.txt");
        }
        let written = std::fs::read_to_string(path).unwrap_or_default();
        assert!(written == page(), "docs/help.txt is older than --help: UPDATE_EXPECT=1 cargo test rewrites it");
    }

    #[test]
    fn every_setting_and_verb_has_help_that_fits() {
        for setting in &TABLE {
            assert!(!setting.meaning.is_empty() && !setting.default_text().is_empty(), "{}", setting.key);
            assert_eq!(setting.value.is_empty(), setting.shape == Shape::Switch, "{}", setting.key);
            let line = format!("  {}", flag(setting));
            let is = |l: &str| l.strip_prefix(&line).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '));
            assert!(page().lines().any(is), "{}", setting.key);
        }
        assert!(VERBS.iter().all(|v| !v.meaning.is_empty() && verb(v).contains(&*v.name)));
        assert!(page().lines().all(|l| l.chars().count() <= 132), "{:?}", page().lines().max_by_key(|l| l.len()));
    }

    #[test]
    fn the_other_pages_name_every_setting() {
        let pages = [settings(true), settings(false), manual()];
        assert!(TABLE.iter().all(|s| pages[0].contains(&*s.key) && pages[1].contains(&*s.key)));
        assert!(TABLE.iter().all(|s| pages[2].contains(&s.flag().replace('-', "\\-")) || !s.has_flag()));
        assert!(TABLE.iter().all(|s| pages[2].contains(&format!(".B {} =", s.key)) || s.has_flag()));
        use crate::cli::Shell;
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let script = completions(shell);
            assert!(TABLE.iter().all(|s| script.contains(&s.flag()[2..]) || !s.has_flag()), "{shell:?}");
            assert!(VERBS.iter().all(|v| script.contains(&*v.name)), "{shell:?}");
        }
    }
}
