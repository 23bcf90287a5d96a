// The embedding explorer as a page: DATA is made by mixlab/explorers/embedding_twin.py, which also holds the HTML.
// Texts of DATA are set as textContent; the names that plotly shows are escaped where they are made.

const FAINT = 0.12, RING = 11, SHOWN = 96, BARS = 12, STEP = 700, ROW = 480, SINGLE = 560, NARROW = 900;
const AXIS = {showgrid: false, zeroline: false, showticklabels: false, ticks: "", showline: true, mirror: true,
  linecolor: "#ccc"};
const {clouds, classes, sheet: SHEET, palette, symbols, most, titles, epochs} = DATA;
const GRAPHICS = document.createElement("canvas").getContext("webgl") !== null;  // else slower, but there
const element = id => document.getElementById(id);
const plot = element("plot"), sprite = new Image();
const state = {title: titles[0], only: false, picked: DATA.picked, epoch: epochs.length - 1, chosen: null, members: []};

for (const cloud of clouds) {
  cloud.place = new Map(cloud.images.map((image, place) => [image, place]));
  cloud.wrong = cloud.labels && cloud.predictions && cloud.labels.map((label, i) => label !== cloud.predictions[i]);
}

function make(tag, className, ...inside) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.append(...inside);
  return made;
}

function bdi(text) { return make("bdi", "", text); }

// ---- pictures: all images are one sheet, from which each is cut

function picture(image, size, wrong, title) {
  const canvas = make("canvas", wrong ? "mixlab-wrong" : "");
  [canvas.width, canvas.height] = SHEET.size;
  canvas.style.width = canvas.style.height = `${size}px`;
  canvas.title = title;
  canvas.getContext("2d").drawImage(sprite, (image % SHEET.columns) * canvas.width,
    Math.floor(image / SHEET.columns) * canvas.height, canvas.width, canvas.height, 0, 0, canvas.width, canvas.height);
  return canvas;
}

const labelOf = (cloud, place) => cloud.labels ? classes[cloud.labels[place]] : "no label";

// ---- the map

function colouring(cloud) { return cloud.colourings.find(one => one.title === state.title); }

function marks() {
  const {names, shown, colours} = colouring(clouds[0]);
  if (colours) return names.map((_, value) => ({value, name: shown[value], colour: colours[value], symbol: symbols[0]}));
  const all = names.length <= most;
  const values = all ? names.map((_, value) => value) : [...state.picked].sort((a, b) => a - b).slice(0, most);
  const others = all ? [] : [{value: -1, name: "other classes", colour: DATA.grey, symbol: symbols[0]}];
  return others.concat(values.map((value, i) => ({value, name: shown[value], colour: palette[i % palette.length],
    symbol: symbols[Math.floor(i / palette.length) % symbols.length]})));
}

function membersOf(cloud, legend) {
  const slot = new Map(legend.map(({value}, i) => [value, i])), found = legend.map(() => []);
  colouring(cloud).values.forEach((value, place) => {
    const into = slot.has(value) ? slot.get(value) : slot.get(-1);
    if (into !== undefined && !(state.only && !cloud.wrong[place])) found[into].push(place);
  });
  return found;
}

// The map of the chosen epoch: of the cloud's nearest epoch at or before it, else its first.
function pointsOf(cloud) {
  let at = 0;
  cloud.epochs.forEach((epoch, i) => { if (epoch <= epochs[state.epoch]) at = i; });
  return cloud.maps[at];
}

function selectedIn(cloud, members) {
  if (!state.chosen) return null;
  return members.flatMap((place, i) => state.chosen.has(cloud.images[place]) ? [i] : []);
}

function positions() {
  const found = {x: [], y: [], selectedpoints: []};
  clouds.forEach((cloud, pane) => {
    const {x, y} = pointsOf(cloud);
    for (const members of state.members[pane]) {
      found.x.push(members.map(place => x[place]));
      found.y.push(members.map(place => y[place]));
      found.selectedpoints.push(selectedIn(cloud, members));
    }
  });
  return found;
}

function draw() {
  const legend = marks();
  state.members = clouds.map(cloud => membersOf(cloud, legend));
  const at = positions(), slots = legend.length;
  const traces = clouds.flatMap((_, pane) => legend.map(({name, colour, symbol}, slot) => ({
    type: GRAPHICS ? "scattergl" : "scatter", mode: "markers", hoverinfo: "none", name, legendgroup: String(slot), showlegend: pane === 0,
    xaxis: pane ? "x2" : "x", yaxis: pane ? "y2" : "y", x: at.x[pane * slots + slot], y: at.y[pane * slots + slot],
    selectedpoints: at.selectedpoints[pane * slots + slot], marker: {color: colour, symbol, size: 5, opacity: 0.8},
    selected: {marker: {opacity: 0.95}}, unselected: {marker: {opacity: FAINT}}})));
  return Plotly.react(plot, traces, layout(), {displaylogo: false, displayModeBar: true, showSendToCloud: false,
    plotlyServerURL: "", typesetMath: false, responsive: true, doubleClick: "reset",
    modeBarButtonsToRemove: ["toImage", "autoScale2d", "zoomIn2d", "zoomOut2d"]});
}

function layout() {
  const two = clouds.length > 1, rows = two && window.innerWidth < NARROW ? 2 : 1;
  const found = {template: DATA.template, height: two ? ROW * rows : SINGLE, dragmode: "lasso", hovermode: "closest",
    hoverdistance: 12, margin: {l: 8, r: 8, t: 34, b: 34}, uirevision: "kept", annotations: [], shapes: [],
    legend: {itemsizing: "constant", tracegroupgap: 0, title: {text: state.title, font: {size: 12}},
      uirevision: marks().map(({name}) => name).join()},  // what it hides stays hidden while the names stay
    newselection: {line: {color: "#444", width: 1, dash: "solid"}}};
  clouds.forEach((cloud, pane) => {
    const across = !two || rows === 2 ? [0, 1] : [[0, 0.49], [0.51, 1]][pane];
    const down = rows === 1 ? [0, 1] : [[0.54, 1], [0, 0.46]][pane], end = pane ? "2" : "";
    found[`xaxis${end}`] = {...AXIS, range: cloud.ranges[0], domain: across, anchor: `y${end}`,
      title: {text: cloud.verdict, font: {size: 11, color: "#666"}, standoff: 6}};
    found[`yaxis${end}`] = {...AXIS, range: cloud.ranges[1], domain: down, anchor: `x${end}`};
    found.annotations.push({text: cloud.headline, x: across[0], y: down[1], xref: "paper", yref: "paper",
      xanchor: "left", yanchor: "bottom", showarrow: false, font: {size: 12}});
  });
  return found;
}

function ring(image) {
  const shapes = [];
  clouds.forEach((cloud, pane) => {
    const place = cloud.place.get(image);
    if (place === undefined) return;
    const {x, y} = pointsOf(cloud), end = pane ? "2" : "", where = {xref: `x${end}`, yref: `y${end}`};
    const [wide, high] = [`xaxis${end}`, `yaxis${end}`].map(name => plot._fullLayout[name])
      .map(axis => RING * Math.abs(axis.range[1] - axis.range[0]) / axis._length);
    const lines = cloud.neighbours[place].map(near => `M${x[place]},${y[place]}L${x[near]},${y[near]}`).join("");
    if (lines) shapes.push({...where, type: "path", path: lines, line: {color: "#000", width: 1}, opacity: 0.6});
    shapes.push({...where, type: "circle", x0: x[place] - wide, x1: x[place] + wide, y0: y[place] - high,
      y1: y[place] + high, line: {color: "#000", width: 2}});
  });
  Plotly.relayout(plot, {shapes});
}

// ---- the card of one image

function show(image) {
  const cloud = clouds.find(one => one.place.has(image)), place = cloud.place.get(image), name = labelOf(cloud, place);
  const said = make("div", "", make("h4", "", bdi(name)), make("div", "mixlab-soft", `${{test: "test", val: "validation"}[DATA.split]} image ${SHEET.numbers[image]}`));
  const card = make("div", "mixlab-card", make("div", "mixlab-head", picture(image, 128, false, name), said));
  for (const one of clouds) if (one.place.has(image)) card.append(opinion(one, one.place.get(image)));
  card.dataset.image = SHEET.numbers[image];
  element("card").replaceChildren(card);
  ring(image);
}

function opinion(cloud, place) {
  const section = make("section");
  if (clouds.length > 1) section.append(make("div", "mixlab-soft", bdi(cloud.name)));
  if (cloud.predictions) {
    const wrong = cloud.wrong && cloud.wrong[place], sign = cloud.wrong ? (wrong ? " ✗" : " ✓") : "";
    section.append(make("div", "", "kNN says ",
      make("b", wrong ? "mixlab-wrong" : "", bdi(classes[cloud.predictions[place]]), sign)));
  }
  if (cloud.purity) section.append(make("div", "", `${cloud.purity[place]} % of its ${cloud.k} nearest share its label`));
  const strip = make("div", "mixlab-strip");
  for (const near of cloud.neighbours[place]) {
    const name = labelOf(cloud, near), wrong = cloud.labels && cloud.labels[near] !== cloud.labels[place];
    strip.append(make("figure", "", picture(cloud.images[near], 48, wrong, name),
      make("figcaption", "", bdi(cloud.labels ? name : ""))));
  }
  section.append(make("div", "mixlab-soft", "nearest in feature space"), strip);
  return section;
}

// ---- the sheet of many

function choose(pane, places) {
  const cloud = clouds[pane];
  state.chosen = places.length ? new Set(places.map(place => cloud.images[place])) : null;
  element("sheet").replaceChildren(...(places.length ? [sheetOf(cloud, places)] : []));
  const at = positions();
  Plotly.restyle(plot, {selectedpoints: at.selectedpoints});
}

function sheetOf(cloud, places) {
  const ordered = cloud.labels ? [...places].sort((a, b) => cloud.labels[a] - cloud.labels[b] || a - b) : places;
  const count = Math.min(SHOWN, ordered.length), grid = make("div", "mixlab-grid");
  for (let i = 0; i < count; i++) {
    const place = ordered[count > 1 ? Math.round(i * (ordered.length - 1) / (count - 1)) : 0];
    const said = cloud.predictions ? `, kNN says ${classes[cloud.predictions[place]]}` : "";
    const tile = picture(cloud.images[place], 42, cloud.wrong && cloud.wrong[place], labelOf(cloud, place) + said);
    tile.addEventListener("mouseenter", () => show(cloud.images[place]));
    grid.append(tile);
  }
  const bars = make("div", "mixlab-bars", counts(cloud, places, count), ...(cloud.labels ? histogram(cloud, places) : []));
  const sheet = make("div", "mixlab-sheet", bars, grid);
  sheet.dataset.count = places.length;
  return sheet;
}

function counts(cloud, places, shown) {
  const said = make("p", "", make("b", "", `${places.length.toLocaleString("en")} images`), `, ${shown} shown`);
  for (const one of clouds) {
    const found = places.map(place => one.place.get(cloud.images[place])).filter(place => place !== undefined);
    if (!one.wrong || !found.length) continue;
    const share = Math.round(100 * found.filter(place => one.wrong[place]).length / found.length);
    said.append(make("div", "", `${share} % mistaken `, make("span", "mixlab-soft", bdi(clouds.length > 1 ? one.name : ""))));
  }
  const numbers = places.map(place => SHEET.numbers[cloud.images[place]]).sort((a, b) => a - b), link = make("a", "", "save their numbers");
  link.download = "selection.json";
  link.href = `data:application/json,${encodeURIComponent(JSON.stringify({run: cloud.run, dataset: DATA.dataset, split: DATA.split, index: numbers}))}`;
  said.append(link);
  return said;
}

function histogram(cloud, places) {
  const tally = new Map();
  for (const place of places) tally.set(cloud.labels[place], (tally.get(cloud.labels[place]) || 0) + 1);
  const order = [...tally].sort((a, b) => b[1] - a[1] || a[0] - b[0]);
  const rows = order.slice(0, BARS).map(([c, count]) =>
    [classes[c], count, classes.length <= most ? palette[c % palette.length] : DATA.grey]);
  const rest = order.slice(BARS);
  if (rest.length) rows.push([`${rest.length} more`, rest.reduce((sum, row) => sum + row[1], 0), DATA.grey]);
  const longest = Math.max(...rows.map(row => row[1]));
  return rows.map(([name, count, colour]) => {
    const bar = make("i");
    bar.style.width = `${Math.round(130 * count / longest)}px`;
    bar.style.background = colour;
    return make("div", "", make("span", "", bdi(name)), bar, make("span", "", count.toLocaleString("en")));
  });
}

// ---- what a person does

function listen() {
  plot.on("plotly_hover", ({points: [point]}) => {
    const [pane, slot] = whose(point.curveNumber);
    show(clouds[pane].images[state.members[pane][slot][point.pointNumber]]);
  });
  plot.on("plotly_selected", event => {
    if (!event || !(event.range || event.lassoPoints)) return;  // not a person's doing, but the loop that was taken away
    const by = clouds.map(() => []);
    for (const point of event.points) {
      const [pane, slot] = whose(point.curveNumber);
      by[pane].push(state.members[pane][slot][point.pointNumber]);
    }
    const pane = by.length > 1 && by[1].length > by[0].length ? 1 : 0;
    setTimeout(() => Plotly.relayout(plot, {selections: []}).then(() => choose(pane, by[pane])), 0);
  });
  plot.on("plotly_deselect", () => choose(0, []));
}

function whose(curve) {
  const slots = state.members[0].length;
  return [Math.floor(curve / slots), curve % slots];
}

function offer(select, names, chosen) {
  names.forEach((name, value) => {
    const option = make("option", "", name);
    option.value = value;
    option.selected = chosen.includes(value);
    select.append(option);
  });
}

function step(epoch) {
  state.epoch = element("epoch").value = epoch;
  element("when").textContent = `epoch ${epochs[epoch]}`;
  element("aside").textContent = epoch === epochs.length - 1 ? "" : `colours, neighbours and quality of epoch ${epochs.at(-1)}`;
  const at = positions();
  Plotly.update(plot, {x: at.x, y: at.y}, {shapes: []});
}

function play() {
  if (state.timer) return stop();
  if (state.epoch === epochs.length - 1) step(0);
  element("play").textContent = "❚❚ pause";
  state.timer = setInterval(() => state.epoch < epochs.length - 1 ? step(state.epoch + 1) : stop(), STEP);
}

function stop() {
  clearInterval(state.timer);
  state.timer = null;
  element("play").textContent = "▶ play";
}

function controls() {
  offer(element("colour"), titles, [0]);
  element("colour").onchange = event => { state.title = titles[event.target.value]; draw(); };
  element("only").disabled = clouds.some(cloud => !cloud.wrong);
  element("only").onchange = event => { state.only = event.target.checked; draw(); };
  element("player").hidden = epochs.length < 2;
  [element("epoch").max, element("epoch").value] = [epochs.length - 1, state.epoch];
  element("epoch").oninput = event => { stop(); step(Number(event.target.value)); };
  element("play").onclick = play;
  element("when").textContent = `epoch ${epochs.at(-1)}`;
  element("classes").hidden = classes.length <= most;
  offer(element("picked"), classes, state.picked);
  element("picked").onchange = event => {
    state.picked = [...event.target.selectedOptions].map(option => Number(option.value));
    draw();
  };
}

let rowsNow = window.innerWidth < NARROW;
window.addEventListener("resize", () => {
  if (clouds.length > 1 && rowsNow !== window.innerWidth < NARROW) draw();
  rowsNow = window.innerWidth < NARROW;
});
sprite.src = SHEET.source;
sprite.decode().then(() => {
  controls();
  return draw();
}).then(() => {
  listen();
  document.body.dataset.ready = "yes";
});
