/* Where ticks stand on a linear and on a logarithmic axis. */
import { power, tidy } from "./words.js";

function linearTicks(lo, hi, count, given) {
  const raw = (hi - lo) / Math.max(1, count);
  const base = 10 ** Math.floor(Math.log10(raw));
  const steps = [0.1, 0.2, 0.5, 1, 2, 5, 10].map((m) => m * base);
  let k = steps.findIndex((s) => s >= raw * 0.999);
  const held = (s) => Math.floor(hi / s + 1e-9) - Math.ceil(lo / s - 1e-9) + 1;
  while (k > 0 && held(steps[k]) < 3) k--;
  const step = given || steps[k];
  const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  const small = Math.max(Math.abs(lo), Math.abs(hi)) < 1e5 && digits <= 4;
  const ticks = [];
  ticks.step = step;
  for (let i = Math.ceil(lo / step - 1e-9); i * step <= hi + 1e-9 * step; i++) {
    const v = i * step;
    ticks.push({ at: v, text: small ? v.toFixed(digits).replace(/^-(?=[0.]*$)/, "").replace("-", "−") : tidy(v) });
  }
  return ticks;
}

/** Ticks of an axis whose limits are logarithms. */
function logTicks(lo, hi, count) {
  const first = Math.ceil(lo - 1e-9);
  const last = Math.floor(hi + 1e-9);
  if (last - first >= 1) {
    const stride = Math.max(1, Math.ceil((last - first) / Math.max(1, count)));
    const plain = first >= -2 && last <= 3;
    const ticks = [];
    for (let k = first; k <= last; k++) {
      if ((k - first) % stride) continue;
      ticks.push({ at: k, text: plain ? String(Number((10 ** k).toPrecision(1))) : power(k) });
    }
    if (ticks.length > 2 || (hi - lo > 1.6 && ticks.length === 2)) return ticks;
  }
  for (const multiples of [[1, 2, 5], [1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9]]) {
    const ticks = [];
    for (let k = Math.floor(lo); k <= hi; k++)
      for (const m of multiples) {
        const at = k + Math.log10(m);
        if (at >= lo - 1e-9 && at <= hi + 1e-9) ticks.push({ at, text: tidy(m * 10 ** k) });
      }
    if (ticks.length >= 2) {
      const stride = Math.ceil(ticks.length / Math.max(2, count + 1));
      return ticks.filter((_, i) => i % stride === 0);
    }
  }
  return linearTicks(10 ** lo, 10 ** hi, count).map((t) => ({ at: Math.log10(t.at), text: t.text }));
}

export function ticksOf(panel, axis, pixels, step) {
  const [lo, hi] = panel[axis + "lim"];
  const log = panel[axis + "scale"] === "log";
  if (!panel.axes) return [];
  const bars = axis === "x" && panel.marks.find((m) => m.kind === "bars");
  if (bars) return bars.names.map((text, at) => ({ at, text }));
  const own = panel[axis + "ticks"];
  if (own)
    return own
      .map((v) => ({ at: log ? Math.log10(v) : v, text: tidy(v) }))
      .filter((t) => t.at >= lo - 1e-9 && t.at <= hi + 1e-9);
  const count = Math.max(2, Math.min(6, Math.round(pixels / (axis === "x" ? 64 : 42))));
  return (log ? logTicks : linearTicks)(lo, hi, count, step);
}
