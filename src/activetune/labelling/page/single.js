// One image, large: the wheel zooms, dragging moves it, and the next ones are decoded before they are asked for.

import { html, nothing, render } from "/page/lit-html.js";
import { picture } from "/page/server.js";

const AHEAD = 8; // images that are decoded before their turn
const KEPT = 24; // decoded images that are kept
const LATE = 100; // milliseconds after which the image before makes room: a key is for the one that is named below
const LARGEST = 20; // times
const BLOWN_UP = 32; // times that a tiny image is shown larger than it is, at most

export class Single {
  constructor(app, stage, under) {
    Object.assign(this, { app, stage, under });
    this.images = new Map(); // by row
    this.row = -1;
    this.zoom = { scale: 1, x: 0, y: 0 };
    stage.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    stage.addEventListener("pointerdown", (event) => this.drag(event));
    stage.addEventListener("dblclick", (event) => (this.zoom.scale > 1 ? this.whole() : this.enlarge(2.5, event)));
  }

  /** The image of a row, which begins to load. */
  image(row) {
    let found = this.images.get(row);
    if (found) this.images.delete(row); // to the end: the first one is the oldest
    else {
      found = new Image();
      found.draggable = false;
      found.decoding = "async";
      found.src = picture(row, "large");
      found.ready = found.decode().then(
        () => true,
        () => false,
      );
    }
    this.images.set(row, found);
    if (this.images.size > KEPT) this.images.delete(this.images.keys().next().value);
    return found;
  }

  draw() {
    const { app } = this;
    const row = app.rows.length ? app.row : -1;
    if (row !== this.row) this.change(row);
    this.caption(row);
  }

  async change(row) {
    this.row = row;
    if (row < 0) return this.stage.replaceChildren();
    const asked = this.asked;
    this.asked = undefined;
    const found = this.image(row);
    this.zoom = { scale: 1, x: 0, y: 0 };
    this.place(found);
    const ids = this.app.items.ids;
    found.alt = `image ${this.app.cursor + 1}: ${ids[row]}`;
    const late = setTimeout(() => this.row === row && this.stage.replaceChildren(), LATE);
    const shown = await found.ready;
    clearTimeout(late);
    if (this.row !== row) return;
    if (shown) {
      found.style.maxWidth = `${BLOWN_UP * found.naturalWidth}px`;
      found.style.maxHeight = `${BLOWN_UP * found.naturalHeight}px`;
      this.stage.replaceChildren(found);
    }
    else render(html`<p class="broken">This image can’t be shown: <b>${ids[row]}</b></p>`, this.fresh());
    if (asked !== undefined) requestAnimationFrame(() => performance.measure("next-image", { start: asked, end: performance.now() }));
    for (let step = 1; step <= AHEAD; step++) {
      const next = this.app.rows[this.app.cursor + step];
      if (next !== undefined) this.image(next);
    }
    const [before] = [this.app.rows[this.app.cursor - 1]];
    if (before !== undefined) this.image(before);
  }

  fresh() {
    const box = document.createElement("div");
    this.stage.replaceChildren(box);
    return box;
  }

  caption(row) {
    const { app } = this;
    const { items } = app;
    if (row < 0) return render(html`<p class="empty">No image here: <b>${app.filter.replace(/^=/, "")}</b>. Choose other images above.</p>`, this.under);
    const answer = items.answers[row] ?? { state: "open", labels: [] };
    const suggested = app.suggesting ? items.suggested[row] : null;
    const labels = app.choice ? [...app.choice].sort() : answer.labels;
    const given = app.choice || answer.state === "labelled" ? labels.join(", ") || "no class" : app.told(answer);
    render(
      html`<p class="caption">
          <span class="place">${(app.cursor + 1).toLocaleString("en")} / ${app.shown}</span>
          <span class="id" title=${items.ids[row]}>${items.ids[row]}</span>
          ${app.others.has(row) ? html`<span class="other">another tab is here too</span>` : nothing}
        </p>
        <p class="given">
          ${answer.state === "open" && !app.choice ? nothing : html`<span class="answer ${answer.state}">${given}${answer.by ? html` <small>${answer.by}</small>` : nothing}</span>`}
          ${suggested
            ? html`<button class="suggestion" @click=${() => app.accept()}>
                <kbd>Enter</kbd> ${suggested.labels.join(", ") || "no class"} <small>${Math.round(100 * suggested.probability)} %</small>
              </button>`
            : nothing}
        </p>`,
      this.under,
    );
  }

  // Zoom ----------------------------------------------------------------------------------------------------------

  place(image = this.images.get(this.row)) {
    const { scale, x, y } = this.zoom;
    if (image) image.style.transform = scale === 1 ? "" : `translate(${x}px, ${y}px) scale(${scale})`;
    this.stage.classList.toggle("zoomed", scale > 1);
  }

  whole() {
    this.zoom = { scale: 1, x: 0, y: 0 };
    this.place();
  }

  /** Enlarge about a point: the pointer's, or the middle. */
  enlarge(factor, event) {
    const { scale, x, y } = this.zoom;
    const next = Math.min(LARGEST, Math.max(1, scale * factor));
    if (next === 1) return this.whole();
    const box = this.stage.getBoundingClientRect();
    const [px, py] = event?.clientX === undefined ? [0, 0] : [event.clientX - box.x - box.width / 2, event.clientY - box.y - box.height / 2];
    this.zoom = { scale: next, x: px - ((px - x) * next) / scale, y: py - ((py - y) * next) / scale };
    this.place();
    this.sharpen();
  }

  /** Once an image is enlarged, all its pixels are fetched. */
  async sharpen() {
    const { row } = this;
    const image = this.images.get(row);
    if (!image || image.sharp || Math.max(image.naturalWidth, image.naturalHeight) < 1600) return;
    image.sharp = true;
    const full = new Image();
    full.src = picture(row, "full");
    await full.decode().catch(() => {});
    if (full.naturalWidth > image.naturalWidth) image.src = full.src;
  }

  wheel(event) {
    event.preventDefault();
    this.enlarge(Math.exp(-event.deltaY * (event.ctrlKey ? 0.01 : 0.002)), event);
  }

  drag(event) {
    if (event.button !== 0 || this.zoom.scale === 1) return;
    this.stage.setPointerCapture(event.pointerId);
    const { x, y } = this.zoom;
    const move = (moved) => {
      this.zoom.x = x + moved.clientX - event.clientX;
      this.zoom.y = y + moved.clientY - event.clientY;
      this.place();
    };
    this.stage.addEventListener("pointermove", move);
    this.stage.addEventListener("lostpointercapture", () => this.stage.removeEventListener("pointermove", move), { once: true });
  }
}
