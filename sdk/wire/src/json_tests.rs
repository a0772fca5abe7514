//! The writer against serde_json's own, on every kind of value.

use super::*;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};

fn same<T: Serialize + ?Sized>(value: &T) {
    let mut out = b"before".to_vec();
    let written = write_json(&mut out, value).map_err(|error| error.to_string());
    let expected = serde_json::to_string(value).map_err(|error| error.to_string());
    match expected {
        Ok(expected) => {
            assert_eq!(written, Ok(()));
            assert_eq!(std::str::from_utf8(&out).unwrap(), format!("before{expected}"));
        }
        Err(expected) => assert_eq!(written, Err(expected)),
    }
}

#[derive(Serialize)]
struct Unit;
#[derive(Serialize)]
struct New(u8);
#[derive(Serialize)]
struct Pair(u8, &'static str);
#[derive(Serialize)]
struct Named<'a> {
    #[serde(rename = "with \"quotes\"\n")]
    quoted: &'a str,
    none: Option<u8>,
    some: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    skipped: Option<u8>,
    raw: &'a RawValue,
    #[serde(flatten)]
    flat: BTreeMap<String, Value>,
}
#[derive(Serialize, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Kind {
    Unit,
    New(Box<Kind>),
    Tuple(u8, String),
    Struct { a: i64, b: Vec<Kind> },
}
#[derive(Serialize)]
#[serde(tag = "type")]
enum Tagged {
    A { x: u8 },
}
#[derive(Serialize)]
#[serde(untagged)]
enum Untagged {
    A(u8),
    B { y: u8 },
}

#[test]
fn each_kind_of_value_is_written_as_serde_json_does() {
    same(&());
    same(&Unit);
    same(&New(7));
    same(&Pair(7, "é\u{2028}"));
    same(&(true, 'x', '"', '\u{7f}', "\u{0}\u{1f}\u{20}"));
    same(&(
        i8::MIN,
        i16::MIN,
        i32::MIN,
        i64::MIN,
        i128::MIN,
        u8::MAX,
        u16::MAX,
        u32::MAX,
        u64::MAX,
        u128::MAX,
    ));
    same(&(0.1f32, 0.1f64, f64::MAX, f64::MIN_POSITIVE, -0.0, 1e300, 1.0));
    same(&[Some(1), None]);
    same::<[u8]>(&[]);
    same(&super::Bytes(b"\x00\xff"));
    let raw = RawValue::from_string(" {\"a\" :\n 1.50}".trim().to_owned()).unwrap();
    same(&raw);
    same(&[&raw, &raw]);
    let flat = BTreeMap::from([("z".to_owned(), json!({"deep": [1, {"er": null}]}))]);
    let named = Named { quoted: "\"", none: None, some: Some("\\"), skipped: None, raw: &raw, flat };
    same(&named);
    let kind = Kind::Struct { a: -1, b: vec![Kind::Unit, Kind::Tuple(1, "\t".into())] };
    same(&Kind::New(Box::new(kind.clone())));
    same(&kind);
    same(&(Tagged::A { x: 1 }, Untagged::A(1), Untagged::B { y: 2 }));
}

#[test]
fn a_float_that_json_has_no_number_for_is_an_error_wherever_it_stands() {
    #[derive(Serialize)]
    struct Deep {
        inner: Vec<Option<f64>>,
    }
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let mut out = Vec::new();
        let error = write_json(&mut out, &Deep { inner: vec![None, Some(1.5), Some(bad)] }).unwrap_err();
        assert!(error.to_string().starts_with(&format!("{bad} is no number in JSON")), "{error}");
        assert!(write_json(&mut out, &(bad as f32)).is_err() && to_raw(&bad).is_err());
        assert!(write_json(&mut out, &BTreeMap::from([("k", bad)])).is_err());
    }
    assert_eq!(to_raw(&[0.1, -0.0]).unwrap().get(), "[0.1,-0.0]");
}

#[test]
fn floats_come_back_bit_by_bit() {
    // A xorshift of 64 bits: every exponent, subnormals too.
    let mut bits = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..10_000 {
        bits ^= bits << 13;
        bits ^= bits >> 7;
        bits ^= bits << 17;
        let (double, single) = (f64::from_bits(bits), f32::from_bits(bits as u32));
        if double.is_finite() {
            let back: f64 = serde_json::from_str(to_raw(&double).unwrap().get()).unwrap();
            assert_eq!(back.to_bits(), double.to_bits(), "{double:e}");
        }
        if single.is_finite() {
            let back: f32 = serde_json::from_str(to_raw(&single).unwrap().get()).unwrap();
            assert_eq!(back.to_bits(), single.to_bits(), "{single:e}");
        }
    }
}

#[test]
fn keys_are_written_or_refused_as_serde_json_does() {
    same(&BTreeMap::<u8, u8>::new());
    same(&BTreeMap::from([(1, "one"), (-2, "two")]));
    same(&BTreeMap::from([(true, 1), (false, 0)]));
    same(&BTreeMap::from([('"', 1), ('x', 0)]));
    same(&BTreeMap::from([("a\nb".to_owned(), json!({"": {"k": []}})), ("z".repeat(200), json!(1))]));
    same(&BTreeMap::from([(Kind::Unit, 1)]));
    same(&BTreeMap::from([(Kind::Tuple(1, String::new()), 1)]));
    same(&BTreeMap::from([((1, 2), 3)]));
    same(&BTreeMap::from([(Some(1), 3)]));
    same(&HashMap::from([(String::from("only"), [[[0]]])]));
}

#[test]
fn a_string_is_whole_wherever_in_it_something_needs_an_escape() {
    for length in [0, 1, 31, 63, 64, 65, 127, 128, 129, 200] {
        let plain = "aé€𝄞".chars().cycle().take(length).collect::<String>();
        same(&plain);
        for special in ["\"", "\\", "\n", "\u{0}", "\u{1f}", "\u{7f}", " "] {
            for (at, _) in plain.char_indices() {
                let mut text = plain.clone();
                text.insert_str(at, special);
                same(&text);
            }
        }
    }
}
