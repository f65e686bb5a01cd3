//! A consumer that joins late: it keeps the balance of every account, from postings that others
//! have long been sending, and mails each new one to its owner.
//!
//! ```console
//! $ cargo run -p rollcall-common --example accounts -- http://127.0.0.1:7400 mails.txt
//! ```
//!
//! A message of the stream `postings` is `{"account":"alice","cents":250}`. `GET /accounts/alice`
//! shows a balance, `GET /` how far the consumer is, `POST /rebuild` rebuilds it while it goes on.
//! A mail is a line of the file. `docs/replay.md` walks through it.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    env, fmt,
    fs::{File, OpenOptions},
    io::{self, Write as _},
    process::ExitCode,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use http::{Method, Request, Response, StatusCode, header::CONTENT_TYPE};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use rollcall_common::{
    client::{Client, ClientError, checked, json, patient},
    readmodel::{Fold, FoldError, Mode, Place, Reader, Start, Writer},
    task,
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::Notify, time::sleep};

/// The subscription: its checkpoint says which mails are out.
const SUBSCRIPTION: &str = "/v1/subscriptions/accounts";
/// Results that are asked for at a time.
const PAGE: u32 = 500;
/// Seconds that the supervisor may keep a request while there is nothing new.
const WAIT: u32 = 30;
/// How long the consumer waits before it asks again after a failure.
const AGAIN: Duration = Duration::from_millis(500);

/// The read model: what every account has.
#[derive(Clone, Debug, Default)]
struct Accounts(BTreeMap<String, Account>);

#[derive(Clone, Copy, Debug, Default)]
struct Account {
    cents: i64,
    postings: u64,
}

#[derive(Debug)]
struct Posting {
    account: String,
    cents: i64,
}

impl Fold for Accounts {
    /// A result without a posting (somebody skipped it, say) is one too: its place is taken.
    type Item = Option<Posting>;

    fn fold(&mut self, item: &Self::Item) {
        let Some(Posting { account, cents }) = item else { return };
        let account = match self.0.get_mut(account) {
            Some(account) => account,
            None => self.0.entry(account.clone()).or_default(),
        };
        account.cents += cents;
        account.postings += 1;
    }
}

impl Posting {
    fn of(result: &Value) -> Option<Self> {
        let data = result.get("data")?;
        let account = data.get("account")?.as_str()?.to_owned();
        Some(Self { account, cents: data.get("cents")?.as_i64()? })
    }
}

/// Why the consumer can't go on, for now or at all.
#[derive(Debug)]
enum Failure {
    /// The supervisor is away, or does not answer as it should: it is asked again.
    Away(String),
    /// Going on would make the accounts wrong, or leave out a mail.
    Fatal(String),
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Self::Away(error.to_string())
    }
}

impl From<reqwest::Error> for Failure {
    fn from(error: reqwest::Error) -> Self {
        Self::Away(error.to_string())
    }
}

impl From<FoldError> for Failure {
    fn from(error: FoldError) -> Self {
        Self::Fatal(error.to_string())
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Fatal(error.to_string())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Away(text) | Self::Fatal(text) => f.write_str(text),
        }
    }
}

/// A model, and the position after which it reads on.
#[derive(Debug)]
struct Fill {
    model: Writer<Accounts>,
    next: u64,
}

/// What somebody asked for over HTTP.
#[derive(Debug, Default)]
struct Wishes {
    rebuild: Notify,
    rebuilds: AtomicU64,
}

struct Consumer {
    client: Client,
    mails: File,
    /// What readers see.
    live: Fill,
    /// While a rebuild runs.
    rebuilt: Option<Fill>,
    /// The position up to which mails are out, as the supervisor keeps it.
    done: u64,
    wishes: Arc<Wishes>,
}

impl Consumer {
    /// Follows the results for as long as it may.
    async fn run(mut self) -> Failure {
        loop {
            match self.round().await {
                Ok(()) => {}
                Err(Failure::Away(why)) => {
                    // Err: nobody reads the log.
                    let _ = writeln!(io::stderr(), "asking again: {why}");
                    sleep(AGAIN).await;
                }
                Err(fatal @ Failure::Fatal(_)) => return fatal,
            }
        }
    }

    async fn round(&mut self) -> Result<(), Failure> {
        // Mails first, then the checkpoint: a crash between the two repeats mails, and loses none.
        if self.live.next > self.done {
            keep_checkpoint(&self.client, self.live.next).await?;
            self.done = self.live.next;
        }
        let wait = if self.rebuilt.is_some() { 0 } else { WAIT };
        let wishes = Arc::clone(&self.wishes);
        tokio::select! {
            page = page(&self.client, self.live.next, wait) => self.follow(&page?)?,
            () = wishes.rebuild.notified() => {
                let begun = begin(&self.client).await;
                self.rebuilt = Some(begun.inspect_err(|_| wishes.rebuild.notify_one())?);
            }
        }
        self.rebuild_on().await
    }

    /// Folds what is new, and sends the mails that are due.
    fn follow(&mut self, page: &Value) -> Result<(), Failure> {
        let mut mails = String::new();
        for result in results(page) {
            let place = place(result)?;
            // What was done is done, whatever the mark says: the model begins anew with each
            // start of this program, and the mails do not.
            let replay = result.get("replay") != Some(&Value::Bool(false));
            let mode = match place.position <= self.done || replay {
                true => Mode::Replaying,
                false => Mode::Live,
            };
            let posting = Posting::of(result);
            let mail = posting.as_ref().map(|Posting { account, cents }| {
                format!("{} {account}: {cents} cents\n", place.position)
            });
            if self.live.model.fold(place, mode, posting)? == Mode::Live {
                mails.extend(mail);
            }
        }
        self.live.model.publish();
        self.mails.write_all(mails.as_bytes())?;
        self.live.next = next(page)?;
        Ok(())
    }

    /// A page more of the rebuild. No mail is due: the model that readers see has seen to it.
    async fn rebuild_on(&mut self) -> Result<(), Failure> {
        let Some(after) = self.rebuilt.as_ref().map(|rebuilt| rebuilt.next) else {
            return Ok(());
        };
        let page = page(&self.client, after, 0).await?;
        let Some(mut rebuilt) = self.rebuilt.take() else {
            return Ok(());
        };
        for result in results(&page) {
            let place = place(result)?;
            if place.position > self.live.next {
                break;
            }
            rebuilt.model.fold(place, Mode::Replaying, Posting::of(result))?;
        }
        rebuilt.model.publish();
        rebuilt.next = next(&page)?.min(self.live.next);
        if rebuilt.next < self.live.next {
            self.rebuilt = Some(rebuilt);
            return Ok(());
        }
        match self.live.model.replace(rebuilt.model) {
            Ok(()) => drop(self.wishes.rebuilds.fetch_add(1, Ordering::Relaxed)),
            Err(_) => writeln!(io::stderr(), "not rebuilt: its results are no longer kept")?,
        }
        Ok(())
    }
}

/// Where the subscription stands. It is made, from the beginning, if it is not there.
async fn join(client: &Client) -> Result<u64, Failure> {
    let state = match client.get(SUBSCRIPTION).await {
        Err(ClientError::Refused { status: 404, .. }) => {
            let wanted = json!({ "streams": ["postings"], "start": "beginning" });
            let made = client.call(Method::PUT, SUBSCRIPTION).json(&wanted).send().await?;
            checked(made).await?.json().await?
        }
        known => known?,
    };
    number(&state, "checkpoint")
}

/// An empty model, and where it begins: at the start, or with the first result that is kept.
async fn begin(client: &Client) -> Result<Fill, Failure> {
    let path = format!("{SUBSCRIPTION}/results?after=0&limit=1");
    let answer = client.call(Method::GET, &path).send().await?;
    if answer.status() != StatusCode::GONE {
        checked(answer).await?;
        return Ok(Fill { model: Writer::new(Start::Beginning), next: 0 });
    }
    let first = number(&answer.json().await?, "first")?;
    Ok(Fill { model: Writer::new(Start::Kept), next: first.saturating_sub(1) })
}

/// Results after a position. Asking does not move the checkpoint.
async fn page(client: &Client, after: u64, wait: u32) -> Result<Value, ClientError> {
    let path = format!("{SUBSCRIPTION}/results?after={after}&limit={PAGE}&wait={wait}");
    let call = patient(client.call(Method::GET, &path), Duration::from_secs(wait.into()), 0);
    json(checked(call.send().await?).await?).await
}

async fn keep_checkpoint(client: &Client, position: u64) -> Result<(), ClientError> {
    let body = json!({ "position": position }).to_string();
    let path = format!("{SUBSCRIPTION}/checkpoint");
    client.post(&path, "application/json", body).await.map(drop)
}

fn results(page: &Value) -> impl Iterator<Item = &Value> {
    page.get("results").and_then(Value::as_array).into_iter().flatten()
}

fn next(page: &Value) -> Result<u64, Failure> {
    number(page, "next")
}

fn place(result: &Value) -> Result<Place<'_>, Failure> {
    Ok(Place {
        position: number(result, "position")?,
        stream: result.get("stream").and_then(Value::as_str).unwrap_or_default(),
        sequence: number(result, "sequence")?,
    })
}

fn number(value: &Value, key: &str) -> Result<u64, Failure> {
    let found = value.get(key).and_then(Value::as_u64);
    found.ok_or_else(|| Failure::Away(format!("no {key} in {value}")))
}

/// Answers readers, each connection with a reader of its own: they wait for nobody.
async fn serve(listener: TcpListener, reader: Reader<Accounts>, wishes: Arc<Wishes>) {
    loop {
        let Ok((socket, _)) = listener.accept().await else { continue };
        let (reader, wishes) = (Arc::new(Mutex::new(reader.clone())), Arc::clone(&wishes));
        let answer = service_fn(move |request: Request<Incoming>| {
            let mut reader = reader.lock().unwrap_or_else(PoisonError::into_inner);
            let answered = respond(&request, &mut reader, &wishes);
            std::future::ready(Ok::<_, Infallible>(answered))
        });
        task::spawn("reader", async move {
            // Err: the reader is gone.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(socket), answer).await;
        });
    }
}

fn respond(
    request: &Request<Incoming>,
    reader: &mut Reader<Accounts>,
    wishes: &Wishes,
) -> Response<String> {
    let path = request.uri().path();
    let found = if request.method() == Method::POST && path == "/rebuild" {
        wishes.rebuild.notify_one();
        Some(json!({}))
    } else if path == "/" {
        let rebuilds = wishes.rebuilds.load(Ordering::Relaxed);
        reader.read(|accounts, position| {
            json!({ "accounts": accounts.0.len(), "position": position, "rebuilds": rebuilds })
        })
    } else {
        let name = path.strip_prefix("/accounts/").unwrap_or_default();
        let account = reader.read(|accounts, _| accounts.0.get(name).copied()).flatten();
        account.map(|Account { cents, postings }| json!({ "cents": cents, "postings": postings }))
    };
    let status = if found.is_some() { StatusCode::OK } else { StatusCode::NOT_FOUND };
    let mut response = Response::new(found.unwrap_or_default().to_string());
    *response.status_mut() = status;
    let json = http::HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}

async fn follow(supervisor: &str, mails: &str, listen: &str) -> Result<Failure, Failure> {
    let client = Client::new(supervisor, None)?;
    let mails = OpenOptions::new().create(true).append(true).open(mails)?;
    let done = join(&client).await?;
    let live = begin(&client).await?;
    let wishes = Arc::new(Wishes::default());
    let listener = TcpListener::bind(listen).await?;
    writeln!(io::stdout(), "listening on http://{}", listener.local_addr()?)?;
    task::spawn("readers", serve(listener, live.model.reader(), Arc::clone(&wishes)));
    Ok(Consumer { client, mails, live, rebuilt: None, done, wishes }.run().await)
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let ended = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [supervisor, mails] => follow(supervisor, mails, "127.0.0.1:0").await,
        [supervisor, mails, listen] => follow(supervisor, mails, listen).await,
        _ => {
            let _ = writeln!(io::stderr(), "accounts SUPERVISOR MAILS [LISTEN]");
            return ExitCode::from(2);
        }
    };
    let failure = ended.unwrap_or_else(|failure| failure);
    let _ = writeln!(io::stderr(), "{failure}");
    ExitCode::FAILURE
}
