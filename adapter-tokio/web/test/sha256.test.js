import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { test } from "node:test";

import { Sha256 } from "../bowline.js";

const ofNode = (/** @type {Uint8Array} */ data) => createHash("sha256").update(data).digest("hex");

test("the digests of every length around the blocks are those of another implementation", () => {
  for (let length = 0; length <= 200; length++) {
    const data = randomBytes(length);
    assert.equal(new Sha256().update(data).hex(), ofNode(data), `${length} bytes`);
  }
});

test("pieces of any size give the digest of the whole", () => {
  const data = randomBytes(300_000);
  for (const size of [1, 63, 64, 65, 127, 4096, 65_537]) {
    const hash = new Sha256();
    for (let at = 0; at < data.length; at += size) hash.update(data.subarray(at, at + size));
    assert.equal(hash.hex(), ofNode(data), `pieces of ${size}`);
  }
});

test("a clone goes on by itself", () => {
  const hash = new Sha256().update(Buffer.from("abc"));
  assert.equal(hash.clone().hex(), ofNode(Buffer.from("abc")));
  assert.equal(hash.update(Buffer.from("def")).hex(), ofNode(Buffer.from("abcdef")));
});
