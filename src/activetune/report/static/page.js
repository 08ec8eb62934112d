// What a page does when it is touched: values under the pointer, series that are shown and hidden, pictures made large.
(() => {
  const tip = document.createElement("div");
  tip.className = "tip";
  tip.hidden = true;
  document.body.append(tip);

  /** Shows nodes beside a place of the window, within it. */
  const show = (nodes, x, y) => {
    tip.replaceChildren(...nodes);
    tip.hidden = false;
    const { width, height } = tip.getBoundingClientRect();
    const left = x + 16 + width > innerWidth ? x - 16 - width : x + 16;
    tip.style.left = `${Math.max(4, left)}px`;
    tip.style.top = `${Math.max(4, Math.min(y - height / 2, innerHeight - height - 4))}px`;
  };
  const hide = () => { tip.hidden = true; };
  const element = (tag, text = "", name = "") => {
    const made = document.createElement(tag);
    made.textContent = text;
    if (name) made.className = name;
    return made;
  };
  window.activetune = { show, hide, element };

  // Curves: the values of every series at the place that is nearest to the pointer.
  for (const chart of document.querySelectorAll(".chart[data-curves]")) {
    const { places, series } = JSON.parse(chart.querySelector("script").textContent);
    const hidden = new Set();
    for (const svg of chart.querySelectorAll("svg")) {
      const at = JSON.parse(svg.dataset.at);
      const cross = svg.querySelector(".cross");
      const leave = () => { hide(); cross.style.visibility = "hidden"; };
      svg.addEventListener("pointermove", (event) => {
        const scale = svg.viewBox.baseVal.width / svg.getBoundingClientRect().width;
        const x = (event.clientX - svg.getBoundingClientRect().left) * scale;
        let best = 0;
        at.forEach((place, number) => { if (Math.abs(place - x) < Math.abs(at[best] - x)) best = number; });
        cross.setAttribute("x1", at[best]);
        cross.setAttribute("x2", at[best]);
        cross.style.visibility = "visible";
        const rows = series.flatMap(({ name, colour, told }, number) => {
          if (hidden.has(number) || !told[best]) return [];
          const row = element("div");
          const mark = element("i");
          mark.style.background = `var(--c${colour})`;
          row.append(mark, element("span", name), element("span", told[best]));
          return [row];
        });
        show([element("b", places[best]), ...rows], event.clientX, event.clientY);
      });
      svg.addEventListener("pointerleave", leave);
    }
    const buttons = [...chart.querySelectorAll(".legend button")];
    const paint = () => buttons.forEach((button, number) => {
      button.setAttribute("aria-pressed", String(!hidden.has(number)));
      for (const part of chart.querySelectorAll(`[data-series="${number}"]`)) part.toggleAttribute("hidden", hidden.has(number));
    });
    buttons.forEach((button, number) => {
      button.addEventListener("click", () => { hidden.delete(number) || hidden.add(number); paint(); });
      button.addEventListener("dblclick", () => {
        hidden.clear();
        buttons.forEach((_, other) => { if (other !== number) hidden.add(other); });
        paint();
      });
    });
  }

  // Pictures, large.
  const dialog = document.createElement("dialog");
  dialog.className = "zoom";
  const [picture, caption] = [element("img"), element("p")];
  dialog.append(picture, caption);
  document.body.append(dialog);
  dialog.addEventListener("click", () => dialog.close());
  const zoomable = () => [...document.querySelectorAll("img[data-zoom]")].filter((image) => image.offsetParent);
  let shown = 0;
  const zoom = (image) => {
    shown = zoomable().indexOf(image);
    picture.src = image.src;
    picture.alt = image.alt;
    picture.className = `zoomed ${image.className}`;
    caption.textContent = image.dataset.zoom;
    if (!dialog.open) dialog.showModal();
  };
  document.addEventListener("click", (event) => {
    const image = event.target.closest?.("img[data-zoom]");
    if (image) zoom(image);
  });
  document.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (dialog.open && step && zoomable()[shown + step]) zoom(zoomable()[shown + step]);
    if (event.key === "Enter" && event.target.matches?.("img[data-zoom]")) zoom(event.target);
  });

  // Confusion matrices: the pictures behind the cell that is chosen.
  for (const block of document.querySelectorAll("[data-matrix]")) {
    const behind = block.querySelector(".behind");
    const choose = (button) => {
      for (const other of block.querySelectorAll("td.chosen")) other.classList.remove("chosen");
      button.parentElement.classList.add("chosen");
      const strip = block.querySelector(`template[data-cell="${button.dataset.cell}"]`);
      const told = element("p", button.title, "note");
      behind.replaceChildren(told, ...(strip ? [strip.content.cloneNode(true)] : []));
    };
    for (const button of block.querySelectorAll("td button")) button.addEventListener("click", () => choose(button));
    const first = block.querySelector("button[data-first]");
    if (first) choose(first);
  }
})();
