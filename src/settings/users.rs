//! Users and groups, from the two files themselves: a static binary has no NSS, and every error says so.

use super::fault::Fault;
use super::nearest::nearest;
use std::path::{Path, PathBuf};
use watchdog_engine::spec::Identity;

/// Where users and groups are written down.
#[derive(Clone, Debug)]
pub(crate) struct Accounts {
    /// `/etc/passwd`.
    pub(crate) passwd: PathBuf,
    /// `/etc/group`.
    pub(crate) group: PathBuf,
}

/// Whom a worker becomes, and what its HOME, USER and LOGNAME are then (none when only a group was asked for).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Resolved {
    /// For the kernel.
    pub(crate) identity: Identity,
    /// Login name and home directory.
    pub(crate) login: Option<(String, String)>,
}

impl Default for Accounts {
    fn default() -> Self {
        Accounts { passwd: PathBuf::from("/etc/passwd"), group: PathBuf::from("/etc/group") }
    }
}

impl Accounts {
    /// The identity for the settings `user` and `group`; none when neither is set.
    pub(crate) fn resolve(&self, user: Option<&str>, group: Option<&str>) -> Result<Option<Resolved>, Fault> {
        let gid = group.map(|g| self.gid(g)).transpose()?;
        let Some(user) = user else {
            let name = group.unwrap_or_default().to_string();
            let identity = gid.map(|gid| Identity { uid: None, gid, groups: None, name });
            return Ok(identity.map(|identity| Resolved { identity, login: None }));
        };
        let entry = self.user(user)?;
        let gid = gid.unwrap_or(entry.gid);
        let mut groups = vec![gid];
        for row in rows(&read(&self.group, "group").unwrap_or_default()) {
            let member = row.get(3).is_some_and(|members| members.split(',').any(|m| m == entry.name));
            if let (true, Some(Ok(id))) = (member, row.get(2).map(|id| id.parse::<u32>()))
                && !groups.contains(&id)
            {
                groups.push(id);
            }
        }
        let identity = Identity { uid: Some(entry.uid), gid, groups: Some(groups), name: entry.name.clone() };
        Ok(Some(Resolved { identity, login: Some((entry.name, entry.home)) }))
    }

    /// A user by name, or by number: a number that no line has is a user without a name, home or other group.
    #[inline(never)]
    fn user(&self, user: &str) -> Result<Account, Fault> {
        let number = number(user);
        let text = match (read(&self.passwd, "user"), number) {
            (Ok(text), _) => text,
            (Err(_), Some(_)) => String::new(),
            (Err(fault), None) => return Err(fault),
        };
        let accounts: Vec<Account> = rows(&text).filter_map(|row| Account::from_row(&row)).collect();
        let found = accounts.iter().find(|a| a.name == user);
        let found = found.or_else(|| accounts.iter().find(|a| Some(a.uid) == number));
        match (found, number) {
            (Some(account), _) => Ok(account.clone()),
            (None, Some(uid)) => Ok(Account { name: uid.to_string(), uid, gid: uid, home: "/".to_string() }),
            (None, None) => {
                let known = accounts.iter().map(|a| a.name.as_str());
                Err(unknown("user", user, &self.passwd).or_nearest(nearest(user, known)))
            }
        }
    }

    #[inline(never)]
    fn gid(&self, group: &str) -> Result<u32, Fault> {
        if let Some(gid) = number(group) {
            return Ok(gid);
        }
        let text = read(&self.group, "group")?;
        let known: Vec<Vec<&str>> = rows(&text).collect();
        if let Some(Ok(gid)) = known.iter().find(|r| r[0] == group).and_then(|r| r.get(2)).map(|id| id.parse()) {
            return Ok(gid);
        }
        let names = known.iter().map(|r| r[0]);
        Err(unknown("group", group, &self.group).or_nearest(nearest(group, names)))
    }
}

/// One line of the user file.
#[derive(Clone, Debug)]
struct Account {
    name: String,
    uid: u32,
    gid: u32,
    home: String,
}

impl Account {
    fn from_row(row: &[&str]) -> Option<Account> {
        let home = row.get(5).filter(|h| !h.is_empty()).unwrap_or(&"/");
        Some(Account {
            name: row.first()?.to_string(),
            uid: row.get(2)?.parse().ok()?,
            gid: row.get(3)?.parse().ok()?,
            home: home.to_string(),
        })
    }
}

/// A user or group number. The last one is the kernel's "no change" and nobody's.
fn number(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|n| digits && *n != u32::MAX)
}

fn rows(text: &str) -> impl Iterator<Item = Vec<&str>> {
    text.lines().filter(|l| !l.is_empty() && !l.starts_with('#')).map(|l| l.split(':').collect())
}

fn read(path: &Path, what: &str) -> Result<String, Fault> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(e) => Err(Fault::broken(format!("{what}: cannot read {}: {}", path.display(), reason(&e)))),
    }
}

fn unknown(what: &str, name: &str, path: &Path) -> Fault {
    Fault::broken(format!("{what} {name:?}: not in {} (read directly, no NSS)", path.display()))
}

/// What the system says, without the number Rust puts behind it, and in lower case as all our lines.
pub(crate) fn reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut chars = text.chars();
    chars.next().map(|c| c.to_lowercase().chain(chars).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accounts() -> (tempfile::TempDir, Accounts) {
        let dir = tempfile::tempdir().expect("temporary directory");
        let accounts = Accounts { passwd: dir.path().join("passwd"), group: dir.path().join("group") };
        let users = "root:x:0:0:root:/root:/bin/sh\n# no\nnobody:x:65534:65534::/nonexistent:/x\nbroken\nann:x:7:8::/home/ann:\n";
        std::fs::write(&accounts.passwd, users).expect("write");
        std::fs::write(&accounts.group, "root:x:0:\nstaff:x:50:bob,ann\nann:x:8:\naudio:x:29:ann\n").expect("write");
        (dir, accounts)
    }

    #[test]
    fn a_user_brings_its_groups_and_its_home() {
        let (_dir, accounts) = accounts();
        let ann = accounts.resolve(Some("ann"), None).expect("known").expect("set");
        assert_eq!(ann.identity, Identity { uid: Some(7), gid: 8, groups: Some(vec![8, 50, 29]), name: "ann".into() });
        assert_eq!(ann.login, Some(("ann".into(), "/home/ann".into())));
        assert_eq!(accounts.resolve(Some("7"), None), Ok(Some(ann.clone())));
        let in_group = accounts.resolve(Some("ann"), Some("staff")).expect("known").expect("set");
        assert_eq!(in_group.identity.groups, Some(vec![50, 29]));
    }

    #[test]
    fn a_group_alone_leaves_the_user() {
        let (_dir, accounts) = accounts();
        let only = accounts.resolve(None, Some("staff")).expect("known").expect("set");
        let identity = Identity { uid: None, gid: 50, groups: None, name: "staff".into() };
        assert_eq!(only, Resolved { identity, login: None });
        assert_eq!(accounts.resolve(None, None), Ok(None));
    }

    #[test]
    fn an_unknown_name_says_where_it_was_looked_for() {
        let (_dir, accounts) = accounts();
        let fault = accounts.resolve(Some("nobod"), None).expect_err("must fail");
        assert_eq!(fault.status, 125);
        assert!(fault.message.starts_with("user \"nobod\": not in "), "{}", fault.message);
        assert!(fault.message.ends_with("(read directly, no NSS): did you mean \"nobody\"?"), "{}", fault.message);
        assert!(
            accounts.resolve(None, Some("stafff")).expect_err("must fail").message.ends_with("did you mean \"staff\"?")
        );
    }

    #[test]
    fn a_number_needs_no_line() {
        let (_dir, accounts) = accounts();
        let free = accounts.resolve(Some("4711"), None).expect("a number").expect("set");
        let name = "4711".into();
        assert_eq!(free.identity, Identity { uid: Some(4711), gid: 4711, groups: Some(vec![4711]), name });
        assert!(accounts.resolve(Some("4294967295"), None).is_err());
    }
}
