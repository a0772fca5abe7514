//! Places of streams and blobs in JSON: which of them the params leave to `--input` and `--output`, and what a result holds.
//!
//! What it deliberately does not do: open anything. What always holds: all else in the params stays as it was written,
//! digits and order included.

use super::transfer_error::TransferError;
use crate::settings::Members;
use serde_json::Value;
use serde_json::value::RawValue;

/// Levels of arrays and objects in params with places in them.
const DEPTH_MAX: usize = 128;

/// What is put into the params for `--input` and `--output`.
const STREAM: &str = "$stream";
const BLOB: &str = "$blob";
const INPUT: &str = "input";
const OUTPUT: &str = "output";

/// What a place takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PlaceKind {
    Stream,
    Blob,
}

/// The places that params leave to the flags.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct CallPlaces {
    /// That of `--input`.
    pub(super) input: Option<PlaceKind>,
    /// Whether there is one of `--output`.
    pub(super) has_output: bool,
}

impl CallPlaces {
    /// Finds them.
    ///
    /// # Errors
    /// There are two for one flag, or one that cannot be.
    pub(super) fn find(params: Option<&RawValue>) -> Result<CallPlaces, TransferError> {
        let mut places = CallPlaces::default();
        if let Some(params) = params.filter(|params| may_have(params.get())) {
            rewrite(params.get(), 0, &mut |kind, name| {
                places.add(kind, name)?;
                Ok(String::new())
            })?;
        }
        Ok(places)
    }

    fn add(&mut self, kind: PlaceKind, name: &str) -> Result<(), TransferError> {
        let is_second = match (name, kind) {
            (INPUT, kind) => self.input.replace(kind).is_some(),
            (OUTPUT, PlaceKind::Stream) => std::mem::replace(&mut self.has_output, true),
            _ => {
                let text = "{\"$blob\":\"output\"} in the params: a blob is not written into; the method takes a \
                            {\"$stream\":\"output\"}, or has a blob in its result";
                return Err(TransferError::usage(text));
            }
        };
        if is_second {
            return Err(TransferError::usage(format!(
                "the params have two places for --{name}; there may be one"
            )));
        }
        Ok(())
    }

    /// Whether they fit the flags that were given.
    ///
    /// # Errors
    /// One lacks the other.
    pub(super) fn check(&self, has_input: bool, has_output: bool) -> Result<(), TransferError> {
        let text = match (self.input.is_some(), has_input) {
            (false, true) => {
                "the params name no place for --input: put {\"$stream\":\"input\"} where the method takes a stream, or \
                 {\"$blob\":\"input\"} where it takes a blob"
            }
            (true, false) => "the params have a place for an input, and there is no --input FILE",
            _ if self.has_output && !has_output => {
                "the params have a place for an output, and there is no --output FILE"
            }
            _ => return Ok(()),
        };
        Err(TransferError::usage(text))
    }
}

/// Puts numbers among the descriptors, and the size of a blob, into the places.
///
/// # Errors
/// As [`CallPlaces::find`].
pub(super) fn fill(
    params: &RawValue,
    input: Option<usize>,
    blob_bytes: Option<u64>,
    output: Option<usize>,
) -> Result<Box<RawValue>, TransferError> {
    if !may_have(params.get()) {
        return Ok(params.to_owned());
    }
    let filled = rewrite(params.get(), 0, &mut |kind, name| {
        let number = if name == INPUT { input } else { output }.unwrap_or_default();
        Ok(match (kind, blob_bytes) {
            (PlaceKind::Blob, Some(bytes)) => format!("{{\"{BLOB}\":{number},\"bytes\":{bytes}}}"),
            _ => format!("{{\"{STREAM}\":{number}}}"),
        })
    })?;
    RawValue::from_string(filled).map_err(|error| TransferError::usage(error.to_string()))
}

/// Whether it is worth a closer look.
fn may_have(json: &str) -> bool {
    json.contains(STREAM) || json.contains(BLOB)
}

/// The same JSON with what `place` gives for each place.
fn rewrite(
    json: &str,
    depth: usize,
    place: &mut dyn FnMut(PlaceKind, &str) -> Result<String, TransferError>,
) -> Result<String, TransferError> {
    if !may_have(json) || !json.starts_with(['{', '[']) {
        return Ok(json.to_owned());
    }
    if depth >= DEPTH_MAX {
        return Err(TransferError::usage(format!("the params have more than {DEPTH_MAX} levels")));
    }
    let unread = |error: serde_json::Error| TransferError::usage(error.to_string());
    let mut out = String::with_capacity(json.len());
    if json.starts_with('{') {
        let Members(members) = serde_json::from_str(json).map_err(unread)?;
        if let Some((kind, name)) = as_place(&members) {
            return place(kind, name);
        }
        out.push('{');
        for (number, (name, value)) in members.iter().enumerate() {
            let comma = if number > 0 { "," } else { "" };
            out.push_str(&format!("{comma}{}:", Value::from(name.as_str())));
            out.push_str(&rewrite(value.get(), depth + 1, place)?);
        }
        out.push('}');
    } else {
        let elements: Vec<&RawValue> = serde_json::from_str(json).map_err(unread)?;
        out.push('[');
        for (number, value) in elements.iter().enumerate() {
            out.push_str(if number > 0 { "," } else { "" });
            out.push_str(&rewrite(value.get(), depth + 1, place)?);
        }
        out.push(']');
    }
    Ok(out)
}

/// What an object stands for, where it is a place.
fn as_place(members: &[(String, &RawValue)]) -> Option<(PlaceKind, &'static str)> {
    let [(name, value)] = members else { return None };
    let kind = match name.as_str() {
        STREAM => PlaceKind::Stream,
        BLOB => PlaceKind::Blob,
        _ => return None,
    };
    let word: String = serde_json::from_str(value.get()).ok()?;
    [INPUT, OUTPUT].into_iter().find(|known| *known == word).map(|word| (kind, word))
}

/// A stream or blob of a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Held {
    /// Its place among the descriptors.
    pub(super) place: usize,
    /// Its size, where it is a blob.
    pub(super) bytes: Option<u64>,
}

impl Held {
    /// The first that a result names, of so many descriptors.
    pub(super) fn first(result: &RawValue, count: usize) -> Option<Held> {
        let value: Value = serde_json::from_str(result.get()).ok()?;
        let mut found = None;
        find_held(&value, &mut |held| {
            if held.place < count && found.is_none_or(|first: Held| held.place < first.place) {
                found = Some(held);
            }
        });
        found
    }
}

/// What is read as a value has at most as many levels as its parser takes, 128.
fn find_held(value: &Value, found: &mut dyn FnMut(Held)) {
    match value {
        Value::Array(elements) => elements.iter().for_each(|element| find_held(element, found)),
        Value::Object(members) => {
            let number = |name: &str| members.get(name).and_then(Value::as_u64);
            let place = |name: &str| number(name).and_then(|number| usize::try_from(number).ok());
            match (place(STREAM), place(BLOB), number("bytes")) {
                (Some(place), None, _) if members.len() == 1 => found(Held { place, bytes: None }),
                (None, Some(place), Some(bytes)) if members.len() == 2 => {
                    found(Held { place, bytes: Some(bytes) });
                }
                _ => members.values().for_each(|member| find_held(member, found)),
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(json: &str) -> Box<RawValue> {
        RawValue::from_string(json.to_owned()).unwrap()
    }

    #[test]
    fn places_are_found_and_filled_and_all_else_stays() {
        let params = raw(
            r#"{"n":1.000000000000000000001,"b":{"$blob":"input"},"b":[{"x": 1.50},{ "$stream" : "output" }],"é\"":"$stream"}"#,
        );
        let places = CallPlaces::find(Some(&params)).unwrap();
        assert_eq!(places, CallPlaces { input: Some(PlaceKind::Blob), has_output: true });
        assert_eq!(
            fill(&params, Some(0), Some(7), Some(1)).unwrap().get(),
            r#"{"n":1.000000000000000000001,"b":{"$blob":0,"bytes":7},"b":[{"x": 1.50},{"$stream":1}],"é\"":"$stream"}"#
        );
        let stream = raw(r#"{"content":{"$stream":"input"}}"#);
        assert_eq!(fill(&stream, Some(0), None, None).unwrap().get(), r#"{"content":{"$stream":0}}"#);
        for plain in [
            r#"{"$stream":0}"#,
            r#"{"a":{"$stream":"inputs"}}"#,
            r#"{"a":{"$blob":"input","bytes":1}}"#,
            "{}",
        ] {
            assert_eq!(CallPlaces::find(Some(&raw(plain))).unwrap(), CallPlaces::default(), "{plain}");
            assert_eq!(fill(&raw(plain), None, None, None).unwrap().get(), plain);
        }
    }

    #[test]
    fn a_place_and_its_flag_belong_together() {
        let find = |params: &str| CallPlaces::find(Some(&raw(params)));
        for (params, input, output, why) in [
            ("{}", true, false, "the params name no place for --input: put {\"$stream\":\"input\"}"),
            (r#"{"a":{"$blob":"input"}}"#, false, false, "there is no --input FILE"),
            (r#"{"a":{"$stream":"output"}}"#, false, false, "there is no --output FILE"),
        ] {
            let error = find(params).unwrap().check(input, output).unwrap_err();
            assert!(error.message.contains(why) && error.exit == crate::ctl::exit::Exit::Usage, "{error}");
        }
        assert!(find("{}").unwrap().check(false, true).is_ok(), "the result may hold one");
        for params in [
            r#"{"a":{"$stream":"input"},"b":{"$blob":"input"}}"#,
            r#"{"a":{"$blob":"output"}}"#,
            &format!("{}{{\"$stream\":\"input\"}}{}", "[".repeat(200), "]".repeat(200)),
        ] {
            assert!(find(params).is_err(), "{params}");
        }
    }

    #[test]
    fn the_first_of_a_result_is_the_one_that_is_written() {
        let first = |json: &str, count| Held::first(&raw(json), count);
        let stream = |place| Some(Held { place, bytes: None });
        assert_eq!(first(r#"{"a":[{"$stream":1}],"b":{"$stream":0}}"#, 2), stream(0));
        assert_eq!(first(r#"{"$blob":0,"bytes":9}"#, 1), Some(Held { place: 0, bytes: Some(9) }));
        for none in [r#"{"$stream":1}"#, r#"{"$blob":0}"#, r#"{"$stream":0,"b":1}"#, "7"] {
            assert_eq!(first(none, 1), None, "{none}");
        }
    }
}
