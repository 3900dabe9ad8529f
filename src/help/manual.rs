//! The manual page, in man(7)'s macros.

use super::{exit_status, flag, option_flag, place, usage};
use crate::cli::verbs::{VERBS, Verb};
use crate::settings::table::{GROUPS, TABLE};
use std::fmt::Write;

/// `watchdog man`
pub(crate) fn manual() -> String {
    let mut page = String::new();
    let _ = write!(
        page,
        ".TH WATCHDOG 1 \"\" \"watchdog {}\"\n.SH NAME\nwatchdog \\- keeps a program alive, and says why it did what it did\n\
         .SH SYNOPSIS\n.B watchdog\n[SETTINGS] \\-\\- PROGRAM [ARGS]...\n.br\n.B watchdog up\n[\\-f FILE] [SETTINGS] [NAME..]\n.br\n.B watchdog\nVERB [OPTIONS]\n.SH DESCRIPTION\n",
        env!("CARGO_PKG_VERSION")
    );
    page.push_str(
        "The first form starts PROGRAM, forwards signals to it, restarts it when it fails, and ends with its status.\n\
         Without settings it is transparent: standard input, output and error, the terminal, signals and exit status\n\
         are as without it. The second form runs the services of a file, by default watchdog.toml, in the order of what they\n\
         need. The other verbs speak to a watchdog that is running, over its control socket.\n",
    );
    page.push_str(".SH VERBS\n");
    for verb in VERBS {
        let _ = write!(page, ".TP\n.B {}\n{}.\n", escaped(&usage(verb)), escaped(&verb.meaning));
        for option in verb.options() {
            let _ = write!(page, ".br\n{}: {}.\n", escaped(&option_flag(option)), escaped(&option.meaning));
        }
    }
    page.push_str(
        ".SH SETTINGS\nOne setting has three spellings: the flag, the variable WATCHDOG_ with the name in capitals, and the \
         key in a file. Flag over variable over file over default.\n",
    );
    for (group, heading) in GROUPS {
        let _ = writeln!(page, ".SS {}", escaped(heading));
        for setting in TABLE.iter().filter(|s| s.group == group) {
            let variable = if setting.has_flag() {
                format!("Variable {}; in a file: ", setting.variable())
            } else {
                "Only in a file: ".into()
            };
            let up = setting.up.map(|up| format!("; in up {up}")).unwrap_or_default();
            let _ = write!(
                page,
                ".TP\n.B {}\n{}.\n.br\n{variable}{}. Default: {}{}.\n",
                escaped(&flag(setting)),
                escaped(&setting.meaning),
                escaped(place(setting)),
                escaped(setting.default_text()),
                escaped(&up)
            );
        }
    }
    page.push_str(
        ".SH EXIT STATUS\nOf a supervising watchdog: the worker's status, 128+N for death by signal N; 127 program not found; \
         126 not executable; 2 a wrong command line or variable; 125 anything else. Giving up on a worker whose last status \
         was 0 ends with 1.\n.PP\nOf a verb: 0 yes or done; 1 no; 2 usage; 3 no such watchdog or service; 4 refused.\n\
         .SH FILES\nThe control socket is NAME.sock, or NAME.PID.sock where no name was given, in $WATCHDOG_RUNTIME_DIR, \
         else $XDG_RUNTIME_DIR/watchdog, else /run/watchdog for root, else /tmp/watchdog\\-UID.\n.PP\n\
         Reports are ID.json in report_dir, by default INSTANCE in $XDG_STATE_HOME/watchdog, else in /var/lib/watchdog for root, else \
         in $HOME/.local/state/watchdog.\n.PP\n\
         Files are written in directories of root or the watchdog's user. Links, directories and files of other users are \
         refused before anything is started. Missing directories of log files are made, with mode 0755 less the umask.\n",
    );
    page
}

/// `watchdog man VERB`
pub(crate) fn manual_of(verb: &Verb) -> String {
    let (name, meaning) = (escaped(&verb.name), escaped(&verb.meaning));
    let mut page = format!(
        ".TH WATCHDOG\\-{} 1 \"\" \"watchdog {}\"\n.SH NAME\nwatchdog\\-{name} \\- {meaning}\n.SH SYNOPSIS\n.B {}\n",
        name.to_uppercase(),
        env!("CARGO_PKG_VERSION"),
        escaped(&usage(verb))
    );
    if verb.options().next().is_some() {
        page.push_str(".SH OPTIONS\n");
    }
    for option in verb.options() {
        let _ = write!(page, ".TP\n.B {}\n{}.\n", escaped(&option_flag(option)), escaped(&option.meaning));
    }
    page.push_str(".SH DESCRIPTION\n.nf\n");
    for line in exit_status(verb).trim().lines() {
        let _ = writeln!(page, "{}", escaped(line));
    }
    page.push_str(".fi\n.SH SEE ALSO\n.BR watchdog (1)\n");
    page
}

/// Text that troff leaves alone.
fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
}
