// The start of the page, its keys, and one drawing per frame.

import { App } from "/page/app.js";
import { Dialogs } from "/page/dialogs.js";
import { Grid } from "/page/grid.js";
import { beginsSearch, classOf } from "/page/keys.js";
import { Panel } from "/page/panel.js";
import { get } from "/page/server.js";
import { Single } from "/page/single.js";

const part = (id) => document.getElementById(id);

async function start() {
  const { key } = await get("/api/state");
  const app = new App(key);
  const dialogs = new Dialogs(app, part("dialog"));
  const panel = new Panel(app, { head: part("head"), classes: part("classes"), foot: part("foot") }, (name, about) => dialogs.ask(name, about));
  const single = new Single(app, part("stage"), part("under"));
  const grid = new Grid(app, { tools: part("tools"), scroll: part("scroll"), cells: part("cells"), band: part("band") });
  app.addEventListener("draw", () => draw(app, panel, single, grid));
  app.addEventListener("tell", ({ detail }) => (part("told").textContent = detail));
  addEventListener("keydown", (event) => press(event, app, dialogs, panel, single, grid));
  addEventListener("beforeunload", (event) => app.outbox.entries.length && event.preventDefault());
  await app.start();
  document.body.classList.add("ready");
}

function draw(app, panel, single, grid) {
  document.title = `${app.name}: ${app.items.done} of ${app.items.total}`;
  const now = app.view === "single";
  const changed = part("single").hidden === now;
  part("single").hidden = !now;
  part("grid").hidden = now;
  panel.draw();
  if (now) single.draw();
  else grid.draw();
  if (!now && (changed || grid.seen !== app.cursor)) grid.reveal();
  grid.seen = app.cursor;
}

// Keys that go on while they are held; the others act once, so that a long press labels one image.
const HELD = new Set(["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "+", "-"]);

function press(event, app, dialogs, panel, single, grid) {
  if (dialogs.open || event.isComposing || event.altKey) return;
  if (event.target.matches?.("input, select, textarea")) return;
  const onButton = event.target.matches?.("button") && (event.key === "Enter" || event.key === " ");
  if (onButton) return;
  if (event.repeat && !HELD.has(event.key)) return void event.preventDefault();
  const pressed = performance.now() - Math.max(0, performance.now() - event.timeStamp);
  if (act(event, app, dialogs, panel, single, grid, pressed)) event.preventDefault();
}

/** What a key does; returns whether it did anything. */
function act(event, app, dialogs, panel, single, grid, pressed) {
  const { key } = event;
  const control = event.ctrlKey || event.metaKey;
  if (control && key.toLowerCase() === "z") return done(app.undo());
  if (app.view === "grid" && grid.key(event)) return true;
  if (control) return false;
  const commands = {
    "?": () => dialogs.ask("help"),
    "/": () => panel.input.focus(),
    0: () => dialogs.ask("none"),
    ".": () => timed(single, pressed, () => app.answer(app.target, { state: "unsure" })),
    " ": () => timed(single, pressed, () => app.answer(app.target, { state: "skipped" })),
    Enter: () => timed(single, pressed, () => app.accept()),
    Backspace: () => timed(single, pressed, () => app.undo()),
    ArrowLeft: () => timed(single, pressed, () => app.go(app.cursor - 1)),
    ArrowRight: () => timed(single, pressed, () => app.go(app.cursor + 1)),
    "+": () => single.enlarge(1.5),
    "-": () => single.enlarge(1 / 1.5),
    "=": () => single.whole(),
    Escape: () => single.whole(),
  };
  const shifted = { g: () => app.show({ view: app.view === "grid" ? "single" : "grid" }), n: () => dialogs.ask("add"), r: () => dialogs.ask("rename", app.items.answers[app.row]?.labels[0] ?? app.items.classes[0]) };
  const command = (event.shiftKey && shifted[key.toLowerCase()]) || (Object.hasOwn(commands, key) && commands[key]);
  if (command) return done(command());
  const { classes } = app.items;
  const digit = key >= "1" && key <= "9"; // which some keyboards type with Shift
  const position = classOf(event.shiftKey && !digit ? "" : key.toLowerCase(), classes.length);
  if (position >= 0 && app.unsettled) return done(app.tell("keys have moved to other classes: look, and press again"));
  if (position >= 0) return done(timed(single, pressed, () => app.give(classes[position])));
  if (beginsSearch(key, classes.length)) {
    panel.input.focus();
    panel.look(key);
    return true;
  }
  return false;
}

const done = () => true;

/** Let the time from a key to the next image be measured. */
function timed(single, pressed, what) {
  single.asked = pressed;
  what();
}

start().catch((error) => {
  const box = document.createElement("p");
  box.className = "failed";
  box.textContent = error.message;
  document.body.replaceChildren(box);
});
