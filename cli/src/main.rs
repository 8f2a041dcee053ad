//! The `vfw` command.

fn main() {}
