//! One span, as it is told.

use super::super::trace::{self, TraceContext};
use std::borrow::Cow;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Attributes of one span; more are left out.
const MOST_ATTRIBUTES: usize = 64;
/// Events of one span, and links; more are left out.
const MOST_EVENTS: usize = 32;
const MOST_LINKS: usize = 128;
/// Bytes of a text in a span; the rest is cut off.
pub(super) const MOST_BYTES: usize = 8_192;

/// What kind of doing it is, as OpenTelemetry has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Within a process.
    Internal,
    /// A request that was answered.
    Server,
    /// A request that was made.
    Client,
    /// A message that was sent.
    Producer,
    /// A message that was taken.
    Consumer,
}

/// Whose part of the work it is: each decides for itself when its part has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Who asked for it.
    Client,
    /// Who decided it.
    Coordinator,
    /// Who did it.
    Agent,
}

/// A value of an attribute.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Text, cut off at 8,192 bytes.
    Text(Cow<'static, str>),
    /// A whole number.
    Whole(i64),
    /// Any other number.
    Number(f64),
    /// Yes or no.
    Bool(bool),
}

impl From<&'static str> for Value {
    fn from(text: &'static str) -> Value {
        Value::Text(Cow::Borrowed(text))
    }
}
impl From<String> for Value {
    fn from(text: String) -> Value {
        Value::Text(Cow::Owned(text))
    }
}
impl From<i64> for Value {
    fn from(number: i64) -> Value {
        Value::Whole(number)
    }
}
impl From<u32> for Value {
    fn from(number: u32) -> Value {
        Value::Whole(i64::from(number))
    }
}
impl From<u64> for Value {
    fn from(number: u64) -> Value {
        Value::Whole(i64::try_from(number).unwrap_or(i64::MAX))
    }
}
impl From<usize> for Value {
    fn from(number: usize) -> Value {
        Value::Whole(i64::try_from(number).unwrap_or(i64::MAX))
    }
}
impl From<f64> for Value {
    fn from(number: f64) -> Value {
        Value::Number(number)
    }
}
impl From<bool> for Value {
    fn from(it: bool) -> Value {
        Value::Bool(it)
    }
}

/// What was done, from its begin to its end. Made when it begins or when it has ended; [`super::record`] takes it.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    pub(super) context: TraceContext,
    pub(super) parent: Option<[u8; 8]>,
    pub(super) scope: Scope,
    pub(super) kind: Kind,
    pub(super) name: Cow<'static, str>,
    pub(super) began: SystemTime,
    pub(super) ended: Option<SystemTime>,
    pub(super) attributes: Vec<(Cow<'static, str>, Value)>,
    pub(super) events: Vec<(SystemTime, Cow<'static, str>)>,
    pub(super) links: Vec<TraceContext>,
    pub(super) error: Option<String>,
    pub(super) ends_its_part: bool,
}

impl Span {
    /// This very span of a trace; it begins now, and has no parent.
    pub fn new(context: TraceContext, scope: Scope, kind: Kind, name: impl Into<Cow<'static, str>>) -> Span {
        Span {
            context,
            parent: None,
            scope,
            kind,
            name: name.into(),
            began: SystemTime::now(),
            ended: None,
            attributes: Vec::new(),
            events: Vec::new(),
            links: Vec::new(),
            error: None,
            ends_its_part: false,
        }
    }

    /// A child with a random id.
    pub fn child(
        parent: &TraceContext,
        scope: Scope,
        kind: Kind,
        name: impl Into<Cow<'static, str>>,
    ) -> Span {
        Span { parent: Some(parent.span_id), ..Span::new(trace::child(parent), scope, kind, name) }
    }

    /// What was caused by it names this as its parent.
    pub fn context(&self) -> &TraceContext {
        &self.context
    }

    /// The same, as a child of this span; none for itself.
    #[must_use]
    pub fn under(mut self, parent: [u8; 8]) -> Span {
        self.parent = Some(parent).filter(|parent| *parent != self.context.span_id);
        self
    }

    /// The same, begun then and ended then.
    #[must_use]
    pub fn lasted(mut self, began: SystemTime, ended: SystemTime) -> Span {
        (self.began, self.ended) = (began, Some(ended.max(began)));
        self
    }

    /// The same, begun this long ago.
    #[must_use]
    pub fn began_ago(mut self, ago: Duration) -> Span {
        self.began = self.began.checked_sub(ago).unwrap_or(UNIX_EPOCH);
        self
    }

    /// The same with one attribute more.
    #[must_use]
    pub fn with(mut self, name: impl Into<Cow<'static, str>>, value: impl Into<Value>) -> Span {
        self.set(name, value);
        self
    }

    /// The same with one attribute more, if there is one.
    #[must_use]
    pub fn with_some(self, name: &'static str, value: Option<impl Into<Value>>) -> Span {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// One attribute more, or another value of one.
    pub fn set(&mut self, name: impl Into<Cow<'static, str>>, value: impl Into<Value>) {
        let (name, value) = (name.into(), cut(value.into()));
        let has_room = self.attributes.len() < MOST_ATTRIBUTES;
        match self.attributes.iter_mut().find(|(had, _)| *had == name) {
            Some((_, had)) => *had = value,
            None if has_room => self.attributes.push((name, value)),
            None => {}
        }
    }

    /// Something that happened in it, now.
    pub fn happened(&mut self, what: impl Into<Cow<'static, str>>) {
        if self.events.len() < MOST_EVENTS {
            self.events.push((SystemTime::now(), what.into()));
        }
    }

    /// Work that met in this one, and has traces of its own.
    pub fn links(&mut self, to: TraceContext) {
        if self.links.len() < MOST_LINKS {
            self.links.push(to);
        }
    }

    /// It failed; by this its trace is kept.
    #[must_use]
    pub fn failed(mut self, why: impl Into<String>) -> Span {
        self.error = Some(why.into());
        self
    }

    /// This part of the work ends with it: what of its trace was held is kept or let go.
    #[must_use]
    pub fn ends_its_part(mut self) -> Span {
        self.ends_its_part = true;
        self
    }

    /// Ends now, if it has not ended, and is told of.
    pub fn end(mut self) {
        self.ended.get_or_insert_with(SystemTime::now);
        super::record(self);
    }

    pub(super) fn is_sampled(&self) -> bool {
        self.context.flags & trace::SAMPLED != 0
    }

    pub(super) fn took(&self) -> Duration {
        self.ended.and_then(|ended| ended.duration_since(self.began).ok()).unwrap_or_default()
    }
}

/// A text that is not too long.
fn cut(value: Value) -> Value {
    match value {
        Value::Text(text) if text.len() > MOST_BYTES => {
            let mut end = MOST_BYTES;
            while !text.is_char_boundary(end) {
                end -= 1;
            }
            Value::Text(Cow::Owned(format!("{}…", &text[..end])))
        }
        value => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_has_its_limits() {
        let mut span = Span::new(trace::begin(), Scope::Agent, Kind::Internal, "x");
        for n in 0..100 {
            span.set(format!("a{n}"), "é".repeat(5_000));
            span.happened("e");
        }
        assert_eq!((span.attributes.len(), span.events.len()), (MOST_ATTRIBUTES, MOST_EVENTS));
        let Value::Text(text) = &span.attributes[0].1 else { panic!("a text") };
        assert_eq!(text.len(), MOST_BYTES + '…'.len_utf8());
        span.set("a0", 1i64);
        assert_eq!((span.attributes.len(), &span.attributes[0].1), (MOST_ATTRIBUTES, &Value::Whole(1)));
    }

    #[test]
    fn nobody_is_its_own_parent() {
        let span = Span::new(trace::begin(), Scope::Agent, Kind::Internal, "x");
        let own = span.context.span_id;
        assert_eq!(span.clone().under(own).parent, None);
        assert_eq!(span.under([1; 8]).parent, Some([1; 8]));
    }
}
