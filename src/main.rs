//! The command line: reads the arguments, sets up logging, and hands over to `callahead::commands`.

use std::process::ExitCode;

fn main() -> ExitCode {
    callahead::commands::run()
}
