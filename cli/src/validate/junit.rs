//! The rows as a JUnit file, as CI systems read it.

use super::{Mark, Row};
use quick_junit::{NonSuccessKind, Report, SerializeError, TestCase, TestCaseStatus, TestSuite};
use std::time::Duration;

/// One suite with a test case for each row; what cannot be checked is skipped, and says why.
///
/// # Errors
/// It cannot be written down.
pub fn junit(rows: &[Row]) -> Result<String, SerializeError> {
    let mut suite = TestSuite::new("synod validate");
    for row in rows {
        let status = match row.result {
            Mark::Pass | Mark::Measured => TestCaseStatus::success(),
            Mark::NotApplicable => {
                let mut skipped = TestCaseStatus::skipped();
                skipped.set_message(row.why.clone());
                skipped
            }
            Mark::Fail => {
                let mut failed = TestCaseStatus::non_success(NonSuccessKind::Failure);
                failed.set_message(row.why.clone());
                failed
            }
        };
        let mut case = TestCase::new(row.check, status);
        case.set_classname("synod").set_time(Duration::from_secs_f64(row.duration_ms / 1e3));
        if row.result != Mark::Fail {
            case.set_system_out(row.why.clone());
        }
        suite.add_test_case(case);
    }
    let mut report = Report::new("synod validate");
    report.add_test_suite(suite);
    report.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_is_a_case() {
        let rows = [
            Row::of("it holds", Mark::Pass, "seen".to_owned()),
            Row::of("it does not", Mark::Fail, "<3 & \u{1}".to_owned()),
            Row::of("not here", Mark::NotApplicable, "why".to_owned()),
        ];
        let text = junit(&rows).unwrap();
        assert!(
            text.contains(r#"tests="3" skipped="1" failures="1""#) && text.contains("&lt;3 &amp; "),
            "{text}"
        );
        assert!(text.contains("<skipped") && !text.contains('\u{1}'), "{text}");
    }
}
