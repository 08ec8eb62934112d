// What stands around the images: progress above, classes at the side, actions and the last answers below.

import { html, nothing, render } from "/page/lit-html.js";
import { FILTERS } from "/page/app.js";
import { keyOf } from "/page/keys.js";
import { timeLeft } from "/page/pace.js";
import { picture } from "/page/server.js";

const LISTED = 300; // classes at a time; a search finds the others
const LAST = 10; // answers that are shown to go back to

export class Panel {
  /** @param ask opens a dialog by name. */
  constructor(app, parts, ask) {
    Object.assign(this, { app, ask, ...parts });
    this.search = "";
  }

  draw() {
    render(this.header(), this.head);
    render(this.list(), this.classes);
    render(this.actions(), this.foot);
  }

  // Above -----------------------------------------------------------------------------------------------------------

  header() {
    const { app } = this;
    const { done, total } = app.items;
    const perMinute = app.pace.perMinute;
    const skipped = app.items.states.get("skipped") ?? 0;
    const switchTo = (view) => () => this.change({ view });
    return html`<h1>${app.name}</h1>
      <div class="progress">
        <progress max=${total || 1} .value=${done} aria-label="answered"></progress>
        <span><b>${done.toLocaleString("en")}</b> of ${total.toLocaleString("en")}${skipped ? html`, ${skipped.toLocaleString("en")} skipped` : nothing}</span>
        <span class="pace">${perMinute ? `${Math.round(perMinute).toLocaleString("en")} per minute` : ""}</span>
        <span class="left">${timeLeft(total - done, perMinute)}</span>
      </div>
      <label class="show"><span class="hidden">images that are shown</span><select @change=${(event) => this.change({ filter: event.target.value })}>
        ${Object.entries(FILTERS).map(([value, [text]]) => (value === "other" && !app.suggesting ? nothing : this.option(value, text)))}
        ${app.items.classes.length
          ? html`<optgroup label="class">${app.items.classes.map((name) => this.option(`=${name}`, name))}</optgroup>`
          : nothing}
      </select></label>
      <div class="views" role="group" aria-label="view">
        <button aria-pressed=${app.view === "single"} @click=${switchTo("single")}>One</button><button aria-pressed=${app.view === "grid"} @click=${switchTo("grid")}>Grid</button>
      </div>
      ${this.edited()}${this.saved()}
      <button class="help" aria-label="keys and help" title="Keys (?)" @click=${() => this.ask("help")}>?</button>`;
  }

  option(value, text) {
    return html`<option value=${value} ?selected=${value === this.app.filter}>${text}</option>`;
  }

  change(changes) {
    document.activeElement?.blur?.();
    this.app.show(changes);
  }

  saved() {
    const { entries, problem } = this.app.outbox;
    if (problem) return html`<span class="saved problem" title=${problem}>${entries.length.toLocaleString("en")} wait: ${problem}</span>`;
    if (this.app.problem) return html`<span class="saved problem" title=${this.app.problem}>${this.app.problem}</span>`;
    return html`<span class="saved">${entries.length ? `saving ${entries.length.toLocaleString("en")}` : "saved"}</span>`;
  }

  /** What somebody has written into labels.csv meanwhile is in a file of its own. */
  edited() {
    const { edited } = this.app;
    if (!edited.length) return nothing;
    const file = edited.at(-1);
    const told = `labels.csv was changed while the page was open: ${file} beside it keeps what it held. To take it up, end the page, put ${file} in the place of labels.csv, and start again.`;
    return html`<span class="edited" title=${told}>labels.csv was changed: see ${file}</span>`;
  }

  // At the side -------------------------------------------------------------------------------------------------------

  /** The classes that the search finds, each with its position. */
  get found() {
    const wanted = this.search.trim().toLowerCase();
    const all = this.app.items.classes.map((name, position) => ({ name, position }));
    if (!wanted) return all;
    const rank = ({ name }) => {
      const place = name.toLowerCase().indexOf(wanted);
      return place < 0 ? Infinity : name.length === wanted.length ? -1 : place;
    };
    return all.filter((one) => rank(one) < Infinity).sort((a, b) => rank(a) - rank(b));
  }

  list() {
    const { app } = this;
    const { items } = app;
    const found = this.found;
    const most = Math.max(1, ...items.counts.values());
    const suggested = new Set(app.suggesting && app.rows.length && app.view === "single" ? items.suggested[app.row]?.labels : []);
    const given = new Set(app.view === "single" && app.rows.length ? app.choice ?? items.answers[app.row]?.labels : []);
    return html`<div class="search">
        <input type="search" placeholder="search  /" aria-label="search a class" autocomplete="off" spellcheck="false" .value=${this.search}
          @input=${(event) => this.look(event.target.value)} @keydown=${(event) => this.typed(event)} />
        <button title="a new class (Shift+N)" aria-label="a new class" @click=${() => this.ask("add")}>+</button>
        <button class="rename" title="rename a class, merge it with another, or remove it (Shift+R)" aria-label="rename, merge or remove a class"
          ?disabled=${!items.classes.length} @click=${() => this.ask("rename", items.answers[app.row]?.labels[0] ?? items.classes[0])}>⋯</button>
      </div>
      <div class="list">
        ${found.slice(0, LISTED).map(({ name, position }) => {
          const key = keyOf(position, items.classes.length);
          const count = items.counts.get(name) ?? 0;
          return html`<div class="class ${suggested.has(name) ? "suggested" : ""} ${given.has(name) ? "given" : ""}">
            <button class="give" aria-keyshortcuts=${key || nothing} aria-pressed=${given.has(name)} @click=${() => this.give(name)}>
              <kbd>${key}</kbd><span class="name" title=${name}>${name}</span><span class="count">${count.toLocaleString("en")}</span>
              <meter max=${most} .value=${count} aria-hidden="true"></meter>
            </button>
            <button class="more" aria-label=${`rename, merge or remove ${name}`} title="rename, merge or remove" @click=${() => this.ask("rename", name)}>⋯</button>
          </div>`;
        })}
        ${found.length > LISTED ? html`<p class="empty">${(found.length - LISTED).toLocaleString("en")} more: type to search</p>` : nothing}
        ${found.length ? nothing : html`<p class="empty">${items.classes.length ? "no such class" : "no class yet"}
            <button @click=${() => this.ask("add", this.search)}>add${this.search ? ` “${this.search}”` : " one"}</button></p>`}
      </div>`;
  }

  give(name) {
    this.look("");
    document.activeElement?.blur?.();
    this.app.give(name);
  }

  look(text) {
    this.search = text;
    render(this.list(), this.classes);
  }

  get input() {
    return this.classes.querySelector("input");
  }

  /** A key in the search field. */
  typed(event) {
    event.stopPropagation();
    if (event.key === "Escape") {
      this.look("");
      this.input.blur();
    } else if (event.key === "Enter") {
      const [first] = this.found;
      if (first && this.search.trim()) this.give(first.name);
      else if (this.search.trim()) this.ask("add", this.search);
      else this.input.blur();
    }
  }

  // Below -----------------------------------------------------------------------------------------------------------

  actions() {
    const { app } = this;
    const button = (key, text, act, off = false) => html`<button ?disabled=${off} aria-keyshortcuts=${key} @click=${() => this.act(act)}><kbd>${key}</kbd> ${text}</button>`;
    return html`<div class="actions" role="toolbar" aria-label="answers without a class">
        ${button("←", "back", () => app.go(app.cursor - 1), app.cursor === 0)}
        ${button("→", "next", () => app.go(app.cursor + 1), app.cursor >= app.rows.length - 1)}
        ${app.items.multilabel && app.view === "single" ? button("Enter", "save", () => app.accept()) : nothing}
        ${button("Space", "skip", () => app.answer(app.target, { state: "skipped" }))}
        ${button(".", "unsure", () => app.answer(app.target, { state: "unsure" }))}
        ${button("0", "none of these", () => this.ask("none"))}
        ${button("⌫", "undo", () => app.undo(), !app.undos.length)}
      </div>
      <div class="recent" aria-label="the last answers">
        ${this.recent()}
      </div>`;
  }

  /** The last answers, as elements that stay the same ones while they move on: their pictures are loaded once. */
  recent() {
    const { app } = this;
    const rows = app.recent.filter((row) => app.items.answers[row]).slice(0, LAST);
    const before = this.thumbnails ?? new Map();
    this.thumbnails = new Map(rows.map((row) => [row, before.get(row) ?? this.thumbnail(row)]));
    for (const [row, button] of this.thumbnails) {
      const told = app.told(app.items.answers[row]);
      if (button.lastChild.textContent !== told) button.lastChild.textContent = told;
      button.title = `${app.items.ids[row]}: ${told}`;
      button.setAttribute("aria-label", `back to ${app.items.ids[row]}, ${told}`);
    }
    return [...this.thumbnails.values()];
  }

  thumbnail(row) {
    const button = document.createElement("button");
    const image = new Image();
    image.alt = "";
    image.draggable = false;
    image.src = picture(row, "small");
    button.append(image, document.createElement("span"));
    button.addEventListener("click", () => this.act(() => this.app.goTo(row)));
    return button;
  }

  act(what) {
    document.activeElement?.blur?.();
    what();
  }
}
