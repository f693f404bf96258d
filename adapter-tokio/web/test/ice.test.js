import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";

import { Room, parseIceServers } from "../bowline.js";

const STUN = { urls: ["stun:192.0.2.1:3478"] };
const TURN = { urls: ["turn:192.0.2.1:3478?transport=udp", "turn:192.0.2.1:3478?transport=tcp"], username: "9:r/a", credential: "p" };
const frame = (/** @type {unknown} */ servers) => JSON.stringify({ type: "ice-servers", servers, more: 1 });

test("the ICE servers of the relay are read, and what a browser would not take is left out", () => {
  assert.deepEqual(parseIceServers(frame([STUN, TURN])), [STUN, TURN]);
  assert.deepEqual(parseIceServers(frame([{ urls: "stun:[2001:db8::1]" }])), [{ urls: ["stun:[2001:db8::1]"] }]);
  assert.deepEqual(parseIceServers(frame([{ ...STUN, credentialType: "x" }])), [STUN]);
  for (const useless of [
    null,
    7,
    {},
    { urls: [] },
    { urls: ["http://192.0.2.1"] },
    { urls: ["turn:192.0.2.1"] },
    { urls: ["turn:192.0.2.1"], username: "a" },
    { urls: ["turn:192.0.2.1"], username: "a", credential: 7 },
    { urls: ["stun:192.0.2.1?transport=udp"] },
    { urls: ["stun:a b"] },
    { urls: ["stun:" + "a".repeat(513)] },
  ]) {
    assert.deepEqual(parseIceServers(frame([useless])), [], JSON.stringify(useless));
  }
});

test("no more ICE servers are taken than the bound", () => {
  assert.equal(parseIceServers(frame(Array(9).fill(STUN)))?.length, 8);
  assert.equal(parseIceServers(frame([{ urls: Array(9).fill(STUN.urls[0]) }]))?.[0].urls.length, 8);
});

test("a peer cannot offer ICE servers", () => {
  for (const text of [
    '{"type":"ice-servers","servers":[],"from":"mallory","to":"a"}',
    '{"type":"ice-servers","servers":{}}',
    '{"type":"room","peers":[]}',
    "[]",
  ]) {
    assert.equal(parseIceServers(text), null, text);
  }
});

/** The connections that were made, with what they were given. @type {any[]} */
let connections = [];
/** @type {any} */
let socket;
/** @type {Room | undefined} */
let room;
const globals = /** @type {any} */ (globalThis);
const had = { WebSocket: globals.WebSocket, RTCPeerConnection: globals.RTCPeerConnection };

beforeEach(() => {
  connections = [];
  globals.WebSocket = class {
    constructor() {
      socket = this;
    }
    send() {}
    close() {}
  };
  globals.RTCPeerConnection = class {
    constructor(/** @type {any} */ ice) {
      this.given = [ice];
      connections.push(this);
    }
    setConfiguration(/** @type {any} */ ice) {
      this.given.push(ice);
    }
    createDataChannel() {
      return {};
    }
    createOffer() {
      return new Promise(() => {});
    }
    close() {}
  };
});

afterEach(() => {
  room?.close();
  room = undefined;
  Object.assign(globals, had);
});

/** Enters a room in which bob is. @param {object} [options] */
function enter(options = {}) {
  room = new Room({ url: "ws://relay.test", room: "r", id: "alice", ...options });
  return (/** @type {string[]} */ ...texts) => texts.forEach((data) => socket.onmessage({ data }));
}

const PRESENCE = '{"type":"room","peers":["alice","bob"]}';
const settled = () => new Promise((resolve) => setImmediate(resolve));

test("a connection uses what the relay offered, and what it offers later", async () => {
  const hear = enter();
  hear(frame([STUN, TURN]), PRESENCE);
  await settled();
  assert.equal(connections.length, 1);
  const renewed = { ...TURN, credential: "q" };
  hear(frame([renewed]));
  assert.deepEqual(connections[0].given, [
    { iceServers: [STUN, TURN], iceTransportPolicy: "all" },
    { iceServers: [renewed], iceTransportPolicy: "all" },
  ]);
});

test("servers that the page named are kept, and so is its policy", async () => {
  const hear = enter({ iceServers: [STUN], iceTransportPolicy: "relay" });
  hear(frame([TURN]), PRESENCE, frame([TURN]));
  await settled();
  assert.deepEqual(connections[0].given, [{ iceServers: [STUN], iceTransportPolicy: "relay" }]);
});
