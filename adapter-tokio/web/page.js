/** The page of `bowline serve`: people, chat and files of one room. */

import { Identity, KINDS, Room, isKey, isName } from "./bowline.js";

/** @typedef {import("./bowline.js").Peer} Peer */
/** @typedef {import("./bowline.js").IncomingFile} IncomingFile */

/** The longest chat message, in bytes of UTF-8, and how many are shown. */
const CHAT_MAX = 4096;
const LOG_MAX = 500;
/** Files that are shown; of more, the oldest that are over go. */
const TRANSFERS_MAX = 100;
const REFRESH = 1000;
/** Where this tab keeps its key. */
const KEY = "bowline-identity";

/** @param {string} id @returns {any} */
const element = (id) => document.getElementById(id);

/** Shows the form. @param {string} roomName @param {string} ownName @param {string} [problem] */
function ask(roomName, ownName, problem) {
  element("join").hidden = false;
  element("join-room").value = roomName || "lobby";
  element("join-name").value = ownName;
  // One that is disabled is not sent.
  element("join-token").value = accessToken ?? "";
  element("join-token").disabled = accessToken === null;
  element("join-sealed").checked = isSealed;
  canSeal().then((can) => {
    element("join-sealed").disabled = !can;
    element("join-unsealed").hidden = can;
  });
  element(ownName && !problem ? "join-room" : "join-name").focus();
  if (problem) element("join-problem").textContent = problem;
}

/** Whether this browser, and the way the page came, allow for keys. */
async function canSeal() {
  try {
    await Identity.generate();
    return true;
  } catch {
    return false;
  }
}

/** The key of this tab, which a reload keeps. @returns {Promise<Identity>} */
async function ownIdentity() {
  const saved = sessionStorage.getItem(KEY);
  if (saved) return Identity.fromJwk(JSON.parse(saved));
  const identity = await Identity.generate();
  sessionStorage.setItem(KEY, JSON.stringify(identity.toJwk()));
  return identity;
}

/** @param {string} roomName @param {string} ownName */
async function start(roomName, ownName) {
  const relay = `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}`;
  const url = accessToken === null ? relay : `${relay}/?token=${encodeURIComponent(accessToken)}`;
  let room;
  try {
    if (!isName(ownName)) throw new TypeError(`not a name: ${JSON.stringify(ownName)}`);
    const identity = isSealed ? await ownIdentity() : undefined;
    room = new Room({ url, room: roomName, identity, id: identity?.id ?? ownName });
  } catch (error) {
    return ask(roomName, ownName, /** @type {Error} */ (error).message);
  }
  element("main").hidden = false;
  names.set(room.id, ownName);
  element("where").append(strong(called(room)), " in ", strong(roomName));
  element("command").textContent = `bowline chat ${roomName} --relay ${relay}${isSealed ? " --identity FILE" : ""}`;
  document.title = `${roomName} – bowline`;
  const people = new People(room);
  const chat = new Chat(room);
  if (isSealed) exchangeNames(room, ownName, people);
  noteStrangers(room, chat);
  const files = new Files(room, chat);
  people.onFile = (peer, file) => files.send(peer, file);
  showLink(room);
  // A page that the browser had put away has said goodbye.
  addEventListener("pageshow", ({ persisted }) => persisted && location.reload());
  element("text").focus();
}

// Names

/** What people who are keys say they are called. @type {Map<string, string>} */
const names = new Map();

/**
 * How somebody is shown: by its name or, where people are keys, by what it says it is called and the beginning of its key.
 *
 * @param {{id: string}} peer
 */
function called({ id }) {
  return isSealed ? `${names.get(id) ?? ""}#${id.slice(0, 8)}` : id;
}

/** @param {Room} room @param {string} ownName @param {People} people */
function exchangeNames(room, ownName, people) {
  on(room, "state", ({ peer, state }) => {
    if (state === "connected") peer.send("reliable", JSON.stringify({ type: "name", name: ownName }));
  });
  on(room, "message", ({ peer, kind, data }) => {
    const message = kind === "reliable" ? parseMessage(data) : null;
    if (message?.type !== "name" || !isName(message.name)) return;
    names.set(peer.id, message.name);
    people.rename(peer);
  });
  on(room, "gone", ({ peer }) => names.delete(peer.id));
}

/** Says who is present and cannot be met. @param {Room} room @param {Chat} chat */
function noteStrangers(room, chat) {
  let known = new Set();
  on(room, "presence", ({ peers }) => {
    const strangers = peers.filter((/** @type {string} */ id) => isKey(id) !== isSealed);
    for (const id of strangers) {
      if (!known.has(id)) chat.note(isSealed ? `${id} is here without a key, and cannot be met` : `${id.slice(0, 8)} is here with a key, and meets keys only`);
    }
    known = new Set(strangers);
  });
}

/** A message between pages and terminals: a JSON object. @param {unknown} data @returns {any} */
function parseMessage(data) {
  try {
    return JSON.parse(/** @type {string} */ (data));
  } catch {
    return null;
  }
}

/** @param {Room} room */
function showLink(room) {
  const link = element("link");
  const rejoin = element("rejoin");
  const show = (/** @type {boolean} */ up, /** @type {string} */ text) => {
    link.classList.toggle("up", up);
    link.textContent = text;
  };
  show(false, "Connecting to the relay");
  rejoin.addEventListener("click", () => room.rejoin());
  on(room, "link", ({ up, error }) => {
    rejoin.hidden = error !== "replaced";
    if (up) show(true, "Relay connected");
    else if (error === "replaced") show(false, "Your name is in use elsewhere");
    else show(false, "Relay lost, trying again");
  });
}

// People

class People {
  #room;
  /** @type {Map<Peer, HTMLElement>} */
  #cards = new Map();
  onFile = (/** @type {Peer} */ _peer, /** @type {File} */ _file) => {};

  /** @param {Room} room */
  constructor(room) {
    this.#room = room;
    on(room, "peer", ({ peer }) => this.#add(peer));
    on(room, "gone", ({ peer }) => this.#remove(peer));
    on(room, "state", ({ peer }) => this.#show(peer));
    setInterval(() => this.#refresh(), REFRESH);
  }

  /** @param {Peer} peer */
  #add(peer) {
    const card = fromTemplate("peer");
    paint(card, peer.id);
    part(card, ".send-label").textContent = "Send a file";
    onFiles(part(card, "input"), (file) => this.onFile(peer, file));
    this.#cards.set(peer, card);
    this.rename(peer);
    const after = [...this.#cards].find(([other]) => other.id > peer.id)?.[1] ?? null;
    element("peers").insertBefore(card, after);
    this.#show(peer);
  }

  /** Shows what somebody is called now. @param {Peer} peer */
  rename(peer) {
    const card = this.#cards.get(peer);
    if (!card) return;
    const name = called(peer);
    part(card, ".avatar").textContent = name.slice(0, 1);
    part(card, ".name").textContent = name;
    part(card, ".name").title = peer.id;
    part(card, "input").setAttribute("aria-label", `Send a file to ${name}`);
  }

  /** @param {Peer} peer */
  #remove(peer) {
    this.#cards.get(peer)?.remove();
    this.#cards.delete(peer);
    element("alone").hidden = this.#cards.size > 0;
  }

  /** @param {Peer} peer */
  async #show(peer) {
    const card = this.#cards.get(peer);
    if (!card) return;
    element("alone").hidden = true;
    const state = part(card, ".state");
    state.textContent = peer.state;
    state.title = peer.cause;
    state.className = `state ${peer.state}`;
    part(card, ".kind").textContent = peer.state === "connected" ? (peer.isBowline ? "bowline" : "page") : "";
    part(card, ".channels").replaceChildren(...KINDS.map((kind) => channelItem(kind, peer.channels[kind])));
    const stats = await peer.stats().catch(() => null);
    const path = stats?.local && stats.remote ? `${stats.local.type} → ${stats.remote.type} ${stats.remote.address} ${stats.remote.protocol}` : "–";
    part(card, ".path").textContent = path;
    part(card, ".rtt").textContent = stats?.rtt == null ? "–" : `${stats.rtt.toFixed(stats.rtt < 10 ? 1 : 0)} ms`;
    part(card, ".restarts").textContent = stats ? String(peer.restarts) : "–";
    part(card, ".sent").textContent = stats ? bytes(stats.sent) : "–";
    part(card, ".received").textContent = stats ? bytes(stats.received) : "–";
  }

  #refresh() {
    for (const peer of this.#cards.keys()) this.#show(peer);
  }
}

/** @param {string} kind @param {string} state */
function channelItem(kind, state) {
  const item = document.createElement("li");
  item.className = state;
  item.textContent = kind;
  item.append(hidden(` ${state}`));
  return item;
}

// Chat

class Chat {
  #room;

  /** @param {Room} room */
  constructor(room) {
    this.#room = room;
    element("say").addEventListener("submit", (/** @type {SubmitEvent} */ event) => {
      event.preventDefault();
      this.#say(element("text"));
    });
    on(room, "message", ({ peer, kind, data }) => kind === "reliable" && this.#receive(peer, data));
    on(room, "state", ({ peer, state, cause }) => {
      if (state === "connected") this.note(`${called(peer)} is connected`);
      else if (state === "disconnected") this.note(`The connection to ${called(peer)} is broken, repairing it`);
      else if (state === "failed" || state === "closed") this.note(`${called(peer)} is gone (${cause})`);
    });
  }

  /** A line that nobody said. @param {string} text */
  note(text) {
    this.#append("note", "", text);
  }

  /** @param {HTMLInputElement} input */
  #say(input) {
    const text = input.value;
    if (text.trim() === "") return;
    if (utf8Length(text) > CHAT_MAX) return this.note("That is too long for one message");
    const message = JSON.stringify({ type: "chat", text });
    const missed = [];
    for (const peer of this.#room.peers.values()) {
      try {
        peer.send("reliable", message);
      } catch {
        missed.push(called(peer));
      }
    }
    this.#append("own", called(this.#room), text);
    if (missed.length) this.note(`Not connected, and so not told: ${missed.join(", ")}`);
    input.value = "";
  }

  /** @param {Peer} peer @param {string | ArrayBuffer} data */
  #receive(peer, data) {
    const message = parseMessage(data);
    if (message?.type === "chat" && typeof message.text === "string" && utf8Length(message.text) <= CHAT_MAX) {
      this.#append("", called(peer), message.text);
    }
  }

  /** @param {string} style @param {string} who @param {string} text */
  #append(style, who, text) {
    const log = element("log");
    const isAtEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
    const item = document.createElement("li");
    item.className = style;
    if (who) {
      paint(item, who);
      const name = document.createElement("span");
      name.className = "who";
      name.textContent = `${who} · ${new Date().toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" })}`;
      item.append(name);
    }
    item.append(text);
    log.append(item);
    while (log.children.length > LOG_MAX) log.firstElementChild.remove();
    if (isAtEnd || style === "own") log.scrollTop = log.scrollHeight;
  }
}

// Files

class Files {
  #room;
  #chat;

  /** @param {Room} room @param {Chat} chat */
  constructor(room, chat) {
    this.#room = room;
    this.#chat = chat;
    onFiles(element("file-all"), (file) => this.#sendToAll(file));
    on(room, "file", ({ peer, file }) => this.#offered(peer, file));
    addEventListener("beforeunload", (event) => {
      if (document.querySelector(".transfer.running")) event.preventDefault();
    });
  }

  /** @param {Peer} peer @param {File} file */
  async send(peer, file) {
    const row = new Row(file.name, file.size);
    const cancel = new AbortController();
    row.offer([["Cancel", () => cancel.abort()]]);
    row.say("running", `Waiting for ${called(peer)}`);
    const onProgress = (/** @type {{acknowledged: number}} */ { acknowledged }) => row.progress(acknowledged, `To ${called(peer)}`);
    try {
      await peer.sendFile(file, { signal: cancel.signal, onProgress });
      row.end("done", `${called(peer)} has it, checksum verified`);
    } catch (error) {
      row.end("failed", `Not sent to ${called(peer)}: ${explain(error)}`);
    }
  }

  /** @param {File} file */
  #sendToAll(file) {
    const peers = [...this.#room.peers.values()].filter((peer) => peer.state === "connected");
    if (peers.length === 0) this.#chat.note(`Nobody is connected who could take ${file.name}`);
    for (const peer of peers) this.send(peer, file);
  }

  /** @param {Peer} peer @param {IncomingFile} file */
  #offered(peer, file) {
    const row = new Row(file.name, file.size);
    row.say("", `${called(peer)} offers it`);
    file.onWithdrawn = (error) => row.end("failed", `Withdrawn by ${called(peer)}: ${explain(error)}`);
    const refuse = () => {
      file.refuse();
      row.end("", "Declined");
    };
    row.offer([
      ["Accept", () => this.#receive(peer, file, row)],
      ["Decline", refuse],
    ]);
  }

  /** @param {Peer} peer @param {IncomingFile} file @param {Row} row */
  async #receive(peer, file, row) {
    row.offer([["Cancel", () => file.cancel()]]);
    row.say("running", `From ${called(peer)}`);
    try {
      const received = await file.accept({ onProgress: ({ received }) => row.progress(received, `From ${called(peer)}`) });
      row.end("done", `From ${called(peer)}, checksum verified`);
      row.save(received);
    } catch (error) {
      row.end("failed", `Not received from ${called(peer)}: ${explain(error)}`);
    }
  }
}

/** One transfer on the screen. */
class Row {
  #item = fromTemplate("transfer");
  #size;
  #began = 0;
  #first = 0;

  /** @param {string} name @param {number} size */
  constructor(name, size) {
    this.#size = size;
    part(this.#item, ".name").textContent = name;
    part(this.#item, ".size").textContent = bytes(size);
    part(this.#item, "progress").setAttribute("aria-label", name);
    element("no-files").hidden = true;
    const list = element("transfers");
    list.prepend(this.#item);
    const over = list.querySelectorAll(".transfer.over");
    if (list.children.length > TRANSFERS_MAX) over[over.length - 1]?.remove();
  }

  /** @param {string} style @param {string} text */
  say(style, text) {
    this.#item.className = `transfer ${style}`;
    part(this.#item, ".status").textContent = text;
  }

  /** @param {number} moved @param {string} text */
  progress(moved, text) {
    if (this.#began === 0) [this.#began, this.#first] = [performance.now(), moved];
    const elapsed = (performance.now() - this.#began) / 1000;
    const rate = elapsed > 0.5 ? (moved - this.#first) / elapsed : 0;
    /** @type {any} */ (part(this.#item, "progress")).value = this.#size ? moved / this.#size : 1;
    const left = rate > 0 ? `, ${duration((this.#size - moved) / rate)} left` : "";
    this.say("running", `${text}: ${bytes(moved)}${rate > 0 ? `, ${bytes(rate)}/s` : ""}${left}`);
  }

  /** @param {string} style @param {string} text */
  end(style, text) {
    this.say(`${style} over`, text);
    if (style === "done") /** @type {any} */ (part(this.#item, "progress")).value = 1;
    this.offer([]);
  }

  /** @param {[string, () => void][]} actions */
  offer(actions) {
    const buttons = actions.map(([label, action], i) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = label;
      button.className = i === 0 && actions.length > 1 ? "primary" : "";
      button.append(hidden(` ${part(this.#item, ".name").textContent}`));
      button.addEventListener("click", action, { once: true });
      return button;
    });
    part(this.#item, ".actions").replaceChildren(...buttons);
  }

  /** @param {File} file */
  save(file) {
    const anchor = document.createElement("a");
    anchor.className = "button primary";
    anchor.href = URL.createObjectURL(file);
    anchor.download = file.name;
    anchor.textContent = "Save";
    anchor.append(hidden(` ${file.name}`));
    part(this.#item, ".actions").replaceChildren(anchor);
  }
}

/** @param {unknown} error */
function explain(error) {
  const { code, message } = /** @type {{code?: string, message: string}} */ (error);
  return code === "declined" ? "declined" : message;
}

// Small things

/** @param {Room} room @param {string} type @param {(detail: any) => void} listener */
function on(room, type, listener) {
  room.addEventListener(type, (event) => listener(/** @type {CustomEvent} */ (event).detail));
}

/** @param {any} input @param {(file: File) => void} listener */
function onFiles(input, listener) {
  input.addEventListener("change", () => {
    for (const file of input.files) listener(file);
    input.value = "";
  });
}

/** @param {string} id @returns {HTMLElement} */
function fromTemplate(id) {
  return element(id).content.firstElementChild.cloneNode(true);
}

/** @param {HTMLElement} parent @param {string} selector @returns {HTMLElement} */
function part(parent, selector) {
  return /** @type {HTMLElement} */ (parent.querySelector(selector));
}

/** Gives each name a colour of its own. @param {HTMLElement} node @param {string} name */
function paint(node, name) {
  const hue = [...name].reduce((sum, letter) => (sum * 31 + letter.charCodeAt(0)) % 360, 7);
  node.style.setProperty("--hue", String(hue));
}

/** @param {string} text */
function strong(text) {
  const node = document.createElement("strong");
  node.textContent = text;
  return node;
}

/** For those who do not see the rest. @param {string} text */
function hidden(text) {
  const node = document.createElement("span");
  node.className = "hidden";
  node.textContent = text;
  return node;
}

/** @param {string} text */
function utf8Length(text) {
  return new TextEncoder().encode(text).length;
}

/** @param {number} count */
function bytes(count) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  for (; count >= 1000 && unit < units.length - 1; unit++) count /= 1000;
  return `${count.toFixed(unit === 0 || count >= 100 ? 0 : 1)} ${units[unit]}`;
}

/** @param {number} seconds */
function duration(seconds) {
  return seconds < 90 ? `${Math.ceil(seconds)} s` : `${Math.ceil(seconds / 60)} min`;
}

// Classes are there only when their definition has run: so this comes last.
const query = new URLSearchParams(location.search);
const [roomName, ownName] = [query.get("room") ?? "", query.get("name") ?? ""];
const accessToken = query.get("token");
const isSealed = query.has("sealed");
if (roomName && ownName) start(roomName, ownName);
else ask(roomName, ownName);
