//! What str0m needs from outside for its cryptography, made ours: cached, bounded, repeatable.
//!
//! One [`Crypto`] per endpoint holds the certificate and a DTLS configuration that was validated once (validating it
//! for each session costs more than the handshake). One [`SessionCrypto`] per session holds what belongs to a single
//! peer. Every call into `str0m::Rtc` runs inside [`SessionCrypto::enter`].
//!
//! # Why a scoped thread-local is sound here
//!
//! str0m makes a DTLS instance through `DtlsProvider::new_dtls`, a method of a `&'static` value that is told nothing of
//! the session, and takes its random numbers from fastrand's thread-local generator. There is no parameter
//! to hand either through, so `enter` places both in thread-locals for the length of one call:
//!
//! - *Scoped*: what was there before is put back when the call ends, by unwinding too, so that nested sessions and the
//!   caller's own use of fastrand are unaffected. Outside a scope there is no context, and no instance is made.
//! - *Same thread*: `enter` is a plain call. str0m neither spawns nor suspends, so what runs inside it runs on this
//!   thread before it returns. Endpoints may move between threads between calls; nothing stays behind.
//! - *Deterministic*: each call starts from the next value of the session's own generator, so what str0m draws depends
//!   on the seed and the calls made on that session, not on other sessions, the thread or the process.
//! - *Unpredictable*: fastrand's 64-bit state can be recovered from its output, but only for the call in which that
//!   output was drawn; the next call starts from a value of the CSPRNG.
//!
//! # What stays random
//!
//! DTLS key exchange, signatures and hello randoms come from the operating system through aws-lc and `rand`; their
//! sizes and times do not vary ([`certificate`], [`timer`]). One exception: DTLS 1.3 renews its keys after
//! 6 to 8 million records, at a random one.

mod attempt;
mod certificate;
mod convoy;
mod dtls;
mod guard;
mod held;
mod owner;
mod retransmitted;
mod sctp;
#[cfg(feature = "simulation")]
pub mod simulation;
mod timer;
mod window;

use std::cell::RefCell;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use str0m_proto::crypto::dtls::{DtlsCert, DtlsInstance, DtlsProvider};
use str0m_proto::crypto::{CryptoError, CryptoProvider, DtlsVersion};
use thiserror::Error;
use zeroize::Zeroize;

use crate::config::{Timing, Transport};
use crate::event::PeerFault;
use crate::id::PeerId;
use crate::rng::Rng;

use convoy::Convoy;
use dtls::{Dimpl, Instance};
use guard::SctpGuard;
use owner::Owner;
pub(crate) use retransmitted::Retransmitted;
use retransmitted::Tally;
use sctp::{MARKER_LEN, marker_message};
use window::Window;

/// The cryptography that all sessions of an endpoint share.
pub(crate) struct Crypto {
    engine: Engine,
    provider: Arc<CryptoProvider>,
    certificate: DtlsCert,
    fingerprint: String,
    /// Whether peers are keys, so that certificates have owners.
    is_keyed: bool,
    retry: Duration,
    mtu: usize,
}

/// The SHA-256 (FIPS 180-4) of `bytes`.
pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let standard = str0m::crypto::from_feature_flags();
    standard.sha256_provider.sha256(bytes)
}

/// An endpoint's cryptography that could not be made.
#[derive(Debug, Error)]
pub(crate) enum SetupError {
    #[error("the certificate could not be made: {0}")]
    Certificate(#[from] rcgen::Error),
    #[error("the dtls configuration is invalid: {0}")]
    Dtls(#[from] dimpl::Error),
}

impl Crypto {
    /// Makes a certificate, of `owner` where peers are keys, and validates the DTLS configuration. The first call in a process takes some 60 ms of CPU
    /// time, which aws-lc spends on seeding its generator.
    pub(crate) fn new(
        owner: Option<PeerId>,
        transport: &Transport,
        timing: &Timing,
        rng: &mut Rng,
    ) -> Result<Self, SetupError> {
        let engine = Engine::Dimpl(Arc::new(dtls_config(transport, timing)?));
        let name = owner.map_or("WebRTC".to_owned(), owner::name_of);
        let certificate = certificate::self_signed(&name, rng)?;
        let owned = (certificate, owner.is_some());
        Ok(Self::with(engine, owned, transport, timing))
    }

    /// DTLS BY `provider`, WHICH MUST BE TAKEN TO HAVE NO SECURITY WHATSOEVER. For simulators only.
    ///
    /// The certificate is nothing but random bytes, whose fingerprint the peer can compare, and the name of its owner.
    #[cfg(feature = "simulation")]
    pub(crate) fn simulated(
        provider: &'static dyn DtlsProvider,
        owner: Option<PeerId>,
        transport: &Transport,
        timing: &Timing,
        rng: &mut Rng,
    ) -> Self {
        tracing::warn!("DTLS IS SIMULATED: NOTHING IS ENCRYPTED OR AUTHENTICATED");
        let random: [u8; 32] = rng.bytes();
        let name = owner.map(owner::name_of).unwrap_or_default();
        let certificate = DtlsCert {
            certificate: [&random[..], name.as_bytes()].concat(),
            private_key: Vec::new(),
        };
        let owned = (certificate, owner.is_some());
        Self::with(Engine::Simulated(provider), owned, transport, timing)
    }

    fn with(
        engine: Engine,
        (certificate, is_keyed): (DtlsCert, bool),
        transport: &Transport,
        timing: &Timing,
    ) -> Self {
        let standard = str0m::crypto::from_feature_flags();
        let hash = standard.sha256_provider.sha256(&certificate.certificate);
        let provider = Arc::new(CryptoProvider {
            dtls_provider: &SCOPED_DTLS,
            ..standard
        });
        Self {
            engine,
            provider,
            fingerprint: colon_separated(&hash),
            certificate,
            is_keyed,
            retry: timing.dtls_retry,
            mtu: transport.mtu,
        }
    }

    /// What one session needs, with its own stream of random values. `max_streams` bounds the streams that its
    /// peer may use.
    pub(crate) fn session(&self, max_streams: usize, mut rng: Rng) -> SessionCrypto {
        let shared = Arc::new(Shared {
            marker: rng.bytes(),
            marker_in_use: AtomicBool::new(false),
            hold_retransmissions: AtomicBool::new(false),
            fault: OnceLock::new(),
            expected: OnceLock::new(),
            owner: OnceLock::new(),
            wrong_certificate: AtomicBool::new(false),
            delivered: AtomicU64::new(0),
            retransmitted: Tally::default(),
            convoy: Convoy::default(),
            window: Window::new(),
        });
        let context = Context {
            engine: self.engine.clone(),
            shared: Arc::clone(&shared),
            retry: self.retry,
            mtu: self.mtu,
            max_streams,
        };
        SessionCrypto {
            context: Some(context),
            is_keyed: self.is_keyed,
            shared,
            rng,
        }
    }

    /// For `RtcConfig::set_crypto_provider`. The `Rtc` must be built inside [`SessionCrypto::enter`].
    pub(crate) fn provider(&self) -> Arc<CryptoProvider> {
        Arc::clone(&self.provider)
    }

    /// For `RtcConfig::set_dtls_cert`.
    pub(crate) fn certificate(&self) -> DtlsCert {
        self.certificate.clone()
    }

    /// The SHA-256 fingerprint of the certificate as RFC 8122 section 5 writes it: `AB:CD:..`.
    pub(crate) fn fingerprint(&self) -> &str {
        &self.fingerprint
    }
}

impl fmt::Debug for Crypto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Crypto")
            .field("fingerprint", &self.fingerprint)
            .finish_non_exhaustive()
    }
}

impl Drop for Crypto {
    fn drop(&mut self) {
        self.certificate.private_key.zeroize();
    }
}

/// The cryptography of one session.
pub(crate) struct SessionCrypto {
    /// `None` only while it is in the thread's slot, that is inside [`SessionCrypto::enter`].
    context: Option<Context>,
    is_keyed: bool,
    shared: Arc<Shared>,
    rng: Rng,
}

impl SessionCrypto {
    /// Runs `f`, which may call into this session's `Rtc`, with this session's context and random numbers in place.
    pub(crate) fn enter<R>(&mut self, f: impl FnOnce() -> R) -> R {
        let _scope = Scope::new(self);
        f()
    }

    /// The message to write in place of an empty one, which never reaches the wire as such.
    ///
    /// The bytes are secret: whoever knew them could have the peer told of empty messages that were not empty.
    pub(crate) fn empty_message_marker(&self, text: bool) -> [u8; MARKER_LEN + 1] {
        self.shared.marker_in_use.store(true, Ordering::Relaxed);
        marker_message(&self.shared.marker, text)
    }

    /// Keeps DTLS from repeating itself while there is no path (ICE is not connected), or lets it again.
    ///
    /// str0m starts DTLS with the answer and keeps what it cannot send. Held flights do not use up their
    /// retries, and their interval runs from the moment the path is there.
    pub(crate) fn hold_retransmissions(&self, hold: bool) {
        self.shared
            .hold_retransmissions
            .store(hold, Ordering::Relaxed);
    }

    /// The peer's certificate has one of these SHA-256 fingerprints, as its first description says. Later ones say the same.
    pub(crate) fn expect_certificate(&self, fingerprints: Vec<Vec<u8>>) {
        self.shared.expected.get_or_init(|| fingerprints);
    }

    /// The peer's certificate belongs to `peer`, where peers are keys. Those of bowline peers say so.
    pub(crate) fn expect_owner(&self, peer: PeerId, is_bowline: bool) {
        if self.is_keyed {
            self.shared
                .owner
                .get_or_init(|| Owner::new(peer, is_bowline));
        }
    }

    /// Whether a certificate came since the last call that is not the announced one.
    pub(crate) fn take_wrong_certificate(&self) -> bool {
        self.shared.wrong_certificate.swap(false, Ordering::Relaxed)
    }

    /// SCTP has handed up so many messages of the peer.
    pub(crate) fn on_delivered(&self, messages: u64) {
        self.shared.delivered.fetch_add(messages, Ordering::Relaxed);
    }

    /// What SCTP has sent again since the last call, if anything.
    pub(crate) fn take_retransmitted(&self) -> Option<Retransmitted> {
        self.shared.retransmitted.take()
    }

    /// There is `room` for bytes of the peer. Returns whether it should be told at once, because that is `step` more than
    /// it knows: then str0m's output is to be polled. When the window `is_shut`, none of its data is let in.
    pub(crate) fn limit_window(&self, room: u32, step: u32, is_shut: bool) -> bool {
        self.shared.window.set_room(room, step, is_shut)
    }

    /// Takes the secured datagrams that are to follow one that str0m has just sent.
    pub(crate) fn followers(&self) -> impl FnMut() -> Vec<Vec<u8>> + use<> {
        let shared = Arc::clone(&self.shared);
        move || shared.convoy.take()
    }

    /// The rule of SCTP that the peer broke, if it did. From then on nothing of what it sends is passed on.
    pub(crate) fn fault(&self) -> Option<PeerFault> {
        self.shared.fault.get().copied()
    }
}

impl fmt::Debug for SessionCrypto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionCrypto")
            .field("fault", &self.fault())
            .finish_non_exhaustive()
    }
}

/// Puts a session's context and randomness in place, and what was there before back when dropped.
struct Scope<'a> {
    home: &'a mut Option<Context>,
    outer: Option<Context>,
    outer_fastrand: u64,
}

impl<'a> Scope<'a> {
    fn new(session: &'a mut SessionCrypto) -> Self {
        let outer_fastrand = fastrand::get_seed();
        fastrand::seed(session.rng.u64());
        let outer = CONTEXT.replace(session.context.take());
        Self {
            home: &mut session.context,
            outer,
            outer_fastrand,
        }
    }
}

impl Drop for Scope<'_> {
    fn drop(&mut self) {
        *self.home = CONTEXT.replace(self.outer.take());
        fastrand::seed(self.outer_fastrand);
    }
}

thread_local! {
    /// The session in whose scope this thread is.
    static CONTEXT: RefCell<Option<Context>> = const { RefCell::new(None) };
}

/// What it takes to make a session's DTLS instance.
struct Context {
    engine: Engine,
    shared: Arc<Shared>,
    retry: Duration,
    mtu: usize,
    max_streams: usize,
}

impl Context {
    fn new_dtls(
        &self,
        certificate: &DtlsCert,
        now: Instant,
        version: DtlsVersion,
    ) -> Result<Instance, CryptoError> {
        let maker = Maker {
            engine: self.engine.clone(),
            certificate: certificate.clone(),
            version,
            mtu: self.mtu,
            retry: self.retry,
        };
        let guard = SctpGuard::new(self.max_streams);
        Instance::new(maker, guard, Arc::clone(&self.shared), now)
    }
}

/// Makes the DTLS instances of one session, one for each attempt at the handshake.
struct Maker {
    engine: Engine,
    certificate: DtlsCert,
    version: DtlsVersion,
    mtu: usize,
    /// After which interval a flight is repeated first.
    retry: Duration,
}

impl Maker {
    fn make(&self, now: Instant) -> Result<Box<dyn DtlsInstance>, CryptoError> {
        match &self.engine {
            Engine::Dimpl(config) => {
                let dimpl = Dimpl::new(config, &self.certificate, now, self.version)?;
                Ok(Box::new(dimpl))
            }
            #[cfg(feature = "simulation")]
            Engine::Simulated(provider) => {
                provider.new_dtls(&self.certificate, now, self.version, Some(self.mtu))
            }
        }
    }
}

impl Drop for Maker {
    fn drop(&mut self) {
        self.certificate.private_key.zeroize();
    }
}

/// What makes DTLS instances.
#[derive(Clone)]
enum Engine {
    Dimpl(Arc<dimpl::Config>),
    #[cfg(feature = "simulation")]
    Simulated(&'static dyn DtlsProvider),
}

/// What a session and its DTLS instance, which str0m owns, tell each other.
struct Shared {
    marker: [u8; MARKER_LEN],
    /// Whether packets on their way out are searched for markers.
    marker_in_use: AtomicBool,
    hold_retransmissions: AtomicBool,
    fault: OnceLock<PeerFault>,
    /// The SHA-256 fingerprints that the peer has announced.
    expected: OnceLock<Vec<Vec<u8>>>,
    /// Who must have made the peer's certificate.
    owner: OnceLock<Owner>,
    /// Whether another certificate came, and nobody was told yet.
    wrong_certificate: AtomicBool,
    /// Messages of the peer that SCTP has handed up.
    delivered: AtomicU64,
    retransmitted: Tally,
    convoy: Convoy,
    window: Window,
}

impl Shared {
    /// Whether a certificate is the announced one, as far as it is known. str0m compares it, too.
    fn on_wrong_certificate(&self) {
        self.wrong_certificate.store(true, Ordering::Relaxed);
    }

    /// Whether the peer can have made a certificate. str0m knows nothing of that.
    fn is_the_peers(&self, der: &[u8]) -> bool {
        self.owner.get().is_none_or(|owner| owner.can_have(der))
    }

    fn is_expected(&self, der: &[u8]) -> bool {
        if !self.is_the_peers(der) {
            return false;
        }
        let Some(expected) = self.expected.get() else {
            return true;
        };
        let fingerprint = sha256(der);
        expected.is_empty() || expected.iter().any(|known| *known == fingerprint)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.marker.zeroize();
    }
}

/// Makes the DTLS instance of the session in whose scope it is called.
#[derive(Debug)]
struct ScopedDtls;

static SCOPED_DTLS: ScopedDtls = ScopedDtls;

impl DtlsProvider for ScopedDtls {
    /// Certificates belong to the endpoint, which always gives its own.
    fn generate_certificate(&self) -> Option<DtlsCert> {
        None
    }

    /// The MTU is that of the endpoint's cached configuration, whatever str0m asks for.
    fn new_dtls(
        &self,
        certificate: &DtlsCert,
        now: Instant,
        version: DtlsVersion,
        _mtu: Option<usize>,
    ) -> Result<Box<dyn DtlsInstance>, CryptoError> {
        CONTEXT.with_borrow(|context| match context {
            Some(context) => Ok(Box::new(context.new_dtls(certificate, now, version)?) as Box<_>),
            None => Err(CryptoError::Other("no session is in scope".into())),
        })
    }
}

fn dtls_config(transport: &Transport, timing: &Timing) -> Result<dimpl::Config, dimpl::Error> {
    dimpl::Config::builder()
        .with_crypto_provider(certificate::dtls_crypto())
        .mtu(transport.mtu)
        .flight_start_rto(timing.dtls_retry)
        .flight_retries(FLIGHT_RETRIES)
        // The session's own deadlines end a handshake that takes too long.
        .handshake_timeout(NEVER)
        .max_queue_rx(dtls::MAX_QUEUED_DATAGRAMS)
        // ICE has verified that the peer receives what is sent to its address (RFC 8445), which is what a cookie shows.
        .use_server_cookie(false)
        .build()
}

/// RFC 2104 with SHA-1, as STUN has it.
pub(crate) fn hmac_sha1(key: &[u8], parts: &[&[u8]]) -> [u8; 20] {
    let provider = str0m::crypto::from_feature_flags().sha1_hmac_provider;
    provider.sha1_hmac(key, parts)
}

fn colon_separated(bytes: &[u8]) -> String {
    let pairs: Vec<String> = bytes.iter().map(|byte| format!("{byte:02X}")).collect();
    pairs.join(":")
}

/// How often one flight is repeated. With intervals of up to 2 s this outlasts any connect timeout of sense.
const FLIGHT_RETRIES: usize = 20;
/// The longest that dimpl accepts.
const NEVER: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

#[cfg(test)]
mod tests;
