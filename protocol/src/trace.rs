//! W3C trace context, as it travels in headers. Ids are drawn by the shell; this only reads and derives.

use std::fmt;

/// A `traceparent` of version 00.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    /// 16 bytes, not all zero: one for a whole piece of work.
    pub trace_id: [u8; 16],
    /// 8 bytes, not all zero: the span that caused this.
    pub span_id: [u8; 8],
    /// Bit 0: sampled.
    pub flags: u8,
}

impl TraceParent {
    /// Reads a header's value; `None` for anything that the recommendation tells a receiver to ignore.
    pub fn parse(text: &str) -> Option<TraceParent> {
        let mut parts = text.split('-');
        let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let version = hex::<1>(version)?[0];
        // A later version may append fields; version 00 may not, and ff is forbidden.
        if version == 0xff || (version == 0 && parts.next().is_some()) {
            return None;
        }
        let parent = TraceParent { trace_id: hex(trace)?, span_id: hex(span)?, flags: hex::<1>(flags)?[0] };
        (parent.trace_id != [0; 16] && parent.span_id != [0; 8]).then_some(parent)
    }

    /// The trace of a piece of work that came without one: it follows from the work's id within its workspace. Not sampled.
    #[must_use]
    pub fn of(workspace: &str, id: &str) -> TraceParent {
        let hash = blake3::hash(format!("{workspace}/{id}").as_bytes());
        let (mut trace_id, mut span_id) = ([0; 16], [0; 8]);
        trace_id.copy_from_slice(&hash.as_bytes()[..16]);
        span_id.copy_from_slice(&hash.as_bytes()[16..24]);
        // All zero would be none.
        trace_id[0] |= 1;
        span_id[0] |= 1;
        TraceParent { trace_id, span_id, flags: 0 }
    }

    /// A child span whose id follows from its parent and what it is for: the same input, the same id.
    #[must_use]
    pub fn child(&self, what: &str) -> TraceParent {
        let mut hash = blake3::Hasher::new();
        hash.update(&self.trace_id).update(&self.span_id).update(what.as_bytes());
        let mut span_id = [0u8; 8];
        span_id.copy_from_slice(&hash.finalize().as_bytes()[..8]);
        if span_id == [0; 8] {
            span_id[7] = 1;
        }
        TraceParent { span_id, ..*self }
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("00-")?;
        self.trace_id.iter().try_for_each(|b| write!(f, "{b:02x}"))?;
        f.write_str("-")?;
        self.span_id.iter().try_for_each(|b| write!(f, "{b:02x}"))?;
        write!(f, "-{:02x}", self.flags)
    }
}

/// Exactly `2 * N` lower-case hexadecimal digits.
fn hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let text = text.as_bytes();
    if text.len() != 2 * N || !text.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    let digit = |b: u8| if b <= b'9' { b - b'0' } else { b - b'a' + 10 };
    let mut out = [0; N];
    for (i, pair) in text.chunks_exact(2).enumerate() {
        out[i] = digit(pair[0]) << 4 | digit(pair[1]);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn traceparent_follows_the_recommendation() {
        assert_eq!(TraceParent::parse(GOOD).unwrap().to_string(), GOOD);
        let check = |text: &str, ok| assert_eq!(TraceParent::parse(text).is_some(), ok, "{text}");
        check("01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-extra", true);
        check(&format!("{GOOD}-extra"), false);
        check("ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", false);
        check("00-00000000000000000000000000000000-00f067aa0ba902b7-01", false);
        check("00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01", false);
        check("00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01", false);
        check("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7", false);
        check("", false);
    }

    #[test]
    fn work_without_a_trace_has_one_of_its_own() {
        let of = TraceParent::of("default", "t");
        assert_eq!(of, TraceParent::of("default", "t"));
        assert_ne!(of.trace_id, TraceParent::of("other", "t").trace_id);
        assert_eq!(TraceParent::parse(&of.to_string()), Some(of));
    }

    #[test]
    fn a_child_stays_in_its_trace() {
        let parent = TraceParent::parse(GOOD).unwrap();
        let child = parent.child("dispatch");
        assert_eq!(child.trace_id, parent.trace_id);
        assert_ne!(child.span_id, parent.span_id);
        assert_eq!(child, parent.child("dispatch"));
    }
}
