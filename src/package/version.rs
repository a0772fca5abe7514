//! Versions of packages and of hosts, and ranges of them, as Semantic Versioning 2.0.0 and Cargo have them.
//!
//! What it deliberately does not do: compare what two versions contain.
//!
//! What always holds: a version or range that was read is shown as the same version or range; build metadata never
//! decides (section 10); a version with a pre-release is in a range only where that names a pre-release of the same three
//! numbers.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// Longest text that is read as a version or as a range. Bytes.
pub const VERSION_BYTES_MAX: usize = 128;
/// Most comparisons in a range.
const COMPARISONS_MAX: usize = 8;

/// A version: three numbers, and what may follow them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    major: u64,
    minor: u64,
    patch: u64,
    pre: Vec<PreRelease>,
    build: String,
}

/// One identifier of a pre-release. Numbers are lower than words (section 11.4.3).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum PreRelease {
    Number(u64),
    Word(String),
}

/// What keeps a text from being a version or a range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionError(String);

impl fmt::Display for VersionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn wrong<T>(problem: impl Into<String>) -> Result<T, VersionError> {
    Err(VersionError(problem.into()))
}

/// A number without leading zeros (section 2).
fn number(text: &str) -> Result<u64, VersionError> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return wrong(format!("{text:?} is not a number"));
    }
    if text.len() > 1 && text.starts_with('0') {
        return wrong(format!("{text:?} begins with a zero"));
    }
    text.parse().or_else(|_| wrong(format!("{text:?} is too large")))
}

/// Identifiers between dots, of letters, digits and hyphens (sections 9 and 10).
fn identifiers(text: &str) -> Result<impl Iterator<Item = &str>, VersionError> {
    let is_good = |part: &str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    match text.split('.').find(|part| !is_good(part)) {
        Some(part) => wrong(format!("{part:?} is not letters, digits and '-'")),
        None => Ok(text.split('.')),
    }
}

fn pre_release(text: &str) -> Result<Vec<PreRelease>, VersionError> {
    identifiers(text)?
        .map(|part| match part.bytes().all(|b| b.is_ascii_digit()) {
            true => number(part).map(PreRelease::Number),
            false => Ok(PreRelease::Word(part.to_owned())),
        })
        .collect()
}

/// What stands before the first `mark`, and what behind it.
fn cut(text: &str, mark: char) -> (&str, Option<&str>) {
    text.split_once(mark).map_or((text, None), |(before, behind)| (before, Some(behind)))
}

impl FromStr for Version {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Version, VersionError> {
        if text.len() > VERSION_BYTES_MAX {
            return wrong(format!("has {} bytes, more than {VERSION_BYTES_MAX}", text.len()));
        }
        let (text, build) = cut(text, '+');
        let (core, pre) = cut(text, '-');
        let numbers = core.split('.').map(number).collect::<Result<Vec<u64>, _>>()?;
        let [major, minor, patch] = numbers[..] else {
            return wrong(format!("has {} numbers, not three", numbers.len()));
        };
        let pre = pre.map_or_else(|| Ok(Vec::new()), pre_release)?;
        if let Some(build) = build {
            identifiers(build)?.for_each(drop);
        }
        Ok(Version { major, minor, patch, pre, build: build.unwrap_or_default().to_owned() })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)?;
        for (at, part) in self.pre.iter().enumerate() {
            f.write_str(if at == 0 { "-" } else { "." })?;
            match part {
                PreRelease::Number(number) => write!(f, "{number}")?,
                PreRelease::Word(word) => f.write_str(word)?,
            }
        }
        if self.build.is_empty() { Ok(()) } else { write!(f, "+{}", self.build) }
    }
}

impl Version {
    fn numbers(&self) -> (u64, u64, u64) {
        (self.major, self.minor, self.patch)
    }

    /// Which one is newer (section 11). Versions that differ in build metadata alone are equal in this.
    #[must_use]
    pub fn precedence(&self, other: &Version) -> Ordering {
        // Without a pre-release is later than with one.
        let pre = match (self.pre.is_empty(), other.pre.is_empty()) {
            (false, false) => self.pre.cmp(&other.pre),
            (mine, others) => mine.cmp(&others),
        };
        self.numbers().cmp(&other.numbers()).then(pre)
    }
}

/// How a comparison of a range compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Caret,
    Tilde,
    Exact,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
    Wildcard,
}

/// What operators are written as, longer ones first.
const OPERATORS: [(&str, Operator); 7] = [
    (">=", Operator::GreaterOrEqual),
    ("<=", Operator::LessOrEqual),
    (">", Operator::Greater),
    ("<", Operator::Less),
    ("=", Operator::Exact),
    ("^", Operator::Caret),
    ("~", Operator::Tilde),
];

/// One comparison: an operator, and as many numbers as are named.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Comparison {
    operator: Operator,
    major: u64,
    minor: Option<u64>,
    patch: Option<u64>,
    pre: Vec<PreRelease>,
}

/// A range of versions: comparisons with commas between them, all of which have to hold, as in Cargo: `1.2` (which is
/// `^1.2`), `~1.2`, `=1.2.3`, `>=1, <3`, `1.*`, `*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionRange {
    text: String,
    /// None are any version.
    comparisons: Vec<Comparison>,
}

impl FromStr for VersionRange {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<VersionRange, VersionError> {
        if text.len() > VERSION_BYTES_MAX {
            return wrong(format!("has {} bytes, more than {VERSION_BYTES_MAX}", text.len()));
        }
        let comparisons = match text.trim() {
            "" => return wrong("is empty"),
            "*" => Vec::new(),
            text => text.split(',').map(str::parse).collect::<Result<Vec<Comparison>, _>>()?,
        };
        if comparisons.len() > COMPARISONS_MAX {
            return wrong(format!("has {} comparisons, more than {COMPARISONS_MAX}", comparisons.len()));
        }
        Ok(VersionRange { text: text.to_owned(), comparisons })
    }
}

impl fmt::Display for VersionRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Comparison {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Comparison, VersionError> {
        let text = text.trim();
        let written =
            OPERATORS.iter().find_map(|(sign, operator)| Some((text.strip_prefix(sign)?, *operator)));
        let (version, operator) = written.unwrap_or((text, Operator::Caret));
        let (core, pre) = cut(version.trim_start(), '-');
        let mut parts = core.split('.').peekable();
        let mut numbers = Vec::new();
        while let Some(part) = parts.next_if(|part| *part != "*") {
            numbers.push(number(part)?);
        }
        let rest: Vec<&str> = parts.collect();
        let stars = rest.len();
        let [major, others @ ..] = &numbers[..] else { return wrong(format!("{text:?} names no version")) };
        if numbers.len() + stars > 3
            || rest.iter().any(|part| *part != "*")
            || (stars > 0 && (written.is_some() || pre.is_some()))
        {
            return wrong(format!("{text:?} is not an operator and one to three numbers"));
        }
        if pre.is_some() && numbers.len() < 3 {
            return wrong(format!("{text:?} names a pre-release of a version without three numbers"));
        }
        Ok(Comparison {
            operator: if stars > 0 { Operator::Wildcard } else { operator },
            major: *major,
            minor: others.first().copied(),
            patch: others.get(1).copied(),
            pre: pre.map_or_else(|| Ok(Vec::new()), pre_release)?,
        })
    }
}

impl Comparison {
    /// The least version that it names.
    fn least(&self) -> Version {
        let (minor, patch) = (self.minor.unwrap_or(0), self.patch.unwrap_or(0));
        Version { major: self.major, minor, patch, pre: self.pre.clone(), build: String::new() }
    }

    /// How `version` stands to what is named of it: parts that are not named are equal.
    fn compare(&self, version: &Version) -> Ordering {
        let named = version.major.cmp(&self.major);
        let named = named.then_with(|| self.minor.map_or(Ordering::Equal, |minor| version.minor.cmp(&minor)));
        match self.patch {
            Some(_) => version.precedence(&self.least()),
            None => named,
        }
    }

    /// Whether the parts up to the first that is not zero are the same, which a caret keeps.
    fn has_same_first_part(&self, version: &Version) -> bool {
        let (major, minor, patch) = version.numbers();
        match (self.major, self.minor, self.patch) {
            (0, Some(0), Some(named)) => (major, minor, patch) == (0, 0, named),
            (0, Some(named), _) => (major, minor) == (0, named),
            (named, ..) => major == named,
        }
    }

    fn matches(&self, version: &Version) -> bool {
        let seen = self.compare(version);
        match self.operator {
            Operator::Exact | Operator::Wildcard => seen.is_eq(),
            Operator::Greater => seen.is_gt(),
            Operator::GreaterOrEqual => seen.is_ge(),
            Operator::Less => seen.is_lt(),
            Operator::LessOrEqual => seen.is_le(),
            Operator::Caret => seen.is_ge() && self.has_same_first_part(version),
            Operator::Tilde => {
                let is_same = |named: Option<u64>, seen: u64| named.is_none_or(|named| named == seen);
                seen.is_ge() && version.major == self.major && is_same(self.minor, version.minor)
            }
        }
    }
}

impl VersionRange {
    /// Whether the version is in the range.
    #[must_use]
    pub fn contains(&self, version: &Version) -> bool {
        let names_it = |comparison: &Comparison| {
            !comparison.pre.is_empty() && comparison.least().numbers() == version.numbers()
        };
        let is_named = version.pre.is_empty() || self.comparisons.iter().any(names_it);
        is_named && self.comparisons.iter().all(|comparison| comparison.matches(version))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> Version {
        text.parse().unwrap()
    }

    #[test]
    fn precedence_is_that_of_section_11() {
        let order = [
            "0.0.1",
            "0.1.0",
            "1.0.0-1",
            "1.0.0-2",
            "1.0.0-10",
            "1.0.0-alpha",
            "1.0.0-alpha.1",
            "1.0.0-alpha.beta",
            "1.0.0-beta",
            "1.0.0-beta.2",
            "1.0.0-beta.11",
            "1.0.0-rc.1",
            "1.0.0",
            "1.0.1",
            "1.2.0",
            "1.10.0",
            "2.0.0",
        ];
        for (at, one) in order.iter().enumerate() {
            for (to, other) in order.iter().enumerate() {
                assert_eq!(version(one).precedence(&version(other)), at.cmp(&to), "{one} {other}");
            }
            assert_eq!(version(one).to_string(), *one);
        }
        let (one, other) = (version("1.0.0+a.1"), version("1.0.0+b-2"));
        assert!(one.precedence(&other).is_eq() && one != other && one.to_string() == "1.0.0+a.1");
    }

    #[test]
    fn what_is_no_version_is_refused_with_why() {
        for (text, why) in [
            ("", "not a number"),
            ("1", "1 numbers, not three"),
            ("1.2", "2 numbers"),
            ("1.2.3.4", "4 numbers"),
            ("01.2.3", "begins with a zero"),
            ("1.2.3-01", "begins with a zero"),
            ("1.2.x", "\"x\" is not a number"),
            ("v1.2.3", "\"v1\" is not a number"),
            ("1.2.3-", "\"\" is not letters"),
            ("1.2.3-a..b", "\"\" is not letters"),
            ("1.2.3+", "\"\" is not letters"),
            ("1.2.3+a_b", "\"a_b\" is not letters"),
            ("1.2.18446744073709551616", "too large"),
            ("1.2.3 ", "not a number"),
        ] {
            let error = text.parse::<Version>().unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
        assert!("1".repeat(200).parse::<Version>().unwrap_err().to_string().contains("200 bytes"));
    }

    #[test]
    fn ranges_are_those_of_cargo() {
        for (range, inside, outside) in [
            ("1.2.3", "1.2.3 1.2.4 1.9.0", "1.2.2 2.0.0 0.9.9"),
            ("^1.2", "1.2.0 1.9.9", "1.1.9 2.0.0"),
            ("1", "1.0.0 1.9.9", "0.9.9 2.0.0"),
            ("^0.2.3", "0.2.3 0.2.9", "0.2.2 0.3.0 1.0.0"),
            ("0.2", "0.2.0 0.2.9", "0.1.9 0.3.0"),
            ("^0.0.3", "0.0.3", "0.0.2 0.0.4 0.1.0"),
            ("0.0", "0.0.0 0.0.9", "0.1.0 1.0.0"),
            ("0", "0.0.0 0.9.9", "1.0.0"),
            ("~1.2.3", "1.2.3 1.2.9", "1.2.2 1.3.0"),
            ("~1.2", "1.2.0 1.2.9", "1.1.0 1.3.0"),
            ("~1", "1.0.0 1.9.0", "0.9.0 2.0.0"),
            ("=1.2.3", "1.2.3 1.2.3+build", "1.2.4 1.2.2"),
            ("=1.2", "1.2.0 1.2.9", "1.3.0 1.1.0"),
            ("=1", "1.0.0 1.9.9", "2.0.0"),
            (">1.2.3", "1.2.4 2.0.0", "1.2.3 1.0.0"),
            (">1.2", "1.3.0 2.0.0", "1.2.0 1.2.9"),
            (">1", "2.0.0", "1.0.0 1.9.9"),
            (">=1.2", "1.2.0 9.0.0", "1.1.9"),
            ("<2", "1.9.9 0.0.0", "2.0.0 2.1.0"),
            ("<=1.2", "1.2.9 1.0.0", "1.3.0"),
            ("<=1.2.3", "1.2.3", "1.2.4"),
            (">=1, <3", "1.0.0 2.9.9", "0.9.9 3.0.0"),
            (" >= 1 ,< 3 ", "1.0.0 2.9.9", "3.0.0"),
            ("1.*", "1.0.0 1.9.9", "2.0.0"),
            ("1.2.*", "1.2.0 1.2.9", "1.3.0"),
            ("1.*.*", "1.9.9", "2.0.0"),
            ("*", "0.0.0 9.9.9", "1.0.0-alpha"),
            ("1.2.3-beta", "1.2.3-beta 1.2.3-rc 1.2.3 1.3.0", "1.2.3-alpha 1.2.4-beta"),
            (">=1.0.0-rc.1, <2", "1.0.0-rc.1 1.0.0-rc.2 1.0.0", "1.0.0-beta 1.1.0-rc.1 2.0.0"),
            ("<2", "1.0.0", "2.0.0-alpha 1.0.0-alpha"),
        ] {
            let parsed: VersionRange = range.parse().unwrap();
            assert_eq!(parsed.to_string(), range);
            for text in inside.split(' ') {
                assert!(parsed.contains(&version(text)), "{text} is in {range}");
            }
            for text in outside.split(' ') {
                assert!(!parsed.contains(&version(text)), "{text} is not in {range}");
            }
        }
    }

    #[test]
    fn what_is_no_range_is_refused() {
        for text in [
            "", " ", "a", "^", ">=", "1.2.3.4", "1.*.2", "^1.*", "1,", ",1", "* , 1", "1.2-beta", "1 2",
            "=>1", "1 || 2",
        ] {
            assert!(text.parse::<VersionRange>().is_err(), "{text:?}");
        }
        let many = [">1"; 9].join(",");
        assert!(many.parse::<VersionRange>().unwrap_err().to_string().contains("9 comparisons"));
    }
}
