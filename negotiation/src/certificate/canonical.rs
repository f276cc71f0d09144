//! Canonical JSON: equal values have equal bytes, whatever the order of their keys and the white space between them.
//!
//! RFC 8785 in spirit, with two differences: keys are sorted by Unicode code point (RFC 8785: by UTF-16 code unit), and an
//! integer from -2^63 to 2^64-1 keeps all its digits (RFC 8785: every number is a double). Another number is the nearest
//! double, in the fewest digits that read back as it, and always with a point or an exponent: `1.0`, `0.1`, `1e+300`.

use serde_json::Value;
use std::collections::BTreeMap;
use synod_protocol::Json;

/// Below this depth, what `serde_json` cannot hold is taken as it stands; nothing gets here that is so deep.
const DEPTH: usize = 128;

/// The canonical form of a JSON value.
///
/// What `serde_json::Value` cannot hold is kept as it stands, less white space: a number beyond the doubles, such as
/// `1e999`, and a text with half a surrogate pair, such as `"\ud800"`.
pub fn canonical(json: &Json) -> String {
    let mut out = String::with_capacity(json.as_str().len());
    write_json(json, 0, &mut out);
    out
}

fn write_json(json: &Json, depth: usize, out: &mut String) {
    if let Ok(value) = json.to::<Value>() {
        return write(&value, out);
    }
    if depth < DEPTH {
        if let Ok(members) = json.to::<BTreeMap<String, Json>>() {
            let sorted = members.iter().map(|(key, member)| (key.as_str(), member));
            return object(sorted, |member, out| write_json(member, depth + 1, out), out);
        }
        if let Ok(items) = json.to::<Vec<Json>>() {
            return array(&items, |item, out| write_json(item, depth + 1, out), out);
        }
    }
    out.push_str(json.compact().as_str());
}

fn write(value: &Value, out: &mut String) {
    match value {
        // Sorted here, and not left to the map's own order: that depends on a feature that any crate of a build may ask for.
        Value::Object(members) => {
            let sorted: BTreeMap<&str, &Value> = members.iter().map(|(key, v)| (key.as_str(), v)).collect();
            object(sorted.into_iter(), write, out);
        }
        Value::Array(items) => array(items, write, out),
        Value::String(text) => string(text, out),
        Value::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(whole), _, _) => out.push_str(&whole.to_string()),
            (_, Some(whole), _) => out.push_str(&whole.to_string()),
            (_, _, Some(float)) => out.push_str(&serde_json::to_string(&float).unwrap_or_default()),
            _ => out.push_str(&number.to_string()),
        },
        Value::Bool(_) | Value::Null => out.push_str(&value.to_string()),
    }
}

fn object<'a, T>(
    members: impl Iterator<Item = (&'a str, T)>,
    mut each: impl FnMut(T, &mut String),
    out: &mut String,
) {
    out.push('{');
    for (at, (key, member)) in members.enumerate() {
        if at > 0 {
            out.push(',');
        }
        string(key, out);
        out.push(':');
        each(member, out);
    }
    out.push('}');
}

fn array<'a, T>(items: &'a [T], mut each: impl FnMut(&'a T, &mut String), out: &mut String) {
    out.push('[');
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        each(item, out);
    }
    out.push(']');
}

/// Escaped are `"`, `\` and what is below U+0020: as `\b \t \n \f \r` where there is such a form, else as `\u00xx`.
fn string(text: &str, out: &mut String) {
    // A text always has a JSON form.
    out.push_str(&serde_json::to_string(text).unwrap_or_default());
}

/// The first place where two values differ, as a JSON pointer; none where they are equal.
pub(super) fn difference(a: &Json, b: &Json) -> Option<String> {
    if canonical(a) == canonical(b) {
        return None;
    }
    let mut at = String::new();
    if let (Ok(a), Ok(b)) = (a.to::<Value>(), b.to::<Value>()) {
        descend(&a, &b, &mut at);
    }
    Some(at)
}

/// Goes down as long as there is one first member in which they differ.
fn descend(a: &Value, b: &Value, at: &mut String) {
    let differ = |a: &Value, b: &Value| Json::from(a.clone()) != Json::from(b.clone());
    match (a, b) {
        (Value::Object(left), Value::Object(right)) => {
            let keys = left.keys().chain(right.keys());
            let mut differing = keys.filter(|key| match (left.get(*key), right.get(*key)) {
                (Some(a), Some(b)) => differ(a, b),
                _ => true,
            });
            let Some(key) = differing.next() else { return };
            at.push('/');
            at.push_str(&key.replace('~', "~0").replace('/', "~1"));
            if let (Some(a), Some(b)) = (left.get(key), right.get(key)) {
                descend(a, b, at);
            }
        }
        (Value::Array(left), Value::Array(right)) => {
            let same = left.iter().zip(right).take_while(|(a, b)| !differ(a, b)).count();
            at.push_str(&format!("/{same}"));
            if let (Some(a), Some(b)) = (left.get(same), right.get(same)) {
                descend(a, b, at);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, want: &str) {
        let got = canonical(&Json::parse(text).unwrap());
        assert_eq!(got, want, "{text}");
        assert_eq!(canonical(&Json::parse(&got).unwrap()), got, "twice is once: {text}");
    }

    #[test]
    fn equal_values_have_equal_bytes() {
        check(" { \"b\" : [ 1 , 2 ] , \"a\" : null , \"B\":true } ", r#"{"B":true,"a":null,"b":[1,2]}"#);
        check(r#"{"\u00e9":1,"e":2,"\ud83d\ude00":3,"\uff01":4}"#, "{\"e\":2,\"é\":1,\"！\":4,\"😀\":3}");
        check(r#""\u0041\/\u000a\u001f\u007f\"\\\u00e9""#, "\"A/\\n\\u001f\u{7f}\\\"\\\\é\"");
        check(r#"{"a":1,"a":2}"#, r#"{"a":2}"#);
    }

    #[test]
    fn numbers_have_one_form() {
        for (text, want) in [
            ("0", "0"),
            ("-0", "-0.0"),
            ("1.0", "1.0"),
            ("1.50", "1.5"),
            ("1e2", "100.0"),
            ("18446744073709551615", "18446744073709551615"),
            ("-9223372036854775808", "-9223372036854775808"),
            ("18446744073709551616", "1.8446744073709552e+19"),
            ("0.1000000000000000055", "0.1"),
            ("1e300", "1e+300"),
            ("5e-324", "5e-324"),
            ("122.416294033786585", "122.41629403378658"),
        ] {
            check(text, want);
        }
    }

    #[test]
    fn what_no_value_holds_is_kept() {
        check(r#"{"b": [1e999, {"z":1.0, "a" : 2}], "a" : 1}"#, r#"{"a":1,"b":[1e999,{"a":2,"z":1.0}]}"#);
        check(r#"[ "\ud800" ]"#, r#"["\ud800"]"#);
    }

    #[test]
    fn the_first_difference_is_named() {
        let at = |a, b| difference(&Json::parse(a).unwrap(), &Json::parse(b).unwrap());
        assert_eq!(at(r#"{"a":[1,{"b/c":2}]}"#, r#"{"a":[1,{"b/c":3}]}"#).as_deref(), Some("/a/1/b~1c"));
        assert_eq!(at(r#"{"a":1}"#, r#"{"a":1,"b":2}"#).as_deref(), Some("/b"));
        assert_eq!(at("[1]", "[1,2]").as_deref(), Some("/1"));
        assert_eq!(at("1", "2").as_deref(), Some(""));
        assert_eq!(at(r#"{"a":1, "b":2}"#, r#"{"b":2,"a":1}"#), None);
    }
}
