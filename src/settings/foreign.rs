//! Words of other supervisors: what they are called here. Of a key that is not known the nearest of ours would often be another
//! thing (`autorestart` is no `autostart`).

use super::fault::Fault;

/// A word, the programs that have it, the setting that it is here, and how that is written where the name does not say it: a line
/// of one of the texts below. Lines rather than a table of pointers, each of which would be written at every start.
type Word = (&'static str, &'static str, &'static str, &'static str);

fn words(text: &'static str) -> impl Iterator<Item = Word> {
    text.lines().filter_map(|line| {
        let mut parts = line.split('|');
        Some((parts.next()?, parts.next()?, parts.next()?, parts.next()?))
    })
}

/// Keys of a service.
static SERVICE: &str = r#"numprocs|supervisord|replicas|
autorestart|supervisord|restart|restart = "always", "on-failure" or "never"
startsecs|supervisord|ready|ready = "alive:10s"
startretries|supervisord|restart_limit|
exitcodes|supervisord|success_on|
directory|supervisord|cwd|
environment|supervisord and compose|env|
priority|supervisord|after|after = ["NAME"]
stopwaitsecs|supervisord|stop_timeout|
stopasgroup|supervisord|signal_scope|signal_scope = "group", as it is anyhow
killasgroup|supervisord|signal_scope|nothing: all of its tree is ended anyhow
stdout_logfile|supervisord|log_file|
stdout_logfile_maxbytes|supervisord|log_max_size|
stdout_logfile_backups|supervisord|log_keep|
redirect_stderr|supervisord|log_file|log_file, which takes both
process_name|supervisord|replicas|the name of the table, and replicas = N for NAME@0, NAME@1..
healthcheck|compose|probe|probe = "exec:COMMAND" or [[service.NAME.probe]]
restart_policy|compose|restart|
working_dir|compose|cwd|
entrypoint|compose|command|
scale|compose|replicas|
deploy|compose|replicas|
stop_grace_period|compose|stop_timeout|
ulimits|compose|rlimit|
mem_limit|compose|memory_limit|
cpus|compose|cpu_limit|cpu_limit = "150%" for 1.5 of them
expose|compose|ports|
profiles|compose|enabled|enabled = "${WITH_IT:-false}"
script|pm2|command|
args|pm2|command|command, with its arguments
interpreter|pm2|command|the first word of command
instances|pm2|replicas|
increment_var|pm2|port|
max_memory_restart|pm2|memory_limit|
min_uptime|pm2|stable_after|
exp_backoff_restart_delay|pm2|restart_delay_factor|
out_file|pm2|log_file|
error_file|pm2|log_file_stderr|
stderr_logfile|supervisord|log_file_stderr|
kill_timeout|pm2|stop_timeout|
listen_timeout|pm2|start_timeout|
wait_ready|pm2|ready|ready = "reported"
stop_exit_codes|pm2|no_restart_on|
cron_restart|pm2|max_age|max_age = "1d"
exec_start|systemd|command|
exec_start_pre|systemd|hook|hook = ["pre-start:COMMAND"]
exec_stop|systemd|stop_signal|
exec_reload|systemd|reload_signal|
working_directory|systemd|cwd|
environment_file|systemd|env_file|
restart_sec|systemd|restart_delay|
start_limit_burst|systemd|restart_limit|
start_limit_interval_sec|systemd|crash_loop_window|
timeout_start_sec|systemd|start_timeout|
timeout_stop_sec|systemd|stop_timeout|
watchdog_sec|systemd|heartbeat_interval|
runtime_max_sec|systemd|max_age|
kill_signal|systemd|stop_signal|
kill_mode|systemd|signal_scope|
limit_nofile|systemd|rlimit|rlimit = { nofile = 1024 }
memory_max|systemd|memory_limit|
memory_high|systemd|memory_soft_limit|
cpu_quota|systemd|cpu_limit|
oom_score_adjust|systemd|oom_score_adj|
no_new_privileges|systemd|no_new_privs|
standard_output|systemd|log|
standard_input|systemd|stdin|
success_exit_status|systemd|success_on|
restart_prevent_exit_status|systemd|no_restart_on|
binds_to|systemd|requires|
part_of|systemd|requires|
before|systemd|after|after, of the other service
liveness_probe|Kubernetes|probe|[[service.NAME.probe]] with role = "liveness"
readiness_probe|Kubernetes|probe|[[service.NAME.probe]] with role = "readiness"
startup_probe|Kubernetes|probe|[[service.NAME.probe]] with role = "startup"
termination_grace_period_seconds|Kubernetes|stop_timeout|
formation|foreman|replicas|
concurrency|foreman|replicas|"#;

/// Keys of a probe.
static PROBE: &str = r#"test|compose|check|check = "exec:COMMAND"
retries|compose|failures|
start_interval|compose|starting_interval|
initial_delay_seconds|Kubernetes|start_period|
period_seconds|Kubernetes|interval|
timeout_seconds|Kubernetes|timeout|
failure_threshold|Kubernetes|failures|
success_threshold|Kubernetes|successes|
http_get|Kubernetes|check|check = "http://HOST:PORT/path"
tcp_socket|Kubernetes|check|check = "tcp://HOST:PORT"
url|others|check|check = "http://HOST:PORT/path""#;

/// Tables of a file.
static TABLES: &str = r#"program|supervisord|service|[service.NAME]
services|compose|service|[service.NAME]
processes|process-compose|service|[service.NAME]
apps|pm2|service|[service.NAME]
unit|systemd|service|[service.NAME]
supervisord|supervisord|watchdog|[watchdog]"#;

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

fn find(text: &'static str, what: &str, written: &str) -> Option<(Fault, &'static str)> {
    let (_, whose, ours, form) = words(text).find(|(word, ..)| folded(word).eq(folded(written)))?;
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
        for text in [SERVICE, PROBE, TABLES] {
            assert_eq!(words(text).count(), text.lines().count(), "a line has not four parts");
            for (at, (word, ..)) in words(text).enumerate() {
                assert!(words(text).take(at).all(|(other, ..)| !folded(other).eq(folded(word))), "{word} stands twice");
            }
        }
        for (word, _, ours, _) in words(SERVICE) {
            assert!(setting(ours).is_some() && setting(word).is_none(), "{word}: {ours}");
        }
        assert!(words(PROBE).all(|(_, _, ours, _)| probes::KEYS.iter().any(|(key, ..)| *key == ours)));
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
