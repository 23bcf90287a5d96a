// Attention maps over images: images by rows, runs by columns. Used by the widget in JupyterLab and by its twin.
//
// attentionGrid(root, colours, opacity, onPick) returns draw(scene), where
//   colours  Uint8Array of 256 x 3, the colour scale;
//   onPick   called with the row whose image was chosen to compare with;
//   scene    {columns: [text], rows: [{name, picture}], tiles: [row][column] {height, width, values, words},
//             picked: row or -1, note: text}; values: Uint8Array, 255 is a map's largest value.
// Texts reach the page through textContent only.

function bytesOf(text) {
  return Uint8Array.from(atob(text), letter => letter.charCodeAt(0));
}

function make(tag, parent, settings = {}) {
  return parent.appendChild(Object.assign(document.createElement(tag), settings));
}

// A map's value in [0, 1] at (x, y), fractions of its width and height: bilinear between the centres of its cells.
function sample(map, x, y) {
  const across = Math.min(Math.max(x * map.width - 0.5, 0), map.width - 1);
  const down = Math.min(Math.max(y * map.height - 0.5, 0), map.height - 1);
  const [left, top] = [Math.floor(across), Math.floor(down)];
  const [right, bottom] = [Math.min(left + 1, map.width - 1), Math.min(top + 1, map.height - 1)];
  const [a, b] = [across - left, down - top];
  const at = (row, column) => map.values[row * map.width + column] / 255;
  return (1 - b) * ((1 - a) * at(top, left) + a * at(top, right)) +
         b * ((1 - a) * at(bottom, left) + a * at(bottom, right));
}

function paint(canvas, map, colours) {
  const side = canvas.width = canvas.height = 64;
  const pixels = new ImageData(side, side);
  for (let row = 0; row < side; row++) {
    for (let column = 0; column < side; column++) {
      const colour = 3 * Math.round(255 * sample(map, (column + 0.5) / side, (row + 0.5) / side));
      pixels.data.set([colours[colour], colours[colour + 1], colours[colour + 2], 255], 4 * (row * side + column));
    }
  }
  canvas.getContext("2d").putImageData(pixels, 0, 0);
}

const NARROW = 110, GAP = 44; // pixels: the least that a map is given, and between images with their maps

function attentionGrid(root, colours, opacity, onPick) {
  root.classList.add("attention");
  const bar = make("div", root, {className: "attention-bar"});
  const label = make("label", bar, {textContent: "map over image "});
  const slider = make("input", label, {type: "range", min: 0, max: 1, step: 0.01, value: opacity, className: "opacity"});
  slider.setAttribute("aria-label", "opacity of the map");
  const fade = () => root.style.setProperty("--map", slider.value);
  slider.addEventListener("input", fade);
  fade();
  const scale = make("span", bar, {className: "attention-scale"});
  make("span", scale, {textContent: "0"});
  const stops = [0, 64, 128, 192, 255].map(i => `rgb(${colours.slice(3 * i, 3 * i + 3).join()})`);
  make("i", scale).style.background = `linear-gradient(90deg, ${stops.join()})`;
  make("span", scale, {textContent: "largest value of each map"});
  const note = make("div", root, {className: "attention-note"});
  const table = make("div", root, {className: "attention-table"});

  function headings(columns) {
    const line = make("div", table, {className: "attention-line"});
    for (const text of ["image", ...columns]) make("div", line, {className: "attention-title", textContent: text});
  }

  function picture(line, row, number, scene) {
    const choice = make("button", line, {type: "button", className: "attention-image"});
    choice.setAttribute("aria-pressed", scene.picked === number);
    make("img", choice, {src: row.picture, alt: row.name});
    make("bdi", choice, {textContent: row.name});
    choice.disabled = scene.picked < 0;
    choice.title = choice.disabled ? row.name : "compare every image with this one";
    choice.addEventListener("click", () => onPick(number));
  }

  function tile(line, map, row) {
    const figure = make("figure", line, {className: "attention-tile"});
    const stack = make("div", figure, {className: "attention-stack"});
    make("img", stack, {src: row.picture, alt: ""});
    paint(make("canvas", stack), map, colours);
    const mark = make("span", stack, {className: "attention-mark", hidden: true});
    const words = make("figcaption", figure, {textContent: map.words});
    return {map, stack, mark, words};
  }

  // The place under the pointer is marked on every map of the row, with the value there below it.
  function follow(tiles) {
    for (const {stack} of tiles) {
      stack.addEventListener("pointermove", event => {
        const box = stack.getBoundingClientRect();
        const [x, y] = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
        for (const {map, mark, words} of tiles) {
          mark.hidden = false;
          mark.style.left = `${100 * x}%`;
          mark.style.top = `${100 * y}%`;
          words.textContent = `here ${sample(map, x, y).toFixed(2)}`;
        }
      });
      stack.addEventListener("pointerleave", () => {
        for (const {map, mark, words} of tiles) {
          mark.hidden = true;
          words.textContent = map.words;
        }
      });
    }
  }

  let scene = {columns: [], rows: [], tiles: [], picked: -1, note: ""}, across = 0;

  // As many images beside each other as there is room for, each with its maps.
  function fit() {
    const room = Math.floor((root.clientWidth + GAP) / (NARROW * (scene.columns.length + 1) + GAP));
    return Math.max(1, Math.min(room, scene.rows.length));
  }

  function show() {
    across = fit();
    table.replaceChildren();
    table.style.setProperty("--across", across);
    table.style.setProperty("--columns", scene.columns.length + 1);
    note.textContent = scene.note;
    for (let i = 0; i < across && scene.rows.length; i++) headings(scene.columns);
    scene.rows.forEach((row, number) => {
      const line = make("div", table, {className: "attention-line"});
      picture(line, row, number, scene);
      follow(scene.tiles[number].map(map => tile(line, map, row)));
    });
  }

  new ResizeObserver(() => { if (fit() !== across) show(); }).observe(root);
  return next => {
    scene = next;
    show();
  };
}
