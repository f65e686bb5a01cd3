//! The command line.

use std::{
    ffi::OsString,
    num::{NonZeroU32, NonZeroUsize},
};

use clap::{Args, Parser, Subcommand};
use rollcall_common::{
    http::Target,
    limits::{MESSAGE_BYTES, WORKER_DRAIN},
    protocol::DEFAULT_POOL,
    telemetry::LogFormat,
    units::{HumanDuration, Size},
};

use crate::{
    executor::{BadCommand, Builtin, Exec, ExecStream, Proxy, process_limit},
    handler::AnyHandler,
    tls::Security,
    worker::is_id,
};

/// Processes that `--exec` runs at once unless told otherwise.
const PROCESSES: NonZeroU32 = NonZeroU32::new(32).unwrap();

/// Turns messages into results.
#[derive(Clone, Debug, Parser)]
#[command(name = "worker", version, arg_required_else_help = true)]
pub struct CommandLine {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Takes messages and answers with results
    Serve(Box<Serve>),
}

/// How to serve.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Exit codes: 0 done, 1 failed, 2 wrong usage. SIGTERM and SIGINT drain; a \
                        second one stops at once. ROLLCALL_LOG sets what is logged.")]
pub struct Serve {
    /// Address to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDR", env = "ROLLCALL_LISTEN", value_parser = listen)]
    pub listen: String,
    /// Supervisor to register with; may be repeated
    #[arg(
        long = "supervisor",
        value_name = "URL",
        env = "ROLLCALL_SUPERVISOR",
        value_delimiter = ',',
        value_parser = url
    )]
    pub supervisors: Vec<String>,
    /// Pool to belong to
    #[arg(long, value_name = "POOL", env = "ROLLCALL_POOL", default_value = DEFAULT_POOL)]
    pub pool: String,
    /// Id to go by [default: host name, process id and port]
    #[arg(long, value_name = "ID", env = "ROLLCALL_ID", value_parser = id)]
    pub id: Option<String>,
    /// Messages at once [default: 32 with --exec, 1 with --exec-stream, otherwise unbounded]
    #[arg(long, value_name = "N", env = "ROLLCALL_CONCURRENCY")]
    pub concurrency: Option<NonZeroU32>,
    /// URL that supervisors call [default: the address listened on]
    #[arg(long, value_name = "URL", env = "ROLLCALL_ADVERTISE", value_parser = url)]
    pub advertise: Option<String>,
    /// Largest message and largest result
    #[arg(long, value_name = "SIZE", env = "ROLLCALL_MESSAGE_BYTES")]
    #[arg(default_value_t = Size(MESSAGE_BYTES))]
    pub message_bytes: Size,
    /// How long SIGTERM waits for what runs; what still runs then is ended, and done elsewhere
    #[arg(long, value_name = "D", env = "ROLLCALL_DRAIN", value_parser = span)]
    #[arg(default_value_t = HumanDuration(WORKER_DRAIN))]
    pub drain: HumanDuration,
    /// How log lines on standard error look
    #[arg(long, value_name = "auto|json|text", env = "ROLLCALL_LOG_FORMAT")]
    #[arg(default_value = "auto", value_parser = log_format)]
    pub log_format: LogFormat,
    /// What turns messages into results.
    #[command(flatten)]
    pub work: Work,
    /// How to know supervisors, and to be known by them.
    #[command(flatten)]
    pub security: Security,
}

/// What turns messages into results.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Work (one of)")]
#[expect(clippy::struct_excessive_bools, reason = "flags of a command line")]
pub struct Work {
    /// Run CMD once per message: standard input to standard output; exit 0 ok, 75 retry, 65 park;
    /// ended with all it started when nobody waits for it, or after twice its attempt's time
    #[arg(long, group = "work", requires = "cmd")]
    #[arg(required_unless_present_any = ["exec_stream", "proxy", "builtin"])]
    pub exec: bool,
    /// Keep CMD running: one line in, one line out; whatever else it says ends it
    #[arg(long, group = "work", requires = "cmd")]
    pub exec_stream: bool,
    /// Pass messages on to a local HTTP service
    #[arg(long, group = "work", value_name = "URL")]
    pub proxy: Option<Target>,
    /// For trials: echo, upper, reverse, sleep=DUR, sleep=DUR..DUR, status=CODE, fail=PERCENT,
    /// park=PERCENT, skip=PERCENT, hang=PERCENT; joined by +
    #[arg(long, group = "work", value_name = "STEPS")]
    pub builtin: Option<Builtin>,
    /// Content type of the results of CMD [default: that of the message]
    #[arg(long, value_name = "TYPE", conflicts_with_all = ["proxy", "builtin"])]
    pub content_type: Option<String>,
    /// The command and its arguments
    #[arg(last = true, value_name = "CMD", conflicts_with_all = ["proxy", "builtin"])]
    pub cmd: Vec<OsString>,
}

impl Serve {
    /// The handler that was asked for, how many messages it takes at once, and its name.
    ///
    /// # Errors
    /// When the command can't be run.
    pub fn handler(&self) -> Result<(AnyHandler, Option<NonZeroU32>, String), BadCommand> {
        let (work, limit) = (&self.work, self.message_bytes.as_usize());
        let content_type = work.content_type.as_deref();
        if let Some(target) = &work.proxy {
            let proxy = Proxy::new(target.clone()).output_limit(limit);
            return Ok((AnyHandler::new(proxy), self.concurrency, "proxy".to_owned()));
        }
        if let Some(builtin) = &work.builtin {
            let handler = AnyHandler::new(builtin.clone());
            return Ok((handler, self.concurrency, "builtin".to_owned()));
        }
        if work.exec_stream {
            let bound = fitting(self.concurrency.unwrap_or(NonZeroU32::MIN));
            let children = NonZeroUsize::try_from(bound).unwrap_or(NonZeroUsize::MIN);
            let exec = ExecStream::new(&work.cmd, children)?
                .content_type(content_type)
                .output_limit(limit);
            let name = format!("exec-stream {}", exec.program().name());
            return Ok((AnyHandler::new(exec), Some(bound), name));
        }
        let exec = Exec::new(&work.cmd)?.content_type(content_type).output_limit(limit);
        let name = format!("exec {}", exec.program().name());
        let bound = fitting(self.concurrency.unwrap_or(PROCESSES));
        Ok((AnyHandler::new(exec), Some(bound), name))
    }
}

/// As many processes at once as there are descriptors for: what is over would only be sent away.
fn fitting(asked: NonZeroU32) -> NonZeroU32 {
    let most = u32::try_from(process_limit()).unwrap_or(u32::MAX);
    let fitting = NonZeroU32::new(most).unwrap_or(NonZeroU32::MIN).min(asked);
    if fitting < asked {
        tracing::warn!(%asked, at_once = %fitting, "too few descriptors (ulimit -n)");
    }
    fitting
}

fn span(text: &str) -> Result<HumanDuration, String> {
    text.parse()
}

fn listen(text: &str) -> Result<String, String> {
    let port = text.rsplit_once(':').map(|(_, port)| port.parse::<u16>());
    match port {
        Some(Ok(_)) => Ok(text.to_owned()),
        _ => Err("write host and port, as 127.0.0.1:9000".to_owned()),
    }
}

fn url(text: &str) -> Result<String, String> {
    let target: Result<Target, _> = text.parse();
    target.map(|_| text.to_owned()).map_err(|error| error.to_string())
}

fn id(text: &str) -> Result<String, String> {
    if is_id(text) {
        Ok(text.to_owned())
    } else {
        Err("write 1 to 128 characters of A-Z, a-z, 0-9, '.', '_' and '-'".to_owned())
    }
}

fn log_format(text: &str) -> Result<LogFormat, String> {
    match text {
        "auto" => Ok(LogFormat::Auto),
        "json" => Ok(LogFormat::Json),
        "text" => Ok(LogFormat::Text),
        _ => Err("there are auto, json and text".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn a_token_is_not_shown() {
        let line = "worker serve --listen 127.0.0.1:0 --builtin echo --token canary";
        let line = CommandLine::try_parse_from(line.split(' ')).unwrap();
        let Command::Serve(serve) = &line.command;
        assert_eq!(serve.security.token.as_ref().unwrap().reveal(), "canary", "it has it");
        assert!(!format!("{line:?}").contains("canary"));
        let worker = crate::Worker::new("echo".parse::<Builtin>().unwrap());
        let worker = serve.security.clone().apply(worker).unwrap();
        assert!(!format!("{worker:?}").contains("canary"));
    }
}
