//! The script of `simulate`: `crash@2s x6, ok 40s, exit 3, signal SEGV 5s x2`.

use crate::settings::{Fault, nearest, signals, values};
use std::time::Duration;
use watchdog_engine::machine::{Exit, Oom};

/// One run of the imagined worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    /// How it ends.
    pub(crate) exit: Exit,
    /// How long it lives.
    pub(crate) lives: Duration,
}

/// Most runs a script may spell out with `xN`.
const MOST: i64 = 10_000;
const WORDS: [&str; 4] = ["crash", "ok", "exit", "signal"];

/// The runs in order. Never empty; the last one stands for all that follow.
pub(crate) fn parse(script: &str) -> Result<Vec<Run>, Fault> {
    let mut runs: Vec<Run> = Vec::new();
    for part in script.split(',') {
        let (run, times) = entry(part)?;
        if runs.len() + times > MOST as usize {
            return Err(Fault::usage(format!("more than {MOST} runs")));
        }
        runs.extend(std::iter::repeat_n(run, times));
    }
    Ok(runs)
}

fn entry(part: &str) -> Result<(Run, usize), Fault> {
    let text = part.replace('@', " @");
    let mut words = text.split_whitespace().peekable();
    let wrong = |what: &str| Fault::usage(format!("{:?}: {what}", part.trim()));
    let word = words.next().ok_or_else(|| wrong("an empty entry: crash, ok, exit N or signal NAME"))?;
    let mut argument = |what: &str| words.next().ok_or_else(|| wrong(what));
    let exit = match word {
        "crash" => code(1),
        "ok" => code(0),
        "exit" => code(values::count(argument("exit needs a code, such as exit 3")?, 0, 255)? as i32),
        "signal" => {
            Exit { signal: Some(signals::signal(argument("signal needs a name, such as signal SEGV")?)?), ..code(0) }
        }
        other => {
            return Err(
                Fault::usage(format!("{other:?} is none of {}", WORDS.join(", "))).or_nearest(nearest(other, WORDS))
            );
        }
    };
    let exit = if exit.signal.is_some() { Exit { code: None, ..exit } } else { exit };
    let (mut lives, mut times) = (None, None);
    for word in words {
        match word.strip_prefix('x') {
            Some(n) if times.is_none() => times = Some(values::count(n, 1, MOST)? as usize),
            None if lives.is_none() => lives = Some(values::duration(word.strip_prefix('@').unwrap_or(word))?),
            _ => return Err(wrong(&format!("{word:?} is one word too many"))),
        }
    }
    Ok((Run { exit, lives: lives.unwrap_or_default() }, times.unwrap_or(1)))
}

fn code(code: i32) -> Exit {
    Exit { code: Some(code), signal: None, core: false, rss_peak_bytes: None, oom: Oom::No, cpu: Duration::ZERO }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(script: &str) -> Vec<(Option<i32>, Option<i32>, u64)> {
        let runs = parse(script).expect("valid");
        runs.into_iter().map(|r| (r.exit.code, r.exit.signal, r.lives.as_secs())).collect()
    }

    #[test]
    fn every_word_of_the_script() {
        assert_eq!(ends("crash@2s x2, ok 40s"), [(Some(1), None, 2), (Some(1), None, 2), (Some(0), None, 40)]);
        assert_eq!(ends("exit 3@1m,signal SEGV 5s x1"), [(Some(3), None, 60), (None, Some(11), 5)]);
        assert_eq!(ends("crash"), [(Some(1), None, 0)]);
        assert_eq!(ends("exit 7 x2 @3s"), [(Some(7), None, 3), (Some(7), None, 3)]);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for wrong in
            ["", "crash,", "carsh", "exit", "exit 256", "signal NONE", "crash 5", "crash x0", "crash x1 x2", "ok 1s 2s"]
        {
            assert_eq!(parse(wrong).expect_err(wrong).status, 2);
        }
        assert!(parse("crash x9999999").is_err() && parse("crash x9999, crash x9999").is_err());
        assert!(parse("carsh").expect_err("slip").message.ends_with("did you mean \"crash\"?"));
    }
}
