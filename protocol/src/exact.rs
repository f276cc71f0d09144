//! Exact numbers: weights, shares and demands are fractions, because a tie is a tie only where nothing was rounded.

use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::{One, Signed, ToPrimitive, Zero};
use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use std::fmt;
use std::ops::{Add, Div, Mul, Sub};
use std::str::FromStr;

/// Digits that a number may have as it is written, of each of its parts.
const DIGITS: usize = 40;
/// The greatest exponent, either way, of a number as it is written.
const EXPONENT: i32 = 60;

/// An exact number. In JSON: a number, taken by the decimal digits that stand there, or a text `"p/q"`. A number of a whole
/// value is written as one, every other as the fraction in its lowest terms, so that equal values have equal bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Exact(BigRational);

/// What is no exact number.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExactError {
    /// It does not read.
    #[error("{0} is no number: a decimal, such as 0.25, or a fraction, such as \"1/3\"")]
    Unreadable(String),
    /// It is longer than any that means something.
    #[error("a number has at most {DIGITS} digits and an exponent of at most {EXPONENT}")]
    TooLong,
}

impl Exact {
    /// Nothing.
    pub fn zero() -> Exact {
        Exact(BigRational::zero())
    }

    /// One.
    pub fn one() -> Exact {
        Exact(BigRational::one())
    }

    /// `numerator / denominator`; nothing where the denominator is 0.
    pub fn ratio(numerator: i64, denominator: i64) -> Option<Exact> {
        (denominator != 0).then(|| Exact(BigRational::new(numerator.into(), denominator.into())))
    }

    /// A float by its shortest decimal digits: 0.1 is one tenth. Nothing where it is not finite.
    pub fn from_f64(value: f64) -> Option<Exact> {
        value.is_finite().then(|| format!("{value:e}").parse().ok()).flatten()
    }

    /// The nearest float.
    pub fn to_f64(&self) -> f64 {
        self.0.to_f64().unwrap_or(f64::NAN)
    }

    /// Whether it is nothing.
    pub fn is_zero(&self) -> bool {
        self.0.is_zero()
    }

    /// Whether it is less than nothing.
    pub fn is_negative(&self) -> bool {
        self.0.is_negative()
    }

    /// The least whole number that is not less; 0 for what is negative, and the greatest there is for what is more.
    pub fn ceil(&self) -> u64 {
        if self.is_negative() { 0 } else { self.0.ceil().to_u64().unwrap_or(u64::MAX) }
    }

    /// To so many decimals, halves away from 0.
    #[must_use]
    pub fn rounded(&self, places: u32) -> Exact {
        let power = BigInt::from(10).pow(places);
        Exact((&self.0 * &power).round() / power)
    }

    /// The fraction itself.
    pub fn as_rational(&self) -> &BigRational {
        &self.0
    }

    /// The quotient; nothing where `other` is 0.
    pub fn checked_div(&self, other: &Exact) -> Option<Exact> {
        (!other.is_zero()).then(|| Exact(&self.0 / &other.0))
    }
}

impl From<BigRational> for Exact {
    fn from(value: BigRational) -> Exact {
        Exact(value)
    }
}

impl From<BigInt> for Exact {
    fn from(value: BigInt) -> Exact {
        Exact(BigRational::from_integer(value))
    }
}

impl From<i64> for Exact {
    fn from(value: i64) -> Exact {
        Exact(BigRational::from_integer(value.into()))
    }
}

impl From<i32> for Exact {
    fn from(value: i32) -> Exact {
        Exact(BigRational::from_integer(value.into()))
    }
}

impl From<u32> for Exact {
    fn from(value: u32) -> Exact {
        Exact(BigRational::from_integer(value.into()))
    }
}

impl From<u64> for Exact {
    fn from(value: u64) -> Exact {
        Exact(BigRational::from_integer(value.into()))
    }
}

macro_rules! arithmetic {
    ($($op:ident $method:ident)*) => { $(
        impl $op for &Exact {
            type Output = Exact;
            fn $method(self, other: &Exact) -> Exact { Exact((&self.0).$method(&other.0)) }
        }
        impl $op for Exact {
            type Output = Exact;
            fn $method(self, other: Exact) -> Exact { Exact(self.0.$method(other.0)) }
        }
    )* };
}
arithmetic! { Add add Sub sub Mul mul }

/// Panics where the divisor is 0: [`Exact::checked_div`] where it may be.
impl Div for &Exact {
    type Output = Exact;
    fn div(self, other: &Exact) -> Exact {
        Exact(&self.0 / &other.0)
    }
}

impl std::iter::Sum for Exact {
    fn sum<I: Iterator<Item = Exact>>(each: I) -> Exact {
        each.fold(Exact::zero(), |sum, one| sum + one)
    }
}

impl<'a> std::iter::Sum<&'a Exact> for Exact {
    fn sum<I: Iterator<Item = &'a Exact>>(each: I) -> Exact {
        each.fold(Exact::zero(), |sum, one| &sum + one)
    }
}

impl FromStr for Exact {
    type Err = ExactError;

    fn from_str(text: &str) -> Result<Exact, ExactError> {
        let unreadable = || ExactError::Unreadable(text.chars().take(80).collect());
        if let Some((numerator, denominator)) = text.split_once('/') {
            let (numerator, denominator) = (decimal(numerator)?, decimal(denominator)?);
            let quotient = Exact(numerator).checked_div(&Exact(denominator));
            return quotient.ok_or_else(unreadable);
        }
        decimal(text).map(Exact)
    }
}

/// `-12.5e3`, exactly.
fn decimal(text: &str) -> Result<BigRational, ExactError> {
    let unreadable = || ExactError::Unreadable(text.chars().take(80).collect());
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (sign, digits) = match mantissa.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, mantissa),
    };
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.len() > DIGITS || part.len() > DIGITS || exponent.len() > 5 {
        return Err(ExactError::TooLong);
    }
    let is_digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !is_digits(whole) || !is_digits(part) || (digits.contains('.') && part.is_empty())
    {
        return Err(unreadable());
    }
    let exponent: i32 = exponent.parse().map_err(|_| unreadable())?;
    if exponent.abs() > EXPONENT {
        return Err(ExactError::TooLong);
    }
    let all: BigInt = format!("{whole}{part}").parse().map_err(|_| unreadable())?;
    let shift = exponent - part.len() as i32;
    let power = BigInt::from(10).pow(shift.unsigned_abs());
    let value = BigRational::from_integer(all * sign);
    Ok(if shift < 0 { value / power } else { value * power })
}

impl fmt::Display for Exact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for Exact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl Serialize for Exact {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        if !s.is_human_readable() {
            return s.collect_str(&self.0);
        }
        match self.0.is_integer().then(|| self.0.to_i64()).flatten() {
            Some(whole) => s.serialize_i64(whole),
            None => s.collect_str(&self.0),
        }
    }
}

impl utoipa::PartialSchema for Exact {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        use utoipa::openapi::schema::{ObjectBuilder, OneOfBuilder, Type};
        let number = ObjectBuilder::new().schema_type(Type::Number);
        let text =
            ObjectBuilder::new().schema_type(Type::String).description(Some("A fraction, such as `2/3`"));
        let either = OneOfBuilder::new().item(number).item(text);
        either.description(Some("An exact number; written as a whole number or a fraction")).into()
    }
}
impl utoipa::ToSchema for Exact {}

impl<'de> Deserialize<'de> for Exact {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Exact, D::Error> {
        struct Reads;
        impl Visitor<'_> for Reads {
            type Value = Exact;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number or a fraction as text")
            }
            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Exact, E> {
                Ok(value.into())
            }
            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Exact, E> {
                Ok(value.into())
            }
            fn visit_f64<E: de::Error>(self, value: f64) -> Result<Exact, E> {
                let read = Exact::from_f64(value);
                read.ok_or_else(|| E::custom(format!("{value} is outside what a number may be")))
            }
            fn visit_str<E: de::Error>(self, value: &str) -> Result<Exact, E> {
                value.parse().map_err(E::custom)
            }
        }
        if d.is_human_readable() { d.deserialize_any(Reads) } else { d.deserialize_str(Reads) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_there_is_what_is_meant() {
        for (text, as_text, json) in [
            ("0.1", "1/10", "\"1/10\""),
            ("3", "3", "3"),
            ("-2.50", "-5/2", "\"-5/2\""),
            ("1e3", "1000", "1000"),
            ("2/6", "1/3", "\"1/3\""),
            ("0.5/0.25", "2", "2"),
        ] {
            let read: Exact = text.parse().unwrap();
            assert_eq!(read.to_string(), as_text, "{text}");
            assert_eq!(serde_json::to_string(&read).unwrap(), json, "{text}");
            assert_eq!(serde_json::from_str::<Exact>(json).unwrap(), read);
        }
        assert_eq!(serde_json::from_str::<Exact>("0.30000000000000004").unwrap().to_f64(), 0.1 + 0.2);
        assert_eq!(
            Exact::from_f64(0.1).unwrap() + Exact::from_f64(0.2).unwrap(),
            Exact::from_f64(0.3).unwrap()
        );
        for (text, rounded) in [("2/3", "0.667"), ("0.0005", "0.001"), ("-1/16", "-0.063"), ("7", "7")] {
            let read: Exact = text.parse().unwrap();
            assert_eq!(read.rounded(3), rounded.parse().unwrap(), "{text}");
        }
        assert_eq!(Exact::from_f64(1e300), None, "outside what a weight may be");
    }

    #[test]
    fn what_is_no_number_is_told() {
        for text in ["", "-", "x", "1/0", "1.", ".5", "1e", "NaN", "inf", "0x10", "1/2/3", "1e99", "1e999999"]
        {
            assert!(text.parse::<Exact>().is_err(), "{text}");
        }
        assert!("9".repeat(41).parse::<Exact>().is_err());
        assert!(serde_json::from_str::<Exact>("null").is_err());
    }
}
