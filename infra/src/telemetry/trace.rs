//! W3C trace context at the edges of a process: what came in is carried on, what did not is begun.
//!
//! Reading and writing `traceparent` is [`TraceParent`]'s; this adds the random ids that only a shell may draw.

use synod_protocol::trace::TraceParent;
use uuid::Uuid;

/// Trace id, span id and flags of one piece of work.
pub type TraceContext = TraceParent;

/// The flag bit that says that the trace is recorded.
pub(super) const SAMPLED: u8 = 1;

/// A new trace, sampled as the exporter of this process says, or by the ratio that there is where nothing is said.
pub fn begin() -> TraceContext {
    let trace_id = *Uuid::new_v4().as_bytes();
    let flags = if super::spans::samples(&trace_id) { SAMPLED } else { 0 };
    TraceContext { trace_id, span_id: random_span_id(), flags }
}

/// The trace that a `traceparent` names; a new one where there is none or where it is not what the
/// recommendation says (<https://www.w3.org/TR/trace-context/#traceparent-header>).
pub fn continue_or_begin(traceparent: Option<&str>) -> TraceContext {
    traceparent.and_then(TraceContext::parse).unwrap_or_else(begin)
}

/// A span of our own in the same trace, with a random id.
pub fn child(parent: &TraceContext) -> TraceContext {
    TraceContext { span_id: random_span_id(), ..*parent }
}

/// Eight bytes of a version 4 UUID's random part. Its fixed variant bit keeps it from being all zero.
fn random_span_id() -> [u8; 8] {
    Uuid::new_v4().as_u64_pair().1.to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn what_came_in_is_carried_on_and_what_is_bad_is_ignored() {
        assert_eq!(continue_or_begin(Some(GOOD)).to_string(), GOOD);
        let good = TraceContext::parse(GOOD).unwrap();
        for bad in [None, Some(""), Some("00-0-0-01"), Some(&GOOD.to_uppercase()), Some(&format!("{GOOD}-x"))]
        {
            let begun = continue_or_begin(bad);
            assert_ne!(begun.trace_id, good.trace_id);
            assert_eq!(TraceContext::parse(&begun.to_string()), Some(begun), "{begun}");
        }
    }

    #[test]
    fn a_child_is_a_span_of_its_own_in_the_same_trace() {
        let parent = begin();
        let (one, two) = (child(&parent), child(&parent));
        assert_eq!((one.trace_id, one.flags), (parent.trace_id, parent.flags));
        assert!(one.span_id != parent.span_id && one.span_id != two.span_id && one.span_id != [0; 8]);
    }
}
