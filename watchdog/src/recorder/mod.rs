//! The flight recorder's shelf: reports of kills and unclean deaths, as JSON files in a directory that is closed to others.
//! What stands in a report is the caller's business, but for the members that a list shows: see [`Head`].
mod store;

pub(crate) use store::{REPORT_MAX, Store};

use crate::sys::proc::{self, shown};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Bytes of an id.
const ID_MAX: usize = 128;
/// Bytes of a text in a head that are shown.
const TEXT_MAX: usize = 256;
/// The moment in an id, `20261125T190408.123Z`: ids in the order of their bytes are in the order of time. 0 stands for a
/// digit.
const STAMP: &[u8; 20] = b"00000000T000000.000Z";

/// What a list shows of a report. All but id, bytes and path are members of the report itself, at its top.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Head {
    /// Its name.
    pub id: String,
    /// RFC 3339.
    pub time: String,
    /// About whom.
    pub service: String,
    /// Which incarnation.
    pub generation: Option<u64>,
    /// Why it was ended, or ended.
    pub cause: Option<String>,
    /// What a hang was found to be.
    pub verdict: Option<String>,
    /// Its exit code.
    pub code: Option<i64>,
    /// The signal it died by, without SIG.
    pub signal: Option<String>,
    /// Of the file.
    pub bytes: u64,
    /// The file; `None`: in memory only.
    pub path: Option<String>,
    /// The watchdog that wrote it. No part of a list.
    #[serde(skip)]
    pub instance: Option<String>,
    /// Its process. No part of a list.
    #[serde(skip)]
    pub pid: Option<i32>,
}

/// Whose reports a store may take away: those of watchdogs of one name, one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    /// The name of the instance.
    pub name: String,
    /// Its process.
    pub pid: i32,
}

impl Owner {
    /// Of another watchdog of this name that lives nothing is taken away either.
    fn has(&self, head: &Head) -> bool {
        let of_another =
            |pid: i32| pid != self.pid && proc::name(pid).is_some_and(|name| proc::name(self.pid) == Some(name));
        head.instance.as_ref() == Some(&self.name) && !head.pid.is_some_and(of_another)
    }
}

/// The head as a report has it. What else there is in it is read over.
#[derive(Deserialize)]
struct Top {
    time: Option<String>,
    service: Option<String>,
    generation: Option<u64>,
    cause: Option<String>,
    verdict: Option<String>,
    code: Option<i64>,
    signal: Option<String>,
    /// Who wrote it; looked at as far as it is what we know.
    watchdog: Option<Value>,
}

impl Head {
    /// Reads it from a report. What is missing there is taken from the id. `None`: no report.
    fn read(id: &str, report: &[u8], path: Option<String>) -> Option<Head> {
        let name = Name::parse(id)?;
        // serde would take a list for a structure as well.
        if report.trim_ascii_start().first() != Some(&b'{') {
            return None;
        }
        let top: Top = serde_json::from_slice(report).ok()?;
        let text = |text: Option<String>| text.map(|t| shown(&t, TEXT_MAX));
        Some(Head {
            id: id.to_owned(),
            time: text(top.time).unwrap_or_else(|| name.time()),
            service: text(top.service).unwrap_or_else(|| name.service.to_owned()),
            generation: top.generation.or(name.generation),
            cause: text(top.cause),
            verdict: text(top.verdict),
            code: top.code,
            signal: text(top.signal),
            bytes: report.len() as u64,
            path,
            pid: top.watchdog.as_ref().and_then(|w| i32::try_from(w.get("pid")?.as_i64()?).ok()),
            instance: text(top.watchdog.and_then(|w| Some(w.get("name")?.as_str()?.to_owned()))),
        })
    }
}

/// What the id of a report says: `STAMP-SERVICE-GENERATION`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Name<'a> {
    stamp: &'a str,
    service: &'a str,
    generation: Option<u64>,
}

impl<'a> Name<'a> {
    /// `None`: no id of ours, so whatever bears it is none of our business.
    fn parse(id: &'a str) -> Option<Name<'a>> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._@:-".contains(&b);
        if id.len() > ID_MAX || !id.bytes().all(allowed) {
            return None;
        }
        let (stamp, rest) = id.split_at_checked(STAMP.len())?;
        let like = |(b, pattern): (u8, &u8)| if *pattern == b'0' { b.is_ascii_digit() } else { b == *pattern };
        let (service, generation) = rest.strip_prefix('-')?.rsplit_once('-')?;
        let right = stamp.bytes().zip(STAMP).all(like) && !service.is_empty() && !generation.is_empty();
        right.then(|| Name { stamp, service, generation: generation.parse().ok() })
    }

    /// The moment as RFC 3339.
    fn time(&self) -> String {
        let part = |from: usize, to: usize| self.stamp.get(from..to).unwrap_or_default();
        let (date, time) = ([part(0, 4), part(4, 6), part(6, 8)], [part(9, 11), part(11, 13), part(13, 20)]);
        format!("{}T{}", date.join("-"), time.join(":"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ID: &str = "20261125T190408.123Z-web-3";

    #[test]
    fn an_id_says_when_and_about_whom() {
        let name = Name::parse(ID).expect("an id");
        assert_eq!((name.service, name.generation, name.time().as_str()), ("web", Some(3), "2026-11-25T19:04:08.123Z"));
        let name = Name::parse("20261125T190408.123Z-my-api@0-12").expect("an id");
        assert_eq!((name.service, name.generation), ("my-api@0", Some(12)));
    }

    #[test]
    fn what_could_be_a_path_or_is_not_of_our_making_is_no_id() {
        let long = format!("20261125T190408.123Z-{}-1", "a".repeat(200));
        for wrong in [
            "",
            "..",
            "../../etc/passwd",
            "20261125T190408.123Z-a/b-1",
            "20261125T190408.123Z-web",
            "20261125T190408.123Z--1",
            "20261125T190408.123Z-web-",
            "20261125t190408.123Z-web-1",
            "2026x125T190408.123Z-web-1",
            "20261125T190408.123Z-w\u{e4}b-1",
            "20261125T190408.123Z-w b-1",
            "settings",
            &long,
        ] {
            assert_eq!(Name::parse(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn a_head_is_read_from_the_top_of_a_report_and_from_its_id() {
        let report = br#" {"service":"web","cause":"hang\u001b","verdict":"spinning","code":null,"signal":"KILL","threads":[{"time":1}]}"#;
        let head = Head::read(ID, report, None).expect("a report");
        assert_eq!(head.cause.as_deref(), Some("hang"));
        assert_eq!((head.time.as_str(), head.generation, head.code), ("2026-11-25T19:04:08.123Z", Some(3), None));
        assert_eq!((head.verdict.as_deref(), head.signal.as_deref()), (Some("spinning"), Some("KILL")));
        let of =
            |watchdog: &str| Head::read(ID, format!("{{\"watchdog\":{watchdog}}}").as_bytes(), None).expect("a report");
        assert_eq!(of(r#"{"pid":7,"name":"shop"}"#).instance.as_deref(), Some("shop"));
        assert!([r#""shop""#, "{}", "7", r#"{"name":7}"#].iter().all(|strange| of(strange).instance.is_none()));
        for broken in [&b"{"[..], b"", b"[]", b"7", br#"{"code":"x"}"#, b"\xff"] {
            assert_eq!(Head::read(ID, broken, None), None);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_do_no_harm(id in ".{0,40}", report: Vec<u8>, json in r#"\{("(time|code|cause)":("a"|1|null|\[\]),?){0,3}\}"#) {
            let _ = Name::parse(&id);
            let _ = Head::read(ID, &report, None);
            let _ = Head::read(ID, json.as_bytes(), None);
        }
    }
}
