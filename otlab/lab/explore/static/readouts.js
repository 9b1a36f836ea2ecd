/* Read-outs: dials and texts. */
import { tidy, element } from "./words.js";
import { svg } from "./legend.js";

/** A gauge over half a circle, with a tick at the target. */
export function dial() {
  const node = element("div", "ox-readout ox-dial");
  const face = svg("svg", { viewBox: "0 0 84 47", width: 84, height: 47, "aria-hidden": "true" }, node);
  const arc = "M8 42A34 34 0 0 1 76 42";
  svg("path", { d: arc, class: "ox-dial-track" }, face);
  const fill = svg("path", { d: arc, class: "ox-dial-fill", pathLength: 100 }, face);
  const tick = svg("line", { class: "ox-dial-target", x1: 0, x2: 0, y1: -28, y2: -40 }, face);
  const hand = svg("circle", { class: "ox-dial-hand", cx: 0, cy: -34, r: 5 }, face);
  const body = element("div", "ox-readout-body");
  const name = element("span", "ox-name"), value = element("span", "ox-figure"), note = element("span", "ox-note");
  body.append(name, value, note);
  node.append(body);
  node.setAttribute("role", "meter");
  return {
    node,
    update(r) {
      const part = (v) => Math.max(0, Math.min(1, (v - r.low) / (r.high - r.low)));
      const turn = (v) => `translate(42 42) rotate(${180 * part(v) - 90})`;
      fill.setAttribute("stroke-dasharray", `${100 * part(r.value)} 200`);
      hand.setAttribute("transform", turn(r.value));
      tick.style.display = r.target === null ? "none" : "";
      if (r.target !== null) tick.setAttribute("transform", turn(r.target));
      name.textContent = r.name;
      value.textContent = r.text;
      note.textContent = r.target === null ? "" : "target " + tidy(r.target);
      const aria = { label: r.name, valuemin: r.low, valuemax: r.high, valuenow: r.value, valuetext: `${r.text} ${note.textContent}`.trim() };
      for (const [key, v] of Object.entries(aria)) node.setAttribute("aria-" + key, v);
    },
  };
}

export function textReadout() {
  const node = element("div", "ox-readout");
  const body = element("div", "ox-readout-body");
  const name = element("span", "ox-name"), text = element("span", "ox-words");
  body.append(name, text);
  node.append(body);
  return {
    node,
    update(r) {
      name.textContent = r.name;
      text.textContent = r.text;
    },
  };
}
