use super::*;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use tempfile::TempDir;

/// A directory that is not there yet, in one that goes away.
fn place() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("state/reports");
    (dir, path)
}

fn id(service: &str, n: u64) -> String {
    format!("20261125T190408.{n:03}Z-{service}-{n}")
}

fn report(service: &str) -> Vec<u8> {
    format!(r#"{{"service":"{service}","cause":"hang","verdict":"spinning","signal":"KILL"}}"#).into_bytes()
}

/// Writes the n-th report of a service.
fn write(store: &mut Store, service: &str, n: u64) -> Result<PathBuf, StoreError> {
    store.write(service, &id(service, n), &report(service))
}

fn ids(store: &mut Store) -> Vec<String> {
    store.list().into_iter().map(|head| head.id).collect()
}

fn why(result: Result<PathBuf, StoreError>) -> String {
    result.expect_err("no file").to_string()
}

#[test]
fn a_report_is_a_private_file_and_comes_back_as_it_was() {
    let (_outer, dir) = place();
    let mut store = Store::new(Some(dir.clone()), 20, None);
    assert!(!dir.exists(), "nothing is made before it is needed");
    assert_eq!((store.list(), newest(&mut store)), (vec![], None));
    let path = write(&mut store, "web", 3).expect("a file");
    assert_eq!(path, dir.join(format!("{}.json", id("web", 3))));
    let mode = |path: &Path| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    assert_eq!((mode(&dir), mode(&path)), (0o700, 0o600));
    assert_eq!(fs::read_dir(&dir).expect("a directory").count(), 1, "no half-written file is left");
    let shown = store.show(&id("web", 3)).expect("a report");
    assert_eq!(shown["verdict"], "spinning");
    assert_eq!(newest(&mut store), Some(shown));
    let head = store.list().remove(0);
    assert_eq!((head.service.as_str(), head.cause.as_deref(), head.generation), ("web", Some("hang"), Some(3)));
    assert_eq!((head.bytes, head.path), (report("web").len() as u64, Some(path.display().to_string())));
}

#[test]
fn the_oldest_of_a_service_make_room_and_those_of_others_stay() {
    let (_outer, dir) = place();
    let mut store = Store::new(Some(dir.clone()), 2, None);
    write(&mut store, "db", 0).expect("a file");
    for n in 1..=4 {
        write(&mut store, "web", n).expect("a file");
    }
    assert_eq!(ids(&mut store), [id("web", 4), id("web", 3), id("db", 0)], "newest first");
    assert_eq!(fs::read_dir(&dir).expect("a directory").count(), 3);
    assert_eq!(store.show(&id("web", 1)), None);
    // A service whose name begins like another's is another.
    write(&mut store, "web-2", 5).expect("a file");
    assert_eq!(ids(&mut store).len(), 4);
}

#[test]
fn the_oldest_of_all_make_room_when_they_are_too_large() {
    let (_outer, dir) = place();
    let size = report("web").len() as u64;
    let mut store = Store { total_max: 3 * size, ..Store::new(Some(dir), 20, None) };
    for n in 1..=3 {
        write(&mut store, "web", n).expect("a file");
    }
    write(&mut store, "api", 4).expect("a file");
    assert_eq!(ids(&mut store), [id("api", 4), id("web", 3), id("web", 2)]);
    store.total_max = 1;
    write(&mut store, "web", 5).expect("a file");
    assert_eq!(ids(&mut store), [id("web", 5)], "the newest stays in any case");
}

#[test]
fn reports_of_earlier_watchdogs_are_listed_and_files_of_others_left_alone() {
    let (_outer, dir) = place();
    write(&mut Store::new(Some(dir.clone()), 20, None), "web", 1).expect("a file");
    let stranger = [("settings.json", "{}"), ("notes", "x"), (".hidden.part", "x")];
    for (name, text) in stranger {
        fs::write(dir.join(name), text).expect("a file");
    }
    fs::write(dir.join(format!("{}.json", id("web", 2))), "{ broken").expect("a file");
    std::os::unix::fs::symlink("/etc/passwd", dir.join(format!("{}.json", id("web", 3)))).expect("a link");
    let mut store = Store { total_max: 1, ..Store::new(Some(dir.clone()), 1, None) };
    assert_eq!(ids(&mut store), [id("web", 1)]);
    assert_eq!((store.show(&id("web", 2)), store.show(&id("web", 3))), (None, None));
    write(&mut store, "web", 9).expect("a file");
    assert_eq!(ids(&mut store), [id("web", 9)]);
    assert!(stranger.iter().all(|(name, _)| dir.join(name).exists()));
}

#[test]
fn another_watchdog_in_the_same_directory_is_seen() {
    let (_outer, dir) = place();
    let (mut one, mut two) = (Store::new(Some(dir.clone()), 20, None), Store::new(Some(dir), 20, None));
    write(&mut one, "web", 1).expect("a file");
    write(&mut two, "api", 2).expect("a file");
    assert_eq!(ids(&mut one), [id("api", 2), id("web", 1)]);
    assert!(one.show(&id("api", 2)).is_some());
}

#[test]
fn an_id_is_never_a_path() {
    let (outer, dir) = place();
    let mut store = Store::new(Some(dir), 20, None);
    write(&mut store, "web", 1).expect("a file");
    fs::write(outer.path().join("state/secret.json"), "{}").expect("a file");
    for wrong in ["../secret", "../../secret", "/etc/passwd", "", "web"] {
        assert_eq!(store.show(wrong), None, "{wrong:?}");
        assert_eq!(store.write("web", wrong, b"{}"), Err(StoreError::Refused), "{wrong:?}");
    }
    assert_eq!(store.write("api", &id("web", 2), b"{}"), Err(StoreError::Refused), "about another");
    assert_eq!(store.write("web", &id("web", 2), &vec![b' '; REPORT_MAX + 1]), Err(StoreError::Refused));
}

#[test]
fn without_a_directory_the_last_one_is_in_memory() {
    let mut store = Store::new(None, 20, None);
    assert_eq!(write(&mut store, "web", 1), Err(StoreError::NoDirectory));
    assert_eq!(write(&mut store, "web", 2), Err(StoreError::NoDirectory));
    assert_eq!(ids(&mut store), [id("web", 2)]);
    assert_eq!(store.list()[0].path, None);
    assert_eq!(newest(&mut store).expect("a report")["service"], "web");
    assert!(store.show(&id("web", 2)).is_some() && store.show(&id("web", 1)).is_none());
    let mut off = Store::new(None, 0, None);
    assert_eq!(write(&mut off, "web", 1), Err(StoreError::Off));
    assert_eq!(newest(&mut off), None);
}

#[test]
fn a_directory_that_cannot_be_used_is_tried_again() {
    let (outer, dir) = place();
    // A file where the directory should be: not even root can write there.
    fs::write(outer.path().join("state"), "").expect("a file");
    let mut store = Store::new(Some(dir), 20, None);
    assert!(why(write(&mut store, "web", 1)).contains("report directory"));
    assert!(store.warned && newest(&mut store).is_some() && ids(&mut store) == [id("web", 1)]);
    fs::remove_file(outer.path().join("state")).expect("our file");
    write(&mut store, "web", 2).expect("a file");
    assert!(!store.warned);
    assert_eq!(ids(&mut store), [id("web", 2)]);
}

#[test]
fn a_directory_that_may_not_be_written_to_leaves_it_in_memory() {
    let (_outer, dir) = place();
    fs::create_dir_all(&dir).expect("a directory");
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o500)).expect("ours");
    let mut store = Store::new(Some(dir.clone()), 20, None);
    let written = write(&mut store, "web", 1);
    // Root may write everywhere.
    if !nix::unistd::geteuid().is_root() {
        assert!(why(written).contains("denied"));
        assert!(newest(&mut store).is_some());
    }
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)).expect("ours");
}

#[test]
fn links_and_directories_of_others_are_refused() {
    let (outer, dir) = place();
    let link = outer.path().join("link");
    fs::create_dir_all(&dir).expect("a directory");
    std::os::unix::fs::symlink(&dir, &link).expect("a link");
    assert!(why(write(&mut Store::new(Some(link), 20, None), "web", 1)).contains("no directory"));
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o770)).expect("ours");
    assert!(why(write(&mut Store::new(Some(dir.clone()), 20, None), "web", 1)).contains("mode 770"));
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).expect("ours");
    write(&mut Store::new(Some(dir.clone()), 20, None), "web", 1)
        .expect("others may look into it, the files are closed");
    if nix::unistd::geteuid().is_root() {
        std::os::unix::fs::chown(&dir, Some(12_345), None).expect("root may");
        let mut store = Store::new(Some(dir), 20, None);
        assert!(why(write(&mut store, "web", 2)).contains("belongs to user 12345"));
        assert_eq!(ids(&mut store), [id("web", 2)], "in memory, and nothing of theirs is listed");
    }
}

#[test]
fn what_a_dead_watchdog_left_half_written_goes_when_it_is_old() {
    let (_outer, dir) = place();
    let mut store = Store::new(Some(dir.clone()), 20, None);
    write(&mut store, "web", 1).expect("a file");
    let (old, new) = (dir.join(part_of(&id("web", 2))), dir.join(part_of(&id("web", 3))));
    for path in [&old, &new] {
        fs::write(path, "{").expect("a file");
    }
    let long_ago = clock::wall() - ABANDONED * 2;
    File::options().write(true).open(&old).expect("ours").set_modified(long_ago).expect("ours");
    assert_eq!(ids(&mut store), [id("web", 1)]);
    assert!(!old.exists() && new.exists());
}

/// The first of the list, whole.
fn newest(store: &mut Store) -> Option<serde_json::Value> {
    let head = store.list().into_iter().next()?;
    store.show(&head.id)
}
