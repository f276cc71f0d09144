//! One evaluation: a walk over the tree with a budget of steps.

use super::functions;
use super::patterns::{Draft, Pattern};
use super::value::{DURATION_TYPE, Scope, TIMESTAMP_TYPE, TYPES, Value, compare_numbers};
use cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, LiteralValue, operators};
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Steps of one evaluation: 1,000,000, well under a second.
pub const STEPS: u64 = 1_000_000;
/// Patterns that one evaluation keeps compiled.
const PATTERNS: usize = 16;

/// Why an expression has no value.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum EvalError {
    /// A name or a field that is not there.
    #[error("`{path}` is not there: {there}; test with `has({path})` before it is read, or correct the name")]
    Missing {
        /// The whole path.
        path: String,
        /// What is there instead.
        there: String,
    },
    /// Kinds that do not go together.
    #[error("{what}; {mend}")]
    Kind {
        /// What was met.
        what: String,
        /// What would be right.
        mend: String,
    },
    /// Arithmetic beyond the kind: overflow, a division by 0, an index outside a list.
    #[error("{0}")]
    Range(String),
    /// The budget of steps is used up.
    #[error("the expression takes more than {STEPS} steps; make its lists shorter, or do this in a task")]
    TooLong,
    /// The result is larger than a payload may be.
    #[error(
        "the result has more than {} bytes or too many levels; pass large data by reference",
        super::RESULT_BYTES
    )]
    TooLarge,
}

type Result<T = Value> = std::result::Result<T, EvalError>;

pub(super) fn evaluate(root: &IdedExpr, scope: &Scope) -> Result {
    let mut run = Run { scope, locals: Vec::new(), patterns: BTreeMap::new(), meter: Meter { left: STEPS } };
    let result = run.value(root);
    // `||`, `&&`, `exists` and `all` swallow errors; that the budget is used up is not theirs to swallow.
    if run.meter.left == 0 { Err(EvalError::TooLong) } else { result }
}

/// What is left of the budget. Once it is used up it stays so, and everything ends at its next step.
pub(super) struct Meter {
    left: u64,
}

impl Meter {
    pub(super) fn spend(&mut self, steps: usize) -> Result<()> {
        self.left = self.left.saturating_sub(u64::try_from(steps).unwrap_or(u64::MAX));
        if self.left == 0 { Err(EvalError::TooLong) } else { Ok(()) }
    }

    pub(super) fn text(&mut self, bytes: usize) -> Result<()> {
        self.spend(bytes / 16 + 1)
    }
}

struct Run<'a> {
    scope: &'a Scope,
    /// The variables of the macros around, innermost last.
    locals: Vec<(&'a str, Value)>,
    /// Those compiled, so that a macro compiles its pattern once.
    patterns: BTreeMap<Arc<str>, Pattern>,
    meter: Meter,
}

impl<'a> Run<'a> {
    fn value(&mut self, expr: &'a IdedExpr) -> Result {
        self.meter.spend(1)?;
        match &expr.expr {
            Expr::Literal(literal) => literal_value(literal),
            Expr::Ident(name) => self.name(name),
            Expr::Select(select) => {
                if let Some(name) = path_type(expr).filter(|_| self.scope.get("google").is_none()) {
                    return Ok(Value::Type(name));
                }
                let operand = self.value(&select.operand)?;
                if select.test {
                    return match &operand {
                        Value::Map(map) => Ok(Value::Bool(map.contains_key(select.field.as_str()))),
                        other => Err(no_fields(other, &select.operand, &select.field)),
                    };
                }
                field(&operand, &select.field, &select.operand)
            }
            Expr::List(list) => {
                let items = list.elements.iter().map(|item| self.value(item)).collect::<Result<Vec<_>>>()?;
                Ok(Value::List(Arc::new(items)))
            }
            Expr::Map(map) => {
                let mut members = BTreeMap::new();
                for entry in &map.entries {
                    let EntryExpr::MapEntry(entry) = &entry.expr else { continue };
                    let (key, value) = (self.value(&entry.key)?, self.value(&entry.value)?);
                    let Value::Text(key) = key else {
                        return kind(format!("{} as the name of a map's member", key.noun()), "use a text");
                    };
                    if members.insert(key.clone(), value).is_some() {
                        return kind(format!("the map names `{key}` twice"), "name it once");
                    }
                }
                Ok(Value::Map(Arc::new(members)))
            }
            Expr::Comprehension(comprehension) => self.comprehension(comprehension),
            Expr::Call(call) => self.call(call),
            Expr::Struct(_) | Expr::Unspecified => kind("a message".into(), "use a map"),
        }
    }

    fn name(&self, name: &str) -> Result {
        let local = self.locals.iter().rev().find(|(local, _)| *local == name).map(|(_, value)| value);
        match local.or_else(|| self.scope.get(name)) {
            Some(value) => Ok(value.clone()),
            None => {
                if let Some(name) = TYPES.into_iter().find(|known| *known == name) {
                    return Ok(Value::Type(name));
                }
                let names: Vec<_> = self.scope.names().collect();
                Err(EvalError::Missing { path: name.to_owned(), there: listed(&names) })
            }
        }
    }

    /// A macro, as the parser expands it: an accumulator that each element may change.
    fn comprehension(&mut self, c: &'a ComprehensionExpr) -> Result {
        let elements = match self.value(&c.iter_range)? {
            Value::List(items) => items,
            Value::Map(map) => {
                self.meter.spend(map.len())?;
                Arc::new(map.keys().cloned().map(Value::Text).collect())
            }
            other => return kind(format!("a macro over {}", other.noun()), "it goes over a list or a map"),
        };
        let depth = self.locals.len();
        let result = self.fold(c, &elements);
        self.locals.truncate(depth);
        result
    }

    fn fold(&mut self, c: &'a ComprehensionExpr, elements: &[Value]) -> Result {
        let appends = appended(c);
        let start = self.value(&c.accu_init)?;
        let accu = self.locals.len();
        self.locals.push((&c.accu_var, start));
        self.locals.push((&c.iter_var, Value::Null));
        let (mut grown, mut pending) = (Vec::new(), None);
        for element in elements {
            self.locals[accu + 1].1 = element.clone();
            if let Some((guard, item)) = appends {
                // `map` and `filter`: the list grows in place instead of being copied for each element.
                if guard.map_or(Ok(true), |guard| self.truth(guard))? {
                    grown.push(self.value(item)?);
                }
                continue;
            }
            let goes_on = self.value(&c.loop_cond);
            self.meter.spend(1)?;
            if matches!(goes_on, Ok(Value::Bool(false))) {
                break;
            }
            // `all` and `exists`: an error counts only if no later element decides without it.
            match self.value(&c.loop_step) {
                Ok(value) => {
                    self.locals[accu].1 = value;
                }
                Err(EvalError::TooLong) => return Err(EvalError::TooLong),
                Err(error) if is_logical(c) => pending = Some(error),
                Err(error) => return Err(error),
            }
        }
        if appends.is_some() {
            return Ok(Value::List(Arc::new(grown)));
        }
        match (pending, decided(c, &self.locals[accu].1)) {
            (Some(error), false) => Err(error),
            _ => self.value(&c.result),
        }
    }

    fn truth(&mut self, expr: &'a IdedExpr) -> Result<bool> {
        match self.value(expr)? {
            Value::Bool(value) => Ok(value),
            other => kind(format!("{} where a bool is needed", other.noun()), "compare it with something"),
        }
    }

    fn call(&mut self, call: &'a CallExpr) -> Result {
        let args = &call.args;
        match (call.func_name.as_str(), args.as_slice()) {
            (operators::CONDITIONAL, [test, yes, no]) => {
                let chosen = if self.truth(test)? { yes } else { no };
                self.value(chosen)
            }
            (operators::LOGICAL_AND, [a, b]) => self.logical(a, b, false),
            (operators::LOGICAL_OR, [a, b]) => self.logical(a, b, true),
            (operators::NOT_STRICTLY_FALSE, [a]) => {
                Ok(Value::Bool(!matches!(self.value(a), Ok(Value::Bool(false)))))
            }
            (operators::INDEX, [operand, index]) => {
                let (on, at) = (self.value(operand)?, self.value(index)?);
                indexed(&on, &at, operand)
            }
            (operators::EQUALS, [a, b]) => Ok(Value::Bool(self.equal(a, b)?)),
            (operators::NOT_EQUALS, [a, b]) => Ok(Value::Bool(!self.equal(a, b)?)),
            (name, _) => {
                let mut values = Vec::with_capacity(args.len() + 1);
                if let Some(target) = &call.target {
                    values.push(self.value(target)?);
                }
                for arg in args {
                    values.push(self.value(arg)?);
                }
                match (name, values.as_slice()) {
                    ("matches", [Value::Text(text), Value::Text(pattern)]) => self.matches(text, pattern),
                    (name, values) => functions::call(name, values, &mut self.meter),
                }
            }
        }
    }

    fn matches(&mut self, text: &str, pattern: &Arc<str>) -> Result {
        if !self.patterns.contains_key(pattern) {
            // Reading a pattern is slower than reading a text.
            self.meter.spend(pattern.len())?;
            let draft = Draft::of(pattern).map_err(EvalError::Range)?;
            self.meter.spend(draft.cost())?;
            if self.patterns.len() == PATTERNS {
                self.patterns.clear();
            }
            self.patterns.insert(pattern.clone(), draft.compiled().map_err(EvalError::Range)?);
        }
        let Some(compiled) = self.patterns.get(pattern) else { return Ok(Value::Bool(false)) };
        self.meter.spend(compiled.cost(text.len()))?;
        Ok(Value::Bool(compiled.is_in(text)))
    }

    /// `&&` and `||`: the side that decides does so whatever the other is, an error included.
    fn logical(&mut self, a: &'a IdedExpr, b: &'a IdedExpr, decides: bool) -> Result {
        let first = self.truth(a);
        if first == Ok(decides) {
            return Ok(Value::Bool(decides));
        }
        match (first, self.truth(b)) {
            (_, Ok(second)) if second == decides => Ok(Value::Bool(decides)),
            (Err(error), _) | (_, Err(error)) => Err(error),
            (Ok(_), Ok(second)) => Ok(Value::Bool(second)),
        }
    }

    fn equal(&mut self, a: &'a IdedExpr, b: &'a IdedExpr) -> Result<bool> {
        let (a, b) = (self.value(a)?, self.value(b)?);
        equal(&a, &b, &mut self.meter)
    }
}

/// Equality across all kinds; costs a step for each value looked at, because shared values may be exponentially large.
pub(super) fn equal(a: &Value, b: &Value, meter: &mut Meter) -> Result<bool> {
    meter.spend(1)?;
    Ok(match (a, b) {
        (Value::Null, Value::Null) => true,
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::Text(a), Value::Text(b)) => {
            meter.text(a.len().min(b.len()))?;
            a == b
        }
        (Value::Bytes(a), Value::Bytes(b)) => {
            meter.text(a.len().min(b.len()))?;
            a == b
        }
        (Value::Timestamp(a), Value::Timestamp(b)) => a == b,
        (Value::Duration(a), Value::Duration(b)) => a == b,
        (Value::Type(a), Value::Type(b)) => a == b,
        (Value::List(a), Value::List(b)) => {
            if a.len() != b.len() {
                return Ok(false);
            }
            for (a, b) in a.iter().zip(b.iter()) {
                if !equal(a, b, meter)? {
                    return Ok(false);
                }
            }
            true
        }
        (Value::Map(a), Value::Map(b)) => {
            if a.len() != b.len() {
                return Ok(false);
            }
            for ((name, a), (other, b)) in a.iter().zip(b.iter()) {
                meter.text(name.len())?;
                if name != other || !equal(a, b, meter)? {
                    return Ok(false);
                }
            }
            true
        }
        _ => compare_numbers(a, b) == Some(Ordering::Equal),
    })
}

fn literal_value(literal: &LiteralValue) -> Result {
    Ok(match literal {
        LiteralValue::Boolean(value) => Value::Bool(*value.inner()),
        LiteralValue::Double(value) => Value::Double(*value.inner()),
        LiteralValue::Int(value) => Value::Int(*value.inner()),
        LiteralValue::UInt(value) => Value::Uint(*value.inner()),
        LiteralValue::String(value) => Value::text(value.inner()),
        LiteralValue::Null => Value::Null,
        LiteralValue::Bytes(value) => Value::Bytes(value.inner().into()),
    })
}

/// A type whose name is a path: `google.protobuf.Timestamp`.
fn path_type(expr: &IdedExpr) -> Option<&'static str> {
    let Expr::Select(select) = &expr.expr else { return None };
    let name = [TIMESTAMP_TYPE, DURATION_TYPE].into_iter().find(|name| name.ends_with(&*select.field))?;
    super::path_of(expr).filter(|path| path == name).map(|_| name)
}

/// The element that each round of `map` or `filter` appends, and under which condition.
fn appended(c: &ComprehensionExpr) -> Option<(Option<&IdedExpr>, &IdedExpr)> {
    let is_accu = |e: &IdedExpr| matches!(&e.expr, Expr::Ident(name) if *name == c.accu_var);
    let item = |e: &'_ IdedExpr| -> Option<usize> {
        let Expr::Call(call) = &e.expr else { return None };
        match call.args.as_slice() {
            [accu, one] if call.func_name == operators::ADD && is_accu(accu) => match &one.expr {
                Expr::List(list) if list.elements.len() == 1 => Some(0),
                _ => None,
            },
            _ => None,
        }
    };
    fn of(e: &IdedExpr) -> Option<&IdedExpr> {
        let Expr::Call(call) = &e.expr else { return None };
        let Expr::List(list) = &call.args.get(1)?.expr else { return None };
        list.elements.first()
    }
    if !is_accu(&c.result) {
        return None;
    }
    if item(&c.loop_step).is_some() {
        return Some((None, of(&c.loop_step)?));
    }
    let Expr::Call(call) = &c.loop_step.expr else { return None };
    match call.args.as_slice() {
        [guard, step, otherwise]
            if call.func_name == operators::CONDITIONAL && is_accu(otherwise) && item(step).is_some() =>
        {
            Some((Some(guard), of(step)?))
        }
        _ => None,
    }
}

/// Whether it is `all` or `exists`.
fn is_logical(c: &ComprehensionExpr) -> bool {
    let Expr::Call(call) = &c.loop_step.expr else { return false };
    call.func_name == operators::LOGICAL_AND || call.func_name == operators::LOGICAL_OR
}

/// Whether the accumulator of `all` or `exists` stands whatever went wrong before.
fn decided(c: &ComprehensionExpr, accu: &Value) -> bool {
    let Expr::Call(call) = &c.loop_step.expr else { return true };
    let decides = call.func_name == operators::LOGICAL_OR;
    matches!(accu, Value::Bool(value) if *value == decides)
}

fn field(operand: &Value, name: &str, written: &IdedExpr) -> Result {
    match operand {
        Value::Map(map) => map.get(name).cloned().ok_or_else(|| {
            let names: Vec<&str> = map.keys().map(|name| &**name).collect();
            EvalError::Missing { path: path(written, name), there: listed(&names) }
        }),
        other => Err(no_fields(other, written, name)),
    }
}

fn no_fields(operand: &Value, written: &IdedExpr, name: &str) -> EvalError {
    let path = path(written, name);
    EvalError::Missing { path, there: format!("what comes before `.{name}` is {}", operand.noun()) }
}

fn indexed(operand: &Value, index: &Value, written: &IdedExpr) -> Result {
    match (operand, index) {
        (Value::Map(_), Value::Text(name)) => field(operand, name, written),
        (Value::List(items), Value::Int(_) | Value::Uint(_)) => {
            let at = match index {
                Value::Int(at) => usize::try_from(*at).ok(),
                Value::Uint(at) => usize::try_from(*at).ok(),
                _ => None,
            };
            at.and_then(|at| items.get(at)).cloned().ok_or_else(|| {
                let shown = if let Value::Int(at) = index { at.to_string() } else { "that".into() };
                EvalError::Range(format!(
                    "index {shown} of a list of {} elements; test `size(…)` before",
                    items.len()
                ))
            })
        }
        (operand, index) => kind(
            format!("{} indexed by {}", operand.noun(), index.noun()),
            "index a list by an int and a map by a text",
        ),
    }
}

/// The path as it is written, as far as it is one.
fn path(written: &IdedExpr, name: &str) -> String {
    match super::path_of(written) {
        Some(path) => format!("{path}.{name}"),
        None => format!("….{name}"),
    }
}

/// "there is a, b, c".
fn listed(names: &[&str]) -> String {
    match names {
        [] => "there is nothing".into(),
        _ if names.len() > 12 => format!("there is {} and {} more", names[..12].join(", "), names.len() - 12),
        _ => format!("there is {}", names.join(", ")),
    }
}

pub(super) fn kind<T>(what: String, mend: &str) -> Result<T> {
    Err(EvalError::Kind { what, mend: mend.into() })
}
