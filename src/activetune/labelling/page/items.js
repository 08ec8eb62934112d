// The items with what stands for each, as far as this page knows: its own answers at once, others' when they are told.

import { get } from "/page/server.js";

const PART = 2000; // items of a request
export const OPEN = { state: "open", labels: [], reason: "", by: "", client: "" };
const DECIDED = new Set(["labelled", "unsure", "none"]);

export class Items {
  /** @param pending gives the ids whose answers are on their way: what the server says of them is old. */
  constructor(pending) {
    this.pending = pending;
    this.total = 0;
    this.loaded = 0;
    this.number = 0; // of the last event that is known
    this.ids = [];
    this.row = new Map(); // by id
    this.answers = [];
    this.suggested = []; // {labels, probability} or null
    this.classes = []; // names, in the order of their keys
    this.counts = new Map(); // of answers, by class
    this.states = new Map(); // of answers, by state
    this.multilabel = false;
    this.order = null; // like beside like
  }

  decided(row) {
    return DECIDED.has(this.answers[row]?.state);
  }

  get done() {
    return ["labelled", "unsure", "none"].reduce((sum, state) => sum + (this.states.get(state) ?? 0), 0);
  }

  /** Put an answer in the place of another; returns the one before. */
  put(row, answer) {
    const before = this.answers[row] ?? OPEN;
    this.count(before, -1);
    this.count(answer, 1);
    this.answers[row] = answer;
    return before;
  }

  count(answer, by) {
    this.states.set(answer.state, (this.states.get(answer.state) ?? 0) + by);
    for (const name of answer.labels) this.counts.set(name, (this.counts.get(name) ?? 0) + by);
  }

  take(item) {
    const { row, id } = item;
    this.ids[row] = id;
    this.row.set(id, row);
    const { state, reason, by, client } = item;
    this.put(row, { state, labels: listed(item.label), reason, by, client });
    this.suggested[row] = item.suggestion === null ? null : { labels: listed(item.suggestion), probability: item.probability };
  }

  /** Load all items, part by part; `shown` is called after each. Asked for while it goes on, it begins once more. */
  async load(shown) {
    this.again = true;
    if (this.loading) return;
    this.loading = true;
    try {
      while (this.again) {
        this.again = false;
        await this.loadAll(shown);
      }
    } finally {
      this.loading = false;
    }
  }

  async loadAll(shown) {
    this.loaded = 0;
    do {
      const { items, total } = await get("/api/items", { start: this.loaded, count: this.loaded ? PART : 200 });
      this.total = total;
      const pending = this.pending();
      for (const item of items) if (!(pending.has(item.id) && this.row.has(item.id))) this.take(item);
      this.loaded += items.length;
      shown();
      if (!items.length) break;
    } while (this.loaded < this.total);
  }

  async loadOrder() {
    const { rows } = await get("/api/order");
    this.order = rows.length === this.total ? rows : null;
  }

  async loadSuggestions() {
    const { classes, named, probabilities } = await get("/api/suggestions");
    named.forEach((positions, row) => {
      const labels = positions?.map((position) => classes[position]);
      this.suggested[row] = labels ? { labels, probability: probabilities[row] } : null;
    });
  }

  /** Another name for a class, in all answers; with the name of another class both become one. Returns what undoes it. */
  rename(name, to) {
    const position = this.classes.indexOf(name);
    if (!this.classes.includes(to)) {
      this.classes[position] = to;
      this.swap(name, to);
      return () => this.rename(to, name);
    }
    this.classes.splice(position, 1);
    const bearing = [...this.answers.keys()].filter((row) => this.answers[row].labels.includes(name));
    const before = bearing.map((row) => [row, this.answers[row]]);
    const shown = this.suggested.filter((one) => one?.labels.includes(name)).map((one) => [one, one.labels]);
    this.swap(name, to);
    const after = new Map(bearing.map((row) => [row, this.answers[row]]));
    return () => {
      this.classes.splice(position, 0, name);
      // The very answers that were there, not those that say the same: the server tells what else comes back.
      for (const [row, answer] of before) if (this.answers[row] === after.get(row)) this.put(row, answer);
      for (const [one, labels] of shown) one.labels = labels;
    };
  }

  /** A class is there no more: nothing suggests it. */
  forget(name) {
    this.suggested.forEach((one, row) => {
      if (!one?.labels.includes(name)) return;
      const labels = one.labels.filter((label) => label !== name);
      this.suggested[row] = this.multilabel ? { ...one, labels } : null;
    });
  }

  /** Put a name in the place of another, in all answers and suggestions. */
  swap(name, to) {
    const swap = (labels) => (labels.includes(name) ? [...new Set(labels.map((one) => (one === name ? to : one)))].sort() : labels);
    this.answers.forEach((answer, row) => {
      if (answer.labels.includes(name)) this.put(row, { ...answer, labels: swap(answer.labels) });
    });
    for (const one of this.suggested) if (one) one.labels = swap(one.labels);
  }
}

export const alike = (one, other) => one.state === other.state && `${one.labels}` === `${other.labels}` && one.reason === other.reason;
const listed = (label) => (label === null ? [] : Array.isArray(label) ? label : [label]);
