/* Sliders and choices. */
import { element } from "./words.js";

let counter = 0;
const prefix = `ox-${Math.random().toString(36).slice(2, 8)}`; // several copies may share a notebook

/** A native range input with its label and value. */
export function rangeControl(spec, moved) {
  const node = element("div", "ox-control");
  const id = `${prefix}-${++counter}`;
  const label = element("label", "ox-label", spec.label);
  label.htmlFor = id;
  const value = element("span", "ox-value");
  value.setAttribute("aria-hidden", "true");
  const head = element("div", "ox-head");
  head.append(label, value);
  const input = element("input", "ox-range");
  const last = spec.texts.length - 1;
  Object.assign(input, { type: "range", id, min: 0, max: last, step: 1, autocomplete: "off" });
  input.dataset.control = spec.name;
  node.append(head, input);
  if (last <= 24) {
    const ticks = element("div", "ox-ticks");
    ticks.setAttribute("aria-hidden", "true");
    for (let i = 0; i <= last; i++) ticks.append(element("i"));
    node.append(ticks);
  }
  const show = (i) => {
    if (Number(input.value) !== i) input.value = i;
    value.textContent = spec.texts[i];
    input.setAttribute("aria-valuetext", spec.texts[i]);
    input.style.setProperty("--at", last ? i / last : 0);
  };
  input.addEventListener("input", () => moved(Number(input.value)));
  return { node, show };
}

/** A few options as a row of radio buttons. */
export function choiceControl(spec, moved) {
  const broad = spec.texts.join("").length + 5 * spec.texts.length > 32 ? " ox-broad" : "";
  const node = element("fieldset", "ox-control ox-choice" + broad);
  node.append(element("legend", "ox-label", spec.label));
  const row = element("div", "ox-options");
  const name = `${prefix}-${++counter}`;
  const inputs = spec.texts.map((text, i) => {
    const label = element("label", "ox-option");
    const input = element("input");
    Object.assign(input, { type: "radio", name, value: i, autocomplete: "off" });
    input.dataset.control = spec.name;
    input.addEventListener("change", () => moved(i));
    label.append(input, element("span", "", text));
    row.append(label);
    return input;
  });
  node.append(row);
  return { node, show: (i) => (inputs[i].checked = true) };
}
