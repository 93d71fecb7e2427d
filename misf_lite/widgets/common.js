// What all widgets share. Python puts PALETTE and this text in front of a widget's own: a module that imports another
// does not work in every host, and on a page without a network in none.

const STYLE = `
.misf { color-scheme: light; --ink: var(--jp-ui-font-color1, var(--vscode-foreground, #212121));
  --soft: var(--jp-ui-font-color2, var(--vscode-descriptionForeground, #616161)); --line: var(--jp-border-color1, #9e9e9e);
  --focus: var(--jp-brand-color1, #1976d2); color: var(--ink); font: 13px/1.45 system-ui, sans-serif; max-width: 1100px; padding: 4px; }
body[data-jp-theme-light="false"] .misf, body.vscode-dark .misf, html[theme="dark"] .misf { color-scheme: dark;
  --ink: var(--jp-ui-font-color1, var(--vscode-foreground, #eee)); --soft: var(--jp-ui-font-color2, #bbb); }
.misf * { box-sizing: border-box; }
.misf p { margin: 4px 0; }
.misf h4 { font-size: 13px; font-weight: 600; margin: 6px 0 2px; }
.misf .bar { display: flex; flex-wrap: wrap; gap: 6px 14px; align-items: center; margin-bottom: 6px; }
.misf .bar .bar { margin: 0; }
.misf .bar label { display: inline-flex; gap: 6px; align-items: center; }
.misf .columns { display: flex; flex-wrap: wrap; gap: 8px 20px; align-items: flex-start; }
.misf select, .misf button { font: inherit; padding: 2px 8px; border: 1px solid var(--line); border-radius: 4px;
  background: transparent; color: inherit; min-height: 28px; cursor: pointer; }
.misf option { color: CanvasText; background: Canvas; }
.misf button[aria-pressed="true"] { background: var(--focus); border-color: var(--focus); color: #fff; }
.misf button:disabled { opacity: .5; cursor: default; }
.misf :focus-visible { outline: 2px solid var(--focus); outline-offset: 1px; }
.misf input[type="range"] { width: 120px; accent-color: var(--focus); }
.misf .stage { position: relative; line-height: 0; background: #8884; cursor: crosshair; user-select: none; }
.misf .stage canvas { width: 100%; image-rendering: pixelated; }
.misf .stage svg { position: absolute; inset: 0; width: 100%; height: 100%; pointer-events: none; overflow: hidden; }
.misf .pictures { display: grid; gap: 8px 16px; /* four in a row, or two by two */
  grid-template-columns: repeat(auto-fill, minmax(clamp(22%, (760px - 100%) * 1000, 45%), 1fr)); }
.misf figure { margin: 0; }
.misf figcaption { color: var(--ink); margin-bottom: 2px; }
.misf .soft { color: var(--soft); }
.misf .swatch { display: inline-block; width: 1.1em; height: 1.1em; border: 1px solid var(--line); vertical-align: -.2em; }
.misf .sums { display: grid; gap: 4px; align-items: center; justify-content: start; overflow-x: auto; max-width: 100%; }
.misf .sums canvas { display: block; }
.misf output { font-variant-numeric: tabular-nums; }
.misf .heard { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
.misf .scale { display: inline-flex; gap: 6px; align-items: center; }
.misf .scale canvas { width: 90px; height: 10px; border: 1px solid var(--line); }
`;

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
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
}

/** The widget's root in el. Notebook 7 takes key presses for its own shortcuts, unless what has the focus, itself, says not to. */
function root(el, kind) {
  const node = element("div", { className: `misf ${kind}`, onfocusin: (event) => event.target.setAttribute("data-lm-suppress-shortcuts", "true") });
  el.append(element("style", { textContent: STYLE }), node);
  return node;
}

function select(label, options, onchange) {
  const box = element("select", { onchange: () => onchange(box.value), "aria-label": label });
  for (const [value, text] of options) box.append(element("option", { value, textContent: text }));
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

/** Bytes from Python, as each host hands them over. */
function bytes(view) {
  return view instanceof ArrayBuffer ? new Uint8Array(view) : new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
}

const HALVES = new Float32Array(65536); // Float16Array is too new to rely on
for (let i = 0; i < 65536; i++) {
  const sign = i & 0x8000 ? -1 : 1, exponent = (i >> 10) & 31, fraction = i & 1023;
  HALVES[i] = exponent === 31 ? (fraction ? NaN : sign * Infinity)
    : sign * (exponent ? (1 + fraction / 1024) * 2 ** (exponent - 15) : fraction * 2 ** -24);
}

/** float16 bytes as numbers. A plain loop: Float32Array.from takes 14 times as long, and JupyterLab gives up on widgets that come late. */
function floats(view) {
  const halves = new Uint16Array(bytes(view).slice().buffer); // a copy: the bytes may lie at an odd address
  const numbers = new Float32Array(halves.length);
  for (let i = 0; i < halves.length; i++) numbers[i] = HALVES[halves[i]];
  return numbers;
}

const rgbOf = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
const HOLE_RGB = rgbOf(PALETTE.hole);
const TABLES = Object.fromEntries(
  ["kernel", "map", "grey"].map((name) => [name, Uint8Array.from(PALETTE[name].match(/../g), (pair) => parseInt(pair, 16))])
);

/** Where in its table of colours a value between low and high lies. */
function entry(value, low, high) {
  const t = high > low ? (value - low) / (high - low) : 0.5;
  return 3 * Math.max(0, Math.min(255, Math.round(255 * t) || 0));
}

const number = (value, digits = 2) => {
  const text = value.toFixed(digits);
  return Number(text) === 0 ? "0" : text.replace("-", "−");
};
const signed = (value, digits = 3) => (Number(value.toFixed(digits)) < 0 ? "−" : "+") + Math.abs(value).toFixed(digits);
const percent = (value) => `${(100 * value).toFixed(value > 0 && value < 0.1 ? 1 : 0)} %`;

/** A picture with marks over it that scale with it: {node, canvas, marks, draw, at}. */
function stage(rows, columns, props = {}) {
  const canvas = element("canvas", { width: columns, height: rows });
  const marks = svg("svg", { viewBox: `0 0 ${columns} ${rows}`, "aria-hidden": "true" });
  const node = element("div", { className: "stage", ...props }, canvas, marks);
  const context = canvas.getContext("2d");
  const image = context.createImageData(columns, rows);
  return {
    node, canvas, marks,
    /** paint(i, rgba, 4 * i) for each pixel i. */
    draw(paint) {
      for (let i = 0; i < rows * columns; i++) {
        image.data[4 * i + 3] = 255;
        paint(i, image.data, 4 * i);
      }
      context.putImageData(image, 0, 0);
    },
    /** Row and column under the pointer, kept inside. */
    at(event) {
      const box = canvas.getBoundingClientRect();
      const inside = (t, n) => Math.max(0, Math.min(n - 1, Math.floor(t * n)));
      return [inside((event.clientY - box.top) / box.height, rows), inside((event.clientX - box.left) / box.width, columns)];
    },
  };
}

/** Paint RGB bytes, the hole in its colour. */
function rgbWithHole(rgb, mask) {
  return (i, out, o) => {
    for (let c = 0; c < 3; c++) out[o + c] = mask && mask[i] ? HOLE_RGB[c] : rgb[3 * i + c];
  };
}

/** Paint values with the colours of a table. */
function mapped(values, table, low, high) {
  return (i, out, o) => {
    const e = entry(values[i], low, high);
    for (let c = 0; c < 3; c++) out[o + c] = TABLES[table][e + c];
  };
}

/** The rim of a hole as an SVG path. */
function rim(mask, rows, columns) {
  let path = "";
  for (let r = 0; r < rows; r++)
    for (let c = 0; c < columns; c++) {
      if (!mask[r * columns + c]) continue;
      if (c === 0 || !mask[r * columns + c - 1]) path += `M${c} ${r}v1`;
      if (c === columns - 1 || !mask[r * columns + c + 1]) path += `M${c + 1} ${r}v1`;
      if (r === 0 || !mask[(r - 1) * columns + c]) path += `M${c} ${r}h1`;
      if (r === rows - 1 || !mask[(r + 1) * columns + c]) path += `M${c} ${r + 1}h1`;
    }
  return svg("path", { d: path, fill: "none", stroke: PALETTE.hole, "stroke-width": 1.5, "vector-effect": "non-scaling-stroke" });
}

/** A frame in the colour of marks, black around it so that it shows on everything. */
function frame() {
  const outer = svg("rect", { fill: "none", stroke: "#000", "stroke-width": 4, "vector-effect": "non-scaling-stroke" });
  const inner = svg("rect", { fill: "none", stroke: PALETTE.mark, "stroke-width": 2, "vector-effect": "non-scaling-stroke" });
  return {
    nodes: [outer, inner],
    move(row, column, side) {
      for (const rect of [outer, inner]) {
        rect.setAttribute("x", column);
        rect.setAttribute("y", row);
        rect.setAttribute("width", side);
        rect.setAttribute("height", side);
      }
    },
  };
}

const cellPixels = (N) => ({ 1: 34, 3: 34, 5: 26, 7: 24 })[N] || 14; // from 9 up there is no room for numbers

/** N×N numbers in coloured cells; the centre framed, cells of the hole framed in its colour. */
function cells(label, N) {
  const pixels = cellPixels(N), dense = window.devicePixelRatio || 1, side = N * pixels + 2;
  const canvas = element("canvas", { width: side * dense, height: side * dense, role: "img", "aria-label": label });
  canvas.style.width = canvas.style.height = `${side}px`;
  const context = canvas.getContext("2d");
  context.scale(dense, dense);
  return {
    canvas,
    draw(values, table, low, high, holes = null) {
      const colours = TABLES[table], centre = (N * N - 1) / 2;
      context.clearRect(0, 0, side, side);
      context.textAlign = "center";
      context.textBaseline = "middle";
      context.font = `${Math.min(11, pixels * 0.3)}px system-ui, sans-serif`;
      for (let t = 0; t < N * N; t++) {
        const x = 1 + (t % N) * pixels, y = 1 + Math.floor(t / N) * pixels, e = entry(values[t], low, high);
        const [r, g, b] = [colours[e], colours[e + 1], colours[e + 2]];
        context.fillStyle = `rgb(${r},${g},${b})`;
        context.fillRect(x, y, pixels, pixels);
        if (N <= 7) {
          context.fillStyle = 0.299 * r + 0.587 * g + 0.114 * b < 128 ? "#fff" : "#000";
          context.fillText(number(values[t]), x + pixels / 2, y + pixels / 2 + 0.5);
        }
        if (holes && holes[t]) {
          context.strokeStyle = PALETTE.hole;
          context.lineWidth = 2;
          context.strokeRect(x + 1, y + 1, pixels - 2, pixels - 2);
        }
      }
      context.strokeStyle = "#888";
      context.lineWidth = 1;
      context.strokeRect(0.5, 0.5, side - 1, side - 1);
      if (N > 1) {
        context.strokeStyle = "#000";
        context.lineWidth = 1.5;
        context.strokeRect(1 + (centre % N) * pixels, 1 + Math.floor(centre / N) * pixels, pixels, pixels);
      }
    },
  };
}

/** A legend: the colours of a table between two numbers. */
function scale(table, low, high) {
  const canvas = element("canvas", { width: 256, height: 1, "aria-hidden": "true" });
  const context = canvas.getContext("2d"), image = context.createImageData(256, 1);
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

/** Whether Python can be asked: the page that an exported notebook becomes has a model that cannot send. */
const isLive = (model) => typeof model.send === "function";
const NO_KERNEL = "This page has no kernel to run the network: open the notebook in Jupyter for that.";
