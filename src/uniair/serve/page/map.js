// Draws the site: ground, streets, cells, beams, likelihood, buildings, users, rays, stations. Metres in, pixels out.

import { chance } from "./answers.js";
import * as audit from "./audit.js";
import { find } from "./buildings.js";
import { drawCells, drawPeople } from "./coverage.js";
import { drawSpots } from "./drive.js";
import { named, placer } from "./labels.js";
import { channels, css, DEEPEST, layers } from "./layers.js";
import { cross, disc, label, stroke } from "./pens.js";
import { drawRays } from "./rays.js";
import { drawSectors } from "./sectors.js";
import { edited, planned, state, station, user } from "./state.js";
import { drawWhy } from "./why.js";

const WIDTHS = { major: 3.4, minor: 2, foot: 1 }; // px of a street
const LEAST = 0.08; // probability below which a beam is not drawn
const NORTH = -Math.PI / 2;

/** Where metres are on a canvas, in CSS pixels: x east, y north. */
export function view(canvas) {
  const side = canvas.clientWidth;
  const scale = side / state.site.size;
  return {
    scale,
    side,
    x: (metres) => metres * scale,
    y: (metres) => side - metres * scale,
    metres: (x, y) => [x / scale, (side - y) / scale],
  };
}

export function draw(canvas) {
  const sharp = window.devicePixelRatio || 1;
  const pixels = Math.round(canvas.clientWidth * sharp);
  if (canvas.width !== pixels) canvas.width = canvas.height = pixels;
  const pen = canvas.getContext("2d");
  const at = view(canvas);
  pen.setTransform(sharp, 0, 0, sharp, 0, 0);
  pen.fillStyle = css("ground");
  pen.fillRect(0, 0, canvas.clientWidth, canvas.clientWidth);
  const layer = layers[state.layer];
  const audited = state.layer === "audit";
  const texts = placer(pen, at.side);
  drawStreets(pen, at, 1);
  drawCells(pen, at, layer);
  if (layer.cells) drawStreets(pen, at, 0.35); // what lies on them is what people ask about
  if (!planned()) drawBeams(pen, at);
  if (state.overlay && !layer.colour && !audited) drawLikelihood(pen, at);
  if (audited) audit.drawCells(pen, at);
  drawBuildings(pen, at, audited);
  const scale = bar(at);
  texts.taken.push(...scale.covers);
  if (planned()) drawSectors(pen, at, texts);
  if (!layer.colour) drawUsers(pen, at);
  else if (layer.prediction) drawSpots(pen, at, layer);
  else if (state.shown) drawPeople(pen, at, layer);
  drawRays(pen, at);
  if (planned()) {
    disc(pen, at.x(user()[0]), at.y(user()[1]), 7, css("user"), css("ground"));
  } else {
    drawWhy(pen, at);
    drawStations(pen, at, texts);
    drawMarks(pen, at);
    drawBeamLabels(pen, at);
    if (audited) audit.drawNumbers(pen, at);
  }
  for (const [name, line] of named(state.streets)) texts.along(name, line.map(([x, y]) => [at.x(x), at.y(y)]));
  texts.write();
  drawScale(pen, at, scale);
}

function drawStreets(pen, at, strength) {
  pen.globalAlpha = strength;
  pen.strokeStyle = css("street");
  pen.lineCap = pen.lineJoin = "round";
  for (const { kind, line } of state.streets) {
    pen.lineWidth = WIDTHS[kind] ?? 1.5;
    pen.beginPath();
    line.forEach(([x, y], i) => (i ? pen.lineTo(at.x(x), at.y(y)) : pen.moveTo(at.x(x), at.y(y))));
    pen.stroke();
  }
  pen.globalAlpha = 1;
}

function path(pen, at, { outline, holes }) {
  pen.beginPath();
  for (const ring of [outline, ...holes]) {
    ring.forEach(([x, y], i) => (i ? pen.lineTo(at.x(x), at.y(y)) : pen.moveTo(at.x(x), at.y(y))));
    pen.closePath();
  }
}

function drawBuildings(pen, at, audited) {
  const first = new Map(state.original.map((one) => [one.id, one]));
  if (edited()) {
    // where buildings stood that were moved or deleted
    pen.setLineDash([4, 3]);
    pen.lineWidth = 1;
    pen.strokeStyle = css("wall");
    for (const one of state.original) {
      if (find(one.id) === one) continue;
      path(pen, at, one);
      pen.stroke();
    }
    pen.setLineDash([]);
  }
  const tallest = Math.max(...state.original.map((one) => one.height));
  const [inside, wall, focus, changed] = ["building", "wall", "focus", "changed"].map(css);
  for (const one of state.buildings) {
    const chosen = one.id === state.building;
    path(pen, at, one);
    pen.fillStyle = inside;
    pen.fill("evenodd");
    pen.globalAlpha = 0.28 * (one.height / tallest); // the taller the darker
    pen.fillStyle = wall;
    pen.fill("evenodd");
    pen.globalAlpha = 1;
    const nats = audited ? audit.against(one.id) : undefined;
    if (nats !== undefined) {
      pen.fillStyle = audit.strength(nats);
      pen.fill("evenodd");
    }
    pen.lineWidth = chosen || nats !== undefined ? 2.5 : 0.8;
    pen.strokeStyle = chosen ? focus : nats !== undefined ? css("ink") : first.get(one.id) === one ? wall : changed;
    pen.stroke();
  }
}

function drawUsers(pen, at) {
  const colours = layers[state.layer].colours(state.links);
  const faint = state.overlay && state.answers.likelihood;
  const radius = Math.min(Math.max(at.scale * 0.7, 1.2), 2.6) * (faint ? 0.8 : 1);
  pen.globalAlpha = faint ? 0.55 : 0.9;
  colours.forEach((colour, i) => {
    const [x, y] = state.links.ue[i];
    pen.fillStyle = colour;
    pen.beginPath();
    pen.arc(at.x(x), at.y(y), radius, 0, 2 * Math.PI);
    pen.fill();
  });
  pen.globalAlpha = 1;
}

/** Beams that the model finds likely, each as strong as it is likely, on both sides of the array's axis. */
function drawBeams(pen, at) {
  const answer = state.answers.beam?.answers?.[0];
  if (!answer) return;
  const { x, y, bearing } = station();
  const reach = 1.5 * state.site.size;
  const fade = pen.createRadialGradient(at.x(x), at.y(y), 0, at.x(x), at.y(y), at.scale * reach);
  fade.addColorStop(0, css("beam"));
  fade.addColorStop(1, `${css("beam")}18`);
  pen.fillStyle = fade;
  const { cosines } = station().beams;
  const half = width(cosines) / 2;
  answer.probabilities.forEach((probability, beam) => {
    if (probability < LEAST) return;
    pen.globalAlpha = 0.06 + 0.75 * probability;
    for (const [from, to] of sectors(cosines[beam], half)) {
      pen.beginPath();
      pen.moveTo(at.x(x), at.y(y));
      // canvas angles run clockwise
      pen.arc(at.x(x), at.y(y), at.scale * reach, -(bearing + from), -(bearing + to), true);
      pen.fill();
    }
  });
  pen.globalAlpha = 1;
}

/** How likely the likeliest beam is, where its two sides leave the map. */
function drawBeamLabels(pen, at) {
  const answer = state.answers.beam?.answers?.[0];
  if (!answer) return;
  const { x, y } = station();
  for (const azimuth of answer.azimuths_rad) {
    const [east, north] = [Math.cos(azimuth), Math.sin(azimuth)];
    const edge = (from, way) => ((way > 0 ? state.site.size : 0) - from) / (way || 1e-9); // m
    const far = Math.max(Math.min(edge(x, east), edge(y, north)) - 36 / at.scale, 0);
    label(pen, chance(answer.probability), at.x(x + far * east), at.y(y + far * north) + 4, true);
  }
}

/** Azimuths from the array's axis, [from, to] rad, that are nearer to a direction cosine than to the next beams'. */
function sectors(middle, half) {
  const angle = (c) => Math.acos(Math.min(Math.max(c, -1), 1));
  const near = angle(middle + half);
  const far = angle(middle - half);
  if (middle - half > -1) return [[near, far], [-far, -near]]; // front and back
  // the beam along the array looks both ways
  const open = angle(1 - half);
  return [[near, 2 * Math.PI - near], [-open, open]];
}

/** Between the direction cosines of one beam and the next. */
function width(cosines) {
  const sorted = [...new Set(cosines)].sort((a, b) => a - b);
  const gaps = sorted.slice(1).map((cosine, i) => cosine - sorted[i]).filter((gap) => gap > 1e-3);
  return gaps.length ? Math.min(...gaps) : 2;
}

let tile = { of: null, dark: null, canvas: null };

function drawLikelihood(pen, at) {
  const { likelihood } = state.answers;
  if (!likelihood) return;
  const colour = css("likely-high");
  if (tile.of !== likelihood || tile.dark !== colour) {
    tile = { of: likelihood, dark: colour, canvas: paint(likelihood.log10) };
  }
  const step = likelihood.x.length > 1 ? likelihood.x[1] - likelihood.x[0] : state.site.size;
  const side = likelihood.x.length * step * at.scale;
  pen.imageSmoothingEnabled = false; // a cell is a cell
  pen.globalAlpha = state.opacity;
  pen.drawImage(tile.canvas, 0, at.y(likelihood.y.length * step), side, side);
  pen.globalAlpha = 1;
}

function paint(log10) {
  const canvas = document.createElement("canvas");
  canvas.height = log10.length;
  canvas.width = log10[0].length;
  const pen = canvas.getContext("2d");
  const image = pen.createImageData(canvas.width, canvas.height);
  const [low, high] = [css("likely-low"), css("likely-high")].map(channels);
  log10.forEach((row, j) =>
    row.forEach((value, i) => {
      if (value === null || value < DEEPEST) return;
      const t = 1 - value / DEEPEST;
      const place = 4 * ((canvas.height - 1 - j) * canvas.width + i);
      for (let k = 0; k < 3; k++) image.data[place + k] = low[k] + (high[k] - low[k]) * t;
      image.data[place + 3] = 255 * Math.min(0.9, 0.12 + 0.9 * t);
    }),
  );
  pen.putImageData(image, 0, 0);
  return canvas;
}

function drawStations(pen, at, texts) {
  pen.lineCap = "round";
  state.site.stations.forEach(({ name, x, y, bearing }, i) => {
    const chosen = i === state.station;
    const [px, py] = [at.x(x), at.y(y)];
    pen.globalAlpha = chosen ? 1 : 0.65;
    const along = [Math.cos(bearing), -Math.sin(bearing)].map((part) => part * (chosen ? 15 : 10));
    for (const [width, colour] of [[6, css("ground")], [3, css("station")]]) {
      pen.lineWidth = width;
      pen.strokeStyle = colour;
      pen.beginPath();
      pen.moveTo(px - along[0], py - along[1]);
      pen.lineTo(px + along[0], py + along[1]);
      pen.stroke();
    }
    disc(pen, px, py, chosen ? 6 : 4.5, css("station"), css("ground"));
    pen.globalAlpha = 1;
    texts.keep(px, py, 8);
  });
  state.site.stations.forEach(({ name, x, y }, i) => texts.put(name, at.x(x), at.y(y) - 18, i === state.station));
}

/** The chosen user, where the head says it stands, and the likeliest cell. */
function drawMarks(pen, at) {
  const [ux, uy] = user();
  const [px, py] = [at.x(ux), at.y(uy)];
  const said = state.answers.position?.answers?.[0];
  const best = state.overlay && state.answers.likelihood?.best;
  pen.lineWidth = 2;
  if (best) {
    const [bx, by] = [at.x(best[0]), at.y(best[1])];
    stroke(pen, css("ground"), css("likely-high"), () => {
      pen.moveTo(bx, by - 11);
      pen.lineTo(bx + 11, by);
      pen.lineTo(bx, by + 11);
      pen.lineTo(bx - 11, by);
      pen.closePath();
    });
  }
  if (said) {
    const [sx, sy] = [at.x(said.x_m), at.y(said.y_m)];
    pen.setLineDash([3, 4]);
    stroke(pen, css("ground"), css("user"), () => {
      pen.moveTo(px, py);
      pen.lineTo(sx, sy);
    });
    pen.setLineDash([]);
    stroke(pen, css("ground"), css("user"), () => cross(pen, sx, sy, 6));
  }
  disc(pen, px, py, 7, css("user"), css("ground"));
}

/** A bar of a round number of metres in the south-west: how long it is, and what it and north cover. */
function bar({ side, scale }) {
  const target = side / 5 / scale;
  const power = 10 ** Math.floor(Math.log10(target));
  const metres = power * ([5, 2, 1].find((n) => n * power <= target) ?? 1);
  const [width, top] = [metres * scale, side - 40];
  const covers = [{ x0: 0, y0: top, x1: width + 24, y1: side }, { x0: side - 34, y0: 0, x1: side, y1: 42 }];
  return { metres, width, covers };
}

function drawScale(pen, { side }, { metres, width }) {
  const [x, y] = [12, side - 14];
  stroke(pen, css("ground"), css("ink"), () => {
    pen.moveTo(x, y - 5);
    pen.lineTo(x, y);
    pen.lineTo(x + width, y);
    pen.lineTo(x + width, y - 5);
  });
  label(pen, `${metres} m`, x + width / 2, y - 6, false);
  const [nx, ny] = [side - 18, 34];
  stroke(pen, css("ground"), css("ink"), () => {
    pen.moveTo(nx, ny);
    for (const turn of [-2.6, 0, 2.6]) {
      const from = NORTH + turn;
      const length = turn ? 7 : 0;
      pen.moveTo(nx, ny - 14);
      pen.lineTo(nx + length * Math.cos(from), ny - 14 + length * Math.sin(from));
    }
    pen.moveTo(nx, ny);
    pen.lineTo(nx, ny - 14);
  });
  label(pen, "N", nx, ny - 19, false);
}
