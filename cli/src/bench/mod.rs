//! Measurements that users can repeat: `vfw bench`.

#![allow(clippy::cast_precision_loss, reason = "counts and nanoseconds of a run are far below 2^52")]

pub mod classbench;
pub mod flood;
pub mod flows;
pub mod headers;
pub mod lab;
pub mod measure;
pub mod net;
pub mod pps;
pub mod report;
pub mod rounds;
pub mod rules;
pub mod samples;
