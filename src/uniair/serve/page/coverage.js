// The layers of coverage: what cells and users get, in the classes and colours that the server names.

import { get } from "./api.js";
import { css, element, mark, swatch } from "./layers.js";
import { cross } from "./pens.js";
import { state } from "./state.js";

const kept = new Map(); // maps by their address

/** Layers for `layers.js`, those of the coverage that is there. */
export function coverageLayers() {
  const out = { server: { label: "Best server", cells: "best", colour: (i) => server(state.people.best[i]), legend: servers } };
  for (const scale of state.coverage.layers) {
    out[scale.name] = {
      label: scale.title, cells: scale.name, legend: () => classes(scale), scale,
      colour: (i) => classed(scale, state.people[scale.name][i]),
    };
    if (scale.name === "rsrp" && state.recast) {
      out.rsrp_calibrated = {
        ...out.rsrp, label: "RSRP, calibrated", calibrated: true, colour: (i) => classed(scale, state.recast.rsrp[i]),
      };
    }
  }
  return out;
}

/** Users as a drive test calibrates what they get, of one sector where that is chosen; null where none does. */
export const readRecast = async (of = "") =>
  state.coverage?.drive_test?.calibrated ? get(`coverage/users?prediction=calibrated${of}`) : null;

const server = (number) => state.coverage.sectors[number]?.colour ?? null;

/** Colour of a value; null where there is none. */
const classed = ({ edges, colours }, value) => (value === null ? null : colours[edges.filter((edge) => value >= edge).length]);

/** The cells of a layer, of one sector where it may be, and who serves them; nothing where there is no map. */
export async function readCells(layer, sector) {
  if (!state.coverage?.cells || !layer?.cells) return {};
  const one = layer.cells === "rsrp" && sector !== null ? `&sector=${sector}` : "";
  const prediction = layer.calibrated ? "&prediction=calibrated" : "";
  const read = async (name, more) => {
    const path = `coverage/map?layer=${name}${more}${prediction}`;
    if (!kept.has(path)) kept.set(path, (await get(path)).values);
    return kept.get(path);
  };
  const [best, values] = await Promise.all([read("best", ""), read(layer.cells, one)]);
  return { best, values, layer: named(layer) };
}

/** Which map a layer shows. */
const named = (layer) => `${layer.cells}${layer.calibrated ? ", calibrated" : ""}`;

/** Row and column of the cell at a place. */
export function cellAt([x, y]) {
  const { side, corner, rows, columns } = state.coverage.cells;
  const [row, column] = [Math.floor((y - corner[1]) / side), Math.floor((x - corner[0]) / side)];
  return row >= 0 && column >= 0 && row < rows && column < columns ? [row, column] : null;
}

let tile = { of: null, sector: null, canvas: null };

/** The cells of the open ground; what no ray reaches is hatched, what another sector serves is faint. */
export function drawCells(pen, at, layer) {
  const { cells } = state;
  const grid = state.coverage?.cells;
  if (!grid || !layer.cells || cells.layer !== named(layer)) return;
  if (tile.of !== cells || tile.sector !== state.sector) {
    tile = { of: cells, sector: state.sector, canvas: paint(cells, layer) };
  }
  const [west, north] = [at.x(grid.corner[0]), at.y(grid.corner[1] + grid.side * grid.rows)];
  pen.globalAlpha = state.opacity;
  pen.imageSmoothingEnabled = false; // a cell is a cell
  pen.drawImage(tile.canvas, west, north, grid.side * grid.columns * at.scale, grid.side * grid.rows * at.scale);
  pen.fillStyle = hatching(pen);
  const size = grid.side * at.scale;
  cells.best.forEach((row, j) =>
    row.forEach((best, i) => {
      if (best === null || (best >= 0 && cells.values[j][i] !== null)) return;
      pen.fillRect(west + i * size, north + (grid.rows - 1 - j) * size, size, size);
    }),
  );
  pen.globalAlpha = 1;
}

function paint({ best, values }, layer) {
  const canvas = document.createElement("canvas");
  [canvas.height, canvas.width] = [best.length, best[0].length];
  const pen = canvas.getContext("2d");
  const filtered = state.sector !== null && layer.cells !== "rsrp";
  values.forEach((row, j) =>
    row.forEach((value, i) => {
      if (value === null || best[j][i] === null || best[j][i] < 0) return;
      pen.globalAlpha = filtered && best[j][i] !== state.sector ? 0.15 : 1;
      pen.fillStyle = layer.scale ? classed(layer.scale, value) : server(value);
      pen.fillRect(i, canvas.height - 1 - j, 1, 1);
    }),
  );
  return canvas;
}

function hatching(pen) {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 6;
  const lines = canvas.getContext("2d");
  lines.strokeStyle = css("wall");
  lines.lineWidth = 1.2;
  lines.beginPath();
  for (const x of [-6, 0, 6]) {
    lines.moveTo(x, 6);
    lines.lineTo(x + 6, 0);
  }
  lines.stroke();
  return pen.createPattern(canvas, "repeat");
}

/** Users as dots, inside buildings as squares; holes are ringed, and crossed where no path leads to. */
export function drawPeople(pen, at, layer) {
  const { ue, floor, best, rsrp } = layer.calibrated ? state.recast : state.people;
  const dense = ue.length > 800;
  const radius = Math.min(Math.max(at.scale * (dense ? 0.9 : 1.2), dense ? 1.8 : 2.6), 4.5);
  ue.forEach(([x, y], i) => {
    const [px, py] = [at.x(x), at.y(y)];
    const colour = layer.colour(i);
    pen.globalAlpha = state.sector === null || layer.cells === "rsrp" || best[i] === state.sector ? 1 : 0.25;
    pen.beginPath();
    if (colour === null || best[i] < 0) {
      cross(pen, px, py, radius);
      Object.assign(pen, { lineWidth: 1.8, strokeStyle: css("hole") });
    } else {
      if (floor[i] >= 0) pen.rect(px - radius, py - radius, 2 * radius, 2 * radius);
      else pen.arc(px, py, radius, 0, 2 * Math.PI);
      pen.fillStyle = colour;
      pen.fill();
      const hole = rsrp[i] < state.coverage.hole_dbm;
      Object.assign(pen, hole ? { lineWidth: 1.6, strokeStyle: css("hole") } : { lineWidth: dense ? 0.5 : 0.7, strokeStyle: css("ink") });
    }
    pen.stroke();
  });
  pen.globalAlpha = 1;
}

const SHOWN = 12; // sectors in the legend

function servers() {
  const { sectors } = state.coverage;
  const more = sectors.length - SHOWN;
  const parts = sectors.slice(0, SHOWN).map(({ sector, colour }) => swatch(colour, sector));
  return [...parts, ...(more > 0 ? [element("span", "", `and ${more} more`)] : [])];
}

const classes = ({ unit, colours, texts }) => [
  element("strong", "", unit), ...colours.map((colour, i) => swatch(colour, texts[i])),
];

/** What the marks on the map stand for. */
export function marks() {
  const { hole_dbm: hole, cells, users } = state.coverage;
  const parts = [mark("○", `hole: below ${`${hole}`.replace("-", "−")} dBm`, "hole"), mark("×", "hole: no path", "hole")];
  if (users.indoors) parts.push(mark("□", "inside a building", "ink"));
  if (cells) parts.push(mark("▨", "no ray came by", "wall"));
  return parts;
}

/** What is shown at a place: "K1-1, RSRP −85.2 dBm". */
export function valueAt(place, layer) {
  const cell = state.coverage?.cells && state.cells.best && cellAt(place);
  if (!cell || state.cells.layer !== named(layer)) return "";
  const [row, column] = cell;
  const [best, value] = [state.cells.best[row][column], state.cells.values[row][column]];
  if (best === null) return "building";
  if (best < 0 || value === null) return "no ray came by";
  const name = state.coverage.sectors[best].sector;
  if (!layer.scale) return name;
  const of = layer.cells === "rsrp" && state.sector !== null ? state.coverage.sectors[state.sector].sector : name;
  const what = layer.calibrated ? layer.label : layer.scale.title;
  return `${of}, ${what} ${value.toFixed(1).replace("-", "−")} ${layer.scale.unit}`;
}
