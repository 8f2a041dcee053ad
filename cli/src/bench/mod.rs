//! Measurements that users can repeat: `vfw bench`.

pub mod classbench;
pub mod headers;
pub mod measure;
