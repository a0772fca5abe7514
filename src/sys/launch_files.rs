//! Fingerprints of the files that a launch is made from, by which a change of them is seen.
//!
//! What this file is for: a launch that failed for what its files are, such as a missing executable, is made again once
//! they have changed. What it deliberately does not do: read them, or wait for a change (inotify(7) sees none of another
//! machine's). It blocks on the file system, so it belongs on a worker thread.
//!
//! What always holds: a fingerprint of a preparation is taken of what that preparation opened, or of why it did not. So a
//! file that is replaced at any time after it is seen to have changed.
#![forbid(unsafe_code)]

use super::executable::{Executable, Format, INTERPRETERS_MAX, format_of};
use super::folder::kind;
use super::launch::{Executes, PrepareError, PreparedLaunch};
use nix::errno::Errno;
use nix::sys::stat::{FileStat, SFlag, fstat, stat};
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Fingerprint of the files that a preparation found. `None` where it did not come to open any.
#[must_use]
pub fn of_preparation(outcome: &Result<PreparedLaunch, PrepareError>) -> Option<u64> {
    match outcome {
        Ok(launch) => launch.executable.as_ref().map(of_executable),
        Err(error) => of_files_error(error),
    }
}

/// The same of what a preparation would find now. Blocks.
#[must_use]
pub fn look(executes: Executes<'_>) -> u64 {
    match executes.open().and_then(|executable| executes.open_folder().map(|_| executable)) {
        Err(error) => of_files_error(&error).unwrap_or_default(),
        Ok(executable) => of_executable(&executable),
    }
}

/// What is wrong is all that counts: owners, permissions, links and mounts on the way, and digests, are in it.
fn of_files_error(error: &PrepareError) -> Option<u64> {
    let text = match error {
        PrepareError::Executable(error) => error.to_string(),
        PrepareError::Digest(error) => error.to_string(),
        PrepareError::WorkingFolder(error) => error.to_string(),
        PrepareError::Generation(_) | PrepareError::Token(_) | PrepareError::Listener(_) => return None,
    };
    Some(finish(|hasher| text.hash(hasher)))
}

fn of_executable(executable: &Executable) -> u64 {
    finish(|hasher| {
        add(hasher, fstat(executable));
        add_what_runs(hasher, executable.format(), INTERPRETERS_MAX);
    })
}

/// Adds what the kernel opens beside a file to run it: interpreters one after the other, and the loader of the last.
fn add_what_runs(hasher: &mut DefaultHasher, format: &Format, interpreters_max: usize) {
    match format {
        Format::Script { interpreter } => {
            let found = stat(interpreter);
            let is_file = found.is_ok_and(|found| kind(&found) == SFlag::S_IFREG);
            add(hasher, found);
            if is_file
                && let Some(left) = interpreters_max.checked_sub(1)
                && let Ok(file) = File::open(interpreter)
                && let Ok(format) = format_of(&file)
            {
                add_what_runs(hasher, &format, left);
            }
        }
        Format::Elf(Some(loader)) => add(hasher, stat(loader)),
        Format::Elf(None) | Format::Other => {}
    }
}

fn add(hasher: &mut DefaultHasher, found: Result<FileStat, Errno>) {
    match found {
        Err(errno) => (errno as i32).hash(hasher),
        Ok(stat) => {
            (stat.st_dev, stat.st_ino, stat.st_mode, stat.st_size).hash(hasher);
            (stat.st_mtime, stat.st_mtime_nsec, stat.st_ctime, stat.st_ctime_nsec).hash(hasher);
        }
    }
}

fn finish(add: impl FnOnce(&mut DefaultHasher)) -> u64 {
    let mut hasher = DefaultHasher::new();
    add(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::super::executable_digest::{DigestCache, ExpectedDigest};
    use super::super::launch::{Needs, prepare};
    use super::super::testing::{chmod, elf_that_names, file, folder, private, subfolder};
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn each_change_of_what_a_launch_is_made_from_is_seen_and_nothing_else() {
        let root = folder();
        let starts_in = root.path().join("starts-in");
        let interpreter = root.path().join("interpreter");
        let program = root.path().join("program");
        let runtime = private(&root.path().join("run"));
        let mut number = 0;
        let mut before = None;
        let cache = DigestCache::default();
        let list = root.path().join("SHA256SUMS");
        let is_listed = std::cell::Cell::new(false);
        // What a preparation found is what a look finds, as long as nothing changes.
        let mut changes = |what: &str| {
            number += 1;
            let digest = is_listed.get().then_some(ExpectedDigest::ListedIn(&list));
            let executes = Executes { path: &program, working_folder: &starts_in, digest, cache: &cache };
            let executable = Some(executes);
            let needs = Needs { token_file: true, listener: false, executable };
            let generation = number.try_into().unwrap();
            let found = prepare(&runtime, &"echo".parse().unwrap(), generation, needs);
            let now = of_preparation(&found);
            let seen = Some(look(executes));
            assert_eq!(now, seen, "{what}: {found:?}");
            assert_ne!(std::mem::replace(&mut before, now), now, "{what}");
        };
        changes("no executable");
        file(root.path(), "program", "#!interpreter\n", 0o600);
        changes("one that is not executable");
        std::fs::remove_file(&program).unwrap();
        symlink("elsewhere", &program).unwrap();
        changes("a link");
        std::fs::remove_file(&program).unwrap();
        file(root.path(), "program", format!("#!{}\n", interpreter.display()), 0o755);
        changes("no working folder");
        subfolder(&starts_in);
        changes("no interpreter");
        file(root.path(), "interpreter", "not a program", 0o755);
        changes("an interpreter");
        chmod(&interpreter, 0o700);
        changes("its mode");
        let loader = root.path().join("loader");
        std::fs::write(&interpreter, elf_that_names(loader.to_str().unwrap(), true, true, 62)).unwrap();
        changes("an interpreter that is linked for a loader");
        file(root.path(), "loader", "a loader", 0o755);
        changes("its loader");
        std::fs::write(&program, elf_that_names(loader.to_str().unwrap(), true, true, 62)).unwrap();
        changes("a program that is linked for it");
        std::fs::remove_file(&loader).unwrap();
        changes("no loader");
        std::fs::write(&program, format!("#!{} -x\n", interpreter.display())).unwrap();
        changes("other content of the executable");
        let other = file(root.path(), "other", format!("#!{} -x\n", interpreter.display()), 0o755);
        std::fs::rename(other, &program).unwrap();
        changes("another file with the same content");
        chmod(root.path(), 0o777);
        changes("a folder above that others can write to");
        chmod(root.path(), 0o700);
        changes("and not any more");
        is_listed.set(true);
        changes("no list of digests");
        file(root.path(), "SHA256SUMS", "0000\n", 0o644);
        changes("a list that is none");
        std::fs::write(&list, format!("{}  program\n", "0".repeat(64))).unwrap();
        changes("another digest");
        std::fs::write(&program, "#!/bin/sh\n").unwrap();
        changes("another digest of another file");
        let output = std::process::Command::new("sha256sum").arg(&program).output().unwrap();
        std::fs::write(&list, output.stdout).unwrap();
        changes("its digest");
    }
}
