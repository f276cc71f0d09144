//! Expressions: CEL, parsed by the `cel` crate, evaluated here.
//!
//! Why not by the crate's own interpreter: it has no budget (a chain of thirty `map` doubles its value thirty times, and an
//! error that is meant to stop it is swallowed by `||` and `exists`), it walks maps in an order that differs from process to
//! process, and it names a missing field without the path to it. The crate's interpreter is the judge in the tests instead.
//!
//! What bounds an expression: its bytes, the number of its operators, the nesting of its brackets and of its macros, the size of its tree, before it is
//! accepted; **steps** while it runs ([`STEPS`]: one for each node evaluated, each element looked at or copied and each 16
//! bytes of text); the bytes of its result as JSON. No clock is needed, and the same expression over the same values ends
//! the same way everywhere.
//!
//! What there is of CEL: `input.total >= 100 && "eu" in input.tags`, arithmetic, comparisons, `? :`, lists, maps with text
//! keys, bytes, points in time and spans, `has`, `all`, `exists`, `exists_one`, `map`, `filter`, and the functions of
//! [`FUNCTIONS`], those of the extension for texts among them. What there is not: time zones by name, `format`, messages,
//! optional values, keys of maps that are no texts.
//!
//! | JSON | CEL | back to JSON |
//! |---|---|---|
//! | whole number within i64 | `int` | the same digits |
//! | whole number above i64, within u64 | `uint` | the same digits |
//! | number with a fraction or an exponent | `double` | with a fraction or an exponent; NaN and infinities are an error |
//! | a text | `string`; `timestamp(…)`, `duration(…)`, `bytes(…)` make more of it | RFC 3339; `"3.5s"`; base64 |
//!
//! `int` and `uint` never turn into `double` by themselves: arithmetic over two kinds is an error that names `int(…)`,
//! `double(…)`; comparisons go across kinds by value, exactly. Overflow is an error.

mod conversions;
mod evaluate;
mod functions;
mod patterns;
mod quoting;
mod reads;
mod template;
mod texts;
mod time;
mod value;

pub use evaluate::{EvalError, STEPS};
pub use functions::FUNCTIONS;
pub use patterns::{PATTERN_BYTES, PATTERN_WEIGHT};
pub use reads::{Read, Reads};
pub use template::Placed;
pub(crate) use template::below;
pub use template::{Template, TemplateError};
pub use time::{Duration, Timestamp};
pub use value::{RESULT_BYTES, Scope, TYPES, Value};

use cel::common::ast::{Expr, IdedExpr};
use cel::parser::PrattParser;
use quoting::{Within, characters};
use std::fmt;
use std::sync::Arc;

/// Bytes of one expression: 4,096.
pub const EXPRESSION_BYTES: usize = 4096;
/// Levels of brackets in one expression: 24.
pub const EXPRESSION_NESTING: usize = 24;
/// Levels of macros (`map`, `all`, …) in one expression: 3.
pub const MACRO_NESTING: usize = 3;
/// Nodes of one expression's tree, macros expanded: 2,000.
pub const EXPRESSION_NODES: usize = 2_000;
/// Operators, brackets and fields in one expression: 200. A chain of them is a tree as deep as it is long.
pub const EXPRESSION_LINKS: usize = 200;

/// Why a text is no expression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} at character {at}")]
pub struct ParseError {
    /// Characters before the place, 0 for the first.
    pub at: usize,
    /// What is wrong, without a full stop.
    pub what: String,
    /// What would be right.
    pub mend: String,
}

/// A parsed expression. Cheap to clone.
#[derive(Clone)]
pub struct Expression {
    text: Arc<str>,
    root: Arc<IdedExpr>,
    reads: Arc<Reads>,
}

impl Expression {
    /// Parses and checks a text.
    ///
    /// # Errors
    /// What is wrong, and at which character: limits, syntax, functions and kinds of literals that there are not.
    pub fn parse(text: &str) -> Result<Expression, ParseError> {
        check_text(text)?;
        let parser = PrattParser::new().max_expression_node_count(EXPRESSION_NODES);
        let root = parser.parse(text).map_err(|errors| first_error(text, &errors))?;
        let reads = reads::of(&root, text)?;
        Ok(Expression { text: text.into(), root: Arc::new(root), reads: Arc::new(reads) })
    }

    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Which values it reads.
    pub fn reads(&self) -> &Reads {
        &self.reads
    }

    /// Its value.
    ///
    /// # Errors
    /// What went wrong: a missing field with its path, kinds that do not go together, overflow, too many steps.
    pub fn evaluate(&self, scope: &Scope) -> Result<Value, EvalError> {
        evaluate::evaluate(&self.root, scope)
    }

    /// Its value, which has to be true or false.
    ///
    /// # Errors
    /// As for [`Expression::evaluate`], and [`EvalError::Kind`] where it is neither.
    pub fn decide(&self, scope: &Scope) -> Result<bool, EvalError> {
        match self.evaluate(scope)? {
            Value::Bool(value) => Ok(value),
            other => Err(EvalError::Kind {
                what: format!("`{}` gives {}", shortened(&self.text), other.noun()),
                mend: "it has to give true or false: compare it with something".into(),
            }),
        }
    }

    /// Its value where it reads nothing and so is the same in every run.
    pub fn constant(&self) -> Option<Result<Value, EvalError>> {
        self.reads.is_empty().then(|| self.evaluate(&Scope::new()))
    }
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Expression({:?})", self.text)
    }
}

impl PartialEq for Expression {
    fn eq(&self, other: &Expression) -> bool {
        self.text == other.text
    }
}

/// Looks at the text before the parser does: bytes, and brackets outside strings and comments.
fn check_text(text: &str) -> Result<(), ParseError> {
    let refuse = |at, what: String, mend: &str| Err(ParseError { at, what, mend: mend.into() });
    if text.len() > EXPRESSION_BYTES {
        let what = format!("the expression has {} bytes, the limit is {EXPRESSION_BYTES}", text.len());
        return refuse(0, what, "split it over several steps");
    }
    if text.trim().is_empty() {
        return refuse(
            0,
            "the expression is empty".into(),
            "write a CEL expression, such as `input.total > 100`",
        );
    }
    let (mut depth, mut unary, mut links) = (0usize, 0usize, 0usize);
    for (at, (_, c, within)) in characters(text).enumerate() {
        let code = within == Within::Code;
        // A run of `!` or `-` nests as brackets do.
        unary = if code && (c == '!' || c == '-') { unary + 1 } else { 0 };
        match c {
            '(' | '[' | '{' | '?' if code => depth += 1,
            ')' | ']' | '}' if code => depth = depth.saturating_sub(1),
            _ => {}
        }
        links += usize::from(code && "([{.?:+-*/%<>=!&|".contains(c));
        if links > EXPRESSION_LINKS {
            let what = format!("more than {EXPRESSION_LINKS} operators, brackets and fields");
            return refuse(at, what, "split it over several steps");
        }
        if depth > EXPRESSION_NESTING || unary > EXPRESSION_NESTING {
            let what = format!("nested deeper than {EXPRESSION_NESTING} levels (brackets, `? :`, `!`)");
            return refuse(at, what, "split it over several steps");
        }
    }
    Ok(())
}

fn first_error(text: &str, errors: &cel::ParseErrors) -> ParseError {
    let mend = "correct the CEL expression here".to_owned();
    let placed = errors.errors.iter().find(|error| error.pos.0 > 0);
    let Some(error) = placed.or(errors.errors.first()) else {
        return ParseError { at: 0, what: "this is no CEL expression".into(), mend };
    };
    let line = usize::try_from(error.pos.0).unwrap_or(1).max(1);
    let column = usize::try_from(error.pos.1).unwrap_or(1).max(1);
    let before: usize = text.split_inclusive('\n').take(line - 1).map(|line| line.chars().count()).sum();
    let said = error.msg.split(" expecting ").next().unwrap_or(&error.msg);
    ParseError { at: before + column - 1, what: format!("this is no CEL: {said}"), mend }
}

/// The first 80 characters.
pub(crate) fn shortened(text: &str) -> String {
    match text.char_indices().nth(80) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

/// A path of fields from a name, as far as it goes: `steps.draft.output`.
fn path_of(expr: &IdedExpr) -> Option<String> {
    match &expr.expr {
        Expr::Ident(name) => Some(name.clone()),
        Expr::Select(select) => Some(format!("{}.{}", path_of(&select.operand)?, select.field)),
        _ => None,
    }
}
