//! What an expression reads, and what in it there is not, seen without running it.

use super::patterns::Draft;
use super::quoting::{Within, characters};
use super::{EXPRESSION_NODES, FUNCTIONS, MACRO_NESTING, ParseError, functions};
use crate::problem::nearest_of;
use cel::common::ast::{CallExpr, EntryExpr, Expr, IdedExpr, LiteralValue, operators};

/// One value that is read: a name from outside, and the fields that follow it, as far as they are written out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// Characters before it in the expression.
    pub at: usize,
    /// `["steps", "draft", "output", "title"]`; stops where something that is computed follows.
    pub path: Vec<String>,
    /// Whether only its presence is tested, by `has(…)`.
    pub tested: bool,
}

/// All that an expression reads, in the order in which it is written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reads(Vec<Read>);

impl Reads {
    /// Each read.
    pub fn iter(&self) -> impl Iterator<Item = &Read> {
        self.0.iter()
    }

    /// Whether it reads nothing, so that it gives the same in every run.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

pub(super) fn of(root: &IdedExpr, text: &str) -> Result<Reads, ParseError> {
    let mut walk = Walk { text: masked(text), locals: Vec::new(), macros: 0, nodes: 0, reads: Vec::new() };
    walk.see(root)?;
    walk.reads.sort_by_key(|read| read.at);
    Ok(Reads(walk.reads))
}

struct Walk<'a> {
    /// The expression without what is in its strings.
    text: Vec<char>,
    locals: Vec<&'a str>,
    macros: usize,
    nodes: usize,
    reads: Vec<Read>,
}

impl<'a> Walk<'a> {
    /// Where something is first written. The parser by hand keeps no places; names do.
    fn at(&self, expr: &IdedExpr) -> usize {
        match &expr.expr {
            Expr::Ident(name) => self.find(name),
            Expr::Struct(message) => self.find(&message.type_name),
            Expr::Call(call) if call.target.is_some() => self.find_as(&call.func_name, true),
            Expr::Call(call) => self.find(&call.func_name),
            _ => None,
        }
        .unwrap_or(0)
    }

    /// Where a path of fields is first written, or as much of it as is.
    fn find_path(&self, path: &[String]) -> usize {
        (1..=path.len()).rev().find_map(|long| self.find(&path[..long].join("."))).unwrap_or(0)
    }

    /// Where a name stands by itself: no part of a longer one, and no field.
    fn find(&self, name: &str) -> Option<usize> {
        self.find_as(name, false)
    }

    /// Where a name stands that is no part of a longer one: behind a dot, or not.
    fn find_as(&self, name: &str, behind_dot: bool) -> Option<usize> {
        let name: Vec<char> = name.chars().collect();
        let inside = |c: &char| c.is_alphanumeric() || *c == '_';
        let fits = |at: usize| {
            let before = at.checked_sub(1).and_then(|before| self.text.get(before));
            self.text[at..].starts_with(&name)
                && !self.text[at + name.len()..].first().is_some_and(inside)
                && !before.is_some_and(inside)
                && (before == Some(&'.')) == behind_dot
        };
        (0..self.text.len().saturating_sub(name.len()) + 1)
            .find(|at| !name.is_empty() && at + name.len() <= self.text.len() && fits(*at))
    }

    fn refuse<T>(
        &self,
        expr: &IdedExpr,
        what: impl Into<String>,
        mend: impl Into<String>,
    ) -> Result<T, ParseError> {
        Err(ParseError { at: self.at(expr), what: what.into(), mend: mend.into() })
    }

    fn see(&mut self, expr: &'a IdedExpr) -> Result<(), ParseError> {
        self.nodes += 1;
        if self.nodes > EXPRESSION_NODES {
            let what = format!("the expression has more than {EXPRESSION_NODES} parts");
            return self.refuse(expr, what, "split it over several steps");
        }
        match &expr.expr {
            Expr::Literal(_) => Ok(()),
            Expr::Ident(_) | Expr::Select(_) => self.path(expr),
            Expr::Call(call) if call.func_name == operators::INDEX => self.path(expr),
            Expr::Call(call) => self.call(expr, call),
            Expr::List(list) => list.elements.iter().try_for_each(|item| self.see(item)),
            Expr::Map(map) => map.entries.iter().try_for_each(|entry| match &entry.expr {
                EntryExpr::MapEntry(entry) => self.see(&entry.key).and_then(|()| self.see(&entry.value)),
                EntryExpr::StructField(field) => self.see(&field.value),
            }),
            Expr::Comprehension(c) => {
                if self.macros == MACRO_NESTING {
                    let what = format!("macros nested deeper than {MACRO_NESTING} levels");
                    return self.refuse(expr, what, "split it over several steps, or use a `map` step");
                }
                self.see(&c.iter_range)?;
                self.see(&c.accu_init)?;
                self.macros += 1;
                self.locals.push(&c.accu_var);
                self.locals.push(&c.iter_var);
                let inside =
                    [&c.loop_cond, &c.loop_step, &c.result].into_iter().try_for_each(|e| self.see(e));
                self.locals.truncate(self.locals.len() - 2);
                self.macros -= 1;
                inside
            }
            Expr::Struct(_) => {
                self.refuse(expr, "there are no messages here", "use a map: {\"name\": value}")
            }
            Expr::Unspecified => self.refuse(expr, "something is missing here", "complete the expression"),
        }
    }

    fn call(&mut self, expr: &'a IdedExpr, call: &'a CallExpr) -> Result<(), ParseError> {
        if !functions::is_known(&call.func_name) {
            let name = &call.func_name;
            let what = format!("there is no function `{name}`");
            let mend = match nearest_of(name, FUNCTIONS) {
                guess if guess.starts_with("did") => guess,
                _ => format!("there are {}", FUNCTIONS.join(", ")),
            };
            return self.refuse(expr, what, mend);
        }
        if let ("matches", Some(Expr::Literal(LiteralValue::String(pattern)))) =
            (call.func_name.as_str(), call.args.last().map(|arg| &arg.expr))
            && let Err(what) = Draft::of(pattern.inner())
        {
            return self.refuse(expr, what, "correct the pattern; its syntax is that of RE2");
        }
        let target = call.target.iter().map(|target| &**target);
        target.chain(&call.args).try_for_each(|arg| self.see(arg))
    }

    /// A name with what follows it: fields, and indexes that are written out as a text.
    fn path(&mut self, expr: &'a IdedExpr) -> Result<(), ParseError> {
        let (mut at, mut fields, mut tested) = (expr, Vec::new(), false);
        loop {
            match &at.expr {
                Expr::Select(select) => {
                    tested |= select.test;
                    fields.push(select.field.clone());
                    at = &select.operand;
                }
                Expr::Call(call) if call.func_name == operators::INDEX => {
                    let [operand, index] = call.args.as_slice() else { return self.call(at, call) };
                    match &index.expr {
                        Expr::Literal(LiteralValue::String(name)) => fields.push(name.inner().to_owned()),
                        _ => {
                            // What follows a computed index is not known; what stands before it is.
                            fields.clear();
                            self.see(index)?;
                        }
                    }
                    at = operand;
                }
                Expr::Ident(name) => {
                    if !self.locals.contains(&name.as_str()) {
                        fields.push(name.trim_start_matches('.').to_owned());
                        fields.reverse();
                        self.reads.push(Read { at: self.find_path(&fields), path: fields, tested });
                    }
                    return Ok(());
                }
                _ => return self.see(at),
            }
        }
    }
}

/// The characters of an expression, those in quotes or comments as blanks.
fn masked(text: &str) -> Vec<char> {
    characters(text).map(|(_, c, within)| if within == Within::Code { c } else { ' ' }).collect()
}
