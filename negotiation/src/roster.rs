//! Names in a given order, and the answers that name them: nobody twice, nobody who was not asked.
//!
//! The order of the rules decides ties everywhere, so that the order in which answers arrive decides none.

use std::collections::BTreeMap;
use synod_protocol::Error;

/// Most participants of one negotiation.
pub const PARTICIPANTS_MAX: usize = 1_000;
/// Bytes that a name of a participant, resource, task or item may have.
pub const NAME_BYTES_MAX: usize = 256;

/// Where each name stands. `field` points at the list; `what` is one of it, as it is called.
pub(crate) fn places<'a>(
    what: &str,
    field: &str,
    names: impl IntoIterator<Item = &'a str>,
    most: usize,
) -> Result<BTreeMap<&'a str, usize>, Error> {
    let mut places = BTreeMap::new();
    for (place, name) in names.into_iter().enumerate() {
        let at = format!("{field}/{place}");
        if place == most {
            return Err(Error::invalid(format!(
                "there are too many of the kind {what}: at most {most} are allowed"
            ))
            .with_field(field));
        }
        if name.is_empty() || name.len() > NAME_BYTES_MAX {
            let message =
                format!("the name of a {what} has {} bytes, it must have 1 to {NAME_BYTES_MAX}", name.len());
            return Err(Error::invalid(message).with_field(at));
        }
        if places.insert(name, place).is_some() {
            let message = format!("the {what} {name} stands there twice, each may stand there once");
            return Err(Error::invalid(message).with_field(at));
        }
    }
    if places.is_empty() {
        return Err(Error::invalid(format!("there is no {what}, at least one is needed")).with_field(field));
    }
    Ok(places)
}

/// Which answer is of whom: for each place the number of the answer, nothing where there is none. `field` points at the
/// list of answers, `key` is the member that names who or what it is of.
pub(crate) fn answers<'a>(
    what: &str,
    places: &BTreeMap<&str, usize>,
    named: impl IntoIterator<Item = &'a str>,
    field: &str,
    key: &str,
) -> Result<Vec<Option<usize>>, Error> {
    let mut answers = vec![None; places.len()];
    for (number, name) in named.into_iter().enumerate() {
        let at = || format!("{field}/{number}/{key}");
        let Some(&place) = places.get(name) else {
            let shown: String = name.chars().take(80).collect();
            let message = format!("{shown} is no {what} of this negotiation, the rules name those who are");
            return Err(Error::invalid(message).with_field(at()));
        };
        if answers[place].replace(number).is_some() {
            let message = format!("the {what} {name} is named twice, it may be named once");
            return Err(Error::invalid(message).with_field(at()));
        }
    }
    Ok(answers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stands_once_and_is_known() {
        let users = places("user", "/rules/users", ["a", "b"], 2).unwrap();
        assert_eq!(answers("user", &users, ["b"], "/inputs", "user").unwrap(), [None, Some(0)]);
        let field = |refused: Error| refused.field.unwrap();
        assert_eq!(
            field(answers("user", &users, ["b", "b"], "/inputs", "user").unwrap_err()),
            "/inputs/1/user"
        );
        assert_eq!(field(answers("user", &users, ["c"], "/inputs", "user").unwrap_err()), "/inputs/0/user");
        for (names, at) in [
            (vec![], "/rules/users"),
            (vec!["a", "a"], "/rules/users/1"),
            (vec!["a", ""], "/rules/users/1"),
            (vec!["a", "b", "c"], "/rules/users"),
        ] {
            assert_eq!(field(places("user", "/rules/users", names, 2).unwrap_err()), at);
        }
    }
}
