/* The figure in the page: panels, read-outs and controls around one state. */
import { isDark, readTheme } from "./theme.js";
import { element } from "./words.js";
import { FONT, labelSpace } from "./axes.js";
import { naturalHeight, drawPanel } from "./panels.js";
import { legend } from "./legend.js";
import { dial, textReadout } from "./readouts.js";
import { rangeControl, choiceControl } from "./controls.js";

const GAP = 20; // between panels, as in the style sheet
const LEAD = 1.45; // how much wider the first of three panels is in a column of text
const KEYS = ["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "Home", "End", "PageUp", "PageDown", "Enter", " "];

/** The figure in the page. `ask(index, started)` is called when a control has moved. */
export function build(root, spec, ask) {
  const app = element("div", "ox-app");
  const readouts = element("div", "ox-readouts"), error = element("p", "ox-error");
  const panels = element("div", "ox-panels"), controls = element("div", "ox-controls");
  const say = element("p", "ox-unseen"), busy = element("span", "ox-busy");
  error.setAttribute("role", "alert");
  error.hidden = true;
  say.setAttribute("aria-live", "polite");
  busy.setAttribute("aria-hidden", "true");
  controls.setAttribute("role", "group");
  controls.setAttribute("aria-label", spec.title ? `Controls: ${spec.title}` : "Controls");
  const index = spec.controls.map((c) => c.start);
  const parts = spec.controls.map((control, k) => {
    const make = control.kind === "choice" ? choiceControl : rangeControl;
    return make(control, (i) => move(k, i));
  });
  const reset = element("button", "ox-reset", "Reset");
  reset.type = "button";
  reset.addEventListener("click", () => {
    spec.controls.forEach((control, k) => (index[k] = control.start));
    changed();
  });
  const actions = element("div", "ox-actions");
  actions.append(busy, reset);
  controls.append(...parts.map((part) => part.node), actions);
  app.append(readouts, error, panels, say, controls);
  root.dataset.drawn = 0;
  root.setAttribute("data-lm-suppress-shortcuts", "true"); // JupyterLab: these keys are ours
  root.addEventListener("keydown", (event) => {
    if (KEYS.includes(event.key) && !event.ctrlKey && !event.metaKey && !event.altKey) event.stopPropagation();
  });

  let shown = null; // {state, block} on display
  let theme = null;
  let cells = [];
  let dials = [];
  let talk = 0;

  function move(k, i) {
    index[k] = i;
    changed();
  }

  function changed() {
    parts.forEach((part, k) => part.show(index[k]));
    reset.disabled = spec.controls.every((control, k) => control.start === index[k]);
    ask(index.slice(), performance.now());
  }

  function fit(state) {
    if (cells.length !== state.panels.length) {
      cells = state.panels.map(() => {
        const node = element("div", "ox-panel"), title = element("div", "ox-panel-title");
        const key = element("div", "ox-legend"), canvas = element("canvas");
        canvas.setAttribute("role", "img");
        node.append(title, key, canvas);
        return { node, title, key, canvas };
      });
      panels.replaceChildren(...cells.map((cell) => cell.node));
    }
    if (dials.length !== state.readouts.length) {
      dials = state.readouts.map((r) => (r.kind === "dial" ? dial() : textReadout()));
      readouts.replaceChildren(...dials.map((d) => d.node));
    }
    readouts.hidden = !dials.length;
  }

  /** Panels in as few rows as leave each of them wide enough, evenly filled. */
  function columns(count, width) {
    const most = Math.max(1, Math.min(4, Math.floor((width + GAP) / (200 + GAP))));
    return Math.ceil(count / Math.ceil(count / most));
  }

  function draw() {
    if (!shown) return;
    const { state, block } = shown;
    const width = app.clientWidth;
    if (!width) return;
    theme = theme || readTheme(root);
    fit(state);
    const lead = state.panels.length === 3 && width >= 480 && width < 780;
    const across = lead ? 2 : columns(state.panels.length, width);
    app.classList.toggle("ox-stacked", width < 480);
    app.classList.toggle("ox-sticky", width < 480 && controls.offsetHeight < 0.36 * window.innerHeight);
    const shares = lead ? [LEAD, 1] : Array(across).fill(1);
    panels.style.gridTemplateColumns = shares.map((share) => `minmax(0, ${share}fr)`).join(" ");
    panels.classList.toggle("ox-lead", lead);
    panels.classList.toggle("ox-one", across === 1);
    state.readouts.forEach((r, k) => dials[k].update(r));
    const unit = (width - GAP * (across - 1)) / shares.reduce((a, b) => a + b);
    const wideOf = (i) => (across === 1 ? Math.min(620, unit) : lead && i === 0 ? LEAD * unit : unit);
    const heights = cells.map((cell, i) => {
      const wide = wideOf(i);
      const panel = state.panels[i];
      const ctx = cell.canvas.getContext("2d");
      ctx.font = `${FONT}px ${theme.font}`;
      cell.title.textContent = panel.title;
      cell.title.hidden = !panel.title;
      legend(cell.key, panel, panel.layout === "axes" && labelSpace(ctx, panel, wide) > 0, theme);
      cell.canvas.setAttribute("aria-label", panel.title || `Picture ${i + 1}`);
      const wish = naturalHeight(ctx, panel, wide);
      if (cell.wide !== wide) cell.tall = 0;
      cell.wide = wide;
      return (cell.tall = Math.max(wish, cell.tall)); // never shrink: what stands below stays put
    });
    if (lead) for (const i of [1, 2]) heights[i] = Math.min(heights[i], Math.max(190, (heights[0] - 64) / 2));
    for (let i = 0; i < cells.length; i++) {
      const row = lead ? [heights[i]] : heights.slice(i - (i % across), i - (i % across) + across);
      const stretch = state.panels[i].layout === "axes";
      const h = Math.round(stretch ? Math.max(heights[i], Math.min(460, Math.max(...row))) : heights[i]);
      drawPanel(cells[i].canvas, state.panels[i], block, wideOf(i), h, theme);
    }
  }

  function finish(started) {
    error.hidden = shown !== null;
    panels.classList.remove("ox-stale");
    if (started !== undefined) root.dataset.latency = (performance.now() - started).toFixed(1);
    root.dataset.drawn = Number(root.dataset.drawn) + 1;
  }

  function paint() {
    const dark = isDark();
    root.classList.toggle("ox-dark", dark);
    theme = readTheme(root);
    draw();
  }

  parts.forEach((part, k) => part.show(index[k]));
  reset.disabled = true;
  new ResizeObserver(() => draw()).observe(app);
  const watch = new MutationObserver(paint);
  watch.observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
  if (document.body) watch.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light"] });
  const system = window.matchMedia("(prefers-color-scheme: dark)");
  system.addEventListener("change", paint);
  root.classList.toggle("ox-dark", isDark());

  return {
    app,
    show(state, block, at, started) {
      const first = shown === null;
      shown = { state, block };
      draw();
      root.dataset.state = at.join(",");
      finish(started);
      clearTimeout(talk);
      if (!first) talk = setTimeout(() => (say.textContent = state.say), 350);
    },
    fail(sentence) {
      error.textContent = sentence;
      error.hidden = false;
      panels.classList.add("ox-stale");
      root.dataset.failed = Number(root.dataset.failed || 0) + 1;
    },
    wait(words) {
      busy.textContent = words;
      app.classList.toggle("ox-waiting", words !== "");
    },
    forget() {
      watch.disconnect();
      system.removeEventListener("change", paint);
      clearTimeout(talk);
    },
  };
}
