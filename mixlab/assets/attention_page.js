// The twin's controls: which of the stored maps is shown. DATA and attentionGrid come before this.

const state = {map: "activation-2", layer: "4", picked: 0};
const draw = attentionGrid(document.getElementById("grid"), bytesOf(DATA.colours), DATA.opacity, row => {
  state.picked = row;
  show();
});

// Maps lie one after the other: image by image, in each run by run.
function tilesOf(stored, words) {
  const {height, width} = stored, values = bytesOf(stored.values), size = height * width;
  const tile = number => values.subarray(number * size, (number + 1) * size);
  return DATA.rows.map((_, row) => DATA.columns.map((_, column) => (
    {height, width, values: tile(row * DATA.columns.length + column), words: words[row][column]})));
}

function show() {
  const compares = state.map === "similarity";
  const kind = compares ? DATA.maps.similarity[state.picked] : DATA.maps[state.map];
  draw({columns: DATA.columns, rows: DATA.rows, tiles: tilesOf(kind.layers[state.layer], kind.words),
        picked: compares ? state.picked : -1, note: DATA.notes[state.map]});
}

document.getElementById("map").addEventListener("change", event => {
  state.map = event.target.value;
  show();
});
for (const choice of document.querySelectorAll("input[name=layer]")) {
  choice.addEventListener("change", () => {
    state.layer = choice.value;
    show();
  });
}
show();
