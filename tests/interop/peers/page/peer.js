// The foreign peer's half of the test protocol, for stacks whose API is that of browsers (W3C WebRTC) or is wrapped to
// look like it. `src/foreign/protocol.rs` says what the messages mean.

export class Peer {
  #connections = new Map();
  #channels = new Map();
  #nextChannel = 1;
  #stack;
  #report;

  /**
   * @param {{RTCPeerConnection: function, version: function(): Promise<string>, gathersFirst?: boolean,
   *          configuration?: object, describe?: function(object, boolean): object}} stack the stack, and whether its
   *        descriptions are to be waited for until they have all candidates
   * @param {function(object): void} report sends a message to the suite
   */
  constructor(stack, report) {
    this.#stack = stack;
    this.#report = report;
  }

  /** Carries a request out and answers it. */
  async handle(text) {
    const request = JSON.parse(text);
    try {
      const ok = (await this.#perform(request)) ?? {};
      this.#report({ id: request.id, ok });
    } catch (error) {
      this.#report({ id: request.id, error: String(error?.message ?? error) });
    }
  }

  #perform(request) {
    const connection = this.#connections.get(request.connection);
    const channel = this.#channels.get(request.channel);
    switch (request.do) {
      case "hello":
        return this.#stack.version().then((version) => ({ version }));
      case "create":
        return this.#create(request);
      case "offer":
        return this.#describe(connection, () => connection.createOffer(request.restart ? { iceRestart: true } : undefined));
      case "answer":
        return this.#answer(connection, request.sdp);
      case "accept":
        return connection.setRemoteDescription({ type: "answer", sdp: request.sdp });
      case "candidate":
        return connection.addIceCandidate({ candidate: request.candidate, sdpMLineIndex: 0 });
      case "channel":
        return this.#open(request, connection);
      case "send":
        return channel.send(request.text ?? fromBase64(request.binary));
      case "burst":
        return burst(channel, request);
      case "shut":
        return channel.close();
      case "close":
        return connection.close();
      default:
        throw new Error(`unknown request ${request.do}`);
    }
  }

  #create({ connection: number, iceServers = [], iceTransportPolicy = "all" }) {
    const ice = { iceServers, iceTransportPolicy };
    const connection = new this.#stack.RTCPeerConnection({ ...ice, ...this.#stack.configuration });
    this.#connections.set(number, connection);
    const tell = (event) => this.#report({ connection: number, ...event });
    connection.onicecandidate = ({ candidate }) => {
      // None at all is the end of candidates, which is told as an empty one.
      if (!this.#stack.gathersFirst) {
        tell({ event: "candidate", candidate: candidate?.candidate ?? "" });
      }
    };
    connection.onconnectionstatechange = () => tell({ event: "state", state: connection.connectionState });
    connection.ondatachannel = ({ channel }) => this.#adopt(channel, number, true);
  }

  async #answer(connection, sdp) {
    await connection.setRemoteDescription({ type: "offer", sdp });
    return this.#describe(connection, () => connection.createAnswer());
  }

  async #describe(connection, make) {
    await connection.setLocalDescription(await make());
    if (this.#stack.gathersFirst) {
      await gathered(connection);
    }
    return { sdp: connection.localDescription.sdp };
  }

  #open({ connection: number, label, init }, connection) {
    return { channel: this.#adopt(connection.createDataChannel(label, init), number, false) };
  }

  /** Gives a channel its number and tells what happens on it. */
  #adopt(channel, connection, remote) {
    const number = this.#nextChannel++;
    this.#channels.set(number, channel);
    const tell = (event, more = {}) => this.#report({ connection, channel: number, event, ...more });
    channel.binaryType = "arraybuffer";
    if (remote) {
      tell("channel", this.#mode(channel, remote));
    }
    let open = false;
    const opened = () => {
      if (!open) {
        open = true;
        tell("open", this.#mode(channel, remote));
      }
    };
    channel.onopen = opened;
    channel.onmessage = ({ data }) => tell("message", describeMessage(data));
    channel.onclosing = () => tell("closing");
    channel.onclose = () => tell("closed");
    channel.onerror = (event) => tell("error", { error: String(event?.error?.message ?? event?.error ?? "unknown") });
    if (channel.readyState === "open") {
      opened();
    }
    return number;
  }

  #mode(channel, remote) {
    const { label, protocol, ordered, maxRetransmits, maxPacketLifeTime, id } = channel;
    const mode = { label, protocol, ordered, maxRetransmits, maxPacketLifeTime, id };
    return { ...mode, ...this.#stack.describe?.(channel, remote) };
  }
}

function gathered(connection) {
  return new Promise((resolve) => {
    const look = () => connection.iceGatheringState === "complete" && resolve();
    connection.onicegatheringstatechange = look;
    look();
  });
}

/**
 * Sends `count` patterned messages of `size` bytes, and lets what is buffered grow to `high` bytes before each: then it
 * waits until `low` are left. Tells the most that was buffered, how often it waited, and how many events woke it.
 */
async function burst(channel, { count, size, high, low }) {
  let wake = () => {};
  let [most, waits, lows] = [0, 0, 0];
  channel.bufferedAmountLowThreshold = low;
  channel.onbufferedamountlow = () => {
    lows += 1;
    wake();
  };
  const base = pattern(size);
  for (let number = 0; number < count; number++) {
    while (channel.bufferedAmount > high) {
      waits += 1;
      await new Promise((resolve) => (wake = resolve));
    }
    channel.send(numbered(base, number));
    most = Math.max(most, channel.bufferedAmount);
  }
  return { most, waits, lows };
}

/** The bytes that every message of a burst is made of; `src/foreign/pattern.rs` has the same. */
function pattern(size) {
  const bytes = new Uint8Array(size);
  for (let i = 0; i < size; i++) {
    bytes[i] = i * 31 + (i >> 8) * 17;
  }
  return bytes;
}

/** The message with this number: the pattern with the number in its first four bytes. */
function numbered(base, number) {
  const bytes = base.slice();
  new DataView(bytes.buffer).setUint32(0, number);
  return bytes;
}

function describeMessage(data) {
  const text = typeof data === "string";
  const bytes = text ? new TextEncoder().encode(data) : new Uint8Array(data);
  const short = bytes.length <= 1024;
  return { text, size: bytes.length, crc: crc32(bytes), data: short ? toBase64(bytes) : undefined };
}

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
  let crc = n;
  for (let bit = 0; bit < 8; bit++) {
    crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1;
  }
  return crc;
});

function crc32(bytes) {
  let crc = 0xffffffff;
  for (let i = 0; i < bytes.length; i++) {
    crc = CRC_TABLE[(crc ^ bytes[i]) & 0xff] ^ (crc >>> 8);
  }
  return (crc ^ 0xffffffff) >>> 0;
}

function fromBase64(text) {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}

function toBase64(bytes) {
  return btoa(String.fromCharCode(...bytes));
}
