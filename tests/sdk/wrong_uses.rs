//! What the compiler says of a wrong use: each `wrong/NAME.rs` is given to rustc, and the lines of `wrong/NAME.txt`
//! must stand, in their order, in the first error that it tells.
//!
//! What it deliberately does not do: compare whole messages. Places and hints are rustc's, and change with it.
//!
//! What always holds: a source that compiles, or that has no text beside it, fails. Nothing is passed over in
//! silence: where there is no compiler that is said past the harness.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, io};

#[test]
fn each_wrong_use_is_refused_with_a_message_that_says_what_is_wrong() {
    // Set where test binaries run without the toolchain that built them.
    if env::var_os("RPC_PLUGIN_SYSTEM_TEST_BIN_DIR").is_some() {
        // The harness catches only what is printed by macros.
        writeln!(io::stderr(), "wrong uses: NOT compared here, where there is no compiler").unwrap();
        return;
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sdk/wrong");
    let names = names(&folder);
    assert!(names.len() >= 25, "{} sources were found in {}", names.len(), folder.display());
    let out = env::temp_dir().join(format!("rpc-plugin-wrong-uses-{}", std::process::id()));
    fs::create_dir(&out).unwrap();
    let library = library();
    let wrong: Vec<String> =
        names.iter().filter_map(|name| compare(&folder, name, &library, &out).err()).collect();
    fs::remove_dir_all(&out).unwrap();
    let not_as_expected = format!("{} of {} not as expected", wrong.len(), names.len());
    assert!(wrong.is_empty(), "{not_as_expected}:\n\n{}", wrong.join("\n\n"));
}

/// The names of all sources and all texts, each once.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    names.sort();
    names.dedup();
    names
}

/// The library as cargo built it for this test: the newest of its name beside this program.
fn library() -> PathBuf {
    let program = env::current_exe().unwrap();
    let beside = fs::read_dir(program.parent().unwrap()).unwrap().map(|entry| entry.unwrap().path());
    let is_ours = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("librpc_plugin_interface-") && name.ends_with(".rlib")
    };
    let newest = beside.filter(is_ours).max_by_key(|path| fs::metadata(path).unwrap().modified().unwrap());
    newest.expect("cargo puts the library where it puts the tests")
}

fn compare(folder: &Path, name: &str, library: &Path, out: &Path) -> Result<(), String> {
    let read = |extension: &str| {
        let path = folder.join(format!("{name}.{extension}"));
        fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))
    };
    let expected = read("txt")?;
    read("rs")?;
    let output = Command::new(env::var_os("RUSTC").unwrap_or("rustc".into()))
        .args(["--edition=2024", "--crate-type=lib", "--emit=metadata", "--color=never", "--extern"])
        .arg(format!("rpc_plugin_interface={}", library.display()))
        .arg("-L")
        .arg(format!("dependency={}", library.parent().unwrap().display()))
        .arg("--out-dir")
        .arg(out)
        .arg(folder.join(format!("{name}.rs")))
        .output()
        .map_err(|error| format!("rustc does not start: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() {
        return Err(format!("{name}.rs compiles, and should be refused with:\n{expected}"));
    }
    // Up to the next diagnostic.
    let first = said.find("\n\nerror").map_or(&*said, |end| said.get(..end).unwrap());
    let mut rest = first;
    for line in expected.lines() {
        let Some((_, after)) = rest.split_once(line) else {
            return Err(format!("{name}.rs: the first error does not say\n    {line}\nbut\n{first}"));
        };
        rest = after;
    }
    if expected.trim().is_empty() { Err(format!("{name}.txt expects nothing")) } else { Ok(()) }
}
