//! JSON lines, with what a line belongs to at their top: a collector of logs finds a piece of work without knowing our spans.

use serde_json::Value;
use std::fmt;
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::{Format, Json, JsonFields, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

/// What is told at the top, from the innermost span that has it.
const AT_THE_TOP: [&str; 2] = ["correlation_id", "trace_id"];

/// The usual JSON line, and at its end what it belongs to.
pub(super) struct JsonLine(pub(super) Format<Json>);

impl<S> FormatEvent<S, JsonFields> for JsonLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, JsonFields>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut line = String::new();
        self.0.format_event(context, Writer::new(&mut line), event)?;
        let Some(open) = line.trim_end().strip_suffix('}') else { return writer.write_str(&line) };
        writer.write_str(open)?;
        for name in AT_THE_TOP {
            // What the event says itself stands there already.
            if event.metadata().fields().field(name).is_none()
                && let Some(value) = of_spans(context, name)
            {
                write!(writer, ",\"{name}\":{value}")?;
            }
        }
        writer.write_str("}\n")
    }
}

fn of_spans<S>(context: &FmtContext<'_, S, JsonFields>, name: &str) -> Option<Value>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let quoted = format!("\"{name}\":");
    context.event_scope()?.find_map(|span| {
        let extensions = span.extensions();
        let fields = extensions.get::<FormattedFields<JsonFields>>()?;
        if !fields.contains(&quoted) {
            return None;
        }
        let mut fields: Value = serde_json::from_str(fields).ok()?;
        fields.get_mut(name).map(Value::take)
    })
}
