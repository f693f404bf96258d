import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";

import { Identity, aeadOpen, aeadSeal, isKey, readRollover } from "../seal.js";

const vectors = JSON.parse(await readFile(new URL("../../../docs/vectors/signals.json", import.meta.url), "utf8"));
const alice = await Identity.fromJwk(vectors.keys.alice);
const bob = await Identity.fromJwk(vectors.keys.bob);

test("every published signal is opened, or refused for the published reason", async () => {
  const { now } = vectors;
  const reasons = new Set();
  for (const { name, text, ...expected } of vectors.signals) {
    for (const demand of ["sealed", "signed"]) {
      const { opens, refused } = expected[demand];
      const result = await bob.open(text, { now, sealed: demand === "sealed" });
      assert.equal(result.refused, refused, `${name}, ${demand}`);
      assert.equal(result.message, opens, `${name}, ${demand}`);
      reasons.add(refused);
    }
  }
  assert.equal(reasons.size, 9, [...reasons].join());
});

test("every published statement of two keys is read, or is none", async () => {
  const kinds = new Set();
  for (const { name, text, reads } of vectors.rollovers) {
    assert.deepEqual(await readRollover(text), reads, name);
    kinds.add(reads === null);
  }
  assert.equal(kinds.size, 2);
  for (const bad of [undefined, 7, "", "a.b", "x".repeat(2000)]) assert.equal(await readRollover(bad), null);
});

test("what is signed and sealed here is opened here", async () => {
  const message = { v: 1, from: alice.id, to: bob.id, session: "0".repeat(32), type: "ice-restart" };
  for (const sealed of [true, false]) {
    const text = await alice.close(message, { now: 5, sealed });
    const { message: opened } = await bob.open(text, { now: 5, sealed });
    assert.deepEqual(JSON.parse(opened), { ...message, time: 5 });
    assert.equal(text.includes(message.session), false, "it is not readable");
  }
});

test("a key pair is kept as a json web key", async () => {
  const fresh = await Identity.generate();
  const again = await Identity.fromJwk(JSON.parse(JSON.stringify(fresh.toJwk())));
  assert.equal(again.id, fresh.id);
  assert.equal(fresh.id.length, 43);
  await assert.rejects(Identity.fromJwk({ ...fresh.toJwk(), x: alice.id }));
  await assert.rejects(Identity.fromJwk({ ...fresh.toJwk(), d: "AAAA" }));
  await assert.rejects(Identity.fromJwk({}));
});

test("an id is a key or it is not", () => {
  const { id } = alice;
  assert.ok(isKey(id));
  for (const bad of ["alice", "", 7, id.slice(1), `${id}A`, `${id.slice(0, -1)}_`, "A".repeat(43), `AQ${"A".repeat(41)}`]) {
    assert.equal(isKey(bad), false, String(bad));
  }
});

// RFC 8439 section 2.8.2.
test("the cipher is that of RFC 8439", () => {
  const bytes = (text) => Uint8Array.from(Buffer.from(text, "hex"));
  const key = bytes("808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f");
  const [nonce, data] = [bytes("070000004041424344454647"), bytes("50515253c0c1c2c3c4c5c6c7")];
  const text =
    "Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen would be it.";
  const sealed = aeadSeal(key, nonce, new TextEncoder().encode(text), data);
  const hex = Buffer.from(sealed).toString("hex");
  assert.ok(hex.startsWith("d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d6"));
  assert.ok(hex.endsWith("1ae10b594f09e26a7e902ecbd0600691"));
  assert.equal(Buffer.from(aeadOpen(key, nonce, sealed, data)).toString(), text);
  for (const at of [0, sealed.length - 1]) {
    const damaged = sealed.slice();
    damaged[at] ^= 1;
    assert.equal(aeadOpen(key, nonce, damaged, data), null);
  }
  assert.equal(aeadOpen(key, nonce, sealed, data.slice(1)), null);
});
