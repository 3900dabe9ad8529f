//! docs/coverage.md says which test guards what. Here it is held to its word: no empty cell, no test that does not
//! exist or is switched off, no setting, no failure case and no mutant without a row, nothing undone without a reason.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Command;

/// The failure cases of the scope: a group and how many it has.
const CASES: [(&str, usize); 18] = [
    ("LAU", 14),
    ("INH", 12),
    ("EXI", 15),
    ("RES", 19),
    ("HAN", 26),
    ("THR", 16),
    ("STO", 18),
    ("PID", 8),
    ("DEA", 9),
    ("EXH", 10),
    ("CLK", 6),
    ("LOG", 16),
    ("CTL", 14),
    ("SEC", 10),
    ("CFG", 16),
    ("DEP", 11),
    ("PRO", 13),
    ("HTP", 13),
];
/// What may stand in the place of a test, with its reason behind it.
const EXCUSES: [&str; 2] = ["not done:", "simulator only:"];

/// One row of a table: what it is about, the cells that name tests, and where it stands.
struct Row {
    section: String,
    id: String,
    tests: Vec<String>,
    place: String,
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_default()
}

/// The rows of all tables; what is wrong with their form goes into the list.
fn rows(page: &str, wrong: &mut Vec<String>) -> Vec<Row> {
    let (mut section, mut found, mut width) = (String::new(), Vec::new(), 0);
    for (at, line) in page.lines().enumerate() {
        let place = format!("docs/coverage.md:{}", at + 1);
        if let Some(title) = line.strip_prefix("## ") {
            section = title.to_string();
        }
        let Some(line) = line.strip_prefix('|').and_then(|l| l.trim_end().strip_suffix('|')) else {
            width = 0;
            continue;
        };
        let cells: Vec<String> = line.split('|').map(|c| c.trim().to_string()).collect();
        if width == 0 {
            width = cells.len();
            continue;
        }
        if cells[0].starts_with("---") {
            continue;
        }
        if cells.len() != width || cells.iter().any(|c| c.trim_matches('`').is_empty()) {
            wrong.push(format!("{place}: an empty cell, or not {width} of them"));
            continue;
        }
        let id = cells[0].trim_matches('`').to_string();
        found.push(Row { section: section.clone(), id, tests: cells[1..width - 1].to_vec(), place });
    }
    found
}

/// Whether `path::name` is a test that runs, or `command: scripts/x` a script that is there.
fn fault_of(test: &str) -> Option<String> {
    if let Some(command) = test.strip_prefix("command: ") {
        let script = command.trim_matches('`').split(' ').next().unwrap_or_default();
        return (!root().join(script).is_file()).then(|| format!("no script {script}"));
    }
    let Some((path, name)) = test.trim_matches('`').rsplit_once("::") else {
        return Some(format!("{test:?} is not FILE::NAME, nor an excuse ({})", EXCUSES.join(", ")));
    };
    let text = read(path);
    let Some(at) = text.find(&format!("fn {name}(")) else { return Some(format!("no test {name} in {path}")) };
    let above = &text[..text[..at].rfind('\n').unwrap_or(0)];
    let before: Vec<&str> = above.lines().rev().take_while(|l| l.trim_start().starts_with('#')).collect();
    let is = |word: &str| before.iter().any(|l| l.contains(word));
    (!is("#[test]") || is("#[ignore")).then(|| format!("{name} in {path} is no test that runs"))
}

fn has_reason(cell: &str) -> Option<bool> {
    let excuse = EXCUSES.iter().find(|e| cell.starts_with(**e))?;
    Some(cell[excuse.len()..].trim().len() > 10)
}

#[test]
fn every_row_is_whole_and_every_test_is_there() {
    let mut wrong = Vec::new();
    let page = read("docs/coverage.md");
    let rows = rows(&page, &mut wrong);
    let mut seen: BTreeMap<(&str, &str), &str> = BTreeMap::new();
    for row in &rows {
        if let Some(first) = seen.insert((&row.section, &row.id), &row.place) {
            wrong.push(format!("{}: {} stands at {first} already", row.place, row.id));
        }
        for cell in &row.tests {
            match has_reason(cell) {
                Some(true) => {}
                Some(false) => wrong.push(format!("{}: {} has no reason", row.place, row.id)),
                None => {
                    let faults = cell.split(", ").filter_map(fault_of);
                    wrong.extend(faults.map(|f| format!("{}: {}: {f}", row.place, row.id)));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let count = |what: &str| rows.iter().filter(|r| r.tests.iter().any(|t| t.starts_with(what))).count();
    println!("{} rows, {} not done, {} simulator only", rows.len(), count(EXCUSES[0]), count(EXCUSES[1]));
}

/// The ids of one section must be exactly the wanted ones.
#[track_caller]
fn exactly(section: &str, wanted: &BTreeSet<String>) {
    let page = read("docs/coverage.md");
    let have: BTreeSet<String> =
        rows(&page, &mut Vec::new()).into_iter().filter(|r| r.section == section).map(|r| r.id).collect();
    let missing: Vec<_> = wanted.difference(&have).collect();
    let strange: Vec<_> = have.difference(wanted).collect();
    assert!(missing.is_empty() && strange.is_empty(), "{section}: without a row {missing:?}, unknown {strange:?}");
}

#[test]
fn every_failure_case_of_the_scope_has_a_row() {
    let id = |(group, count): &(&str, usize)| (1..=*count).map(|n| format!("{group}-{n:02}")).collect::<Vec<_>>();
    exactly("Failure cases", &CASES.iter().flat_map(id).collect());
}

/// The attacks, reports and findings that this version answers: each keeps its row.
#[test]
fn every_attack_and_report_has_a_row() {
    let set = |ids: &str| ids.split_whitespace().map(str::to_string).collect::<BTreeSet<_>>();
    let numbered = |letter: &str, count: usize| (1..=count).map(|n| format!("{letter}{n}")).collect::<Vec<_>>();
    let attacks = [("H", 6), ("M", 6), ("L", 12), ("B", 2)];
    exactly("Attacks", &attacks.iter().flat_map(|(letter, count)| numbered(letter, *count)).collect());
    exactly(
        "Reports about other supervisors",
        &set("1 3 5 6 7 7b 16 17 18 19 21 27 37 43 44 52 55 57 59 60 S1 S2 S3 S4"),
    );
    exactly("What users met", &set("1 2 3 4 5 6 7 8 10 11 12 13 14 15 17 18"));
    exactly("What a reader found", &numbered("R", 8).into_iter().collect());
}

#[test]
fn every_setting_of_the_one_list_has_a_row() {
    let out = Command::new(env!("CARGO_BIN_EXE_watchdog")).arg("help-settings").output().unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    let settings: BTreeSet<String> = text.lines().filter_map(|l| Some(l.split_once('\t')?.0.to_string())).collect();
    assert!(settings.len() > 40, "the list is not the list: {text}");
    exactly("Settings", &settings);
}

/// The table of the mutants is filled as a whole or not yet begun.
#[test]
fn every_mutant_has_a_row_once_one_has() {
    let page = read("docs/coverage.md");
    assert!(page.contains("\n## Mutants in the street\n"));
    if rows(&page, &mut Vec::new()).iter().any(|r| r.section == "Mutants in the street") {
        let table = read("scripts/mutants/table.txt");
        let name = |l: &str| Some(l.strip_prefix("== ")?.split_once(':')?.0.to_string());
        exactly("Mutants in the street", &table.lines().filter_map(name).collect());
    }
}

#[test]
fn the_reader_of_the_page_reads_well() {
    let mut wrong = Vec::new();
    let page =
        "## A\n\n| id | test | note |\n|---|---|---|\n| `x` | not done: nobody has the time | n |\n| y | | n |\n";
    let rows = rows(page, &mut wrong);
    assert_eq!((rows.len(), wrong.len()), (1, 1), "{wrong:?}");
    assert_eq!((rows[0].section.as_str(), rows[0].id.as_str()), ("A", "x"));
    assert_eq!(has_reason(&rows[0].tests[0]), Some(true));
    assert_eq!(has_reason("not done:"), Some(false));
    assert_eq!(has_reason("tests/a.rs::b"), None);
    assert_eq!(fault_of("`tests/coverage.rs::the_reader_of_the_page_reads_well`"), None);
    let off = "tests/stop.rs::a_worker_in_state_d_is_killed_and_waited_for";
    for bad in ["tests/coverage.rs::no_such_test", "tests/coverage.rs::fault_of", "some words", off] {
        assert!(fault_of(bad).is_some(), "{bad}");
    }
}
