// The kernel of the pixel under the pointer: kernel × window = products, and their sum, which is the filtered pixel.

/**
 * @typedef {object} MapData one number per pixel
 * @property {string} name "sum", "entropy", "hole", "dy" or "dx"
 * @property {string} title
 * @property {boolean} hidden is not offered as a picture
 * @property {number} low what byte 0 stands for
 * @property {number} high what byte 255 stands for
 * @property {Bytes} values h×w bytes
 *
 * @typedef {object} LevelData one filtered level: C channels that were sent, served by G kernels per pixel
 * @property {number} number 0 for the picture, 1 to 3 for features
 * @property {string} title
 * @property {Pair} size
 * @property {number} scale pixels of the picture per pixel of the level, along a side
 * @property {number} N side of the kernels
 * @property {number} dilation
 * @property {"reflect" | "zeros"} padding
 * @property {number[]} channels which these are, the most changed first
 * @property {number[]} group which kernel serves each channel
 * @property {[number, number][]} ranges low and high of each channel
 * @property {number} limit where the kernels' colours end
 * @property {Bytes} kernels G×N²×h×w float16
 * @property {Bytes} before C×h×w float16
 * @property {Bytes | null} mask h×w bytes, 1 = hole; null where it is the picture's
 * @property {MapData[]} maps
 *
 * @typedef {object} Data
 * @property {Pair} size
 * @property {Bytes} image 3 bytes per pixel
 * @property {Bytes} output 3 bytes per pixel
 * @property {Bytes | null} mask 1 byte per pixel, 1 = hole
 * @property {"output" | "filtered"} picture what `output` is: a model's, or the image filtered by hand
 * @property {boolean} tanh the filtered pixel goes through (tanh + 1) / 2
 * @property {{name: string, values: Bytes}[]} added after the filter, 3×(pixels of the hole) float16
 * @property {LevelData[]} levels
 * @property {string} link the name that a feature browser calls this explorer by
 */

const COLOURS = ["red", "green", "blue"];
const HEADINGS = ["", "kernel", "", "its window", "", "products", "Σ sum"];

/** Where a coordinate beyond the border is read, as filter2d pads; -1 is a zero. */
function inside(i, n, padding) {
  if (i >= 0 && i < n) return i;
  if (padding === "zeros") return -1;
  const period = Math.max(1, 2 * n - 2); // back and forth
  const j = ((i % period) + period) % period;
  return n - 1 - Math.abs(n - 1 - j);
}

/** One filtered level, its numbers decoded: everything there is to say about a pixel of it. */
class Level {
  /**
   * @param {LevelData} data
   * @param {Uint8Array | null} maskOfPicture
   */
  constructor(data, maskOfPicture) {
    this.data = data;
    this.isPicture = data.number === 0;
    this.kernels = floats(data.kernels);
    this.before = floats(data.before);
    this.mask = data.mask ? bytes(data.mask) : maskOfPicture;
    this.maps = data.maps.map((map) => ({ ...map, values: bytes(map.values) }));
  }

  /** Where a pixel of the picture lies in the level. @returns {Pair} */
  at(row, column) {
    const { scale, size } = this.data;
    return within([Math.floor(row / scale), Math.floor(column / scale)], size);
  }

  map(name) {
    return this.maps.find((map) => map.name === name);
  }

  /** What a map says at a pixel, from 0 … 255 back to its own range. */
  told(map, p) {
    return map.low + (map.values[p] / 255) * (map.high - map.low);
  }

  /** How far a kernel reaches, in pixels of the level. */
  get reach() {
    return ((this.data.N - 1) / 2) * this.data.dilation;
  }

  /** A pixel's kernel, its window, the products, which of its taps lie in the hole, and the sums. */
  read(row, column, channel) {
    const [h, w] = this.data.size;
    const { N, dilation, padding, group } = this.data;
    const taps = N * N;
    const p = row * w + column;
    const [kernel, patch, products] = [new Float32Array(taps), new Float32Array(taps), new Float32Array(taps)];
    const holes = new Uint8Array(taps);
    let sum = 0;
    let weight = 0;
    for (let t = 0; t < taps; t++) {
      const r = inside(row + Math.floor(t / N) * dilation - this.reach, h, padding);
      const c = inside(column + (t % N) * dilation - this.reach, w, padding);
      const isThere = r >= 0 && c >= 0;
      kernel[t] = this.kernels[(group[channel] * taps + t) * h * w + p];
      patch[t] = isThere ? this.before[channel * h * w + r * w + c] : 0;
      holes[t] = isThere && this.mask ? this.mask[r * w + c] : 0;
      products[t] = kernel[t] * patch[t];
      sum += kernel[t] * patch[t];
      weight += kernel[t];
    }
    return { kernel, patch, products, holes, sum, weight };
  }

  /** Arrows from pixels to where their kernels look on average, on a grid; the longest possible reaches the next. */
  arrows() {
    const { size, scale } = this.data;
    const step = Math.max(1, Math.round(Math.max(...size) / 24));
    const [dy, dx] = [this.map("dy"), this.map("dx")];
    const grow = (step * scale) / (this.reach || 1);
    let path = "";
    for (let r = step >> 1; r < size[0]; r += step)
      for (let c = step >> 1; c < size[1]; c += step) {
        const p = r * size[1] + c;
        const [y, x] = [this.told(dy, p) * grow, this.told(dx, p) * grow];
        path += arrow((r + 0.5) * scale, (c + 0.5) * scale, y, x, step * scale);
      }
    return path;
  }
}

/** The path of an arrow from (y0, x0) by (y, x); none where it is much shorter than the longest. */
function arrow(y0, x0, y, x, longest) {
  const length = Math.hypot(x, y);
  if (length < 0.06 * longest) return "";
  const head = Math.min(length, 0.35 * longest) / length;
  const place = (toX, toY) => `${toX.toFixed(2)} ${toY.toFixed(2)}`;
  const tip = place(x0 + x, y0 + y);
  const barb = (turn) => {
    const [cos, sin] = [Math.cos(turn), Math.sin(turn)];
    return place(x0 + x - head * (x * cos - y * sin), y0 + y - head * (x * sin + y * cos));
  };
  return `M${x0} ${y0}L${tip}M${barb(0.5)}L${tip}L${barb(-0.5)}`;
}

/** The rows kernel × window = products, sum: one for each colour of a picture, or for the channel of a feature map. */
class Sums {
  constructor(grid, level, tanh) {
    this.level = level;
    this.tanh = tanh;
    grid.replaceChildren(...HEADINGS.map((text) => element("span", { className: "soft", textContent: text })));
    this.rows = (level.isPicture ? COLOURS : ["channel"]).map((name) => {
      const [kernel, patch, products] = ["kernel", "window", "products"].map((part) =>
        cells(`${part}, ${name}`, level.data.N),
      );
      const sum = element("output", { className: "sum" });
      const label = element("span", { textContent: name });
      grid.append(label, kernel.canvas, "×", patch.canvas, "=", products.canvas, sum);
      return { name, kernel, patch, products, sum };
    });
  }

  /** Show a pixel of the level. */
  show(row, column, channels) {
    const readings = channels.map((channel) => this.level.read(row, column, channel));
    readings.forEach((reading, i) => this.showRow(this.rows[i], reading, channels[i]));
    return readings;
  }

  showRow(row, { kernel, patch, products, holes, sum }, channel) {
    const { limit, ranges } = this.level.data;
    const [low, high] = this.level.isPicture && !this.tanh ? [0, 1] : ranges[channel];
    const largest = Math.max(...products.map(Math.abs)) || 1;
    row.kernel.draw(kernel, "kernel", -limit, limit);
    row.patch.draw(patch, this.level.isPicture ? "grey" : "map", low, high, holes);
    row.products.draw(products, "kernel", -largest, largest);
    row.sum.textContent = number(sum, 3);
    row.sum.dataset.value = sum;
  }

  inWords() {
    return this.rows.map(({ name, sum }) => `${this.level.isPicture ? name : ""} ${sum.textContent}`).join(", ");
  }
}

/** Of each pixel in the hole, how many come before it. */
function ordered(mask) {
  const order = new Int32Array(mask.length);
  mask.forEach((hole, i) => (order[i + 1] = order[i] + hole));
  return order;
}

/** What becomes of the sums on the way to the output. */
class Outcome {
  /** @param {Data} data */
  constructor(data, mask) {
    this.data = data;
    this.mask = mask;
    this.order = mask ? ordered(mask) : [];
    this.added = data.added.map(({ name, values }) => ({ name, values: floats(values) }));
  }

  /** The output pixel p, and how it comes about in words. */
  of(sums, p) {
    const { tanh } = this.data;
    const parts = this.mask && this.mask[p] ? this.added.map((part) => this.partAt(part, p)) : [];
    const total = sums.map((sum, c) => parts.reduce((so_far, { values }) => so_far + values[c], sum));
    const output = total.map((v) => (tanh ? (Math.tanh(v) + 1) / 2 : clamp(v, 0, 1)));
    const isCut = !tanh && output.some((v, c) => Math.abs(v - total[c]) > 5e-4);
    return { output, words: this.words(sums, parts, output, isCut ? ", cut off at 0 and 1" : "") };
  }

  partAt({ name, values }, p) {
    return { name, values: COLOURS.map((_, c) => values[(c * values.length) / 3 + this.order[p]]) };
  }

  words(sums, parts, output, cut) {
    const list = (values, as = number) => `(${values.map((v) => as(v, 3)).join(", ")})`;
    if (this.data.picture !== "output") return `The sums are the filtered pixel, ${list(sums)} `;
    if (this.data.tanh) return `(tanh + 1) / 2 of the filtered pixel ${list(sums)} = output ${list(output)} `;
    if (!parts.length) return `The sums are the output pixel, ${list(output)}${cut} `;
    const terms = parts.map(({ name, values }) => `+ ${name} ${list(values, signed)}`).join(" ");
    return `The filtered pixel ${list(sums)} ${terms} = output ${list(output)}${cut} `;
  }
}

class Explorer {
  constructor(model, el) {
    this.model = model;
    /** @type {Data} */
    this.data = model.get("data");
    const { size, image, mask, output, levels } = this.data;
    this.image = bytes(image);
    this.output = bytes(output);
    this.mask = mask && bytes(mask);
    this.levels = levels.map((level) => new Level(level, level.number ? null : this.mask));
    this.outcome = new Outcome(this.data, this.mask);
    this.pixel = model.get("pixel");
    this.channel = 0;
    this.pins = [];
    this.box = root(el, "misf-explorer");
    this.say = speaker(this.box);
    const left = element("div", { className: "picture" }, this.picture(size));
    this.box.append(this.bar(), element("div", { className: "columns" }, left, this.readings()));
    this.setLevel(this.levels[0]);
  }

  bar() {
    const titles = this.levels.map((level, i) => [i, level.data.title]);
    this.levelBox = select("which filter", titles, (i) => this.setLevel(this.levels[i]));
    this.overlay = select("what the picture shows", [], () => this.drawBase());
    this.legend = element("span", { className: "legend" });
    this.slider = element("input", {
      type: "range",
      min: 0,
      value: 0,
      "aria-label": "channel",
      oninput: () => this.setChannel(Number(this.slider.value)),
    });
    this.sliderText = element("output");
    this.channelBox = element("label", {}, "channel", this.slider, this.sliderText);
    const filter = this.levels.length > 1 ? element("label", {}, "filter", this.levelBox) : "";
    const show = element("label", {}, "show", this.overlay);
    return element("div", { className: "bar" }, filter, show, this.legend, this.channelBox);
  }

  picture(size) {
    this.view = stage(size, {
      className: "tall",
      tabIndex: 0,
      role: "application",
      "aria-label": "picture: arrow keys move the pixel, with Shift ten at a time, Enter pins it, Escape unpins",
      onpointermove: (event) => this.moveTo(this.view.at(event)),
      onpointerdown: (event) => this.touch(event),
      onclick: () => this.tapped || this.pin(),
      onkeydown: (event) => this.key(event),
    });
    this.arrows = outline("path", "#000", 1.5);
    this.pinMarks = svg("g");
    this.here = frame();
    const edge = this.mask ? [rim(this.mask, size)] : [];
    this.view.marks.append(this.arrows, ...edge, this.pinMarks, ...this.here.nodes);
    return this.view.node;
  }

  readings() {
    this.heading = element("h4");
    this.grid = element("div", { className: "sums" });
    this.result = element("p", { className: "outcome" });
    this.facts = element("p", { className: "soft" });
    this.pinned = element("div", { className: "columns pinned" });
    this.unpinButton = element("button", { textContent: "unpin all", onclick: () => this.unpin() });
    const buttons = element(
      "div",
      { className: "bar" },
      element("button", { textContent: "pin this pixel", onclick: () => this.pin() }),
      this.unpinButton,
      element("span", { className: "soft" }, "A click pins, too: two pins can be compared."),
    );
    this.right = element("div", {}, this.heading, this.grid, this.result, this.facts, buttons, this.pinned);
    return this.right;
  }

  /** @param {Level} level */
  setLevel(level, channel = 0) {
    this.level = level;
    this.levelBox.value = this.levels.indexOf(level);
    this.offerViews();
    const { N, channels } = level.data;
    this.channelBox.style.display = level.isPicture ? "none" : "";
    this.slider.max = channels.length - 1;
    this.right.style.cssText = `flex: 1 1 ${3 * cellPixels(N) * N + 170}px; min-width: 0`;
    this.sums = new Sums(this.grid, level, this.data.tanh);
    this.setChannel(channel);
    this.drawBase();
  }

  offerViews() {
    const old = this.overlay.value;
    const maps = this.level.maps.filter((map) => !map.hidden).map((map) => [map.name, map.title]);
    const views = [["input", this.mask ? "input, with its hole" : "input"]];
    if (this.data.picture) views.unshift(["output", this.data.picture]);
    if (this.mask) views.push(["mask", "mask"]);
    views.push(...maps, ["arrows", "centre of mass (arrows)"]);
    const options = views.map(([value, text]) => element("option", { value, textContent: text }));
    this.overlay.replaceChildren(...options);
    this.overlay.value = views.some(([value]) => value === old) ? old : views[0][0];
  }

  setChannel(channel) {
    this.channel = channel;
    this.slider.value = channel;
    const { channels } = this.level.data;
    this.sliderText.textContent = `${channels[channel]} (${channel + 1} of ${channels.length}, the most changed first)`;
    this.drawPins();
    this.show();
  }

  /** Which channels have a row: the picture's three, or the chosen one of a feature map. */
  get channels() {
    return this.level.isPicture ? [0, 1, 2] : [this.channel];
  }

  drawBase() {
    const what = this.overlay.value;
    const map = this.level.map(what);
    this.arrows.setAttribute("d", what === "arrows" ? this.level.arrows() : "");
    this.legend.replaceChildren(map ? scale("map", number(map.low), number(map.high)) : "");
    if (map) this.view.draw(this.mapPaint(map));
    else if (what === "mask") this.view.draw((i, out, o) => out.fill(this.mask[i] ? 255 : 0, o, o + 3));
    else if (what === "input") this.view.draw(rgbWithHole(this.image, this.mask));
    else this.view.draw(this.outputPaint(what === "arrows" ? 0.5 : 1));
  }

  /** @returns {Paint} */
  mapPaint(map) {
    const [H, W] = this.data.size;
    return (i, out, o) => {
      const [r, c] = this.level.at(Math.floor(i / W), i % W);
      const e = 3 * map.values[r * this.level.data.size[1] + c];
      for (let k = 0; k < 3; k++) out[o + k] = TABLES.map[e + k];
    };
  }

  /** @returns {Paint} pale, so that arrows show on it, where strength is below 1 */
  outputPaint(strength) {
    return (i, out, o) => {
      for (let c = 0; c < 3; c++) out[o + c] = 255 - (255 - this.output[3 * i + c]) * strength;
    };
  }

  whereIs(row, column) {
    const [r, c] = this.level.at(row, column);
    let text = `row ${row}, column ${column}`;
    if (this.mask) text += this.mask[row * this.data.size[1] + column] ? ", in the hole" : ", known";
    return this.level.isPicture ? text : `${text}: pixel (${r}, ${c}) of F${this.level.data.number}`;
  }

  /** The handler of the pointer ends here: it must be quick. */
  show() {
    const [row, column] = this.pixel;
    const { level } = this;
    const { scale: side, number: which, channels, size } = level.data;
    const [r, c] = level.at(row, column);
    this.heading.textContent = this.whereIs(row, column);
    this.here.move((r - level.reach) * side, (c - level.reach) * side, (2 * level.reach + 1) * side);
    const readings = this.sums.show(r, c, this.channels);
    Object.assign(this.box.dataset, { row, column, channel: channels[this.channel] });
    this.facts.textContent = this.factsAt(r * size[1] + c, readings.at(-1).weight);
    if (level.isPicture) this.showOutcome(readings.map(({ sum }) => sum));
    else this.result.textContent = `The sum is this pixel of F${which} after the filter.`;
  }

  factsAt(p, weight) {
    const maps = this.level.maps.filter((map) => !map.hidden && map.name !== "sum");
    const told = maps.map((map) => `${map.title} ${number(this.level.told(map, p))} (of ${number(map.high)})`);
    return [`The weights sum to ${number(weight)}`, ...told].join(" · ");
  }

  showOutcome(sums) {
    const [row, column] = this.pixel;
    const { output, words } = this.outcome.of(sums, row * this.data.size[1] + column);
    const swatch = element("span", { className: "swatch" });
    swatch.style.background = `rgb(${output.map((v) => Math.round(255 * v))})`;
    this.box.dataset.output = output;
    this.result.replaceChildren(words, swatch);
  }

  /** @param {Pair} pixel */
  moveTo(pixel) {
    if (pixel[0] === this.pixel[0] && pixel[1] === this.pixel[1]) return;
    this.pixel = pixel;
    this.show();
  }

  key(event) {
    const step = (event.shiftKey ? 10 : 1) * this.level.data.scale;
    const to = arrowKey(event, this.pixel, step, this.data.size);
    if (to) {
      this.moveTo(to);
      this.say(`${this.whereIs(...to)}; sum ${this.sums.inWords()}`);
    } else if (isEnter(event)) this.pin();
    else if (event.key === "Escape") this.unpin();
    else return;
    event.preventDefault();
  }

  /** A finger's first tap chooses the pixel, pinning is the button's; a mouse has chosen already. */
  touch(event) {
    this.tapped = event.pointerType === "touch";
    if (this.tapped) this.moveTo(this.view.at(event));
  }

  pin() {
    const [row, column] = this.pixel;
    const others = this.pins.filter(([r, c]) => r !== row || c !== column);
    this.pins = [...others, this.pixel].slice(-2);
    this.model.set("pixel", this.pixel);
    this.model.save_changes();
    this.say(`pinned ${this.whereIs(row, column)}`);
    this.drawPins();
  }

  unpin() {
    this.pins = [];
    this.drawPins();
  }

  drawPins() {
    this.unpinButton.disabled = !this.pins.length;
    this.pinMarks.replaceChildren(...this.pins.flatMap((pixel, i) => this.pinMark(pixel, "AB"[i])));
    this.pinned.replaceChildren(...this.pins.map((pixel, i) => this.pinFigure(pixel, "AB"[i])));
  }

  pinMark(pixel, letter) {
    const { scale: side } = this.level.data;
    const [H, W] = this.data.size;
    const [r, c] = this.level.at(...pixel);
    const mark = frame();
    mark.move(r * side, c * side, side);
    const text = svg("text", {
      x: Math.min(c * side + side + 1, W - 10),
      y: Math.max(r * side - 1, 10),
      "font-size": Math.max(9, H / 22),
      "font-weight": 700,
      fill: PALETTE.mark,
      stroke: "#000",
      "stroke-width": 3,
      "paint-order": "stroke",
    });
    text.textContent = letter;
    return [...mark.nodes, text];
  }

  pinFigure(pixel, letter) {
    const { level } = this;
    const { N, limit, group } = level.data;
    const readings = this.channels.map((channel) => level.read(...level.at(...pixel), channel));
    const isShared = level.isPicture && new Set(group).size === 1;
    const kernels = (isShared ? readings.slice(0, 1) : readings).map((reading, i) => {
      const kernel = cells(`kernel of pin ${letter}`, N);
      kernel.draw(reading.kernel, "kernel", -limit, limit);
      return element("div", {}, kernel.canvas, level.isPicture && !isShared ? COLOURS[i] : "");
    });
    const sums = readings.map(({ sum }) => number(sum, 3)).join(", ");
    const title = element("b", { textContent: `${letter} ` });
    return element(
      "figure",
      { className: "pin" },
      element("figcaption", {}, title, this.whereIs(...pixel)),
      element("div", { className: "bar" }, ...kernels),
      element("div", { className: "soft" }, `${readings.length > 1 ? "sums" : "sum"} ${sums}`),
    );
  }

  /** Show what was clicked in a feature browser that is linked with this explorer. */
  linked({ link, level: which, channel: wanted, row, column }) {
    if (!link || link !== this.data.link) return;
    const level = this.levels.find((l) => l.data.number === which);
    const channels = level ? level.data.channels : [];
    const channel = channels.indexOf(wanted);
    if (channel < 0) {
      this.say(`channel ${wanted} did not fit into this explorer`);
      const fitted = `only the ${channels.length} that changed most fitted`;
      this.heading.textContent = `Channel ${wanted} is not in this explorer: ${fitted}.`;
      return;
    }
    const { scale: side } = level.data;
    this.pixel = within([row * side + (side >> 1), column * side + (side >> 1)], this.data.size);
    this.setLevel(level, channel);
    this.box.scrollIntoView({ block: "nearest", behavior: "smooth" });
    this.say(this.whereIs(...this.pixel));
  }
}

export default {
  render({ model, el }) {
    const explorer = new Explorer(model, el);
    const listen = (/** @type {CustomEvent} */ { detail }) => explorer.linked(detail);
    window.addEventListener("misf-pixel", listen);
    return () => window.removeEventListener("misf-pixel", listen);
  },
};
