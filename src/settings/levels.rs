//! The filter of the watchdog's own log: checked here, because env_logger passes over what it does not understand.

use super::fault::Fault;
use super::nearest::nearest;

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// A filter in env_logger's syntax: `info`, `warn,watchdog_engine=debug`, an optional `/text` behind.
pub(crate) fn check(filter: &str) -> Result<String, Fault> {
    let directives = filter.split('/').next().unwrap_or_default();
    for directive in directives.split(',').map(str::trim).filter(|d| !d.is_empty()) {
        let (target, level) = match directive.split_once('=') {
            Some((target, level)) => (Some(target), level.trim()),
            None => (None, directive),
        };
        let known = LEVELS.iter().any(|l| l.eq_ignore_ascii_case(level));
        // A bare word that is no level is the name of a module, unless it looks like a slip.
        let module = target.is_none() && (level.contains("::") || level.starts_with("watchdog"));
        if target == Some("") || !(known || module) {
            let fault = Fault::usage(format!("{level:?} is no level: {}", LEVELS.join(", ")));
            return Err(fault.or_nearest(nearest(level, LEVELS)));
        }
    }
    Ok(filter.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters() {
        for right in ["warn", "INFO", "off", "warn,watchdog_engine=debug", "watchdog_engine::machine", "", "debug/exit"]
        {
            assert!(check(right).is_ok(), "{right}");
        }
        for wrong in ["wran", "warn,x=loud", "=warn", "verbose"] {
            assert!(check(wrong).is_err(), "{wrong}");
        }
        assert!(check("debgu").expect_err("must fail").message.ends_with("did you mean \"debug\"?"));
    }
}
