// Paint a hole; when the pointer is released, Python is asked to fill it.

/**
 * @typedef {object} Picture
 * @property {Pair} size
 * @property {Bytes} rgb 3 bytes per pixel
 *
 * @typedef {object} Asked
 * @property {number} number
 * @property {Bytes} mask 1 byte per pixel, 1 = hole
 *
 * @typedef {object} Answer
 * @property {number} number of the question
 * @property {Bytes} [rgb] the filled picture, 3 bytes per pixel
 * @property {number} [seconds] it took
 * @property {string} [error] instead
 */

const TOOLS = ["paint", "erase", "box"];
const UNDOS = 50;
const MOST = 3000000; // pixels of a picture that is sent: Jupyter's server takes 10 MiB a message

/** The hole that is painted, and what it was before. */
class Hole {
  /** @param {Pair} size */
  constructor([rows, columns]) {
    this.rows = rows;
    this.columns = columns;
    this.mask = new Uint8Array(rows * columns);
    this.undos = [];
  }

  /** Make the pixels of a disc hole (1) or known (0). */
  dab([row, column], radius, value) {
    const [top, left] = [Math.max(0, Math.floor(row - radius)), Math.max(0, Math.floor(column - radius))];
    for (let r = top; r <= Math.min(this.rows - 1, row + radius); r++)
      for (let c = left; c <= Math.min(this.columns - 1, column + radius); c++)
        if ((r - row) ** 2 + (c - column) ** 2 <= radius * radius) this.mask[r * this.columns + c] = value;
  }

  line(from, to, radius, value) {
    const [down, right] = [to[0] - from[0], to[1] - from[1]];
    const steps = Math.max(1, Math.ceil(Math.hypot(down, right) / Math.max(1, radius / 2)));
    for (let s = 1; s <= steps; s++)
      this.dab([Math.round(from[0] + (down * s) / steps), Math.round(from[1] + (right * s) / steps)], radius, value);
  }

  box(a, b) {
    const [left, right] = [Math.min(a[1], b[1]), Math.max(a[1], b[1])];
    for (let r = Math.min(a[0], b[0]); r <= Math.max(a[0], b[0]); r++)
      this.mask.fill(1, r * this.columns + left, r * this.columns + right + 1);
  }

  /** Remember what the mask was, so that `undo` can bring it back; false if it is the same. */
  changed(before) {
    if (before.every((value, i) => value === this.mask[i])) return false;
    this.undos.push(before);
    if (this.undos.length > UNDOS) this.undos.shift();
    return true;
  }

  undo() {
    this.mask.set(this.undos.pop());
  }

  get share() {
    return this.mask.reduce((sum, m) => sum + m, 0) / this.mask.length;
  }
}

class Painter {
  constructor(model, el) {
    this.model = model;
    this.live = isLive(model);
    this.box = root(el, "misf-painter");
    this.say = speaker(this.box);
    this.tool = "paint";
    this.drag = null; // while the pointer is down: where it went down, where it was last, the mask before
    this.status = element("p", { className: "status" });
    this.place = element("div", {
      style: "max-width: 600px",
      ondragover: (event) => event.preventDefault(),
      ondrop: (event) => this.dropped(event),
    });
    this.box.append(this.bar(), this.place, this.comparison(), this.status);
    const hear = (/** @type {Answer} */ answer) => this.show(answer);
    this.dialogue = new Dialogue(model, this.box, (text) => this.tell(text), hear);
    this.restore();
  }

  bar() {
    const button = (text, onclick) => element("button", { textContent: text, disabled: !this.live, onclick });
    const tools = TOOLS.map((name) =>
      element("button", {
        textContent: name,
        "data-tool": name,
        "aria-pressed": String(name === this.tool),
        onclick: () => this.choose(name),
      }),
    );
    this.tools = element("span", { className: "bar", role: "group", "aria-label": "tool" }, ...tools);
    this.size = element("input", {
      type: "range",
      min: 1,
      max: 60,
      value: 16,
      "aria-label": "brush size in pixels",
      oninput: () => this.sized(),
    });
    this.sizeText = element("output");
    this.undoButton = button("undo", () => this.undo());
    const clear = button("clear", () => this.change(() => this.hole.mask.fill(0)));
    const load = button("own picture …", () => file.click());
    const file = element("input", {
      type: "file",
      accept: "image/*",
      style: "display: none",
      onchange: () => this.load(file.files[0]),
    });
    const brush = element("label", {}, "brush", this.size, this.sizeText);
    return element("div", { className: "bar" }, this.tools, brush, this.undoButton, clear, load, file);
  }

  comparison() {
    this.compare = element("input", {
      type: "range",
      min: 0,
      max: 100,
      value: 100,
      "aria-label": "how much of the filled picture is shown",
      oninput: () => this.draw(),
    });
    return element(
      "div",
      { className: "bar" },
      element("label", {}, "input", this.compare, "filled"),
      element("button", { textContent: "save mask", onclick: () => this.save("mask") }),
      element("button", { textContent: "save filled picture", onclick: () => this.save("filled") }),
    );
  }

  /** Take over what Python holds: at the start, and after a reload of the page. */
  restore() {
    /** @type {Picture} */
    const picture = this.model.get("picture");
    /** @type {Asked} */
    const asked = this.model.get("asked");
    /** @type {Answer} */
    const answer = this.model.get("answer");
    this.size.value = Math.min(16, Math.round(Math.min(...picture.size) / 8)); // on a small picture 16 is half a face
    this.adopt(picture.size, bytes(picture.rgb));
    this.hole.mask.set(bytes(asked.mask));
    let text = this.live ? "Paint over what is to vanish." : "";
    if (answer.rgb && bytes(answer.rgb).length === this.image.length) {
      this.filled = bytes(answer.rgb);
      if (answer.number === asked.number) this.filledMask = this.hole.mask.slice();
      text = this.done(answer);
    }
    if (answer.error) text = `The model failed: ${answer.error}`;
    this.draw();
    this.tell(this.live ? text : `${text} ${NO_KERNEL}`.trim());
  }

  /** Work on this picture from now on. */
  adopt(size, rgb) {
    const [H, W] = size;
    this.pictureSize = size;
    this.image = rgb;
    this.hole = new Hole(size);
    this.filled = null;
    this.filledMask = new Uint8Array(H * W); // the hole that `filled` is the answer to
    /** @type {Pair} */
    this.at = [H >> 1, W >> 1];
    this.view = stage(size, {
      tabIndex: 0,
      role: "application",
      "aria-label": "picture to paint on: arrow keys move the brush, Space paints, Control Z undoes",
      style: "touch-action: none", // a finger paints
      onpointerdown: (event) => this.down(event),
      onpointermove: (event) => this.move(event),
      onpointerup: () => this.up(),
      onpointercancel: () => this.up(),
      onpointerleave: () => this.drag || this.hideCursor(),
      onkeydown: (event) => this.key(event),
    });
    this.cursor = outline("ellipse", "#fff", 1.5, { style: "mix-blend-mode: difference" });
    this.frame = outline("rect", PALETTE.hole, 1, { fill: PALETTE.hole, "fill-opacity": 0.5 });
    this.view.marks.append(this.frame, this.cursor);
    this.place.replaceChildren(this.view.node);
    this.size.max = Math.max(4, Math.round(Math.min(H, W) / 3));
    this.sized();
    this.hideCursor();
  }

  choose(tool) {
    this.tool = tool;
    for (const button of this.tools.children) button.setAttribute("aria-pressed", String(button.dataset.tool === tool));
    this.showCursor();
  }

  get radius() {
    return this.size.value / 2;
  }

  sized() {
    this.sizeText.textContent = `${this.size.value} px`;
    this.showCursor();
  }

  /** Left of the slider the filled picture, right of it the input; what was painted since is hole on both. */
  draw() {
    const W = this.pictureSize[1];
    const edge = (this.compare.value / 100) * W;
    const { image, filled, filledMask } = this;
    const { mask, undos } = this.hole;
    const input = rgbWithHole(image, mask);
    const output = filled && rgbWithHole(filled);
    const known = rgbWithHole(image);
    this.view.draw((i, rgba, o) => {
      const isFilled = output && i % W < edge;
      if (!isFilled || (mask[i] && !filledMask[i])) input(i, rgba, o);
      else (mask[i] ? output : known)(i, rgba, o);
    });
    this.undoButton.disabled = !undos.length || !this.live;
  }

  tell(text) {
    this.status.textContent = text;
    this.say(text);
  }

  done(answer) {
    return `Hole of ${percent(this.hole.share)} of the picture, filled in ${answer.seconds.toFixed(2)} s.`;
  }

  dab(at) {
    this.hole.dab(at, this.radius, this.tool === "erase" ? 0 : 1);
  }

  down(event) {
    if (event.button) return;
    if (!this.live) return this.tell(NO_KERNEL);
    this.view.node.focus({ preventScroll: true });
    this.view.node.setPointerCapture(event.pointerId);
    const at = this.view.at(event);
    this.drag = { start: at, last: at, before: this.hole.mask.slice() };
    if (this.tool !== "box") this.dab(at);
    this.draw();
  }

  move(event) {
    this.at = this.view.at(event);
    if (this.drag && this.tool !== "box") {
      this.hole.line(this.drag.last, this.at, this.radius, this.tool === "erase" ? 0 : 1);
      this.draw();
    }
    if (this.drag) this.drag.last = this.at;
    this.showCursor();
  }

  up() {
    if (!this.drag) return;
    const { start, last, before } = this.drag;
    this.drag = null;
    if (this.tool === "box") this.hole.box(start, last);
    this.showCursor();
    this.commit(before);
  }

  /** The brush under the pointer, or the box that is being drawn. */
  showCursor() {
    const [row, column] = this.at;
    const isBox = this.tool === "box";
    this.cursor.style.display = isBox ? "none" : "";
    setAttributes(this.cursor, { cx: column + 0.5, cy: row + 0.5, rx: this.radius, ry: this.radius });
    this.frame.style.display = this.drag && isBox ? "" : "none";
    if (!this.drag) return;
    const [top, left] = this.drag.start;
    const [height, width] = [Math.abs(top - row) + 1, Math.abs(left - column) + 1];
    setAttributes(this.frame, { x: Math.min(left, column), y: Math.min(top, row), width, height });
  }

  hideCursor() {
    this.cursor.style.display = this.frame.style.display = "none";
  }

  key(event) {
    const step = event.shiftKey ? 1 : Math.max(1, Math.round(this.radius));
    const to = arrowKey(event, this.at, step, this.pictureSize);
    if (to) {
      this.at = to;
      this.showCursor();
      const inHole = this.hole.mask[to[0] * this.pictureSize[1] + to[1]];
      this.say(`row ${to[0]}, column ${to[1]}${inHole ? ", in the hole" : ""}`);
    } else if (isEnter(event)) this.change(() => this.dab(this.at));
    else if (event.key === "z" && (event.ctrlKey || event.metaKey)) this.undo();
    else return;
    event.preventDefault();
  }

  change(edit) {
    if (!this.live) return this.tell(NO_KERNEL);
    const before = this.hole.mask.slice();
    edit();
    this.commit(before);
  }

  commit(before) {
    if (this.hole.changed(before)) this.ask();
    else this.draw();
  }

  undo() {
    if (!this.hole.undos.length || !this.live) return;
    this.hole.undo();
    this.ask();
  }

  ask() {
    this.dialogue.ask({ mask: this.hole.mask.slice() }, "Filling …");
    this.draw();
  }

  /** @param {Answer} answer */
  show(answer) {
    this.filled = bytes(answer.rgb);
    this.filledMask = this.hole.mask.slice();
    this.draw();
    this.tell(this.hole.share ? this.done(answer) : "Nothing is missing: paint a hole.");
  }

  dropped(event) {
    event.preventDefault();
    event.stopPropagation();
    if (this.live) this.load(event.dataTransfer.files[0]);
    else this.tell(NO_KERNEL);
  }

  /** @param {File} [file] a picture of the user's own */
  async load(file) {
    if (!file) return;
    let bitmap;
    try {
      bitmap = await createImageBitmap(file);
    } catch {
      return this.tell(`${file.name} is not a picture that this browser can read: try a JPEG or PNG file.`);
    }
    const { size, rgb } = shrunk(bitmap, this.model.get("longest"));
    this.adopt(size, rgb);
    this.model.set("picture", { size, rgb });
    this.ask();
  }

  save(what) {
    const copy = stage(this.pictureSize);
    const rgb = this.filled || this.image;
    const { mask } = this.hole;
    const paint = (i, out, o) => out.fill(255 * mask[i], o, o + 3);
    copy.draw(what === "mask" ? paint : rgbWithHole(rgb));
    download(copy.canvas, `${what}.png`);
  }
}

/** The pixels of a picture, made smaller where a side is longer. @returns {{size: Pair, rgb: Uint8Array}} */
function shrunk(bitmap, longest) {
  const { width, height } = bitmap;
  const shrink = Math.min(1, longest / Math.max(width, height), Math.sqrt(MOST / (width * height)));
  const [w, h] = [width, height].map((n) => Math.max(1, Math.round(n * shrink)));
  const canvas = element("canvas", { width: w, height: h });
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.fillStyle = "#fff"; // what is transparent becomes white
  context.fillRect(0, 0, w, h);
  context.drawImage(bitmap, 0, 0, w, h);
  const rgba = context.getImageData(0, 0, w, h).data;
  const rgb = new Uint8Array(3 * h * w);
  for (let i = 0; i < h * w; i++) rgb.set(rgba.subarray(4 * i, 4 * i + 3), 3 * i);
  return { size: [h, w], rgb };
}

export default {
  render({ model, el }) {
    const painter = new Painter(model, el);
    return () => painter.dialogue.close();
  },
};
