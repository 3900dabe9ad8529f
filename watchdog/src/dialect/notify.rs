//! sd_notify(3): datagrams of `KEY=VALUE` lines. Who may send them is the caller's to decide, by the credentials that the
//! kernel adds.

use super::{LONGEST, line_of};
use crate::machine::News;
use std::time::Duration;

/// Bytes of a datagram. Whoever reads one that is longer hands it to nobody: the end of a line that was cut is another line.
pub(crate) const MAX: usize = 4096;
/// Lines of a datagram that are looked at.
const MAX_LINES: usize = 64;
/// Bytes of a status that are kept.
const STATUS_MAX: usize = 4096;
/// Highest number of an error, as the kernel has it.
const ERRNO_MAX: i32 = 4095;
/// Keys of sd_notify(3) that mean nothing to us.
const IGNORED: [&[u8]; 12] = [
    b"MONOTONIC_USEC",
    b"FDSTORE",
    b"FDSTOREREMOVE",
    b"FDNAME",
    b"FDPOLL",
    b"NOTIFYACCESS",
    b"BUSERROR",
    b"VARLINKERROR",
    b"EXIT_STATUS",
    b"MAINPIDFD",
    b"MAINPIDFDID",
    b"INVOCATION_ID",
];

/// What one datagram says.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Notified {
    /// In the order of the lines.
    pub news: Vec<News>,
    /// The sender waits until the descriptor that came along is closed (BARRIER=1).
    pub barrier: bool,
    /// Lines that mean nothing here or anywhere.
    pub unknown: u32,
}

/// Reads one datagram. One that is empty, too long or has a zero in it says nothing.
pub(crate) fn decode(datagram: &[u8]) -> Notified {
    let mut said = Notified::default();
    // One zero at the end is the mistake of a sender who counted it; any other would hide what follows it.
    let text = datagram.strip_suffix(b"\0").unwrap_or(datagram);
    if datagram.len() > MAX || memchr::memchr(0, text).is_some() {
        said.unknown = 1;
        return said;
    }
    let mut lines = text.split(|b| *b == b'\n').filter(|line| !line.is_empty());
    for line in lines.by_ref().take(MAX_LINES) {
        match understand(line) {
            Meaning::News(news) => said.news.push(news),
            Meaning::Barrier => said.barrier = true,
            Meaning::Nothing => {}
            Meaning::Unknown => said.unknown += 1,
        }
    }
    said.unknown += u32::from(lines.next().is_some());
    said
}

enum Meaning {
    News(News),
    Barrier,
    /// Known, and of no interest.
    Nothing,
    Unknown,
}

fn understand(line: &[u8]) -> Meaning {
    let Some(equals) = memchr::memchr(b'=', line) else { return Meaning::Unknown };
    let (key, value) = (&line[..equals], &line[equals + 1..]);
    let news = match key {
        b"READY" => yes(value).then_some(News::Ready),
        b"RELOADING" => yes(value).then_some(News::Reloading),
        b"STOPPING" => yes(value).then_some(News::Stopping),
        b"STATUS" => Some(News::Status(line_of(&String::from_utf8_lossy(value), STATUS_MAX))),
        b"WATCHDOG" if value == b"trigger" => Some(News::Trigger),
        b"WATCHDOG" => yes(value).then_some(News::Beat),
        // An interval of nothing could be kept by nobody.
        b"WATCHDOG_USEC" => micros(value).filter(|every| !every.is_zero()).map(News::BeatEvery),
        b"EXTEND_TIMEOUT_USEC" => micros(value).map(News::Extend),
        // 0 and 1 are nobody's worker (case HAN-24); whether it is in the tree is the caller's question.
        b"MAINPID" => digits(value).and_then(|n| i32::try_from(n).ok()).filter(|pid| *pid > 1).map(News::MainPid),
        b"ERRNO" => {
            digits(value).and_then(|n| i32::try_from(n).ok()).filter(|n| (1..=ERRNO_MAX).contains(n)).map(News::Errno)
        }
        b"BARRIER" if yes(value) => return Meaning::Barrier,
        other if other.starts_with(b"X_") || IGNORED.contains(&other) => return Meaning::Nothing,
        _ => None,
    };
    news.map_or(Meaning::Unknown, Meaning::News)
}

fn yes(value: &[u8]) -> bool {
    value == b"1"
}

fn micros(value: &[u8]) -> Option<Duration> {
    Some(Duration::from_micros(digits(value)?).min(LONGEST))
}

/// Digits and nothing else: no sign, no blanks.
fn digits(value: &[u8]) -> Option<u64> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn news(datagram: &[u8]) -> Vec<News> {
        decode(datagram).news
    }

    #[test]
    fn every_key_that_means_something_is_understood() {
        let all =
            b"READY=1\nRELOADING=1\nSTOPPING=1\nSTATUS=warm\nWATCHDOG=1\nWATCHDOG=trigger\nWATCHDOG_USEC=2000000\n\
                    EXTEND_TIMEOUT_USEC=1500\nMAINPID=42\nERRNO=2\nBARRIER=1\n";
        let said = decode(all);
        let want = [
            News::Ready,
            News::Reloading,
            News::Stopping,
            News::Status("warm".into()),
            News::Beat,
            News::Trigger,
            News::BeatEvery(Duration::from_secs(2)),
            News::Extend(Duration::from_micros(1500)),
            News::MainPid(42),
            News::Errno(2),
        ];
        assert_eq!(said, Notified { news: want.to_vec(), barrier: true, unknown: 0 });
    }

    #[test]
    fn keys_that_are_known_and_of_no_interest_are_not_counted() {
        let said = decode(b"MONOTONIC_USEC=5\nFDSTORE=1\nFDSTOREREMOVE=1\nFDNAME=a\nFDPOLL=0\nX_MINE=yes\n\n");
        assert_eq!(said, Notified::default());
        assert_eq!(decode(b"WHATEVER=1\nno equals\nREADY=2\nBARRIER=0").unknown, 4);
    }

    #[test]
    fn an_empty_datagram_says_nothing() {
        assert_eq!(decode(b""), Notified::default());
        assert_eq!(decode(b"\n\n\n"), Notified::default());
    }

    #[test]
    fn a_main_pid_is_plain_digits_and_more_than_one() {
        for lie in ["0", "1", "-1", "+5", " 5", "5 ", "0x5", "", "five", "2147483648", "99999999999999999999"] {
            assert_eq!(news(format!("MAINPID={lie}").as_bytes()), [], "{lie:?}");
        }
        assert_eq!(news(b"MAINPID=2"), [News::MainPid(2)]);
    }

    #[test]
    fn a_status_is_one_line_without_control_characters() {
        assert_eq!(news(b"STATUS=a\x1b[31mb\tc\xff"), [News::Status("a[31mbc\u{fffd}".into())]);
        assert_eq!(news(b"STATUS="), [News::Status(String::new())]);
        let long = [b"STATUS=".as_slice(), &[0xff; 4000]].concat();
        assert!(matches!(&news(&long)[..], [News::Status(text)] if text.len() <= STATUS_MAX));
    }

    #[test]
    fn what_is_too_long_or_hides_something_says_nothing() {
        assert_eq!(news(b"STATUS=a\0READY=1\nREADY=1"), []);
        assert_eq!(news(b"READY=1\0"), [News::Ready]);
        let long = [b"READY=1\nX_A=".as_slice(), &[b'a'; MAX]].concat();
        assert_eq!(news(&long), []);
        let many = decode("WATCHDOG=1\n".repeat(65).as_bytes());
        assert_eq!((many.news.len(), many.unknown), (64, 1));
    }

    #[test]
    fn absurd_times_are_kept_in_bounds() {
        assert_eq!(news(b"EXTEND_TIMEOUT_USEC=18446744073709551615"), [News::Extend(LONGEST)]);
        assert_eq!(news(b"WATCHDOG_USEC=0"), []);
        assert_eq!(news(b"WATCHDOG_USEC=18446744073709551616"), []);
        assert_eq!(news(b"ERRNO=0\nERRNO=4096\nERRNO=4095"), [News::Errno(4095)]);
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "the others have nothing to check")]
    fn is_bounded(said: &Notified) -> bool {
        said.news.len() <= MAX_LINES
            && said.unknown <= 65
            && said.news.iter().all(|news| match news {
                News::Status(text) => text.len() <= STATUS_MAX && !text.chars().any(char::is_control),
                News::MainPid(pid) => *pid > 1,
                _ => true,
            })
    }

    proptest! {
        #[test]
        fn any_bytes_do_no_harm(bytes in proptest::collection::vec(any::<u8>(), 0..5000)) {
            prop_assert!(is_bounded(&decode(&bytes)));
        }

        #[test]
        fn any_lines_give_bounded_news(
            lines in proptest::collection::vec(
                ("(READY|STATUS|WATCHDOG|WATCHDOG_USEC|EXTEND_TIMEOUT_USEC|MAINPID|ERRNO|BARRIER|X_A)=", ".{0,80}|[0-9]{1,25}"),
                0..90,
            )
        ) {
            let text: String = lines.iter().map(|(key, value)| format!("{key}{value}\n")).collect();
            prop_assert!(is_bounded(&decode(text.as_bytes())));
        }
    }
}
