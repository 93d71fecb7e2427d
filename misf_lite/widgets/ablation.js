// Switch parts of the model off and see what becomes of the same hole. Python runs the model; nothing is done here.

function render({ model, el }) {
  const data = model.get("data"), [H, W] = data.size, live = isLive(model);
  const image = bytes(data.image), mask = bytes(data.mask), whole = bytes(data.whole.rgb);
  const box = root(el, "misf-ablation"), say = speaker(box);
  let { number: asked, ...settings } = model.get("asked"), waiting;

  const parts = [["semantic", "semantic filtering"], ["image_level", "image filtering"], ["link", "interaction (KPB sees F2)"]];
  const switches = parts.map(([name, text]) => {
    const input = element("input", { type: "checkbox", checked: settings[name] && data.parts[name], disabled: !live || !data.parts[name], "data-part": name,
      onchange: () => ask({ [name]: input.checked }) });
    return element("label", { title: data.parts[name] ? "" : "this model was made without" }, input, text);
  });
  const kinds = [["predicted", "predicted"], ["identity", "the identity"], ["box", "box (mean of the window)"], ["pixel", "those of one pixel"]];
  const kernels = select("kernels", kinds, (value) => ask({ kernels: value }));
  kernels.value = settings.kernels;
  kernels.disabled = !live;
  const pictures = element("div", { className: "pictures" }), status = element("p", { className: "status" });
  box.append(element("div", { className: "bar" }, ...switches, element("label", {}, "kernels", kernels)), pictures, status,
    element("p", { className: "soft" }, "The parts are switched off in a model that was trained with them. PSNR is measured inside the hole."));

  function picture(title, paint, props) {
    const view = stage(H, W, props), caption = element("figcaption", { textContent: title });
    const figure = element("figure", {}, caption, view.node);
    view.draw(paint);
    if (!props) view.node.style.cursor = "default";
    pictures.append(figure);
    return { view, caption };
  }

  const hole = picture("with a hole", rgbWithHole(image, mask), {
    tabIndex: 0, role: "application", "aria-label": "picture with its hole: arrow keys move the pixel whose kernels are used, Enter uses them",
    onclick: (event) => choose(hole.view.at(event)), onkeydown: key,
  });
  hole.view.node.style.touchAction = "manipulation";
  const mark = frame();
  hole.view.marks.append(...mark.nodes);
  picture(`all parts on: ${data.whole.psnr.toFixed(1)} dB`, rgbWithHole(whole));
  const yours = picture("your choice", rgbWithHole(whole));
  picture("the truth", rgbWithHole(image));

  function place() {
    mark.move(settings.pixel[0] - 2, settings.pixel[1] - 2, 5);
    hole.caption.textContent = `with a hole; the pixel (${settings.pixel.join(", ")})`;
  }

  function choose(pixel) {
    if (!live) return tell(NO_KERNEL);
    kernels.value = "pixel";
    ask({ pixel, kernels: "pixel" });
  }

  function key(event) {
    const step = event.shiftKey ? 10 : 1;
    const moves = { ArrowUp: [-step, 0], ArrowDown: [step, 0], ArrowLeft: [0, -step], ArrowRight: [0, step] }[event.key];
    if (moves) {
      settings = { ...settings, pixel: moves.map((m, i) => Math.max(0, Math.min(data.size[i] - 1, settings.pixel[i] + m))) };
      place();
      say(`row ${settings.pixel[0]}, column ${settings.pixel[1]}`);
    } else if (event.key === "Enter" || event.key === " ") choose(settings.pixel);
    else return;
    event.preventDefault();
  }

  function ask(changes) {
    settings = { ...settings, ...changes };
    asked += 1;
    place();
    model.set("asked", { number: asked, ...settings });
    model.save_changes();
    box.dataset.state = "running";
    tell("Running …");
    clearTimeout(waiting);
    waiting = setTimeout(() => tell("Still waiting: the model is slow or the kernel busy. If it was restarted, run this cell again."), 8000);
  }

  function tell(text) {
    status.textContent = text;
    say(text);
  }

  function answered() {
    const answer = model.get("answer");
    if (answer.number !== asked) return;
    clearTimeout(waiting);
    box.dataset.state = answer.error ? "failed" : "done";
    if (answer.error) return tell(`The model failed: ${answer.error}`);
    yours.view.draw(rgbWithHole(bytes(answer.rgb)));
    yours.caption.textContent = `your choice: ${answer.psnr.toFixed(1)} dB`;
    tell(`${signed(answer.psnr - data.whole.psnr, 1)} dB against all parts on, in ${answer.seconds.toFixed(2)} s.`);
  }

  model.on("change:answer", answered);
  place();
  answered();
  if (!live) tell(NO_KERNEL);
  return () => model.off("change:answer", answered);
}

export default { render };
