//! vfw benches
