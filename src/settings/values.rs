//! Values as people write them: durations, sizes, percents, counts, switches, names, command strings.
//!
//! Units are required, and everything is bounded here, so that no sum behind this door can overflow.

use super::fault::Fault;
use super::nearest::nearest;
use std::ffi::OsString;
use std::time::Duration;

/// Longest duration taken: a hundred years. More is a slip, and would overflow deadlines.
pub(crate) const LONGEST: Duration = Duration::from_secs(36_525 * 86_400);
/// Largest size taken: 8 EiB less one, what a file offset can hold.
pub(crate) const LARGEST: u64 = i64::MAX as u64;

const DURATION_UNITS: [(&str, u128); 5] = [
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
    ("d", 86_400_000_000_000),
];
const SIZE_UNITS: [(&str, u128); 7] = [
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
];

/// A duration: `500ms`, `10s`, `1.5h`, `1m30s`; `0` needs no unit.
pub(crate) fn duration(text: &str) -> Result<Duration, Fault> {
    let nanos = with_units(text, "duration", "s", &DURATION_UNITS)?;
    if nanos > LONGEST.as_nanos() {
        return Err(Fault::usage(format!("{text:?} is too long: at most 36525d")));
    }
    Ok(Duration::new((nanos / 1_000_000_000) as u64, (nanos % 1_000_000_000) as u32))
}

/// A size in bytes: `512KiB`, `10MB`; `0` needs no unit.
pub(crate) fn size(text: &str) -> Result<u64, Fault> {
    let bytes = with_units(text, "size", "MiB", &SIZE_UNITS)?;
    if bytes > u128::from(LARGEST) {
        return Err(Fault::usage(format!("{text:?} is too large: at most {LARGEST}B")));
    }
    Ok(bytes as u64)
}

/// A share in whole percent, 0 to 100: `20%`; `0` needs no unit.
pub(crate) fn percent(text: &str) -> Result<u8, Fault> {
    Ok(share(text, 100)? as u8)
}

/// A share in whole percent that may be more than the whole, from 0 to this.
pub(crate) fn share(text: &str, most: u32) -> Result<u32, Fault> {
    let digits = match text.strip_suffix('%') {
        Some(digits) => digits,
        None if text == "0" => text,
        None if is_number(text) => {
            return Err(Fault::usage(format!("{text:?} has no unit")).or_nearest(Some(format!("{text}%"))));
        }
        None => return Err(Fault::usage(format!("{text:?} is no percentage, such as \"20%\""))),
    };
    match digits.parse::<u32>() {
        Ok(n) if n <= most && !digits.starts_with('+') => Ok(n),
        _ => Err(Fault::usage(format!("{text:?} is no percentage: 0% to {most}%, whole"))),
    }
}

/// A whole number inside bounds, both included.
pub(crate) fn count(text: &str, low: i64, high: i64) -> Result<i64, Fault> {
    match text.parse::<i64>() {
        Ok(n) if (low..=high).contains(&n) => Ok(n),
        _ => Err(Fault::usage(format!("{text:?} is not a whole number from {low} to {high}"))),
    }
}

/// A decimal of at least 1 in thousandths: `2`, `1.5`.
pub(crate) fn factor(text: &str) -> Result<u32, Fault> {
    let wrong = || Fault::usage(format!("{text:?} is not a decimal from 1 to 1000, such as \"1.5\""));
    let (whole, part) = decimal(text).ok_or_else(wrong)?;
    let milli = whole.checked_mul(1000).and_then(|w| w.checked_add(part / 1_000_000)).ok_or_else(wrong)?;
    if (1000..=1_000_000).contains(&milli) { Ok(milli as u32) } else { Err(wrong()) }
}

/// `true` or `false`; `yes no on off` are near enough to be named in the error.
pub(crate) fn switch(text: &str) -> Result<bool, Fault> {
    let meant = match text {
        "true" => return Ok(true),
        "false" => return Ok(false),
        "yes" | "on" | "1" => Some("true"),
        "no" | "off" | "0" => Some("false"),
        other => nearest(other, ["true", "false"]),
    };
    Err(Fault::usage(format!("{text:?} is neither true nor false")).or_nearest(meant))
}

/// One word of a closed list.
pub(crate) fn word<T: Copy>(text: &str, words: &[(&str, T)]) -> Result<T, Fault> {
    if let Some((_, value)) = words.iter().find(|(w, _)| *w == text) {
        return Ok(*value);
    }
    let all: Vec<&str> = words.iter().map(|(w, _)| *w).collect();
    let fault = Fault::usage(format!("{text:?} is none of {}", all.join(", ")));
    Err(fault.or_nearest(nearest(text, all.iter().copied())))
}

/// A name of an instance or service: `[A-Za-z0-9._-]{1,64}`.
pub(crate) fn name(text: &str) -> Result<String, Fault> {
    if !text.is_empty() && text.len() <= 64 && text.bytes().all(is_name_byte) {
        return Ok(text.to_string());
    }
    let nearest = default_name(text.as_bytes());
    let fault = Fault::usage(format!("{text:?} is no name: 1 to 64 letters, digits and . _ -"));
    Err(fault.or_nearest((!text.is_empty()).then_some(nearest)))
}

/// The name of a service that was given none: the basename of its program, other characters as `_`, 64 at most.
pub(crate) fn default_name(program: &[u8]) -> String {
    let base = program.split(|b| *b == b'/').rfind(|part| !part.is_empty()).unwrap_or(b"_");
    base.iter().take(64).map(|b| if is_name_byte(*b) { *b as char } else { '_' }).collect()
}

/// The directory or file of an instance with this name.
pub(crate) fn file_name(name: &str) -> &str {
    if matches!(name, "" | "." | "..") { "_" } else { name }
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')
}

/// A file mode mask: octal digits, with or without `0` or `0o` in front.
pub(crate) fn umask(text: &str) -> Result<u32, Fault> {
    let digits = text.strip_prefix("0o").unwrap_or(text);
    match u32::from_str_radix(digits, 8) {
        Ok(mask) if mask <= 0o777 && !digits.starts_with('+') => Ok(mask),
        _ => Err(Fault::usage(format!("{text:?} is no mask: octal, 000 to 777"))),
    }
}

/// A command in one string, split as a shell would, without a shell: quotes and backslashes, nothing else.
pub(crate) fn command(text: &str) -> Result<Vec<OsString>, Fault> {
    let mut words: Vec<OsString> = Vec::new();
    let mut word: Option<String> = None;
    let mut quote: Option<char> = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(q), c) if c == q => quote = None,
            (Some('\''), c) => word.get_or_insert_default().push(c),
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, c) if c.is_ascii_whitespace() => words.extend(word.take().map(OsString::from)),
            (_, '\\') => match chars.next() {
                // Inside double quotes a backslash keeps itself before an ordinary letter, as in a shell.
                Some(next) => {
                    let word = word.get_or_insert_default();
                    if quote.is_some() && !matches!(next, '"' | '\\' | '$' | '`') {
                        word.push('\\');
                    }
                    word.push(next);
                }
                None => return Err(Fault::usage("the command ends in a backslash")),
            },
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        return Err(Fault::usage("a quote in the command is not closed"));
    }
    words.extend(word.map(OsString::from));
    if words.is_empty() { Err(Fault::usage("the command is empty")) } else { Ok(words) }
}

/// Numbers with units, one after the other, in the smallest unit's measure.
fn with_units(text: &str, what: &str, usual: &str, units: &[(&'static str, u128)]) -> Result<u128, Fault> {
    if text == "0" {
        return Ok(0);
    }
    if is_number(text) {
        return Err(Fault::usage(format!("{text:?} has no unit")).or_nearest(Some(format!("{text}{usual}"))));
    }
    let names = || units.iter().map(|(u, _)| *u).collect::<Vec<_>>();
    let no_such = || Fault::usage(format!("{text:?} is no {what}: a number with a unit of {}", names().join(" ")));
    if text.is_empty() {
        return Err(no_such());
    }
    let mut total: u128 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(no_such)?;
        let (number, tail) = rest.split_at(end);
        let end = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        let (whole, part) = decimal(number).ok_or_else(no_such)?;
        let Some((_, scale)) = units.iter().find(|(u, _)| *u == unit) else {
            let meant = near_unit(unit, units).filter(|_| tail.is_empty() && rest.len() == text.len());
            return Err(no_such().or_nearest(meant.map(|u| format!("{number}{u}"))));
        };
        let value = u128::from(whole) * scale + u128::from(part) * scale / 1_000_000_000;
        total = total.saturating_add(value);
        rest = tail;
    }
    Ok(total)
}

/// Units that other programs take, and what they are called here.
fn near_unit(unit: &str, units: &[(&'static str, u128)]) -> Option<&'static str> {
    let lower = unit.to_ascii_lowercase();
    let meant = match lower.trim_start() {
        "msec" | "millis" | "milliseconds" => "ms",
        "sec" | "secs" | "second" | "seconds" => "s",
        "min" | "mins" | "minute" | "minutes" => "m",
        "hr" | "hour" | "hours" => "h",
        "day" | "days" => "d",
        "k" | "kib" | "ki" => "KiB",
        "m" | "mib" | "mi" => "MiB",
        "g" | "gib" | "gi" => "GiB",
        "byte" | "bytes" => "B",
        other => other,
    };
    units.iter().map(|(u, _)| *u).find(|u| u.eq_ignore_ascii_case(meant))
}

/// Whether this is a bare number, whole or decimal.
fn is_number(text: &str) -> bool {
    decimal(text).is_some()
}

/// A decimal as whole part and billionths, nothing rounded; more than nine decimals are cut.
fn decimal(text: &str) -> Option<(u64, u64)> {
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(part) {
        return None;
    }
    let nano: String = part.chars().chain("000000000".chars()).take(9).collect();
    Some((whole.parse().unwrap_or(u64::MAX), nano.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(result: Result<impl std::fmt::Debug, Fault>) -> String {
        result.map(|v| format!("{v:?}")).unwrap_or_else(|f| f.message)
    }

    #[test]
    fn durations_have_units_and_bounds() {
        for (text, ms) in [("500ms", 500), ("10s", 10_000), ("1.5s", 1500), ("1m30s", 90_000), ("0", 0), ("0s", 0)] {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        assert_eq!(duration("1h"), Ok(Duration::from_secs(3600)));
        assert_eq!(duration("2d"), Ok(Duration::from_secs(172_800)));
        assert_eq!(says(duration("5")), "\"5\" has no unit: did you mean \"5s\"?");
        assert_eq!(says(duration("1.5")), "\"1.5\" has no unit: did you mean \"1.5s\"?");
        assert!(says(duration("5sec")).ends_with("did you mean \"5s\"?"), "{}", says(duration("5sec")));
        for wrong in ["", "s", "-1s", "1 s", "1s2", ".5s", "1.s", "1e3s", "inf", "NaN", "1ss", "٣s", "1..5s"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
        for huge in ["3660000d", "99999999999999999999999999999999999999999d", "18446744073709551616s", "36525d1ms"] {
            assert!(says(duration(huge)).contains("too long"), "{huge}: {}", says(duration(huge)));
        }
        assert_eq!(duration("36525d"), Ok(LONGEST));
    }

    #[test]
    fn sizes_have_units_and_bounds() {
        for (text, bytes) in [("10MiB", 10 << 20), ("10MB", 10_000_000), ("1.5KiB", 1536), ("0", 0), ("7B", 7)] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        assert_eq!(says(size("10")), "\"10\" has no unit: did you mean \"10MiB\"?");
        assert!(says(size("10M")).ends_with("did you mean \"10MiB\"?"));
        assert!(says(size("99999999999GiB")).contains("too large"));
    }

    #[test]
    fn percents_counts_and_factors() {
        assert_eq!(percent("20%"), Ok(20));
        assert_eq!(percent("0"), Ok(0));
        assert_eq!(says(percent("20")), "\"20\" has no unit: did you mean \"20%\"?");
        assert!(percent("101%").is_err() && percent("-1%").is_err() && percent("1.5%").is_err());
        assert_eq!(count("5", 0, 10), Ok(5));
        assert!(count("11", 0, 10).is_err() && count("5s", 0, 10).is_err() && count("", 0, 10).is_err());
        assert_eq!(factor("2"), Ok(2000));
        assert_eq!(factor("1.5"), Ok(1500));
        assert!(factor("0.9").is_err() && factor("99999999999999999999").is_err() && factor("nan").is_err());
    }

    #[test]
    fn names_keep_to_their_letters() {
        assert_eq!(name("web-1.2_x"), Ok("web-1.2_x".into()));
        assert!(says(name("a b")).ends_with("did you mean \"a_b\"?"));
        assert!(name("").is_err() && name(&"x".repeat(65)).is_err() && name("a/b").is_err());
        assert_eq!(default_name(b"/usr/bin/my app"), "my_app");
        assert_eq!(default_name(&[b'x'; 100]).len(), 64);
        assert_eq!(default_name("/bin/größe".as_bytes()), "gr____e");
        assert_eq!(default_name(b"./dir/"), "dir");
        assert_eq!(default_name(b"/"), "_");
    }

    #[test]
    fn masks_are_octal() {
        assert_eq!(umask("022"), Ok(0o22));
        assert_eq!(umask("0o27"), Ok(0o27));
        assert!(umask("1000").is_err() && umask("8").is_err() && umask("").is_err() && umask("+22").is_err());
    }

    #[test]
    fn commands_are_split_without_a_shell() {
        let split = |text| command(text).map(|w| w.iter().map(|w| w.to_string_lossy().into_owned()).collect());
        assert_eq!(
            split(r#"a 'b c' "d \"e" f\ g ''"#),
            Ok(["a", "b c", "d \"e", "f g", ""].map(String::from).to_vec())
        );
        assert!(command("").is_err() && command("'a").is_err() && command("a\\").is_err());
    }
}
