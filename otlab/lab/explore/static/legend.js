/* Legends and colour keys. */
import { mapOf, gradient } from "./colours.js";
import { SHAPES } from "./theme.js";
import { tidy, element } from "./words.js";

const SVG = "http://www.w3.org/2000/svg";

export function svg(tag, attributes, parent) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  if (parent) parent.appendChild(node);
  return node;
}

const GLYPHS = {
  circle: "M12.5 7a4.5 4.5 0 1 1-9 0a4.5 4.5 0 1 1 9 0z",
  triangle: "M8 1.8L13.2 11.2H2.8z",
  diamond: "M8 1.2L13 7L8 12.8L3 7z",
  square: "M4 3h8v8H4z",
  dot: "M11 7a3 3 0 1 1-6 0a3 3 0 1 1 6 0z",
};

/** A small picture of a mark, for the legend. */
function glyph(mark) {
  const node = svg("svg", { viewBox: "0 0 16 14", width: 16, height: 14, "aria-hidden": "true", class: "ox-role-" + mark.role });
  const line = ["segments", "paths", "lines", "rule"].includes(mark.kind);
  const dash = mark.role === "baseline" || mark.kind === "rule" ? "4 2.5" : "none";
  if (line) svg("path", { d: "M1 7H15", stroke: "currentColor", "stroke-width": 1.8, "stroke-dasharray": dash }, node);
  if (mark.kind === "points" || (mark.kind === "lines" && mark.role !== "plan"))
    svg("path", { d: GLYPHS[SHAPES[mark.role]], fill: "currentColor" }, node);
  if (mark.kind === "bars") svg("path", { d: "M3 2h10v10H3z", fill: "currentColor" }, node);
  return node;
}

function colourKey(mark, theme) {
  const key = element("span", "ox-key");
  if (mark.label) key.append(element("span", "ox-key-name", mark.label));
  const strip = element("span", "ox-strip");
  strip.style.background = gradient(mapOf(mark, theme));
  key.append(element("span", "", tidy(mark.vlim[0])), strip, element("span", "", tidy(mark.vlim[1])));
  return key;
}

/** The legend of a panel; labels of lines stand in the picture when there is room. */
export function legend(node, panel, direct, theme) {
  const parts = [];
  for (const mark of panel.marks) {
    if (!panel.legend || mark.kind === "images") continue;
    if (mark.value && mark.kind !== "lines") parts.push(colourKey(mark, theme));
    else if (mark.label && mark.kind !== "rule" && !(direct && mark.kind === "lines")) {
      const item = element("span", "ox-item");
      item.append(glyph(mark), element("span", "", mark.label));
      parts.push(item);
    }
  }
  node.replaceChildren(...parts);
  node.hidden = !parts.length;
}
