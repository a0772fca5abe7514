//! The one-time token of a launch, and the file that hands it to the plugin.
//!
//! What this file is for: randomness from the operating system, and a file of mode 0600 for one
//! generation. What it deliberately does not do: compare tokens. What always holds: the file is gone when
//! its [`PrivateFile`] is.
#![forbid(unsafe_code)]

use super::file_error::FileError;
use super::private_file::PrivateFile;
use super::private_folder::PrivateFolder;
use super::raw;
use nix::errno::Errno;
use rpc_plugin_wire::{Generation, Token};
use std::path::Path;

/// What token files are called, before the generation.
pub(super) const NAME_PREFIX: &str = "token.";

/// A new token, and the file `token.<generation>` that holds its 64 hexadecimal digits, without a line end.
///
/// # Errors
/// The system call that failed; `EEXIST` where the generation has been launched before.
pub fn create(folder: &PrivateFolder, generation: Generation) -> Result<(Token, PrivateFile), FileError> {
    let token = random()?;
    let file = PrivateFile::create(folder, &format!("{NAME_PREFIX}{generation}"), token.to_hex().as_bytes())?;
    Ok((token, file))
}

/// A new token, which is told in another way.
///
/// # Errors
/// The system call that failed.
pub fn random() -> Result<Token, FileError> {
    let random = raw::random_bytes().map_err(|error| {
        let errno = Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO));
        FileError::new("read random bytes for", Path::new("the token"), errno)
    })?;
    Ok(Token::from_bytes(random))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{folder, private};
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_file_holds_the_token_for_us_only_and_goes_with_its_owner() {
        let root = folder();
        let (token, file) = create(&private(root.path()), Generation::FIRST).unwrap();
        let path = root.path().join("token.1");
        assert_eq!(file.path(), path);
        let written = Token::from_hex(&std::fs::read_to_string(&path).unwrap()).unwrap();
        assert!(written.matches(&token));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);

        let error = create(&private(root.path()), Generation::FIRST).unwrap_err();
        assert_eq!(error.errno, Errno::EEXIST);
        let (other, other_file) = create(&private(root.path()), Generation::FIRST.next()).unwrap();
        assert!(!other.matches(&token));
        drop(file);
        assert!(!path.exists());
        other_file.remove().unwrap();
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 0);
    }
}
