use std::convert::Infallible;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::tungstenite::handshake::server::create_response;
use tracing::debug;

use super::rooms::{Feed, Ticket};
use super::route::{Names, token};
use super::{Phase, Shared, access};
use crate::clock::WallClock;

/// A file that a relay gives to browsers, beside the signalling. See [`RelayBuilder::pages`](super::RelayBuilder::pages).
///
/// It may load what comes from the same origin, and nothing else: that is what the header `Content-Security-Policy` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// The path at which it is asked for, such as `/` or `/style.css`.
    pub path: &'static str,
    /// Its `Content-Type`.
    pub content_type: &'static str,
    /// What it holds.
    pub body: &'static [u8],
}

/// A connection that has a place in a room, and speaks WebSocket from now on.
pub(super) type Arrival = (Ticket, Feed, TokioIo<Upgraded>);

/// A connection that has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Guest {
    /// It was given a page, or turned away for another reason than its name. All is said.
    Visitor,
    /// It was neither a peer nor a visitor.
    Nobody,
}

/// Answers the one request of a connection. (hyper's own `keep_alive(false)` would take the upgrade out of the answer.)
pub(super) async fn greet(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    shared: &Shared,
) -> Result<Arrival, Guest> {
    let outcome = Mutex::new(Outcome::Guest(Guest::Nobody));
    let service = service_fn(|request| {
        let (response, what) = answer(request, shared);
        *outcome.lock().unwrap_or_else(PoisonError::into_inner) = what;
        async { Ok::<_, Infallible>(response) }
    });
    let served = http1::Builder::new()
        .max_buf_size(REQUEST_BUFFER)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await;
    if let Err(error) = served {
        debug!(%error, "not a peer");
        return Err(Guest::Nobody);
    }
    match outcome.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Outcome::Member(ticket, feed, upgrade) => match upgrade.await {
            Ok(upgraded) => Ok((ticket, feed, TokioIo::new(upgraded))),
            Err(_) => Err(Guest::Nobody),
        },
        Outcome::Guest(guest) => Err(guest),
    }
}

/// What the answer to a request leads to.
enum Outcome {
    Member(Ticket, Feed, OnUpgrade),
    Guest(Guest),
}

pub(super) type Answer = Response<Full<Bytes>>;

fn answer(request: Request<Incoming>, shared: &Shared) -> (Answer, Outcome) {
    if request.headers().contains_key(header::UPGRADE) {
        upgrade(request, shared)
    } else {
        page(request.method(), request.uri().path(), shared.pages)
    }
}

/// Lets a peer into its room.
fn upgrade(mut request: Request<Incoming>, shared: &Shared) -> (Answer, Outcome) {
    let upgrade = hyper::upgrade::on(&mut request);
    let (parts, _body) = request.into_parts();
    let query = parts.uri.query();
    let names = Names::of(query);
    let refused = names
        .as_ref()
        .and_then(|names| refuse(names, query, shared));
    let (Ok(accepted), Some(names)) = (create_response(&Request::from_parts(parts, ())), names)
    else {
        return (
            plain(StatusCode::BAD_REQUEST, USAGE),
            Outcome::Guest(Guest::Nobody),
        );
    };
    if let Some(refused) = refused {
        return (refused, Outcome::Guest(Guest::Visitor));
    }
    match shared.rooms.join(names.peer, names.room, &shared.limits) {
        Ok((ticket, feed)) => {
            let outcome = Outcome::Member(ticket, feed, upgrade);
            (accepted.map(|()| Full::default()), outcome)
        }
        Err(_full) => {
            shared.counters.room_full.add();
            let full = plain(StatusCode::SERVICE_UNAVAILABLE, "the room is full\n");
            (full, Outcome::Guest(Guest::Visitor))
        }
    }
}

/// What is answered to those who may not come in.
fn refuse(names: &Names, query: Option<&str>, shared: &Shared) -> Option<Answer> {
    if !matches!(*shared.phase.borrow(), Phase::Serving) {
        shared.counters.draining.add();
        return Some(plain(StatusCode::SERVICE_UNAVAILABLE, "draining\n"));
    }
    let key = shared.access.as_ref()?;
    let admitted = token(query).ok_or(access::Denied);
    let admitted = admitted.and_then(|token| key.admit(token, names, WallClock::seconds()));
    admitted.is_err().then(|| {
        shared.counters.unauthorized.add();
        plain(StatusCode::UNAUTHORIZED, "no valid access token\n")
    })
}

fn page(method: &Method, path: &str, pages: &'static [Page]) -> (Answer, Outcome) {
    let Some(page) = pages.iter().find(|page| page.path == path) else {
        return (
            plain(StatusCode::NOT_FOUND, "not found\n"),
            Outcome::Guest(Guest::Nobody),
        );
    };
    if !matches!(*method, Method::GET | Method::HEAD) {
        let refused = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET\n");
        return (refused, Outcome::Guest(Guest::Nobody));
    }
    let mut response = Response::new(Full::new(Bytes::from_static(page.body)));
    for (name, value) in [
        (header::CONTENT_TYPE, page.content_type),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::CACHE_CONTROL, "no-store"),
        (header::CONNECTION, "close"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ] {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    (response, Outcome::Guest(Guest::Visitor))
}

pub(super) fn plain(status: StatusCode, text: &'static str) -> Answer {
    answer_with(status, "text/plain", Bytes::from_static(text.as_bytes()))
}

/// The last answer of a connection.
pub(super) fn answer_with(status: StatusCode, content_type: &'static str, body: Bytes) -> Answer {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

const USAGE: &str = "connect to /?peer=ID or /?peer=ID&room=NAME\n";

/// Nothing from elsewhere, nothing inline, and no frame around it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
    connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// The longest request head. The least that hyper takes.
pub(super) const REQUEST_BUFFER: usize = 8 * 1_024;
