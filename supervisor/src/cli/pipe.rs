//! x
use std::process::ExitCode;
use clap::Args;
use super::Failure;
/// x
#[derive(Args, Debug)]
pub(super) struct Options {}
pub(super) async fn run(_options: Options) -> Result<ExitCode, Failure> { Err(Failure::usage("x")) }
