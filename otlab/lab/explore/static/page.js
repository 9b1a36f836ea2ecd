/* In a built page: every state is at hand. */
import { expand } from "./arrays.js";
import { build } from "./figure.js";

/** In a built page: every state is at hand; draw the newest once per frame of the screen. */
export async function mount(root) {
  const data = root.querySelector("script.otlab-data");
  if (!data || root.dataset.mounted || typeof DecompressionStream === "undefined") return;
  root.dataset.mounted = "1";
  const spec = JSON.parse(data.textContent);
  const { header, block } = await expand(spec.data);
  data.remove();
  const sizes = spec.controls.map((c) => c.texts.length);
  const state = (index) => header.states[index.reduce((sum, i, k) => sum * sizes[k] + i, 0)];
  let wanted = null;
  const figure = build(root, spec, (index, started) => {
    const idle = wanted === null;
    wanted = { index, started: idle ? started : wanted.started };
    if (!idle) return;
    requestAnimationFrame(() => {
      const { index: at, started: since } = wanted;
      wanted = null;
      figure.show(state(at), block, at, since);
    });
  });
  root.insertBefore(figure.app, root.querySelector("img.otlab-still"));
  root.classList.add("ox-on");
  const start = spec.controls.map((c) => c.start);
  figure.show(state(start), block, start);
}

export function boot() {
  document.querySelectorAll("figure.otlab-explore").forEach((root) =>
    mount(root).catch((problem) => console.error("otlab explore:", problem))
  );
}

if (typeof document !== "undefined" && document.currentScript) {
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", boot);
  else boot();
}
