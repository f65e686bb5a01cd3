//! The command line (contract §7).

use std::{
    ffi::OsString,
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC};
use rollcall_common::{
    client::{Client, ClientError},
    files,
    limits::SECRET_FILE_BYTES,
    secret::Redacted,
    shown::visible_lines,
    telemetry,
    tls::{self, Authorities, Identity},
    units::HumanDuration,
};

mod alerts;
mod audit;
mod dev;
mod doctor;
mod follow;
mod man;
mod messages;
mod parked;
mod pipe;
mod results;
mod rewind;
mod screen;
mod send;
mod serve;
mod status;
mod streams;
mod subscriptions;
mod table;
mod tail;
mod why;
mod workers;

/// Where a supervisor is, if nobody says otherwise.
const DEFAULT_URL: &str = "http://127.0.0.1:7400";

/// What stands for itself in a part of a path.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Parallel work, arrival order.
#[derive(Debug, Parser)]
#[command(name = "supervisor", version, about, max_term_width = 100)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show the alerts, or acknowledge one
    Alerts(alerts::Options),
    /// Show who did what
    Audit(audit::Options),
    /// Check a configuration and say what is wrong with it
    CheckConfig(serve::Options),
    /// Print a completion script
    Completions {
        /// For which shell
        shell: clap_complete::Shell,
    },
    /// Try it: supervisor, workers, a destination and traffic in one process, with throw-away data
    Dev(dev::Options),
    /// Look at everything that may be wrong, and say what to do about it
    Doctor(Server),
    /// Say whether the supervisor is ready: exit code 0 or 1, for containers
    Healthcheck(doctor::Health),
    /// Write manual pages into a folder
    Man {
        /// The folder
        folder: PathBuf,
    },
    /// Show a message: where it stands, what was tried, what it says
    Message(messages::Options),
    /// Show what is parked
    Parked(parked::Options),
    /// Let a stream stand still; it takes messages in
    Pause(streams::Standing),
    /// Lines from standard input through parallel workers to standard output, in input order
    Pipe(pipe::Options),
    /// Supply a message's result, parked or not
    Resolve(messages::Resolve),
    /// Print released results
    Results(results::ResultsOptions),
    /// Let a stream go on that was paused
    Resume(streams::Standing),
    /// Send a parked message back to the workers, or all of a stream
    Retry(messages::Retry),
    /// Let a subscription begin again after a position; 0 is the beginning
    Rewind(rewind::Options),
    /// Send a message, or many
    Send(send::Options),
    /// Run a supervisor
    Serve(serve::Options),
    /// Go on without a message's result, or those of all parked messages of a stream
    Skip(messages::Skip),
    /// Show what needs a person
    Status(Server),
    /// Show the streams
    Streams(streams::Options),
    /// Show or change a subscription
    Subscription(subscriptions::Options),
    /// Show the subscriptions
    Subscriptions(Server),
    /// Show results as they are released
    Tail(tail::Options),
    /// Say what holds a stream, and what may be decided
    Why(why::Options),
    /// Show a worker, or let it finish and go
    Worker(workers::Options),
    /// Show the workers
    Workers(Server),
}

/// Which supervisor, and how to show what it says.
#[derive(Args, Debug)]
struct Server {
    /// The supervisor
    #[arg(long, env = "ROLLCALL_URL", default_value = DEFAULT_URL)]
    url: String,
    /// A token for it
    #[arg(long, env = "ROLLCALL_TOKEN", hide_env_values = true)]
    token: Option<Redacted>,
    /// A file that holds the token
    #[arg(long, env = "ROLLCALL_TOKEN_FILE", conflicts_with = "token")]
    token_file: Option<PathBuf>,
    /// Authorities in PEM to believe it by, instead of the public ones
    #[arg(long, env = "ROLLCALL_CA_FILE")]
    ca_file: Option<PathBuf>,
    /// A certificate in PEM to show to it
    #[arg(long, env = "ROLLCALL_CERT_FILE", requires = "key_file")]
    cert_file: Option<PathBuf>,
    /// The certificate's key
    #[arg(long, env = "ROLLCALL_KEY_FILE", requires = "cert_file")]
    key_file: Option<PathBuf>,
    /// How to show it
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// How to show things.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Output {
    /// For programs
    Json,
    /// For people
    Text,
}

impl Server {
    fn client(&self) -> Result<Client, Failure> {
        let actor = std::env::var("USER").or_else(|_| std::env::var("LOGNAME"));
        let actor = actor.unwrap_or_else(|_| "command-line".to_owned());
        let files = self.cert_file.as_deref().zip(self.key_file.as_deref());
        let identity = files.map(|(cert, key)| Identity::read(cert, key)).transpose()?;
        let authorities = self.ca_file.as_deref();
        let authorities = authorities.map_or(Authorities::Public, Authorities::Only);
        let tls = tls::client_of(authorities, identity.as_ref())?;
        Ok(Client::with_tls(&self.url, self.token()?, tls)?.acting_as(actor))
    }

    fn token(&self) -> Result<Option<Redacted>, Failure> {
        let Some(file) = &self.token_file else {
            return Ok(self.token.clone());
        };
        let said = files::read_text(file, SECRET_FILE_BYTES)
            .map_err(|error| Failure::usage(format!("{}: {error}", file.display())))?;
        Ok(Some(Redacted::new(said.trim_end_matches(['\r', '\n']))))
    }
}

/// Why a command failed: what is said, and the exit code.
#[derive(Debug)]
struct Failure {
    text: String,
    code: u8,
}

impl Failure {
    /// Wrong usage or configuration.
    fn usage(text: impl Into<String>) -> Self {
        Self { text: text.into(), code: 2 }
    }

    /// It was tried, and failed.
    fn failed(text: impl Into<String>) -> Self {
        Self { text: text.into(), code: 1 }
    }

    /// What a call of the supervisor's HTTP API met, and what to do about it.
    fn of_call(error: &ClientError) -> Self {
        let advice = match error {
            ClientError::Unreachable { .. } => {
                "\n  is a supervisor running there? --url or ROLLCALL_URL says where it is"
            }
            ClientError::Refused { status: 401, .. } => {
                "\n  --token-file or ROLLCALL_TOKEN_FILE gives the token"
            }
            ClientError::Url { .. } => {
                return Self::usage(format!("{error}; for example --url http://127.0.0.1:7400"));
            }
            ClientError::Http(_) | ClientError::Refused { .. } => "",
        };
        Self::failed(format!("{error}{advice}"))
    }
}

impl<E: std::error::Error + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        let any: Box<dyn std::error::Error> = Box::new(error);
        match any.downcast::<ClientError>() {
            Ok(error) => Self::of_call(&error),
            // A library's words are for those who know the library.
            Err(any) => match any.downcast::<reqwest::Error>() {
                Ok(error) => Self::of_call(&(*error).into()),
                Err(any) => Self::failed(any.to_string()),
            },
        }
    }
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    match run(CommandLine::parse().command) {
        Ok(code) => code,
        Err(Failure { text, code }) => {
            // Nowhere is left to say it.
            let _ = writeln!(io::stderr(), "error: {}", visible_lines(&text));
            ExitCode::from(code)
        }
    }
}

fn run(command: Command) -> Result<ExitCode, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let code = runtime.block_on(async {
        match command {
            Command::CheckConfig(options) => serve::check(&options).await,
            Command::Completions { shell } => {
                let mut command = CommandLine::command();
                clap_complete::generate(shell, &mut command, "supervisor", &mut io::stdout());
                Ok(ExitCode::SUCCESS)
            }
            Command::Dev(options) => dev::run(&options).await,
            Command::Man { folder } => man::run(&folder),
            Command::Pipe(options) => pipe::run(options).await,
            Command::Serve(options) => serve::run(options).await,
            Command::Results(options) => results::results(&options).await,
            Command::Send(options) => send::run(&options).await,
            Command::Tail(options) => tail::run(&options).await,
            asks @ (Command::Alerts(_)
            | Command::Audit(_)
            | Command::Doctor(_)
            | Command::Healthcheck(_)
            | Command::Message(_)
            | Command::Parked(_)
            | Command::Pause(_)
            | Command::Resolve(_)
            | Command::Resume(_)
            | Command::Retry(_)
            | Command::Rewind(_)
            | Command::Skip(_)
            | Command::Status(_)
            | Command::Streams(_)
            | Command::Subscription(_)
            | Command::Subscriptions(_)
            | Command::Why(_)
            | Command::Worker(_)
            | Command::Workers(_)) => ask(asks).await,
        }
    });
    // What still waits somewhere has nothing left to do.
    runtime.shutdown_timeout(Duration::from_millis(100));
    telemetry::flush();
    code
}

/// Runs what people ask, or tell, a running supervisor.
async fn ask(command: Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Alerts(options) => alerts::run(&options).await,
        Command::Audit(options) => audit::run(&options).await,
        Command::Doctor(server) => doctor::doctor(&server).await,
        Command::Healthcheck(options) => doctor::healthcheck(&options).await,
        Command::Message(options) => messages::run(&options).await,
        Command::Parked(options) => parked::run(&options).await,
        Command::Pause(options) => streams::pause(&options).await,
        Command::Resolve(options) => messages::resolve(&options).await,
        Command::Resume(options) => streams::resume(&options).await,
        Command::Retry(options) => messages::retry(&options).await,
        Command::Rewind(options) => rewind::run(&options).await,
        Command::Skip(options) => messages::skip(&options).await,
        Command::Status(server) => status::run(&server).await,
        Command::Streams(options) => streams::run(&options).await,
        Command::Subscription(options) => subscriptions::run(&options).await,
        Command::Subscriptions(server) => subscriptions::list(&server).await,
        Command::Why(options) => why::run(&options).await,
        Command::Worker(options) => workers::run(&options).await,
        Command::Workers(server) => workers::list(&server).await,
        Command::CheckConfig { .. }
        | Command::Completions { .. }
        | Command::Dev(_)
        | Command::Man { .. }
        | Command::Pipe(_)
        | Command::Results(_)
        | Command::Send(_)
        | Command::Serve(_)
        | Command::Tail(_) => Err(Failure::usage("that is nothing to ask a supervisor")),
    }
}

/// The environment's variables that are text.
fn environment() -> Vec<(String, String)> {
    let text = |(name, value): (OsString, OsString)| {
        Some((name.into_string().ok()?, value.into_string().ok()?))
    };
    std::env::vars_os().filter_map(text).collect()
}

/// A name as a part of a path.
fn segment(name: &str) -> String {
    percent_encoding::utf8_percent_encode(name, SEGMENT).to_string()
}

/// A duration as an argument.
fn span(text: &str) -> Result<Duration, String> {
    text.parse::<HumanDuration>().map(|span| span.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_hold_together() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn traffic_takes_time() {
        let every = |text| CommandLine::try_parse_from(["supervisor", "dev", "--every", text]);
        assert!(every("0s").is_err());
        assert!(every("1ms").is_ok());
    }

    #[test]
    fn a_token_is_not_shown() {
        let line = ["supervisor", "status", "--token", "canary"];
        let line = CommandLine::try_parse_from(line).unwrap();
        assert!(!format!("{line:?}").contains("canary"));
        let Command::Status(server) = line.command else { panic!("it asks for the status") };
        assert_eq!(server.token().unwrap().unwrap().reveal(), "canary", "it has it");
    }
}
