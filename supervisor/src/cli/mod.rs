//! The command line (contract §7).

use std::{
    ffi::OsString,
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum};
use rollcall_common::{
    client::Client,
    private::Private,
    telemetry,
    tls::{self, Authorities, Identity},
    units::Span,
};

mod alerts;
mod clients;
mod dev;
mod pipe;
mod results;
mod rewind;
mod serve;
mod table;
mod tail;

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
    /// Check a configuration and say what is wrong with it
    CheckConfig {
        /// The configuration file
        #[arg(long, env = "ROLLCALL_CONFIG")]
        config: PathBuf,
    },
    /// Print a completion script
    Completions {
        /// For which shell
        shell: clap_complete::Shell,
    },
    /// Try it: supervisor, workers, a destination and traffic in one process, with throw-away data
    Dev(dev::Options),
    /// Show what is parked
    Parked {
        /// Only of this stream
        #[arg(long)]
        stream: Option<String>,
        #[command(flatten)]
        server: Server,
    },
    /// Lines from standard input through parallel workers to standard output, in input order
    Pipe(pipe::Options),
    /// Supply a parked message's result
    Resolve {
        /// Its stream
        stream: String,
        /// Its sequence
        sequence: u64,
        /// The result's file; - is standard input
        #[arg(default_value = "-")]
        file: PathBuf,
        /// The result's type
        #[arg(long, default_value = "application/octet-stream")]
        content_type: String,
        /// Why, for the audit
        #[arg(long)]
        reason: Option<String>,
        #[command(flatten)]
        server: Server,
    },
    /// Print released results
    Results(results::ResultsOptions),
    /// Send a parked message back to the workers, or all of a stream
    Retry(clients::RetryOptions),
    /// Let a subscription begin again after a position; 0 is the beginning
    Rewind(rewind::Options),
    /// Send a message, or many
    Send(clients::SendOptions),
    /// Run a supervisor
    Serve(serve::Options),
    /// Go on without a parked message's result
    Skip {
        /// Its stream
        stream: String,
        /// Its sequence
        sequence: u64,
        /// Why
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        server: Server,
    },
    /// Show what needs a person
    Status(Server),
    /// Show the streams
    Streams(Server),
    /// Show the subscriptions
    Subscriptions(Server),
    /// Show results as they are released
    Tail(tail::Options),
    /// Show the workers
    Workers(Server),
}

/// Which supervisor, and how to show what it says.
#[derive(Args, Debug)]
struct Server {
    /// The supervisor
    #[arg(long, env = "ROLLCALL_URL", default_value = "http://127.0.0.1:7400")]
    url: String,
    /// A token for it
    #[arg(long, env = "ROLLCALL_TOKEN", hide_env_values = true)]
    token: Option<Private>,
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

    fn token(&self) -> Result<Option<Private>, Failure> {
        let Some(file) = &self.token_file else {
            return Ok(self.token.clone());
        };
        let said = std::fs::read_to_string(file)
            .map_err(|error| Failure::usage(format!("{}: {error}", file.display())))?;
        Ok(Some(Private::new(said.trim_end_matches(['\r', '\n']))))
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
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self { text: error.to_string(), code: 1 }
    }
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    match run(CommandLine::parse().command) {
        Ok(code) => code,
        Err(Failure { text, code }) => {
            // Nowhere is left to say it.
            let _ = writeln!(io::stderr(), "error: {text}");
            ExitCode::from(code)
        }
    }
}

fn run(command: Command) -> Result<ExitCode, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let code = runtime.block_on(async {
        match command {
            Command::Alerts(options) => alerts::run(&options).await,
            Command::CheckConfig { config } => serve::check(&config),
            Command::Completions { shell } => {
                let mut command = CommandLine::command();
                clap_complete::generate(shell, &mut command, "supervisor", &mut io::stdout());
                Ok(ExitCode::SUCCESS)
            }
            Command::Dev(options) => dev::run(&options).await,
            Command::Pipe(options) => pipe::run(options).await,
            Command::Results(options) => results::results(&options).await,
            Command::Rewind(options) => rewind::run(&options).await,
            Command::Send(options) => clients::send(&options).await,
            Command::Serve(options) => serve::run(options).await,
            Command::Tail(options) => tail::run(&options).await,
            client @ (Command::Parked { .. }
            | Command::Resolve { .. }
            | Command::Retry(_)
            | Command::Skip { .. }
            | Command::Status(_)
            | Command::Streams(_)
            | Command::Subscriptions(_)
            | Command::Workers(_)) => clients::run(client).await,
        }
    });
    // What still waits somewhere has nothing left to do.
    runtime.shutdown_timeout(Duration::from_millis(100));
    telemetry::flush();
    code
}

/// The environment's variables that are text.
fn environment() -> Vec<(String, String)> {
    let text = |(name, value): (OsString, OsString)| {
        Some((name.into_string().ok()?, value.into_string().ok()?))
    };
    std::env::vars_os().filter_map(text).collect()
}

/// A duration as an argument.
fn span(text: &str) -> Result<Duration, String> {
    text.parse::<Span>().map(|span| span.0)
}

#[cfg(test)]
mod tests {
    use super::*;

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
