//! The `vfw` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    vfw::command::main()
}
