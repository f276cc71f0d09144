//! Where somebody is in the changes of shared state.

use super::state::RANGES;
use crate::error::Error;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The place of a change in its range's stream: a Redis stream id. The first is greater than `Place::default()`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Redis' time when it was written, in ms.
    pub ms: u64,
    /// Counts those of one millisecond.
    pub n: u64,
}

impl FromStr for Place {
    type Err = Error;

    fn from_str(text: &str) -> Result<Place, Error> {
        let parts = text.split_once('-').and_then(|(ms, n)| Some((ms.parse().ok()?, n.parse().ok()?)));
        let (ms, n) = parts.ok_or_else(|| Error::invalid(format!("{text:?} is no place in a stream")))?;
        Ok(Place { ms, n })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.n)
    }
}

/// A place in one range, and in which life of its stream: another `era` means that Redis lost what it held meanwhile, so
/// that nobody can say what came between.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Mark {
    /// Which life of the stream.
    pub era: u32,
    /// All up to here, inclusive.
    pub place: Place,
}

/// A mark in each of the ranges. Opaque to clients: base64url of what is in here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Position(pub [Mark; RANGES as usize]);

const POSITION_FORM: u8 = 1;
const MARK_BYTES: usize = 4 + 8 + 4;

impl Position {
    /// The mark of a range; a range that there is none of has the default one.
    pub fn mark(&self, range: u32) -> Mark {
        self.0.get(range as usize).copied().unwrap_or_default()
    }

    /// With this place in a range.
    pub fn advance(&mut self, range: u32, place: Place) {
        if let Some(mark) = self.0.get_mut(range as usize) {
            mark.place = mark.place.max(place);
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = vec![POSITION_FORM];
        for mark in &self.0 {
            bytes.extend(mark.era.to_be_bytes());
            bytes.extend(mark.place.ms.to_be_bytes());
            // No millisecond has as many changes as this can count.
            bytes.extend(u32::try_from(mark.place.n).unwrap_or(u32::MAX).to_be_bytes());
        }
        f.write_str(&URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl FromStr for Position {
    type Err = Error;

    fn from_str(text: &str) -> Result<Position, Error> {
        let foreign = || {
            Error::invalid(
                "this is no position that came with a change; `now` and `oldest` are understood as well",
            )
            .with_field("/after")
        };
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| foreign())?;
        let (form, marks) = bytes.split_first().ok_or_else(foreign)?;
        if *form != POSITION_FORM || marks.len() != MARK_BYTES * RANGES as usize {
            return Err(foreign());
        }
        let mut position = Position::default();
        for (mark, bytes) in position.0.iter_mut().zip(marks.chunks_exact(MARK_BYTES)) {
            let number =
                |from: usize, to: usize| bytes[from..to].iter().fold(0, |n, b| n << 8 | u64::from(*b));
            mark.era = u32::try_from(number(0, 4)).map_err(|_| foreign())?;
            mark.place = Place { ms: number(4, 12), n: number(12, 16) };
        }
        Ok(position)
    }
}

impl Serialize for Position {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Position {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Position, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_position_comes_back_as_it_went(marks in proptest::collection::vec((any::<u32>(), any::<u64>(), any::<u32>()), 16)) {
            let mut position = Position::default();
            for (mark, (era, ms, n)) in position.0.iter_mut().zip(marks) {
                *mark = Mark { era, place: Place { ms, n: u64::from(n) } };
            }
            prop_assert_eq!(position.to_string().parse::<Position>().unwrap(), position);
        }
    }

    #[test]
    fn what_is_no_position_is_refused() {
        let good = Position::default().to_string();
        for bad in [
            "",
            "0",
            "not base64!",
            &good[..good.len() - 4],
            &format!("{good}AAAA"),
            &good.replacen('A', "B", 1),
        ] {
            assert!(bad.parse::<Position>().is_err(), "{bad}");
        }
    }
}
