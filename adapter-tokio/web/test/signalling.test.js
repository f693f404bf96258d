import assert from "node:assert/strict";
import { test } from "node:test";

import { Inbox, Negotiation, Outbox, Sightings } from "../bowline.js";

const HEADER = { v: /** @type {1} */ (1), from: "bob", to: "alice", session: "4".repeat(32) };
const [S1, S2, S3] = ["1", "2", "3"].map((digit) => digit.repeat(32));

/** Both machines of a pair, each with its own memory of what is over. */
function pair() {
  const side = (/** @type {string} */ own, /** @type {string} */ peer) => {
    /** @type {Set<string>} */
    const over = new Set();
    return new Negotiation(own, peer, (session) => over.has(session), (session) => over.add(session));
  };
  return { lower: side("alice", "bob"), higher: side("bob", "alice") };
}

test("in glare the higher name yields, and both end in the session of the lower", () => {
  const { lower, higher } = pair();
  lower.onConnect(S1);
  higher.onConnect(S2);
  assert.equal(lower.onOffer(S2, 0, []), "stale");
  assert.equal(higher.onOffer(S1, 0, []), "answer");
  assert.deepEqual(higher.replaces, [S2]);
  assert.equal(lower.onAnswer(S1, 0, higher.replaces), true);
  assert.deepEqual([lower.session, higher.session], [S1, S1]);
  assert.equal(higher.onOffer(S2, 0, []), "stale", "a late copy of what is over");
});

test("an offer that names ours as given up is answered, whoever is lower", () => {
  const { lower } = pair();
  lower.onConnect(S1);
  assert.equal(lower.onOffer(S2, 0, [S1]), "answer");
  assert.equal(lower.session, S2);
});

test("an offer of an unknown session replaces the one that is up, but not again and again", () => {
  const { lower } = pair();
  assert.equal(lower.onOffer(S1, 0, []), "answer");
  assert.equal(lower.onOffer(S2, 0, []), "answer");
  assert.equal(lower.onOffer(S1, 0, []), "stale");
  for (const digit of ["4", "5"]) assert.equal(lower.onOffer(digit.repeat(32), 0, []), "answer");
  assert.equal(lower.onOffer(S3, 0, []), "defer", "three at once");
});

test("restarts are offered by the lower, asked for by the higher, and served once", () => {
  const { lower, higher } = pair();
  lower.onConnect(S1);
  higher.onOffer(S1, 0, []);
  lower.onAnswer(S1, 0, []);
  assert.equal(higher.onRestartWanted(), 0);
  assert.equal(higher.state, "stable", "it asks");
  assert.equal(lower.onRestartRequest(S1, 0), "restart");
  assert.equal(lower.onRestartWanted(), 1);
  assert.equal(lower.onRestartRequest(S1, 0), "stale", "served already");
  assert.equal(lower.onRestartRequest(S1, 1), "defer", "one is under way");
  assert.equal(higher.onOffer(S1, 1, []), "answer");
  assert.equal(higher.onOffer(S1, 1, []), "stale");
  assert.equal(lower.onAnswer(S1, 0, []), false, "of the generation before");
  assert.equal(lower.onAnswer(S1, 1, []), true);
  assert.equal(higher.onOffer(S3, 1, []), "unknown");
});

test("a session that is over stays over", () => {
  const { higher } = pair();
  higher.onOffer(S1, 0, []);
  higher.onEnd();
  assert.equal(higher.onOffer(S1, 0, []), "stale");
  assert.deepEqual(higher.replaces, [S1]);
});

test("a number is fresh once, and again when it is retracted", () => {
  const inbox = new Inbox();
  for (const seq of [5, 1, 900, 2]) assert.equal(inbox.accept(seq), "fresh");
  assert.equal(inbox.accept(5), "duplicate");
  inbox.retract(5);
  assert.equal(inbox.accept(5), "fresh");
  assert.equal(inbox.accept(0), "fresh");
  assert.equal(inbox.accept(0), "fresh");
});

test("the window ends exactly at its size, and a leap forgets what fell out", () => {
  const inbox = new Inbox();
  assert.equal(inbox.accept(1025), "fresh");
  assert.equal(inbox.accept(1), "old");
  assert.equal(inbox.accept(2), "fresh");
  for (let seq = 3; seq <= 3000; seq++) inbox.accept(seq);
  assert.equal(inbox.accept(2999), "duplicate");
  assert.equal(inbox.accept(Number.MAX_SAFE_INTEGER), "fresh");
  assert.equal(inbox.accept(3000), "old");
});

/** @param {import("node:test").TestContext} t */
function outbox(t) {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  /** @type {any[]} */
  const sent = [];
  return { sent, outbox: new Outbox("alice", "bob", S1, (envelope) => sent.push(envelope)) };
}

/** In steps, so that a timer that another one sets is set in time. @param {import("node:test").TestContext} t @param {number} time */
function pass(t, time) {
  for (let passed = 0; passed < time; passed += 50) t.mock.timers.tick(50);
}

test("a message is repeated unchanged with growing pauses until it is acknowledged", (t) => {
  const { sent, outbox: box } = outbox(t);
  box.push("ice-restart", 4, {});
  t.mock.timers.tick(399);
  assert.equal(sent.length, 1, "no pause is shortened by more than a fifth");
  pass(t, 20_000);
  const expected = { v: 1, from: "alice", to: "bob", session: S1, generation: 4, seq: 1, type: "ice-restart" };
  for (const envelope of sent) assert.deepEqual(envelope, expected);
  assert.ok(sent.length >= 6 && sent.length <= 9, `${sent.length} in 20 s`);
  const before = sent.length;
  box.onAck(1);
  pass(t, 20_000);
  assert.equal(sent.length, before);
});

test("the link that comes back gets everything at once", (t) => {
  const { sent, outbox: box } = outbox(t);
  box.push("offer", 0, { sdp: "x" });
  box.push("ice-candidate", 0, { candidate: "y", ufrag: "z" });
  box.resend();
  assert.deepEqual(sent.map(({ seq }) => seq), [1, 2, 1, 2]);
});

test("what is superseded is not repeated, and the farewell for a short while only", (t) => {
  const { sent, outbox: box } = outbox(t);
  box.push("offer", 0, { sdp: "x" });
  box.push("ice-candidate", 0, { candidate: "y", ufrag: "z" });
  box.dropOffer(0);
  assert.equal(box.length, 1);
  box.dropBefore(1);
  assert.equal(box.length, 0);
  box.farewell(1, "closed");
  assert.deepEqual(sent.at(-1), { v: 1, from: "alice", to: "bob", session: S1, generation: 1, seq: 3, type: "bye", reason: "closed" });
  pass(t, 60_000);
  assert.equal(box.length, 0);
  assert.ok(sent.length <= 7, `${sent.length} were sent`);
});

test("a further message beyond the bound is refused", (t) => {
  const { outbox: box } = outbox(t);
  for (let i = 0; i < 128; i++) box.push("ice-restart", 0, {});
  assert.throws(() => box.push("ice-restart", 0, {}), /too many/);
  box.onAck(7);
  box.push("ice-restart", 0, {});
});

test("what was sent before the other was seen is old, unless it knows of the session", () => {
  const sightings = new Sightings();
  const message = (/** @type {object} */ fields) => /** @type {any} */ ({ ...HEADER, type: "offer", generation: 0, seq: 1, ...fields });
  const late = message({ time: 5 });
  assert.ok(!sightings.isOvertaken(late, S1), "nobody was seen");
  sightings.see(message({ seq: 0, time: 9 }));
  assert.ok(!sightings.isOvertaken(late, S1), "what has no number says nothing");
  sightings.see(message({ seq: 2, time: 5 }));
  sightings.see(message({ seq: 3, time: 4 }));
  assert.ok(sightings.isOvertaken(late, S1));
  assert.ok(!sightings.isOvertaken(message({ time: 6 }), S1));
  assert.ok(!sightings.isOvertaken(message({}), S1), "it has no time");
  assert.ok(!sightings.isOvertaken(message({ time: 5, replaces: [S1] }), S1));
  assert.ok(!sightings.isOvertaken(message({ time: 5, generation: 1 }), S1));
  const denial = (/** @type {number} */ time) => message({ type: "bye", reason: "unknown-session", seq: 0, time });
  assert.ok(sightings.isOutdated(denial(4)));
  assert.ok(!sightings.isOutdated(denial(5)));
  assert.ok(!sightings.isOutdated(message({ type: "bye", reason: "closed", time: 4 })));
});
