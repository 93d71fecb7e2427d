// Switch parts of the model off and see what becomes of the same hole. Python runs the model; nothing is done here.

/**
 * @typedef {object} Settings what `ablate` takes
 * @property {boolean} semantic
 * @property {boolean} image_level
 * @property {boolean} link
 * @property {"predicted" | "identity" | "box" | "pixel"} kernels
 * @property {Pair} pixel whose kernels are used for "pixel"
 *
 * @typedef {object} Run what the model made of the hole
 * @property {Bytes} rgb 3 bytes per pixel
 * @property {number} psnr in the hole, in decibels
 * @property {number} seconds it took
 *
 * @typedef {object} Data
 * @property {Pair} size
 * @property {Bytes} image the truth, 3 bytes per pixel
 * @property {Bytes} mask 1 byte per pixel, 1 = hole
 * @property {Run} whole with all parts on
 * @property {{semantic: boolean, image_level: boolean, link: boolean}} parts those that the model has
 */

const PARTS = { semantic: "semantic filtering", image_level: "image filtering", link: "interaction (KPB sees F2)" };
const KINDS = {
  predicted: "predicted",
  identity: "the identity",
  box: "box (mean of the window)",
  pixel: "those of one pixel",
};
const NOTE = "The parts are switched off in a model that was trained with them. PSNR is measured inside the hole.";

class Ablation {
  constructor(model, el) {
    this.live = isLive(model);
    /** @type {Data} */
    this.data = model.get("data");
    const { number: _, ...settings } = model.get("asked");
    /** @type {Settings} */
    this.settings = settings;
    this.box = root(el, "misf-ablation");
    this.say = speaker(this.box);
    this.status = element("p", { className: "status" });
    this.pictures = element("div", { className: "pictures" });
    this.box.append(this.bar(), this.pictures, this.status, element("p", { className: "soft", textContent: NOTE }));
    this.addPictures();
    this.dialogue = new Dialogue(
      model,
      this.box,
      (text) => this.tell(text),
      (run) => this.show(run),
    );
    this.place();
    this.dialogue.answered();
    if (!this.live) this.tell(NO_KERNEL);
  }

  bar() {
    this.kernels = select("kernels", Object.entries(KINDS), (kernels) => this.ask({ kernels }));
    this.kernels.value = this.settings.kernels;
    this.kernels.disabled = !this.live;
    const switches = Object.keys(PARTS).map((part) => this.switchFor(part));
    return element("div", { className: "bar" }, ...switches, element("label", {}, "kernels", this.kernels));
  }

  switchFor(part) {
    const has = this.data.parts[part];
    const input = element("input", {
      type: "checkbox",
      checked: this.settings[part] && has,
      disabled: !this.live || !has,
      "data-part": part,
      onchange: () => this.ask({ [part]: input.checked }),
    });
    return element("label", { title: has ? "" : "this model was made without" }, input, PARTS[part]);
  }

  addPictures() {
    const { image, mask, whole } = this.data;
    const hole = this.addPicture("with a hole", rgbWithHole(bytes(image), bytes(mask)), {
      tabIndex: 0,
      role: "application",
      "aria-label": "picture with its hole: arrow keys move the pixel whose kernels are used, Enter uses them",
      style: "touch-action: manipulation",
      onclick: (event) => this.choose(hole.view.at(event)),
      onkeydown: (event) => this.key(event),
    });
    this.holeCaption = hole.caption;
    this.mark = frame();
    hole.view.marks.append(...this.mark.nodes);
    const still = { className: "still" };
    this.addPicture(`all parts on: ${whole.psnr.toFixed(1)} dB`, rgbWithHole(bytes(whole.rgb)), still);
    this.yours = this.addPicture("your choice", rgbWithHole(bytes(whole.rgb)), still);
    this.addPicture("the truth", rgbWithHole(bytes(image)), still);
  }

  addPicture(title, paint, props) {
    const view = stage(this.data.size, props);
    const caption = element("figcaption", { textContent: title });
    view.draw(paint);
    this.pictures.append(element("figure", {}, caption, view.node));
    return { view, caption };
  }

  place() {
    const [row, column] = this.settings.pixel;
    this.mark.move(row - 2, column - 2, 5);
    this.holeCaption.textContent = `with a hole; the pixel (${row}, ${column})`;
  }

  choose(pixel) {
    if (!this.live) return this.tell(NO_KERNEL);
    this.kernels.value = "pixel";
    this.ask({ pixel, kernels: "pixel" });
  }

  key(event) {
    const { pixel } = this.settings;
    const to = arrowKey(event, pixel, event.shiftKey ? 10 : 1, this.data.size);
    if (to) {
      this.settings.pixel = to;
      this.place();
      this.say(`row ${to[0]}, column ${to[1]}`);
    } else if (isEnter(event)) this.choose(pixel);
    else return;
    event.preventDefault();
  }

  /** @param {Partial<Settings>} changes */
  ask(changes) {
    Object.assign(this.settings, changes);
    this.place();
    this.dialogue.ask(this.settings, "Running …");
  }

  tell(text) {
    this.status.textContent = text;
    this.say(text);
  }

  /** @param {Run} run */
  show(run) {
    this.yours.view.draw(rgbWithHole(bytes(run.rgb)));
    this.yours.caption.textContent = `your choice: ${run.psnr.toFixed(1)} dB`;
    const gain = signed(run.psnr - this.data.whole.psnr, 1);
    this.tell(`${gain} dB against all parts on, in ${run.seconds.toFixed(2)} s.`);
  }
}

export default {
  render({ model, el }) {
    const panel = new Ablation(model, el);
    return () => panel.dialogue.close();
  },
};
