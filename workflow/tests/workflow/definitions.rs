//! Definitions that are taken: their schema, their hash, their graph, what can start when.

use serde_json::json;
use std::collections::BTreeSet;
use synod_workflow::definition::build::{approval, map, parallel, task, workflow};
use synod_workflow::definition::{Definition, Kind, StepId};
use synod_workflow::{Blocked, Workflow, draw};

const DOCUMENT: &str = include_str!("../good/document.yaml");

fn names(ids: &[&StepId]) -> Vec<String> {
    ids.iter().map(|id| id.to_string()).collect()
}

#[test]
fn yaml_json_and_rust_are_one_document() {
    let from_yaml = Workflow::parse(DOCUMENT).unwrap();
    let json = from_yaml.definition().to_json();
    for text in [json.to_string(), format!("{json:#}")] {
        let again = Workflow::parse(&text).unwrap();
        assert_eq!((again.definition(), again.hash()), (from_yaml.definition(), from_yaml.hash()));
    }
    let small =
        "steps: [{task: {input: {b: 1, a: '${{ input.x }}'}, capability: c}, id: one}]\nid: w # a comment\n";
    let built =
        workflow("w").step(task("one", "c").input(json!({"a": "${{ input.x }}", "b": 1}))).build().unwrap();
    assert_eq!(Workflow::parse(small).unwrap().hash(), built.hash());
    let other =
        workflow("w").step(task("one", "c").input(json!({"a": "${{ input.y }}", "b": 1}))).build().unwrap();
    assert_ne!(other.hash(), built.hash());
}

#[test]
fn the_shipped_schema_is_that_of_the_types() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/workflow.schema.json");
    let now = format!("{:#}\n", Definition::schema());
    if std::env::var_os("UPDATE_SCHEMA").is_some() {
        std::fs::write(path, &now).unwrap();
    }
    assert!(std::fs::read_to_string(path).unwrap_or_default() == now, "UPDATE_SCHEMA=1 writes it anew");
}

#[test]
fn the_schema_takes_what_is_taken_and_refuses_what_has_wrong_fields() {
    let schema = jsonschema::validator_for(&Definition::schema()).unwrap();
    let check = |definition: &serde_json::Value, taken: bool| {
        let errors: Vec<String> = schema.iter_errors(definition).map(|error| error.to_string()).collect();
        assert_eq!(errors.is_empty(), taken, "{definition:#}: {errors:?}");
    };
    check(&Workflow::parse(DOCUMENT).unwrap().definition().to_json(), true);
    let step = |step: serde_json::Value| json!({"id": "w", "steps": [step]});
    check(&step(json!({"id": "a", "task": {"capability": "c"}})), true);
    check(&step(json!({"id": "a"})), false);
    check(&step(json!({"id": "a", "taks": {"capability": "c"}})), false);
    check(&step(json!({"id": "a", "task": {"capability": "c"}, "depend_on": []})), false);
    check(&step(json!({"id": "a", "task": {"capability": "c"}, "wait": {"for_ms": 1}})), false);
    check(&step(json!({"id": "1a", "task": {"capability": "c"}})), false);
    check(&step(json!({"id": "in", "task": {"capability": "c"}})), false);
    check(&json!({"id": "w", "steps": [{"id": "a", "wait": {"for_ms": 1}}], "extra": 1}), false);
}

#[test]
fn blocks_wait_and_are_waited_for() {
    let workflow = Workflow::parse(DOCUMENT).unwrap();
    let before = |id: &str| -> BTreeSet<String> {
        let number = workflow.number(id).unwrap();
        workflow.starts_after(number).into_iter().map(|n| workflow.place(n).unwrap().id.to_string()).collect()
    };
    assert_eq!(before("facts"), ["draft".to_owned()].into());
    assert_eq!(before("proofread"), ["translated".to_owned(), "release".to_owned()].into());
    assert_eq!(before("delivered"), ["print".to_owned(), "translate".to_owned()].into());
    assert_eq!(before("calm"), ["translate".to_owned()].into());
    let order = names(&workflow.topological_order());
    let at = |id: &str| order.iter().position(|name| name == id).unwrap();
    assert!(at("style") < at("checks") && at("checks") < at("release") && at("by_template") < at("draft"));
    let (path, weight) =
        workflow.critical_path(|step| if matches!(step.kind, Kind::Approval(_)) { 100 } else { 1 });
    assert_eq!(weight, 108);
    assert_eq!(
        names(&path),
        ["research", "draft", "facts", "release", "translated", "proofread", "print", "delivered", "where"]
    );
}

#[test]
fn what_can_start_is_known() {
    let workflow = workflow("w")
        .step(task("a", "c"))
        .step(parallel("p", [task("b", "c").after(["a"]), task("c", "c")]))
        .step(map("m", "input.list", task("each", "c")).after(["p"]))
        .step(approval("ok", "Ok?", ["ann"]).after(["m"]).or(task("plan_b", "c")))
        .build()
        .unwrap();
    let settled = |ids: &[&str]| -> BTreeSet<StepId> { ids.iter().map(|id| id.parse().unwrap()).collect() };
    let next = |ids: &[&str]| names(&workflow.next_executable_steps(&settled(ids)));
    assert_eq!(next(&[]), ["a", "p", "c"]);
    assert_eq!(next(&["a", "c"]), ["p", "b"]);
    assert_eq!(next(&["a", "b", "c", "p"]), ["m", "each"]);
    assert_eq!(next(&["a", "b", "c", "p", "each", "m"]), ["ok"]);
    assert_eq!(next(&["a", "b", "c", "p", "each", "m", "ok"]), Vec::<String>::new());
    let blocked = workflow.can_execute_step_now("b", &settled(&[])).unwrap_err();
    assert_eq!(blocked, Blocked::Waits(vec!["a".parse().unwrap()]));
    assert_eq!(workflow.can_execute_step_now("x", &settled(&[])), Err(Blocked::Unknown("x".into())));
}

#[test]
fn a_graph_can_be_drawn() {
    let workflow = Workflow::parse(DOCUMENT).unwrap();
    for (name, drawn) in
        [("document.graph.txt", draw::text(&workflow)), ("document.mmd", draw::mermaid(&workflow))]
    {
        let path = format!("{}/tests/good/{name}", env!("CARGO_MANIFEST_DIR"));
        if std::env::var_os("UPDATE_DRAWN").is_some() {
            std::fs::write(&path, &drawn).unwrap();
        }
        assert_eq!(
            std::fs::read_to_string(&path).unwrap_or_default(),
            drawn,
            "UPDATE_DRAWN=1 writes it anew"
        );
    }
    let hostile = task("a", "c").when("input.x == \"]\\\"; end\" || input.y == '<b>'");
    let built = synod_workflow::definition::build::workflow("w")
        .step(approval("ok", "?", ["\"]\nclick x \"javascript:alert(1)\""]).or(hostile));
    assert!(built.build().is_err(), "control characters name nobody");
}

#[test]
fn yaml_is_read_by_its_core_schema_and_aliases_are_followed() {
    let text = "id: w\nsteps:\n  - id: a\n    task:\n      capability: c\n      input: &in {yes: yes, hex: 0x1f, oct: 0o17, big: 18446744073709551615, low: -9223372036854775808, half: .5, exp: 1e3,\n        none: ~, empty: , text: '1', date: 2026-01-01, plus: +3, version: 1.2.3, folded: \"a\\\n        b\"}\n  - id: b\n    task: {capability: c, input: *in}\n";
    let workflow = Workflow::parse(text).unwrap();
    let json = workflow.definition().to_json();
    let input = &json["steps"][0]["task"]["input"];
    let wanted = json!({
        "yes": "yes", "hex": 31, "oct": 15, "big": u64::MAX, "low": i64::MIN, "half": 0.5, "exp": 1000.0, "none": null, "empty": null,
        "text": "1", "date": "2026-01-01", "plus": 3, "version": "1.2.3", "folded": "ab"
    });
    assert_eq!(*input, wanted);
    assert_eq!(json["steps"][1]["task"]["input"], wanted);
}

#[test]
fn schemas_say_what_does_not_fit() {
    use synod_workflow::schema::Schema;
    let schema = Schema::new(
        &json!({"type": "object", "required": ["a"], "properties": {"a": {"$ref": "#/$defs/n"}}, "$defs": {"n": {"type": "integer"}}}),
    );
    let schema = schema.unwrap();
    assert_eq!(schema.check(&json!({"a": 1})), Ok(()));
    assert_eq!(schema.check(&json!({"a": "x"})), Err("`/a`: \"x\" is not of type \"integer\"".to_owned()));
    assert_eq!(schema.check(&json!({})), Err("the value: \"a\" is a required property".to_owned()));
    assert!(Schema::new(&json!({"$defs": {"a": {"properties": {"x": {"$ref": "#/$defs/b"}}}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"})).is_err());
    // A pattern that takes exponential time where patterns are tried out one way after another.
    let slow = Schema::new(&json!({"type": "string", "pattern": "^(a+)+$"})).unwrap();
    assert!(slow.check(&json!("a".repeat(50_000) + "!")).is_err());
}
