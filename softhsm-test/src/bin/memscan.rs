//! Searches memory and files for needles that it is handed on standard input; started by the memory tests and campaigns.
#![expect(clippy::print_stderr, reason = "a program: this is where it says why it ends")]

use std::process::ExitCode;

fn main() -> ExitCode {
    match softhsm_test::memscan::serve(std::io::stdin().lock(), std::io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("memscan: {error}");
            ExitCode::FAILURE
        }
    }
}
