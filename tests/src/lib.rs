//! vfw tests
