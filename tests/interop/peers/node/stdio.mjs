// A program as the foreign peer: one request a line on the standard input, one report a line on the standard output.

import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { Peer } from "./peer.js";

/** Obeys until the input ends. */
export function serve(stack) {
  const peer = new Peer(stack, (message) => process.stdout.write(`${JSON.stringify(message)}\n`));
  const lines = createInterface({ input: process.stdin });
  lines.on("line", (line) => peer.handle(line));
  lines.on("close", () => process.exit(0));
}

/** The version of an installed package. */
export function versionOf(name) {
  const path = new URL(`./node_modules/${name}/package.json`, import.meta.url);
  return JSON.parse(readFileSync(path, "utf8")).version;
}
