// What all widgets share. Python puts PALETTE and this text in front of a widget's own: a module that imports another
// does not work in every host, and on a page without a network in none.

const STYLE = `
.misf { color-scheme: light; color: var(--ink); font: 13px/1.45 system-ui, sans-serif; max-width: 1100px; padding: 4px;
  --ink: var(--jp-ui-font-color1, var(--vscode-foreground, #212121));
  --soft: var(--jp-ui-font-color2, var(--vscode-descriptionForeground, #616161));
  --line: var(--jp-border-color1, #9e9e9e); --focus: var(--jp-brand-color1, #1976d2); }
body[data-jp-theme-light="false"] .misf, body.vscode-dark .misf, html[theme="dark"] .misf { color-scheme: dark;
  --ink: var(--jp-ui-font-color1, var(--vscode-foreground, #eee)); --soft: var(--jp-ui-font-color2, #bbb); }
.misf * { box-sizing: border-box; }
.misf p { margin: 4px 0; }
.misf h4 { font-size: 13px; font-weight: 600; margin: 6px 0 2px; }
.misf .bar { display: flex; flex-wrap: wrap; gap: 6px 14px; align-items: center; margin-bottom: 6px; }
.misf .bar .bar { margin: 0; }
.misf .bar label { display: inline-flex; gap: 6px; align-items: center; }
.misf .gallery { display: flex; flex-wrap: wrap; gap: 4px; max-height: 232px; overflow-y: auto; padding: 3px;
  margin-bottom: 8px; border: 1px solid var(--line); }
.misf .gallery button { padding: 2px; font-size: 10px; line-height: 1.3; }
.misf .gallery .stage { width: 64px; cursor: pointer; }
.misf .columns { display: flex; flex-wrap: wrap; gap: 8px 20px; align-items: flex-start; }
.misf select, .misf button { font: inherit; padding: 2px 8px; border: 1px solid var(--line); border-radius: 4px;
  background: transparent; color: inherit; min-height: 28px; cursor: pointer; }
.misf option { color: CanvasText; background: Canvas; }
.misf button[aria-pressed="true"] { background: var(--focus); border-color: var(--focus); color: #fff; }
.misf button:disabled { opacity: .5; cursor: default; }
.misf :focus-visible { outline: 2px solid var(--focus); outline-offset: 1px; }
.misf input[type="range"] { width: 120px; accent-color: var(--focus); }
.misf .stage { position: relative; line-height: 0; background: #8884; cursor: crosshair; user-select: none; }
.misf .stage.still { cursor: default; }
.misf .stage.tall { touch-action: pan-y; } /* a finger scrolls the page up and down */
.misf .stage canvas { width: 100%; image-rendering: pixelated; }
.misf .stage svg { position: absolute; inset: 0; width: 100%; height: 100%; pointer-events: none; overflow: hidden; }
.misf .pictures { display: grid; gap: 8px 16px; /* four in a row, or two by two */
  grid-template-columns: repeat(auto-fill, minmax(clamp(22%, (760px - 100%) * 1000, 45%), 1fr)); }
.misf figure { margin: 0; }
.misf .map { flex: 1 1 180px; min-width: 150px; max-width: 300px; }
.misf figcaption { color: var(--ink); margin-bottom: 2px; }
.misf .soft { color: var(--soft); }
.misf .swatch { display: inline-block; width: 1.1em; height: 1.1em; vertical-align: -.2em;
  border: 1px solid var(--line); }
.misf .picture { flex: 1 1 240px; max-width: 360px; min-width: 0; }
.misf .sums { display: grid; grid-template-columns: repeat(7, auto); gap: 4px; align-items: center;
  justify-content: start; overflow-x: auto; max-width: 100%; }
.misf .sums canvas { display: block; }
.misf output { font-variant-numeric: tabular-nums; }
.misf .heard { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%);
  white-space: nowrap; }
.misf .scale { display: inline-flex; gap: 6px; align-items: center; }
.misf .scale canvas { width: 90px; height: 10px; border: 1px solid var(--line); }
`;

/**
 * @typedef {DataView | ArrayBuffer | Uint8Array} Bytes what the `bytes` of Python are here
 * @typedef {[number, number]} Pair (rows, columns) or (row, column)
 * @typedef {(i: number, rgba: Uint8ClampedArray, o: number) => void} Paint gives pixel i its colour, from rgba[o] on
 *
 * @typedef {object} Model the traits of a widget, as every host of anywidget offers them
 * @property {(name: string) => any} get
 * @property {(name: string, value: any) => void} set
 * @property {() => void} save_changes
 * @property {(event: string, callback: () => void) => void} on
 * @property {(event: string, callback: () => void) => void} off
 * @property {(...message: any[]) => void} [send] only where there is a kernel
 */

/** A DOM node; functions become listeners, known names properties, all others attributes. */
function element(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (typeof value === "function") node.addEventListener(name.slice(2), value);
    else if (name in node) node[name] = value;
    else node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

function svg(tag, attributes = {}) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  setAttributes(node, attributes);
  return node;
}

function setAttributes(node, attributes) {
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
}

/**
 * The widget's root in el. Notebook 7 takes key presses for its own shortcuts, unless what has the focus, itself, says
 * not to.
 */
function root(el, kind) {
  const node = element("div", {
    className: `misf ${kind}`,
    onfocusin: (event) => event.target.setAttribute("data-lm-suppress-shortcuts", "true"),
  });
  el.append(element("style", { textContent: STYLE }), node);
  return node;
}

function select(label, options, onchange) {
  const box = element("select", { onchange: () => onchange(box.value), "aria-label": label });
  box.append(...options.map(([value, text]) => element("option", { value, textContent: text })));
  return box;
}

/** What a screen reader says; quick changes are said once. */
function speaker(parent) {
  const heard = element("p", { className: "heard", "aria-live": "polite" });
  parent.append(heard);
  let timer;
  return (text) => {
    clearTimeout(timer);
    timer = setTimeout(() => (heard.textContent = text), 150);
  };
}

/** Whether Python can be asked: the page that an exported notebook becomes has a model that cannot send. */
const isLive = (model) => typeof model.send === "function";
const NO_KERNEL = "This page has no kernel to run the network: open the notebook in Jupyter for that.";
const SLOW = "Still waiting: the model is slow or the kernel busy. If it was restarted, run this cell again.";

/**
 * Questions to Python and its answers. The trait `asked` is a question with its number; the trait `answer` has the
 * number of the question it answers, and what was found, or an error. Only the answer to the last question counts.
 */
class Dialogue {
  /**
   * @param {Model} model
   * @param {HTMLElement} box the widget; its data-state is "running", then "done" or "failed"
   * @param {(text: string) => void} tell the user
   * @param {(answer: any) => void} hear what was found
   */
  constructor(model, box, tell, hear) {
    this.model = model;
    this.box = box;
    this.tell = tell;
    this.hear = hear;
    this.number = model.get("asked").number;
    this.answered = this.answered.bind(this);
    model.on("change:answer", this.answered);
  }

  ask(question, busy) {
    this.number += 1;
    this.model.set("asked", { number: this.number, ...question });
    this.model.save_changes();
    this.box.dataset.state = "running";
    this.tell(busy);
    clearTimeout(this.waiting);
    this.waiting = setTimeout(() => this.tell(SLOW), 8000);
  }

  answered() {
    const answer = this.model.get("answer");
    if (answer.number !== this.number) return;
    clearTimeout(this.waiting);
    this.box.dataset.state = answer.error ? "failed" : "done";
    if (answer.error) this.tell(`The model failed: ${answer.error}`);
    else this.hear(answer);
  }

  close() {
    clearTimeout(this.waiting);
    this.model.off("change:answer", this.answered);
  }
}

const clamp = (value, low, high) => Math.max(low, Math.min(high, value));

/** @type {(at: Pair, size: Pair) => Pair} the nearest pixel of a picture */
const within = (at, size) => [clamp(at[0], 0, size[0] - 1), clamp(at[1], 0, size[1] - 1)];

/**
 * Where an arrow key leads to.
 * @param {KeyboardEvent} event
 * @param {Pair} at
 * @param {number} step
 * @param {Pair} size of the picture, which is not left
 * @returns {Pair | null} null for any other key
 */
function arrowKey(event, at, step, size) {
  const way = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
  return way ? within([at[0] + step * way[0], at[1] + step * way[1]], size) : null;
}

const isEnter = (event) => event.key === "Enter" || event.key === " ";

/** Bytes from Python, as each host hands them over. @type {(view: Bytes) => Uint8Array} */
function bytes(view) {
  if (view instanceof ArrayBuffer) return new Uint8Array(view);
  return new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
}

const FLOAT16 = Float32Array.from({ length: 65536 }, (_, i) => {
  const sign = i & 0x8000 ? -1 : 1; // Float16Array is too new to rely on
  const exponent = (i >> 10) & 31;
  const fraction = i & 1023;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (exponent ? (1 + fraction / 1024) * 2 ** (exponent - 15) : fraction * 2 ** -24);
});

/**
 * float16 bytes as numbers. A plain loop: Float32Array.from takes 14 times as long, and JupyterLab gives up on widgets
 * that come late.
 * @type {(view: Bytes) => Float32Array}
 */
function floats(view) {
  const halves = new Uint16Array(bytes(view).slice().buffer); // a copy: the bytes may lie at an odd address
  const numbers = new Float32Array(halves.length);
  for (let i = 0; i < halves.length; i++) numbers[i] = FLOAT16[halves[i]];
  return numbers;
}

const rgbOf = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
const tableOf = (hex) => Uint8Array.from(hex.match(/../g), (pair) => parseInt(pair, 16));
const HOLE_RGB = rgbOf(PALETTE.hole);
const TABLES = { kernel: tableOf(PALETTE.kernel), map: tableOf(PALETTE.map), grey: tableOf(PALETTE.grey) };

/** Where in its table of colours a value between low and high lies. */
function entry(value, low, high) {
  const t = high > low ? (value - low) / (high - low) : 0.5;
  return 3 * clamp(Math.round(255 * t) || 0, 0, 255);
}

const number = (value, digits = 2) => {
  const text = value.toFixed(digits);
  return Number(text) === 0 ? "0" : text.replace("-", "−");
};
const signed = (value, digits = 3) => (Number(value.toFixed(digits)) < 0 ? "−" : "+") + Math.abs(value).toFixed(digits);
const percent = (value) => `${(100 * value).toFixed(value > 0 && value < 0.1 ? 1 : 0)} %`;

/**
 * A picture with marks over it that scale with it.
 * @param {Pair} size
 * @param {Record<string, any>} props of the node, as for `element`
 */
function stage([rows, columns], { className = "", ...props } = {}) {
  const canvas = element("canvas", { width: columns, height: rows });
  const marks = svg("svg", { viewBox: `0 0 ${columns} ${rows}`, "aria-hidden": "true" });
  const node = element("div", { className: `stage ${className}`, ...props }, canvas, marks);
  const context = canvas.getContext("2d");
  const image = context.createImageData(columns, rows);
  return {
    node,
    canvas,
    marks,
    /** @param {Paint} paint */
    draw(paint) {
      for (let i = 0; i < rows * columns; i++) {
        image.data[4 * i + 3] = 255;
        paint(i, image.data, 4 * i);
      }
      context.putImageData(image, 0, 0);
    },
    /** Row and column under the pointer, kept inside. @returns {Pair} */
    at(event) {
      const box = canvas.getBoundingClientRect();
      const row = Math.floor(((event.clientY - box.top) / box.height) * rows);
      const column = Math.floor(((event.clientX - box.left) / box.width) * columns);
      return within([row, column], [rows, columns]);
    },
  };
}

/** Paint RGB bytes, the hole in its colour. @returns {Paint} */
function rgbWithHole(rgb, mask) {
  return (i, out, o) => {
    for (let c = 0; c < 3; c++) out[o + c] = mask && mask[i] ? HOLE_RGB[c] : rgb[3 * i + c];
  };
}

/** Paint values with the colours of a table. @returns {Paint} */
function mapped(values, table, low, high) {
  return (i, out, o) => {
    const e = entry(values[i], low, high);
    for (let c = 0; c < 3; c++) out[o + c] = TABLES[table][e + c];
  };
}

/** The rim of a hole as an SVG path. */
function rim(mask, [rows, columns]) {
  let path = "";
  for (let r = 0; r < rows; r++)
    for (let c = 0; c < columns; c++) {
      if (!mask[r * columns + c]) continue;
      if (c === 0 || !mask[r * columns + c - 1]) path += `M${c} ${r}v1`;
      if (c === columns - 1 || !mask[r * columns + c + 1]) path += `M${c + 1} ${r}v1`;
      if (r === 0 || !mask[(r - 1) * columns + c]) path += `M${c} ${r}h1`;
      if (r === rows - 1 || !mask[(r + 1) * columns + c]) path += `M${c} ${r + 1}h1`;
    }
  return outline("path", PALETTE.hole, 1.5, { d: path });
}

/** A shape without a filling, whose line is as wide at every size. */
function outline(tag, stroke, width, attributes = {}) {
  const line = { fill: "none", stroke, "stroke-width": width, "vector-effect": "non-scaling-stroke" };
  return svg(tag, { ...line, ...attributes });
}

/** A frame in the colour of marks, black around it so that it shows on everything. */
function frame() {
  const nodes = [outline("rect", "#000", 4), outline("rect", PALETTE.mark, 2)];
  return {
    nodes,
    move(row, column, side) {
      for (const node of nodes) setAttributes(node, { x: column, y: row, width: side, height: side });
    },
  };
}

const cellPixels = (N) => ({ 1: 34, 3: 34, 5: 26, 7: 24 })[N] || 14; // from 9 up there is no room for numbers

/** N×N numbers in coloured cells; the centre framed, cells of the hole framed in its colour. */
function cells(label, N) {
  const pixels = cellPixels(N);
  const side = N * pixels + 2;
  const dense = window.devicePixelRatio || 1;
  const canvas = element("canvas", { width: side * dense, height: side * dense, role: "img", "aria-label": label });
  canvas.style.width = canvas.style.height = `${side}px`;
  const context = canvas.getContext("2d");
  context.scale(dense, dense);

  function box(t, colour, width, inset = 0) {
    const x = 1 + (t % N) * pixels + inset;
    const y = 1 + Math.floor(t / N) * pixels + inset;
    context.strokeStyle = colour;
    context.lineWidth = width;
    context.strokeRect(x, y, pixels - 2 * inset, pixels - 2 * inset);
  }

  function cell(t, value, [r, g, b]) {
    const x = 1 + (t % N) * pixels;
    const y = 1 + Math.floor(t / N) * pixels;
    context.fillStyle = `rgb(${r},${g},${b})`;
    context.fillRect(x, y, pixels, pixels);
    if (N > 7) return;
    context.fillStyle = 0.299 * r + 0.587 * g + 0.114 * b < 128 ? "#fff" : "#000";
    context.fillText(number(value), x + pixels / 2, y + pixels / 2 + 0.5);
  }

  return {
    canvas,
    draw(values, table, low, high, holes = null) {
      context.clearRect(0, 0, side, side);
      context.textAlign = "center";
      context.textBaseline = "middle";
      context.font = `${Math.min(11, pixels * 0.3)}px system-ui, sans-serif`;
      for (let t = 0; t < N * N; t++) {
        const e = entry(values[t], low, high);
        cell(t, values[t], TABLES[table].subarray(e, e + 3));
        if (holes && holes[t]) box(t, PALETTE.hole, 2, 1);
      }
      context.strokeStyle = "#888";
      context.lineWidth = 1;
      context.strokeRect(0.5, 0.5, side - 1, side - 1);
      if (N > 1) box((N * N - 1) / 2, "#000", 1.5);
    },
  };
}

/** A legend: the colours of a table between two numbers. */
function scale(table, low, high) {
  const canvas = element("canvas", { width: 256, height: 1, "aria-hidden": "true" });
  const context = canvas.getContext("2d");
  const image = context.createImageData(256, 1);
  for (let i = 0; i < 256; i++) image.data.set([...TABLES[table].slice(3 * i, 3 * i + 3), 255], 4 * i);
  context.putImageData(image, 0, 0);
  return element("span", { className: "scale" }, low, canvas, high);
}

/** Save what a canvas shows as a PNG file. */
function download(canvas, name) {
  canvas.toBlob((blob) => {
    const link = element("a", { href: URL.createObjectURL(blob), download: name });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  });
}
