// The kernel of the pixel under the pointer: kernel × window = products, and their sum, which is the filtered pixel.

const COLOURS = ["red", "green", "blue"];

/** Where a coordinate beyond the border is read, as filter2d pads; -1 is a zero. */
function inside(i, n, padding) {
  if (i >= 0 && i < n) return i;
  if (padding === "zeros") return -1;
  if (padding === "reflect" && n > 1) {
    const period = 2 * n - 2, j = ((i % period) + period) % period;
    return n - 1 - Math.abs(n - 1 - j);
  }
  return Math.max(0, Math.min(n - 1, i));
}

/** One filtered level, its numbers decoded: everything there is to say about a pixel of it. */
function decoded(level, ofPicture) {
  const { N, dilation, padding, size: [h, w] } = level;
  const taps = N * N, reach = (N - 1) / 2, area = h * w;
  const kernels = floats(level.kernels), before = floats(level.before), mask = level.mask ? bytes(level.mask) : ofPicture;
  const maps = level.maps.map((map) => ({ ...map, values: bytes(map.values) }));
  return {
    ...level, mask, maps,
    /** What map i says at a pixel, from 0 … 255 back to its own range. */
    told: (map, p) => map.low + (map.values[p] / 255) * (map.high - map.low),
    read(row, column, channel) {
      const group = level.group[channel], p = row * w + column;
      const kernel = new Float32Array(taps), patch = new Float32Array(taps), products = new Float32Array(taps);
      const holes = new Uint8Array(taps);
      let sum = 0, weight = 0;
      for (let t = 0; t < taps; t++) {
        const r = inside(row + (Math.floor(t / N) - reach) * dilation, h, padding);
        const c = inside(column + ((t % N) - reach) * dilation, w, padding);
        const there = r >= 0 && c >= 0;
        kernel[t] = kernels[(group * taps + t) * area + p];
        patch[t] = there ? before[channel * area + r * w + c] : 0;
        holes[t] = there && mask ? mask[r * w + c] : 0;
        products[t] = kernel[t] * patch[t];
        sum += kernel[t] * patch[t];
        weight += kernel[t];
      }
      return { kernel, patch, products, holes, sum, weight };
    },
  };
}

/** Of each pixel in the hole, how many come before it. */
function ordered(mask) {
  const order = new Int32Array(mask.length);
  mask.forEach((hole, i) => (order[i + 1] = order[i] + hole));
  return order;
}

function render({ model, el }) {
  const data = model.get("data");
  const [H, W] = data.size;
  const image = bytes(data.image), mask = data.mask && bytes(data.mask), output = bytes(data.output);
  const levels = data.levels.map((level) => decoded(level, level.number ? null : mask));
  const added = data.added.map((part) => ({ name: part.name, values: floats(part.values) })), holeAt = mask ? ordered(mask) : [];
  let [row, column] = model.get("pixel");
  let level = levels[0], channel = 0, pins = [];

  const box = root(el, "misf-explorer");
  const say = speaker(box);
  const levelBox = select("which filter", levels.map((l, i) => [i, l.title]), (i) => setLevel(levels[i]));
  const overlay = select("what the picture shows", [], drawBase);
  const slider = element("input", { type: "range", min: 0, value: 0, "aria-label": "channel", oninput: () => setChannel(+slider.value) });
  const sliderText = element("output");
  const channelBox = element("label", {}, "channel", slider, sliderText);
  const legend = element("span", { className: "legend" });
  const pinButton = element("button", { textContent: "pin this pixel", onclick: pin });
  const unpinButton = element("button", { textContent: "unpin all", onclick: unpin, disabled: true });
  box.append(element("div", { className: "bar" },
    levels.length > 1 ? element("label", {}, "filter", levelBox) : "", element("label", {}, "show", overlay), legend, channelBox));

  const view = stage(H, W, {
    tabIndex: 0, role: "application",
    "aria-label": "picture: arrow keys move the pixel, with Shift ten at a time, Enter pins it, Escape unpins",
    onpointermove: (event) => moveTo(...view.at(event)),
    onpointerdown: touch, onclick: () => clicked(), onkeydown: key,
  });
  view.node.style.touchAction = "pan-y";
  const arrows = svg("path", { fill: "none", stroke: "#000", "stroke-width": 1.5, "vector-effect": "non-scaling-stroke" });
  const pinMarks = svg("g"), here = frame();
  view.marks.append(arrows, ...(mask ? [rim(mask, H, W)] : []), pinMarks, ...here.nodes);

  const heading = element("h4"), facts = element("p", { className: "soft" });
  const grid = element("div", { className: "sums" }), outcome = element("p", { className: "outcome" });
  const pinned = element("div", { className: "columns pinned" });
  const left = element("div", {}, view.node);
  left.style.cssText = "flex: 1 1 240px; max-width: 360px; min-width: 0";
  const right = element("div", {}, heading, grid, outcome, facts,
    element("div", { className: "bar" }, pinButton, unpinButton, element("span", { className: "soft" }, "A click pins, too: two pins can be compared.")), pinned);
  box.append(element("div", { className: "columns" }, left, right));

  /** Feature pixels are larger than pixels: position of this one in the level. */
  const inLevel = (l, r, c) => [Math.min(l.size[0] - 1, Math.floor(r / l.scale)), Math.min(l.size[1] - 1, Math.floor(c / l.scale))];
  const channelsShown = () => (level.number === 0 ? level.channels.map((_, i) => i) : [channel]);

  let rows = [];
  function setLevel(to, keep) {
    level = to;
    levelBox.value = levels.indexOf(to);
    const old = overlay.value;
    overlay.replaceChildren();
    const views = [...(data.picture ? [["output", data.picture]] : []), ["input", mask ? "input, with its hole" : "input"],
      ...(mask ? [["mask", "mask"]] : []), ...level.maps.filter((m) => !m.hidden).map((m) => [m.name, m.title]), ["arrows", "centre of mass (arrows)"]];
    for (const [value, text] of views) overlay.append(element("option", { value, textContent: text }));
    overlay.value = views.some(([value]) => value === old) ? old : views[0][0];
    channelBox.style.display = level.number ? "" : "none";
    slider.max = level.channels.length - 1;
    if (!keep) channel = 0;
    const names = channelsShown();
    grid.style.gridTemplateColumns = "repeat(7, auto)";
    grid.replaceChildren(...["", "kernel", "", "its window", "", "products", "Σ sum"].map((text) => element("span", { className: "soft", textContent: text })));
    right.style.cssText = `flex: 1 1 ${3 * cellPixels(level.N) * level.N + 170}px; min-width: 0`;
    rows = names.map((_, i) => {
      const colour = level.number ? "channel" : COLOURS[i];
      const row = {
        name: element("span", { textContent: colour }),
        kernel: cells(`kernel, ${colour}`, level.N), patch: cells(`window, ${colour}`, level.N),
        products: cells(`products, ${colour}`, level.N), sum: element("output", { className: "sum" }),
      };
      grid.append(row.name, row.kernel.canvas, "×", row.patch.canvas, "=", row.products.canvas, row.sum);
      return row;
    });
    setChannel(channel);
    drawBase();
  }

  function setChannel(to) {
    channel = to;
    slider.value = to;
    sliderText.textContent = `${level.channels[to]} (${to + 1} of ${level.channels.length}, the most changed first)`;
    drawPins();
    show();
  }

  function drawBase() {
    const what = overlay.value, map = level.maps.find((m) => m.name === what);
    const dim = what === "arrows" ? 0.5 : 1;
    legend.replaceChildren();
    arrows.setAttribute("d", what === "arrows" ? arrowPath() : "");
    if (map) {
      view.draw((i, out, o) => {
        const [r, c] = inLevel(level, Math.floor(i / W), i % W), e = 3 * map.values[r * level.size[1] + c];
        for (let k = 0; k < 3; k++) out[o + k] = TABLES.map[e + k];
      });
      legend.append(scale("map", number(map.low), number(map.high)));
    } else if (what === "mask") view.draw((i, out, o) => out.fill(mask[i] ? 255 : 0, o, o + 3));
    else if (what === "input") view.draw(rgbWithHole(image, mask));
    else view.draw((i, out, o) => {
      for (let c = 0; c < 3; c++) {
        const value = output[3 * i + c];
        out[o + c] = dim < 1 ? 255 - (255 - value) * dim : value;
      }
    });
  }

  /** Arrows from pixels to where their kernels look on average, on a grid; the longest possible reaches the next. */
  function arrowPath() {
    const [h, w] = level.size, step = Math.max(1, Math.round(Math.max(h, w) / 24)), s = level.scale;
    const dy = level.maps.find((m) => m.name === "dy"), dx = level.maps.find((m) => m.name === "dx");
    const longest = ((level.N - 1) / 2) * level.dilation || 1, size = (step * s) / longest;
    let path = "";
    for (let r = step >> 1; r < h; r += step)
      for (let c = step >> 1; c < w; c += step) {
        const y = level.told(dy, r * w + c) * size, x = level.told(dx, r * w + c) * size, length = Math.hypot(x, y);
        if (length < 0.06 * step * s) continue;
        const [y0, x0] = [(r + 0.5) * s, (c + 0.5) * s], head = Math.min(length, 0.35 * step * s) / length;
        const tip = (turn) => `${(x0 + x - head * (x * Math.cos(turn) - y * Math.sin(turn))).toFixed(2)} ${(y0 + y - head * (x * Math.sin(turn) + y * Math.cos(turn))).toFixed(2)}`;
        path += `M${x0} ${y0}L${(x0 + x).toFixed(2)} ${(y0 + y).toFixed(2)}M${tip(0.5)}L${(x0 + x).toFixed(2)} ${(y0 + y).toFixed(2)}L${tip(-0.5)}`;
      }
    return path;
  }

  function whereIs(r, c) {
    const known = mask ? (mask[r * W + c] ? ", in the hole" : ", known") : "";
    if (!level.number) return `row ${r}, column ${c}${known}`;
    const [fr, fc] = inLevel(level, r, c);
    return `row ${r}, column ${c}${known}: pixel (${fr}, ${fc}) of F${level.number}`;
  }

  /** The handler of the pointer ends here: it must be quick. */
  function show() {
    const [r, c] = inLevel(level, row, column), p = r * level.size[1] + c, half = ((level.N - 1) / 2) * level.dilation;
    heading.textContent = whereIs(row, column);
    here.move((r - half) * level.scale, (c - half) * level.scale, (2 * half + 1) * level.scale);
    const sums = [];
    let weight;
    channelsShown().forEach((ch, i) => {
      const reading = level.read(r, c, ch), widget = rows[i];
      const largest = Math.max(...reading.products.map(Math.abs)) || 1;
      widget.kernel.draw(reading.kernel, "kernel", -level.limit, level.limit);
      if (level.number) widget.patch.draw(reading.patch, "map", ...level.ranges[ch], reading.holes);
      else widget.patch.draw(reading.patch, "grey", ...(data.tanh ? level.ranges[ch] : [0, 1]), reading.holes);
      widget.products.draw(reading.products, "kernel", -largest, largest);
      widget.sum.textContent = number(reading.sum, 3);
      widget.sum.dataset.value = reading.sum;
      sums.push(reading.sum);
      weight = reading.weight;
    });
    box.dataset.row = row;
    box.dataset.column = column;
    box.dataset.channel = level.channels[channel];
    const said = level.maps.filter((m) => !m.hidden && m.name !== "sum").map((m) => `${m.title} ${number(level.told(m, p))} (of ${number(m.high)})`);
    facts.textContent = [`The weights sum to ${number(weight)}`, ...said].join(" · ");
    if (level.number) outcome.textContent = `The sum is this pixel of F${level.number} after the filter.`;
    else outcome.replaceChildren(...told(sums));
    return sums;
  }

  /** From the sums to the output pixel, with its colour. */
  function told(sums) {
    const p = row * W + column, list = (values, as = number) => `(${values.map((v) => as(v, 3)).join(", ")})`;
    const parts = mask && mask[p] ? added.map(({ name, values }) => ({ name, values: sums.map((_, c) => values[(c * values.length) / 3 + holeAt[p]]) })) : [];
    const total = sums.map((sum, c) => parts.reduce((rest, part) => rest + part.values[c], sum));
    const final = total.map((v) => (data.tanh ? (Math.tanh(v) + 1) / 2 : Math.max(0, Math.min(1, v))));
    const swatch = element("span", { className: "swatch" });
    swatch.style.background = `rgb(${final.map((v) => Math.round(255 * v))})`;
    box.dataset.output = final;
    if (data.picture !== "output") return [`The sums are the filtered pixel, ${list(sums)} `, swatch];
    if (data.tanh) return [`(tanh + 1) / 2 of the filtered pixel ${list(sums)} = output ${list(final)} `, swatch];
    const cut = final.some((v, c) => Math.abs(v - total[c]) > 5e-4) ? ", cut off at 0 and 1" : "";
    if (!parts.length) return [`The sums are the output pixel, ${list(final)}${cut} `, swatch];
    const terms = parts.map((part) => `+ ${part.name} ${list(part.values, signed)}`);
    return [["The filtered pixel", list(sums), ...terms, `= output ${list(final)}${cut} `].join(" "), swatch];
  }

  function moveTo(r, c) {
    if (r === row && c === column) return;
    [row, column] = [r, c];
    show();
  }

  function key(event) {
    const step = (event.shiftKey ? 10 : 1) * level.scale;
    const moves = { ArrowUp: [-step, 0], ArrowDown: [step, 0], ArrowLeft: [0, -step], ArrowRight: [0, step] };
    if (moves[event.key]) {
      const [dr, dc] = moves[event.key];
      moveTo(Math.max(0, Math.min(H - 1, row + dr)), Math.max(0, Math.min(W - 1, column + dc)));
      say(`${whereIs(row, column)}; sum ${channelsShown().map((ch, i) => `${level.number ? "" : COLOURS[i]} ${rows[i].sum.textContent}`).join(", ")}`);
    } else if (event.key === "Enter" || event.key === " ") pin();
    else if (event.key === "Escape") unpin();
    else return;
    event.preventDefault();
  }

  let tapped = false; // a finger's first tap chooses the pixel, pinning is the button's; a mouse has chosen already
  function touch(event) {
    tapped = event.pointerType === "touch";
    if (tapped) moveTo(...view.at(event));
  }
  const clicked = () => tapped || pin();

  function pin() {
    pins = [...pins.filter(([r, c]) => r !== row || c !== column), [row, column]].slice(-2);
    model.set("pixel", [row, column]);
    model.save_changes();
    say(`pinned ${whereIs(row, column)}`);
    drawPins();
  }

  function unpin() {
    pins = [];
    drawPins();
  }

  function drawPins() {
    unpinButton.disabled = !pins.length;
    pinMarks.replaceChildren();
    pinned.replaceChildren(...pins.map(([pr, pc], i) => {
      const [r, c] = inLevel(level, pr, pc), s = level.scale, letter = "AB"[i], mark = frame();
      mark.move(r * s, c * s, s);
      const text = svg("text", { x: Math.min(c * s + s + 1, W - 10), y: Math.max(r * s - 1, 10), "font-size": Math.max(9, H / 22), "font-weight": 700,
        fill: PALETTE.mark, stroke: "#000", "stroke-width": 3, "paint-order": "stroke" });
      text.textContent = letter;
      pinMarks.append(...mark.nodes, text);
      const shared = level.number === 0 && new Set(level.group).size === 1;
      const kernels = (shared ? [0] : channelsShown()).map((ch) => {
        const reading = level.read(r, c, ch), kernel = cells(`kernel of pin ${letter}`, level.N);
        kernel.draw(reading.kernel, "kernel", -level.limit, level.limit);
        return element("div", {}, kernel.canvas, level.number || shared ? "" : COLOURS[ch]);
      });
      const sums = channelsShown().map((ch) => number(level.read(r, c, ch).sum, 3));
      return element("figure", { className: "pin" }, element("figcaption", {}, element("b", { textContent: `${letter} ` }), whereIs(pr, pc)),
        element("div", { className: "bar" }, ...kernels), element("div", { className: "soft" }, `${sums.length > 1 ? "sums" : "sum"} ${sums.join(", ")}`));
    }));
  }

  function linked({ detail }) {
    const to = levels.find((l) => l.number === detail.level), at = to ? to.channels.indexOf(detail.channel) : -1;
    if (!data.link || detail.link !== data.link) return;
    if (at < 0) {
      say(`channel ${detail.channel} did not fit into this explorer`);
      heading.textContent = `Channel ${detail.channel} is not in this explorer: only the ${to ? to.channels.length : 0} that changed most fitted.`;
      return;
    }
    [row, column] = [detail.row, detail.column].map((v, i) => Math.min([H, W][i] - 1, v * to.scale + (to.scale >> 1)));
    channel = at;
    setLevel(to, true);
    box.scrollIntoView({ block: "nearest", behavior: "smooth" });
    say(whereIs(row, column));
  }
  window.addEventListener("misf-pixel", linked);

  setLevel(level);
  return () => window.removeEventListener("misf-pixel", linked);
}

export default { render };
