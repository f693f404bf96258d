/**
 * bowline.js: bowline's rooms in a browser, with the browser's own RTCPeerConnection.
 *
 * Copy it, with `seal.js` beside it; they need nothing else. It speaks bowline's signalling envelopes over the WebSocket of
 * `bowline serve`, connects to everybody in a room (other pages and bowline peers alike), and gives you the four channel
 * kinds and files with progress, a checksum and a bound on what is under way.
 *
 *     import { Room } from "./bowline.js";
 *
 *     const room = new Room({ url: "ws://localhost:9000", room: "lobby", id: "ann" });
 *     room.addEventListener("state", ({ detail }) => console.log(detail.peer.id, detail.state, detail.cause));
 *     room.addEventListener("message", ({ detail }) => console.log(detail.peer.id, detail.kind, detail.data));
 *     room.addEventListener("file", async ({ detail }) => save(await detail.file.accept()));
 *     room.peers.get("bob")?.send("reliable", "hello");
 *     await room.peers.get("bob")?.sendFile(input.files[0], { onProgress: ({ acknowledged }) => show(acknowledged) });
 *
 * What to know:
 *
 * - A peer is kept for each name that is present. Of two, the one with the lower name offers. A connection that breaks is
 *   repaired by ICE restarts, and begun anew when that does not help, as long as the other is present.
 * - `send` puts a message into the browser's buffer or throws a `BowlineError`. What a connection had not delivered when it
 *   ended is lost with it, and the `state` event says that it ended.
 * - With an `identity` a peer is a key, its id is the public key, and signalling is sealed from one to the other. Without,
 *   signalling is plain: a peer is who the relay says it is. The two do not mix. Everything that a peer says is untrusted:
 *   show it with `textContent`.
 * - A file is handed over only after its checksum matched. It is kept in a Blob until then, so what a page can receive is
 *   bounded by `maxFileSize`.
 */

import { MAX_SIGNAL, isKey, parseObject, readRollover } from "./seal.js";

export { Identity, isKey } from "./seal.js";

/** @typedef {"control" | "reliable" | "unreliable" | "file"} Kind A channel that every connection has. */
/** @typedef {"new" | "connecting" | "connected" | "disconnected" | "failed" | "closed"} State The life of a peer. */

/**
 * @typedef {object} Envelope One signalling message, see core/src/signal/envelope.rs.
 * @property {1} v
 * @property {string} from
 * @property {string} to
 * @property {string} session
 * @property {number} generation
 * @property {number} seq
 * @property {"offer" | "answer" | "ice-candidate" | "end-of-candidates" | "ice-restart" | "bye" | "ack"} type
 * @property {string} [sdp]
 * @property {string[]} [replaces]
 * @property {{version: number, max_message_size: number}} [bowline]
 * @property {string} [candidate]
 * @property {string} [ufrag]
 * @property {"closed" | "refused" | "busy" | "unknown-session" | "failed"} [reason]
 * @property {number} [ack]
 * @property {number} [time] When this copy was sent, in milliseconds since 1970 by the sender's clock.
 */

/**
 * Why something was refused or ended. `code` is for programs:
 *
 * - of `Room`: `name` (an id or room that is none), `url`
 * - of `send`: `not-connected`, `full` (the buffer: wait for `writable`), `too-large`
 * - of files: `declined`, `name`, `size`, `busy`, `storage`, `checksum`, `protocol`, `cancelled`, `source` (the file cannot
 *   be read), `disconnected` (the connection ended)
 */
export class BowlineError extends Error {
  /**
   * @param {string} code
   * @param {string} message
   * @param {ErrorOptions} [options]
   */
  constructor(code, message, options) {
    super(message, options);
    this.name = "BowlineError";
    this.code = code;
  }
}

/** The four kinds, in the order of their ids. @type {readonly Kind[]} */
export const KINDS = Object.freeze(["control", "reliable", "unreliable", "file"]);

// ---------------------------------------------------------------------------------------------------------------------
// Room
// ---------------------------------------------------------------------------------------------------------------------

/**
 * A room at a relay, and a connection to everybody in it.
 *
 * Events (all are `CustomEvent`s):
 *
 * | event | detail |
 * | --- | --- |
 * | `link` | `{up, error}`: the WebSocket came up or went down. `error` is `"replaced"` when another connection took our name: it stays down until `rejoin()` |
 * | `presence` | `{peers}`: the ids of all that are present, ourselves included |
 * | `peer` | `{peer}`: a `Peer` that is new here |
 * | `gone` | `{peer}`: a `Peer` that is over, and not present any more |
 * | `state` | `{peer, state, cause}` |
 * | `message` | `{peer, kind, data}`: `data` is a string or an ArrayBuffer |
 * | `file` | `{peer, file}`: an `IncomingFile` to accept or to refuse |
 * | `refused` | `{id, reason}`: a signal that could not be opened, and whose it claims to be; see `Identity.open` |
 * | `rollover` | `{old, new, until}`: both keys have signed that the new one takes the place of the old one, and that both are in use until then. Told with what they send, so more than once |
 * | `channel` | `{peer, channel}`: a data channel beyond the four kinds, yours to use or to close |
 */
export class Room extends EventTarget {
  #link;
  #options;
  /** Who we are; null is a name only. @type {import("./seal.js").Identity | null} */
  #identity;
  /** Signals are opened, and closed, one after the other. */
  #opening = new Line();
  #closing = new Line();
  /** Whether the relay says which ICE servers to use. */
  #offersIce;
  /** What new connections use, and restarts of old ones. @type {RTCConfiguration} */
  #ice;
  /** Sessions that are over, with whom: what comes of them late changes nothing. @type {Set<string>} */
  #ended = new Set();
  #closed = false;
  #onPageHide = () => this.close();

  /**
   * Joins at once.
   *
   * @param {object} options
   * @param {string} options.url The relay, `ws://` or `wss://`.
   * @param {string} options.room 1 to 64 characters of `A-Z a-z 0-9 . _ -`.
   * @param {import("./seal.js").Identity} [options.identity] Who we are. Default a name only, with plain signalling.
   * @param {string} [options.id] Our name in the room, likewise, when there is no identity.
   * @param {RTCIceServer[]} [options.iceServers] STUN and TURN servers. Default those that the relay offers, if any.
   * @param {RTCIceTransportPolicy} [options.iceTransportPolicy] `relay` for ways through TURN servers only. Default `all`.
   * @param {number} [options.maxFileSize] The largest file that may be offered to us, in bytes. Default 2 GiB.
   * @throws {BowlineError} `name` or `url`.
   */
  constructor({ url, room, identity, id = identity?.id, iceServers, iceTransportPolicy = "all", maxFileSize = 2 ** 31 }) {
    super();
    for (const name of [room, id]) {
      if (!isName(name)) throw new BowlineError("name", `not a name: ${JSON.stringify(name)}`);
    }
    if (identity && identity.id !== id) throw new BowlineError("name", "an identity brings its own id");
    this.#identity = identity ?? null;
    this.id = id;
    this.name = room;
    /** Everybody that is, or was just now, connected or present, but us. @type {Map<string, Peer>} */
    this.peers = new Map();
    /** Who is present, as the relay said last. @type {readonly string[]} */
    this.present = [];
    this.#offersIce = iceServers === undefined;
    this.#ice = { iceServers: iceServers ?? [], iceTransportPolicy };
    this.#options = { maxFileSize };
    this.#link = new Link(linkUrl(url, room, id), {
      onText: (text) => this.#onText(text),
      onStatus: (up, error) => this.#onLink(up, error),
    });
    globalThis.addEventListener?.("pagehide", this.#onPageHide);
  }

  /** Whether the WebSocket is up. */
  get isUp() {
    return this.#link.isUp;
  }

  /** Connects to the relay again, at once: after our name was taken, or instead of waiting. */
  rejoin() {
    if (!this.#closed) this.#link.open();
  }

  /** Says goodbye to everybody and leaves. Nothing happens afterwards. */
  close() {
    if (this.#closed) return;
    this.#closed = true;
    globalThis.removeEventListener?.("pagehide", this.#onPageHide);
    for (const peer of this.peers.values()) peer.close();
    if (this.#identity) this.#closing.add(() => this.#link.close());
    else this.#link.close();
  }

  /** @param {string} text */
  #onText(text) {
    const presence = parsePresence(text);
    if (presence) return this.#onPresence(presence);
    const servers = parseIceServers(text);
    if (servers) return this.#onIceServers(servers);
    const identity = this.#identity;
    if (!identity) return this.#onMessage(text);
    // What finds no room comes again.
    if (this.#opening.length >= MAX_UNOPENED) return;
    this.#opening.add(async () => {
      const { message, refused, from } = await identity.open(text);
      const reason = refused ?? (await this.#tellRollover(message));
      if (reason) this.#emit("refused", { id: from, reason });
      else this.#onMessage(message);
    });
  }

  /**
   * Tells what a message says of the key of its sender: a new one offers a connection, an old one ends one.
   *
   * @param {string} message
   * @returns {Promise<"malformed" | null>} Why it is refused.
   */
  async #tellRollover(message) {
    const { from, type, rollover: text } = parseObject(message) ?? {};
    if (text === undefined) return null;
    const rollover = await readRollover(text);
    const isSenders = rollover && ((type === "offer" && rollover.new === from) || (type === "bye" && rollover.old === from));
    if (!isSenders) return "malformed";
    if (Date.now() < rollover.until) this.#emit("rollover", rollover);
    return null;
  }

  /** @param {string} text A message of version 1. */
  #onMessage(text) {
    const envelope = parseEnvelope(text);
    if (envelope && envelope.to === this.id && envelope.from !== this.id) this.#onEnvelope(envelope);
  }

  /** @param {RTCIceServer[]} iceServers */
  #onIceServers(iceServers) {
    if (!this.#offersIce) return;
    this.#ice = { ...this.#ice, iceServers };
    for (const peer of this.peers.values()) peer.onIceServers();
  }

  /** @param {string[]} present */
  #onPresence(present) {
    this.present = present;
    this.#emit("presence", { peers: present });
    for (const id of present) {
      const canBe = id !== this.id && (!this.#identity || isKey(id));
      if (canBe) this.#peer(id)?.onPresent();
    }
    for (const peer of [...this.peers.values()]) {
      if (!present.includes(peer.id)) peer.onAbsent();
    }
  }

  /** @param {Envelope} envelope */
  #onEnvelope(envelope) {
    const known = this.peers.get(envelope.from);
    if (known) return known.onEnvelope(envelope);
    // What is over with somebody who is gone is acknowledged; of what is new only an offer makes a peer.
    if (this.#ended.has(`${envelope.from}/${envelope.session}`) || envelope.type !== "offer") {
      return this.#replyToUnknown(envelope);
    }
    const peer = this.#peer(envelope.from);
    if (peer) peer.onEnvelope(envelope);
    else this.#send({ ...reply(envelope, "bye"), reason: "busy" });
  }

  /** @param {Envelope} envelope */
  #replyToUnknown(envelope) {
    const answer = replyToUnknown(envelope, this.#ended.has(`${envelope.from}/${envelope.session}`));
    if (answer) this.#send(answer);
  }

  /** @param {string} id */
  #peer(id) {
    const known = this.peers.get(id);
    if (known || this.#closed || this.peers.size >= MAX_PEERS) return known;
    const peer = new Peer(id, {
      own: this.id,
      ...this.#options,
      ice: () => this.#ice,
      send: (envelope) => this.#send(envelope),
      emit: (type, detail) => this.#emit(type, { peer, ...detail }),
      isPresent: () => this.present.includes(id),
      isUp: () => this.#link.isUp,
      bury: (session) => this.#bury(id, session),
      isOver: (session) => this.#ended.has(`${id}/${session}`),
      forget: () => {
        if (this.peers.get(id) !== peer) return;
        this.peers.delete(id);
        this.#emit("gone", { peer });
      },
    });
    this.peers.set(id, peer);
    this.#emit("peer", { peer });
    return peer;
  }

  /** @param {string} id @param {string} session */
  #bury(id, session) {
    this.#ended.add(`${id}/${session}`);
    if (this.#ended.size > MAX_ENDED) this.#ended.delete(/** @type {string} */ (this.#ended.values().next().value));
  }

  /** @param {boolean} up @param {string | null} error */
  #onLink(up, error) {
    this.#emit("link", { up, error });
    if (up) for (const peer of this.peers.values()) peer.onLinkUp();
  }

  /** @param {Envelope} envelope */
  #send(envelope) {
    const identity = this.#identity;
    if (identity) this.#closing.add(async () => this.#link.send(await identity.close(envelope)));
    else this.#link.send(JSON.stringify({ ...envelope, time: Date.now() }));
  }

  /** @param {string} type @param {object} detail */
  #emit(type, detail) {
    if (!this.#closed || type === "state") this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

// ---------------------------------------------------------------------------------------------------------------------
// Peer
// ---------------------------------------------------------------------------------------------------------------------

/**
 * @typedef {object} PeerStats
 * @property {{type: string, protocol: string, address: string} | null} local The candidate in use on our side.
 * @property {{type: string, protocol: string, address: string} | null} remote That of the other side.
 * @property {number | null} rtt Round trip time of the path, in milliseconds.
 * @property {number} sent Bytes.
 * @property {number} received Bytes.
 */

/**
 * @typedef {object} PeerHost What a peer needs of its room.
 * @property {string} own
 * @property {() => RTCConfiguration} ice
 * @property {number} maxFileSize
 * @property {(envelope: Envelope) => void} send
 * @property {(type: string, detail: object) => void} emit
 * @property {() => boolean} isPresent
 * @property {() => boolean} isUp
 * @property {(session: string) => void} bury
 * @property {(session: string) => boolean} isOver
 * @property {() => void} forget
 */

/**
 * Somebody in the room.
 *
 *     new --> connecting --> connected <--> disconnected
 *                |               |               |
 *                v               v               v
 *          failed | closed  (and connecting again, as long as both are present)
 *
 * `state`, and why: `cause` is one of `""`, `offered`, `answering`, `established`, `path-lost`, `timeout`, `closed` (by us),
 * `remote-closed`, `refused`, `busy`, `forgotten` (the other has no such session, it was reloaded perhaps), `replaced` (the
 * other began another session), `left`, `negotiation`, `channel` (a channel closed).
 */
export class Peer {
  #host;
  #negotiation;
  /** @type {Transport | null} */
  #transport = null;
  /** @type {Outbox | null} */
  #outbox = null;
  #inbox = new Inbox();
  #sightings = new Sightings();
  /** One thing after the other: the browser's operations on a connection are asynchronous. */
  #chain = Promise.resolve();
  #chained = 0;
  /** @type {Transfers} */
  #transfers;
  #timers = new Timers();
  #failures = 0;
  #closed = false;

  /**
   * @param {string} id
   * @param {PeerHost} host
   */
  constructor(id, host) {
    this.id = id;
    /** @type {State} */
    this.state = "new";
    this.cause = "";
    /** When it came into this state. */
    this.since = Date.now();
    /** How often ICE was restarted in this session. */
    this.restarts = 0;
    this.#host = host;
    this.#negotiation = new Negotiation(host.own, id, host.isOver, host.bury);
    this.#transfers = this.#newTransfers();
  }

  /**
   * Puts a message into the buffer of a channel.
   *
   * @param {Kind} kind `file` is for files; `control` carries their management, as texts whose `type` begins with `file-`.
   * @param {string | ArrayBuffer | ArrayBufferView} data
   * @throws {BowlineError} `not-connected`, `too-large` or `full`. Then nothing was sent.
   */
  send(kind, data) {
    const channel = this.#transport?.channels.get(kind);
    if (channel?.readyState !== "open") {
      throw new BowlineError("not-connected", `the channel ${kind} to ${this.id} is not open`);
    }
    const size = typeof data === "string" ? utf8.encode(data).length : data.byteLength;
    if (size > (this.#transport?.maxMessageSize ?? 0)) {
      throw new BowlineError("too-large", `${size} bytes are more than ${this.id} takes in one message`);
    }
    if (channel.bufferedAmount + size > MAX_BUFFERED) {
      throw new BowlineError("full", `too much waits for ${this.id} already`);
    }
    channel.send(/** @type {any} */ (data));
  }

  /**
   * Waits until a channel has room for more.
   *
   * @param {Kind} kind
   * @returns {Promise<void>} Rejected with `not-connected` when the channel is not open, or closes.
   */
  async writable(kind) {
    const channel = this.#transport?.channels.get(kind);
    const lost = () => new BowlineError("not-connected", `the channel ${kind} to ${this.id} is not open`);
    if (channel?.readyState !== "open") throw lost();
    if (channel.bufferedAmount <= HIGH_WATER) return;
    await new Promise((resolve, reject) => {
      const done = () => {
        channel.removeEventListener("bufferedamountlow", done);
        channel.removeEventListener("close", done);
        if (channel.readyState === "open") resolve(undefined);
        else reject(lost());
      };
      channel.addEventListener("bufferedamountlow", done);
      channel.addEventListener("close", done);
    });
  }

  /**
   * Offers a file and sends it when it is accepted.
   *
   * @param {Blob & {name?: string}} file
   * @param {object} [options]
   * @param {string} [options.name] Default the name of the file.
   * @param {(progress: {accepted: boolean, acknowledged: number, size: number}) => void} [options.onProgress]
   * @param {AbortSignal} [options.signal] Cancels it.
   * @returns {Promise<void>} Fulfilled when the receiver has all of it and has verified its checksum; rejected with a
   *   `BowlineError` when that will not be.
   */
  sendFile(file, options = {}) {
    return this.#transfers.send(file, options);
  }

  /** The state of each channel kind: `connecting`, `open`, `closing`, `closed`, or `none`. @returns {Record<Kind, string>} */
  get channels() {
    const state = (/** @type {Kind} */ kind) => this.#transport?.channels.get(kind)?.readyState ?? "none";
    return { control: state("control"), reliable: state("reliable"), unreliable: state("unreliable"), file: state("file") };
  }

  /** Whether the other is a bowline peer, as its description says; otherwise it is a page. */
  get isBowline() {
    return this.#transport?.isBowline ?? false;
  }

  /** @returns {Promise<PeerStats | null>} None when there is no connection. */
  async stats() {
    return this.#transport ? readStats(await this.#transport.pc.getStats()) : null;
  }

  /** Looks for a new path, or asks the other to. For a change of networks that only you know of. */
  restartIce() {
    this.#run(() => this.#restart());
  }

  /** Ends the connection. It is not begun again from here; an offer of the other still is answered, while it is present. */
  close() {
    this.#closed = true;
    this.#end("closed", "closed", "closed");
  }

  // What the room tells.

  onPresent() {
    this.#timers.clear("reconnect");
    if (isOver(this.state) || this.state === "new") this.#connectAgain();
  }

  onAbsent() {
    if (this.state === "connected") return; // Only its link to the relay is known to be down.
    this.#end("closed", "left", null);
  }

  onLinkUp() {
    this.#outbox?.resend();
  }

  /** @param {Envelope} envelope */
  onEnvelope(envelope) {
    if (envelope.type === "ack") {
      if (envelope.session === this.#outbox?.session) this.#outbox.onAck(/** @type {number} */ (envelope.ack));
    } else if (this.#chained < MAX_CHAINED) {
      this.#run(() => this.#handle(envelope));
    }
    // Beyond the bound it is not acknowledged, and so comes again.
  }

  // Negotiation.

  /** @param {() => Promise<void> | void} task */
  #run(task) {
    this.#chained += 1;
    const step = async () => {
      try {
        await task();
      } catch (error) {
        if (!(error instanceof Superseded)) this.#end("failed", "negotiation", "failed");
      } finally {
        this.#chained -= 1;
      }
    };
    this.#chain = this.#chain.then(step);
  }

  #connectAgain() {
    if (this.#closed || this.#host.own > this.id) return;
    this.#run(async () => {
      if (this.#negotiation.state !== "idle" || !this.#host.isPresent()) return;
      const session = freshSession();
      this.#negotiation.onConnect(session);
      this.#begin(session, "offered");
      await this.#offer(0);
    });
  }

  /** @param {Envelope} envelope */
  async #handle(envelope) {
    const current = envelope.session === this.#negotiation.session;
    if (!current && envelope.type !== "offer") return this.#handleUnknown(envelope);
    if (!current) return this.#handleOtherOffer(envelope);
    if (this.#sightings.isOutdated(envelope)) return undefined;
    this.#sightings.see(envelope);
    switch (this.#inbox.accept(envelope.seq)) {
      case "duplicate":
        return this.#ack(envelope);
      case "old":
        return undefined;
    }
    if (await this.#handleFresh(envelope)) this.#ack(envelope);
    else this.#inbox.retract(envelope.seq);
  }

  /** @param {Envelope} envelope */
  #handleUnknown(envelope) {
    const wasOver = this.#host.isOver(envelope.session);
    if (envelope.type === "bye") this.#host.bury(envelope.session);
    const answer = replyToUnknown(envelope, wasOver);
    if (answer) this.#host.send(answer);
  }

  /** A numbered message of this session that did not come before. Whether it is done with. @param {Envelope} envelope */
  async #handleFresh(envelope) {
    switch (envelope.type) {
      case "offer":
        return this.#handleRestartOffer(envelope);
      case "answer":
        return this.#handleAnswer(envelope);
      case "ice-candidate":
      case "end-of-candidates":
        return this.#handleCandidate(envelope);
      case "ice-restart":
        return this.#handleRestartRequest(envelope);
      case "bye":
        this.#handleBye(envelope);
        return true;
      default:
        return true;
    }
  }

  /** An offer of another session than ours. @param {Envelope} envelope */
  async #handleOtherOffer(envelope) {
    const session = this.#negotiation.session;
    const isUp = session !== null && this.state !== "disconnected";
    // Not acknowledged: should the other's clock have been set back, it comes again.
    if (isUp && this.#sightings.isOvertaken(envelope, session)) return;
    switch (this.#negotiation.onOffer(envelope.session, envelope.generation, envelope.replaces ?? [])) {
      case "defer":
        return;
      case "stale":
        return this.#ack(envelope);
      case "unknown":
        return this.#handleUnknown(envelope);
    }
    if (this.#transport) this.#leaveTransport();
    this.#begin(envelope.session, "answering");
    this.#inbox.accept(envelope.seq);
    this.#sightings.see(envelope);
    this.#ack(envelope);
    await this.#answer(envelope);
  }

  /** @param {Envelope} envelope */
  async #handleRestartOffer(envelope) {
    switch (this.#negotiation.onOffer(envelope.session, envelope.generation, envelope.replaces ?? [])) {
      case "defer":
        return false;
      case "answer":
        this.restarts += 1;
        this.#outbox?.dropBefore(envelope.generation);
        await this.#answer(envelope);
    }
    return true;
  }

  /** @param {Envelope} envelope */
  async #handleAnswer(envelope) {
    const { session, generation, replaces = [] } = envelope;
    if (!this.#negotiation.onAnswer(session, generation, replaces)) return true;
    const transport = this.#current();
    this.#outbox?.dropOffer(generation);
    await transport.step(transport.pc.setRemoteDescription(description(envelope)));
    if (generation === 0) transport.onRemoteKnown(envelope.bowline !== undefined);
    return true;
  }

  /** @param {Envelope} envelope */
  async #handleCandidate(envelope) {
    const { candidate = "", ufrag = "", generation } = envelope;
    const transport = this.#current();
    if (!ufragsOf(transport.pc.remoteDescription?.sdp ?? "").includes(ufrag)) {
      // Of a description that is still to come: not acknowledged, so that it comes again.
      return this.#negotiation.isSettled && generation <= this.#negotiation.generation;
    }
    const init = { candidate, sdpMLineIndex: 0, usernameFragment: ufrag };
    // One that the browser cannot use (a transport or an address family that it does not speak) is no fault.
    await transport.step(transport.pc.addIceCandidate(init).catch(() => {}));
    return true;
  }

  /** @param {Envelope} envelope */
  async #handleRestartRequest({ session, generation }) {
    switch (this.#negotiation.onRestartRequest(session, generation)) {
      case "defer":
        return false;
      case "restart":
        await this.#restart();
    }
    return true;
  }

  /** @param {Envelope} envelope */
  #handleBye({ reason = "closed" }) {
    const causes = {
      closed: "remote-closed",
      failed: "remote-closed",
      refused: "refused",
      busy: "busy",
      "unknown-session": "forgotten",
    };
    this.#end("closed", causes[reason], null);
  }

  /** @param {number} generation */
  async #offer(generation) {
    const transport = this.#current();
    const offer = await transport.step(transport.pc.createOffer({ iceRestart: generation > 0 }));
    await transport.step(transport.pc.setLocalDescription(offer));
    this.#push("offer", { sdp: transport.localSdp(), replaces: this.#negotiation.replaces });
  }

  /** @param {Envelope} offer */
  async #answer(offer) {
    const transport = this.#current();
    await transport.step(transport.pc.setRemoteDescription(description(offer)));
    transport.onRemoteKnown(offer.bowline !== undefined);
    await transport.step(transport.pc.setLocalDescription(await transport.step(transport.pc.createAnswer())));
    this.#push("answer", { sdp: transport.localSdp(), replaces: this.#negotiation.replaces });
  }

  /** The credentials of the relay's servers have been renewed: the next restart uses them. */
  onIceServers() {
    this.#transport?.setIce(this.#host.ice());
  }

  /** Restarts ICE, or asks the other to: the one with the lower name restarts, so that both never do at once. */
  async #restart() {
    if (this.state !== "connected" && this.state !== "disconnected") return;
    const generation = this.#negotiation.onRestartWanted();
    if (generation === null) return;
    if (this.#host.own < this.id) {
      this.restarts += 1;
      this.#outbox?.dropBefore(generation);
      await this.#offer(generation);
    } else {
      this.#outbox?.dropRestartRequests();
      this.#push("ice-restart", {});
    }
  }

  /** @param {Envelope["type"]} type @param {Partial<Envelope>} body */
  #push(type, body) {
    this.#outbox?.push(type, this.#negotiation.generation, body);
  }

  /** @param {Envelope} envelope */
  #ack(envelope) {
    if (envelope.seq !== 0) this.#host.send({ ...reply(envelope, "ack"), ack: envelope.seq });
  }

  #current() {
    if (!this.#transport) throw new Superseded();
    return this.#transport;
  }

  // The life of a session.

  /** @param {string} session @param {string} cause */
  #begin(session, cause) {
    this.#timers.clear("reconnect");
    this.#outbox?.close();
    this.#outbox = new Outbox(this.#host.own, this.id, session, this.#host.send);
    this.#inbox = new Inbox();
    this.#sightings = new Sightings();
    this.#transfers = this.#newTransfers();
    this.restarts = 0;
    /** @type {Transport} */
    const transport = new Transport(this.#host.own, this.id, this.#host.ice(), {
      onCandidate: (candidate, ufrag) => {
        if (this.#transport !== transport) return;
        if (candidate) this.#push("ice-candidate", { candidate, ufrag });
        else this.#push("end-of-candidates", { ufrag });
      },
      onChange: () => this.#transport === transport && this.#assess(transport),
      onMessage: (kind, data) => this.#transport === transport && this.#onMessage(kind, data),
      onChannel: (channel) => this.#host.emit("channel", { channel }),
    });
    this.#transport = transport;
    this.#timers.set("connect", CONNECT_TIMEOUT, () => this.#end("failed", "timeout", "failed"));
    this.#setState("connecting", cause);
  }

  /** Looks at the transport and says what state that makes. @param {Transport} transport */
  #assess(transport) {
    if (transport.isUp) {
      this.#timers.clear("connect", "repair", "give-up");
      this.#failures = 0;
      this.#setState("connected", "established");
    } else if (transport.hasLostChannel) {
      this.#end("failed", "channel", "failed");
    } else if (transport.isPathLost && this.state === "connected") {
      this.#setState("disconnected", "path-lost");
      this.#timers.set("give-up", DISCONNECT_BUDGET, () => this.#end("failed", "timeout", "failed"));
      this.#repair(transport.isPathFailed ? 0 : RESTART_AFTER);
    } else if (transport.isPathFailed && this.state === "disconnected" && this.#negotiation.isSettled) {
      this.#repair(0);
    }
  }

  /** @param {number} pause */
  #repair(pause) {
    this.#timers.set("repair", pause, () => {
      if (this.state !== "disconnected") return;
      if (this.#host.isUp() && !this.#host.isPresent()) return this.#end("closed", "left", null);
      this.restartIce();
      this.#repair(RESTART_INTERVAL);
    });
  }

  /** @param {Kind} kind @param {string | ArrayBuffer} data */
  #onMessage(kind, data) {
    if (kind === "control" && this.#transfers.onControl(data)) return;
    if (kind === "file" && this.#transfers.onFile(data)) return;
    this.#host.emit("message", { kind, data });
  }

  /**
   * @param {"closed" | "failed"} state
   * @param {string} cause
   * @param {Envelope["reason"] | null} farewell What to tell the other; nothing, if it knows.
   */
  #end(state, cause, farewell) {
    if (isOver(this.state)) return this.#forgetIfGone();
    const generation = this.#negotiation.generation;
    this.#negotiation.onEnd();
    this.#timers.clear("connect", "repair", "give-up");
    if (farewell) this.#outbox?.farewell(generation, farewell);
    else this.#outbox?.close();
    this.#leaveTransport();
    this.#setState(state, cause);
    this.#scheduleReconnect(cause);
    this.#forgetIfGone();
  }

  #leaveTransport() {
    this.#transfers.end();
    this.#transport?.close();
    this.#transport = null;
  }

  #forgetIfGone() {
    if (this.#host.isPresent()) return;
    this.#closed = true;
    this.#timers.clear("reconnect");
    this.#host.forget();
  }

  /** Present means connected: after an end another session is begun, with growing pauses. @param {string} cause */
  #scheduleReconnect(cause) {
    if (this.#closed) return;
    const unwanted = cause === "refused" || cause === "busy";
    const pause = unwanted ? LONGEST_PAUSE : Math.min(FIRST_PAUSE * 2 ** this.#failures, LONGEST_PAUSE);
    this.#failures += 1;
    this.#timers.set("reconnect", jittered(pause), () => this.#connectAgain());
  }

  /** @param {State} state @param {string} cause */
  #setState(state, cause) {
    if (state === this.state && cause === this.cause) return;
    this.state = state;
    this.cause = cause;
    this.since = Date.now();
    this.#host.emit("state", { state, cause });
  }

  #newTransfers() {
    return new Transfers({
      maxFileSize: this.#host.maxFileSize,
      control: (message) => this.send("control", JSON.stringify(message)),
      file: (data) => this.send("file", data),
      ready: () => this.writable("file"),
      messageMax: () => this.#transport?.maxMessageSize ?? DEFAULT_MESSAGE_MAX,
      onOffer: (file) => this.#host.emit("file", { file }),
    });
  }
}

/** @param {State} state */
function isOver(state) {
  return state === "closed" || state === "failed";
}

/** What was under way is of no interest any more: its connection was closed. */
class Superseded extends Error {}

// ---------------------------------------------------------------------------------------------------------------------
// Transport: one RTCPeerConnection and its channels
// ---------------------------------------------------------------------------------------------------------------------

/**
 * @typedef {object} TransportHooks
 * @property {(candidate: string, ufrag: string) => void} onCandidate An empty candidate ends them.
 * @property {() => void} onChange
 * @property {(kind: Kind, data: string | ArrayBuffer) => void} onMessage
 * @property {(channel: RTCDataChannel) => void} onChannel
 */

class Transport {
  /** @type {Map<Kind, RTCDataChannel>} */
  channels = new Map();
  isBowline = false;
  hasLostChannel = false;
  #own;
  #peer;
  #hooks;
  #remoteKnown = false;
  #isClosed = false;
  /** @type {(reason: Superseded) => void} */
  #interrupt = () => {};
  /** @type {Promise<never>} */
  #interrupted;

  /**
   * @param {string} own
   * @param {string} peer
   * @param {RTCConfiguration} ice
   * @param {TransportHooks} hooks
   */
  constructor(own, peer, ice, hooks) {
    this.#own = own;
    this.#peer = peer;
    this.#hooks = hooks;
    this.#interrupted = new Promise((_, reject) => (this.#interrupt = reject));
    this.#interrupted.catch(() => {});
    this.pc = new RTCPeerConnection(ice);
    this.pc.onicecandidate = ({ candidate }) => this.#onCandidate(candidate);
    this.pc.onconnectionstatechange = () => hooks.onChange();
    this.pc.ondatachannel = ({ channel }) => this.#onChannel(channel);
    // A description of data channels needs one. Who opens the real ones depends on the other, whom we do not know yet.
    this.pc.createDataChannel("", { negotiated: true, id: UNUSED_STREAM });
  }

  /** What the next gathering uses. @param {RTCConfiguration} ice */
  setIce(ice) {
    if (!this.#isClosed) this.pc.setConfiguration(ice);
  }

  /**
   * Waits for an operation of the connection, or until that is closed: then the browser never settles it.
   *
   * @template T
   * @param {Promise<T>} operation
   * @returns {Promise<T>}
   */
  step(operation) {
    return Promise.race([operation, this.#interrupted]);
  }

  get isUp() {
    const isOpen = (/** @type {Kind} */ kind) => this.channels.get(kind)?.readyState === "open";
    return this.pc.connectionState === "connected" && KINDS.every(isOpen);
  }

  get isPathLost() {
    return this.pc.connectionState === "disconnected" || this.isPathFailed;
  }

  get isPathFailed() {
    return this.pc.connectionState === "failed";
  }

  get maxMessageSize() {
    return this.pc.sctp?.maxMessageSize || DEFAULT_MESSAGE_MAX;
  }

  localSdp() {
    return this.pc.localDescription?.sdp ?? "";
  }

  /** The other has described itself. A bowline peer opens the channels; of two pages the offerer does. @param {boolean} isBowline */
  onRemoteKnown(isBowline) {
    if (this.#remoteKnown) return;
    this.#remoteKnown = true;
    this.isBowline = isBowline;
    const weOffered = this.pc.localDescription?.type === "offer";
    if (isBowline || !weOffered) return;
    for (const kind of KINDS) {
      const options = kind === "unreliable" ? { ordered: false, maxRetransmits: 0 } : {};
      this.#adopt(kind, this.pc.createDataChannel(`${this.#own}/${kind}`, options));
    }
  }

  close() {
    this.#isClosed = true;
    this.#interrupt(new Superseded());
    this.pc.close();
  }

  /** @param {RTCIceCandidate | null} candidate */
  #onCandidate(candidate) {
    const [ufrag = ""] = ufragsOf(this.localSdp());
    this.#hooks.onCandidate(candidate?.candidate ?? "", candidate?.usernameFragment || ufrag);
  }

  /** @param {RTCDataChannel} channel */
  #onChannel(channel) {
    const kind = KINDS.find((kind) => channel.label === `${this.#peer}/${kind}`);
    if (kind && !this.channels.has(kind)) this.#adopt(kind, channel);
    else this.#hooks.onChannel(channel);
  }

  /** @param {Kind} kind @param {RTCDataChannel} channel */
  #adopt(kind, channel) {
    channel.binaryType = "arraybuffer";
    channel.bufferedAmountLowThreshold = LOW_WATER;
    channel.onmessage = ({ data }) => this.#hooks.onMessage(kind, data);
    channel.onopen = () => this.#hooks.onChange();
    channel.onclose = () => {
      if (this.#isClosed) return;
      this.hasLostChannel = true;
      this.#hooks.onChange();
    };
    this.channels.set(kind, channel);
    this.#hooks.onChange();
  }
}

/** @param {Envelope} envelope @returns {RTCSessionDescriptionInit} */
function description({ type, sdp }) {
  return { type: type === "offer" ? "offer" : "answer", sdp };
}

/** @param {string} sdp */
function ufragsOf(sdp) {
  return [...sdp.matchAll(/^a=ice-ufrag:(\S+)/gm)].map(([, ufrag]) => ufrag ?? "");
}

/** @param {RTCStatsReport} report @returns {PeerStats} */
function readStats(report) {
  /** @type {any[]} */
  const all = [...report.values()];
  const chosen = all.find((stat) => stat.type === "transport")?.selectedCandidatePairId;
  const pairs = all.filter((stat) => stat.type === "candidate-pair");
  const pair = pairs.find((stat) => (chosen ? stat.id === chosen : stat.selected || (stat.nominated && stat.state === "succeeded")));
  const candidate = (/** @type {string | undefined} */ id) => {
    const stat = id ? report.get(id) : undefined;
    return stat ? { type: stat.candidateType, protocol: stat.protocol, address: socketAddress(stat) } : null;
  };
  return {
    local: candidate(pair?.localCandidateId),
    remote: candidate(pair?.remoteCandidateId),
    rtt: pair?.currentRoundTripTime === undefined ? null : pair.currentRoundTripTime * 1000,
    sent: pair?.bytesSent ?? 0,
    received: pair?.bytesReceived ?? 0,
  };
}

/** @param {{address?: string, port: number}} candidate */
function socketAddress({ address = "?", port }) {
  return address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`;
}

// ---------------------------------------------------------------------------------------------------------------------
// Negotiation: who offers, who yields, what is stale
// ---------------------------------------------------------------------------------------------------------------------

/**
 * Decides as `core/src/signal/negotiation.rs` does, with one difference: a page accepts every offer, so none waits.
 * Both sides look only at the two names and at what each has given up, so that they decide alike in any order of messages.
 */
export class Negotiation {
  /** @type {"idle" | "offering" | "stable" | "restarting"} */
  state = "idle";
  /** @type {string | null} */
  session = null;
  /** Of the last offer or answer of ours. */
  generation = 0;
  /** Sessions with this peer that are over, the latest last. @type {string[]} */
  #past = [];
  #isLower;
  #isOver;
  #bury;
  #ours = new Bucket();
  #theirs = new Bucket();

  /**
   * @param {string} own
   * @param {string} peer
   * @param {(session: string) => boolean} isOver
   * @param {(session: string) => void} bury
   */
  constructor(own, peer, isOver, bury) {
    this.#isLower = own < peer;
    this.#isOver = isOver;
    this.#bury = bury;
  }

  /** What an offer or answer has to name. */
  get replaces() {
    return this.#past.slice(-MAX_REPLACES);
  }

  /** Whether no answer to an offer of ours is awaited. */
  get isSettled() {
    return this.state === "stable";
  }

  /** @param {string} session */
  onConnect(session) {
    this.onEnd();
    this.state = "offering";
    this.session = session;
    this.generation = 0;
  }

  /** The session is over without a successor. */
  onEnd() {
    if (this.session !== null) this.#leave(this.session);
    this.session = null;
    this.state = "idle";
  }

  /**
   * @param {string} session
   * @param {number} generation
   * @param {string[]} replaces
   * @returns {"answer" | "stale" | "unknown" | "defer"}
   */
  onOffer(session, generation, replaces) {
    this.#noteReplaced(session, replaces);
    if (session === this.session) return this.#onRestartOffer(generation);
    if (generation !== 0) return "unknown";
    if (this.#isOver(session)) return "stale";
    if (this.state === "offering") {
      if (this.#isLower && !replaces.includes(this.session ?? "")) {
        this.#bury(session);
        return "stale";
      }
    } else if (this.state !== "idle" && !this.#theirs.take()) {
      return "defer";
    }
    this.onEnd();
    this.state = "stable";
    this.session = session;
    this.generation = 0;
    return "answer";
  }

  /**
   * Whether it answers our offer: then that is settled.
   *
   * @param {string} session
   * @param {number} generation
   * @param {string[]} replaces
   */
  onAnswer(session, generation, replaces) {
    this.#noteReplaced(session, replaces);
    const awaited = this.state === "offering" || this.state === "restarting";
    if (!awaited || session !== this.session || generation !== this.generation) return false;
    this.state = "stable";
    return true;
  }

  /** The generation to offer, or to ask for a successor of; null when that is not possible now. */
  onRestartWanted() {
    if ((this.state !== "stable" && this.state !== "restarting") || !this.#ours.take()) return null;
    if (!this.#isLower) return this.generation;
    this.state = "restarting";
    this.generation += 1;
    return this.generation;
  }

  /**
   * @param {string} session
   * @param {number} generation
   * @returns {"restart" | "stale" | "defer"}
   */
  onRestartRequest(session, generation) {
    if (session !== this.session || generation !== this.generation || !this.#isLower) return "stale";
    if (this.state !== "stable") return "defer";
    return this.#theirs.take() ? "restart" : "defer";
  }

  /** @param {number} generation @returns {"answer" | "stale" | "defer"} */
  #onRestartOffer(generation) {
    if (this.state === "offering" && generation > 0) return "defer";
    if (this.state !== "stable" || generation <= this.generation) return "stale";
    if (!this.#theirs.take()) return "defer";
    this.generation = generation;
    return "answer";
  }

  /** @param {string} session @param {string[]} replaces */
  #noteReplaced(session, replaces) {
    for (const replaced of replaces) {
      if (replaced !== session && replaced !== this.session && !this.#isOver(replaced)) this.#leave(replaced);
    }
  }

  /** @param {string} session */
  #leave(session) {
    this.#bury(session);
    this.#past = [...this.#past, session].slice(-2 * MAX_REPLACES);
  }
}

/** Three at once, then one in two seconds. */
class Bucket {
  #tokens = RESTART_BURST;
  #filled = Date.now();

  take() {
    const now = Date.now();
    this.#tokens = Math.min(RESTART_BURST, this.#tokens + (now - this.#filled) / RESTART_PERIOD);
    this.#filled = now;
    if (this.#tokens < 1) return false;
    this.#tokens -= 1;
    return true;
  }
}

// ---------------------------------------------------------------------------------------------------------------------
// Delivery: numbers, repetition, acknowledgement
// ---------------------------------------------------------------------------------------------------------------------

/** The messages of one session that the other has not acknowledged: each is sent again until it is. */
export class Outbox {
  #own;
  #peer;
  #send;
  #next = 1;
  /** @type {Map<number, {envelope: Envelope, pause: number, timer: ReturnType<typeof setTimeout> | undefined}>} */
  #pending = new Map();

  /**
   * @param {string} own
   * @param {string} peer
   * @param {string} session
   * @param {(envelope: Envelope) => void} send
   */
  constructor(own, peer, session, send) {
    this.#own = own;
    this.#peer = peer;
    this.session = session;
    this.#send = send;
  }

  /** @param {Envelope["type"]} type @param {number} generation @param {Partial<Envelope>} body */
  push(type, generation, body) {
    const [oldest = this.#next] = this.#pending.keys();
    if (this.#pending.size >= MAX_UNACKNOWLEDGED || this.#next - oldest >= WINDOW) {
      throw new Error("too many signalling messages wait for their acknowledgement");
    }
    const header = { v: /** @type {1} */ (1), from: this.#own, to: this.#peer, session: this.session };
    const envelope = { ...header, generation, seq: this.#next, type, ...body };
    this.#pending.set(this.#next, { envelope, pause: SIGNAL_RETRY, timer: undefined });
    this.#transmit(this.#next);
    this.#next += 1;
  }

  /** @param {number} seq */
  onAck(seq) {
    clearTimeout(this.#pending.get(seq)?.timer);
    this.#pending.delete(seq);
  }

  /** Sends everything again, at once: the link was down. */
  resend() {
    for (const [seq, entry] of this.#pending) {
      entry.pause = SIGNAL_RETRY;
      this.#transmit(seq);
    }
  }

  /** @param {number} generation */
  dropBefore(generation) {
    this.#drop((envelope) => envelope.generation < generation && envelope.type !== "bye");
  }

  /** @param {number} generation */
  dropOffer(generation) {
    this.#drop((envelope) => envelope.type === "offer" && envelope.generation === generation);
  }

  dropRestartRequests() {
    this.#drop((envelope) => envelope.type === "ice-restart");
  }

  /** Ends the session with a last word, which is repeated for a short while. @param {number} generation @param {Envelope["reason"]} reason */
  farewell(generation, reason) {
    this.close();
    this.push("bye", generation, { reason });
    setTimeout(() => this.close(), CLOSE_LINGER);
  }

  close() {
    this.#drop(() => true);
  }

  get length() {
    return this.#pending.size;
  }

  /** @param {(envelope: Envelope) => boolean} superseded */
  #drop(superseded) {
    for (const [seq, { envelope }] of this.#pending) {
      if (superseded(envelope)) this.onAck(seq);
    }
  }

  /** @param {number} seq */
  #transmit(seq) {
    const entry = this.#pending.get(seq);
    if (!entry) return;
    clearTimeout(entry.timer);
    this.#send(entry.envelope);
    entry.timer = setTimeout(() => this.#transmit(seq), jittered(entry.pause));
    entry.pause = Math.min(entry.pause * 2, SIGNAL_RETRY_MAX);
  }
}

/** When the other was seen in a session, by its own clock: what it had sent before is of the past. */
export class Sightings {
  #last = -Infinity;

  /** A message of the session came. One without a number may be of somebody who has left it. @param {Envelope} envelope */
  see({ seq, time }) {
    if (seq > 0 && time !== undefined) this.#last = Math.max(this.#last, time);
  }

  /**
   * Whether it is the first offer of another session, sent by a process that knew nothing of this one, before the other was
   * seen in this one. That process may be gone, so that nobody can say that its session is over.
   *
   * @param {Envelope} offer
   * @param {string} session This one.
   */
  isOvertaken({ generation, replaces = [], time = Infinity }, session) {
    return generation === 0 && !replaces.includes(session) && time <= this.#last;
  }

  /** Whether it denies a session in which the other was seen after it had sent that. @param {Envelope} envelope */
  isOutdated({ type, reason, time = Infinity }) {
    return type === "bye" && reason === "unknown-session" && time < this.#last;
  }
}

/** Which numbers of one session have been received. */
export class Inbox {
  #highest = 0;
  /** @type {Set<number>} */
  #seen = new Set();

  /** @param {number} seq @returns {"fresh" | "duplicate" | "old"} */
  accept(seq) {
    if (seq === 0) return "fresh";
    if (this.#highest - seq >= WINDOW) return "old";
    if (this.#seen.has(seq)) return "duplicate";
    this.#seen.add(seq);
    if (seq > this.#highest) this.#slideTo(seq);
    return "fresh";
  }

  /** It was accepted and could not be used yet: its repetition is fresh. @param {number} seq */
  retract(seq) {
    this.#seen.delete(seq);
  }

  /** @param {number} highest */
  #slideTo(highest) {
    this.#highest = highest;
    if (this.#seen.size <= WINDOW / 2) return;
    for (const seq of this.#seen) {
      if (highest - seq >= WINDOW) this.#seen.delete(seq);
    }
  }
}

// ---------------------------------------------------------------------------------------------------------------------
// Envelopes
// ---------------------------------------------------------------------------------------------------------------------

/**
 * Reads a signalling message. Null when it is none, or not of version 1. (JSON.parse does not tell of duplicate fields:
 * the last one counts.)
 *
 * @param {string} text
 * @returns {Envelope | null}
 */
export function parseEnvelope(text) {
  if (text.length > MAX_SIGNAL) return null;
  const fields = parseObject(text);
  if (!fields || fields.v !== 1 || !isName(fields.from) || !isName(fields.to)) return null;
  const { session, generation, seq, type, time } = fields;
  const isHeaded = isSession(session) && isNumber(generation, 0, 2 ** 32 - 1) && isNumber(seq, 0, MAX_NUMBER);
  if (!isHeaded || typeof type !== "string") return null;
  if (time !== undefined && !isNumber(time, 0, MAX_NUMBER)) return null;
  if (type === "ack" ? seq !== 0 : type !== "bye" && seq === 0) return null;
  if (!hasBody(type, fields)) return null;
  return /** @type {Envelope} */ (/** @type {unknown} */ (fields));
}

/** @param {string} type @param {Record<string, unknown>} fields */
function hasBody(type, fields) {
  const { sdp, replaces, bowline, candidate, ufrag, reason, ack } = fields;
  const isUfrag = typeof ufrag === "string" && ufrag.length >= 1 && ufrag.length <= 256;
  switch (type) {
    case "offer":
    case "answer":
      return typeof sdp === "string" && isSessions(replaces) && isCapabilities(bowline);
    case "ice-candidate":
      return typeof candidate === "string" && candidate.length <= 2048 && isUfrag;
    case "end-of-candidates":
      return isUfrag;
    case "ice-restart":
      return true;
    case "bye":
      return typeof reason === "string" && BYE_REASONS.includes(reason);
    case "ack":
      return isNumber(ack, 1, MAX_NUMBER);
    default:
      return false;
  }
}

/**
 * Reads the relay's word on who is present. Null when it is something else: what names a sender was forwarded for a peer,
 * who has no say in this.
 *
 * @param {string} text
 * @returns {string[] | null}
 */
export function parsePresence(text) {
  const fields = parseObject(text);
  if (!fields || fields.type !== "room" || fields.from !== undefined || !Array.isArray(fields.peers)) return null;
  return fields.peers.every(isName) ? fields.peers : null;
}

/**
 * Reads the relay's word on which ICE servers to use. Null when it is something else. What the browser would not take is left
 * out, so that it cannot keep connections from being made.
 *
 * @param {string} text
 * @returns {RTCIceServer[] | null}
 */
export function parseIceServers(text) {
  const fields = parseObject(text);
  if (!fields || fields.type !== "ice-servers" || fields.from !== undefined || !Array.isArray(fields.servers)) return null;
  return fields.servers.flatMap(usableIceServer).slice(0, MAX_ICE_SERVERS);
}

/**
 * @param {unknown} server
 * @returns {RTCIceServer[]} None or one.
 */
function usableIceServer(server) {
  if (typeof server !== "object" || server === null) return [];
  const { urls, username, credential } = /** @type {Record<string, unknown>} */ (server);
  const isText = (/** @type {unknown} */ value) => typeof value === "string" && value.length <= MAX_ICE_TEXT;
  const known = (Array.isArray(urls) ? urls : [urls])
    .filter((/** @type {unknown} */ url) => isText(url) && ICE_URL.test(String(url)))
    .slice(0, MAX_ICE_SERVERS);
  const hasLogin = isText(username) && isText(credential);
  const usable = known.filter((/** @type {string} */ url) => hasLogin || /^stuns?:/i.test(url));
  if (usable.length === 0) return [];
  const login = /** @type {{username: string, credential: string}} */ ({ username, credential });
  return [hasLogin ? { urls: usable, ...login } : { urls: usable }];
}

/**
 * What to say to a message of a session that we do not have. Only what shows that its sender believes in the session gets a
 * farewell; the rest of a session that is over is acknowledged, so that it stops.
 *
 * @param {Envelope} envelope
 * @param {boolean} wasOver
 * @returns {Envelope | null}
 */
export function replyToUnknown(envelope, wasOver) {
  const { type, generation, seq } = envelope;
  const believes = type === "answer" || type === "ice-restart" || (type === "offer" && generation > 0);
  if (believes) return { ...reply(envelope, "bye"), reason: "unknown-session" };
  // A candidate of a session that is still to come must come again.
  const isDone = wasOver || type === "bye";
  return isDone && seq !== 0 && type !== "ack" ? { ...reply(envelope, "ack"), ack: seq } : null;
}

/** @param {Envelope} envelope @param {Envelope["type"]} type @returns {Envelope} */
function reply({ from, to, session, generation }, type) {
  return { v: 1, from: to, to: from, session, generation, seq: 0, type };
}

/** Whether it can be the name of a peer or a room. @param {unknown} value @returns {value is string} */
export function isName(value) {
  return typeof value === "string" && /^[A-Za-z0-9._-]{1,64}$/.test(value);
}

/** @param {unknown} value */
function isSession(value) {
  return typeof value === "string" && /^[0-9a-f]{32}$/.test(value);
}

/** @param {unknown} value */
function isSessions(value) {
  return value === undefined || (Array.isArray(value) && value.length <= MAX_REPLACES && value.every(isSession));
}

/** @param {unknown} value */
function isCapabilities(value) {
  if (value === undefined || value === null) return true;
  const { version, max_message_size: size } = /** @type {Record<string, unknown>} */ (value);
  return isNumber(version, 0, 2 ** 32 - 1) && isNumber(size, 0, MAX_NUMBER);
}

/** @param {unknown} value @param {number} least @param {number} most @returns {value is number} */
function isNumber(value, least, most) {
  return Number.isSafeInteger(value) && /** @type {number} */ (value) >= least && /** @type {number} */ (value) <= most;
}

function freshSession() {
  return hex(crypto.getRandomValues(new Uint8Array(16)));
}

// ---------------------------------------------------------------------------------------------------------------------
// Link: a WebSocket that comes back
// ---------------------------------------------------------------------------------------------------------------------

/** Keeps one WebSocket to the relay: when it is lost, another after 250 ms, then twice as long each time up to 10 s. */
class Link {
  #url;
  #hooks;
  /** @type {WebSocket | null} */
  #socket = null;
  #pause = FIRST_LINK_PAUSE;
  #timers = new Timers();
  #onOnline = () => !this.isUp && this.open();

  /**
   * @param {string} url
   * @param {{onText: (text: string) => void, onStatus: (up: boolean, error: string | null) => void}} hooks
   */
  constructor(url, hooks) {
    this.#url = url;
    this.#hooks = hooks;
    globalThis.addEventListener?.("online", this.#onOnline);
    this.open();
  }

  get isUp() {
    return this.#socket?.readyState === 1;
  }

  /** Whether it was handed to the socket. What matters is repeated by its sender. @param {string} text */
  send(text) {
    if (this.isUp) this.#socket?.send(text);
    return this.isUp;
  }

  open() {
    this.#timers.clear("open");
    this.#drop();
    const socket = new WebSocket(this.#url);
    this.#socket = socket;
    socket.onopen = () => {
      this.#timers.set("stable", STABLE, () => (this.#pause = FIRST_LINK_PAUSE));
      this.#hooks.onStatus(true, null);
    };
    socket.onmessage = ({ data }) => typeof data === "string" && this.#hooks.onText(data);
    socket.onclose = ({ code }) => this.#onClose(code === REPLACED ? "replaced" : "lost");
  }

  close() {
    globalThis.removeEventListener?.("online", this.#onOnline);
    this.#timers.clear("open", "stable");
    this.#drop();
  }

  #drop() {
    if (!this.#socket) return;
    this.#socket.onclose = this.#socket.onmessage = this.#socket.onopen = null;
    this.#socket.close();
    this.#socket = null;
  }

  /** @param {"replaced" | "lost"} error */
  #onClose(error) {
    this.#timers.clear("stable");
    this.#socket = null;
    if (error === "lost") {
      this.#timers.set("open", jittered(this.#pause), () => this.open());
      this.#pause = Math.min(this.#pause * 2, LONGEST_PAUSE);
    }
    this.#hooks.onStatus(false, error);
  }
}

/** Does one thing after the other. */
class Line {
  #last = Promise.resolve();
  /** How many wait, or are being done. */
  length = 0;

  /** @param {() => unknown} job Nothing that follows suffers when it fails. */
  add(job) {
    this.length += 1;
    this.#last = this.#last.then(job).catch(reportError).finally(() => (this.length -= 1));
  }
}

/** @param {string} url @param {string} room @param {string} id */
function linkUrl(url, room, id) {
  let parsed;
  try {
    parsed = new URL(url);
  } catch (cause) {
    throw new BowlineError("url", `not a URL: ${url}`, { cause });
  }
  if (!["ws:", "wss:"].includes(parsed.protocol)) throw new BowlineError("url", `not a ws:// or wss:// URL: ${url}`);
  parsed.searchParams.set("peer", id);
  parsed.searchParams.set("room", room);
  return parsed.href;
}

/** Timers with names: setting one replaces the one of that name. */
class Timers {
  /** @type {Map<string, ReturnType<typeof setTimeout>>} */
  #timers = new Map();

  /** @param {string} name @param {number} pause @param {() => void} task */
  set(name, pause, task) {
    this.clear(name);
    const run = () => {
      this.#timers.delete(name);
      task();
    };
    this.#timers.set(name, setTimeout(run, pause));
  }

  /** @param {string[]} names */
  clear(...names) {
    for (const name of names) {
      clearTimeout(this.#timers.get(name));
      this.#timers.delete(name);
    }
  }
}

/** @param {number} pause Within a fifth of it, so that those that lost the link together do not come back together. */
function jittered(pause) {
  return pause * (0.8 + 0.4 * Math.random());
}

// ---------------------------------------------------------------------------------------------------------------------
// Files
// ---------------------------------------------------------------------------------------------------------------------

/**
 * @typedef {object} TransferPort What file transfer needs of a connection. The first two throw when it cannot take more.
 * @property {number} maxFileSize
 * @property {(message: object) => void} control
 * @property {(data: string | ArrayBuffer | ArrayBufferView) => void} file
 * @property {() => Promise<void>} ready
 * @property {() => number} messageMax The longest message that the other takes, in bytes.
 * @property {(file: IncomingFile) => void} onOffer
 */

/** The files that one connection carries, both ways. */
export class Transfers {
  #port;
  #next = 1;
  /** @type {Map<number, OutgoingFile>} */
  #outgoing = new Map();
  /** @type {Map<number, IncomingFile>} */
  #incoming = new Map();
  /** Transfers to us that are over: chunks of them may be under way. @type {Set<number>} */
  #over = new Set();

  /** @param {TransferPort} port */
  constructor(port) {
    this.#port = port;
  }

  /**
   * @param {Blob & {name?: string}} file
   * @param {{name?: string, onProgress?: (progress: {accepted: boolean, acknowledged: number, size: number}) => void, signal?: AbortSignal}} options
   */
  async send(file, options) {
    const transfer = this.#next;
    this.#next += 1;
    const outgoing = new OutgoingFile(transfer, file, this.#port, options);
    this.#outgoing.set(transfer, outgoing);
    try {
      await outgoing.run();
    } finally {
      this.#outgoing.delete(transfer);
    }
  }

  /** Takes a message of the channel `control`. Whether it is about files. @param {string | ArrayBuffer} data */
  onControl(data) {
    const message = typeof data === "string" ? parseObject(data) : null;
    const type = message?.type;
    if (!message || typeof type !== "string" || !type.startsWith("file-")) return false;
    const { transfer } = message;
    if (!isNumber(transfer, 0, 2 ** 32 - 1)) return true;
    if (type === "file-offer") this.#onOffer(transfer, message);
    else if (type !== "file-cancel") this.#outgoing.get(transfer)?.on(message);
    else if (message.by === "receiver") this.#outgoing.get(transfer)?.on(message);
    else if (message.by === "sender") this.#incoming.get(transfer)?.onCancel(String(message.reason));
    return true;
  }

  /** Takes a message of the channel `file`. Whether it is about files. @param {string | ArrayBuffer} data */
  onFile(data) {
    if (typeof data === "string") {
      const message = parseObject(data);
      if (message?.type !== "file-end") return false;
      this.#incoming.get(Number(message.transfer))?.onEnd(message.sha256);
      return true;
    }
    if (data.byteLength < CHUNK_HEADER) return false;
    const view = new DataView(data);
    const transfer = view.getUint32(0);
    const file = this.#incoming.get(transfer);
    file?.onChunk(Number(view.getBigUint64(4)), new Uint8Array(data, CHUNK_HEADER));
    return file !== undefined || this.#over.has(transfer);
  }

  /** The connection ended. */
  end() {
    const lost = new BowlineError("disconnected", "the connection ended");
    for (const file of this.#outgoing.values()) file.fail(lost);
    for (const file of [...this.#incoming.values()]) file.onLost(lost);
  }

  /** @param {number} transfer @param {Record<string, unknown>} offer */
  #onOffer(transfer, { name, size }) {
    const refuse = (/** @type {string} */ reason) => this.#port.control({ type: "file-refuse", transfer, reason });
    if (this.#incoming.has(transfer) || this.#over.has(transfer)) return refuse("busy");
    if (!isFileName(name)) return refuse("name");
    if (!isNumber(size, 0, this.#port.maxFileSize)) return refuse("size");
    if (this.#incoming.size >= MAX_INCOMING) return refuse("busy");
    const file = new IncomingFile(transfer, name, size, this.#port, () => {
      this.#incoming.delete(transfer);
      this.#over.add(transfer);
      if (this.#over.size > MAX_ENDED) this.#over.delete(/** @type {number} */ (this.#over.values().next().value));
    });
    this.#incoming.set(transfer, file);
    this.#port.onOffer(file);
  }
}

/** A file that we send. */
class OutgoingFile {
  #transfer;
  #file;
  #port;
  #options;
  #name;
  /** @type {{offset: number, sha256: string, window: number} | null} */
  #accepted = null;
  #sent = 0;
  #acknowledged = 0;
  #isDone = false;
  /** @type {BowlineError | null} */
  #error = null;
  #wake = () => {};

  /**
   * @param {number} transfer
   * @param {Blob & {name?: string}} file
   * @param {TransferPort} port
   * @param {{name?: string, onProgress?: (progress: {accepted: boolean, acknowledged: number, size: number}) => void, signal?: AbortSignal}} options
   */
  constructor(transfer, file, port, options) {
    this.#transfer = transfer;
    this.#file = file;
    this.#port = port;
    this.#options = options;
    this.#name = options.name ?? file.name ?? "";
  }

  async run() {
    if (!isFileName(this.#name)) throw new BowlineError("name", `not a name for a file: ${JSON.stringify(this.#name)}`);
    const { signal } = this.#options;
    const cancel = () => this.fail(new BowlineError("cancelled", "the transfer was cancelled"));
    signal?.addEventListener("abort", cancel);
    try {
      if (signal?.aborted) cancel();
      await this.#run();
    } catch (error) {
      const known = error instanceof BowlineError ? error : new BowlineError("source", "the file cannot be read", { cause: error });
      this.#tellCancelled(known.code);
      throw known.code === "not-connected" ? new BowlineError("disconnected", "the connection ended", { cause: known }) : known;
    } finally {
      signal?.removeEventListener("abort", cancel);
    }
  }

  async #run() {
    this.#check();
    const size = this.#file.size;
    this.#port.control({ type: "file-offer", transfer: this.#transfer, name: this.#name, size });
    await this.#until(() => this.#accepted !== null);
    const { hash, offset } = await this.#resume();
    this.#sent = this.#acknowledged = offset;
    this.#progress();
    await this.#sendFrom(offset, hash);
    this.#port.file(JSON.stringify({ type: "file-end", transfer: this.#transfer, sha256: hash.hex() }));
    await this.#until(() => this.#isDone);
  }

  /** Where to begin: where the receiver stopped, if what it has is the beginning of this file. */
  async #resume() {
    const { offset, sha256 } = /** @type {{offset: number, sha256: string}} */ (this.#accepted);
    const hash = new Sha256();
    for (let at = 0; at < offset; at += READ_SIZE) hash.update(await this.#read(at, Math.min(at + READ_SIZE, offset)));
    return hash.clone().hex() === sha256 ? { hash, offset } : { hash: new Sha256(), offset: 0 };
  }

  /** @param {number} offset @param {Sha256} hash */
  async #sendFrom(offset, hash) {
    const { window } = /** @type {{window: number}} */ (this.#accepted);
    const most = Math.min(CHUNK_MAX, window, this.#port.messageMax() - CHUNK_HEADER);
    for (let at = offset; at < this.#file.size; at += READ_SIZE) {
      const block = await this.#read(at, Math.min(at + READ_SIZE, this.#file.size));
      for (let start = 0; start < block.length; start += most) {
        const data = block.subarray(start, start + most);
        await this.#until(() => this.#sent + data.length - this.#acknowledged <= window);
        await this.#port.ready();
        this.#check();
        this.#port.file(chunk(this.#transfer, at + start, data));
        hash.update(data);
        this.#sent += data.length;
      }
    }
  }

  /** @param {number} from @param {number} to */
  async #read(from, to) {
    this.#check();
    const bytes = new Uint8Array(await this.#file.slice(from, to).arrayBuffer());
    if (bytes.length !== to - from) throw new BowlineError("source", "the file changed while it was read");
    return bytes;
  }

  /** Takes a message of the receiver. @param {Record<string, unknown>} message */
  on(message) {
    switch (message.type) {
      case "file-accept":
        this.#onAccept(message);
        break;
      case "file-refuse":
        this.fail(new BowlineError(known(message.reason, REFUSALS, "declined"), "the receiver refused the file"));
        break;
      case "file-progress":
        if (isNumber(message.received, this.#acknowledged, this.#sent)) this.#acknowledged = message.received;
        else this.fail(new BowlineError("protocol", "the receiver acknowledged what was not sent"));
        this.#progress();
        break;
      case "file-done":
        this.#acknowledged = this.#file.size;
        this.#isDone = true;
        this.#progress();
        break;
      case "file-failed":
        this.fail(new BowlineError(known(message.reason, FAILURES, "protocol"), "the receiver could not take the file"));
        break;
      case "file-cancel":
        this.fail(new BowlineError("cancelled", "the receiver cancelled the transfer"));
    }
    this.#wake();
  }

  /** @param {BowlineError} error */
  fail(error) {
    this.#error ??= error;
    this.#wake();
  }

  /** @param {Record<string, unknown>} message */
  #onAccept({ offset, sha256, window }) {
    if (this.#accepted) return;
    const isValid = isNumber(offset, 0, this.#file.size) && isNumber(window, 1, MAX_NUMBER) && typeof sha256 === "string";
    if (isValid) this.#accepted = { offset, sha256, window };
    else this.fail(new BowlineError("protocol", "the receiver's acceptance makes no sense"));
  }

  /** Tells the receiver what it cannot know. @param {string} code */
  #tellCancelled(code) {
    const reason = code === "source" ? "source" : "cancelled";
    if (!["cancelled", "source", "protocol", "full"].includes(code)) return;
    try {
      this.#port.control({ type: "file-cancel", transfer: this.#transfer, by: "sender", reason });
    } catch {
      // The connection ends, or is full: what the receiver waits for does not come, and it will cancel.
    }
  }

  #progress() {
    const accepted = this.#accepted !== null;
    this.#options.onProgress?.({ accepted, acknowledged: this.#acknowledged, size: this.#file.size });
  }

  #check() {
    if (this.#error) throw this.#error;
  }

  /** @param {() => boolean} condition */
  async #until(condition) {
    this.#check();
    while (!condition()) {
      await new Promise((resolve) => (this.#wake = () => resolve(undefined)));
      this.#check();
    }
  }
}

/** A file that a peer offers to us. `name` and `size` are what the peer says. */
export class IncomingFile {
  #transfer;
  #port;
  #onOver;
  /** @type {"offered" | "running" | "over"} */
  #phase = "offered";
  #received = 0;
  #reported = 0;
  #hash = new Sha256();
  /** Complete parts, which the browser may keep on disk. @type {Blob[]} */
  #parts = [];
  /** @type {Uint8Array<ArrayBuffer>[]} */
  #recent = [];
  #recentSize = 0;
  #onProgress = (/** @type {{received: number, size: number}} */ _progress) => {};
  #resolve = (/** @type {File} */ _file) => {};
  #reject = (/** @type {BowlineError} */ _error) => {};

  /**
   * @param {number} transfer
   * @param {string} name
   * @param {number} size
   * @param {TransferPort} port
   * @param {() => void} onOver
   */
  constructor(transfer, name, size, port, onOver) {
    this.#transfer = transfer;
    this.name = name;
    this.size = size;
    this.#port = port;
    this.#onOver = onOver;
    /** Called when the offer is withdrawn, or its connection ends, before it was accepted. @type {((error: BowlineError) => void) | null} */
    this.onWithdrawn = null;
  }

  /**
   * Takes it.
   *
   * @param {{onProgress?: (progress: {received: number, size: number}) => void}} [options]
   * @returns {Promise<File>} The file, when it is complete and its checksum matched. Otherwise rejected with a `BowlineError`.
   */
  accept({ onProgress } = {}) {
    if (this.#phase !== "offered") return Promise.reject(new BowlineError("cancelled", "the offer is over"));
    this.#phase = "running";
    if (onProgress) this.#onProgress = onProgress;
    /** @type {Promise<File>} */
    const file = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    this.#tell({ type: "file-accept", offset: 0, sha256: this.#hash.clone().hex(), window: FILE_WINDOW });
    return file;
  }

  /** Does not take it. @param {"declined" | "storage"} [reason] */
  refuse(reason = "declined") {
    if (this.#phase !== "offered") return;
    this.#finish();
    this.#tell({ type: "file-refuse", reason });
  }

  /** Stops receiving it. */
  cancel() {
    if (this.#phase !== "running") return this.refuse();
    this.#tell({ type: "file-cancel", by: "receiver", reason: "cancelled" });
    this.onLost(new BowlineError("cancelled", "the transfer was cancelled"));
  }

  // What the sender tells.

  /** @param {number} offset @param {Uint8Array<ArrayBuffer>} data */
  onChunk(offset, data) {
    const fits = data.length >= 1 && data.length <= CHUNK_MAX && offset + data.length <= this.size;
    const isNext = this.#phase === "running" && offset === this.#received;
    if (!fits || !isNext) return this.#fail("protocol", "the sender broke the rules of the transfer");
    this.#hash.update(data);
    this.#keep(data);
    this.#received += data.length;
    if (this.#received - this.#reported >= FILE_WINDOW / 4 || this.#received === this.size) {
      this.#reported = this.#received;
      this.#tell({ type: "file-progress", received: this.#received });
      this.#onProgress({ received: this.#received, size: this.size });
    }
  }

  /** @param {unknown} sha256 */
  onEnd(sha256) {
    if (this.#phase !== "running" || this.#received !== this.size) {
      return this.#fail("protocol", "the sender ended before the end of the file");
    }
    if (this.#hash.hex() !== sha256) return this.#fail("checksum", "the file arrived damaged");
    this.#flush();
    const file = new File(this.#parts, this.name);
    this.#finish();
    this.#tell({ type: "file-done" });
    this.#onProgress({ received: this.size, size: this.size });
    this.#resolve(file);
  }

  /** @param {string} reason */
  onCancel(reason) {
    const code = reason === "source" ? "source" : "cancelled";
    this.onLost(new BowlineError(code, "the sender cancelled the transfer"));
  }

  /** @param {BowlineError} error */
  onLost(error) {
    const wasOffered = this.#phase === "offered";
    this.#finish();
    if (wasOffered) this.onWithdrawn?.(error);
    this.#reject(error);
  }

  /** @param {"protocol" | "checksum"} reason @param {string} message */
  #fail(reason, message) {
    this.#tell({ type: "file-failed", reason });
    this.onLost(new BowlineError(reason, message));
  }

  #finish() {
    this.#phase = "over";
    this.#parts = [];
    this.#recent = [];
    this.#onOver();
  }

  /** @param {Uint8Array<ArrayBuffer>} data */
  #keep(data) {
    this.#recent.push(data);
    this.#recentSize += data.length;
    if (this.#recentSize >= PART_SIZE) this.#flush();
  }

  #flush() {
    if (this.#recent.length) this.#parts.push(new Blob(this.#recent));
    this.#recent = [];
    this.#recentSize = 0;
  }

  /** @param {Record<string, unknown>} message */
  #tell(message) {
    try {
      this.#port.control({ transfer: this.#transfer, ...message });
    } catch (cause) {
      if (this.#phase === "running") this.onLost(new BowlineError("disconnected", "the connection ended", { cause }));
    }
  }
}

/** @param {number} transfer @param {number} offset @param {Uint8Array} data */
function chunk(transfer, offset, data) {
  const message = new Uint8Array(CHUNK_HEADER + data.length);
  const view = new DataView(message.buffer);
  view.setUint32(0, transfer);
  view.setBigUint64(4, BigInt(offset));
  message.set(data, CHUNK_HEADER);
  return message;
}

/** Whether it names a file and no way to it. @param {unknown} name @returns {name is string} */
export function isFileName(name) {
  if (typeof name !== "string" || name === "" || name === "." || name === "..") return false;
  // eslint-disable-next-line no-control-regex
  return utf8.encode(name).length <= 255 && !/[/\\\u0000-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/.test(name);
}

/** @param {unknown} value @param {string[]} all @param {string} otherwise */
function known(value, all, otherwise) {
  return typeof value === "string" && all.includes(value) ? value : otherwise;
}

// ---------------------------------------------------------------------------------------------------------------------
// SHA-256 (FIPS 180-4), piece by piece: crypto.subtle takes a message only whole, and only in secure contexts
// ---------------------------------------------------------------------------------------------------------------------

export class Sha256 {
  #state = new Int32Array(INITIAL);
  #block = new Uint8Array(64);
  #filled = 0;
  #length = 0;
  #words = new Int32Array(64);

  /** @param {Uint8Array} data */
  update(data) {
    this.#length += data.length;
    let at = 0;
    if (this.#filled > 0) {
      at = Math.min(64 - this.#filled, data.length);
      this.#block.set(data.subarray(0, at), this.#filled);
      this.#filled += at;
      if (this.#filled < 64) return this;
      this.#compress(this.#block, 0);
    }
    for (; at + 64 <= data.length; at += 64) this.#compress(data, at);
    this.#block.set(data.subarray(at));
    this.#filled = data.length - at;
    return this;
  }

  clone() {
    const copy = new Sha256();
    copy.#state.set(this.#state);
    copy.#block.set(this.#block);
    copy.#filled = this.#filled;
    copy.#length = this.#length;
    return copy;
  }

  /** The digest. It ends the message: nothing can be added. */
  hex() {
    const length = this.#length;
    const padding = new Uint8Array(((this.#filled < 56 ? 56 : 120) - this.#filled) + 8);
    padding[0] = 0x80;
    new DataView(padding.buffer).setBigUint64(padding.length - 8, BigInt(length) * 8n);
    this.update(padding);
    const digest = new DataView(new ArrayBuffer(32));
    this.#state.forEach((word, i) => digest.setInt32(i * 4, word));
    return hex(new Uint8Array(digest.buffer));
  }

  /** @param {Uint8Array} data @param {number} at */
  #compress(data, at) {
    const w = this.#words;
    const state = this.#state;
    for (let i = 0; i < 16; i++, at += 4) {
      w[i] = (data[at] << 24) | (data[at + 1] << 16) | (data[at + 2] << 8) | data[at + 3];
    }
    for (let i = 16; i < 64; i++) {
      const x = w[i - 15];
      const y = w[i - 2];
      const s0 = ((x >>> 7) | (x << 25)) ^ ((x >>> 18) | (x << 14)) ^ (x >>> 3);
      const s1 = ((y >>> 17) | (y << 15)) ^ ((y >>> 19) | (y << 13)) ^ (y >>> 10);
      w[i] = (w[i - 16] + s0 + w[i - 7] + s1) | 0;
    }
    let [a, b, c, d, e, f, g, h] = state;
    for (let i = 0; i < 64; i++) {
      const s1 = ((e >>> 6) | (e << 26)) ^ ((e >>> 11) | (e << 21)) ^ ((e >>> 25) | (e << 7));
      const t1 = (h + s1 + ((e & f) ^ (~e & g)) + ROUNDS[i] + w[i]) | 0;
      const s0 = ((a >>> 2) | (a << 30)) ^ ((a >>> 13) | (a << 19)) ^ ((a >>> 22) | (a << 10));
      const t2 = (s0 + ((a & b) ^ (a & c) ^ (b & c))) | 0;
      h = g;
      g = f;
      f = e;
      e = (d + t1) | 0;
      d = c;
      c = b;
      b = a;
      a = (t1 + t2) | 0;
    }
    state[0] += a;
    state[1] += b;
    state[2] += c;
    state[3] += d;
    state[4] += e;
    state[5] += f;
    state[6] += g;
    state[7] += h;
  }
}

/** @param {Uint8Array} bytes */
function hex(bytes) {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** The first 32 bits of the fractional parts of the roots of the first primes. @param {number} count @param {(n: number) => number} root */
function fractions(count, root) {
  /** @type {number[]} */
  const primes = [];
  for (let n = 2; primes.length < count; n++) {
    if (primes.every((prime) => n % prime !== 0)) primes.push(n);
  }
  return Int32Array.from(primes, (prime) => ((root(prime) % 1) * 2 ** 32) | 0);
}

const ROUNDS = fractions(64, Math.cbrt);
const INITIAL = fractions(8, Math.sqrt);

// ---------------------------------------------------------------------------------------------------------------------
// Bounds (bytes) and times (milliseconds)
// ---------------------------------------------------------------------------------------------------------------------

const utf8 = new TextEncoder();

/** Peers at one time. A further one is told that we are busy. */
const MAX_PEERS = 256;
/** ICE servers of one word of the relay, and URLs of each. Those beyond are left out. */
const MAX_ICE_SERVERS = 8;
/** Characters of a URL, a user name or a password of an ICE server. */
const MAX_ICE_TEXT = 512;
/** RFC 7064 and RFC 7065: what a browser takes without an exception. */
const ICE_URL = /^(stuns?:(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:\d{1,5})?|turns?:(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:\d{1,5})?(\?transport=(udp|tcp))?)$/i;
/** Sessions that are over and remembered; transfers likewise. */
const MAX_ENDED = 1024;
/** Signalling messages that wait for the browser. Further ones are not acknowledged, and come again. */
const MAX_CHAINED = 1024;
/** Files that are offered to us, or received, at one time on one connection. A further one is refused as `busy`. */
const MAX_INCOMING = 16;

/** Signals that wait to be opened. At the bound further ones are dropped unacknowledged. */
const MAX_UNOPENED = 256;
const MAX_REPLACES = 8;
const MAX_NUMBER = Number.MAX_SAFE_INTEGER;
const MAX_UNACKNOWLEDGED = 128;
/** Numbers that a receiver tells apart. */
const WINDOW = 1024;
const BYE_REASONS = ["closed", "refused", "busy", "unknown-session", "failed"];
const SIGNAL_RETRY = 500;
const SIGNAL_RETRY_MAX = 4000;
const CLOSE_LINGER = 2000;
const RESTART_BURST = 3;
const RESTART_PERIOD = 2000;

const CONNECT_TIMEOUT = 15_000;
/** After a path is lost: when ICE is restarted, how often again, and when that is given up. */
const RESTART_AFTER = 5000;
const RESTART_INTERVAL = 8000;
const DISCONNECT_BUDGET = 60_000;
/** Before another session is begun after one that ended. */
const FIRST_PAUSE = 500;
const LONGEST_PAUSE = 10_000;

/** The close code for a connection whose name another one has taken. */
const REPLACED = 4000;
const FIRST_LINK_PAUSE = 250;
/** A WebSocket that lasted this long counts as a success. */
const STABLE = 5000;

/** Where `send` refuses with `full`. */
const MAX_BUFFERED = 8 * 1024 * 1024;
/** Above it `writable` waits, until there is less than the low one. */
const HIGH_WATER = 1024 * 1024;
const LOW_WATER = 256 * 1024;
/** What a peer takes that does not say (RFC 8841 section 6.1). */
const DEFAULT_MESSAGE_MAX = 64 * 1024;
/** The stream of a channel that exists for the sake of the description only. */
const UNUSED_STREAM = 1000;

/** The head of a chunk: 4 bytes of transfer and 8 of offset, most significant first. */
const CHUNK_HEADER = 12;
const CHUNK_MAX = 64 * 1024;
const READ_SIZE = 1024 * 1024;
/** Bytes of one file that may be under way to us. */
const FILE_WINDOW = 4 * 1024 * 1024;
/** What is received is given to the browser as a Blob in parts of this size. */
const PART_SIZE = 4 * 1024 * 1024;
const REFUSALS = ["declined", "name", "size", "busy", "storage"];
const FAILURES = ["checksum", "storage", "protocol"];
