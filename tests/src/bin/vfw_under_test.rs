//! The `vfw` command, built with the tests so that they never run an old one.

use std::process::ExitCode;

fn main() -> ExitCode {
    vfw::command::main()
}
