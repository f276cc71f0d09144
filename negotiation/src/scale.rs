//! From fractions to whole numbers of a common measure: adding and comparing whole numbers needs no reducing.

use num_bigint::BigInt;
use num_integer::Integer;
use num_rational::BigRational;
use num_traits::{One, Zero};
use synod_protocol::{Error, Exact};

/// Bits that the numerator and the denominator, in lowest terms, of a number that is reckoned with may have: 38 digits.
pub const PART_BITS_MAX: u64 = 127;

/// An amount: 0 or more, and of a size that means something.
pub(crate) fn amount(what: &str, value: &Exact, field: impl Fn() -> String) -> Result<(), Error> {
    if value.is_negative() {
        return Err(Error::invalid(format!("{what} is {value}, it must be 0 or more")).with_field(field()));
    }
    size(what, value, field)
}

/// A weight: more than 0.
pub(crate) fn weight(value: &Exact, field: impl Fn() -> String) -> Result<(), Error> {
    if value.is_negative() || value.is_zero() {
        let message = format!("the weight is {value}, it must be greater than 0");
        return Err(Error::invalid(message).with_field(field()));
    }
    size("the weight", value, field)
}

/// Any number, of a size that means something.
pub(crate) fn size(what: &str, value: &Exact, field: impl Fn() -> String) -> Result<(), Error> {
    let (numerator, denominator) = (value.as_rational().numer(), value.as_rational().denom());
    if numerator.bits() > PART_BITS_MAX || denominator.bits() > PART_BITS_MAX {
        let message = format!(
            "{what} has too many digits: its numerator and its denominator are each less than 2^{PART_BITS_MAX}"
        );
        return Err(Error::invalid(message).with_field(field()));
    }
    Ok(())
}

/// The least number that all of these divide; nothing where it has more than so many bits.
pub(crate) fn common<'a>(
    denominators: impl IntoIterator<Item = &'a BigInt>,
    bits_max: u64,
) -> Option<BigInt> {
    let mut common = BigInt::one();
    for denominator in denominators {
        // Of the long one only what is left over by the short one matters, so no long division is done twice.
        let rest = &common % denominator;
        if rest.is_zero() {
            continue;
        }
        common *= denominator / rest.gcd(denominator);
        if common.bits() > bits_max {
            return None;
        }
    }
    Some(common)
}

/// The common measure of these numbers, which are so many of it each.
pub(crate) fn measure<'a>(
    numbers: impl IntoIterator<Item = &'a Exact>,
    bits_max: u64,
    field: &str,
) -> Result<BigInt, Error> {
    common(numbers.into_iter().map(|n| n.as_rational().denom()), bits_max).ok_or_else(|| {
        let message = format!(
            "the denominators of the numbers have no common multiple below 2^{bits_max}: use coarser ones"
        );
        Error::invalid(message).with_field(field)
    })
}

/// How many times `1 / measure` a number is; `measure` is a multiple of its denominator.
pub(crate) fn whole(number: &Exact, measure: &BigInt) -> BigInt {
    let number = number.as_rational();
    if number.denom() == measure {
        return number.numer().clone();
    }
    number.numer() * (measure / number.denom())
}

/// `of * numerator / denominator` in lowest terms, where the two are short, have no common factor and are more than 0; `of`
/// may be long.
pub(crate) fn times(of: &BigRational, numerator: &BigInt, denominator: &BigInt) -> Exact {
    if of.is_zero() {
        return Exact::zero();
    }
    let above = (of.numer() % denominator).gcd(denominator);
    let below = (of.denom() % numerator).gcd(numerator);
    Exact::from(BigRational::new_raw(
        (of.numer() / &above) * (numerator / &below),
        (of.denom() / &below) * (denominator / &above),
    ))
}

/// A number in a sentence: as it is where it is short, else about what it is.
pub(crate) fn told(number: &Exact) -> String {
    let exact = number.as_rational();
    if exact.numer().bits() <= 32 && exact.denom().bits() <= 32 {
        return number.to_string();
    }
    format!("about {:.6}", number.to_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_product_is_in_lowest_terms() {
        let of = BigRational::new(35.into(), 12.into());
        let product = times(&of, &4.into(), &21.into());
        assert_eq!(product.to_string(), "5/9");
        assert_eq!(product, Exact::ratio(5, 9).unwrap());
    }

    #[test]
    fn no_common_measure_beyond_the_bound() {
        let all: Vec<BigInt> = [7, 6, 4].map(BigInt::from).into();
        assert_eq!(common(&all, 7), Some(84.into()));
        assert_eq!(common(&all, 6), None);
    }
}
