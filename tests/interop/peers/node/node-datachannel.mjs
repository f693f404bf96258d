// node-datachannel as the foreign peer. Its own API is wrapped in the browsers' one rather than used through the package's
// polyfill, which tells `ordered: true` of every channel that the other side opened and the id from before it is known.

import nodeDataChannel from "node-datachannel";
import { serve, versionOf } from "./stdio.mjs";

class Channel {
  #inner;
  readyState = "connecting";

  constructor(inner, init = {}) {
    this.#inner = inner;
    // Of its own channels the program knows what it asked for; the library has no way to ask.
    this.mode = init;
    inner.onOpen(() => this.#opened());
    inner.onClosed(() => this.#closed());
    inner.onError((error) => this.onerror?.({ error }));
    inner.onBufferedAmountLow(() => this.onbufferedamountlow?.());
    inner.onMessage((data) => this.onmessage?.({ data }));
    if (inner.isOpen()) {
      this.readyState = "open";
    }
  }

  #opened() {
    this.readyState = "open";
    this.onopen?.();
  }

  #closed() {
    this.readyState = "closed";
    this.onclose?.();
  }

  get label() {
    return this.#inner.getLabel();
  }

  get protocol() {
    return this.#inner.getProtocol();
  }

  get id() {
    return this.#inner.getId();
  }

  get bufferedAmount() {
    return this.#inner.bufferedAmount();
  }

  set bufferedAmountLowThreshold(bytes) {
    this.#inner.setBufferedAmountLowThreshold(bytes);
  }

  send(data) {
    if (typeof data === "string") {
      this.#inner.sendMessage(data);
    } else {
      this.#inner.sendMessageBinary(data);
    }
  }

  close() {
    this.#inner.close();
  }
}

class Connection {
  #inner = new nodeDataChannel.PeerConnection("peer", { iceServers: [], disableAutoNegotiation: true });

  constructor() {
    this.#inner.onDataChannel((channel) => this.ondatachannel({ channel: new Channel(channel) }));
    this.#inner.onStateChange(() => this.onconnectionstatechange());
    this.#inner.onGatheringStateChange(() => this.onicegatheringstatechange?.());
  }

  get connectionState() {
    return this.#inner.state();
  }

  get iceGatheringState() {
    return this.#inner.gatheringState();
  }

  get localDescription() {
    return this.#inner.localDescription();
  }

  createDataChannel(label, init) {
    const { ordered, ...rest } = init;
    return new Channel(this.#inner.createDataChannel(label, { ...rest, unordered: ordered === false }), init);
  }

  createOffer() {
    return { type: "offer" };
  }

  createAnswer() {
    return { type: "answer" };
  }

  setLocalDescription({ type }) {
    this.#inner.setLocalDescription(type);
  }

  setRemoteDescription({ type, sdp }) {
    this.#inner.setRemoteDescription(sdp, type);
  }

  addIceCandidate({ candidate }) {
    this.#inner.addRemoteCandidate(candidate, "0");
  }

  close() {
    this.#inner.close();
  }
}

/** What the library does not tell of a channel that the other side opened is left out. */
function describe({ mode }, remote) {
  const { maxRetransmits, maxPacketLifeTime } = mode;
  return remote ? {} : { ordered: mode.ordered ?? true, maxRetransmits, maxPacketLifeTime };
}

serve({
  RTCPeerConnection: Connection,
  version: async () => `node-datachannel ${versionOf("node-datachannel")} (libdatachannel ${nodeDataChannel.getLibraryVersion()})`,
  gathersFirst: true,
  describe,
});
