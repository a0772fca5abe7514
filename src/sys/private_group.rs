//! The rule "private group": whose group's write permission lets nobody in but the owner.
//!
//! What this file is for: most desktops give each user a group of the same name, and a umask of 002, so that whatever the
//! user makes is group-writable. What it deliberately does not do: look at permission bits; [`super::folder`] does.
//!
//! What always holds: a group is private to a user if it has the user's name, no other member under any name that its number
//! has, and is no other user's primary group, as far as the system's user database tells. What cannot be told is not private.
#![forbid(unsafe_code)]

use super::user_namespace::unmapped_gid;
use nix::unistd::{Gid, Group, Uid, User};
use std::fs::File;
use std::io::{ErrorKind, Read};

/// The users of this machine. The database may have others, of which a program is told only by number or name.
const USERS: &str = "/etc/passwd";
/// The groups of this machine. Of several lines with one number, a program that asks for it is told the first only.
const GROUPS: &str = "/etc/group";
/// Most that is read of either; where there is more, no group is private. Bytes.
const TABLE_BYTES_MAX: u64 = 1024 * 1024;

/// The rule, by the names of the owner, the group, and those that the group lists. `is_of_others`: whether it is the primary
/// group of a user with another uid, or another group of its number has other members; the most expensive, so it is asked last.
fn is_private(owner: &str, group: &str, members: &[String], is_of_others: impl FnOnce() -> bool) -> bool {
    !owner.is_empty() && owner == group && members.iter().all(|member| member == owner) && !is_of_others()
}

/// Whether the group is the private one of that user, as the system's databases say. Blocks.
pub(super) fn is_private_group(owner: u32, gid: u32) -> bool {
    // In a user namespace it may stand for any group.
    if unmapped_gid() == Some(gid) {
        return false;
    }
    let Ok(Some(user)) = User::from_uid(Uid::from_raw(owner)) else { return false };
    let Ok(Some(group)) = Group::from_gid(Gid::from_raw(gid)) else { return false };
    is_private(&user.name, &group.name, &group.mem, || {
        table(USERS).is_none_or(|users| is_primary_of_others(&users, owner, gid))
            || table(GROUPS).is_none_or(|groups| has_other_members(&groups, &user.name, gid))
    })
}

/// Whether it is a group that the user's own files get without further ado: the user's primary one, or this process's.
pub(super) fn is_usual_group(owner: u32, gid: u32) -> bool {
    gid == nix::unistd::getegid().as_raw()
        || User::from_uid(Uid::from_raw(owner)).ok().flatten().is_some_and(|user| user.gid.as_raw() == gid)
}

/// The text of [`USERS`] or [`GROUPS`]; `None` if it cannot be read or is too long. A machine without the file has none such.
fn table(path: &str) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    match File::open(path) {
        Ok(file) => file.take(TABLE_BYTES_MAX + 1).read_to_end(&mut text).ok()?,
        Err(error) if error.kind() == ErrorKind::NotFound => 0,
        Err(_) => return None,
    };
    (text.len() as u64 <= TABLE_BYTES_MAX).then_some(text)
}

/// Whether a line of passwd(5) names that group, and another user.
fn is_primary_of_others(users: &[u8], owner: u32, gid: u32) -> bool {
    users.split(|byte| *byte == b'\n').any(|line| {
        let mut fields = line.split(|byte| *byte == b':').skip(2);
        let mut number = || std::str::from_utf8(fields.next()?).ok()?.parse::<u32>().ok();
        let (user, group) = (number(), number());
        group == Some(gid) && user != Some(owner)
    })
}

/// Whether a line of group(5) with that number lists another member.
fn has_other_members(groups: &[u8], owner: &str, gid: u32) -> bool {
    groups.split(|byte| *byte == b'\n').any(|line| {
        let mut fields = line.split(|byte| *byte == b':').skip(2);
        let mut text = || std::str::from_utf8(fields.next()?).ok();
        let (number, members) = (text().and_then(|number| number.parse::<u32>().ok()), text());
        // A name that cannot be read is another's.
        let is_other = |member: &str| !member.trim().is_empty() && member.trim() != owner;
        number == Some(gid) && members.is_none_or(|members| members.split(',').any(is_other))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_private_by_its_name_its_members_and_the_users_that_have_it() {
        let is_private = |owner, group, members: &[&str], is_of_others| {
            let members: Vec<_> = members.iter().map(|member| (*member).to_owned()).collect();
            super::is_private(owner, group, &members, || is_of_others)
        };
        assert!(is_private("alice", "alice", &[], false));
        assert!(is_private("alice", "alice", &["alice"], false));
        assert!(!is_private("alice", "alice", &["bob"], false), "another member");
        assert!(!is_private("alice", "alice", &["alice", "bob"], false), "another member beside the owner");
        assert!(!is_private("alice", "users", &[], false), "a group of another name");
        assert!(!is_private("alice", "alice", &[], true), "another user's too");
        assert!(!is_private("nobody", "nogroup", &[], false));
        assert!(!is_private("", "", &[], false));
    }

    #[test]
    fn users_with_that_primary_group_are_found() {
        let users = b"root:x:0:0:root:/root:/bin/bash\n# a comment\nalice:x:1000:1000::/home/alice:/bin/sh\n\
            toor:x:0:0::/root:/bin/sh\noperator:x:11:0:operator:/root:/sbin/nologin\n+::::::\n\nbroken:x:7\n";
        assert!(is_primary_of_others(users, 0, 0), "operator");
        assert!(!is_primary_of_others(users, 1000, 1000));
        assert!(is_primary_of_others(users, 1001, 1000), "alice");
        assert!(!is_primary_of_others(b"root:x:0:0::/:/\ntoor:x:0:0::/:/", 0, 0), "one user of two names");
        assert!(!is_primary_of_others(b"", 0, 0));
        assert!(
            is_primary_of_others(b"strange:x:none:0::/:/", 0, 0),
            "a user that cannot be told from others"
        );
    }

    #[test]
    fn members_under_another_name_of_its_number_are_found() {
        let groups = b"root:x:0:\nalice:x:1000:alice\nstaff:x:1000:alice,bob\nwheel:x:10: alice\n+:::\n\n\
            broken:x:7\nbad:x:8:\xff\ncarol:x:1001:\n";
        assert!(has_other_members(groups, "alice", 1000), "bob, as one of staff");
        assert!(!has_other_members(groups, "alice", 10) && has_other_members(groups, "bob", 10));
        assert!(!has_other_members(groups, "root", 0) && !has_other_members(groups, "carol", 1001));
        assert!(has_other_members(groups, "alice", 7), "a line that cannot be told from one with others");
        assert!(has_other_members(groups, "alice", 8), "a name that cannot be read");
        assert!(!has_other_members(b"", "alice", 1000));
    }

    #[test]
    fn what_the_system_does_not_know_is_not_private() {
        assert!(!is_private_group(3_999_999, 3_999_999));
        assert!(!is_private_group(0, 3_999_999));
        let own = nix::unistd::getegid().as_raw();
        assert!(is_usual_group(nix::unistd::geteuid().as_raw(), own));
        assert!(!is_usual_group(3_999_999, 3_999_999));
    }
}
