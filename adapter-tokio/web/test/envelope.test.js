import assert from "node:assert/strict";
import { test } from "node:test";

import { parseEnvelope, parsePresence, replyToUnknown } from "../bowline.js";

const SESSION = "00112233445566778899aabbccddeeff";
const HEADER = { v: 1, from: "alice", to: "bob", session: SESSION, generation: 0, seq: 1 };
const parse = (/** @type {object} */ fields) => parseEnvelope(JSON.stringify({ ...HEADER, ...fields }));

/** One of each type, as core/src/signal/envelope.rs has them. */
const VALID = [
  { type: "offer", sdp: "v=0\r\n", bowline: { version: 1, max_message_size: 262144 } },
  { type: "answer", sdp: "v=0\r\n", replaces: ["ffeeddccbbaa99887766554433221100"] },
  { type: "ice-candidate", candidate: "candidate:1 1 udp 2130706431 192.0.2.1 4000 typ host", ufrag: "abcd" },
  { type: "end-of-candidates", ufrag: "abcd" },
  { type: "ice-restart" },
  { type: "bye", reason: "unknown-session", seq: 0 },
  { type: "bye", reason: "closed" },
  { type: "ack", ack: 7, seq: 0, time: 1_780_000_000_000 },
];

test("every type is read, whatever fields are added", () => {
  for (const fields of VALID) {
    assert.deepEqual(parse({ ...fields, unheard: [1] }), { ...HEADER, ...fields, unheard: [1] });
  }
});

test("what breaks a rule of the format is no envelope", () => {
  const [offer] = VALID;
  const wrong = [
    { v: 2 },
    { from: "" },
    { from: "a b" },
    { to: "x".repeat(65) },
    { to: 7 },
    { session: SESSION.toUpperCase() },
    { session: "00" },
    { generation: -1 },
    { generation: 2 ** 32 },
    { seq: 1.5 },
    { seq: 2 ** 53 },
    { seq: 0 },
    { type: "hello" },
    { type: "constructor" },
    { sdp: 7 },
    { sdp: undefined },
    { replaces: Array(9).fill(SESSION) },
    { replaces: ["x"] },
    { replaces: null },
    { bowline: {} },
    { bowline: 1 },
    { type: "ice-candidate", candidate: "x".repeat(2049), ufrag: "abcd" },
    { type: "ice-candidate", candidate: "x" },
    { type: "end-of-candidates", ufrag: "" },
    { type: "end-of-candidates", ufrag: "x".repeat(257) },
    { type: "bye", reason: "tired" },
    { type: "ack", ack: 7 },
    { type: "ack", ack: 0, seq: 0 },
    { time: -1 },
    { time: "1" },
    { time: 2 ** 53 },
  ];
  for (const fields of wrong) assert.equal(parse({ ...offer, ...fields }), null, JSON.stringify(fields));
  for (const text of ["", "[]", "null", "7", "{", '"offer"']) assert.equal(parseEnvelope(text), null, text);
});

test("the longest message is read and a longer one is not", () => {
  const room = 64 * 1024 - JSON.stringify({ ...HEADER, type: "offer", sdp: "" }).length;
  assert.notEqual(parse({ type: "offer", sdp: "x".repeat(room) }), null);
  assert.equal(parse({ type: "offer", sdp: "x".repeat(room + 1) }), null);
});

test("the relay's word on who is present is told from what peers send", () => {
  assert.deepEqual(parsePresence('{"type":"room","peers":["a","b"],"more":1}'), ["a", "b"]);
  for (const text of ['{"type":"room"}', '{"type":"room","peers":["a b"]}', '{"type":"room","peers":["a"],"from":"m"}', "[]"]) {
    assert.equal(parsePresence(text), null, text);
  }
});

test("only what believes in a session that is unknown gets a farewell", () => {
  const types = (/** @type {boolean} */ wasOver) =>
    VALID.map((fields) => replyToUnknown(/** @type {any} */ (parse(fields)), wasOver)?.type ?? null);
  assert.deepEqual(types(false), [null, "bye", null, null, "bye", null, "ack", null]);
  assert.deepEqual(types(true), ["ack", "bye", "ack", "ack", "bye", null, "ack", null]);
  const restart = replyToUnknown(/** @type {any} */ (parse({ ...VALID[0], generation: 1 })), true);
  assert.deepEqual(restart, { ...HEADER, from: "bob", to: "alice", generation: 1, seq: 0, type: "bye", reason: "unknown-session" });
});
