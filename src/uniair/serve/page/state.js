// What the page knows. One object; whoever changes it says what, and whoever shows it listens.

export const state = {
  site: null, // GET /site
  original: [], // buildings as the site has them
  buildings: [], // buildings that the zero-shot model is told of
  history: [], // earlier `buildings`, for undo
  links: null, // GET /site/links of the chosen station
  station: 0,
  link: 0,
  building: null, // id of the selected one
  layer: "los",
  overlay: true,
  answers: {}, // of the chosen link: detail, believed, likelihood, and by the name of each task
  busy: false,
};

const listeners = [];

/** Calls `listener(changed)` after each update, with the set of keys that it touched. */
export function listen(listener) {
  listeners.push(listener);
}

export function update(changes) {
  Object.assign(state, changes);
  const changed = new Set(Object.keys(changes));
  for (const listener of listeners) listener(changed);
}

export const edited = () => state.buildings !== state.original;
export const station = () => state.site.stations[state.station];
export const user = () => state.links.ue[state.link];

/** Whether a task's head reads map and positions, or else the channel; null where the site has no such head. */
export function reads(task) {
  const inputs = state.site.tasks[task]?.inputs ?? [];
  return inputs.includes("environment") ? "environment" : (inputs[0] ?? null);
}
