//! The commented sample of a file, printed from the one list of settings.

use crate::settings::probes;
use crate::settings::table::{GROUPS, Scope, Setting, Shape, Standard, TABLE};
use std::fmt::Write;

/// Column at which meanings begin.
const COLUMN: usize = 44;

const HEAD: &str = "\
# The services that `watchdog up` runs. `watchdog check` says what this file means; `watchdog schema` is for editors.
#
# A line that begins with # and a key is a setting at its default, or an example of one: take the # away to set it.
# Files in watchdog.d/*.toml beside this one are read after it, in the order of their names, and win key by key.
# ${VAR} and ${VAR:-default} in a text are put in from the environment of the watchdog; $$ is a plain $.
# ${WATCHDOG_SERVICE}, ${WATCHDOG_REPLICA} and ${PORT} are those of each service and replica.
";

const SERVICE: &str = "
# One table for each service. What stands in [defaults] may stand here too, and wins.
[service.web]
command = [\"sleep\", \"infinity\"]
";

const PROBES: &str = "
# Questions put to it from outside; as many as there is need for.
#[[service.web.probe]]
#check = \"http://127.0.0.1:8080/health\"
";

const OTHERS: &str = "
#[service.db]
#command = \"postgres -D /var/lib/postgresql/data\"
#ready = \"reported\"

#[service.cache]
#command = [\"redis-server\"]

#[service.queue]
#command = \"redis-server --port 6380\"

#[service.migrate]
#type = \"oneshot\"
#command = \"./migrate --to head\"
#requires = [\"db\"]

#[service.maintenance]
#command = [\"./page\", \"we will be back\"]
#autostart = false
";

/// `watchdog init`
pub(crate) fn sample() -> String {
    let mut page = String::from(HEAD);
    page.push_str("\n# The watchdog itself.\n[watchdog]\n");
    table(&mut page, |s| s.scope == Scope::Instance);
    page.push_str("\n# What holds for every service.\n[defaults]\n");
    table(&mut page, |s| s.scope == Scope::Service && !names_one(s));
    page.push_str(SERVICE);
    table(&mut page, |s| names_one(s) && !matches!(&*s.key, "command" | "probe"));
    page.push_str(PROBES);
    for (key, _, meaning) in probes::KEYS.iter().filter(|(key, ..)| !matches!(*key, "check" | "gracePeriod")) {
        line(&mut page, &format!("#{key} = {}", of_a_probe(key)), meaning);
    }
    page.push_str(OTHERS);
    page
}

/// What would be wrong for all services at once.
fn names_one(setting: &Setting) -> bool {
    setting.scope == Scope::OneService
        || matches!(&*setting.key, "title" | "description" | "cwd" | "log_file" | "log_file_stderr" | "port" | "ready")
}

fn table(page: &mut String, belongs: impl Fn(&Setting) -> bool) {
    for (group, heading) in GROUPS {
        let settings: Vec<&Setting> = TABLE.iter().filter(|s| s.group == group && belongs(s)).collect();
        if settings.is_empty() {
            continue;
        }
        let _ = writeln!(page, "# {heading}");
        for setting in settings {
            line(page, &format!("#{} = {}", setting.key, value(setting)), &setting.meaning);
        }
    }
}

fn line(page: &mut String, left: &str, meaning: &str) {
    let _ = writeln!(page, "{left:COLUMN$} # {meaning}");
}

/// The default as TOML, or an example where it is no value.
fn value(setting: &Setting) -> String {
    match (setting.up, setting.default) {
        (Some(text), _) => quoted(&text),
        (None, Standard::Value(text)) if setting.shape == Shape::List || text.contains(',') => {
            let items: Vec<String> = text.split(',').map(quoted).collect();
            format!("[{}]", items.join(", "))
        }
        (None, Standard::Value(text)) => quoted(&text),
        (None, Standard::Words(_)) => example(&setting.key).to_string(),
    }
}

/// Numbers and switches as they are, everything else in quotes.
fn quoted(text: &str) -> String {
    match text {
        "true" | "false" => text.to_string(),
        _ if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) => text.to_string(),
        _ => format!("{text:?}"),
    }
}

/// An example for what has no value as its default.
fn example(key: &str) -> &'static str {
    match key {
        "name" => "\"shop\"",
        "title" => "\"The shop\"",
        "description" => "\"sells things\"",
        "cwd" => "\"/\"",
        "env" => "{ RUST_LOG = \"info\" }",
        "env_file" => "[\"-/etc/default/shop\"]",
        "user" => "\"root\"",
        "group" => "\"root\"",
        "port" => "5000",
        "umask" => "\"022\"",
        "nice" | "oom_score_adj" => "0",
        "rlimit" => "{ nofile = \"1024:4096\" }",
        "requires" => "[\"db\", { service = \"migrate\", condition = \"completed\", once = true }]",
        "wants" => "[\"cache\"]",
        "depends_on" => "{ queue = { condition = \"service_healthy\" } }",
        "after" => "[\"db\"]",
        "conflicts" => "[\"maintenance\"]",
        "wait_for_file" => "\"/run/config-is-there\"",
        "restart_total" => "100",
        "max_age" => "\"7d\"",
        "stop_signal" => "\"TERM\"",
        "shutdown_timeout" => "\"10s\"",
        "rewrite_signal" => "[\"HUP:0\"]",
        "reload_signal" => "\"HUP\"",
        "dialects" => "[\"native\", \"notify\"]",
        "ports" => "[8080, \"53/udp\"]",
        "process_filters" => "[\"node\"]",
        "log_file" => "\"/var/log/web.log\"",
        "log_file_stderr" => "\"/var/log/web.err\"",
        "report_dir" => "\"/var/lib/watchdog\"",
        "hook" => "[\"exit+gave-up:logger -t watchdog\"]",
        "control" => "\"/run/watchdog/shop.sock\"",
        "http" => "\"127.0.0.1:9090\"",
        "http_control" => "\"/run/watchdog/shop.token\"",
        "events_file" => "\"/var/log/events.jsonl\"",
        "termination_message" => "\"/dev/termination-log\"",
        "die_with_parent" => "\"off\"",
        "state" => "\"/var/lib/watchdog/shop.state\"",
        _ => "\"\"",
    }
}

fn of_a_probe(key: &str) -> &'static str {
    match key {
        "name" => "\"answers\"",
        "role" => "[\"readiness\", \"liveness\"]",
        "start_period" | "timeout" => "\"5s\"",
        "interval" => "\"10s\"",
        "starting_interval" => "\"1s\"",
        "failures" => "3",
        "successes" => "1",
        "method" => "\"GET\"",
        "headers" => "{ Accept = \"text/plain\" }",
        "status" => "[\"200-399\"]",
        _ => "\"ok\"",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::plan::{Plan, of};
    use crate::settings::source::Source;
    use crate::settings::{Accounts, World};

    fn planned(text: &str) -> Plan {
        let world = World { environment: Vec::new(), pid: 4, uid: 1000, accounts: Accounts::default() };
        let plan = of(&[], vec![Source::new("watchdog.toml", text.to_string())], &[], &world);
        plan.unwrap_or_else(|faults| panic!("{:#?}", faults.into_iter().map(|f| f.message).collect::<Vec<_>>()))
    }

    #[test]
    fn the_sample_is_valid_as_it_is_and_with_every_line_uncommented() {
        assert_eq!(planned(&sample()).specs.len(), 1);
        let uncommented: String = sample()
            .lines()
            .map(|l| match l.strip_prefix('#') {
                Some(rest) if !rest.starts_with(' ') => format!("{rest}\n"),
                _ => format!("{l}\n"),
            })
            .collect();
        // The directories of the sample are there on some machines only. Failed before where /run/watchdog was missing.
        let dir = tempfile::tempdir().expect("a directory");
        let here = dir.path().display().to_string();
        let uncommented = ["/run/watchdog/", "/var/log/", "/var/lib/watchdog/"]
            .iter()
            .fold(uncommented, |text, elsewhere| text.replace(elsewhere, &format!("{here}/")));
        let plan = planned(&uncommented);
        assert_eq!(plan.order, [vec!["db", "cache", "queue"], vec!["migrate"], vec!["web"]]);
    }

    #[test]
    fn every_setting_of_a_file_is_in_the_sample_with_a_value() {
        let sample = sample();
        for setting in TABLE.iter().filter(|s| s.scope != Scope::CommandLine) {
            let line = sample.lines().find(|l| l.trim_start_matches('#').starts_with(&format!("{} = ", setting.key)));
            let key = format!("{} = \"\" ", setting.key);
            assert!(line.is_some_and(|l| !l[1..].starts_with(&key)) || setting.key == "probe", "{}", setting.key);
        }
        assert!(probes::KEYS.iter().all(|(key, ..)| *key == "gracePeriod" || sample.contains(&format!("#{key} = "))));
    }
}
