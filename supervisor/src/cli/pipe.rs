//! x
use super::Failure;
use clap::Args;
use std::process::ExitCode;
/// x
#[derive(Args, Debug)]
pub(super) struct Options {}
pub(super) async fn run(_options: Options) -> Result<ExitCode, Failure> {
    Err(Failure::usage("x"))
}
