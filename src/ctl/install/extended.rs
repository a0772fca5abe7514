//! Headers that say something about the next entry of an archive: GNU's long names, and pax (POSIX.1-2001).
//!
//! What it deliberately does not do: keep owners, times or extended attributes, which a package has none of.
//!
//! What always holds: what says which file an entry is, or what is in it, is taken or refused; an entry has one such name.

/// Longest such header. Bytes.
pub(super) const NAME_BYTES_MAX: usize = 16 * 1024;

/// What was said about the next entry.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Extended {
    /// Its path.
    pub(super) name: Option<Vec<u8>>,
    /// Its length. Bytes.
    pub(super) size: Option<u64>,
    has_header: bool,
}

impl Extended {
    /// Whether anything was said of an entry that has not come yet.
    pub(super) fn is_pending(&self) -> bool {
        self.has_header || self.name.is_some()
    }

    /// Takes GNU's long name, which ends with a NUL.
    pub(super) fn take_long_name(&mut self, mut text: Vec<u8>) -> Result<(), String> {
        if text.last() == Some(&0) {
            text.pop();
        }
        self.take_name(&text)
    }

    /// Takes the records of a pax header.
    pub(super) fn take_header(&mut self, text: &[u8]) -> Result<(), String> {
        if std::mem::replace(&mut self.has_header, true) {
            return Err("is a second extended header for one entry".to_owned());
        }
        for (key, value) in records(text)? {
            match key {
                b"path" => self.take_name(value)?,
                b"size" => {
                    let size = str::from_utf8(value).ok().and_then(|value| value.parse().ok());
                    let size =
                        size.ok_or_else(|| "is an extended header with a length that is none".to_owned())?;
                    if self.size.replace(size).is_some() {
                        return Err("is an extended header with two lengths".to_owned());
                    }
                }
                key => refuse_key(key)?,
            }
        }
        Ok(())
    }

    /// Refuses a pax header that says something about all entries, but for what changes none of them.
    pub(super) fn check_global(text: &[u8]) -> Result<(), String> {
        for (key, _) in records(text)? {
            if matches!(key, b"path" | b"size") {
                let key = String::from_utf8_lossy(key);
                return Err(format!("is a header that sets {key:?} for every entry"));
            }
            refuse_key(key)?;
        }
        Ok(())
    }

    fn take_name(&mut self, name: &[u8]) -> Result<(), String> {
        match self.name.replace(name.to_vec()) {
            None => Ok(()),
            Some(_) => Err("is a second name for one entry".to_owned()),
        }
    }
}

/// Refuses what would change what an entry is.
fn refuse_key(key: &[u8]) -> Result<(), String> {
    if key == b"linkpath" {
        return Err("is the header of a link; a package has files and folders only".to_owned());
    }
    if key.starts_with(b"GNU.sparse.") {
        return Err("is the header of a sparse file; pack it without `tar --sparse`".to_owned());
    }
    Ok(())
}

/// Key and value.
type PaxRecord<'t> = (&'t [u8], &'t [u8]);

/// The records of a pax header: `LENGTH KEY=VALUE\n`, where the length is that of the record.
fn records(mut text: &[u8]) -> Result<Vec<PaxRecord<'_>>, String> {
    let mut records = Vec::new();
    while !text.is_empty() {
        let (record, rest) = record(text).ok_or_else(|| "is an extended header that is none".to_owned())?;
        records.push(record);
        text = rest;
    }
    Ok(records)
}

fn record(text: &[u8]) -> Option<(PaxRecord<'_>, &[u8])> {
    let space = text.iter().position(|byte| *byte == b' ')?;
    let length: usize = str::from_utf8(text.get(..space)?).ok()?.parse().ok()?;
    let (record, rest) = text.split_at_checked(length)?;
    let content = record.get(space + 1..)?.strip_suffix(b"\n")?;
    let equals = content.iter().position(|byte| *byte == b'=')?;
    Some(((content.get(..equals)?, content.get(equals + 1..)?), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_by_their_lengths() {
        let text = b"30 mtime=1700000000.123456789\n17 comment=a\nb=c\n\x31\x32 path=a/b\n";
        let found = records(text).unwrap();
        assert_eq!(found.len(), 3);
        assert_eq!(found[1], (&b"comment"[..], &b"a\nb=c"[..]));
        for wrong in ["x", "5", "5 a=b\n", "7 a=b\n", "6 abc\n", "6 a=bc", "-6 a=b\n", "0 a=b\n", "99 a=b\n"]
        {
            assert!(records(wrong.as_bytes()).is_err(), "{wrong:?}");
        }
        assert_eq!(records(b""), Ok(Vec::new()));
        assert_eq!(records(b"6 a=b\n"), Ok(vec![(&b"a"[..], &b"b"[..])]));
    }

    #[test]
    fn an_entry_has_one_name_and_what_would_make_it_something_else_is_refused() {
        let mut extended = Extended::default();
        assert!(!extended.is_pending());
        extended.take_header(b"12 path=a/b\n10 size=7\n20 SCHILY.xattr.a=b\n\n").unwrap_err();
        let mut extended = Extended::default();
        extended.take_header(b"12 path=a/b\n10 size=7\n").unwrap();
        assert_eq!((extended.name.as_deref(), extended.size), (Some(&b"a/b"[..]), Some(7)));
        assert!(extended.is_pending());
        assert!(extended.take_header(b"").unwrap_err().contains("second extended header"));
        assert!(extended.take_long_name(b"x\0".to_vec()).unwrap_err().contains("second name"));
        let mut extended = Extended::default();
        extended.take_long_name(b"x/y\0".to_vec()).unwrap();
        assert_eq!(extended.name.as_deref(), Some(&b"x/y"[..]));
        for (header, why) in [
            ("17 linkpath=/etc\n", "of a link"),
            ("22 GNU.sparse.major=1\n", "without `tar --sparse`"),
            ("9 size=x\n", "a length that is none"),
            ("10 size=1\n10 size=1\n", "two lengths"),
            ("10 path=a\n10 path=b\n", "a second name"),
        ] {
            let error = Extended::default().take_header(header.as_bytes()).unwrap_err();
            assert!(error.contains(why), "{header:?}: {error}");
        }
        assert_eq!(Extended::check_global(b"13 comment=1\n"), Ok(()));
        assert!(Extended::check_global(b"10 path=a\n").unwrap_err().contains("\"path\" for every entry"));
        assert!(Extended::check_global(b"17 linkpath=/etc\n").unwrap_err().contains("of a link"));
    }
}
