//! Who can do the work, room by room: against reference cases, a plain model of its own, and odd input.

mod accrual;
mod breaker;
mod ramp;
mod retry;
