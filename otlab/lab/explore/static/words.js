/* Numbers and elements with words in them. */

const SUPER = { "-": "⁻", 0: "⁰", 1: "¹", 2: "²", 3: "³", 4: "⁴", 5: "⁵", 6: "⁶", 7: "⁷", 8: "⁸", 9: "⁹" };
export const power = (k) => "10" + String(k).replace(/[-\d]/g, (c) => SUPER[c]);

/** A number for a tick or a colour key: three figures, a real minus. */
export function tidy(value) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e5 || size < 1e-3) {
    const k = Math.floor(Math.log10(size) + 1e-9);
    const m = Number((value / 10 ** k).toPrecision(3));
    const head = m === 1 ? "" : m === -1 ? "−" : String(m).replace("-", "−") + "×";
    return head + power(k);
  }
  return String(Number(value.toPrecision(3))).replace("-", "−");
}

export function element(tag, className, text) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
}
