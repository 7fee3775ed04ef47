// The map that the zero-shot model is told of: move, delete, undo, reset.

import { edited, state, update, user } from "./state.js";

const TOGETHER = 800; // ms: moves of one building that follow so closely are undone together

let last = { id: null, time: 0 };

/** Moves a building by (dx, dy) metres, as far as it stays on the map. */
export function move(id, dx, dy) {
  const building = find(id);
  const xs = building.outline.map(([x]) => x);
  const ys = building.outline.map(([, y]) => y);
  dx = within(dx, -Math.min(...xs), state.site.size - Math.max(...xs));
  dy = within(dy, -Math.min(...ys), state.site.size - Math.max(...ys));
  if (!dx && !dy) return;
  const shift = (ring) => ring.map(([x, y]) => [x + dx, y + dy]);
  const moved = { ...building, outline: shift(building.outline), holes: building.holes.map(shift) };
  const goesOn = last.id === id && performance.now() - last.time < TOGETHER;
  change(state.buildings.map((one) => (one.id === id ? moved : one)), goesOn);
  last = { id, time: performance.now() };
}

export function remove(id) {
  change(state.buildings.filter((one) => one.id !== id));
  update({ building: null });
}

export function undo() {
  if (!state.history.length) return;
  const buildings = state.history.at(-1);
  const there = buildings.some((one) => one.id === state.building);
  last = { id: null, time: 0 };
  update({ buildings, history: state.history.slice(0, -1), building: there ? state.building : null });
}

export function reset() {
  if (edited()) change(state.original);
}

/** The map as requests name it: nothing where it is the site's own. */
export const believed = () => (edited() ? { buildings: state.buildings.map(plain) } : {});

/** A building as the API takes it. */
const plain = ({ id, outline, holes, height }) => ({ id, outline, holes, height });

/** Selects the next building outwards from the user (or back, with −1). */
export function selectNext(way) {
  const [ux, uy] = user();
  // by where they were at first, so that the order stays while one is moved
  const order = state.original
    .filter((one) => find(one.id))
    .map((one) => [Math.hypot(middle(one)[0] - ux, middle(one)[1] - uy), one.id])
    .sort((a, b) => a[0] - b[0])
    .map(([, id]) => id);
  if (!order.length) return;
  const here = order.indexOf(state.building);
  const next = here < 0 ? (way > 0 ? 0 : order.length - 1) : (here + way + order.length) % order.length;
  update({ building: order[next] });
}

/** The building under a point, the topmost first; undefined on open ground. */
export const at = (x, y) =>
  state.buildings.findLast((one) => [one.outline, ...one.holes].filter((ring) => inside(ring, x, y)).length === 1);

export const find = (id) => state.buildings.find((one) => one.id === id);

export function middle({ outline }) {
  const sum = outline.reduce(([sx, sy], [x, y]) => [sx + x, sy + y], [0, 0]);
  return [sum[0] / outline.length, sum[1] / outline.length];
}

/** Ids that were moved or deleted, in words. */
export function summary() {
  const first = new Map(state.original.map((one) => [one.id, one]));
  const moved = state.buildings.filter((one) => first.get(one.id) !== one).length;
  const deleted = state.original.length - state.buildings.length;
  return [moved && `${moved} moved`, deleted && `${deleted} deleted`].filter(Boolean).join(", ");
}

function change(buildings, goesOn = false) {
  const history = goesOn ? state.history : [...state.history, state.buildings];
  last = { id: null, time: 0 };
  update({ buildings, history });
}

const within = (value, low, high) => Math.min(Math.max(value, Math.min(low, 0)), Math.max(high, 0));

function inside(ring, x, y) {
  let odd = false;
  for (let i = 0, j = ring.length - 1; i < ring.length; j = i++) {
    const [xi, yi] = ring[i];
    const [xj, yj] = ring[j];
    if (yi > y !== yj > y && x < ((xj - xi) * (y - yi)) / (yj - yi) + xi) odd = !odd;
  }
  return odd;
}
