// What the page does, without how it looks: which items are shown, what an answer to them changes, and undo.

import { alike, Items, OPEN } from "/page/items.js";
import { Outbox } from "/page/outbox.js";
import { Pace } from "/page/pace.js";
import { get } from "/page/server.js";

const POLL = 2000; // milliseconds between two looks at what others do
const UNDOS = 500;
const REST = 1500; // milliseconds in which keys that have moved to other classes give none

export const FILTERS = {
  all: ["all images", () => true],
  todo: ["to do", (app, row) => !app.items.decided(row)],
  skipped: ["skipped", (app, row) => app.items.answers[row]?.state === "skipped"],
  unsure: ["unsure", (app, row) => app.items.answers[row]?.state === "unsure"],
  none: ["not any of these", (app, row) => app.items.answers[row]?.state === "none"],
  other: ["answered otherwise than suggested", (app, row) => app.differs(row)],
};
export const SORTS = { like: "like beside like", suggested: "by suggested class", rank: "by rank" };

export class App extends EventTarget {
  constructor(key) {
    super();
    this.outbox = new Outbox(key, () => this.draw(), (entry, sentence) => this.refused(entry, sentence));
    this.items = new Items(() => new Set(this.outbox.entries.map((entry) => entry.id)));
    this.pace = new Pace();
    this.view = "single";
    this.filter = "all";
    this.sorts = { single: "rank", grid: "like" }; // whoever stops early has labelled the best picks one by one
    this.rows = []; // those that are shown, in their order
    this.cursor = 0; // in rows
    this.selected = new Set();
    this.undos = [];
    this.touched = new Map(); // when this tab answered an item, by row
    this.others = new Set();
    this.recent = [];
    this.reasons = [];
    this.suggestions = { version: 0, by: "" };
    this.ordered = false;
    this.reshaped = -Infinity; // when this tab last changed the classes
    this.moved = -Infinity; // when others last moved the keys of classes
    this.name = "";
    this.edited = []; // files that keep what somebody wrote into labels.csv meanwhile
    this.by = localStorage.getItem("activetune:by") ?? "";
    this.choice = null; // of an image that may have several classes, while it is not saved
  }

  get row() {
    return this.rows[this.cursor] ?? 0;
  }

  /** How many images the view has: of all images also those that are still being listed. */
  get shown() {
    const { loaded, total } = this.items;
    return (this.filter === "all" && loaded < total ? total : this.rows.length).toLocaleString("en");
  }

  /** Show what has changed, once in the next frame, however often it is asked for. */
  draw() {
    if (this.drawing) return;
    this.drawing = true;
    const now = () => {
      this.drawing = false;
      this.dispatchEvent(new Event("draw"));
    };
    if (document.hidden) setTimeout(now);
    else requestAnimationFrame(now);
  }

  tell(text) {
    this.dispatchEvent(new CustomEvent("tell", { detail: text }));
  }

  // Loading -----------------------------------------------------------------------------------------------------

  async start() {
    await this.look(true);
    let first = true;
    await this.items.load(() => {
      this.arrange();
      if (first) this.cursor = Math.max(0, this.nextOpen(-1));
      first = false;
      this.draw();
    });
    if (this.others.size) this.apart();
    this.outbox.takeUp();
    this.draw();
    setInterval(() => this.look().catch(() => {}), POLL);
  }

  /** Begin where the other tabs are not for a while: two begin at the first and in the middle of what is open. */
  apart() {
    const open = [...this.rows.keys()].filter((position) => this.items.answers[this.rows[position]].state === "open");
    const part = this.others.size / (this.others.size + 1);
    this.cursor = open[Math.floor(open.length * part)] ?? this.cursor;
  }

  /** Ask what has changed: by others, or by the suggestions. */
  async look(first = false) {
    const { items } = this;
    const asked = performance.now();
    const reshaping = this.outbox.reshapes;
    const state = await get("/api/state", { since: first ? 2 ** 40 : items.number, client: this.outbox.client, at: this.row });
    for (const name of ["name", "others", "recent", "reasons", "ordered", "edited"]) this[name] = state[name];
    this.others = new Set(state.others);
    items.total = state.total;
    items.multilabel = state.multilabel;
    const names = state.classes.map((one) => one.name);
    for (const { client, name, to } of state.renames) if (client !== this.outbox.client) this.renamedElsewhere(name, to);
    if (!reshaping && !this.outbox.reshapes && !(this.reshaped > asked)) this.follow(names);
    const pending = items.pending();
    for (const item of state.changes) if (!pending.has(item.id) && !(this.touched.get(item.row) > asked)) items.take(item);
    items.number = state.number;
    if (state.ordered && !items.order) {
      await items.loadOrder();
      if (this.view === "grid" && this.sort === "like" && !this.selected.size) this.show({});
    }
    if (state.suggestions.version !== this.suggestions.version) {
      await items.loadSuggestions();
      this.suggestions = state.suggestions;
    }
    this.draw();
  }

  renamedElsewhere(name, to) {
    this.items.swap(name, to);
    this.choose(name, to);
    this.undos = []; // they hold answers by the names of before
  }

  /** Put a name in the place of another in the choice that is not saved. */
  choose(name, to) {
    if (this.choice?.delete(name)) this.choice.add(to);
  }

  /** Take over the classes as they stand; keys that others have moved rest for a moment, so that no hand errs. */
  follow(names) {
    const before = this.items.classes;
    this.items.classes = names;
    for (const name of before) if (!names.includes(name)) this.forget(name);
    if (names.some((name, position) => before.includes(name) && before[position] !== name)) {
      this.moved = performance.now();
      this.tell("somebody has changed the classes, and keys have moved");
    }
    if (this.filter.startsWith("=") && !names.includes(this.filter.slice(1))) this.show({ filter: "all" });
  }

  /** A class is there no more: nothing suggests it, and no unsaved choice holds it. */
  forget(name) {
    this.items.forget(name);
    this.choice?.delete(name);
  }

  /** Whether keys stand for other classes than a moment ago. */
  get unsettled() {
    return performance.now() - this.moved < REST;
  }

  // Which items are shown ---------------------------------------------------------------------------------------

  /** Change filter, view or its order; the current image stays the current one where it is still shown. */
  show({ sort, ...changes }) {
    this.leave();
    const { row } = this;
    Object.assign(this, changes);
    if (sort) this.sorts[this.view] = sort;
    this.selected.clear();
    this.arrange();
    this.cursor = Math.max(0, this.rows.indexOf(row));
    this.draw();
  }

  get sort() {
    const wanted = this.sorts[this.view];
    return this.possible(wanted) ? wanted : "rank";
  }

  possible(sort) {
    return sort === "rank" || Boolean(sort === "like" ? this.items.order : this.suggesting);
  }

  arrange() {
    const { items } = this;
    const wanted = FILTERS[this.filter]?.[1] ?? ((app, row) => app.items.answers[row].labels.includes(this.filter.slice(1)));
    const whole = this.sort === "like" ? items.order : [...items.ids.keys()];
    const rows = whole.filter((row) => row < items.ids.length && wanted(this, row));
    if (this.sort === "suggested") {
      const place = new Map(items.classes.map((name, position) => [name, position]));
      const key = (row) => place.get(items.suggested[row]?.labels[0]) ?? items.classes.length;
      const sure = (row) => items.suggested[row]?.probability ?? 0;
      rows.sort((a, b) => key(a) - key(b) || sure(b) - sure(a));
    }
    this.rows = rows;
  }

  differs(row) {
    const [answer, suggested] = [this.items.answers[row], this.items.suggested[row]];
    return answer?.state === "labelled" && Boolean(suggested) && `${answer.labels}` !== `${suggested.labels}`;
  }

  /** The next position after one whose item is open and not before another tab; -1 without any. */
  nextOpen(from) {
    const { rows, items } = this;
    for (const free of [true, false]) {
      for (let step = 1; step <= rows.length; step++) {
        const position = (from + step + rows.length) % rows.length;
        const state = items.answers[rows[position]]?.state;
        if (state === "open" && !(free && this.others.has(rows[position]))) return position;
      }
    }
    return -1;
  }

  go(position) {
    this.leave();
    if (!this.rows.length) return;
    this.cursor = Math.min(Math.max(0, position), this.rows.length - 1);
    this.draw();
  }

  goTo(row) {
    this.show({ view: "single" });
    if (!this.rows.includes(row)) this.show({ filter: "all" });
    this.go(this.rows.indexOf(row));
  }

  // Answers -----------------------------------------------------------------------------------------------------

  /** What an answer is given to: the selected images of the grid, or the current one. */
  get target() {
    if (this.view === "grid" && this.selected.size) return this.rows.filter((row) => this.selected.has(row));
    return this.rows.length ? [this.row] : [];
  }

  /** Give the same answer to items, or to each its own (a function of the row). */
  answer(rows, given) {
    if (!rows.length) return;
    const pairs = rows.map((row) => [row, { ...OPEN, ...(typeof given === "function" ? given(row) : given) }]);
    this.remember(pairs);
    this.put(pairs);
    this.pace.record(rows.length);
    this.choice = null;
    this.advance(rows);
  }

  /** Keep what stands before answers take its place, for undo. */
  remember(pairs) {
    this.undos.push(pairs.map(([row, answer]) => ({ row, before: this.items.answers[row], after: answer })));
    if (this.undos.length > UNDOS) this.undos.shift();
  }

  put(pairs) {
    const { items } = this;
    this.problem = "";
    const entries = pairs.map(([row, answer]) => {
      const kept = { ...answer, by: this.by, client: this.outbox.client };
      items.put(row, kept);
      this.touched.set(row, performance.now());
      const suggestion = this.suggesting ? items.suggested[row]?.labels ?? null : null;
      return { id: items.ids[row], suggestion, ...kept };
    });
    this.recent = [...new Set([...pairs.map(([row]) => row).reverse(), ...this.recent])].slice(0, 30);
    this.outbox.push(entries);
  }

  /** To the next image that is open; in the grid the selection ends. */
  advance(rows) {
    const given = new Set(rows);
    if (this.view === "grid") this.cursor = Math.max(0, this.rows.findLastIndex((row) => given.has(row)));
    this.selected.clear();
    const next = this.nextOpen(this.cursor);
    if (next >= 0) this.cursor = next;
    this.tell(`${this.told(this.items.answers[rows[0]])}${rows.length > 1 ? `, ${rows.length} images` : ""}`);
    this.draw();
  }

  undo() {
    const last = this.undos.pop();
    if (!last) return this.tell("there is nothing to undo");
    if (last.back) return this.undoRename(last);
    const mine = (answer) => answer.client === this.outbox.client;
    const own = last.filter(({ row, after }) => mine(this.items.answers[row]) && alike(this.items.answers[row], after));
    if (!own.length) return this.tell("not undone: somebody has answered that anew");
    this.put(own.map(({ row, before }) => [row, before]));
    this.choice = null;
    const position = this.rows.indexOf(own[0].row);
    if (position >= 0) this.cursor = position;
    this.selected = new Set(this.view === "grid" && own.length > 1 ? own.map(({ row }) => row) : []);
    const others = last.length - own.length;
    const beside = others ? `, not ${others.toLocaleString("en")} that others have answered anew` : "";
    this.tell(`undone${own.length > 1 || others ? `: ${own.length} images` : ""}${beside}`);
    this.draw();
  }

  /** Give a class; where an image may have several, put it to the others or take it away. */
  give(name) {
    const rows = this.target;
    if (!rows.length) return;
    if (!this.items.multilabel) return this.answer(rows, { state: "labelled", labels: [name] });
    if (this.view === "single") {
      this.choice ??= new Set(this.items.answers[this.row].labels);
      if (!this.choice.delete(name)) this.choice.add(name);
      return this.draw();
    }
    const all = rows.every((row) => this.items.answers[row].labels.includes(name));
    const kept = new Set(this.selected);
    this.answer(rows, (row) => {
      const labels = this.items.answers[row].labels.filter((one) => one !== name);
      return { state: "labelled", labels: all ? labels : [...labels, name].sort() };
    });
    this.selected = kept; // for a further class
    this.draw();
  }

  /** Save the choice of several classes, where it was changed, before another image comes. */
  leave() {
    if (!this.choice) return;
    const labels = [...this.choice].sort();
    this.choice = null;
    if (`${labels}` !== `${this.items.answers[this.row].labels}`) {
      const pairs = [[this.row, { ...OPEN, state: "labelled", labels }]];
      this.remember(pairs);
      this.put(pairs);
    }
  }

  accept() {
    const { items } = this;
    const rows = this.target;
    if (items.multilabel && this.view === "single" && this.choice) {
      return this.answer(rows, { state: "labelled", labels: [...this.choice].sort() });
    }
    const known = this.suggesting ? rows.filter((row) => items.suggested[row]) : [];
    if (known.length) return this.answer(known, (row) => ({ state: "labelled", labels: items.suggested[row].labels }));
    if (items.multilabel && this.view === "single") return this.answer(rows, { state: "labelled", labels: items.answers[this.row].labels });
    this.tell("there is no suggestion to accept");
  }

  get suggesting() {
    return this.suggestions.version > 0;
  }

  // Classes -----------------------------------------------------------------------------------------------------

  addClass(name) {
    name = name.trim().normalize("NFC");
    if (!name || this.items.classes.includes(name)) return;
    this.items.classes.push(name);
    this.reshaped = performance.now();
    this.outbox.push([{ kind: "add", name }]);
  }

  renameClass(name, to) {
    to = to.trim().normalize("NFC");
    if (!to || to === name) return;
    if (!this.items.classes.includes(name)) return this.tell(`${name} is no class any more`);
    const back = this.items.rename(name, to);
    this.choose(name, to);
    this.reshape("rename", name, to);
    this.undos.push({ name, to, back });
    if (this.filter === `=${name}`) this.show({ filter: `=${to}` });
    this.draw();
  }

  /** Give a class its name back; of what became one with another class, the answers that had it. */
  undoRename({ name, to, back }) {
    const { classes } = this.items;
    if (!classes.includes(to) || classes.includes(name)) return this.tell(`not undone: ${to} and ${name} have changed since`);
    back();
    this.reshape("undo", name, to);
    if (!this.items.classes.includes(to)) {
      this.choose(to, name);
      if (this.filter === `=${to}`) this.show({ filter: `=${name}` });
    }
    this.tell(`undone: ${name} is there again`);
    this.draw();
  }

  reshape(kind, name, to) {
    this.reshaped = performance.now();
    this.outbox.push([{ kind, name, to }]);
  }

  /** Take a class away that no answer has. */
  removeClass(name) {
    const { classes, counts } = this.items;
    if (!classes.includes(name) || counts.get(name)) return this.tell(`${name} is in use`);
    this.items.classes = classes.filter((one) => one !== name);
    this.reshaped = performance.now();
    this.outbox.push([{ kind: "remove", name }]);
    this.forget(name);
    if (this.filter === `=${name}`) this.show({ filter: "all" });
    this.draw();
  }

  /** The server will never take an entry: tell, and show again what stands there. */
  async refused(entry, sentence) {
    if (entry.kind === "add" && this.items.classes.includes(entry.name)) return; // another tab was first
    this.tell(`not saved: ${sentence}`);
    this.problem = `not saved: ${sentence}`;
    await this.items.load(() => this.draw()).catch(() => {});
  }

  told(answer) {
    if (answer.state === "labelled") return answer.labels.join(", ") || "no class";
    if (answer.state === "none") return `not any of these${answer.reason ? `: ${answer.reason}` : ""}`;
    return { open: "not answered", skipped: "skipped", unsure: "unsure" }[answer.state];
  }
}
