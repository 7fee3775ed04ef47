// Export buttons: files for a GIS, one by one or all in a zip.

import { download } from "./api.js";
import { element } from "./layers.js";

/** `attempt` runs what may fail and shows how. */
export function offerFiles(group, names, attempt) {
  const all = button("All files (.zip)", "coverage/export", "coverage.zip", attempt);
  group.replaceChildren(all, ...names.map((name) => button(name, `coverage/export/${name}`, name, attempt)));
}

function button(text, path, name, attempt) {
  const made = Object.assign(element("button", "", text), { type: "button" });
  made.addEventListener("click", () =>
    attempt(async () => {
      made.disabled = true;
      try {
        save(await download(path), name);
      } finally {
        made.disabled = false;
      }
    }),
  );
  return made;
}

function save(data, name) {
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(data), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
