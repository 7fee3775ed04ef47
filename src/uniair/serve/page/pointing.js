// Mouse, touch and keyboard on the map: choose and move the user, choose, move and delete buildings.

import * as buildings from "./buildings.js";
import { view } from "./map.js";
import { planned, state, update, user } from "./state.js";

const GRIP = 4; // px that a press must move before it drags a building
const NEAR = 22; // px around the user that count as touching it
const LEAPS = { user: 10, building: 5 }; // m of an arrow key with shift

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };

export function listenTo(canvas) {
  let drag = null; // { building, x, y, from, moved } in metres and pixels

  const place = (event) => {
    const box = canvas.getBoundingClientRect();
    return view(canvas).metres(event.clientX - box.left, event.clientY - box.top);
  };

  const onUser = (x, y) => Math.hypot(x - user()[0], y - user()[1]) * view(canvas).scale < NEAR;

  /** What a finger may drag; anywhere else it scrolls the page, as on any page. */
  const held = (x, y) => onUser(x, y) || (state.building !== null && buildings.at(x, y)?.id === state.building);

  const press = (event) => {
    const [x, y] = place(event);
    // the user may stand beside a wall: whoever presses on its mark means it
    const building = onUser(x, y) ? undefined : movable(x, y);
    if (building) update({ building: building.id });
    else choose(nearest(x, y));
    return { building: building?.id, x, y, from: [event.clientX, event.clientY], moved: false };
  };

  canvas.addEventListener("pointerdown", (event) => {
    if (!state.links || event.button) return;
    if (event.pointerType === "touch" && !held(...place(event))) return;
    drag = press(event);
    canvas.setPointerCapture(event.pointerId);
  });

  // a tap that scrolled nothing
  canvas.addEventListener("click", (event) => {
    if (state.links && event.pointerType === "touch") press(event);
  });

  canvas.addEventListener("pointermove", (event) => {
    if (!state.links) return;
    const [x, y] = place(event);
    update({ hover: [x, y] });
    if (!drag) {
      canvas.classList.toggle("grab", !onUser(x, y) && movable(x, y) !== undefined);
      return;
    }
    drag.moved ||= Math.hypot(event.clientX - drag.from[0], event.clientY - drag.from[1]) > GRIP;
    if (!drag.moved) return;
    if (drag.building === undefined) {
      choose(nearest(x, y));
    } else {
      buildings.move(drag.building, x - drag.x, y - drag.y);
      Object.assign(drag, { x, y });
    }
  });

  canvas.addEventListener("pointerleave", () => update({ hover: null }));

  for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => (drag = null));

  canvas.addEventListener(
    "touchstart",
    (event) => {
      if (state.links && held(...place(event.touches[0]))) event.preventDefault();
    },
    { passive: false },
  );

  canvas.addEventListener("keydown", (event) => {
    if (!state.links || event.altKey) return;
    if (event.ctrlKey || event.metaKey) {
      if (event.key.toLowerCase() !== "z" || planned()) return;
      buildings.undo();
    } else if (event.key in ARROWS) {
      arrow(...ARROWS[event.key], event.shiftKey);
    } else if (event.key.toLowerCase() === "b" && !planned()) {
      buildings.selectNext(event.shiftKey ? -1 : 1);
    } else if (["Delete", "Backspace"].includes(event.key) && state.building !== null) {
      buildings.remove(state.building);
    } else if (event.key === "Escape" && state.building !== null) {
      update({ building: null });
    } else {
      return;
    }
    event.preventDefault();
  });
}

function arrow(dx, dy, far) {
  if (state.building !== null) {
    const step = far ? LEAPS.building : 1;
    buildings.move(state.building, dx * step, dy * step);
  } else {
    const next = neighbour(dx, dy, far ? LEAPS.user : 0);
    if (next !== undefined) choose(next);
  }
}

/** The building at a point, where there is a model that believes in it. */
const movable = (x, y) => (planned() ? undefined : buildings.at(x, y));

function choose(link) {
  if (link !== state.link || state.building !== null) update({ link, building: null });
}

/** The link whose user is nearest to a point. */
function nearest(x, y) {
  return least((ux, uy) => Math.hypot(ux - x, uy - y));
}

/** The next user in a direction: at least `far` metres on, the nearer and the straighter the better. */
function neighbour(dx, dy, far) {
  const [x, y] = user();
  return least((ux, uy) => {
    const ahead = (ux - x) * dx + (uy - y) * dy;
    const aside = Math.abs((ux - x) * dy) + Math.abs((uy - y) * dx);
    return ahead > 0.01 && ahead >= far && aside <= ahead ? ahead + 2 * aside : Infinity;
  });
}

function least(distance) {
  let [found, best] = [undefined, Infinity];
  state.links.ue.forEach(([x, y], i) => {
    const d = distance(x, y);
    if (d < best) [found, best] = [i, d];
  });
  return found;
}
