/** Mounts a widget on a page: its data lie in its node, and its model can neither send nor receive. */
function mount(id, widget) {
  const el = document.getElementById(id);
  const { state, buffers } = JSON.parse(el.querySelector("script").textContent);
  for (const { path, data } of buffers) {
    const parent = path.slice(0, -1).reduce((node, key) => node[key], state);
    parent[path.at(-1)] = new DataView(Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0)).buffer);
  }
  const model = { get: (key) => state[key], set() {}, save_changes() {}, on() {}, off() {} };
  widget.render({ model, el });
}
