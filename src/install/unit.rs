//! The unit of systemd.

use super::MARK;
use super::facts::Facts;
use super::quote::{assignment, exec_word, rest_of_line};
use std::ffi::OsStr;
use std::fmt::Write;

/// What the whole unit may not do that hardly any service needs. None of it takes `/sys/fs/cgroup` or devices away.
const HARDENING: &str = "\
# Take a line out where a service needs what it forbids: programs with set-uid bits or file capabilities (the first),
# writing to /usr, /boot and /etc (the second). ProtectControlGroups= would take the delegated control group away.
NoNewPrivileges=yes
ProtectSystem=full
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectHostname=yes
RestrictSUIDSGID=yes
LockPersonality=yes
";

/// Of a unit that is not root's.
const HARDENING_WITHOUT_ROOT: &str = "\
# It has no capability, and can gain none. A service that is to listen below 1024 gets one of them by a drop-in:
# AmbientCapabilities=CAP_NET_BIND_SERVICE and CapabilityBoundingSet=CAP_NET_BIND_SERVICE.
CapabilityBoundingSet=
";

/// A manager of one user may not do the rest.
const HARDENING_OF_A_USER: &str = "\
# Take a line out where a service needs what it forbids.
NoNewPrivileges=yes
RestrictSUIDSGID=yes
LockPersonality=yes
";

/// How it runs, and why so.
const SUPERVISED: &str = "\
# It says itself when its services are ready, and judges by start_timeout whether that took too long.
Type=notify
NotifyAccess=main
TimeoutStartSec=infinity
# The loop of the watchdog shows that it turns; where it does not, it is killed and started again. Not by ABRT, which is
# read by the same loop.
WatchdogSec=30s
WatchdogSignal=SIGKILL
# One restarter: the watchdog restarts its services; systemd only a watchdog that died, or that could not go on (125).
Restart=on-abnormal
RestartForceExitStatus=125
RestartSec=1s
# TERM to the watchdog alone, which ends its services in their order and says how long that may take.
KillMode=mixed
# A control group of its own for each service, and a kernel out of memory that kills one of them ends no other.
Delegate=yes
OOMPolicy=continue
";

/// The whole text.
pub(super) fn text(facts: &Facts) -> String {
    let (after, wanted_by) = match facts.of_a_user {
        true => ("After=basic.target", "default.target"),
        false => ("Wants=network-online.target\nAfter=network-online.target", "multi-user.target"),
    };
    let mut text = format!(
        "{MARK}: watchdog uninstall {}{} takes it away again.\n\n[Unit]\nDescription={}\n{after}\n\
         StartLimitIntervalSec=60s\nStartLimitBurst=5\n\n[Service]\nExecStart={}",
        if facts.of_a_user { "--user " } else { "" },
        facts.name,
        one_line(&facts.description),
        exec_word(facts.program.as_os_str()),
    );
    facts.arguments.iter().for_each(|word| {
        let _ = write!(text, " {}", exec_word(word));
    });
    text.push('\n');
    if facts.reloads {
        let program = exec_word(facts.program.as_os_str());
        let _ = writeln!(text, "ExecReload={program} reload -i {}", exec_word(OsStr::new(&facts.name)));
    }
    let _ = writeln!(text, "WorkingDirectory={}", rest_of_line(&facts.directory.to_string_lossy()));
    if let Some(user) = &facts.user {
        let _ = writeln!(text, "User={}", rest_of_line(user));
        if user != "root" {
            let _ = writeln!(text, "RuntimeDirectory=watchdog-{}\nRuntimeDirectoryMode=0700", facts.name);
        }
    }
    for variable in &facts.environment {
        let _ = writeln!(text, "Environment={}", assignment(variable));
    }
    let _ = write!(text, "SyslogIdentifier={}\n\n{SUPERVISED}\n", facts.name);
    text.push_str(if facts.of_a_user { HARDENING_OF_A_USER } else { HARDENING });
    if facts.user.as_ref().is_some_and(|user| user != "root") {
        text.push_str(HARDENING_WITHOUT_ROOT);
    }
    let _ = write!(text, "\n[Install]\nWantedBy={wanted_by}\n");
    text
}

/// A description is one line, and a backslash at its end would take the next one in.
fn one_line(text: &str) -> String {
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    rest_of_line(line.trim().trim_end_matches('\\'))
}
