//! Signals and ends as people write them: names with or without SIG, numbers, RTMIN+n.

use super::fault::Fault;
use super::nearest::nearest;
use watchdog_engine::spec::{Ends, SignalNumber};
use watchdog_engine::{signal_name, signal_number};

/// The names that people mistype, for nearest names and completions.
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM", "TERM",
    "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO",
    "PWR", "SYS",
];

/// A signal by name or number.
pub(crate) fn signal(text: &str) -> Result<SignalNumber, Fault> {
    if let Ok(n) = text.parse::<SignalNumber>() {
        if (1..=64).contains(&n) && !text.starts_with('+') {
            return Ok(n);
        }
        return Err(Fault::usage(format!("{text:?} is no signal: numbers are 1 to 64")));
    }
    by_name(text).ok_or_else(|| {
        let plain = text.strip_prefix("SIG").unwrap_or(text);
        Fault::usage(format!("{text:?} is no signal")).or_nearest(nearest(plain, NAMES))
    })
}

/// The name of a signal without SIG, as everything we print has it.
pub(crate) fn name(number: SignalNumber) -> String {
    signal_name(number)
}

/// A set of ends: exit codes as numbers, deaths by signal as names.
pub(crate) fn ends(items: &[String]) -> Result<Ends, Fault> {
    let mut ends = Ends::default();
    for item in items {
        match item.parse::<i64>() {
            Ok(code) if (0..=255).contains(&code) => push(&mut ends.codes, code as i32),
            Ok(_) => return Err(Fault::usage(format!("{item:?} is no exit code: codes are 0 to 255"))),
            Err(_) => match by_name(item) {
                Some(signal) => push(&mut ends.signals, signal),
                None => {
                    let plain = item.strip_prefix("SIG").unwrap_or(item);
                    let fault = Fault::usage(format!("{item:?} is neither an exit code nor a signal"));
                    return Err(fault.or_nearest(nearest(plain, NAMES)));
                }
            },
        }
    }
    Ok(ends)
}

/// One FROM:TO pair of `rewrite_signal`; TO 0 drops the signal.
pub(crate) fn rewrite(item: &str) -> Result<(SignalNumber, SignalNumber), Fault> {
    let Some((from, to)) = item.split_once(':') else {
        return Err(Fault::usage(format!("{item:?} is not FROM:TO, such as TERM:QUIT or HUP:0")));
    };
    let from = signal(from)?;
    if matches!(from, 9 | 19) {
        return Err(Fault::usage(format!("{item:?}: nobody can catch {}, so it cannot be rewritten", name(from))));
    }
    Ok((from, if to == "0" { 0 } else { signal(to)? }))
}

/// For completions and for nearest names.
pub(crate) fn names() -> &'static [&'static str] {
    &NAMES
}

/// A signal by name alone: where exit codes may stand too, a number is one of those.
fn by_name(text: &str) -> Option<SignalNumber> {
    signal_number(text).filter(|_| text.trim_start_matches("SIG").parse::<i64>().is_err())
}

fn push(list: &mut Vec<i32>, value: i32) {
    if !list.contains(&value) {
        list.push(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_write_a_signal() {
        for (text, n) in [
            ("TERM", 15),
            ("SIGTERM", 15),
            ("term", 15),
            ("sigusr1", 10),
            ("9", 9),
            ("RTMIN", 34),
            ("SIGRTMIN+3", 37),
            ("RTMAX-1", 63),
            ("RTMAX", 64),
            ("IOT", 6),
        ] {
            assert_eq!(signal(text), Ok(n), "{text}");
        }
        for wrong in ["", "0", "65", "-1", "RTMIN+31", "RTMIN-1", "SIG", "RTMAX-", "+5"] {
            assert!(signal(wrong).is_err(), "{wrong}");
        }
        assert_eq!(signal("TREM").expect_err("must fail").message, "\"TREM\" is no signal: did you mean \"TERM\"?");
    }

    #[test]
    fn a_name_comes_back_as_its_number() {
        for n in (1..=31).chain(34..=64) {
            assert_eq!(signal(&name(n)), Ok(n));
        }
    }

    /// The table against the C library's own numbers: they differ on a few old architectures.
    #[test]
    fn the_numbers_are_the_kernels() {
        for (n, theirs) in [(1, libc::SIGHUP), (10, libc::SIGUSR1), (16, libc::SIGSTKFLT), (29, libc::SIGIO)] {
            assert_eq!(n, theirs);
        }
        assert_eq!(signal("SYS"), Ok(libc::SIGSYS));
    }

    #[test]
    fn ends_take_codes_and_signals_together() {
        let items = |list: &[&str]| list.iter().map(|s| s.to_string()).collect::<Vec<_>>();
        let set = ends(&items(&["0", "143", "HUP", "SIGINT", "0"])).expect("valid");
        assert_eq!(set, Ends { codes: vec![0, 143], signals: vec![1, 2] });
        assert!(ends(&items(&["256"])).is_err() && ends(&items(&["-1"])).is_err());
        assert!(ends(&items(&["TREM"])).expect_err("must fail").message.contains("did you mean \"TERM\"?"));
        assert_eq!(ends(&[]), Ok(Ends::default()));
    }

    #[test]
    fn rewriting() {
        assert_eq!(rewrite("TERM:QUIT"), Ok((15, 3)));
        assert_eq!(rewrite("1:0"), Ok((1, 0)));
        assert!(rewrite("KILL:TERM").is_err() && rewrite("TERM").is_err() && rewrite("0:1").is_err());
    }
}
