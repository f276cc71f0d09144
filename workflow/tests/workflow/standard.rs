//! Points in time, spans, bytes, patterns, texts and types, as the specification of CEL and its conformance tests have them.

use proptest::prelude::*;
use serde_json::{Value as Json, json};
use synod_workflow::expression::{EvalError, Expression, Scope, Value};

fn value(text: &str) -> Result<Json, String> {
    let expression = Expression::parse(text).map_err(|error| error.to_string())?;
    let scope =
        Scope::new().with("input", Value::of(&json!({"at": "2026-11-21T08:00:00.5Z", "name": "Ann"})));
    expression.evaluate(&scope).and_then(|value| value.json()).map_err(|error| error.to_string())
}

fn all_hold(texts: &[&str]) {
    for text in texts {
        assert_eq!(value(text), Ok(json!(true)), "{text}");
    }
}

/// Each fails, with a message that has those words.
fn all_fail(cases: &[(&str, &str)]) {
    for (text, words) in cases {
        match value(text) {
            Err(error) if error.contains(words) => {}
            other => panic!("{text}: {other:?} instead of …{words}…"),
        }
    }
}

#[test]
fn points_in_time_and_spans_are_computed_with() {
    all_hold(&[
        "timestamp('2026-11-21T08:00:00+02:00') == timestamp('2026-11-21T06:00:00Z')",
        "timestamp('2026-11-21t08:00:00.250z') < timestamp('2026-11-21T08:00:00.26Z')",
        "timestamp('2026-02-28T23:00:00Z') + duration('2h') == timestamp('2026-03-01T01:00:00Z')",
        "duration('2h') + timestamp('2024-02-28T23:00:00Z') == timestamp('2024-02-29T01:00:00Z')",
        "timestamp('2026-01-01T00:00:00Z') - duration('1ns') == timestamp('2025-12-31T23:59:59.999999999Z')",
        "timestamp('2026-01-02T00:00:00Z') - timestamp('2026-01-01T00:00:00Z') == duration('24h')",
        "timestamp('2026-01-01T00:00:00Z') - timestamp('2026-01-02T00:00:00Z') == duration('-24h')",
        "duration('10m') + duration('50s') == duration('650s')",
        "duration('10m') - duration('50s') == duration('9m10s')",
        "duration('1h') == duration('60m') && duration('-1.5h') == duration('-90m')",
        "duration('1h34us') == duration('3600000034us')",
        "duration('0') == duration('0s') && duration('+1ms') == duration('1000us')",
        "duration('1.0000000019s') == duration('1000000001ns')",
        "duration('9223372036854775807ns') > duration('-9223372036854775808ns')",
        "timestamp('0001-01-01T00:00:01.000000001Z') + duration('-999999999ns') == timestamp('0001-01-01T00:00:00.000000002Z')",
        "timestamp('2026-01-01T00:00:00Z') != duration('0') && timestamp(0) != 0 && duration('1s') != '1s'",
        "timestamp(1234567890) == timestamp('2009-02-13T23:31:30Z')",
        "timestamp(timestamp(5)) == timestamp(5) && duration(duration('5s')) == duration('5s')",
        "int(timestamp('2009-02-13T23:31:30.9Z')) == 1234567890",
        "int(timestamp('1969-12-31T23:59:59.5Z')) == -1",
        "[timestamp(3), timestamp(1)].exists(t, t < timestamp(2)) && timestamp(1) in [timestamp(1)]",
        "timestamp(input.at) >= timestamp('2026-11-21T08:00:00Z') + duration('500ms')",
        "duration('200s') <= duration('200s') && duration('300s') > duration('200s')",
    ]);
    all_fail(&[
        (
            "timestamp('yesterday')",
            "the text \"yesterday\" is no timestamp; write RFC 3339 of the years 1 to 9999, such as",
        ),
        ("timestamp('2026-11-21')", "is no timestamp"),
        ("timestamp('2026-11-21 08:00:00Z')", "is no timestamp"),
        ("timestamp('2026-11-21T08:00:00')", "is no timestamp"),
        ("timestamp('2026-11-21T08:00:00Z ')", "is no timestamp"),
        ("timestamp('2026-02-29T08:00:00Z')", "is no timestamp"),
        ("timestamp('2100-02-29T08:00:00Z')", "is no timestamp"),
        ("timestamp('2026-13-01T08:00:00Z')", "is no timestamp"),
        ("timestamp('2026-04-31T08:00:00Z')", "is no timestamp"),
        ("timestamp('2026-04-30T24:00:00Z')", "is no timestamp"),
        ("timestamp('2026-04-30T08:00:60Z')", "is no timestamp"),
        ("timestamp('2026-04-30T08:00:00.Z')", "is no timestamp"),
        ("timestamp('2026-04-30T08:00:00+25:00')", "is no timestamp"),
        ("timestamp('0000-12-31T23:59:59Z')", "is no timestamp"),
        ("timestamp('0001-01-01T00:00:00+00:01')", "is no timestamp"),
        ("timestamp('9999-12-31T23:59:59-00:01')", "is no timestamp"),
        ("timestamp('10000-01-01T00:00:00Z')", "is no timestamp"),
        ("timestamp(-62135596801)", "-62135596801 seconds are beyond the years 1 to 9999"),
        ("timestamp(253402300800)", "beyond the years 1 to 9999"),
        ("timestamp(9223372036854775807)", "beyond the years 1 to 9999"),
        (
            "timestamp('9999-12-31T23:59:59.999999999Z') + duration('1ns')",
            "`+` goes beyond the years 1 to 9999",
        ),
        ("timestamp('0001-01-01T00:00:00Z') - duration('1ns')", "`-` goes beyond the years 1 to 9999"),
        (
            "timestamp('9999-12-31T23:59:59Z') - timestamp('0001-01-01T00:00:00Z')",
            "`-` goes beyond the 292 years",
        ),
        ("duration('1 h')", "the text \"1 h\" is no duration; write numbers with h, m, s, ms, us or ns"),
        ("duration('')", "is no duration"),
        ("duration('5')", "is no duration"),
        ("duration('1d')", "is no duration"),
        ("duration('1.s')", "is no duration"),
        ("duration('.5s')", "is no duration"),
        ("duration('--1s')", "is no duration"),
        ("duration('320000000000s')", "beyond the 292 years"),
        ("duration('-9223372036854775809ns')", "beyond the 292 years"),
        (&format!("duration('{}h')", "9".repeat(200)), "beyond the 292 years"),
        ("duration('9223372036854775807ns') + duration('1ns')", "`+` goes beyond the 292 years"),
        ("duration('-9223372036854775808ns') - duration('1ns')", "`-` goes beyond the 292 years"),
        ("timestamp(0) + timestamp(0)", "`+` does not take a timestamp and a timestamp"),
        ("duration('1s') - timestamp(0)", "`-` does not take a duration and a timestamp"),
        ("timestamp(0) + 1", "`+` does not take a timestamp and an int"),
        ("duration('1s') * 2", "`*` does not take a duration and an int"),
        ("timestamp(0) < duration('0')", "`<` does not take a timestamp and a duration"),
        ("int(duration('1s'))", "`int` does not take a duration"),
    ]);
}

#[test]
fn points_in_time_have_parts() {
    let at = "timestamp('2009-02-13T23:31:30.123456789Z')";
    for (call, wanted) in [
        ("getFullYear()", 2009),
        ("getMonth()", 1),
        ("getDate()", 13),
        ("getDayOfMonth()", 12),
        ("getDayOfWeek()", 5),
        ("getDayOfYear()", 43),
        ("getHours()", 23),
        ("getMinutes()", 31),
        ("getSeconds()", 30),
        ("getMilliseconds()", 123),
        ("getDate('+11:00')", 14),
        ("getDayOfMonth('+11:00')", 13),
        ("getDayOfWeek('+00:29')", 6),
        ("getDayOfWeek('UTC')", 5),
        ("getHours('02:00')", 1),
        ("getMinutes('-09:45')", 46),
        ("getSeconds('-00:00')", 30),
    ] {
        assert_eq!(value(&format!("{at}.{call}")), Ok(json!(wanted)), "{call}");
    }
    for (text, wanted) in [
        ("timestamp('0001-01-01T00:00:00Z').getFullYear('-00:01')", 0),
        ("timestamp('9999-12-31T23:59:59Z').getFullYear('+00:01')", 10_000),
        ("timestamp('2024-12-31T00:00:00Z').getDayOfYear()", 365),
        ("timestamp('1969-12-31T23:59:59.5Z').getMilliseconds()", 500),
        ("duration('10000s').getHours()", 2),
        ("duration('3730s').getMinutes()", 62),
        ("duration('3730s').getSeconds()", 3730),
        ("duration('123.321456789s').getMilliseconds()", 321),
        ("duration('-1.5s').getSeconds()", -1),
        ("duration('-1.5s').getMilliseconds()", -500),
    ] {
        assert_eq!(value(text), Ok(json!(wanted)), "{text}");
    }
    all_fail(&[
        (
            "timestamp(0).getHours('Europe/Paris')",
            "the time zone \"Europe/Paris\" is not known here: offsets are taken, such as \"+02:00\", and \"UTC\"",
        ),
        ("timestamp(0).getHours('+2:00')", "offsets are taken"),
        ("timestamp(0).getHours('+24:00')", "offsets are taken"),
        ("timestamp(0).getHours('+02:00 ')", "offsets are taken"),
        ("timestamp(0).getHours('')", "offsets are taken"),
        ("timestamp(0).getHours(2)", "`getHours` does not take a timestamp and an int"),
        ("duration('1s').getHours('UTC')", "`getHours` does not take a duration and a text"),
        ("duration('1s').getDate()", "`getDate` does not take a duration"),
        ("'2026'.getDate()", "`getDate` does not take a text"),
    ]);
}

#[test]
fn what_json_has_no_kind_for_becomes_text() {
    for (text, wanted) in [
        ("timestamp('2026-11-21T08:00:00.500+02:00')", json!("2026-11-21T06:00:00.5Z")),
        ("timestamp('9999-12-31T23:59:59.999999999Z')", json!("9999-12-31T23:59:59.999999999Z")),
        ("timestamp('0001-01-01T00:00:00Z')", json!("0001-01-01T00:00:00Z")),
        ("{'in': [duration('3500ms')]}", json!({"in": ["3.5s"]})),
        ("duration('-1ns')", json!("-0.000000001s")),
        ("duration('-9223372036854775808ns')", json!("-9223372036.854775808s")),
        ("duration('11574h')", json!("41666400s")),
        ("b'\\000\\xff'", json!("AP8=")),
        ("b''", json!("")),
        (
            "string(timestamp('2009-02-13T23:31:30Z')) + string(duration('1m1ms'))",
            json!("2009-02-13T23:31:30Z60.001s"),
        ),
        ("string(type(1) == int)", json!("true")),
    ] {
        assert_eq!(value(text), Ok(wanted), "{text}");
    }
    all_fail(&[(
        "[type(1)]",
        "the result is the type `int`, which JSON cannot say; compare it: `type(…) == int`",
    )]);
    let instant = |text: &str| Expression::parse(text).unwrap().evaluate(&Scope::new()).unwrap().instant_ms();
    assert_eq!(instant("timestamp('1970-01-01T00:00:01.2345Z')"), Some(1234));
    assert_eq!(instant("timestamp('1969-12-31T23:59:59.9995Z')"), Some(-1));
    assert_eq!(instant("timestamp('9999-12-31T23:59:59.9999Z')"), Some(253_402_300_799_999));
    assert_eq!((instant("'1970-01-01T00:00:01Z'"), instant("duration('1s')")), (None, None));
}

#[test]
fn bytes_are_bytes() {
    all_hold(&[
        "bytes('ÿ') == b'\\303\\277' && b'ÿ' == b'\\xc3\\xbf' && bytes('hello') == b'hello'",
        "bytes('\\377') != b'\\377' && bytes(b'a') == b'a' && b'a' != 'a'",
        "string(b'\\303\\277') == 'ÿ' && string(rb'\\x') == r'\\x' && size(rb'\\x') == 2",
        "size(bytes('ÿ')) == 2 && b'abc'.size() == 3",
        "b'abc' + b'def' == b'abcdef' && b'' + b'\\xffoo' == b'\\xffoo'",
        "b'a' < b'b' && b'a' < b'aa' && b'\\xff' > b'a' && b'a' <= b'a' && !(b'a' >= b'b')",
        "b'a' in [b'b', b'a']",
    ]);
    all_fail(&[
        ("string(b'a\\xff')", "the bytes are no UTF-8 from byte 1 on"),
        ("bytes(1)", "`bytes` does not take an int"),
        ("b'a' + 'a'", "`+` does not take bytes and a text"),
        ("b'a'[0]", "bytes indexed by an int"),
        ("b'a'.contains(b'a')", "`contains` does not take bytes and bytes"),
        ("{b'a': 1}", "bytes as the name of a map's member"),
    ]);
    let large = Value::Bytes(vec![0; 200_000].into());
    assert_eq!(large.json(), Err(EvalError::TooLarge));
    assert!(Value::Bytes(vec![0; 190_000].into()).json().is_ok());
}

#[test]
fn patterns_match() {
    all_hold(&[
        "'hubba'.matches('ubb') && matches('foobar', 'foo.*') && !''.matches('foo|bar')",
        "'cows'.matches('') && ''.matches('') && !'cows'.matches('^ow')",
        "'banana'.matches('^ba(na)*$') && 'mañana'.matches('a+ñ+a+')",
        "'\\U0001F431\\U0001F600\\U0001F600'.matches('(a|\\U0001F600){2}')",
        "['eu-1', 'us-22'].all(x, x.matches(r'^[a-z]{2}-\\d+$'))",
        "'a' + 'b' == 'ab' && 'xaby'.matches('a' + 'b')",
        // As in RE2: the classes of Perl and the boundaries go by ASCII, the others by Unicode.
        r"'7'.matches(r'^\d$') && !'٧'.matches(r'\d') && '٧'.matches(r'^\pN$') && '٧'.matches(r'^\D$')",
        r"'_'.matches(r'^\w$') && !'é'.matches(r'\w') && 'é'.matches(r'^\W$') && 'é'.matches(r'^\p{L}$')",
        r"' '.matches(r'^\s$') && !'\u00a0'.matches(r'\s') && '\u00a0'.matches(r'^\S$')",
        r"'é7'.matches(r'^é\b7$') && !'e7'.matches(r'^e\b7$') && 'e7'.matches(r'^e\B7$')",
        r"'-7_'.matches(r'^[-\d_]+$') && !'x'.matches(r'[\d\s]') && 'x'.matches(r'^[^\d\s]$') && 'x'.matches(r'^[\D]$')",
        r"'[&&~~]'.matches(r'^[[&&~]+[\]]$') && ']'.matches('^[]]$') && 'a'.matches('^[^]]$')",
        r"'B'.matches('^[[:upper:]]$') && 'b'.matches('^[[:^upper:]x]$') && 'É'.matches(r'(?i)^é$')",
        r"'a{'.matches('^a{$') && 'a{,3}'.matches('^a{,3}$') && 'a}'.matches('^a}$') && 'aa'.matches('^a{2}$')",
        r"'aaa'.matches('^a{2,}$') && 'aaa'.matches('^a{1,3}?$') && '☃'.matches(r'^\x{2603}$')",
        r"'a\nb'.matches('(?m)^b$') && !'a\nb'.matches('^b$') && !'a\n'.matches('a$') && 'a\nb'.matches('(?s)a.b')",
        "'ab'.matches('(?P<x>a)(?:b)') && 'ab'.matches('(?i:A)b') && !'ab'.matches('(?i:A)B')",
        "!'a'.matches('a{1000}')",
        "'abcdefghijklmnopqrstuvwxyz'.split('').all(x, x.matches('^' + x + '$') && x.matches('^[a-z]$'))",
    ]);
    all_fail(&[
        ("'a'.matches('(a')", "the pattern \"(a\" is refused: unclosed group at character 4"),
        ("matches('a', 'a)')", "is refused: unopened group at character 0"),
        ("'a'.matches('a' + '**(')", "the pattern \"a**(\" is refused: unclosed group"),
        ("'a'.matches('*')", "is refused: repetition operator missing expression"),
        ("'a'.matches('[a')", "is refused: `[` without its `]`"),
        ("'a'.matches('[[:foo:]]')", "is refused: there is no `[:foo:]`, only alnum, alpha"),
        ("'a'.matches('[a--b]')", "is refused: `--` within `[…]`"),
        ("'a'.matches('(?x)a b')", "is refused: there are no flags `x`, only i, m, s and U"),
        ("'a'.matches('(?=a)')", "is refused: look-around"),
        (r"'a'.matches(r'(a)\1')", "is refused: backreferences are not supported"),
        (r"'a'.matches('a\\')", "is refused: `\\` with nothing after it"),
        (r"'a'.matches(r'\p{Klingon}')", "is refused: Unicode property not found"),
        ("'a'.matches('a{1001}')", "is refused: a count of 1001, the limit is 1000"),
        ("'a'.matches('a{3,2}')", "is refused: invalid repetition count range"),
        (
            "'a'.matches('(a{1000}){1000}')",
            "is refused: it weighs 4004002, counts and classes taken together, the limit is 50000",
        ),
        (r"'a'.matches(r'\pL{100}')", "the limit is 50000"),
        (
            &format!("'a'.matches('{}'.replace('a', 'aaaaaaaaaaa'))", "a".repeat(400)),
            "it has 4400 bytes, the limit is 4096",
        ),
        (
            &format!("'a'.matches('{}a{}')", "(?:".repeat(40), ")*".repeat(40)),
            "is refused: exceed the maximum number of nested parentheses/brackets (64)",
        ),
        ("1.matches('a')", "`matches` does not take an int and a text"),
        ("'a'.matches()", "`matches` does not take a text"),
    ]);
}

#[test]
fn texts_have_their_functions() {
    all_hold(&[
        "'tacocat'.charAt(3) == 'o' && 'tacocat'.charAt(7) == '' && '©αT'.charAt(1) == 'α'",
        "'tacocat'.indexOf('') == 0 && 'tacocat'.indexOf('ac') == 1 && 'tacocat'.indexOf('none') == -1",
        "'tacocat'.indexOf('', 3) == 3 && 'tacocat'.indexOf('a', 3) == 5 && 'abc'.indexOf('', 3) == 3",
        "'ta©o©αT'.indexOf('©') == 2 && 'ta©o©αT'.indexOf('©', 3) == 4 && 'ta©o©αT'.indexOf('©α', 5) == -1",
        "'tacocat'.lastIndexOf('') == 7 && 'tacocat'.lastIndexOf('at') == 5 && ''.lastIndexOf('@@') == -1",
        "'tacocat'.lastIndexOf('a', 3) == 1 && 'ta©o©αT'.lastIndexOf('©α', 4) == 4",
        "'bananananana'.lastIndexOf('nana', 7) == 6 && 'aé'.lastIndexOf('é', 0) == -1",
        "'TacoCÆt Xii'.lowerAscii() == 'tacocÆt xii' && 'tacoCαt'.upperAscii() == 'TACOCαT'",
        "'{0} days {0} hours'.replace('{0}', '2', 1).replace('{0}', '23') == '2 days 23 hours'",
        "'1 ©αT taco'.replace('αT', 'o©α') == '1 ©o©α taco' && 'abc'.replace('', '_') == '_a_b_c_'",
        "'aaa'.replace('a', 'b', 0) == 'aaa' && 'aaa'.replace('a', 'b', -1) == 'bbb'",
        "'hello world'.split(' ') == ['hello', 'world'] && 'a b c'.split(' ', 0) == []",
        "'a b c'.split(' ', 1) == ['a b c'] && 'a b c'.split(' ', 2) == ['a', 'b c']",
        "'o©o©o'.split('©', -1) == ['o', 'o', 'o'] && ''.split(',') == [''] && ',a,'.split(',') == ['', 'a', '']",
        "'©αT'.split('') == ['©', 'α', 'T'] && '©αT'.split('', 2) == ['©', 'αT'] && ''.split('') == []",
        "'tacocat'.substring(4) == 'cat' && 'tacocat'.substring(7) == '' && 'tacocat'.substring(0, 4) == 'taco'",
        "'ta©o©αT'.substring(2, 6) == '©o©α' && 'ta©o©αT'.substring(7, 7) == ''",
        "' \\f\\n\\r\\t\\vtext\\u2009\\u0085\\u3000'.trim() == 'text' && '\\u200btext'.trim() == '\\u200btext'",
        "['x', 'y'].join() == 'xy' && ['x', 'y'].join('-') == 'x-y' && [].join('-') == ''",
        "input.name.upperAscii().split('').join('.') == 'A.N.N'",
    ]);
    all_fail(&[
        ("'tacocat'.charAt(8)", "`charAt` at character 8 of a text of 7 characters; test `size(…)` before"),
        ("'tacocat'.indexOf('a', 30)", "`indexOf` at character 30 of a text of 7 characters"),
        ("'tacocat'.indexOf('a', 7)", "`indexOf` at character 7"),
        ("'tacocat'.lastIndexOf('a', -1)", "`lastIndexOf` at character -1"),
        ("'tacocat'.substring(8)", "`substring` at character 8"),
        ("'tacocat'.substring(1, 50)", "`substring` at character 50"),
        ("'tacocat'.substring(4, 3)", "`substring` from 4 to 3: the end comes before the start"),
        ("42.charAt(2)", "`charAt` does not take an int and an int"),
        ("'hello'.indexOf(true)", "`indexOf` does not take a text and a bool"),
        ("['a', 1].join(',')", "`join` over a list with an int in it; make texts of them"),
        ("'a'.replace('a')", "`replace` does not take a text and a text"),
    ]);
}

#[test]
fn values_have_types() {
    all_hold(&[
        "type(1) == int && type(1u) == uint && type(1.0) == double && type('a') == string && type(b'a') == bytes",
        "type(true) == bool && type(null) == null_type && type([1]) == list && type({'a': 1}) == map",
        "type(type(1)) == type(string) && type(int) == type && type(type) == type && type(1) != type(1u)",
        "type(timestamp(0)) == google.protobuf.Timestamp && type(duration('0')) == google.protobuf.Duration",
        "dyn(3.0) == 3 && type(dyn([1, 'one'])) == list && type(1) != 'int'",
        "[1, 'a', 2].filter(x, type(x) == int) == [1, 2] && [5].all(int, int == 5)",
        "bool('TRUE') && bool('t') && bool('1') && !bool('False') && !bool('0')",
    ]);
    all_fail(&[
        ("dyn == 1", "`dyn` is not there"),
        ("bool('TrUe')", "the text \"TrUe\" is no bool"),
        ("type(1) < type(2)", "`<` does not take a type and a type"),
        ("google.protobuf.Any", "`google` is not there"),
    ]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    /// The calendar beside another's, within what that one holds.
    #[test]
    fn points_in_time_are_those_of_jiff(second in -62_135_596_800i64..253_402_207_200, nanos in 0i64..1_000_000_000, minutes in -1_439i64..1_440) {
        let there = jiff::Timestamp::new(second, 0).unwrap() + jiff::SignedDuration::from_nanos(nanos);
        let offset = jiff::tz::Offset::from_seconds(i32::try_from(minutes * 60).unwrap()).unwrap();
        let sign = if minutes < 0 { '-' } else { '+' };
        let zone = format!("{sign}{:02}:{:02}", minutes.abs() / 60, minutes.abs() % 60);
        let at = format!("timestamp('{there}')");
        let text = value(&format!("string({at})")).unwrap();
        prop_assert_eq!(text.as_str().unwrap().parse::<jiff::Timestamp>().unwrap(), there);
        prop_assert_eq!(value(&format!("int({at})")), Ok(json!(second)));
        prop_assert_eq!(value(&format!("{at} == timestamp({second}) + duration('{nanos}ns')")), Ok(json!(true)));
        let local = offset.to_datetime(there);
        if local.year() >= 1 {
            let parts = json!([
                local.year(), local.month() - 1, local.day(), local.weekday().to_sunday_zero_offset(),
                local.day_of_year() - 1, local.hour(), local.minute(), local.second(), local.millisecond()
            ]);
            let calls = ["FullYear", "Month", "Date", "DayOfWeek", "DayOfYear", "Hours", "Minutes", "Seconds", "Milliseconds"];
            let calls = calls.map(|call| format!("timestamp(at).get{call}('{zone}')")).join(", ");
            let scope = Scope::new().with("at", Value::of(&json!(there.to_string())));
            let ours = Expression::parse(&format!("[{calls}]")).unwrap().evaluate(&scope).unwrap().json();
            prop_assert_eq!(ours, Ok(parts));
        }
    }

    #[test]
    fn spans_are_read_as_they_are_written(nanos in any::<i64>(), other in any::<i64>()) {
        let span = |nanos: i64| format!("duration('{nanos}ns')");
        prop_assert_eq!(
            value(&format!("duration(string({0})) == {0}", span(nanos))),
            Ok(json!(true))
        );
        let sum = value(&format!("{} + {}", span(nanos), span(other)));
        match nanos.checked_add(other) {
            Some(wanted) => prop_assert_eq!(sum, value(&span(wanted))),
            None => prop_assert!(sum.is_err()),
        }
    }

    /// No pattern is a panic, what is refused says so, and what is translated means what it meant, where both ways mean one.
    #[test]
    fn patterns_mean_what_they_mean_to_the_crate(
        pattern in r"[a-c0-9é.()\[\]{}|*+?^$\\dwsSbBpLx:,&~-]{0,24}|(\[\^?[a-c\\dwS.-]{1,4}\]|\\[dwsDWSbB]|[a-c7_]|\(a\||\)|[*+?.^$]|\{[1-3],?[3-5]?\}){1,8}",
        text in "[a-c0-9_ \\-]{0,12}",
    ) {
        let scope = Scope::new().with("p", Value::of(&json!(pattern))).with("t", Value::of(&json!(text)));
        let ours = Expression::parse("t.matches(p)").unwrap().evaluate(&scope).and_then(|value| value.json());
        let one_meaning = !pattern.contains(['&', '~']) && pattern.matches('[').count() < 2 && !pattern.contains("{,");
        match (ours, regex::Regex::new(&pattern)) {
            (Ok(found), Ok(judge)) if one_meaning => prop_assert_eq!(found, json!(judge.is_match(&text))),
            (Ok(_), Ok(_)) => {}
            (Ok(_), Err(why)) => prop_assert!(pattern.contains(['[', '{']), "{}", why),
            (Err(error), _) => prop_assert!(error.to_string().contains("is refused: "), "{}", error),
        }
    }
}
