//! Resource limits as people write them: `nofile=1024`, `nofile=1024:4096`, `core=0`, `memlock=unlimited`.

use super::fault::Fault;
use super::nearest::nearest;
use super::values;
use watchdog_engine::spec::{RESOURCES, Rlimit};

/// How a resource is measured.
#[derive(Clone, Copy)]
enum Measure {
    Count,
    Bytes,
    Seconds,
    Micros,
}

/// How the resource of this number is measured.
fn measure(resource: u32) -> Measure {
    match resource {
        0 => Measure::Seconds,
        6 | 7 | 10 | 11 | 13 | 14 => Measure::Count,
        15 => Measure::Micros,
        _ => Measure::Bytes,
    }
}

/// One `NAME=SOFT[:HARD]`; without HARD both are set.
pub(crate) fn rlimit(item: &str) -> Result<Rlimit, Fault> {
    let Some((name, value)) = item.split_once('=') else {
        return Err(Fault::usage(format!("{item:?} is not NAME=SOFT or NAME=SOFT:HARD, such as nofile=1024:4096")));
    };
    let plain = name.strip_prefix("RLIMIT_").unwrap_or(name).to_ascii_lowercase();
    let Some(resource) = (0u32..).zip(RESOURCES).find(|(_, n)| *n == plain).map(|(number, _)| number) else {
        return Err(Fault::usage(format!("{name:?} is no resource")).or_nearest(nearest(&plain, RESOURCES)));
    };
    let (soft, hard) = value.split_once(':').unwrap_or((value, value));
    let level = |text| level(text, measure(resource)).map_err(|f| f.at(name));
    let (soft, hard) = (level(soft)?, level(hard)?);
    if soft > hard {
        return Err(Fault::usage(format!("{item:?}: the soft limit is above the hard one")));
    }
    Ok(Rlimit { resource, soft, hard })
}

fn level(text: &str, measure: Measure) -> Result<u64, Fault> {
    if matches!(text, "unlimited" | "infinity") {
        return Ok(u64::MAX);
    }
    match measure {
        Measure::Count => values::count(text, 0, i64::MAX).map(|n| n as u64),
        Measure::Bytes => values::size(text),
        Measure::Seconds => values::duration(text).map(|d| d.as_secs()),
        Measure::Micros => values::duration(text).map(|d| d.as_micros() as u64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits() {
        let of = |resource, soft, hard| Ok(Rlimit { resource, soft, hard });
        assert_eq!(rlimit("nofile=1024"), of(7, 1024, 1024));
        assert_eq!(rlimit("nofile=1024:4096"), of(7, 1024, 4096));
        assert_eq!(rlimit("core=0"), of(4, 0, 0));
        assert_eq!(rlimit("memlock=64KiB:unlimited"), of(8, 65536, u64::MAX));
        assert_eq!(rlimit("cpu=1m"), of(0, 60, 60));
        for wrong in ["nofile", "nofile=", "nofile=2:1", "nofil=1", "core=10", "nofile=-1", "=1"] {
            assert!(rlimit(wrong).is_err(), "{wrong}");
        }
        assert!(rlimit("nofil=1").expect_err("must fail").message.ends_with("did you mean \"nofile\"?"));
    }

    #[test]
    fn the_numbers_are_the_kernels() {
        let number = |name: &str| RESOURCES.iter().position(|n| *n == name).map(|n| n as u64);
        assert_eq!(number("nofile"), Some(libc::RLIMIT_NOFILE as u64));
        assert_eq!(number("as"), Some(libc::RLIMIT_AS as u64));
        assert_eq!(number("rttime"), Some(libc::RLIMIT_RTTIME as u64));
    }
}
