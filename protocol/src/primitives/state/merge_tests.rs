use super::*;
use proptest::prelude::*;

fn json(text: &str) -> Json {
    Json::parse(text).unwrap()
}

fn rules(of: &[(&str, Rule)]) -> Rules {
    Rules(of.iter().map(|(pointer, rule)| ((*pointer).to_owned(), *rule)).collect())
}

#[test]
fn each_rule_decides_its_field() {
    let check = |rule, current: &str, patch: &str, want: Option<&str>| {
        let wrapped = |text: &str| json(&format!("{{\"a\":{{\"b\":{text}}},\"c\":1}}"));
        let made = merge(&wrapped(current), &wrapped(patch), &rules(&[("/a/b", rule)]));
        let shown = format!("{rule:?} {current} {patch}: {made:?}");
        assert_eq!(
            made.ok().map(|m| m.to_string_for_test()),
            want.map(|w| wrapped(w).to_string_for_test()),
            "{shown}"
        );
    };
    check(Rule::Max, "1", "2", Some("2"));
    check(Rule::Max, "9007199254740993", "9007199254740992", Some("9007199254740993"));
    check(Rule::Max, "1", "1.0", Some("1"));
    check(Rule::Max, "1.5", "2", Some("2"));
    check(Rule::Min, "-1", "2", Some("-1"));
    check(Rule::Min, "1e2", "99", Some("99"));
    check(Rule::Sum, "9007199254740993", "1", Some("9007199254740994"));
    check(Rule::Sum, "18446744073709551615", "18446744073709551615", Some("36893488147419103230"));
    check(Rule::Sum, "0.5", "1", Some("1.5"));
    check(Rule::Sum, &"9".repeat(38), &"9".repeat(38), None);
    check(Rule::Sum, &"9".repeat(60), "1", None);
    check(Rule::Sum, "1e308", "1e308", None);
    check(Rule::Max, "1e999", "1", None);
    check(Rule::Max, "\"1\"", "1", None);
    check(Rule::Max, "[1]", "1", None);
    check(Rule::Max, "null", "1", Some("1"));
    check(Rule::Union, "[1,{\"x\":1,\"y\":2}]", "[2,{\"y\":2,\"x\":1},2]", Some("[1,{\"x\":1,\"y\":2},2]"));
    check(Rule::Append, "[1]", "[1,2]", Some("[1,1,2]"));
    check(Rule::Append, "[]", "[]", Some("[]"));
    check(Rule::Union, "[1]", "1", None);
}

impl Json {
    fn to_string_for_test(&self) -> String {
        self.compact().as_str().to_owned()
    }
}

#[test]
fn a_field_that_only_one_has_or_that_is_taken_away_has_no_rule() {
    let sum = rules(&[("/n", Rule::Sum)]);
    let check =
        |current, patch, want| assert_eq!(merge(&json(current), &json(patch), &sum).unwrap(), json(want));
    check("{}", "{\"n\":2}", "{\"n\":2}");
    check("{\"n\":2}", "{\"m\":1}", "{\"m\":1,\"n\":2}");
    check("{\"n\":2}", "{\"n\":null}", "{}");
    check("null", "{\"n\":2}", "{\"n\":2}");
    check("5", "7", "7");
    assert_eq!(merge(&json("5"), &json("7"), &rules(&[("", Rule::Sum)])).unwrap(), json("12"));
    let into = rules(&[("/a/1", Rule::Max)]);
    assert_eq!(merge(&json("{\"a\":[1,9]}"), &json("{\"a\":[0,3]}"), &into).unwrap(), json("{\"a\":[0,9]}"));
}

#[test]
fn pointers_are_checked_and_escaped() {
    let check = |of: &[&str], ok: bool| {
        let all: Vec<(&str, Rule)> = of.iter().map(|p| (*p, Rule::Max)).collect();
        assert_eq!(rules(&all).check().is_ok(), ok, "{of:?}");
    };
    check(&["", "/a"], false);
    check(&["/a", "/a/b"], false);
    check(&["/a", "/ab", "/a~1b", "/~0"], true);
    check(&["a"], false);
    check(&["/~2"], false);
    check(&["/~"], false);
    check(&[&format!("/{}", "x".repeat(1024))], false);
    let many = Rules((0..=RULES_LIMIT).map(|n| (format!("/{n}"), Rule::Max)).collect());
    assert!(many.check().is_err());
    let odd = rules(&[("/a~1b/~0", Rule::Max)]);
    let made = merge(&json("{\"a/b\":{\"~\":5}}"), &json("{\"a/b\":{\"~\":3}}"), &odd);
    assert_eq!(made.unwrap(), json("{\"a/b\":{\"~\":5}}"));
}

/// Any value of a few small names, so that two of them meet.
fn any_json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        "[ab\"\\\\é]{0,3}".prop_map(Into::into),
    ];
    leaf.prop_recursive(3, 16, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Into::into),
            prop::collection::btree_map("[abc]", inner, 0..3)
                .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    /// The same patch once more changes nothing, under every rule but sum and append.
    #[test]
    fn merge_is_idempotent(current in any_json(), patch in any_json(), n in any::<i64>(), m in any::<i64>(),
            a in prop::collection::vec(any_json(), 0..4), b in prop::collection::vec(any_json(), 0..4),
            least in any::<bool>()) {
        let with = |rest: serde_json::Value, n: i64, list: Vec<serde_json::Value>|
            Json::from(serde_json::json!({"rest": rest, "n": n, "list": list}));
        let rules = rules(&[("/n", if least { Rule::Min } else { Rule::Max }), ("/list", Rule::Union)]);
        let (current, patch) = (with(current, n, a), with(patch, m, b));
        let once = merge(&current, &patch, &rules).unwrap();
        let twice = merge(&once, &patch, &rules).unwrap();
        prop_assert_eq!(once, twice);
    }

    /// The order of two sums and two maxima does not matter.
    #[test]
    fn sums_and_maxima_commute(start in any::<i64>(), a in any::<i64>(), b in any::<i64>()) {
        let of = |s: i64| Json::from(serde_json::json!({"s": s, "m": s}));
        let rules = rules(&[("/s", Rule::Sum), ("/m", Rule::Max)]);
        let both = |x, y| merge(&merge(&of(start), &of(x), &rules).unwrap(), &of(y), &rules).unwrap();
        prop_assert_eq!(both(a, b), both(b, a));
    }
}
