//! JSON with one text for one value, for fingerprints of what people sign.
//!
//! Numbers stay as they are written: as floating-point numbers, two amounts that differ in their last digits would be one.

use std::collections::BTreeMap;
use synod_protocol::Json;

/// The value with sorted names, without white space, its strings with no escapes but those that JSON wants. Of a name that
/// stands twice, the latter counts. What is nested deeper than the reader goes (127 levels) stays as it is written.
pub(super) fn canonical(json: &Json) -> String {
    let mut out = String::with_capacity(json.as_str().len());
    write(json, &mut out);
    out
}

fn write(json: &Json, out: &mut String) {
    let text = json.as_str().trim_start();
    match text.as_bytes().first() {
        Some(b'{') => match json.to::<BTreeMap<String, Json>>() {
            Ok(members) => {
                let members = members.iter().map(|(name, member)| (Some(name.as_str()), member));
                write_all(('{', '}'), members, out);
            }
            Err(_) => out.push_str(text),
        },
        Some(b'[') => match json.to::<Vec<Json>>() {
            Ok(items) => write_all(('[', ']'), items.iter().map(|item| (None, item)), out),
            Err(_) => out.push_str(text),
        },
        Some(b'"') => match json.to::<String>() {
            Ok(string) => write_string(&string, out),
            Err(_) => out.push_str(text),
        },
        _ => out.push_str(text.trim_end()),
    }
}

fn write_all<'j>(
    (open, close): (char, char),
    parts: impl Iterator<Item = (Option<&'j str>, &'j Json)>,
    out: &mut String,
) {
    out.push(open);
    for (i, (name, part)) in parts.enumerate() {
        if i > 0 {
            out.push(',');
        }
        if let Some(name) = name {
            write_string(name, out);
            out.push(':');
        }
        write(part, out);
    }
    out.push(close);
}

fn write_string(string: &str, out: &mut String) {
    out.push_str(&serde_json::Value::from(string).to_string());
}

#[cfg(test)]
mod tests {
    use super::canonical;
    use synod_protocol::Json;

    #[test]
    fn one_value_has_one_text() {
        let check = |text: &str, want: &str| assert_eq!(canonical(&Json::parse(text).unwrap()), want);
        check(
            r#" { "b" : [ 1 , { "z":0, "a" : null } ] , "a" : "\u0041\n" } "#,
            r#"{"a":"A\n","b":[1,{"a":null,"z":0}]}"#,
        );
        check(" 1.10 ", "1.10");
        check("[12345678901234567890123, 1e999]", "[12345678901234567890123,1e999]");
        check(r#"{"a":1,"a":2}"#, r#"{"a":2}"#);
        check("[ ]", "[]");
        check(" { } ", "{}");
    }
}
