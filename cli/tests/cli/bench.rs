//! `synod bench` measures where it is told to, and nowhere by accident. (`scripts/bench --quick` runs it all.)

use crate::binary::synod;

#[test]
fn it_leaves_alone_what_it_was_not_given() {
    let asked = synod(&["bench", "--quick"]).output().unwrap();
    let said = String::from_utf8(asked.stderr).unwrap();
    assert_eq!(asked.status.code(), Some(2), "{said}");
    assert!(said.contains("scripts/bench") && said.contains("--kafka-brokers"), "{said}");
    assert!(asked.stdout.is_empty());
}
