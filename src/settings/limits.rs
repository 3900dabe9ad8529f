//! Limits of memory and processor time as people write them.

use super::fault::Fault;
use super::values;
use watchdog_engine::spec::MemoryLimit;

/// Most percent of one core: a thousand cores.
const MOST_PERCENT: u32 = 100_000;

/// `memory_limit`
pub(crate) fn memory(text: &str) -> Result<Option<MemoryLimit>, Fault> {
    if text == "auto" {
        return Ok(Some(MemoryLimit::Auto));
    }
    Ok(memory_soft(text)?.map(MemoryLimit::Bytes))
}

/// `memory_soft_limit`
pub(crate) fn memory_soft(text: &str) -> Result<Option<u64>, Fault> {
    if is_off(text) {
        return Ok(None);
    }
    match values::size(text)? {
        0 => Err(none(text)),
        bytes => Ok(Some(bytes)),
    }
}

/// `cpu_limit`
pub(crate) fn cpu(text: &str) -> Result<Option<u32>, Fault> {
    if is_off(text) {
        return Ok(None);
    }
    match values::share(text, MOST_PERCENT)? {
        0 => Err(none(text)),
        percent => Ok(Some(percent)),
    }
}

fn is_off(text: &str) -> bool {
    matches!(text, "off" | "none" | "false")
}

/// Nothing keeps to a limit of nothing; who writes it means none.
fn none(text: &str) -> Fault {
    Fault::usage(format!("{text:?} is a limit that nothing keeps")).or_nearest(Some("off"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(result: Result<impl std::fmt::Debug, Fault>) -> String {
        result.expect_err("must be refused").message
    }

    #[test]
    fn memory_has_a_unit_or_is_auto_or_off() {
        assert_eq!(memory("512MiB"), Ok(Some(MemoryLimit::Bytes(512 << 20))));
        assert_eq!((memory("auto"), memory("off")), (Ok(Some(MemoryLimit::Auto)), Ok(None)));
        assert_eq!((memory_soft("1GB"), memory_soft("off")), (Ok(Some(1_000_000_000)), Ok(None)));
        assert_eq!(wrong(memory("512")), "\"512\" has no unit: did you mean \"512MiB\"?");
        assert!(wrong(memory("0")).ends_with("did you mean \"off\"?"));
        assert!(memory_soft("auto").is_err() && memory("80%").is_err());
    }

    #[test]
    fn processor_time_is_in_percent_of_one_core() {
        assert_eq!((cpu("150%"), cpu("off"), cpu("100000%")), (Ok(Some(150)), Ok(None), Ok(Some(100_000))));
        assert_eq!(wrong(cpu("80")), "\"80\" has no unit: did you mean \"80%\"?");
        assert!(wrong(cpu("100001%")).contains("0% to 100000%") && wrong(cpu("0%")).ends_with("did you mean \"off\"?"));
        assert!(cpu("1.5").is_err() && cpu("-1%").is_err() && cpu("two").is_err() && cpu("+5%").is_err());
    }
}
