import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { test } from "node:test";

import { BowlineError, IncomingFile, Transfers, isFileName } from "../bowline.js";

const KIB = 1024;
const WINDOW = 4 * 1024 * KIB;

/**
 * Two sides of a connection. What one says arrives at the other in order on each channel, later.
 *
 * @param {{maxFileSize?: number, messageMax?: number, alter?: (data: any) => any}} [options]
 */
function connection({ maxFileSize = 2 ** 31, messageMax = 256 * KIB, alter = (data) => data } = {}) {
  /** @type {IncomingFile[]} */
  const offers = [];
  /** @type {any[]} */
  const log = [];
  /** @type {any} */
  const sides = {};
  const side = (/** @type {string} */ own, /** @type {string} */ other) =>
    new Transfers({
      maxFileSize,
      control: (message) => {
        log.push({ own, ...message });
        queueMicrotask(() => sides[other].onControl(JSON.stringify(message)));
      },
      file: (data) => {
        const message = typeof data === "string" ? data : copy(/** @type {Uint8Array} */ (data));
        log.push({ own, bytes: typeof data === "string" ? 0 : data.byteLength - 12 });
        queueMicrotask(() => sides[other].onFile(alter(message)));
      },
      ready: async () => {},
      messageMax: () => messageMax,
      onOffer: (file) => offers.push(file),
    });
  sides.a = side("a", "b");
  sides.b = side("b", "a");
  return { a: /** @type {Transfers} */ (sides.a), b: /** @type {Transfers} */ (sides.b), offers, log };
}

/** @param {Uint8Array} data @returns {ArrayBuffer} */
function copy(data) {
  return /** @type {ArrayBuffer} */ (data.slice().buffer);
}

/** @param {IncomingFile[]} offers */
async function offered(offers) {
  while (offers.length === 0) await new Promise((resolve) => setImmediate(resolve));
  return /** @type {IncomingFile} */ (offers.shift());
}

/** @param {string} code */
const withCode = (code) => (/** @type {unknown} */ error) => error instanceof BowlineError && error.code === code;

for (const size of [0, 1, 64 * KIB, 64 * KIB + 1, 3 * 1024 * KIB + 7]) {
  test(`a file of ${size} bytes arrives as it is`, async () => {
    const { a, offers } = connection();
    const content = randomBytes(size);
    /** @type {number[]} */
    const progress = [];
    const sending = a.send(new Blob([content]), { name: "x.bin", onProgress: ({ acknowledged }) => progress.push(acknowledged) });
    const offer = await offered(offers);
    assert.deepEqual([offer.name, offer.size], ["x.bin", size]);
    const file = await offer.accept();
    assert.ok(Buffer.from(await file.arrayBuffer()).equals(content));
    await sending;
    assert.equal(progress.at(-1), size);
    assert.ok(progress.every((value, i) => i === 0 || value >= /** @type {number} */ (progress[i - 1])), "it only grows");
  });
}

test("never more than the window is under way, and progress comes at every quarter of it", async () => {
  const { a, offers, log } = connection();
  const sending = a.send(new Blob([randomBytes(3 * WINDOW)]), { name: "x" });
  await (await offered(offers)).accept();
  await sending;
  let [sent, received] = [0, 0];
  for (const entry of log) {
    sent += entry.bytes ?? 0;
    if (entry.type === "file-progress") {
      assert.ok(entry.received - received <= WINDOW / 4 + 64 * KIB);
      received = entry.received;
    }
    assert.ok(sent - received <= WINDOW, `${sent - received} under way`);
  }
  assert.equal(received, 3 * WINDOW);
});

test("a chunk with its head is no longer than the longest message of the other", async () => {
  const { a, offers, log } = connection({ messageMax: 1012 });
  const sending = a.send(new Blob([randomBytes(2500)]), { name: "x" });
  await (await offered(offers)).accept();
  await sending;
  assert.deepEqual(log.map(({ bytes }) => bytes).filter(Boolean), [1000, 1000, 500]);
});

test("the sender stops at the window until something is acknowledged", async () => {
  const { a, b } = connection();
  let [received, acknowledged, most] = [0, 0, 0];
  b.onControl = (data) => {
    const { type, transfer } = JSON.parse(/** @type {string} */ (data));
    if (type === "file-offer") a.onControl(JSON.stringify({ type: "file-accept", transfer, offset: 0, sha256: "", window: 100_000 }));
    return true;
  };
  b.onFile = (data) => {
    if (typeof data === "string") a.onControl(JSON.stringify({ ...JSON.parse(data), type: "file-done" }));
    else received += data.byteLength - 12;
    most = Math.max(most, received - acknowledged);
    return true;
  };
  const sending = a.send(new Blob([randomBytes(350_000)]), { name: "x" });
  let isDone = false;
  sending.finally(() => (isDone = true));
  while (!isDone) {
    const before = received;
    await new Promise((resolve) => setTimeout(resolve, 5));
    if (received !== before) continue;
    acknowledged = received;
    a.onControl(JSON.stringify({ type: "file-progress", transfer: 1, received }));
  }
  await sending;
  assert.ok(received === 350_000 && most <= 100_000, `${most} of ${received} under way`);
});

/** Accepts whatever is offered to `side` with these fields, as a receiver that resumes does. @param {object} fields */
function resuming(fields) {
  const { a, b, log } = connection();
  b.onControl = (data) => {
    const message = JSON.parse(/** @type {string} */ (data));
    if (message.type === "file-offer") a.onControl(JSON.stringify({ type: "file-accept", transfer: message.transfer, ...fields }));
    return true;
  };
  /** @type {{offset: number, length: number}[]} */
  const chunks = [];
  b.onFile = (data) => {
    if (typeof data === "string") a.onControl(JSON.stringify({ ...JSON.parse(data), type: "file-done" }));
    else {
      const offset = Number(new DataView(data).getBigUint64(4));
      chunks.push({ offset, length: data.byteLength - 12 });
      a.onControl(JSON.stringify({ type: "file-progress", transfer: 1, received: offset + data.byteLength - 12 }));
    }
    return true;
  };
  return { a, log, chunks };
}

test("a receiver that has the beginning gets the rest, and one whose beginning is another gets all", async () => {
  const content = randomBytes(200_000);
  const sha256 = createHash("sha256").update(content.subarray(0, 150_000)).digest("hex");
  const same = resuming({ offset: 150_000, sha256, window: 64 * KIB });
  await same.a.send(new Blob([content]), { name: "x" });
  assert.deepEqual(same.chunks, [{ offset: 150_000, length: 50_000 }]);
  const other = resuming({ offset: 150_000, sha256: "0".repeat(64), window: 1000 });
  await other.a.send(new Blob([content]), { name: "x" });
  assert.deepEqual(other.chunks[0], { offset: 0, length: 1000 }, "a chunk is no longer than the window");
  assert.equal(other.chunks.length, 200);
});

test("an acceptance or progress that makes no sense ends the transfer", async () => {
  for (const fields of [{ offset: 11 }, { offset: -1 }, { window: 0 }, { sha256: 7 }]) {
    const { a } = resuming({ offset: 0, sha256: "", window: 1000, ...fields });
    await assert.rejects(a.send(new Blob(["0123456789"]), { name: "x" }), withCode("protocol"), JSON.stringify(fields));
  }
  const { a, offers } = connection();
  const sending = a.send(new Blob(["0123456789"]), { name: "x" });
  await offered(offers);
  a.onControl(JSON.stringify({ type: "file-progress", transfer: 1, received: 11 }));
  await assert.rejects(sending, withCode("protocol"));
});

test("a damaged file is not handed over, and both sides know", async () => {
  const { a, offers } = connection({
    alter: (data) => {
      if (typeof data !== "string") new Uint8Array(data)[20] ^= 1;
      return data;
    },
  });
  const sending = a.send(new Blob([randomBytes(1000)]), { name: "x" });
  const accepted = (await offered(offers)).accept();
  await assert.rejects(accepted, withCode("checksum"));
  await assert.rejects(sending, withCode("checksum"));
});

test("chunks that skip, repeat, overrun or are empty break the protocol", async () => {
  const chunk = (/** @type {number} */ offset, /** @type {number} */ length) => {
    const data = new DataView(new ArrayBuffer(12 + length));
    data.setUint32(0, 9);
    data.setBigUint64(4, BigInt(offset));
    return data.buffer;
  };
  for (const wrong of [chunk(1, 1), chunk(0, 0), chunk(0, 11), chunk(0, 65_537), chunk(2 ** 40, 1)]) {
    const { b, offers, log } = connection();
    b.onControl(JSON.stringify({ type: "file-offer", transfer: 9, name: "x", size: 10 }));
    const accepted = (await offered(offers)).accept();
    assert.equal(b.onFile(wrong), true);
    await assert.rejects(accepted, withCode("protocol"));
    assert.deepEqual(log.at(-1), { own: "b", transfer: 9, type: "file-failed", reason: "protocol" });
    assert.equal(b.onFile(wrong), true, "of a transfer that is over: ignored");
  }
});

test("each side can refuse and cancel, and the other knows why", async () => {
  const refused = connection();
  const first = refused.a.send(new Blob(["x"]), { name: "x" });
  (await offered(refused.offers)).refuse();
  await assert.rejects(first, withCode("declined"));

  const withdrawn = connection();
  const controller = new AbortController();
  const second = withdrawn.a.send(new Blob(["x"]), { name: "x", signal: controller.signal });
  const offer = await offered(withdrawn.offers);
  const told = new Promise((resolve) => (offer.onWithdrawn = resolve));
  controller.abort();
  await assert.rejects(second, withCode("cancelled"));
  assert.ok(withCode("cancelled")(await told));

  const running = connection();
  const third = running.a.send(new Blob([randomBytes(2 * WINDOW)]), { name: "x" });
  const file = await offered(running.offers);
  const accepted = file.accept({ onProgress: () => file.cancel() });
  await assert.rejects(accepted, withCode("cancelled"));
  await assert.rejects(third, withCode("cancelled"));
});

test("a file that cannot be read any more is called off", async () => {
  const { a, offers } = connection();
  const broken = Object.assign(new Blob(["0123456789"]), { slice: () => ({ arrayBuffer: () => Promise.reject(new Error("gone")) }) });
  const sending = a.send(/** @type {any} */ (broken), { name: "x" });
  const accepted = (await offered(offers)).accept();
  await assert.rejects(sending, withCode("source"));
  await assert.rejects(accepted, withCode("source"));
});

test("a connection that ends ends its transfers", async () => {
  const { a, b, offers } = connection();
  const sending = a.send(new Blob(["x"]), { name: "x" });
  const accepted = (await offered(offers)).accept();
  a.end();
  b.end();
  await assert.rejects(sending, withCode("disconnected"));
  await assert.rejects(accepted, withCode("disconnected"));
});

test("what may be offered is bounded: size, number, and names that lead elsewhere", async () => {
  const { b, offers, log } = connection({ maxFileSize: 100 });
  const offer = (/** @type {object} */ fields) => {
    log.length = 0;
    b.onControl(JSON.stringify({ type: "file-offer", transfer: 1000 + offers.length, name: "x", size: 100, ...fields }));
    return log[0]?.reason ?? "offered";
  };
  for (const name of ["", ".", "..", "../x", "a/b", "a\\b", "a\nb", "a\u202eb", "x".repeat(256), 7]) {
    assert.equal(offer({ name }), "name", String(name));
  }
  for (const size of [101, -1, 0.5, "7", undefined]) assert.equal(offer({ size }), "size", String(size));
  for (let i = 0; i < 16; i++) assert.equal(offer({ transfer: i }), "offered");
  assert.equal(offer({ transfer: 16 }), "busy");
  assert.equal(offer({ transfer: 3 }), "busy", "the number is taken");
});

test("names of files are any text that is no path", () => {
  for (const name of ["a", "Grüße.txt", "…", ".bashrc", "a b", "x".repeat(255)]) assert.ok(isFileName(name), name);
});

test("what is not about files is left to others", () => {
  const { a } = connection();
  for (const data of ["", "{", "[]", '{"type":"chat"}', new ArrayBuffer(20)]) assert.equal(a.onControl(data), false);
  for (const data of ["hello", '{"type":"chat"}', new ArrayBuffer(5), new ArrayBuffer(50)]) assert.equal(a.onFile(data), false);
  assert.equal(a.onControl('{"type":"file-unheard","transfer":1}'), true);
  assert.equal(a.onControl('{"type":"file-accept"}'), true);
});
