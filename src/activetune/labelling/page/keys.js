// Which key stands for which class: 1 to 9, then letters; with more classes than keys any letter begins a search.

export const KEYS = [..."123456789abcdefghijklmnopqrstuvwxyz"];

export const keyOf = (position, count) => (count <= KEYS.length || position < 9 ? KEYS[position] ?? "" : "");

/** The position of the class that a key stands for; -1 for none. */
export function classOf(key, count) {
  const position = KEYS.indexOf(key);
  return position >= 0 && position < count && keyOf(position, count) ? position : -1;
}

export const beginsSearch = (key, count) => count > KEYS.length && key.length === 1 && key !== "?" && /\p{L}/u.test(key);

export const HELP = [
  ["1 – 9, a – z", "give the class; with many classes a letter begins a search"],
  ["Enter", "accept the suggestion (of all selected); with several classes: save the choice"],
  ["Space", "skip for now (grid: select the image, or not)"],
  [".", "unsure"],
  ["0", "not any of these, with a reason"],
  ["Backspace, Ctrl+Z", "undo"],
  ["← →", "the image before, the next one; answer again to correct"],
  ["/", "search a class"],
  ["Shift+G", "one image, or the grid"],
  ["Shift+N", "a new class"],
  ["Shift+R", "rename a class, merge it with another, or remove it"],
  ["+ − =", "larger, smaller, whole image; the wheel does so too, dragging moves it"],
  ["Shift+arrows, Ctrl+A, Esc", "grid: select more, all, none; or click, Shift+click, Ctrl+click, drag a frame"],
  ["?", "this list, and your name"],
];
