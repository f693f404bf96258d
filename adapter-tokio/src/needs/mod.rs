//! What the core cannot do itself: names are resolved and TCP connections opened here, each in a task of its own, so that
//! nothing of it holds the driver up. Further UDP sockets are bound by [`Sockets`](crate::socket::Sockets).

mod stream;
#[cfg(test)]
mod tests;
mod tls;

use std::collections::BTreeMap;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bowline::{Input, Need, NeedId};
use tokio::net::lookup_host;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tracing::debug;

use stream::Outgoing;
pub(crate) use stream::{Stream, open};
pub(crate) use tls::{Tls, Untrusted};

/// The needs that are being carried out, and the streams that are open.
pub(crate) struct Needs {
    tls: Arc<Tls>,
    jobs: BTreeMap<NeedId, Job>,
    answering: mpsc::Sender<Answer>,
    answers: mpsc::Receiver<Answer>,
}

/// A task for one need.
struct Job {
    /// What the stream has to send; nobody listens while a name is resolved.
    outgoing: Outgoing,
    /// The task ends when this is dropped; a stream first sends what it has, for a moment.
    _wanted: oneshot::Sender<()>,
}

/// What became of a need.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The addresses of a name, at most [`Need::MAX_ADDRESSES`].
    Resolved(NeedId, Vec<IpAddr>),
    /// A stream is open, at this address of ours.
    Opened(NeedId, SocketAddr),
    /// Bytes that a stream brought.
    Data(NeedId, Vec<u8>),
    /// A stream could not be opened, or is over.
    Closed(NeedId),
}

impl Answer {
    /// The answer as the core takes it.
    pub(crate) fn input(&self) -> Input<'_> {
        match self {
            Self::Resolved(need, addresses) => Input::Resolved {
                need: *need,
                addresses,
            },
            Self::Opened(need, local) => Input::StreamOpened {
                need: *need,
                local: *local,
            },
            Self::Data(need, contents) => Input::StreamData {
                need: *need,
                contents,
            },
            Self::Closed(need) => Input::StreamClosed { need: *need },
        }
    }

    fn need(&self) -> NeedId {
        match self {
            Self::Resolved(need, _)
            | Self::Opened(need, _)
            | Self::Data(need, _)
            | Self::Closed(need) => *need,
        }
    }

    /// Whether nothing more comes for this need.
    fn is_last(&self) -> bool {
        match self {
            Self::Resolved(..) | Self::Closed(_) => true,
            Self::Opened(..) | Self::Data(..) => false,
        }
    }
}

impl Needs {
    /// Opens TLS streams as `tls` says.
    pub(crate) fn new(tls: Tls) -> Self {
        let (answering, answers) = mpsc::channel(MAX_ANSWERS);
        Self {
            tls: Arc::new(tls),
            jobs: BTreeMap::new(),
            answering,
            answers,
        }
    }

    /// Carries out what can be done aside. Needs a tokio runtime.
    ///
    /// # Errors
    ///
    /// The address at which a socket is to be bound: that is the driver's.
    pub(crate) fn carry_out(&mut self, need: Need) -> Result<(), (NeedId, IpAddr)> {
        match need {
            Need::Resolve { need, host } => self.resolve(need, host),
            Need::Connect { need, remote, tls } => self.connect(need, remote, tls),
            Need::Close { need } => self.close(need),
            Need::Bind { need, ip } => return Err((need, ip)),
            other => debug!(?other, "the core needs something unknown"),
        }
        Ok(())
    }

    /// Looks a name up; an answer comes after [`LOOKUP_PATIENCE`] at the latest.
    fn resolve(&mut self, need: NeedId, host: String) {
        let (answering, wanted) = (self.answering.clone(), self.begin(need).1);
        tokio::spawn(while_wanted(wanted, async move {
            let addresses = look_up(&host).await;
            debug!(%need, found = addresses.len(), "a name was looked up");
            // It fails when the driver is gone.
            let _ = answering.send(Answer::Resolved(need, addresses)).await;
        }));
    }

    /// Opens a stream, with TLS inside for the server of that name or address.
    fn connect(&mut self, need: NeedId, remote: SocketAddr, tls: Option<String>) {
        let answering = self.answering.clone();
        let (outgoing, wanted) = self.begin(need);
        let server = tls.map(|name| (Arc::clone(&self.tls), name));
        tokio::spawn(stream::run(
            need, remote, server, outgoing, answering, wanted,
        ));
    }

    /// Queues whole messages for a stream. Drops all of them when it has no room or is not open.
    pub(crate) fn send(&mut self, need: NeedId, contents: &[u8]) {
        let queued = self
            .jobs
            .get(&need)
            .is_some_and(|job| job.outgoing.push(contents));
        if !queued {
            debug!(
                %need,
                "a stream is full or gone: what it should send is lost"
            );
        }
    }

    /// Gives a need up. No answer to it comes any more.
    fn close(&mut self, need: NeedId) {
        self.jobs.remove(&need);
    }

    /// Gives all streams up, as when the machine has left its network: each answer says that it is closed.
    pub(crate) fn close_all(&mut self) -> Vec<Answer> {
        let jobs = std::mem::take(&mut self.jobs);
        let (streams, lookups): (BTreeMap<_, _>, _) = jobs
            .into_iter()
            .partition(|(_, job)| job.outgoing.is_stream());
        self.jobs = lookups;
        streams.into_keys().map(Answer::Closed).collect()
    }

    /// Waits for an answer. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Answer {
        loop {
            // There is always one sender: that of `self`.
            if let Some(answer) = self.answers.recv().await
                && self.admit(&answer)
            {
                return answer;
            }
        }
    }

    /// An answer that waits, if there is one.
    pub(crate) fn try_next(&mut self) -> Option<Answer> {
        loop {
            let answer = self.answers.try_recv().ok()?;
            if self.admit(&answer) {
                return Some(answer);
            }
        }
    }

    /// Whether an answer is wanted still. The job is over after the last.
    fn admit(&mut self, answer: &Answer) -> bool {
        if answer.is_last() {
            self.jobs.remove(&answer.need()).is_some()
        } else {
            self.jobs.contains_key(&answer.need())
        }
    }
}

async fn while_wanted(wanted: oneshot::Receiver<()>, work: impl Future<Output = ()>) {
    tokio::select! {
        () = work => {}
        _ = wanted => {}
    }
}

/// The addresses of a host, in the order of the system; none when it has none or the system takes too long.
async fn look_up(host: &str) -> Vec<IpAddr> {
    let Ok(Ok(found)) = timeout(LOOKUP_PATIENCE, lookup_host((host, 0))).await else {
        return Vec::new();
    };
    let mut addresses = Vec::new();
    for ip in found.map(|address| address.ip().to_canonical()) {
        if !addresses.contains(&ip) {
            addresses.push(ip);
        }
    }
    bounded(addresses)
}

/// At most [`Need::MAX_ADDRESSES`], and of both families where there are both: the first of the second family takes the
/// last place.
fn bounded(mut addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    let first = addresses.first().is_some_and(IpAddr::is_ipv4);
    let other = addresses.iter().position(|ip| ip.is_ipv4() != first);
    if let Some(other) = other.filter(|other| *other >= Need::MAX_ADDRESSES) {
        addresses.swap(other, Need::MAX_ADDRESSES - 1);
    }
    addresses.truncate(Need::MAX_ADDRESSES);
    addresses
}

/// Answers that wait for the driver. At the bound the streams are not read, and so the other side waits.
const MAX_ANSWERS: usize = 64;
/// How long the system may take to resolve a name: beyond what resolvers take to try two servers.
const LOOKUP_PATIENCE: Duration = Duration::from_secs(10);
