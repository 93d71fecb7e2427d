// Feature maps before and after semantic filtering, by level and channel; a click asks the explorer for the kernel.

function render({ model, el }) {
  const data = model.get("data"), box = root(el, "misf-features"), say = speaker(box);
  const levels = data.levels.map((level) => {
    const before = floats(level.before), after = floats(level.after), area = level.size[0] * level.size[1];
    const maps = level.channels.map((_, i) => {
      const map = { before: before.subarray(i * area, (i + 1) * area), after: after.subarray(i * area, (i + 1) * area) };
      map.difference = map.after.map((value, p) => value - map.before[p]);
      const [low, high, most] = level.ranges[i];
      return { ...map, range: { before: [low, high], after: [low, high], difference: [-most, most] } };
    });
    return { ...level, maps, mask: bytes(level.mask) };
  });
  let level = levels.at(-1), chosen = 0, at = null, large = [];

  const levelBox = select("level", levels.map((l, i) => [i, `F${l.number}`]), (i) => setLevel(levels[i]));
  const kind = select("small maps show", ["difference", "before", "after"].map((name) => [name, name]), drawSmall);
  const note = element("span", { className: "soft" });
  box.append(element("div", { className: "bar" }, element("label", {}, "features", levelBox), element("label", {}, "small maps", kind), note));
  const gallery = element("div", { className: "gallery", role: "group", "aria-label": "channels, the most changed first" });
  gallery.style.cssText = "display: flex; flex-wrap: wrap; gap: 4px; max-height: 232px; overflow-y: auto; padding: 3px; margin-bottom: 8px; border: 1px solid var(--line)";
  const maps = element("div", { className: "columns" }), value = element("p", { className: "value" });
  box.append(gallery, maps, value, element("p", { className: "soft" },
    data.link ? "Click a pixel, or press Enter on it, to see its kernel in the linked explorer." : "Point at a pixel to read its values. The hole has an orange rim."));

  let small = [];
  function setLevel(to) {
    level = to;
    levelBox.value = levels.indexOf(to);
    note.textContent = `${level.size.join("×")} pixels; ${level.channels.length < level.all ? `the ${level.channels.length} of ` : ""}${level.all} channels${level.channels.length < level.all ? " that changed most" : ""}, sorted by the mean change in the hole`;
    small = level.channels.map((channel, i) => {
      const view = stage(...level.size);
      view.node.style.cssText = "width: 64px; cursor: pointer";
      const button = element("button", { onclick: () => choose(i), "aria-label": `channel ${channel}, change ${number(level.change[i], 3)}` },
        view.node, element("span", { textContent: `${channel}: ${number(level.change[i], 3)}` }));
      button.style.cssText = "padding: 2px; font-size: 10px; line-height: 1.3";
      gallery.append(button);
      return { view, button };
    });
    gallery.replaceChildren(...small.map(({ button }) => button));
    drawSmall();
    at = [level.size[0] >> 1, level.size[1] >> 1];
    large = ["before", "after", "difference"].map((name) => {
      const view = stage(...level.size, {
        tabIndex: 0, role: "application", "aria-label": `${name}: arrow keys move the pixel, Enter shows its kernel`,
        onpointermove: (event) => moveTo(view.at(event)), onpointerdown: (event) => moveTo(view.at(event)), onclick: send, onkeydown: key,
      });
      view.node.style.touchAction = "pan-y";
      const mark = frame(), caption = element("figcaption");
      view.marks.append(rim(level.mask, ...level.size), ...mark.nodes);
      const figure = element("figure", {}, caption, view.node);
      figure.style.cssText = "flex: 1 1 180px; max-width: 300px; min-width: 150px";
      return { name, view, mark, caption, figure };
    });
    maps.replaceChildren(...large.map(({ figure }) => figure));
    choose(0);
  }

  const table = (name) => (name === "difference" ? "kernel" : "map");

  function drawSmall() {
    small.forEach(({ view }, i) => view.draw(mapped(level.maps[i][kind.value], table(kind.value), ...level.maps[i].range[kind.value])));
  }

  function choose(i) {
    chosen = i;
    small.forEach(({ button }, j) => button.setAttribute("aria-pressed", String(i === j)));
    for (const { name, view, caption } of large) {
      const range = level.maps[i].range[name];
      view.draw(mapped(level.maps[i][name], table(name), ...range));
      caption.replaceChildren(`${name === "difference" ? "after − before" : name} `, scale(table(name), number(range[0]), number(range[1])));
    }
    show();
  }

  function moveTo(to) {
    at = to;
    show();
  }

  function show() {
    const [r, c] = at, p = r * level.size[1] + c, map = level.maps[chosen];
    for (const { mark } of large) mark.move(r, c, 1);
    value.textContent = `Channel ${level.channels[chosen]} of F${level.number} at (${r}, ${c})${level.mask[p] ? ", in the hole" : ""}: ` +
      `before ${number(map.before[p], 3)}, after ${number(map.after[p], 3)}, difference ${signed(map.difference[p])}`;
    box.dataset.row = r;
    box.dataset.column = c;
  }

  function key(event) {
    const moves = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (moves) {
      moveTo(moves.map((m, i) => Math.max(0, Math.min(level.size[i] - 1, at[i] + m))));
      say(value.textContent);
    } else if (event.key === "Enter" || event.key === " ") send();
    else return;
    event.preventDefault();
  }

  function send() {
    if (!data.link) return;
    const detail = { link: data.link, level: level.number, channel: level.channels[chosen], row: at[0], column: at[1] };
    window.dispatchEvent(new CustomEvent("misf-pixel", { detail }));
  }

  setLevel(level);
}

export default { render };
