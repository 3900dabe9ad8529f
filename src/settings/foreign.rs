//! Words of other supervisors: what they are called here. Of a key that is not known the nearest of ours would often be another
//! thing (`autorestart` is no `autostart`).

use super::fault::Fault;

/// A word, the programs that have it, the setting that it is here, and how that is written where the name does not say it.
type Word = (&'static str, &'static str, &'static str, &'static str);

const SUPERVISORD: &str = "supervisord";
const COMPOSE: &str = "compose";
const PM2: &str = "pm2";
const SYSTEMD: &str = "systemd";
const KUBERNETES: &str = "Kubernetes";

/// Keys of a service.
static SERVICE: &[Word] = &[
    ("numprocs", SUPERVISORD, "replicas", ""),
    ("autorestart", SUPERVISORD, "restart", "restart = \"always\", \"on-failure\" or \"never\""),
    ("startsecs", SUPERVISORD, "ready", "ready = \"alive:10s\""),
    ("startretries", SUPERVISORD, "restart_limit", ""),
    ("exitcodes", SUPERVISORD, "success_on", ""),
    ("directory", SUPERVISORD, "cwd", ""),
    ("environment", "supervisord and compose", "env", ""),
    ("priority", SUPERVISORD, "after", "after = [\"NAME\"]"),
    ("stopwaitsecs", SUPERVISORD, "stop_timeout", ""),
    ("stopasgroup", SUPERVISORD, "signal_scope", "signal_scope = \"group\", as it is anyhow"),
    ("killasgroup", SUPERVISORD, "signal_scope", "nothing: all of its tree is ended anyhow"),
    ("stdout_logfile", SUPERVISORD, "log_file", ""),
    ("stdout_logfile_maxbytes", SUPERVISORD, "log_max_size", ""),
    ("stdout_logfile_backups", SUPERVISORD, "log_keep", ""),
    ("redirect_stderr", SUPERVISORD, "log_file", "log_file, which takes both"),
    ("process_name", SUPERVISORD, "replicas", "the name of the table, and replicas = N for NAME@0, NAME@1.."),
    ("healthcheck", COMPOSE, "probe", "probe = \"exec:COMMAND\" or [[service.NAME.probe]]"),
    ("restart_policy", COMPOSE, "restart", ""),
    ("working_dir", COMPOSE, "cwd", ""),
    ("entrypoint", COMPOSE, "command", ""),
    ("scale", COMPOSE, "replicas", ""),
    ("deploy", COMPOSE, "replicas", ""),
    ("stop_grace_period", COMPOSE, "stop_timeout", ""),
    ("ulimits", COMPOSE, "rlimit", ""),
    ("mem_limit", COMPOSE, "memory_limit", ""),
    ("cpus", COMPOSE, "cpu_limit", "cpu_limit = \"150%\" for 1.5 of them"),
    ("expose", COMPOSE, "ports", ""),
    ("profiles", COMPOSE, "enabled", "enabled = \"${WITH_IT:-false}\""),
    ("script", PM2, "command", ""),
    ("args", PM2, "command", "command, with its arguments"),
    ("interpreter", PM2, "command", "the first word of command"),
    ("instances", PM2, "replicas", ""),
    ("increment_var", PM2, "port", ""),
    ("max_memory_restart", PM2, "memory_limit", ""),
    ("min_uptime", PM2, "stable_after", ""),
    ("exp_backoff_restart_delay", PM2, "restart_delay_factor", ""),
    ("out_file", PM2, "log_file", ""),
    ("error_file", PM2, "log_file_stderr", ""),
    ("stderr_logfile", SUPERVISORD, "log_file_stderr", ""),
    ("kill_timeout", PM2, "stop_timeout", ""),
    ("listen_timeout", PM2, "start_timeout", ""),
    ("wait_ready", PM2, "ready", "ready = \"reported\""),
    ("stop_exit_codes", PM2, "no_restart_on", ""),
    ("cron_restart", PM2, "max_age", "max_age = \"1d\""),
    ("exec_start", SYSTEMD, "command", ""),
    ("exec_start_pre", SYSTEMD, "hook", "hook = [\"pre-start:COMMAND\"]"),
    ("exec_stop", SYSTEMD, "stop_signal", ""),
    ("exec_reload", SYSTEMD, "reload_signal", ""),
    ("working_directory", SYSTEMD, "cwd", ""),
    ("environment_file", SYSTEMD, "env_file", ""),
    ("restart_sec", SYSTEMD, "restart_delay", ""),
    ("start_limit_burst", SYSTEMD, "restart_limit", ""),
    ("start_limit_interval_sec", SYSTEMD, "crash_loop_window", ""),
    ("timeout_start_sec", SYSTEMD, "start_timeout", ""),
    ("timeout_stop_sec", SYSTEMD, "stop_timeout", ""),
    ("watchdog_sec", SYSTEMD, "heartbeat_interval", ""),
    ("runtime_max_sec", SYSTEMD, "max_age", ""),
    ("kill_signal", SYSTEMD, "stop_signal", ""),
    ("kill_mode", SYSTEMD, "signal_scope", ""),
    ("limit_nofile", SYSTEMD, "rlimit", "rlimit = { nofile = 1024 }"),
    ("memory_max", SYSTEMD, "memory_limit", ""),
    ("memory_high", SYSTEMD, "memory_soft_limit", ""),
    ("cpu_quota", SYSTEMD, "cpu_limit", ""),
    ("oom_score_adjust", SYSTEMD, "oom_score_adj", ""),
    ("no_new_privileges", SYSTEMD, "no_new_privs", ""),
    ("standard_output", SYSTEMD, "log", ""),
    ("standard_input", SYSTEMD, "stdin", ""),
    ("success_exit_status", SYSTEMD, "success_on", ""),
    ("restart_prevent_exit_status", SYSTEMD, "no_restart_on", ""),
    ("binds_to", SYSTEMD, "requires", ""),
    ("part_of", SYSTEMD, "requires", ""),
    ("before", SYSTEMD, "after", "after, of the other service"),
    ("liveness_probe", KUBERNETES, "probe", "[[service.NAME.probe]] with role = \"liveness\""),
    ("readiness_probe", KUBERNETES, "probe", "[[service.NAME.probe]] with role = \"readiness\""),
    ("startup_probe", KUBERNETES, "probe", "[[service.NAME.probe]] with role = \"startup\""),
    ("termination_grace_period_seconds", KUBERNETES, "stop_timeout", ""),
    ("formation", "foreman", "replicas", ""),
    ("concurrency", "foreman", "replicas", ""),
];

/// Keys of a probe.
static PROBE: &[Word] = &[
    ("test", COMPOSE, "check", "check = \"exec:COMMAND\""),
    ("retries", COMPOSE, "failures", ""),
    ("start_interval", COMPOSE, "starting_interval", ""),
    ("initial_delay_seconds", KUBERNETES, "start_period", ""),
    ("period_seconds", KUBERNETES, "interval", ""),
    ("timeout_seconds", KUBERNETES, "timeout", ""),
    ("failure_threshold", KUBERNETES, "failures", ""),
    ("success_threshold", KUBERNETES, "successes", ""),
    ("http_get", KUBERNETES, "check", "check = \"http://HOST:PORT/path\""),
    ("tcp_socket", KUBERNETES, "check", "check = \"tcp://HOST:PORT\""),
    ("url", "others", "check", "check = \"http://HOST:PORT/path\""),
];

/// Tables of a file.
static TABLES: &[Word] = &[
    ("program", SUPERVISORD, "service", "[service.NAME]"),
    ("services", COMPOSE, "service", "[service.NAME]"),
    ("processes", "process-compose", "service", "[service.NAME]"),
    ("apps", PM2, "service", "[service.NAME]"),
    ("unit", SYSTEMD, "service", "[service.NAME]"),
    ("supervisord", SUPERVISORD, "watchdog", "[watchdog]"),
];

/// The fault of an unknown key of a service that is a word of another program, and the setting it is here.
pub(crate) fn key(written: &str) -> Option<(Fault, &'static str)> {
    find(SERVICE, "key", written)
}

/// The same of a key of a probe.
pub(crate) fn probe_key(written: &str) -> Option<Fault> {
    find(PROBE, "key", written).map(|(fault, _)| fault)
}

/// The same of a table of a file.
pub(crate) fn table(written: &str) -> Option<Fault> {
    find(TABLES, "table", written).map(|(fault, _)| fault)
}

fn find(words: &'static [Word], what: &str, written: &str) -> Option<(Fault, &'static str)> {
    let (_, whose, ours, form) = words.iter().find(|(word, ..)| folded(word).eq(folded(written)))?;
    let form = if form.is_empty() { ours } else { form };
    let fault = Fault::broken(format!("unknown {what}, a word of {whose} for {form}"));
    Some((fault.or_nearest(Some(ours)), ours))
}

/// `ExecStart`, `exec-start` and `exec_start` are one word.
fn folded(word: &str) -> impl Iterator<Item = char> {
    word.chars().filter(|c| !matches!(c, '_' | '-')).map(|c| c.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{probes, table::find as setting};

    #[test]
    fn each_word_is_one_and_leads_to_one_of_ours() {
        for words in [SERVICE, PROBE, TABLES] {
            for (at, (word, ..)) in words.iter().enumerate() {
                assert!(words[..at].iter().all(|(other, ..)| !folded(other).eq(folded(word))), "{word} stands twice");
            }
        }
        for (word, _, ours, _) in SERVICE {
            assert!(setting(ours).is_some() && setting(word).is_none(), "{word}: {ours}");
        }
        assert!(PROBE.iter().all(|(_, _, ours, _)| probes::KEYS.iter().any(|(key, ..)| key == ours)));
    }

    #[test]
    fn it_is_the_same_word_in_any_spelling() {
        for written in ["ExecStart", "exec_start", "exec-start"] {
            assert_eq!(key(written).map(|(_, ours)| ours), Some("command"), "{written}");
        }
        let (fault, _) = key("startsecs").expect("known");
        assert_eq!(
            fault.message,
            "unknown key, a word of supervisord for ready = \"alive:10s\": did you mean \"ready\"?"
        );
        assert!(key("nicee").is_none() && key("").is_none());
    }
}
