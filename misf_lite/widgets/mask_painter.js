// Paint a hole; when the pointer is released, Python is asked to fill it.

function render({ model, el }) {
  const live = isLive(model), box = root(el, "misf-painter"), say = speaker(box);
  let H, W, image, mask, filled = null, view, cursor, outline, filledMask, drag = null, at = [0, 0], tool = "paint", undos = [], waiting; // filledMask: the hole that `filled` is the answer to
  let number = model.get("asked").number || 0;

  const tools = element("span", { className: "bar", role: "group", "aria-label": "tool" });
  for (const name of ["paint", "erase", "box"])
    tools.append(element("button", { textContent: name, "data-tool": name, "aria-pressed": String(name === tool), onclick: () => choose(name) }));
  const size = element("input", { type: "range", min: 1, max: 60, value: 16, "aria-label": "brush size in pixels", oninput: sized });
  const sizeText = element("output");
  const undoButton = element("button", { textContent: "undo", onclick: undo });
  const clearButton = element("button", { textContent: "clear", onclick: () => change(() => mask.fill(0)) });
  const file = element("input", { type: "file", accept: "image/*", style: "display: none", onchange: () => load(file.files[0]) });
  const compare = element("input", { type: "range", min: 0, max: 100, value: 100, "aria-label": "how much of the filled picture is shown", oninput: draw });
  const controls = [undoButton, clearButton];
  const loadButton = element("button", { textContent: "own picture …", onclick: () => file.click() });
  const status = element("p", { className: "status" });
  const place = element("div", { ondragover: (event) => event.preventDefault(), ondrop: dropped });
  place.style.maxWidth = "600px";
  box.append(
    element("div", { className: "bar" }, tools, element("label", {}, "brush", size, sizeText), ...controls, loadButton, file),
    place,
    element("div", { className: "bar" }, element("label", {}, "input", compare, "filled"),
      element("button", { textContent: "save mask", onclick: () => saved("mask") }), element("button", { textContent: "save filled picture", onclick: () => saved("filled") })),
    status);

  function choose(name) {
    tool = name;
    for (const button of tools.children) button.setAttribute("aria-pressed", String(button.dataset.tool === name));
    place.firstChild && moveCursor();
  }

  function sized() {
    sizeText.textContent = `${size.value} px`;
    cursor && moveCursor();
  }

  /** Take over what Python holds: at the start, and after a reload of the page. */
  function restore() {
    const picture = model.get("picture"), asked = model.get("asked"), answer = model.get("answer");
    size.value = Math.min(16, Math.round(Math.min(...picture.size) / 8)); // on a small picture 16 pixels are half a face
    adopt(picture.size, bytes(picture.rgb));
    mask.set(bytes(asked.mask));
    if (answer.rgb && bytes(answer.rgb).length === 3 * H * W) filled = bytes(answer.rgb);
    filledMask = answer.number === asked.number ? mask.slice() : new Uint8Array(H * W);
    draw();
    tell(answer.error ? `The model failed: ${answer.error}` : answer.seconds !== undefined && filled ? done(answer) : live ? "Paint over what is to vanish." : "");
    if (!live) tell(`${status.textContent} ${NO_KERNEL}`.trim());
  }

  function adopt([h, w], rgb) {
    [H, W, image, mask, filled, undos] = [h, w, rgb, new Uint8Array(h * w), null, []];
    filledMask = new Uint8Array(h * w);
    at = [h >> 1, w >> 1];
    view = stage(H, W, {
      tabIndex: 0, role: "application", "aria-label": "picture to paint on: arrow keys move the brush, Space paints, Control Z undoes",
      onpointerdown: down, onpointermove: move, onpointerup: up, onpointercancel: up, onkeydown: key, onpointerleave: () => drag || hide(true),
    });
    view.node.style.touchAction = "none"; // a finger paints
    cursor = svg("ellipse", { fill: "none", stroke: "#fff", "stroke-width": 1.5, "vector-effect": "non-scaling-stroke", style: "mix-blend-mode: difference" });
    outline = svg("rect", { fill: PALETTE.hole, "fill-opacity": 0.5, stroke: PALETTE.hole, "vector-effect": "non-scaling-stroke" });
    view.marks.append(outline, cursor);
    place.replaceChildren(view.node);
    size.max = Math.max(4, Math.round(Math.min(H, W) / 3));
    sized();
    hide(true);
  }

  /** Left of the slider the filled picture, right of it the input; what is painted since is hole on both. */
  function draw() {
    const edge = (compare.value / 100) * W, hole = rgbWithHole(image, mask);
    view.draw((i, out, o) => {
      const isFilled = filled && i % W < edge && (!mask[i] || !fresh(i));
      if (isFilled) for (let c = 0; c < 3; c++) out[o + c] = mask[i] ? filled[3 * i + c] : image[3 * i + c];
      else hole(i, out, o);
    });
    undoButton.disabled = !undos.length || !live;
    clearButton.disabled = !live;
    loadButton.disabled = !live;
  }

  const fresh = (i) => !filledMask[i];

  function tell(text) {
    status.textContent = text;
    say(text);
  }

  const share = () => percent(mask.reduce((sum, m) => sum + m, 0) / mask.length);
  const done = (answer) => `Hole of ${share()} of the picture, filled in ${answer.seconds.toFixed(2)} s.`;

  function dab([row, column]) {
    const radius = size.value / 2, value = tool === "erase" ? 0 : 1;
    for (let r = Math.max(0, Math.floor(row - radius)); r <= Math.min(H - 1, row + radius); r++)
      for (let c = Math.max(0, Math.floor(column - radius)); c <= Math.min(W - 1, column + radius); c++)
        if ((r - row) ** 2 + (c - column) ** 2 <= radius * radius) mask[r * W + c] = value;
  }

  function line(from, to) {
    const steps = Math.max(1, Math.ceil(Math.hypot(to[0] - from[0], to[1] - from[1]) / Math.max(1, size.value / 4)));
    for (let s = 1; s <= steps; s++) dab([0, 1].map((i) => Math.round(from[i] + ((to[i] - from[i]) * s) / steps)));
  }

  function down(event) {
    if (event.button) return;
    if (!live) return tell(NO_KERNEL);
    view.node.focus({ preventScroll: true });
    view.node.setPointerCapture(event.pointerId);
    drag = { start: view.at(event), last: view.at(event), before: mask.slice() };
    if (tool !== "box") dab(drag.start);
    draw();
  }

  function move(event) {
    at = view.at(event);
    if (drag && tool !== "box") {
      line(drag.last, at);
      draw();
    }
    if (drag) drag.last = at;
    moveCursor();
  }

  function up() {
    if (!drag) return;
    const { start, last, before } = drag;
    drag = null;
    if (tool === "box") {
      const [top, left] = [0, 1].map((i) => Math.min(start[i], last[i])), [bottom, right] = [0, 1].map((i) => Math.max(start[i], last[i]));
      for (let r = top; r <= bottom; r++) mask.fill(1, r * W + left, r * W + right + 1);
    }
    moveCursor();
    committed(before);
  }

  function moveCursor() {
    hide(false);
    const boxed = drag && tool === "box";
    cursor.style.display = tool === "box" ? "none" : "";
    for (const [name, value] of Object.entries({ cx: at[1] + 0.5, cy: at[0] + 0.5, rx: size.value / 2, ry: size.value / 2 })) cursor.setAttribute(name, value);
    outline.style.display = boxed ? "" : "none";
    if (!boxed) return;
    const [y, x] = [0, 1].map((i) => Math.min(drag.start[i], at[i])), [h, w] = [0, 1].map((i) => Math.abs(drag.start[i] - at[i]) + 1);
    for (const [name, value] of Object.entries({ x, y, width: w, height: h })) outline.setAttribute(name, value);
  }

  function hide(away) {
    cursor.style.display = outline.style.display = away ? "none" : "";
  }

  function key(event) {
    const step = event.shiftKey ? 1 : Math.max(1, Math.round(size.value / 2));
    const moves = { ArrowUp: [-step, 0], ArrowDown: [step, 0], ArrowLeft: [0, -step], ArrowRight: [0, step] }[event.key];
    if (moves) {
      at = [Math.max(0, Math.min(H - 1, at[0] + moves[0])), Math.max(0, Math.min(W - 1, at[1] + moves[1]))];
      moveCursor();
      say(`row ${at[0]}, column ${at[1]}${mask[at[0] * W + at[1]] ? ", in the hole" : ""}`);
    } else if (event.key === " " || event.key === "Enter") change(() => dab(at));
    else if (event.key === "z" && (event.ctrlKey || event.metaKey)) undo();
    else return;
    event.preventDefault();
  }

  function change(edit) {
    if (!live) return tell(NO_KERNEL);
    const before = mask.slice();
    edit();
    committed(before);
  }

  function committed(before) {
    if (before.every((value, i) => value === mask[i])) return draw();
    undos.push(before);
    if (undos.length > 50) undos.shift();
    ask();
  }

  function undo() {
    if (!undos.length || !live) return;
    mask.set(undos.pop());
    ask();
  }

  function ask(picture) {
    number += 1;
    if (picture) model.set("picture", picture);
    model.set("asked", { number, mask: mask.slice() });
    model.save_changes();
    box.dataset.state = "filling";
    draw();
    tell("Filling …");
    clearTimeout(waiting);
    waiting = setTimeout(() => tell("Still waiting: the model is slow or the kernel busy. If it was restarted, run this cell again."), 8000);
  }

  /** Only the answer to the last question counts. */
  function answered() {
    const answer = model.get("answer");
    if (answer.number !== number) return;
    clearTimeout(waiting);
    if (answer.rgb) {
      filled = bytes(answer.rgb);
      filledMask = mask.slice();
    }
    box.dataset.state = answer.error ? "failed" : "filled";
    draw();
    tell(answer.error ? `The model failed: ${answer.error}` : mask.some(Boolean) ? done(answer) : "Nothing is missing: paint a hole.");
  }

  function dropped(event) {
    event.preventDefault();
    event.stopPropagation();
    if (live) load(event.dataTransfer.files[0]);
    else tell(NO_KERNEL);
  }

  async function load(chosen) {
    if (!chosen) return;
    let bitmap;
    try {
      bitmap = await createImageBitmap(chosen);
    } catch {
      return tell(`${chosen.name} is not a picture that this browser can read: try a JPEG or PNG file.`);
    }
    const shrink = Math.min(1, model.get("longest") / Math.max(bitmap.width, bitmap.height));
    const [w, h] = [bitmap.width, bitmap.height].map((n) => Math.max(1, Math.round(n * shrink)));
    const canvas = element("canvas", { width: w, height: h }), context = canvas.getContext("2d");
    context.imageSmoothingQuality = "high";
    context.fillStyle = "#fff"; // what is transparent becomes white
    context.fillRect(0, 0, w, h);
    context.drawImage(bitmap, 0, 0, w, h);
    const rgba = context.getImageData(0, 0, w, h).data, rgb = new Uint8Array(3 * h * w);
    for (let i = 0; i < h * w; i++) for (let c = 0; c < 3; c++) rgb[3 * i + c] = rgba[4 * i + c];
    adopt([h, w], rgb);
    ask({ size: [h, w], rgb });
  }

  function saved(what) {
    const copy = stage(H, W), rgb = filled || image;
    copy.draw((i, out, o) => {
      for (let c = 0; c < 3; c++) out[o + c] = what === "mask" ? 255 * mask[i] : rgb[3 * i + c];
    });
    download(copy.canvas, `${what}.png`);
  }

  model.on("change:answer", answered);
  restore();
  return () => model.off("change:answer", answered);
}

export default { render };
