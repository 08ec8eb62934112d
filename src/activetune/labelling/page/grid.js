// Many images: only those in sight are in the page. Several are selected by click, Shift, Ctrl, a frame or the keyboard.

import { html, render } from "/page/lit-html.js";
import { SORTS } from "/page/app.js";
import { picture } from "/page/server.js";

const GAP = 8; // pixels
const BEYOND = 2; // lines above and below those in sight
const A_DRAG = 6; // pixels that make a click a frame
const SIZES = [72, 104, 144, 200, 280];

export class Grid {
  constructor(app, parts) {
    Object.assign(this, { app, ...parts });
    this.cells_ = new Map(); // elements by row
    this.size = Number(localStorage.getItem("activetune:size")) || (innerWidth < 600 ? SIZES[1] : SIZES[2]);
    this.anchor = 0;
    this.scroll.addEventListener("scroll", () => this.layOut(), { passive: true });
    this.scroll.addEventListener("pointerdown", (event) => this.press(event));
    this.scroll.addEventListener("dblclick", (event) => this.open(event));
    new ResizeObserver(() => this.layOut()).observe(this.scroll);
  }

  get columns() {
    return Math.max(1, Math.floor((this.scroll.clientWidth - GAP) / (this.size + GAP)));
  }

  /** The width of a cell: the wanted size, stretched so that a line is full. */
  get side() {
    return Math.floor((this.scroll.clientWidth - GAP) / this.columns) - GAP;
  }

  get line() {
    return this.side + GAP + 20; // with a line for the answer
  }

  get perScreen() {
    return Math.max(1, Math.floor(this.scroll.clientHeight / this.line));
  }

  draw() {
    this.bar();
    this.layOut();
  }

  bar() {
    const { app } = this;
    const option = (value, text, chosen) => html`<option value=${value} ?selected=${value === chosen}>${text}</option>`;
    const position = SIZES.indexOf(this.size);
    render(
      html`<span class="count">${app.selected.size ? `${app.selected.size.toLocaleString("en")} selected` : `${app.shown} images`}</span>
        <label>order <select @change=${(event) => app.show({ sort: event.target.value })}>
          ${Object.entries(SORTS).map(([value, text]) => (app.possible(value) ? option(value, text, app.sort) : ""))}
        </select></label>
        <button @click=${() => app.show({ sort: app.sort })} title="Filter and sort again, by what is known now">refresh</button>
        <span class="sizes"><button aria-label="smaller images" ?disabled=${position <= 0} @click=${() => this.resize(position - 1)}>−</button><button aria-label="larger images" ?disabled=${position === SIZES.length - 1} @click=${() => this.resize(position + 1)}>+</button></span>`,
      this.tools,
    );
  }

  resize(position) {
    this.size = SIZES[position] ?? SIZES[2];
    localStorage.setItem("activetune:size", this.size);
    this.draw();
    this.reveal();
  }

  /** Put the cells in sight where they belong, and take the others out of the page. */
  layOut() {
    const { app, columns, line, side } = this;
    if (this.scroll.clientWidth === 0) return;
    const lines = Math.ceil(app.rows.length / columns);
    this.cells.style.height = `${lines * line + GAP}px`;
    const first = Math.max(0, Math.floor(this.scroll.scrollTop / line) - BEYOND) * columns;
    const last = Math.min(app.rows.length, (Math.ceil((this.scroll.scrollTop + this.scroll.clientHeight) / line) + BEYOND) * columns);
    const wanted = new Set(app.rows.slice(first, last));
    for (const [row, cell] of this.cells_) {
      if (wanted.has(row)) continue;
      cell.image.removeAttribute("src"); // what is not in sight any more need not be fetched
      cell.remove();
      this.cells_.delete(row);
    }
    for (let position = first; position < last; position++) this.put(position, columns, line, side);
    const current = this.cells_.get(app.row);
    if (current) this.scroll.setAttribute("aria-activedescendant", current.id);
    else this.scroll.removeAttribute("aria-activedescendant");
  }

  put(position, columns, line, side) {
    const { app } = this;
    const row = app.rows[position];
    let cell = this.cells_.get(row);
    if (!cell) {
      cell = newCell(row);
      this.cells_.set(row, cell);
      this.cells.append(cell);
    }
    const left = GAP + (position % columns) * (side + GAP);
    const at = `translate(${left}px, ${GAP + Math.floor(position / columns) * line}px)`;
    if (cell.style.transform !== at) cell.style.transform = at;
    if (cell.side !== side) {
      cell.style.width = cell.image.style.height = `${side}px`;
      cell.side = side;
    }
    const answer = app.items.answers[row];
    const suggested = app.suggesting ? app.items.suggested[row] : null;
    const open = answer.state === "open";
    const text = open ? (suggested ? `${suggested.labels.join(", ") || "no class"}?` : "") : app.told(answer);
    const kind = open ? (suggested ? "suggested" : "open") : answer.state;
    const names = `cell ${kind}${app.selected.has(row) ? " selected" : ""}${position === app.cursor ? " current" : ""}`;
    if (cell.className !== names) cell.className = names;
    if (cell.words.textContent !== text) cell.words.textContent = text;
    cell.setAttribute("aria-selected", String(app.selected.has(row)));
    cell.setAttribute("aria-label", `${app.items.ids[row]}, ${app.told(answer)}${suggested ? `, suggested: ${text}` : ""}`);
  }

  // Selecting -------------------------------------------------------------------------------------------------------

  /** The position in the list of what lies under a pointer; -1 for nothing. */
  under(event) {
    const cell = event.target.closest?.(".cell");
    return cell ? this.app.rows.indexOf(cell.row) : -1;
  }

  press(event) {
    if (event.button !== 0 || event.offsetX > this.scroll.clientWidth && event.target === this.scroll) return;
    const position = this.under(event);
    const more = event.ctrlKey || event.metaKey || event.shiftKey;
    const before = more ? new Set(this.app.selected) : new Set();
    const start = this.point(event);
    let framed = false;
    const move = (moved) => {
      const [x, y] = this.point(moved);
      if (event.pointerType === "touch" || (!framed && Math.hypot(x - start[0], y - start[1]) < A_DRAG)) return;
      framed = true;
      this.frame(start, [x, y], before);
      const box = this.scroll.getBoundingClientRect();
      if (moved.clientY > box.bottom - 30) this.scroll.scrollTop += 18;
      if (moved.clientY < box.top + 30) this.scroll.scrollTop -= 18;
    };
    const end = (ended) => {
      removeEventListener("pointermove", move);
      removeEventListener("pointerup", end);
      removeEventListener("pointercancel", end);
      this.band.hidden = true;
      if (!framed && ended.type === "pointerup") this.click(position, event); // else a finger has scrolled
    };
    addEventListener("pointermove", move);
    addEventListener("pointerup", end);
    addEventListener("pointercancel", end);
  }

  /** A pointer's place in the whole list, in pixels. */
  point(event) {
    const box = this.scroll.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top + this.scroll.scrollTop];
  }

  frame([x0, y0], [x1, y1], before) {
    const { app, columns, line, side } = this;
    const [left, right, top, bottom] = [Math.min(x0, x1), Math.max(x0, x1), Math.min(y0, y1), Math.max(y0, y1)];
    const { style } = this.band;
    Object.assign(style, { left: `${left}px`, top: `${top}px`, width: `${right - left}px`, height: `${bottom - top}px` });
    this.band.hidden = false;
    const selected = new Set(before);
    const lines = [Math.max(0, Math.floor((top - GAP) / line)), Math.floor((bottom - GAP) / line)];
    for (let number = lines[0]; number <= lines[1]; number++) {
      for (let column = 0; column < columns; column++) {
        const x = GAP + column * (side + GAP);
        const row = app.rows[number * columns + column];
        if (row !== undefined && x < right && x + side > left && GAP + number * line + side > top) selected.add(row);
      }
    }
    app.selected = selected;
    this.draw();
  }

  click(position, event) {
    const { app } = this;
    if (position < 0) app.selected.clear();
    else if (event.shiftKey) this.through(position, event.ctrlKey || event.metaKey);
    else if (event.ctrlKey || event.metaKey || event.pointerType === "touch") this.toggle(position);
    else {
      app.selected = new Set([app.rows[position]]);
      this.anchor = app.cursor = position;
    }
    app.draw();
  }

  toggle(position) {
    const { app } = this;
    const row = app.rows[position];
    if (!app.selected.delete(row)) app.selected.add(row);
    this.anchor = app.cursor = position;
  }

  /** Select from the last clicked image to one. */
  through(position, more = false) {
    const { app } = this;
    const [first, last] = [Math.min(this.anchor, position), Math.max(this.anchor, position)];
    app.selected = new Set([...(more ? app.selected : []), ...app.rows.slice(first, last + 1)]);
    app.cursor = position;
  }

  open(event) {
    const position = this.under(event);
    if (position < 0) return;
    this.app.cursor = position;
    this.app.show({ view: "single" });
  }

  /** A key that moves or selects; returns whether it was one. */
  key(event) {
    const { app, columns } = this;
    const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns, PageUp: -columns * this.perScreen, PageDown: columns * this.perScreen, Home: -Infinity, End: Infinity };
    if (event.key in steps) {
      if (!event.shiftKey) this.anchor = Math.min(Math.max(0, app.cursor + steps[event.key]), app.rows.length - 1);
      const position = Math.min(Math.max(0, app.cursor + steps[event.key]), app.rows.length - 1);
      if (event.shiftKey) this.through(position);
      else app.cursor = position;
    } else if (event.key === " ") this.toggle(app.cursor);
    else if (event.key === "Escape") app.selected.clear();
    else if (event.key.toLowerCase() === "a" && (event.ctrlKey || event.metaKey)) app.selected = new Set(app.rows);
    else return false;
    app.draw();
    this.reveal();
    return true;
  }

  /** Scroll the current image into sight. */
  reveal() {
    const top = Math.floor(this.app.cursor / this.columns) * this.line;
    const { scroll } = this;
    if (top < scroll.scrollTop) scroll.scrollTop = top;
    else if (top + this.line + GAP > scroll.scrollTop + scroll.clientHeight) scroll.scrollTop = top + this.line + GAP - scroll.clientHeight;
  }
}

function newCell(row) {
  const cell = document.createElement("div");
  cell.id = `cell-${row}`;
  cell.row = row;
  cell.setAttribute("role", "option");
  cell.image = new Image();
  cell.image.alt = "";
  cell.image.draggable = false;
  cell.image.decoding = "async";
  cell.image.src = picture(row, "small");
  cell.words = document.createElement("span");
  cell.words.className = "words";
  cell.append(cell.image, cell.words);
  return cell;
}
