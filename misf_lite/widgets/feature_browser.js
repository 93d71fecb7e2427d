// Feature maps before and after semantic filtering, by level and channel; a click asks the explorer for the kernel.

/**
 * @typedef {object} LevelData the feature maps of one level, of C channels, those first that changed most
 * @property {number} number 1 to 3
 * @property {Pair} size
 * @property {number} all how many channels there are, also those that did not fit
 * @property {number[]} channels which these are
 * @property {number[]} change of each, the mean in the hole
 * @property {[number, number, number][]} ranges of each: low, high, and the largest difference
 * @property {Bytes} before C×h×w float16
 * @property {Bytes} after C×h×w float16
 * @property {Bytes} mask h×w bytes, 1 = hole
 *
 * @typedef {object} Data
 * @property {LevelData[]} levels
 * @property {string} link the explorer's, or "" where none is linked
 */

const VIEWS = { before: "map", after: "map", difference: "kernel" }; // and their colours
const WITH_LINK = "Click a pixel, or press Enter on it, to see its kernel in the linked explorer.";
const WITHOUT_LINK = "Point at a pixel to read its values. The hole has an orange rim.";

/** Each channel's three maps, and between which numbers their colours lie. @param {LevelData} data */
function decoded(data) {
  const area = data.size[0] * data.size[1];
  const before = floats(data.before);
  const after = floats(data.after);
  const maps = data.ranges.map(([low, high, most], i) => {
    const own = { before: before.subarray(i * area, (i + 1) * area), after: after.subarray(i * area, (i + 1) * area) };
    const difference = own.after.map((value, p) => value - own.before[p]);
    return { ...own, difference, range: { before: [low, high], after: [low, high], difference: [-most, most] } };
  });
  return { ...data, maps, mask: bytes(data.mask) };
}

class FeatureBrowser {
  constructor(model, el) {
    /** @type {Data} */
    this.data = model.get("data");
    this.levels = this.data.levels.map(decoded);
    this.box = root(el, "misf-features");
    this.say = speaker(this.box);
    this.note = element("span", { className: "soft" });
    this.gallery = element("div", {
      className: "gallery",
      role: "group",
      "aria-label": "channels, the most changed first",
    });
    this.maps = element("div", { className: "columns" });
    this.value = element("p", { className: "value" });
    const hint = element("p", { className: "soft", textContent: this.data.link ? WITH_LINK : WITHOUT_LINK });
    this.box.append(this.bar(), this.gallery, this.maps, this.value, hint);
    this.setLevel(this.levels.at(-1));
  }

  bar() {
    const names = this.levels.map((level, i) => [i, `F${level.number}`]);
    this.levelBox = select("level", names, (i) => this.setLevel(this.levels[i]));
    const kinds = ["difference", "before", "after"].map((name) => [name, name]);
    this.kind = select("small maps show", kinds, () => this.drawSmall());
    return element(
      "div",
      { className: "bar" },
      element("label", {}, "features", this.levelBox),
      element("label", {}, "small maps", this.kind),
      this.note,
    );
  }

  setLevel(level) {
    this.level = level;
    /** @type {Pair} */
    this.at = [level.size[0] >> 1, level.size[1] >> 1];
    this.levelBox.value = this.levels.indexOf(level);
    const some = level.channels.length < level.all;
    const which = some
      ? `the ${level.channels.length} of ${level.all} channels that changed most`
      : `${level.all} channels`;
    this.note.textContent = `${level.size.join("×")} pixels; ${which}, sorted by the mean change in the hole`;
    this.small = level.channels.map((channel, i) => this.smallMap(channel, i));
    this.gallery.replaceChildren(...this.small.map(({ button }) => button));
    this.drawSmall();
    this.large = Object.keys(VIEWS).map((name) => this.largeMap(name));
    this.maps.replaceChildren(...this.large.map(({ figure }) => figure));
    this.choose(0);
  }

  smallMap(channel, i) {
    const view = stage(this.level.size);
    const change = number(this.level.change[i], 3);
    const button = element(
      "button",
      { onclick: () => this.choose(i), "aria-label": `channel ${channel}, change ${change}` },
      view.node,
      element("span", { textContent: `${channel}: ${change}` }),
    );
    return { view, button };
  }

  largeMap(name) {
    const view = stage(this.level.size, {
      className: "tall",
      tabIndex: 0,
      role: "application",
      "aria-label": `${name}: arrow keys move the pixel, Enter shows its kernel`,
      onpointermove: (event) => this.moveTo(view.at(event)),
      onpointerdown: (event) => this.moveTo(view.at(event)),
      onclick: () => this.send(),
      onkeydown: (event) => this.key(event),
    });
    const mark = frame();
    const caption = element("figcaption");
    view.marks.append(rim(this.level.mask, this.level.size), ...mark.nodes);
    return { name, view, mark, caption, figure: element("figure", { className: "map" }, caption, view.node) };
  }

  drawSmall() {
    const kind = this.kind.value;
    this.small.forEach(({ view }, i) => {
      const map = this.level.maps[i];
      view.draw(mapped(map[kind], VIEWS[kind], ...map.range[kind]));
    });
  }

  choose(i) {
    this.chosen = i;
    this.small.forEach(({ button }, j) => button.setAttribute("aria-pressed", String(i === j)));
    const map = this.level.maps[i];
    for (const { name, view, caption } of this.large) {
      const [low, high] = map.range[name];
      view.draw(mapped(map[name], VIEWS[name], low, high));
      const title = name === "difference" ? "after − before" : name;
      caption.replaceChildren(`${title} `, scale(VIEWS[name], number(low), number(high)));
    }
    this.show();
  }

  /** @param {Pair} at */
  moveTo(at) {
    this.at = at;
    this.show();
  }

  show() {
    const [r, c] = this.at;
    const { size, maps, mask, channels, number: which } = this.level;
    const p = r * size[1] + c;
    const map = maps[this.chosen];
    for (const { mark } of this.large) mark.move(r, c, 1);
    const where = `Channel ${channels[this.chosen]} of F${which} at (${r}, ${c})${mask[p] ? ", in the hole" : ""}`;
    const [before, after] = [number(map.before[p], 3), number(map.after[p], 3)];
    this.value.textContent = `${where}: before ${before}, after ${after}, difference ${signed(map.difference[p])}`;
    Object.assign(this.box.dataset, { row: r, column: c });
  }

  key(event) {
    const to = arrowKey(event, this.at, 1, this.level.size);
    if (to) {
      this.moveTo(to);
      this.say(this.value.textContent);
    } else if (isEnter(event)) this.send();
    else return;
    event.preventDefault();
  }

  /** Ask the linked explorer for the kernel. */
  send() {
    if (!this.data.link) return;
    const [row, column] = this.at;
    const channel = this.level.channels[this.chosen];
    const detail = { link: this.data.link, level: this.level.number, channel, row, column };
    window.dispatchEvent(new CustomEvent("misf-pixel", { detail }));
  }
}

export default {
  render({ model, el }) {
    new FeatureBrowser(model, el);
  },
};
