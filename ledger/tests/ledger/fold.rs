//! The fold: the state that an owner had, from the records that count, whatever else stands between them.

use crate::log::Log;
use crate::shard::{Shard, at};
use serde_json::json;
use synod_ledger::{Fold, FoldError, RecordError, Verdict};

/// The first record of an epoch 0 claimed at offset 0, with something in it changed, is read as this.
fn check(change: impl Fn(&str) -> String, want: Result<Verdict, &str>) {
    let mut shard = Shard::new();
    shard.submit("t", &json!({})).unwrap();
    let text = String::from_utf8(shard.log.records[1].1.clone()).unwrap();
    let changed = change(&text);
    let mut fold = Fold::default();
    fold.record(0, Some(at(0)), &shard.log.records[0].1).unwrap();
    let got = fold.record(1, Some(at(0)), changed.as_bytes());
    match (&got, want) {
        (Ok(verdict), Ok(want)) => assert_eq!(*verdict, want, "{changed}"),
        (Err(error), Err(want)) => assert!(error.to_string().contains(want), "{error}, should say {want}"),
        _ => panic!("{changed}: {got:?}"),
    }
}

#[test]
fn what_would_count_and_cannot_be_read_stops_the_fold() {
    let other_event = |text: &str| text.replace("synod.task.submitted", "synod.task.dreamt");
    check(str::to_owned, Ok(Verdict::Counts));
    check(other_event, Err("synod.task.dreamt"));
    // It would be void anyway, so nothing depends on what it says.
    check(|text| other_event(text).replace("\"epoch\":0", "\"epoch\":1"), Ok(Verdict::Void));
    check(|text| other_event(text).replace("\"n\":1", "\"n\":2"), Ok(Verdict::Void));
    check(|text| text.replace("\"n\":1", "\"n\":2"), Ok(Verdict::Void));
    check(|text| text.replace("\"v\":1", "\"v\":2"), Err("newer"));
    check(|_| "hello".into(), Ok(Verdict::Void));
    check(|_| r#"{"v":1,"kind":"step"}"#.into(), Ok(Verdict::Void));
}

#[test]
fn a_jump_in_the_log_is_loss_and_a_log_without_a_claim_is_nobodys() {
    let mut shard = Shard::new();
    shard.submit("t", &json!({})).unwrap();
    shard.submit("u", &json!({})).unwrap();
    let Log { records } = &shard.log;
    let mut fold = Fold::default();
    fold.record(0, None, &records[0].1).unwrap();
    let error = fold.record(2, None, &records[2].1).unwrap_err();
    assert!(matches!(error, FoldError::Jump { after: Some(0), found: 2 }), "{error}");
    let mut fold = Fold::default();
    fold.record(0, None, &records[1].1).unwrap();
    assert!(matches!(fold.finish().unwrap_err(), FoldError::NoClaim));
    let newer = Fold::default().record(0, None, br#"{"v":9,"kind":"claim"}"#).unwrap_err();
    assert!(matches!(newer, FoldError::Unreadable { offset: 0, why: RecordError::Newer { found: 9, .. } }));
}
