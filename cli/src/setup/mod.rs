//! First rules, from answers to a few questions.
//!
//! ```text
//! questions -> Draft (each answer is read by the rule language) -> check -> Pair (both files, or neither)
//! ```

mod draft;
mod interfaces;
mod pair;

pub use draft::{Draft, ZoneAnswers};
pub use interfaces::Interfaces;
pub use pair::{Pair, PairError};
