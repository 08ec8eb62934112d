// What was answered and is not on disk yet. Entries are sent in their order and kept until the server says that they are
// saved; sent twice they count once, by client and sequence number. They are also kept in the browser's storage, so that
// a tab that was closed too early loses nothing: the next one sends what it left.

import { post, Refused } from "/page/server.js";

const MOST = 2000; // entries of a request
const WAITS = [300, 1000, 2000, 5000]; // milliseconds before another try

export class Outbox {
  /**
   * @param key names the selection.
   * @param told called with the outbox after every change.
   * @param refused called with an entry that the server will never take, and its sentence.
   */
  constructor(key, told, refused) {
    this.client = crypto.randomUUID();
    this.prefix = `activetune:${key}:`;
    this.told = told;
    this.refused = refused;
    this.entries = [];
    this.sequence = 0;
    this.problem = "";
    this.sending = false;
    this.tries = 0;
  }

  /** Whether a change of a class is on its way. */
  get reshapes() {
    return this.entries.some((entry) => entry.kind);
  }

  /** Take entries: answers, or changes of classes (those have a `kind`). */
  push(entries) {
    for (const entry of entries) this.entries.push({ ...entry, client: this.client, sequence: ++this.sequence });
    this.keep();
    this.pump();
  }

  /** Take up what closed tabs have left. */
  takeUp() {
    for (const name of Object.keys(localStorage).filter((name) => name.startsWith(this.prefix))) {
      if (name === this.prefix + this.client) continue;
      try {
        this.entries.push(...JSON.parse(localStorage.getItem(name)));
      } catch {
        // another program's, or cut off: there is nothing that could be sent
      }
      localStorage.removeItem(name);
    }
    this.keep();
    this.pump();
  }

  keep() {
    const name = this.prefix + this.client;
    try {
      if (this.entries.length) localStorage.setItem(name, JSON.stringify(this.entries));
      else localStorage.removeItem(name);
    } catch {
      // a full or forbidden storage: the entries are still here, and are being sent
    }
    this.told(this);
  }

  async pump() {
    if (this.sending) return;
    this.sending = true;
    while (this.entries.length) {
      const part = this.next(this.alone ? 1 : MOST);
      try {
        await send(part);
        this.entries.splice(0, part.length);
        this.problem = "";
        this.tries = 0;
        this.alone = Math.max(0, (this.alone ?? 0) - 1);
      } catch (error) {
        if (!(error instanceof Refused)) throw error;
        if (error.status === 400 || error.status === 409) {
          if (part.length > 1) {
            this.alone = part.length; // one by one, so that the good ones are kept
            continue;
          }
          this.entries.shift();
          this.refused(part[0], error.message);
        } else {
          this.problem = error.status === 401 ? "the page was started anew; open the address that it printed" : error.message;
          this.keep();
          await new Promise((wake) => setTimeout(wake, WAITS[Math.min(this.tries++, WAITS.length - 1)]));
        }
      }
      this.keep();
    }
    this.sending = false;
  }

  /** The first entries that fit into one request: answers of one client, or one change of a class. */
  next(most) {
    const [first] = this.entries;
    if (first.kind) return [first];
    let count = 1;
    while (count < Math.min(most, this.entries.length)) {
      const entry = this.entries[count];
      if (entry.kind || entry.client !== first.client) break;
      count++;
    }
    return this.entries.slice(0, count);
  }
}

async function send(part) {
  const [{ client }] = part;
  if (part[0].kind) return post("/api/classes", part[0]);
  return post("/api/answers", { client, answers: part.map(({ client: _, ...answer }) => answer) });
}
