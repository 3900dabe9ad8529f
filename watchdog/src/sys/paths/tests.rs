use super::*;
use std::fs;
use std::io::Read;
use std::os::unix::fs::{PermissionsExt, chown, symlink};

/// Somebody else.
const OTHER: u32 = 65533;

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Both ways to a directory: the one call, and name by name as without openat2.
fn both(path: &Path, last: Last) -> [io::Result<Place>; 2] {
    let walked = walk(path, None, last).and_then(|(dir, name, made)| {
        let shared = hold_of(&fstat(&dir)?)? == Hold::Shared;
        Ok(Place { dir, name, shared, made })
    });
    [Place::find(path, Home::Ours, last), walked]
}

fn why(found: io::Result<Place>) -> String {
    found.err().map(|e| e.to_string()).unwrap_or_default()
}

#[test]
fn links_of_our_own_are_followed_and_the_file_behind_them_is_held() {
    let dir = folder();
    let real = dir.path().join("real");
    fs::create_dir(&real).unwrap();
    symlink("real", dir.path().join("link")).unwrap();
    symlink(dir.path().join("link/../real"), dir.path().join("twice")).unwrap();
    for path in ["link/file", "twice/file", "real/../twice/./file"] {
        for place in both(&dir.path().join(path), Last::NoLink) {
            let mut place = place.unwrap();
            place.append(0o600).unwrap().write_all(b"x").unwrap();
        }
    }
    assert_eq!(fs::read_to_string(real.join("file")).unwrap(), "x".repeat(6));
    symlink("real/file", dir.path().join("file")).unwrap();
    for place in both(&dir.path().join("file"), Last::Link) {
        assert_eq!(place.unwrap().name(), "file");
    }
    for place in both(&dir.path().join("file"), Last::NoLink) {
        assert!(place.unwrap().append(0o600).unwrap_err().to_string().contains("symbolic link"));
    }
}

#[test]
fn a_loop_of_links_and_what_is_no_file_end() {
    let dir = folder();
    symlink("b", dir.path().join("a")).unwrap();
    symlink("a", dir.path().join("b")).unwrap();
    for place in both(&dir.path().join("a/file"), Last::NoLink) {
        assert_eq!(place.unwrap_err().raw_os_error(), Some(libc::ELOOP));
    }
    for path in ["/", "..", "/.."] {
        for place in both(Path::new(path), Last::NoLink) {
            assert_eq!(place.unwrap_err().raw_os_error(), Some(libc::EISDIR), "{path}");
        }
    }
    let fifo = dir.path().join("fifo");
    nix::unistd::mkfifo(&fifo, Mode::S_IRWXU).unwrap();
    let mut place = Place::find(&fifo, Home::Ours, Last::Link).unwrap();
    assert!(place.append(0o600).unwrap_err().to_string().contains("FIFO"));
    assert!(place.overwrite(0o600).unwrap_err().to_string().contains("FIFO"));
    assert!(place.read(place.name()).unwrap_err().to_string().contains("FIFO"));
    let _reader = fs::OpenOptions::new().read(true).write(true).open(&fifo).unwrap();
    assert!(place.append(0o600).unwrap_err().to_string().contains("FIFO"), "also with a reader");
}

#[test]
fn in_a_directory_of_everybody_only_files_of_ours_with_one_name_are_opened() {
    let dir = folder();
    let open = dir.path().join("open");
    fs::create_dir(&open).unwrap();
    for bits in [0o777, 0o1777] {
        mode(&open, bits);
        for place in both(&open.join("file"), Last::NoLink) {
            assert!(place.unwrap().append(0o600).is_ok());
        }
    }
    symlink(dir.path(), open.join("link")).unwrap();
    for place in both(&open.join("link/file"), Last::NoLink) {
        assert!(why(place).contains("directory that others may write to"));
    }
    fs::hard_link(open.join("file"), open.join("second")).unwrap();
    let mut place = Place::find(&open.join("second"), Home::Ours, Last::NoLink).unwrap();
    assert!(place.append(0o600).unwrap_err().to_string().contains("second name"));
    assert!(place.could_be_written().is_err());
}

/// As root, with another user.
#[test]
fn what_another_user_controls_is_refused() {
    if !geteuid().is_root() {
        return;
    }
    let dir = folder();
    let (theirs, ours) = (dir.path().join("theirs"), dir.path().join("ours"));
    fs::create_dir(&theirs).unwrap();
    fs::create_dir(&ours).unwrap();
    chown(&theirs, Some(OTHER), Some(OTHER)).unwrap();
    symlink(&ours, theirs.join("link")).unwrap();
    std::os::unix::fs::lchown(theirs.join("link"), Some(OTHER), None).unwrap();
    symlink(&ours, theirs.join("of-root")).unwrap();
    symlink(&ours, dir.path().join("moved")).unwrap();
    std::os::unix::fs::lchown(dir.path().join("moved"), Some(OTHER), None).unwrap();
    for (path, says) in [
        ("theirs/file", "belongs to user 65533"),
        ("theirs/link/file", "symbolic link of user 65533"),
        ("theirs/of-root/file", "directory that others may write to"),
        ("moved/file", "symbolic link of user 65533"),
    ] {
        for place in both(&dir.path().join(path), Last::NoLink) {
            let why = why(place);
            assert!(why.contains(says), "{path}: {why}");
        }
    }
    let made = Place::find(&theirs.join("new/file"), Home::Made, Last::NoLink);
    assert!(why(made).contains("belongs to user 65533") && !theirs.join("new").exists());
    // A directory of ours below one of theirs is ours.
    fs::create_dir(theirs.join("ours")).unwrap();
    for place in both(&theirs.join("ours/file"), Last::NoLink) {
        assert!(place.unwrap().append(0o600).is_ok());
    }
    let shared = dir.path().join("shared");
    fs::create_dir(&shared).unwrap();
    mode(&shared, 0o1777);
    fs::write(shared.join("file"), "").unwrap();
    chown(shared.join("file"), Some(OTHER), None).unwrap();
    let mut place = Place::find(&shared.join("file"), Home::Ours, Last::NoLink).unwrap();
    assert!(place.append(0o600).unwrap_err().to_string().contains("belongs to user 65533"));
    assert!(place.could_be_written().is_err());
    // Read by somebody else's wish: their own file, and nothing that is not theirs.
    fs::write(theirs.join("env"), "A=1").unwrap();
    chown(theirs.join("env"), Some(OTHER), None).unwrap();
    let mut text = String::new();
    open_to_read(&theirs.join("env")).unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(text, "A=1");
    fs::write(ours.join("secret"), "S=1").unwrap();
    fs::hard_link(ours.join("secret"), theirs.join("hard")).unwrap();
    for path in ["link/secret", "hard"] {
        assert!(open_to_read(&theirs.join(path)).is_err(), "{path}");
    }
}

#[test]
fn what_was_made_is_taken_away_again_unless_something_is_in_it() {
    let dir = folder();
    let path = dir.path().join("a/b/c/file");
    let mut place = Place::find(&path, Home::Made, Last::NoLink).unwrap();
    drop(place.append(0o640).unwrap());
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o137, 0);
    place.take_made().undo();
    assert!(!dir.path().join("a").exists());
    let mut place = Place::find(&path, Home::Made, Last::NoLink).unwrap();
    place.append(0o640).unwrap().write_all(b"x").unwrap();
    place.take_made().undo();
    assert!(path.exists());
}

#[test]
fn a_file_is_replaced_as_a_whole_and_through_no_link() {
    let dir = folder();
    let (path, victim) = (dir.path().join("state"), dir.path().join("victim"));
    fs::write(&victim, "precious").unwrap();
    symlink(&victim, dir.path().join("state.new")).unwrap();
    let place = Place::find(&path, Home::Ours, Last::Link).unwrap();
    place.replace(b"{}", 0o600, true).unwrap();
    assert_eq!(
        (fs::read_to_string(&path).unwrap(), fs::read_to_string(&victim).unwrap()),
        ("{}".into(), "precious".into())
    );
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
}

#[test]
fn what_is_no_file_is_known_before_it_is_opened() {
    let dir = folder();
    let (fifo, file, link) = (dir.path().join("fifo"), dir.path().join("file"), dir.path().join("link"));
    nix::unistd::mkfifo(&fifo, Mode::S_IRWXU).unwrap();
    fs::write(&file, "#!/bin/sh").unwrap();
    symlink(&file, &link).unwrap();
    for path in [&fifo, Path::new("/dev/zero"), Path::new("/dev/tty"), dir.path()] {
        assert!(open_regular(path).is_err(), "{}", path.display());
    }
    let mut text = String::new();
    open_regular(&link).unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(text, "#!/bin/sh");
}
