use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tracing::debug;

use super::http::{Answer, REQUEST_BUFFER, answer_with, plain};
use super::{RelayStats, Shared};
use crate::exposition::{self, ByCause, Family, count, counter, gauge, seconds, size};

/// Answers the one request of a connection.
pub(super) async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    let service = service_fn(|request| {
        let response = answer(&request, &shared);
        async { Ok::<_, Infallible>(response) }
    });
    let serving = http1::Builder::new()
        .max_buf_size(REQUEST_BUFFER)
        .serve_connection(TokioIo::new(stream), service);
    match timeout(shared.limits.hello, serving).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(%error, "no request"),
        Err(error) => debug!(%error, "no request"),
    }
}

fn answer<T>(request: &Request<T>, shared: &Shared) -> Answer {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return plain(StatusCode::METHOD_NOT_ALLOWED, "only GET\n");
    }
    match request.uri().path() {
        "/health" => match shared.health() {
            Ok(()) => plain(StatusCode::OK, "ok\n"),
            Err(reason) => plain(StatusCode::SERVICE_UNAVAILABLE, reason),
        },
        "/metrics" => {
            let body = Bytes::from(encode(shared));
            answer_with(StatusCode::OK, exposition::CONTENT_TYPE, body)
        }
        _ => plain(StatusCode::NOT_FOUND, "not found\n"),
    }
}

/// The figures as text.
fn encode(shared: &Shared) -> String {
    let figures = Figures {
        stats: shared.stats(),
        open: shared.places.open(),
        bus_up: shared.bus.as_ref().map(|link| link.borrow().up),
        uptime: shared.started.elapsed(),
    };
    exposition::encode(|text| {
        for family in &FAMILIES {
            family.write_head(text)?;
            family.write_sample(text, "", &figures)?;
        }
        if let Some(up) = figures.bus_up {
            NATS.write_head(text)?;
            NATS.write_sample(text, "", &up)?;
        }
        REFUSED.write(text, &figures.stats)?;
        DROPPED.write(text, &figures.stats)
    })
}

/// What is told.
struct Figures {
    stats: RelayStats,
    open: usize,
    bus_up: Option<bool>,
    uptime: Duration,
}

const FAMILIES: [Family<Figures>; 9] = [
    gauge("bowline_relay_peers", "Peers in all rooms.", |f| {
        size(f.stats.peers)
    }),
    gauge("bowline_relay_connections", "Open connections.", |f| {
        size(f.open)
    }),
    gauge(
        "bowline_relay_servers",
        "Other servers that were heard lately.",
        |f| size(f.stats.servers),
    ),
    gauge(
        "bowline_relay_uptime_seconds",
        "How long the relay has run.",
        |f| seconds(Some(f.uptime)),
    ),
    counter(
        "bowline_relay_accepted_connections",
        "Connections accepted.",
        |f| count(f.stats.accepted),
    ),
    counter(
        "bowline_relay_replaced_connections",
        "Connections whose name another one took.",
        |f| count(f.stats.replaced),
    ),
    counter(
        "bowline_relay_broken_connections",
        "Connections ended by a message too long or a frame against RFC 6455.",
        |f| count(f.stats.broken),
    ),
    counter(
        "bowline_relay_forwarded_messages",
        "Messages put into the queue of their peer.",
        |f| count(f.stats.forwarded),
    ),
    counter(
        "bowline_relay_published_messages",
        "Messages handed on for a peer at another server.",
        |f| count(f.stats.published),
    ),
];

/// Where there are other servers.
const NATS: Family<bool> = gauge(
    "bowline_relay_nats_connected",
    "Whether there is a connection to NATS.",
    |up| count((*up).into()),
);

const REFUSED: ByCause<RelayStats> = ByCause {
    family: counter(
        "bowline_relay_refused_connections",
        "Connections refused, by cause.",
        |refused| count(*refused),
    ),
    causes: &[
        ("limit", |s| s.refused),
        ("address", |s| s.refused_address),
        ("access", |s| s.unauthorized),
        ("draining", |s| s.draining),
        ("unnamed", |s| s.unnamed),
        ("room_full", |s| s.room_full),
    ],
};

const DROPPED: ByCause<RelayStats> = ByCause {
    family: counter(
        "bowline_relay_dropped_messages",
        "Messages dropped, by cause.",
        |dropped| count(*dropped),
    ),
    causes: &[
        ("bus", |s| s.bus_lost),
        ("unknown_destination", |s| s.unknown_destination),
        ("queue_full", |s| s.queue_full),
        ("malformed", |s| s.malformed),
        ("wrong_sender", |s| s.wrong_sender),
        ("too_fast", |s| s.too_fast),
    ],
};
