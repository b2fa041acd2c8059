//! Numbers whose unit or bounds matter.

use serde::Serialize;
use std::fmt;
use std::time::Duration;
use thiserror::Error;

/// A number outside of what its field can hold.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{value} is not {expected}")]
pub struct UnitError {
    /// The value as given.
    pub value: String,
    /// What would have been right, with its bounds.
    pub expected: &'static str,
}

impl UnitError {
    fn new(value: impl fmt::Display, expected: &'static str) -> Self {
        Self { value: value.to_string(), expected }
    }
}

/// A virtual router identifier, 1 to 255 (RFC 9568 section 5.2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Vrid(u8);

impl Vrid {
    /// The lowest there is.
    pub const MIN: Self = Self(1);

    /// # Errors
    /// Zero is reserved.
    pub fn new(id: u8) -> Result<Self, UnitError> {
        if id == 0 { Err(UnitError::new(id, "a VRID (1 to 255)")) } else { Ok(Self(id)) }
    }

    /// The number on the wire.
    #[must_use]
    pub fn get(self) -> u8 {
        self.0
    }
}

/// A configured VRRP priority, 1 to 255 (RFC 9568 section 5.2.4); 255 is the address owner's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Priority(u8);

impl Priority {
    /// The RFC's default, 100.
    pub const DEFAULT: Self = Self(100);
    /// The address owner's.
    pub const OWNER: Self = Self(255);

    /// # Errors
    /// Zero means "I resign" on the wire and can't be configured.
    pub fn new(priority: u8) -> Result<Self, UnitError> {
        if priority == 0 {
            Err(UnitError::new(priority, "a priority (1 to 255)"))
        } else {
            Ok(Self(priority))
        }
    }

    /// The number on the wire.
    #[must_use]
    pub fn get(self) -> u8 {
        self.0
    }

    /// Lowered by `amount`, never below 1 and never from an owner.
    #[must_use]
    pub fn lowered(self, amount: u8) -> Self {
        if self == Self::OWNER { self } else { Self(self.0.saturating_sub(amount).max(1)) }
    }
}

/// An advert interval in centiseconds, 1 to 4095: 10 ms to 40.95 s (RFC 9568 section 5.2.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct AdvertInterval(u16);

impl AdvertInterval {
    /// 100 ms, our default.
    pub const DEFAULT: Self = Self(10);
    /// 10 ms, the shortest that VRRP can say.
    pub const FLOOR: Self = Self(1);

    /// # Errors
    /// Outside of 1 to 4095.
    pub fn from_centiseconds(centiseconds: u16) -> Result<Self, UnitError> {
        if (1..=4095).contains(&centiseconds) {
            Ok(Self(centiseconds))
        } else {
            Err(UnitError::new(centiseconds, "an advert interval in centiseconds (1 to 4095)"))
        }
    }

    /// # Errors
    /// Not a whole number of centiseconds, or outside of 10 ms to 40.95 s.
    pub fn from_duration(duration: Duration) -> Result<Self, UnitError> {
        const EXPECTED: &str = "an advert interval (10ms to 40.95s in steps of 10ms)";
        let error = || UnitError::new(format!("{duration:?}"), EXPECTED);
        if !duration.subsec_nanos().is_multiple_of(10_000_000) {
            return Err(error());
        }
        let centiseconds = u16::try_from(duration.as_millis() / 10).map_err(|_| error())?;
        Self::from_centiseconds(centiseconds).map_err(|_| error())
    }

    /// The number on the wire.
    #[must_use]
    pub fn centiseconds(self) -> u16 {
        self.0
    }

    /// As a duration.
    #[must_use]
    pub fn duration(self) -> Duration {
        Duration::from_millis(u64::from(self.0).saturating_mul(10))
    }
}

/// A backend's share of new connections, 0 to 256; 0 takes none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Weight(u16);

impl Weight {
    /// No share.
    pub const NONE: Self = Self(0);
    /// One share.
    pub const ONE: Self = Self(1);

    /// # Errors
    /// Above 256.
    pub fn new(weight: u16) -> Result<Self, UnitError> {
        if weight <= 256 { Ok(Self(weight)) } else { Err(UnitError::new(weight, "a weight (0 to 256)")) }
    }

    /// The number.
    #[must_use]
    pub fn get(self) -> u16 {
        self.0
    }
}

impl fmt::Display for Vrid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
