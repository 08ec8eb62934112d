// The map of a pool: points by WebGL where there is some, otherwise on a plain canvas; picks, pictures, lasso.
(() => {
  const { show, hide, element } = window.activetune;
  const PALETTE = 12, LEGEND = 40, LISTED = 300;
  const bytes = (text) => Uint8Array.from(atob(text), (sign) => sign.charCodeAt(0)).buffer;
  const numbers = (text, wide) => (wide ? new Uint16Array(bytes(text)) : new Uint8Array(bytes(text)));
  /** Ids, each told by how much of the one before it begins with and its rest, in ascending order. */
  const whole = ({ rows, shared, rests }) => {
    const lengths = new Uint16Array(bytes(shared)), places = rows && new Uint32Array(bytes(rows)), found = [];
    let id = "";
    rests.forEach((rest, number) => {
      id = id.slice(0, lengths[number]) + rest;
      found[places ? places[number] : number] = id;
    });
    return found;
  };
  const variable = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const dark = matchMedia("(prefers-color-scheme: dark)");

  /** Six hexadecimal digits of a hue (0 to 1). */
  const hue = (share, saturation, light) => {
    const part = (n) => {
      const k = (n + share * 12) % 12;
      const value = light - saturation * Math.min(light, 1 - light) * Math.max(-1, Math.min(k - 3, 9 - k, 1));
      return Math.round(255 * value).toString(16).padStart(2, "0");
    };
    return `#${part(0)}${part(8)}${part(4)}`;
  };
  /** A colour per name: the page's own for few, hues far from their neighbours' for many, a ramp for numbers. */
  const colours = ({ names, kind, unknown }) => names.map((_, number) => {
    if (number === unknown) return dark.matches ? "#5a5d64" : "#c4c6ca";
    if (kind === "scale") return hue(0.64 - 0.5 * (number / Math.max(1, names.length - 1)), 0.62, dark.matches ? 0.62 : 0.5);
    if (kind === "verdict") return variable(number ? "--bad" : "--c7");
    return names.length <= PALETTE + 1 ? variable(`--c${number % PALETTE}`) : hue((number * 0.618) % 1, 0.5, dark.matches ? 0.66 : 0.48);
  });

  /** Points on a plain canvas, with the few calls that the map needs of regl-scatterplot. */
  const plain = (canvas, told) => {
    let view = { scale: 1, x: 0, y: 0 }, size = [1, 1], drawn = null, path = [], lasso = false, from = null;
    const screen = (row) => {
      const half = Math.min(...size) / 2;
      return [size[0] / 2 + (drawn.x[row] * view.scale + view.x) * half, size[1] / 2 - (drawn.y[row] * view.scale + view.y) * half];
    };
    const nearest = (x, y) => {
      let best = -1, least = 12 ** 2;
      for (const row of drawn.rows) {
        const [a, b] = screen(row);
        const distance = (a - x) ** 2 + (b - y) ** 2;
        if (distance < least) [best, least] = [row, distance];
      }
      return best;
    };
    const inside = ([x, y]) => {
      let odd = false;
      for (let a = 0, b = path.length - 1; a < path.length; b = a++) {
        const [[ax, ay], [bx, by]] = [path[a], path[b]];
        if (ay > y !== by > y && x < ((bx - ax) * (y - ay)) / (by - ay) + ax) odd = !odd;
      }
      return odd;
    };
    const place = (event) => [event.offsetX, event.offsetY];
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      const half = Math.min(...size) / 2, factor = Math.exp(-event.deltaY / 400);
      const [x, y] = [(event.offsetX - size[0] / 2) / half, (size[1] / 2 - event.offsetY) / half];
      view = { scale: view.scale * factor, x: x - (x - view.x) * factor, y: y - (y - view.y) * factor };
      told.view();
    }, { passive: false });
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      from = { start: place(event), view };
      path = lasso || event.shiftKey ? [place(event)] : [];
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!from) return told.over(nearest(...place(event)), event);
      if (path.length) path.push(place(event));
      else {
        const half = Math.min(...size) / 2;
        view = { ...view, x: from.view.x + (event.offsetX - from.start[0]) / half, y: from.view.y - (event.offsetY - from.start[1]) / half };
      }
      return told.view();
    });
    canvas.addEventListener("pointerup", (event) => {
      const moved = from && Math.hypot(event.offsetX - from.start[0], event.offsetY - from.start[1]) > 4;
      if (path.length > 2) told.select(drawn.rows.filter((row) => inside(screen(row))));
      else if (!moved) told.select([nearest(...place(event))].filter((row) => row >= 0));
      [from, path] = [null, []];
      told.view();
    });
    canvas.addEventListener("pointerleave", () => told.over(-1));
    return {
      screen,
      draw: (points) => { drawn = points; told.view(); },
      resize: (width, height) => { size = [width, height]; },
      lasso: (on) => { lasso = on; },
      reset: () => { view = { scale: 1, x: 0, y: 0 }; told.view(); },
      paint: (context) => {
        const half = Math.min(...size) / 2, side = drawn.side * Math.min(2.5, Math.max(1, Math.sqrt(view.scale)));
        const [scale, left, top] = [view.scale * half, size[0] / 2 + view.x * half, size[1] / 2 - view.y * half];
        context.globalAlpha = drawn.opacity;
        drawn.groups.forEach((rows, code) => {
          context.fillStyle = drawn.palette[code];
          context.beginPath();
          for (const row of rows) {
            const [x, y] = [left + drawn.x[row] * scale, top - drawn.y[row] * scale];
            if (x < -9 || y < -9 || x > size[0] + 9 || y > size[1] + 9) continue;
            if (drawn.rows.length > 20000) context.rect(x - side / 2, y - side / 2, side, side);
            else {
              context.moveTo(x + side / 2, y);
              context.arc(x, y, side / 2, 0, 7);
            }
          }
          context.fill();
        });
        context.globalAlpha = 1;
        if (path.length > 1) {
          context.strokeStyle = variable("--accent");
          context.beginPath();
          path.forEach(([x, y], number) => (number ? context.lineTo(x, y) : context.moveTo(x, y)));
          context.stroke();
        }
      },
    };
  };

  /** Whether WebGL is emulated on the processor, where a plain canvas is faster; #webgl asks for it all the same. */
  const emulated = (probe) => {
    const told = probe.getParameter(probe.RENDERER);
    const asked = told === "WebKit WebGL" && probe.getExtension("WEBGL_debug_renderer_info");
    return /swiftshader|llvmpipe|softpipe|software|basic render/i.test(asked ? probe.getParameter(asked.UNMASKED_RENDERER_WEBGL) : told);
  };

  /** The same by WebGL; null where there is none. */
  const accelerated = (canvas, told, width, height) => {
    const probe = window.reglScatterplot && document.createElement("canvas").getContext("webgl");
    if (!probe || (emulated(probe) && location.hash !== "#webgl")) return null;
    for (const name of ["OES_texture_float", "OES_element_index_uint"]) if (!probe.getExtension(name)) return null;
    probe.getExtension("WEBGL_lose_context")?.loseContext();
    let plot;
    try {
      plot = reglScatterplot.createScatterplot({ canvas, width, height, backgroundColor: variable("--surface"), lassoMinDelay: 0 });
    } catch {
      return null;
    }
    let last = null, pointer = null, shown = "";
    canvas.addEventListener("pointermove", (event) => { pointer = event; });
    plot.subscribe("pointOver", (row) => told.over(row, pointer));
    plot.subscribe("pointOut", () => told.over(-1));
    plot.subscribe("select", ({ points }) => { told.select(points); });
    plot.subscribe("deselect", () => told.select([]));
    plot.subscribe("view", () => told.view());
    return {
      screen: (row) => plot.getScreenPosition(row),
      draw: async (points) => {
        last = points;
        const { palette, side, x, y, codes, rows } = points;
        plot.set({
          backgroundColor: variable("--surface"), colorBy: "valueA", pointSize: side, opacity: points.opacity,
          pointColor: palette.length > 1 ? palette : palette[0], pointColorActive: variable("--accent"),
          pointColorHover: variable("--ink"), lassoColor: variable("--accent"),
        });
        const key = points.key;
        if (key !== shown) await plot.draw({ x, y, valueA: codes }, { zDataType: "categorical" });
        shown = key;
        if (last !== points) return;
        if (rows.length < x.length) plot.filter([...rows], { preventEvent: true });
        else plot.unfilter({ preventEvent: true });
        told.view();
      },
      resize: (w, h) => plot.set({ width: w, height: h }),
      lasso: (on) => plot.set({ mouseMode: on ? "lasso" : "panZoom" }),
      reset: () => plot.reset({ preventEvent: false }),
      clear: () => plot.deselect({ preventEvent: true }),
      paint: null,
    };
  };

  const start = (map) => {
    const data = JSON.parse(map.querySelector('script[type="application/json"]').textContent);
    data.ids = whole(data.ids);
    const field = map.querySelector(".field"), over = map.querySelector("canvas.over"), chosen = map.querySelector(".chosen");
    const [layout, colouring, view] = ["layout", "colouring", "view"].map((name) => map.querySelector(`[data-choose=${name}]`));
    const lasso = map.querySelector("[data-lasso]"), legend = map.querySelector(".legend");
    const shift = (text) => Float32Array.from(new Uint16Array(bytes(text)), (value) => value / 32767.5 - 1);
    const layouts = data.layouts.map(({ x, y }) => ({ x: shift(x), y: shift(y) }));
    const codings = data.colourings.map(({ codes, wide }) => numbers(codes, wide));
    const views = data.views.map(({ rows }) => new Uint32Array(bytes(rows)));
    let off = new Set(), drawn = null, printing = false, selected = [];
    const current = () => data.colourings[colouring.value];

    const paint = () => {
      const ratio = devicePixelRatio, { width, height } = field.getBoundingClientRect();
      over.width = Math.round(width * ratio);
      over.height = Math.round(height * ratio);
      const context = over.getContext("2d");
      context.scale(ratio, ratio);
      if (!drawn) return;
      if (printing && !renderer.paint) {
        context.fillStyle = "#fff";
        context.fillRect(0, 0, width, height);
        for (const row of drawn.rows) {
          const [x, y] = renderer.screen(row) ?? [-9, -9];
          context.fillStyle = drawn.palette[drawn.codes[row]];
          context.fillRect(x - 1.5, y - 1.5, 3, 3);
        }
      }
      renderer.paint?.(context);
      const visible = off.size ? new Set(drawn.rows) : null;
      const rings = (rows, colour, radius) => {
        context.strokeStyle = colour;
        context.lineWidth = 1.6;
        for (const row of rows) {
          if (visible && !visible.has(row)) continue;
          const [x, y] = renderer.screen(row) ?? [-9, -9];
          context.beginPath();
          context.arc(x, y, radius, 0, 7);
          context.stroke();
        }
      };
      if (view && view.value !== "") rings(views[view.value], printing ? "#000" : variable("--ink"), 5);
      if (renderer.paint && selected.length < 5000) rings(selected, variable("--accent"), 7);
    };
    let waiting = false;
    const soon = () => {
      if (waiting) return;
      waiting = true;
      requestAnimationFrame(() => { waiting = false; paint(); });
    };

    const sprite = (row) => {
      const made = element("span", "", "sprite");
      if (!data.sprites) return null;
      const { side, across, each, sheets } = data.sprites, place = row % each;
      const scale = 3, rows = Math.ceil(Math.min(each, data.ids.length - row + place) / across);
      made.style.display = "block";
      made.style.width = made.style.height = `${side * scale}px`;
      made.style.backgroundImage = `url("${sheets[Math.floor(row / each)]}")`;
      made.style.backgroundSize = `${across * side * scale}px ${rows * side * scale}px`;
      made.style.backgroundPosition = `${-(place % across) * side * scale}px ${-Math.floor(place / across) * side * scale}px`;
      return made;
    };
    const told = {
      view: soon,
      over: (row, event) => {
        if (row < 0 || !event) return hide();
        const lines = data.colourings.map(({ name, names }, number) => {
          const line = element("div");
          line.append(element("span", name), element("span", names[codings[number][row]]));
          return line;
        });
        return show([element("b", data.ids[row]), ...[sprite(row)].filter(Boolean), ...lines], event.clientX, event.clientY);
      },
      select: (rows) => {
        selected = [...rows];
        chosen.hidden = !selected.length;
        chosen.querySelector("b").textContent = `${selected.length.toLocaleString("en")} chosen`;
        chosen.querySelector("ul").replaceChildren(...selected.slice(0, LISTED).map((row) => {
          const item = element("li");
          item.title = data.ids[row];
          const image = sprite(row);
          if (image) {
            const { side, across } = data.sprites;
            const [x, y] = image.style.backgroundPosition.split(" ").map((text) => `${parseFloat(text) / 3}px`);
            const height = parseFloat(image.style.backgroundSize.split(" ")[1]) / 3;
            Object.assign(image.style, { width: `${side}px`, height: `${side}px`, backgroundPosition: `${x} ${y}`, backgroundSize: `${across * side}px ${height}px` });
            item.append(image);
          } else item.textContent = data.ids[row];
          return item;
        }));
        soon();
      },
    };
    const box = field.getBoundingClientRect();
    const renderer = accelerated(map.querySelector("canvas.points"), told, box.width, box.height) ?? plain(over, told);
    map.classList.toggle("plain", Boolean(renderer.paint));
    renderer.resize(box.width, box.height);

    const draw = () => {
      const codes = codings[colouring.value], palette = colours(current());
      const rows = off.size ? [...codes.keys()].filter((row) => !off.has(codes[row])) : [...codes.keys()];
      const count = data.ids.length;
      drawn = {
        ...layouts[layout?.value ?? 0], codes, palette, rows, key: `${layout?.value} ${colouring.value}`,
        side: count > 30000 ? 2 : count > 4000 ? 3 : count > 800 ? 4.5 : 6, opacity: count > 4000 ? 0.7 : 0.85,
      };
      drawn.groups = palette.map(() => []);
      for (const row of rows) drawn.groups[codes[row]].push(row);
      renderer.draw(drawn);
    };
    const explain = () => {
      const { names, counts } = current(), palette = colours(current());
      const order = names.map((_, number) => number).filter((number) => counts[number]);
      legend.replaceChildren(...order.slice(0, LEGEND).map((number) => {
        const button = element("button"), mark = element("i", "", "square");
        button.type = "button";
        button.setAttribute("aria-pressed", String(!off.has(number)));
        mark.style.background = palette[number];
        button.append(mark, `${names[number]} · ${counts[number].toLocaleString("en")}`);
        button.addEventListener("click", () => { off.delete(number) || off.add(number); explain(); draw(); });
        button.addEventListener("dblclick", () => { off = new Set(order.filter((other) => other !== number)); explain(); draw(); });
        return button;
      }), ...(order.length > LEGEND ? [element("span", `and ${order.length - LEGEND} more`)] : []));
    };
    colouring.addEventListener("change", () => { off = new Set(); explain(); draw(); });
    layout?.addEventListener("change", draw);
    view?.addEventListener("change", soon);
    lasso.addEventListener("click", () => {
      const on = lasso.getAttribute("aria-pressed") !== "true";
      lasso.setAttribute("aria-pressed", String(on));
      renderer.lasso(on);
    });
    map.querySelector("[data-reset]").addEventListener("click", renderer.reset);
    const ids = () => selected.map((row) => data.ids[row]);
    map.querySelector("[data-copy]").addEventListener("click", async (event) => {
      const area = element("textarea", ids().join("\n"));
      document.body.append(area);
      area.select();
      const done = document.execCommand("copy");
      area.remove();
      event.target.textContent = done ? "Copied" : "Not copied";
      setTimeout(() => { event.target.textContent = "Copy ids"; }, 1500);
    });
    map.querySelector("[data-save]").addEventListener("click", () => {
      const cell = (id) => (/[",\n\r]/.test(id) ? `"${id.replaceAll('"', '""')}"` : id);
      const link = element("a");
      link.href = URL.createObjectURL(new Blob([["id", ...ids().map(cell)].join("\n"), "\n"], { type: "text/csv" }));
      link.download = "ids.csv";
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 1000);
    });
    map.querySelector("[data-clear]").addEventListener("click", () => { renderer.clear?.(); told.select([]); });
    new ResizeObserver(() => {
      const { width, height } = field.getBoundingClientRect();
      if (!width) return;
      renderer.resize(width, height);
      soon();
    }).observe(field);
    dark.addEventListener("change", () => { explain(); draw(); });
    const print = (on) => { printing = on; paint(); };
    addEventListener("beforeprint", () => print(true));
    addEventListener("afterprint", () => print(false));
    explain();
    draw();
    map.dataset.ready = renderer.paint ? "plain" : "webgl";
  };

  for (const map of document.querySelectorAll("[data-map]")) {
    let begun = false;
    const once = () => { if (!begun) { begun = true; start(map); } };
    new IntersectionObserver((entries, watch) => {
      if (entries.some((entry) => entry.isIntersecting)) { watch.disconnect(); once(); }
    }, { rootMargin: "300px" }).observe(map);
    addEventListener("beforeprint", once);
  }
})();
