/**
 * seal.js: who a peer is, and how its signalling messages are signed and sealed, with the browser's own WebCrypto.
 *
 * A peer is an Ed25519 key; its id is the public half in base64url. The format is that of core/src/signal/seal.rs: a JWS
 * (RFC 7515, EdDSA of RFC 8037), sealed to the receiver by HPKE (RFC 9180: X25519, HKDF-SHA256, ChaCha20Poly1305).
 * docs/vectors/signals.json has examples that this file and the core are both tested with.
 *
 * WebCrypto has no ChaCha20Poly1305, so it is written out here (RFC 8439). It is as fast as messages of some kilobytes need,
 * and does not run in constant time: a page shares its process with nobody who could measure that.
 */

/** @typedef {"too-large" | "malformed" | "version" | "unsigned" | "unsealed" | "forged" | "not-fresh" | "misaddressed" | "reflected"} Refusal */

/** A key pair, and what it signs and opens. */
export class Identity {
  #jwk;
  #signing;
  #opening;

  /** @private Use `generate` or `fromJwk`. */
  constructor(jwk, signing, opening) {
    this.#jwk = jwk;
    this.#signing = signing;
    this.#opening = opening;
    /** The public key in base64url: what others know us by. @type {string} */
    this.id = jwk.x;
  }

  /** A new one. @returns {Promise<Identity>} */
  static async generate() {
    const { privateKey } = await crypto.subtle.generateKey("Ed25519", true, ["sign", "verify"]);
    return Identity.fromJwk(await crypto.subtle.exportKey("jwk", privateKey));
  }

  /**
   * The one that was saved.
   *
   * @param {JsonWebKey} jwk As `toJwk`, and `Identity::to_jwk` of the core, give it.
   * @returns {Promise<Identity>}
   * @throws When it is no Ed25519 key pair.
   */
  static async fromJwk({ kty, crv, d, x }) {
    const seed = unbase64(d ?? "");
    const jwk = { kty, crv, d, x };
    const signing = await crypto.subtle.importKey("jwk", jwk, "Ed25519", false, ["sign"]);
    const scalar = new Uint8Array(await crypto.subtle.digest("SHA-512", seed)).slice(0, 32);
    const opening = await crypto.subtle.importKey("pkcs8", concat(X25519_PKCS8, scalar), "X25519", false, ["deriveBits"]);
    const identity = new Identity(jwk, signing, opening);
    // Whether both halves belong together.
    const probe = utf8.encode(x);
    const signature = await crypto.subtle.sign("Ed25519", signing, probe);
    if (!(await verifies(x, signature, probe))) throw new TypeError("the public key is of another private key");
    return identity;
  }

  /** The key pair, to be kept where nobody else can read it. @returns {JsonWebKey} */
  toJwk() {
    return { ...this.#jwk };
  }

  /**
   * The text that carries a message.
   *
   * @param {object} message A message of version 1; `from` must be our id.
   * @param {{now?: number, sealed?: boolean}} [options] `now` in milliseconds since 1970; `sealed` false only signs.
   * @returns {Promise<string>}
   */
  async close(message, { now = Date.now(), sealed = true } = {}) {
    const { from, to } = message;
    const input = `${HEADER}.${base64(utf8.encode(JSON.stringify({ ...message, time: now })))}`;
    const signature = await crypto.subtle.sign("Ed25519", this.#signing, utf8.encode(input));
    const jws = `${input}.${base64(new Uint8Array(signature))}`;
    if (!sealed) return JSON.stringify({ v: VERSION, from, to, signed: jws });
    return JSON.stringify({ v: VERSION, from, to, sealed: base64(await seal(from, to, utf8.encode(jws))) });
  }

  /**
   * The message that a text carries to us, or why it is refused. Nothing of it is read before its signature is verified.
   *
   * @param {string} text
   * @param {{now?: number, sealed?: boolean}} [options] `sealed` false also takes what is only signed.
   * @returns {Promise<{message: string, from: string} | {refused: Refusal, from?: string}>} The message as JSON.
   */
  async open(text, { now = Date.now(), sealed: mustBeSealed = true } = {}) {
    if (text.length > MAX_SIGNAL) return { refused: "too-large" };
    const outer = parseObject(text);
    if (!outer || typeof outer.from !== "string") return { refused: "malformed" };
    const { v, from, to, signed, sealed } = outer;
    const refuse = (refused) => ({ refused, from });
    if (v === 1) return refuse("unsigned");
    if (v !== VERSION) return refuse(typeof v === "number" ? "version" : "malformed");
    if (from === this.id) return refuse("reflected");
    if (to !== this.id) return refuse("misaddressed");
    const one = (signed === undefined) !== (sealed === undefined);
    if (!one || typeof (signed ?? sealed) !== "string") return refuse("malformed");
    if (sealed === undefined && mustBeSealed) return refuse("unsealed");
    const jws = signed ?? (await unseal(from, to, sealed, this.#opening));
    const message = jws && (await verified(HEADER, from, jws));
    if (!message) return refuse("forged");
    const inner = parseObject(message);
    if (!inner || !Number.isSafeInteger(inner.time)) return refuse("malformed");
    if (inner.from !== from || inner.to !== to) return refuse("forged");
    if (Math.abs(now - inner.time) > FRESHNESS) return refuse("not-fresh");
    return { message, from };
  }
}

/** @typedef {{old: string, new: string, until: number}} Rollover Of two keys, with the end of the grace period in milliseconds since 1970. */

/**
 * Reads the statement that one key takes the place of another (core/src/signal/rollover.rs).
 *
 * @param {unknown} text
 * @returns {Promise<Rollover | null>} Null when it is none, or one of the two has not signed it.
 */
export async function readRollover(text) {
  if (typeof text !== "string" || text.length > MAX_ROLLOVER) return null;
  const inner = payload(ROLLOVER_HEADER, text);
  // Nothing of it is believed before both signatures are verified: it only says whose they should be.
  const claims = inner && parseObject(payload(ROLLOVER_HEADER, inner) ?? "");
  if (!claims) return null;
  const { old, new: fresh, until } = claims;
  if (typeof old !== "string" || typeof fresh !== "string" || old === fresh) return null;
  if (!Number.isSafeInteger(until) || until < 0) return null;
  const areBoth = (await verified(ROLLOVER_HEADER, old, text)) !== null && (await verified(ROLLOVER_HEADER, fresh, inner)) !== null;
  return areBoth ? { old, new: fresh, until } : null;
}

/** Whether it is an id that can be a peer: a key, written as it must be. @param {unknown} id */
export function isKey(id) {
  return typeof id === "string" && publicKey(id) !== null;
}

// ---------------------------------------------------------------------------------------------------------------------
// Signatures
// ---------------------------------------------------------------------------------------------------------------------

/** The payload of a JWS with this header, if `from` has signed it. */
async function verified(header, from, jws) {
  const signature = strictly(jws.slice(jws.lastIndexOf(".") + 1));
  const input = utf8.encode(jws.slice(0, jws.lastIndexOf(".")));
  if (signature?.length !== 64 || !(await verifies(from, signature, input))) return null;
  return payload(header, jws);
}

/** The payload of a JWS with this header, whoever has signed it. */
function payload(header, jws) {
  const parts = jws.split(".");
  const bytes = parts.length === 3 && parts[0] === header ? strictly(parts[1]) : null;
  return bytes && decodeText(bytes);
}

async function verifies(id, signature, data) {
  const key = publicKey(id);
  if (!key) return false;
  try {
    const imported = await crypto.subtle.importKey("raw", key, "Ed25519", false, ["verify"]);
    return await crypto.subtle.verify("Ed25519", imported, signature, data);
  } catch {
    return false;
  }
}

/** The 32 bytes of an id. None when it is written otherwise, or a key for which everybody can sign. */
function publicKey(id) {
  const key = strictly(id);
  if (key?.length !== 32) return null;
  return SMALL_ORDER.includes(edwardsY(key)) ? null : key;
}

function edwardsY(key) {
  return littleEndian(key) & ((1n << 255n) - 1n);
}

// ---------------------------------------------------------------------------------------------------------------------
// HPKE, RFC 9180
// ---------------------------------------------------------------------------------------------------------------------

async function seal(from, to, plaintext) {
  const receiver = montgomery(publicKey(to));
  const ours = await crypto.subtle.generateKey("X25519", true, ["deriveBits"]);
  const encapped = new Uint8Array(await crypto.subtle.exportKey("raw", ours.publicKey));
  const { key, nonce } = await keySchedule(ours.privateKey, receiver, concat(encapped, receiver));
  return concat(encapped, aeadSeal(key, nonce, plaintext, associated(from, to)));
}

async function unseal(from, to, text, opening) {
  const bytes = strictly(text);
  const own = publicKey(to);
  if (!bytes || bytes.length < 32 + 16 || !own) return null;
  const encapped = bytes.slice(0, 32);
  try {
    const { key, nonce } = await keySchedule(opening, encapped, concat(encapped, montgomery(own)));
    const plaintext = aeadOpen(key, nonce, bytes.slice(32), associated(from, to));
    return plaintext && decodeText(plaintext);
  } catch {
    // A point of small order.
    return null;
  }
}

/** Of DHKEM and the key schedule of the base mode (sections 4.1 and 5.1). */
async function keySchedule(privateKey, publicBytes, context) {
  const theirs = await crypto.subtle.importKey("raw", publicBytes, "X25519", false, []);
  const dh = new Uint8Array(await crypto.subtle.deriveBits({ name: "X25519", public: theirs }, privateKey, 256));
  if (dh.every((byte) => byte === 0)) throw new RangeError("a point of small order");
  const prk = await extract(KEM_SUITE, NOTHING, "eae_prk", dh);
  const shared = await expand(KEM_SUITE, prk, "shared_secret", context, 32);
  const pskHash = await extract(SUITE, NOTHING, "psk_id_hash", NOTHING);
  const infoHash = await extract(SUITE, NOTHING, "info_hash", INFO);
  const schedule = concat(Uint8Array.of(0), pskHash, infoHash);
  const secret = await extract(SUITE, shared, "secret", NOTHING);
  return {
    key: await expand(SUITE, secret, "key", schedule, 32),
    nonce: await expand(SUITE, secret, "base_nonce", schedule, 12),
  };
}

function extract(suite, salt, label, material) {
  return hmac(salt, concat(utf8.encode("HPKE-v1"), suite, utf8.encode(label), material));
}

/** At most one block of HMAC: 32 bytes. */
async function expand(suite, key, label, info, length) {
  const labelled = concat(Uint8Array.of(0, length), utf8.encode("HPKE-v1"), suite, utf8.encode(label), info, Uint8Array.of(1));
  return (await hmac(key, labelled)).slice(0, length);
}

async function hmac(key, data) {
  // HMAC fills short keys with zeros, and WebCrypto takes no empty one.
  const raw = key.length === 0 ? new Uint8Array(32) : key;
  const imported = await crypto.subtle.importKey("raw", raw, { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
  return new Uint8Array(await crypto.subtle.sign("HMAC", imported, data));
}

function associated(from, to) {
  return utf8.encode(`${from}.${to}`);
}

/** The X25519 form of an Ed25519 public key: u = (1 + y) / (1 - y), RFC 7748 section 4.1. */
function montgomery(key) {
  const y = edwardsY(key);
  const u = mod((1n + y) * power(mod(1n - y), PRIME - 2n));
  return Uint8Array.from({ length: 32 }, (_, at) => Number((u >> BigInt(8 * at)) & 255n));
}

function mod(n) {
  return ((n % PRIME) + PRIME) % PRIME;
}

function power(base, exponent) {
  let result = 1n;
  for (let square = base, rest = exponent; rest > 0n; rest >>= 1n) {
    if (rest & 1n) result = (result * square) % PRIME;
    square = (square * square) % PRIME;
  }
  return result;
}

// ---------------------------------------------------------------------------------------------------------------------
// ChaCha20Poly1305, RFC 8439
// ---------------------------------------------------------------------------------------------------------------------

/** The ciphertext and its tag. Exported for tests. */
export function aeadSeal(key, nonce, plaintext, data) {
  const ciphertext = chacha20(key, nonce, 1, plaintext);
  return concat(ciphertext, tag(key, nonce, ciphertext, data));
}

/** The plaintext, or null. Exported for tests. */
export function aeadOpen(key, nonce, sealed, data) {
  const ciphertext = sealed.slice(0, -16);
  const expected = tag(key, nonce, ciphertext, data);
  let difference = 0;
  for (let at = 0; at < 16; at += 1) difference |= expected[at] ^ sealed[ciphertext.length + at];
  return difference === 0 ? chacha20(key, nonce, 1, ciphertext) : null;
}

function tag(key, nonce, ciphertext, data) {
  const once = chacha20(key, nonce, 0, new Uint8Array(32));
  const r = littleEndian(once.slice(0, 16)) & 0x0ffffffc0ffffffc0ffffffc0fffffffn;
  const s = littleEndian(once.slice(16));
  const lengths = new DataView(new ArrayBuffer(16));
  lengths.setBigUint64(0, BigInt(data.length), true);
  lengths.setBigUint64(8, BigInt(ciphertext.length), true);
  let sum = 0n;
  for (const part of [data, ciphertext, new Uint8Array(lengths.buffer)]) {
    for (let at = 0; at < part.length; at += 16) {
      const block = new Uint8Array(16);
      block.set(part.subarray(at, at + 16));
      sum = ((sum + littleEndian(block) + (1n << 128n)) * r) % ((1n << 130n) - 5n);
    }
  }
  sum += s;
  return Uint8Array.from({ length: 16 }, (_, at) => Number((sum >> BigInt(8 * at)) & 255n));
}

function chacha20(key, nonce, counter, input) {
  const words = (bytes) => Array.from({ length: bytes.length / 4 }, (_, at) => view(bytes).getUint32(4 * at, true));
  const start = Uint32Array.from([0x61707865, 0x3320646e, 0x79622d32, 0x6b206574, ...words(key), counter, ...words(nonce)]);
  const output = new Uint8Array(input.length);
  const block = new DataView(new ArrayBuffer(64));
  for (let at = 0; at < input.length; at += 64, start[12] += 1) {
    const state = start.slice();
    for (let round = 0; round < 10; round += 1) for (const lane of LANES) quarter(state, ...lane);
    state.forEach((word, n) => block.setUint32(4 * n, word + start[n], true));
    for (let n = 0; n < 64 && at + n < input.length; n += 1) output[at + n] = input[at + n] ^ block.getUint8(n);
  }
  return output;
}

function quarter(s, a, b, c, d) {
  for (const [left, right] of [[16, 12], [8, 7]]) {
    s[a] += s[b];
    s[d] = rotate(s[d] ^ s[a], left);
    s[c] += s[d];
    s[b] = rotate(s[b] ^ s[c], right);
  }
}

function rotate(word, by) {
  return (word << by) | (word >>> (32 - by));
}

// ---------------------------------------------------------------------------------------------------------------------
// Bytes and text
// ---------------------------------------------------------------------------------------------------------------------

function base64(bytes) {
  let text = "";
  for (let at = 0; at < bytes.length; at += 4096) text += String.fromCharCode(...bytes.subarray(at, at + 4096));
  return btoa(text).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

function unbase64(text) {
  return Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (char) => char.charCodeAt(0));
}

/** The bytes of a base64url text, if it is the one that they are written as. */
function strictly(text) {
  if (!/^[A-Za-z0-9_-]*$/.test(text) || text.length % 4 === 1) return null;
  const bytes = unbase64(text);
  return base64(bytes) === text ? bytes : null;
}

function decodeText(bytes) {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return null;
  }
}

/** A JSON object; null when it is anything else. @param {string} text @returns {Record<string, unknown> | null} */
export function parseObject(text) {
  try {
    const value = JSON.parse(text);
    return typeof value === "object" && value !== null && !Array.isArray(value) ? value : null;
  } catch {
    return null;
  }
}

function concat(...parts) {
  const out = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

function littleEndian(bytes) {
  return bytes.reduceRight((sum, byte) => (sum << 8n) | BigInt(byte), 0n);
}

function view(bytes) {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

const utf8 = new TextEncoder();
const NOTHING = new Uint8Array(0);
const VERSION = 2;
/** `{"alg":"EdDSA","typ":"bowline"}` */
const HEADER = "eyJhbGciOiJFZERTQSIsInR5cCI6ImJvd2xpbmUifQ";
/** `{"alg":"EdDSA","typ":"bowline-rollover"}` */
const ROLLOVER_HEADER = "eyJhbGciOiJFZERTQSIsInR5cCI6ImJvd2xpbmUtcm9sbG92ZXIifQ";
const INFO = utf8.encode("bowline signal 2");
const KEM_SUITE = concat(utf8.encode("KEM"), Uint8Array.of(0, 0x20));
const SUITE = concat(utf8.encode("HPKE"), Uint8Array.of(0, 0x20, 0, 1, 0, 3));
/** What stands before the 32 bytes of an X25519 private key in PKCS #8 (RFC 8410 section 7). */
const X25519_PKCS8 = Uint8Array.from([0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x6e, 4, 0x22, 4, 0x20]);
const PRIME = 2n ** 255n - 19n;
/** The y of the points whose order is 1, 2, 4 or 8, also where it is not reduced. */
const SMALL_ORDER = [
  0n,
  1n,
  PRIME - 1n,
  PRIME,
  PRIME + 1n,
  0x7a03ac9277fdc74ec6cc392cfa53202a0f67100d760b3cba4fd84d3d706a17c7n,
  0x05fc536d880238b13933c6d305acdfd5f098eff289f4c345b027b2c28f95e826n,
];
/** Columns and diagonals. */
const LANES = [0, 1, 2, 3].map((n) => [n, 4 + n, 8 + n, 12 + n]).concat([0, 1, 2, 3].map((n) => [n, 4 + ((n + 1) % 4), 8 + ((n + 2) % 4), 12 + ((n + 3) % 4)]));
/** In milliseconds: `Signalling::freshness` of the core. */
const FRESHNESS = 300_000;
/** In characters: `Rollover::MAX_LEN` of the core. */
const MAX_ROLLOVER = 1024;
/** In characters: `Limits::max_signal_size` of the core. */
export const MAX_SIGNAL = 64 * 1024;
