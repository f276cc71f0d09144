//! The `synod` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    synod::run(std::env::args_os()).into()
}
