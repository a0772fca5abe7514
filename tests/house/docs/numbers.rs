//! Numbers with units, in a page and in the code: both as bytes, milliseconds or counts.

/// The value of `const NAME` in a source; durations in milliseconds.
pub(crate) fn constant(source: &str, name: &str) -> Option<u64> {
    let start = source.find(&format!("const {name}: "))?;
    let (_, rest) = source[start..].split_once(" = ")?;
    let text = rest.split(';').next()?;
    for (constructor, factor) in [("Duration::from_secs(", 1000), ("Duration::from_millis(", 1)] {
        if let Some(inner) = text.strip_prefix(constructor) {
            return Some(product(inner.strip_suffix(')')?)? * factor);
        }
    }
    product(text)
}

/// `4 * 1024`.
fn product(text: &str) -> Option<u64> {
    text.split('*').map(|factor| factor.trim().replace('_', "").parse::<u64>().ok()).product()
}

/// A number as a page shows it: `64 KiB`, `500 ms`, `1 day`, `107 bytes`, `256`.
pub(crate) fn shown(text: &str) -> Option<u64> {
    let (number, unit) = text.split_once(' ').unwrap_or((text, ""));
    let factor = match unit {
        "" | "ms" | "bytes" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "s" => 1000,
        "day" => 86_400_000,
        _ => return None,
    };
    Some(number.parse::<u64>().ok()? * factor)
}

pub(crate) fn check_samples() {
    let source =
        "pub const A: usize = 4 * 1024;\nconst B: Duration = Duration::from_secs(86_400);\nconst C: u8 = x;";
    assert_eq!(constant(source, "A"), shown("4 KiB"));
    assert_eq!(constant(source, "B"), shown("1 day"));
    assert_eq!((constant(source, "C"), constant(source, "D"), shown("3 apples")), (None, None, None));
    assert_ne!(constant(source, "A"), shown("4 MiB"));
}
