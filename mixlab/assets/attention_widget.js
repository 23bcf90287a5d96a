// The two parts of the attention explorer that need the browser: the grid, and the pictures to choose from.
// attentionGrid, bytesOf and make come before this.

const LARGEST = 8 * 2 ** 20; // bytes of a picture: Jupyter's connection breaks at 10 MiB

function renderGrid(model, el) {
  const draw = attentionGrid(el, bytesOf(model.get("colours")), model.get("opacity"), row => {
    model.set("picked", model.get("scene").positions[row]);
    model.save_changes();
  });
  const show = () => {
    const scene = model.get("scene");
    if (scene.tiles) {
      const tiles = scene.tiles.map(row => row.map(map => ({...map, values: bytesOf(map.values)})));
      draw({...scene, tiles});
    }
  };
  model.on("change:scene", show);
  show();
}

function renderPicker(model, el) {
  const strip = make("div", el, {className: "attention-picker"});
  const line = make("div", el, {className: "attention-upload"});
  make("span", line, {textContent: "Click pictures to show or hide them."});
  const label = make("label", line, {textContent: "Your own: "});
  const input = make("input", label, {type: "file", accept: "image/*", multiple: true});
  make("span", line, {textContent: model.get("rule")});
  const said = make("span", line);
  said.setAttribute("role", "status");

  const fill = () => {
    const {sheet, columns, names} = model.get("pictures"), chosen = model.get("chosen");
    strip.replaceChildren();
    (names || []).forEach((name, number) => {
      const button = make("button", strip, {type: "button", title: name});
      button.setAttribute("aria-label", name);
      button.setAttribute("aria-pressed", chosen.includes(number));
      button.style.background = `url(${sheet}) -${38 * (number % columns)}px -${38 * Math.floor(number / columns)}px`;
      button.style.backgroundSize = `${38 * columns}px auto`;
      button.addEventListener("click", () => {
        const now = model.get("chosen");
        model.set("chosen", now.includes(number) ? now.filter(one => one !== number) : [...now, number]);
        model.save_changes();
      });
    });
  };
  const mark = () => [...strip.children].forEach((button, number) =>
    button.setAttribute("aria-pressed", model.get("chosen").includes(number)));

  input.addEventListener("change", async () => {
    said.textContent = "";
    for (const file of input.files) {
      if (file.size > LARGEST) {
        said.textContent += `${file.name}: a picture of at most 8 MiB; got ${(file.size / 2 ** 20).toFixed(1)}.\n`;
      } else {
        model.send({name: file.name}, undefined, [await file.arrayBuffer()]);
      }
    }
    input.value = "";
  });
  model.on("change:pictures", fill);
  model.on("change:chosen", mark);
  model.on("change:message", () => { said.textContent = model.get("message"); });
  fill();
}

export default {
  render({model, el}) {
    (model.get("part") === "grid" ? renderGrid : renderPicker)(model, el);
  },
};
