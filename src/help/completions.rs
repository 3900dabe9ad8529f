//! Completions for three shells.

use crate::cli::Shell;
use crate::cli::verbs::{Opt, VERBS, Verb};
use crate::settings::signals;
use crate::settings::table::{Setting, Shape, TABLE};
use std::fmt::Write;

/// `watchdog completions SHELL`
pub(crate) fn completions(shell: Shell) -> String {
    match shell {
        Shell::Bash => bash(),
        Shell::Zsh => zsh(),
        Shell::Fish => fish(),
    }
}

/// The words a value of this setting may be, where they are few.
fn words(setting: &Setting) -> Vec<&str> {
    match &*setting.key {
        "restart" => vec!["always", "on-failure", "on-success", "unless-stopped", "never"],
        "give_up" => vec!["exit", "stay", "stop-all", "exec:"],
        "log_level" => vec!["off", "error", "warn", "info", "debug", "trace"],
        "ready" => vec!["auto", "spawned", "alive:", "reported", "probe", "fd", "line:", "port:"],
        "dialects" => vec!["native", "notify", "node", "fd", "none"],
        "stop_signal" | "hang_signal" | "reload_signal" | "die_with_parent" => signals::names().to_vec(),
        // A word in capitals stands for a value: it is none to be typed. Files are completed as files.
        _ if setting.value.contains('|') && !is_file(setting) => {
            setting.value.split('|').filter(|word| !word.contains(char::is_uppercase)).collect()
        }
        _ => Vec::new(),
    }
}

fn is_file(setting: &Setting) -> bool {
    setting.value.starts_with("PATH") || setting.value == "FILE"
}

/// The settings that have a flag.
fn flagged() -> impl Iterator<Item = &'static Setting> {
    TABLE.iter().filter(|s| s.has_flag())
}

/// The words a value of this option may be, where they are few.
fn option_words(option: &'static Opt) -> Vec<&'static str> {
    match option.value.contains('|') {
        true => option.value.split('|').collect(),
        false => Vec::new(),
    }
}

fn flags() -> String {
    let flags = flagged().map(Setting::flag).chain(["--help".to_string(), "--version".to_string()]);
    flags.collect::<Vec<_>>().join(" ")
}

fn options(verb: &Verb) -> String {
    let all = verb.options().map(|o| format!("--{}", o.long)).chain(["--help".to_string()]);
    all.collect::<Vec<_>>().join(" ")
}

/// The words that a verb itself takes, where they are few.
fn arguments(verb: &Verb) -> &'static [&'static str] {
    match &*verb.name {
        "completions" => &["bash", "zsh", "fish"],
        "report" => &["list", "show", "last"],
        _ => &[],
    }
}

/// Where the names of services stand behind a verb: from which word on, counted from 0. The program itself is asked for
/// them.
fn names_from(verb: &Verb) -> Option<usize> {
    match &*verb.name {
        "status" | "top" | "start" | "stop" | "restart" | "tell" | "reload" | "events" | "logs" | "explain"
        | "health" | "wait" => Some(0),
        "signal" | "report" => Some(1),
        _ => None,
    }
}

/// Whether `-f` of this verb is a file.
fn takes_a_file(verb: &Verb) -> bool {
    verb.options().any(|o| o.long == "file")
}

/// What bash asks the program, and where it has to look for that: beside `-i`.
const ASK_BASH: &str = "\
_watchdog_offer() {
    local i chosen=()
    for ((i = 2; i < COMP_CWORD; i++)); do
        case ${COMP_WORDS[i]} in -i | --instance) chosen=(-i \"${COMP_WORDS[i + 1]}\") ;; esac
    done
    COMPREPLY+=($(compgen -W \"$(command \"${COMP_WORDS[0]}\" complete \"$1\" \"${chosen[@]}\" 2>/dev/null)\" -- \"$cur\"))
}
";

/// What zsh asks the program. `$watchdog_words` is the line as it was typed.
const ASK_ZSH: &str = "\
_watchdog_offer() {
    local -a all chosen
    local at=${watchdog_words[(I)(-i|--instance)]}
    (( at )) && chosen=(-i ${watchdog_words[at + 1]})
    all=(${(f)\"$(command $watchdog_words[1] complete $1 $chosen 2>/dev/null)\"})
    compadd -a all
}
_watchdog_services() { _watchdog_offer services }
_watchdog_instances() { _watchdog_offer instances }
_watchdog_reports() { _watchdog_offer reports }
_watchdog_of_report() {
    case $words[2] in
        show) _watchdog_reports ;;
        *) _watchdog_services ;;
    esac
}
";

/// What fish asks the program.
const ASK_FISH: &str = "\
function __watchdog_offer
    set -l words (commandline -opc)
    set -l at (contains -i -- -i $words; or contains -i -- --instance $words)
    if test -n \"$at\"; and set -q words[(math $at + 1)]
        command $words[1] complete $argv -i $words[(math $at + 1)] 2>/dev/null
    else
        command $words[1] complete $argv 2>/dev/null
    end
end
";

fn bash() -> String {
    let verbs: Vec<&str> = VERBS.iter().map(|v| &*v.name).collect();
    let mut script = String::from(
        "# bash completion for watchdog\n@ask@_watchdog() {\n    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} i\n    \
         COMPREPLY=()\n    for ((i = 1; i < COMP_CWORD; i++)); do\n        if [[ ${COMP_WORDS[i]} == -- ]]; then\n            \
         declare -F _command_offset >/dev/null && _command_offset $((i + 1))\n            return\n        fi\n    done\n    case $prev in\n",
    );
    for setting in flagged().filter(|s| s.shape != Shape::Switch) {
        let words = words(setting);
        let reply = match (words.is_empty(), is_file(setting)) {
            (false, _) => format!("-W \"{}\"", words.join(" ")),
            (true, true) => "-f".to_string(),
            (true, false) => continue,
        };
        let _ = writeln!(script, "        {}) COMPREPLY=($(compgen {reply} -- \"$cur\")); return ;;", setting.flag());
    }
    for (option, kind) in [("dir", "-d"), ("root", "-d"), ("file", "-f"), ("for", ""), ("output", ""), ("format", "")] {
        let words = VERBS.iter().flat_map(Verb::options).find(|o| o.long == option).map(|o| option_words(o));
        let words = words.unwrap_or_default().join(" ");
        let reply = if kind.is_empty() { format!("-W \"{words}\"") } else { kind.to_string() };
        let _ = writeln!(script, "        --{option}) COMPREPLY=($(compgen {reply} -- \"$cur\")); return ;;");
    }
    script.push_str("        -i | --instance) _watchdog_offer instances; return ;;\n");
    let of_files: Vec<&str> = VERBS.iter().filter(|v| takes_a_file(v)).map(|v| &*v.name).collect();
    let _ = writeln!(
        script,
        "        -f) case ${{COMP_WORDS[1]}} in {}) COMPREPLY=($(compgen -f -- \"$cur\")); return ;; esac ;;",
        of_files.join(" | ")
    );
    script.push_str("    esac\n");
    script.push_str("    if [[ $cur != -* ]]; then case ${COMP_WORDS[1]} in\n");
    let named = |from| VERBS.iter().filter(move |v| names_from(v) == Some(from)).map(|v| &*v.name);
    let _ = writeln!(
        script,
        "        {}) if ((COMP_CWORD > 1)); then _watchdog_offer services; return; fi ;;",
        named(0).collect::<Vec<_>>().join(" | ")
    );
    let _ = writeln!(
        script,
        "        signal) if ((COMP_CWORD == 2)); then COMPREPLY=($(compgen -W \"{}\" -- \"$cur\")); return; \
         elif ((COMP_CWORD > 2)); then _watchdog_offer services; return; fi ;;",
        signals::names().join(" ")
    );
    script.push_str(
        "        report) if [[ $prev == show ]]; then _watchdog_offer reports; return; \
         elif ((COMP_CWORD > 2)); then _watchdog_offer services; return; fi ;;\n    esac; fi\n",
    );
    script.push_str("    case ${COMP_WORDS[1]} in\n");
    for verb in VERBS {
        let all = if verb.settings { format!("{} {}", options(verb), flags()) } else { options(verb) };
        let all = format!("{} {all}", arguments(verb).join(" ")).trim_start().to_string();
        let _ = writeln!(
            script,
            "        {}) if ((COMP_CWORD > 1)); then COMPREPLY=($(compgen -W \"{all}\" -- \"$cur\")); return; fi ;;",
            verb.name
        );
    }
    let _ = write!(
        script,
        "    esac\n    if ((COMP_CWORD == 1)) && [[ $cur != -* ]]; then\n        COMPREPLY=($(compgen -W \"{}\" -- \"$cur\"))\n    \
         else\n        COMPREPLY=($(compgen -W \"{} --\" -- \"$cur\"))\n    fi\n}}\ncomplete -F _watchdog watchdog\n",
        verbs.join(" "),
        flags()
    );
    script.replace("@ask@", ASK_BASH)
}

fn zsh() -> String {
    let quoted = |text: &str| text.replace('\'', "'\\''").replace(':', "\\:").replace('[', "(").replace(']', ")");
    let mut script = format!(
        "#compdef watchdog\n{ASK_ZSH}_watchdog() {{\n    local -a verbs settings watchdog_words\n    watchdog_words=($words)\n    verbs=(\n"
    );
    for verb in VERBS {
        let _ = writeln!(script, "        '{}:{}'", verb.name, quoted(&verb.meaning));
    }
    script.push_str("    )\n    settings=(\n");
    for setting in flagged() {
        let value = match (setting.shape, words(setting)) {
            (Shape::Switch, _) => String::new(),
            (_, words) if !words.is_empty() => format!(":value:({})", words.join(" ").replace(':', "\\:")),
            _ if is_file(setting) => ":file:_files".to_string(),
            _ => ":value:".to_string(),
        };
        let (flag, equals) = (setting.flag(), if setting.shape == Shape::Switch { "" } else { "=" });
        let equals = if matches!(setting.shape, Shape::Optional(_)) { "=-" } else { equals };
        let _ = writeln!(script, "        '{flag}{equals}[{}]{value}'", quoted(&setting.meaning));
    }
    script.push_str(
        "    )\n    if (( CURRENT == 2 )) && [[ $PREFIX != -* ]]; then\n        _describe verb verbs\n        return\n    fi\n    \
         case $words[2] in\n",
    );
    for verb in VERBS {
        let mut all: Vec<String> = verb
            .options()
            .map(|o| {
                let (equals, value) = match &*o.value {
                    "" => ("", String::new()),
                    "DIR" => ("=", ":directory:_files -/".to_string()),
                    "FILE" => ("=", ":file:_files".to_string()),
                    "INSTANCE" => ("=", ":instance:_watchdog_instances".to_string()),
                    _ if o.value.contains('|') => ("=", format!(":value:({})", option_words(o).join(" "))),
                    _ => ("=", ":value:".to_string()),
                };
                let long = format!("'--{}{equals}[{}]{value}'", o.long, quoted(&o.meaning));
                match o.short {
                    Some(short) => format!("{long} '-{short}[{}]{value}'", quoted(&o.meaning)),
                    None => long,
                }
            })
            .collect();
        if verb.settings {
            all.push("$settings".to_string());
        }
        if !arguments(verb).is_empty() {
            all.push(format!("'1:word:({})'", arguments(verb).join(" ")));
        }
        match &*verb.name {
            "signal" => all.push(format!("'1:signal:({})' '*:service:_watchdog_services'", signals::names().join(" "))),
            "report" => all.push("'*:report:_watchdog_of_report'".to_string()),
            _ if names_from(verb).is_some() => all.push("'*:service:_watchdog_services'".to_string()),
            _ => {}
        }
        let _ =
            writeln!(script, "        {}) shift words; (( CURRENT-- )); _arguments {} ;;", verb.name, all.join(" "));
    }
    script
        .push_str("        *) _arguments $settings '*::program:_normal' ;;\n    esac\n}\ncompdef _watchdog watchdog\n");
    script
}

fn fish() -> String {
    let quoted = |text: &str| text.replace('\\', "\\\\").replace('\'', "\\'");
    let mut script = format!("# fish completion for watchdog\n{ASK_FISH}complete -c watchdog -f\n");
    for verb in VERBS {
        let _ = writeln!(
            script,
            "complete -c watchdog -n __fish_use_subcommand -a {} -d '{}'",
            verb.name,
            quoted(&verb.meaning)
        );
        if !arguments(verb).is_empty() {
            let words = arguments(verb).join(" ");
            let _ =
                writeln!(script, "complete -c watchdog -n '__fish_seen_subcommand_from {}' -a '{words}'", verb.name);
        }
        if names_from(verb).is_some() {
            let _ = writeln!(
                script,
                "complete -c watchdog -n '__fish_seen_subcommand_from {}' -a '(__watchdog_offer services)'",
                verb.name
            );
        }
        let more = match &*verb.name {
            "signal" => signals::names().join(" "),
            "report" => "(__watchdog_offer reports)".to_string(),
            _ => String::new(),
        };
        if !more.is_empty() {
            let _ = writeln!(script, "complete -c watchdog -n '__fish_seen_subcommand_from {}' -a '{more}'", verb.name);
        }
        for option in verb.options() {
            let short = option.short.map(|c| format!(" -s {c}")).unwrap_or_default();
            let value = match &*option.value {
                "" => "",
                "DIR" | "FILE" => " -r -F",
                _ => " -x",
            };
            let words = match &*option.value {
                "INSTANCE" => "(__watchdog_offer instances)".to_string(),
                _ => option_words(option).join(" "),
            };
            let words = if words.is_empty() { words } else { format!(" -a '{words}'") };
            let _ = writeln!(
                script,
                "complete -c watchdog -n '__fish_seen_subcommand_from {}' -l {}{short}{value}{words} -d '{}'",
                verb.name,
                option.long,
                quoted(&option.meaning)
            );
        }
    }
    let names: Vec<&str> = VERBS.iter().filter(|v| !v.settings).map(|v| &*v.name).collect();
    for setting in flagged() {
        let words = words(setting);
        let value = match setting.shape {
            Shape::Switch | Shape::Optional(_) => String::new(),
            Shape::One | Shape::List | Shape::Tree if is_file(setting) => " -r -F".to_string(),
            Shape::One | Shape::List | Shape::Tree if words.is_empty() => " -x".to_string(),
            Shape::One | Shape::List | Shape::Tree => format!(" -x -a '{}'", words.join(" ")),
        };
        let _ = writeln!(
            script,
            "complete -c watchdog -n 'not __fish_seen_subcommand_from {}' -l {}{value} -d '{}'",
            names.join(" "),
            &setting.flag()[2..],
            quoted(&setting.meaning)
        );
    }
    script
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_words_that_could_be_typed_are_offered() {
        let of = |key| words(crate::settings::table::find(key).expect("a setting"));
        assert_eq!(of("memory_limit"), ["auto", "off"]);
        assert_eq!((of("report_dir").len(), of("control").len()), (0, 0), "files are completed as files");
        assert!(
            of("hang_signal").contains(&"ABRT") && of("ready").contains(&"line:") && of("dialects").contains(&"node")
        );
        let placeholder =
            |word: &&str| word.chars().all(|c| c.is_ascii_uppercase()) && !signals::names().contains(word);
        assert!(TABLE.iter().all(|s| !words(s).iter().any(placeholder)));
    }
}
