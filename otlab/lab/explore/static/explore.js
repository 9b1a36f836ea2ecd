/* OT Lab: one front end for figures under sliders.
 *
 * In a built page this is a classic script: it finds every <figure class="otlab-explore"> that
 * carries its states as data and puts a live figure in the place of the still. In a notebook the
 * same text, with one `export` after it, is an anywidget that asks the kernel for each state.
 * No dependence, no request. Sections: arrays, colours, words, axes, marks, panels, read-outs,
 * controls, figure, the two roads, start.
 */
var otlabExplore = (function () {
  "use strict";

  // Arrays -------------------------------------------------------------------------------

  /** The values of a packed array; on a log axis these are logarithms. */
  function decode(spec, block) {
    const { n, at, lo, step } = spec;
    const out = new Float64Array(n);
    if (spec.bytes === 1) for (let i = 0; i < n; i++) out[i] = lo + step * block[at + i];
    else for (let i = 0; i < n; i++) out[i] = lo + step * (block[at + i] | (block[at + n + i] << 8));
    return out;
  }

  function fromBase64(text) {
    const raw = atob(text);
    const bytes = new Uint8Array(raw.length);
    for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
    return bytes;
  }

  /** Undo `pack.compress`: {header, block}. */
  async function expand(text) {
    const stream = new Blob([fromBase64(text)]).stream();
    const raw = new Uint8Array(
      await new Response(stream.pipeThrough(new DecompressionStream("deflate"))).arrayBuffer()
    );
    const n = raw[0] | (raw[1] << 8) | (raw[2] << 16) | (raw[3] << 24);
    const header = JSON.parse(new TextDecoder().decode(raw.subarray(4, 4 + n)));
    return { header, block: raw.subarray(4 + n) };
  }

  // Colours ------------------------------------------------------------------------------

  const STOPS = {
    cividis:
      "00224e 002e6a 1a386f 32436d 434e6c 535a6d 61656f 6f7073 7d7c78 " +
      "8c8878 9b9476 aba072 bcae6c cdbb63 dec958 f0d846 fee838",
    signed: "00456e 0072b2 7fb6d9 f6f6f4 efae85 d55e00 7f3300",
    // for thin marks, without the end that would drown in the surface
    "cividis light": "00224e 2a3f6d 434e6c 5a666d 6f7073 817f78 948f77 a89e71 bcae6c cfbd62 dcc65b",
    "cividis dark": "575d6d 61656f 6f7073 7d7c78 8c8878 9b9476 aba072 bcae6c cdbb63 dec958 f0d846 fee838",
    "signed dark": "a9d8f5 3f9fdc 2b5f85 33373c 8a4a1c ee7a2a ffc08a",
    grey: "000000 ffffff",
    ink: "ffffff 000000",
  };
  const TABLES = {};

  /** 256 colours of a map, three bytes each. */
  function table(name) {
    if (TABLES[name]) return TABLES[name];
    const stops = STOPS[name].split(" ").map((hex) => parseInt(hex, 16));
    const out = new Uint8Array(768);
    for (let i = 0; i < 256; i++) {
      const t = (i / 255) * (stops.length - 1);
      const k = Math.min(Math.floor(t), stops.length - 2);
      for (let c = 0; c < 3; c++) {
        const a = (stops[k] >> (16 - 8 * c)) & 255;
        const b = (stops[k + 1] >> (16 - 8 * c)) & 255;
        out[3 * i + c] = Math.round(a + (b - a) * (t - k));
      }
    }
    return (TABLES[name] = out);
  }

  /** The map of a mark: heat maps take it whole, points and lines only what they can show. */
  function mapOf(mark, theme) {
    const own = `${mark.cmap} ${theme.dark ? "dark" : "light"}`;
    return mark.kind !== "heatmap" && own in STOPS ? own : mark.cmap;
  }

  function shade(name, level) {
    const lut = table(name);
    const i = 3 * Math.max(0, Math.min(255, Math.round(level)));
    return `rgb(${lut[i]},${lut[i + 1]},${lut[i + 2]})`;
  }

  function gradient(name) {
    const stops = [];
    for (let i = 0; i <= 8; i++) stops.push(shade(name, (255 * i) / 8));
    return `linear-gradient(to right, ${stops.join(", ")})`;
  }

  /** The page's own choice of light or dark, before the reader's system. */
  function isDark() {
    const lab = document.body && document.body.dataset.jpThemeLight;
    if (lab) return lab === "false";
    const theme = document.documentElement.dataset.theme;
    if (theme === "dark" || theme === "light") return theme === "dark";
    return window.matchMedia("(prefers-color-scheme: dark)").matches;
  }

  const ROLES = ["source", "target", "transported", "baseline", "plan"];
  const SHAPES = {
    source: "circle", target: "triangle", transported: "diamond", baseline: "square", plan: "dot",
  };

  /** Colours and font of a figure as its style sheet gives them now. */
  function readTheme(root) {
    const css = getComputedStyle(root);
    const get = (name) => css.getPropertyValue("--ox-" + name).trim();
    const theme = { font: css.fontFamily, text: {}, dark: root.classList.contains("ox-dark") };
    for (const name of [...ROLES, "ink", "muted", "grid", "axis", "surface"]) theme[name] = get(name);
    for (const role of ROLES) theme.text[role] = get(role + "-text");
    return theme;
  }

  // Words --------------------------------------------------------------------------------

  const SUPER = { "-": "⁻", 0: "⁰", 1: "¹", 2: "²", 3: "³", 4: "⁴", 5: "⁵", 6: "⁶", 7: "⁷", 8: "⁸", 9: "⁹" };
  const power = (k) => "10" + String(k).replace(/[-\d]/g, (c) => SUPER[c]);

  /** A number for a tick or a colour key: three figures, a real minus. */
  function tidy(value) {
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

  function element(tag, className, text) {
    const node = document.createElement(tag);
    if (className) node.className = className;
    if (text !== undefined) node.textContent = text;
    return node;
  }

  // Axes ---------------------------------------------------------------------------------

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

  function ticksOf(panel, axis, pixels, step) {
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

  const FONT = 11.5;

  /** Where the axes of a panel lie on a canvas of w × h, and how data become pixels. */
  function axesBox(ctx, panel, w, h) {
    const equal = panel.equal;
    const top = panel.ylabel && panel.axes ? 24 : 8;
    const bottom = panel.axes ? 20 + barLabelSpace(ctx, panel, w) + (panel.xlabel ? 18 : 0) : 6;
    let H = Math.max(20, h - top - bottom);
    const ratio = equal ? (panel.ylim[1] - panel.ylim[0]) / (panel.xlim[1] - panel.xlim[0]) : 0;
    const likely = Math.min(w - 50, equal ? H / ratio : Infinity);
    const step = equal ? ticksOf(panel, "x", likely).step : undefined; // both axes of one measure
    const yTicks = ticksOf(panel, "y", H, step);
    const widest = Math.max(0, ...yTicks.map((t) => ctx.measureText(t.text).width));
    const left = panel.axes ? Math.ceil(widest) + 12 : 6;
    const right = 8 + labelSpace(ctx, panel, w);
    let W = Math.max(20, w - left - right);
    let L = left;
    if (equal) {
      const free = W;
      W = Math.min(W, H / ratio);
      H = W * ratio;
      L += (free - W) / 2;
    }
    const [x0, x1] = panel.xlim;
    const [y0, y1] = panel.ylim;
    return {
      L, T: top, W, H, right: w - right, yTicks, xTicks: ticksOf(panel, "x", W, step),
      x: (v) => L + ((v - x0) / (x1 - x0)) * W,
      y: (v) => top + H - ((v - y0) / (y1 - y0)) * H,
    };
  }

  const endsAtRight = (m) => m.label && (m.kind === "lines" || (m.kind === "rule" && m.axis === "y"));

  /** Room at the right for labels written at the ends of lines; 0 sends them to the legend. */
  function labelSpace(ctx, panel, w) {
    if (!panel.legend) return 0;
    const labels = panel.marks.filter(endsAtRight).map((m) => m.label);
    const widest = Math.max(0, ...labels.map((text) => ctx.measureText(text).width));
    return widest && widest < 0.32 * w ? Math.ceil(widest) + 8 : 0;
  }

  function wrapBarName(ctx, text, room) {
    const lines = [];
    for (const word of text.split(" ")) {
      const joined = lines.length ? lines[lines.length - 1] + " " + word : word;
      if (lines.length && ctx.measureText(joined).width <= room) lines[lines.length - 1] = joined;
      else lines.push(word);
    }
    return lines;
  }

  function barLabels(ctx, panel, w) {
    const bars = panel.marks.find((m) => m.kind === "bars");
    if (!bars) return null;
    const room = (w - 50) / Math.max(1, bars.names.length) - 4;
    const lines = bars.names.map((name) => wrapBarName(ctx, name, room));
    const fits = lines.every((some) => some.every((line) => ctx.measureText(line).width <= room));
    const numeric = bars.names.every((name) => !Number.isNaN(Number(name)));
    return { lines, slant: !fits && !numeric, room };
  }

  function barLabelSpace(ctx, panel, w) {
    const labels = barLabels(ctx, panel, w);
    if (!labels) return 0;
    if (!labels.slant) return 14 * (Math.max(...labels.lines.map((some) => some.length)) - 1);
    const widest = Math.max(...labels.lines.map((some) => ctx.measureText(some.join(" ")).width));
    return Math.min(70, widest * 0.64);
  }

  function drawAxes(ctx, panel, box, theme, w) {
    const { L, T, W, H } = box;
    if (!panel.axes) return;
    ctx.lineWidth = 1;
    ctx.strokeStyle = theme.grid;
    ctx.beginPath();
    const half = (v) => Math.round(v) + 0.5;
    const bars = barLabels(ctx, panel, w);
    const field = panel.marks.some((m) => m.kind === "heatmap");
    if (!field) for (const t of box.yTicks) { ctx.moveTo(L, half(box.y(t.at))); ctx.lineTo(L + W, half(box.y(t.at))); }
    if (!bars && !field) for (const t of box.xTicks) { ctx.moveTo(half(box.x(t.at)), T); ctx.lineTo(half(box.x(t.at)), T + H); }
    ctx.stroke();
    ctx.strokeStyle = theme.axis;
    ctx.beginPath();
    ctx.moveTo(L, half(T + H));
    ctx.lineTo(L + W, half(T + H));
    ctx.stroke();
    ctx.fillStyle = theme.muted;
    ctx.textBaseline = "middle";
    ctx.textAlign = "right";
    for (const t of box.yTicks) ctx.fillText(t.text, L - 6, box.y(t.at));
    ctx.textBaseline = "top";
    ctx.textAlign = "center";
    if (bars) drawBarNames(ctx, bars, box);
    else drawXTicks(ctx, box);
    ctx.fillStyle = theme.ink;
    ctx.textAlign = "right";
    ctx.textBaseline = "alphabetic";
    if (panel.xlabel) ctx.fillText(panel.xlabel, L + W, T + H + 33 + (bars ? barLabelSpace(ctx, panel, w) : 0));
    ctx.textAlign = "left";
    if (panel.ylabel) ctx.fillText(panel.ylabel, Math.min(L, 2), T - 11);
  }

  function drawXTicks(ctx, box) {
    let end = -Infinity;
    for (const t of box.xTicks) {
      const half = ctx.measureText(t.text).width / 2;
      const x = box.x(t.at);
      if (x - half < end + 5) continue;
      ctx.fillText(t.text, x, box.T + box.H + 6);
      end = x + half;
    }
  }

  function drawBarNames(ctx, bars, box) {
    const y = box.T + box.H + 6;
    if (!bars.slant) {
      const widest = Math.max(...bars.lines.flat().map((line) => ctx.measureText(line).width));
      const stride = Math.ceil((widest + 6) / (bars.room + 4));
      bars.lines.forEach((some, at) => {
        if (stride > 1 && at % stride) return;
        some.forEach((line, k) => ctx.fillText(line, box.x(at), y + 14 * k));
      });
      return;
    }
    ctx.textAlign = "right";
    bars.lines.forEach((some, at) => {
      ctx.save();
      ctx.translate(box.x(at) + 4, y + 2);
      ctx.rotate(-0.65);
      ctx.fillText(some.join(" "), 0, 0);
      ctx.restore();
    });
    ctx.textAlign = "center";
  }

  // Marks --------------------------------------------------------------------------------

  /** Add one mark to a path; the four shapes have about the same area. */
  function addShape(path, shape, x, y, r) {
    if (shape === "circle" || shape === "dot") {
      if (shape === "dot") r *= 0.7;
      path.moveTo(x + r, y);
      path.arc(x, y, r, 0, 6.2832);
    } else if (shape === "triangle") {
      path.moveTo(x, y - 1.3 * r);
      path.lineTo(x + 1.18 * r, y + 0.8 * r);
      path.lineTo(x - 1.18 * r, y + 0.8 * r);
      path.closePath();
    } else if (shape === "diamond") {
      path.moveTo(x, y - 1.32 * r);
      path.lineTo(x + 1.12 * r, y);
      path.lineTo(x, y + 1.32 * r);
      path.lineTo(x - 1.12 * r, y);
      path.closePath();
    } else path.rect(x - 0.9 * r, y - 0.9 * r, 1.8 * r, 1.8 * r);
  }

  /** Elements 0..n−1 in groups of equal colour, drawn from low to high: [colour, indices]. */
  function byColour(mark, block, n, theme) {
    if (!mark.value) return [[theme[mark.role], null]];
    const level = block.subarray(mark.value.at, mark.value.at + n);
    const bins = Array.from({ length: 64 }, () => []);
    for (let i = 0; i < n; i++) bins[level[i] >> 2].push(i);
    return bins.map((some, k) => [shade(mapOf(mark, theme), 4 * k + 2), some]).filter(([, some]) => some.length);
  }

  const each = (indices, n, f) => {
    if (indices) for (const i of indices) f(i);
    else for (let i = 0; i < n; i++) f(i);
  };
  const radius = (n) => Math.max(1.7, Math.min(4.6, 9 - 0.95 * Math.log2(Math.max(n, 1))));
  const thin = (n) => Math.max(0.6, Math.min(1.6, 3 - 0.25 * Math.log2(Math.max(n, 1))));

  const DRAW = {
    points(ctx, mark, block, box, theme) {
      const x = decode(mark.x, block), y = decode(mark.y, block), n = x.length;
      const r = mark.size || radius(n) * Math.max(0.75, Math.min(1.1, box.W / 300));
      for (const [colour, some] of byColour(mark, block, n, theme)) {
        const path = new Path2D();
        each(some, n, (i) => addShape(path, SHAPES[mark.role], box.x(x[i]), box.y(y[i]), r));
        if (n <= 600) {
          ctx.lineWidth = 1.6;
          ctx.strokeStyle = theme.surface;
          ctx.stroke(path);
        }
        ctx.globalAlpha = n > 600 && !some ? 0.8 : 1;
        ctx.fillStyle = colour;
        ctx.fill(path);
        ctx.globalAlpha = 1;
      }
    },

    segments(ctx, mark, block, box, theme, panel) {
      const field = panel.marks.some((m) => m.kind === "heatmap"); // any colour may lie below
      const x = decode(mark.x, block), y = decode(mark.y, block), n = x.length;
      const x2 = decode(mark.x2, block), y2 = decode(mark.y2, block);
      ctx.lineWidth = mark.head ? 1.3 : thin(n);
      ctx.lineCap = "round";
      for (const [colour, some] of byColour(mark, block, n, theme)) {
        ctx.strokeStyle = ctx.fillStyle = colour;
        ctx.globalAlpha = some || mark.head ? 0.9 : mark.role === "plan" ? 0.4 : 0.6;
        const path = new Path2D(), heads = new Path2D();
        each(some, n, (i) => {
          const a = box.x(x[i]), b = box.y(y[i]), c = box.x(x2[i]), d = box.y(y2[i]);
          path.moveTo(a, b);
          path.lineTo(c, d);
          if (mark.head) arrowHead(heads, a, b, c, d);
        });
        if (field) {
          ctx.save();
          ctx.strokeStyle = "#ffffff";
          ctx.lineWidth += 1.8;
          ctx.stroke(path);
          ctx.stroke(heads);
          ctx.restore();
        }
        if (field && mark.role === "plan" && !some) ctx.strokeStyle = ctx.fillStyle = "#333333";
        ctx.stroke(path);
        if (mark.head) ctx.fill(heads);
      }
      ctx.globalAlpha = 1;
    },

    paths(ctx, mark, block, box, theme) {
      const x = decode(mark.x, block), y = decode(mark.y, block), k = mark.k, n = x.length / k;
      ctx.lineWidth = thin(n);
      ctx.lineJoin = "round";
      for (const [colour, some] of byColour(mark, block, n, theme)) {
        ctx.strokeStyle = colour;
        ctx.globalAlpha = some ? 0.9 : 0.5;
        const path = new Path2D();
        each(some, n, (i) => {
          path.moveTo(box.x(x[i * k]), box.y(y[i * k]));
          for (let j = i * k + 1; j < (i + 1) * k; j++) path.lineTo(box.x(x[j]), box.y(y[j]));
        });
        ctx.stroke(path);
      }
      ctx.globalAlpha = 1;
    },

    lines(ctx, mark, block, box, theme) {
      const x = decode(mark.x, block), y = decode(mark.y, block), n = x.length;
      if (!n) return;
      const colour = mark.value ? shade(mapOf(mark, theme), block[mark.value.at]) : theme[mark.role];
      if (mark.low) {
        const low = decode(mark.low, block), high = decode(mark.high, block);
        ctx.beginPath();
        for (let i = 0; i < n; i++) ctx.lineTo(box.x(x[i]), box.y(low[i]));
        for (let i = n - 1; i >= 0; i--) ctx.lineTo(box.x(x[i]), box.y(high[i]));
        ctx.fillStyle = colour;
        ctx.globalAlpha = 0.18;
        ctx.fill();
        ctx.globalAlpha = 1;
      }
      ctx.beginPath();
      for (let i = 0; i < n; i++) ctx.lineTo(box.x(x[i]), box.y(y[i]));
      ctx.strokeStyle = colour;
      ctx.lineWidth = mark.role === "plan" ? 1.3 : 2;
      ctx.lineJoin = "round";
      if (mark.role === "baseline") ctx.setLineDash([6, 4]);
      ctx.stroke();
      ctx.setLineDash([]);
      if (mark.role !== "plan" && (mark.marks ?? n <= 12)) {
        const path = new Path2D();
        for (let i = 0; i < n; i++) addShape(path, SHAPES[mark.role], box.x(x[i]), box.y(y[i]), 3.8);
        ctx.lineWidth = 2.4;
        ctx.strokeStyle = theme.surface;
        ctx.stroke(path);
        ctx.fillStyle = colour;
        ctx.fill(path);
      }
    },

    rule(ctx, mark, block, box, theme, panel) {
      const at = decode(mark.at, block)[0];
      const { L, T, W, H } = box;
      const v = Math.round(mark.axis === "y" ? box.y(at) : box.x(at)) + 0.5;
      ctx.strokeStyle = theme[mark.role];
      ctx.lineWidth = 1;
      ctx.setLineDash([4, 3]);
      ctx.beginPath();
      if (mark.axis === "y") { ctx.moveTo(L, v); ctx.lineTo(L + W, v); }
      else { ctx.moveTo(v, T); ctx.lineTo(v, T + H); }
      ctx.stroke();
      ctx.setLineDash([]);
      if (!mark.label || (mark.axis === "y" && panel.labelled)) return;
      const y = mark.axis === "y" ? v - 7 : T + 8;
      const right = mark.axis === "y" || v > L + W / 2;
      words(ctx, theme, theme.text[mark.role], mark.label, mark.axis === "y" ? L + W - 4 : v + (right ? -5 : 5), y, right);
    },

    labels(ctx, mark, block, box, theme) {
      const x = decode(mark.x, block), y = decode(mark.y, block);
      mark.texts.forEach((text, i) => {
        const right = box.x(x[i]) > box.L + 0.75 * box.W;
        words(ctx, theme, theme.text[mark.role], text, box.x(x[i]) + (right ? -8 : 8), box.y(y[i]) - 8, right);
      });
    },

    bars(ctx, mark, block, box, theme, panel) {
      const group = panel.marks.filter((m) => m.kind === "bars");
      const y = decode(mark.y, block), zero = box.y(decode(mark.zero, block)[0]);
      const slot = 0.76 / group.length;
      const centre = (i) => box.x(i + (group.indexOf(mark) - (group.length - 1) / 2) * slot);
      const wide = (box.x(slot) - box.x(0)) * 0.9;
      ctx.fillStyle = theme[mark.role];
      y.forEach((v, i) => ctx.fillRect(centre(i) - wide / 2, Math.min(zero, box.y(v)), wide, Math.abs(box.y(v) - zero)));
      if (!mark.low) return;
      const low = decode(mark.low, block), high = decode(mark.high, block);
      ctx.strokeStyle = theme.ink;
      ctx.lineWidth = 1.5;
      ctx.beginPath();
      y.forEach((_, i) => {
        const c = centre(i), cap = Math.min(5, wide / 3);
        ctx.moveTo(c, box.y(low[i])); ctx.lineTo(c, box.y(high[i]));
        for (const end of [low[i], high[i]]) { ctx.moveTo(c - cap, box.y(end)); ctx.lineTo(c + cap, box.y(end)); }
      });
      ctx.stroke();
    },

    heatmap(ctx, mark, block, box) {
      const [rows, columns] = mark.shape;
      const picture = raster(block, mark.value.at, rows, columns, 1, mark.cmap);
      ctx.imageSmoothingEnabled = false;
      if (!mark.x) return ctx.drawImage(picture, box.L, box.T, box.W, box.H);
      const [x0, x1] = decode(mark.x, block), [y0, y1] = decode(mark.y, block);
      ctx.save();
      ctx.translate(box.x(x0), box.y(y0));
      ctx.scale((box.x(x1) - box.x(x0)) / columns, (box.y(y1) - box.y(y0)) / rows);
      ctx.drawImage(picture, 0, 0);
      ctx.restore();
    },
  };

  function arrowHead(path, a, b, c, d) {
    const length = Math.hypot(c - a, d - b);
    if (length < 1) return;
    const size = Math.min(5.5, 0.5 * length), u = (c - a) / length, v = (d - b) / length;
    path.moveTo(c, d);
    path.lineTo(c - size * (u + 0.5 * v), d - size * (v - 0.5 * u));
    path.lineTo(c - size * (u - 0.5 * v), d - size * (v + 0.5 * u));
    path.closePath();
  }

  /** Words on the picture, with a rim in the colour of the surface. */
  function words(ctx, theme, colour, text, x, y, right) {
    ctx.textAlign = right ? "right" : "left";
    ctx.textBaseline = "middle";
    ctx.lineWidth = 3;
    ctx.lineJoin = "round";
    ctx.strokeStyle = theme.surface;
    ctx.strokeText(text, x, y);
    ctx.fillStyle = colour;
    ctx.fillText(text, x, y);
  }

  /** Shades as a picture of one pixel a cell; three channels are taken as red, green, blue. */
  function raster(block, at, rows, columns, channels, cmap) {
    const canvas = document.createElement("canvas");
    canvas.width = columns;
    canvas.height = rows;
    const ctx = canvas.getContext("2d");
    const picture = ctx.createImageData(columns, rows);
    const lut = table(cmap);
    for (let i = 0; i < rows * columns; i++) {
      for (let c = 0; c < 3; c++)
        picture.data[4 * i + c] = channels === 3 ? block[at + 3 * i + c] : lut[3 * block[at + i] + c];
      picture.data[4 * i + 3] = 255;
    }
    ctx.putImageData(picture, 0, 0);
    return canvas;
  }

  /** Labels at the ends of lines, moved apart where they would touch. */
  function drawLineLabels(ctx, panel, block, box, theme) {
    const labels = [];
    for (const mark of panel.marks) {
      if (!endsAtRight(mark) || (mark.x && !mark.x.n)) continue;
      if (mark.kind === "rule") {
        const v = box.y(decode(mark.at, block)[0]);
        labels.push({ text: mark.label, x: box.L + box.W + 8, y: v, colour: theme.text[mark.role] });
        continue;
      }
      const x = decode(mark.x, block), y = decode(mark.y, block);
      let end = 0;
      for (let i = 1; i < x.length; i++) if (x[i] >= x[end]) end = i;
      const colour = mark.value ? theme.ink : theme.text[mark.role];
      const inside = Math.max(box.T, Math.min(box.T + box.H, box.y(y[end])));
      labels.push({ text: mark.label, x: Math.min(box.x(x[end]), box.L + box.W) + 8, y: inside, colour });
    }
    labels.sort((a, b) => a.y - b.y);
    for (let sweep = 0; sweep < 8; sweep++)
      for (let i = 1; i < labels.length; i++) {
        const gap = 14 - (labels[i].y - labels[i - 1].y);
        if (gap > 0) { labels[i - 1].y -= gap / 2; labels[i].y += gap / 2; }
      }
    for (const label of labels) words(ctx, theme, label.colour, label.text, label.x, label.y, false);
  }

  // Panels -------------------------------------------------------------------------------

  function imageGrid(mark, w) {
    const [count, rows, columns] = mark.shape;
    const across = Math.min(mark.columns, count);
    const gap = w / across > 40 ? 6 : 3;
    const wide = Math.min(180, (w - gap * (across - 1)) / across);
    return { across, gap, wide, high: (wide * rows) / columns, down: Math.ceil(count / across), words: mark.labels ? 17 : 0 };
  }

  /** The height a panel would like at this width. */
  function naturalHeight(ctx, panel, w) {
    if (panel.layout === "images") {
      const g = imageGrid(panel.marks[0], w);
      return g.down * (g.high + g.words + g.gap);
    }
    if (panel.layout === "matrix") {
      const [rows, columns] = panel.marks[0].shape;
      return Math.min(400, ((w - 20) * rows) / columns) + (panel.xlabel ? 20 : 2) + (panel.ylabel ? 18 : 0);
    }
    const box = axesBox(ctx, panel, w, 260);
    const around = 260 - box.H;
    if (!panel.equal) return Math.max(170, Math.min(300, 0.72 * w)) + 20;
    const free = w - 8 - (panel.axes ? 40 : 6);
    const ratio = (panel.ylim[1] - panel.ylim[0]) / (panel.xlim[1] - panel.xlim[0]);
    const edge = (panel.axes ? 20 : 6) + (panel.xlabel && panel.axes ? 18 : 0) + (panel.ylabel && panel.axes ? 24 : 8);
    return Math.min(440, Math.max(120, free * ratio)) + Math.min(edge, Math.max(14, around));
  }

  function drawImages(ctx, mark, block, w, theme) {
    const g = imageGrid(mark, w);
    const [count, rows, columns] = mark.shape;
    const channels = mark.shape.length === 4 ? 3 : 1;
    const size = rows * columns * channels;
    const left = (w - g.across * (g.wide + g.gap) + g.gap) / 2;
    ctx.imageSmoothingEnabled = false;
    ctx.textAlign = "center";
    ctx.textBaseline = "top";
    ctx.fillStyle = theme.muted;
    for (let i = 0; i < count; i++) {
      const x = left + (i % g.across) * (g.wide + g.gap);
      const y = Math.floor(i / g.across) * (g.high + g.gap + g.words);
      ctx.drawImage(raster(block, mark.value.at + i * size, rows, columns, channels, mark.cmap), x, y, g.wide, g.high);
      if (mark.labels) ctx.fillText(mark.labels[i], x + g.wide / 2, y + g.high + 3, g.wide + g.gap);
    }
  }

  function drawMatrix(ctx, panel, block, w, h, theme) {
    const [rows, columns] = panel.marks[0].shape;
    const top = panel.ylabel ? 18 : 0;
    const H = h - top - (panel.xlabel ? 20 : 2);
    const W = Math.min(w, (H * columns) / rows);
    const box = { L: 0, T: top, W, H: (W * rows) / columns };
    DRAW.heatmap(ctx, panel.marks[0], block, box);
    ctx.fillStyle = theme.ink;
    ctx.textBaseline = "alphabetic";
    ctx.textAlign = "right";
    if (panel.xlabel) ctx.fillText(panel.xlabel, box.L + box.W, box.T + box.H + 15);
    ctx.textAlign = "left";
    if (panel.ylabel) ctx.fillText(panel.ylabel, box.L, 11);
  }

  /** Draw one panel on its canvas, w × h in CSS pixels. */
  function drawPanel(canvas, panel, block, w, h, theme) {
    const ratio = window.devicePixelRatio || 1;
    const [W, H] = [Math.round(w * ratio), Math.round(h * ratio)];
    if (canvas.width !== W || canvas.height !== H) {
      canvas.width = W;
      canvas.height = H;
      canvas.style.height = h + "px";
    }
    const ctx = canvas.getContext("2d");
    ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
    ctx.clearRect(0, 0, w, h);
    ctx.font = `${FONT}px ${theme.font}`;
    if (panel.layout === "images") return drawImages(ctx, panel.marks[0], block, w, theme);
    if (panel.layout === "matrix") return drawMatrix(ctx, panel, block, w, h, theme);
    const box = axesBox(ctx, panel, w, h);
    panel.labelled = labelSpace(ctx, panel, w) > 0;
    const under = panel.marks.filter((m) => m.kind === "heatmap");
    ctx.save();
    ctx.beginPath();
    ctx.rect(box.L, box.T, box.W, box.H);
    ctx.clip();
    for (const mark of under) DRAW.heatmap(ctx, mark, block, box);
    ctx.restore();
    drawAxes(ctx, panel, box, theme, w);
    ctx.save();
    ctx.beginPath();
    ctx.rect(box.L - 5, box.T - 5, box.W + 10, box.H + 10);
    ctx.clip();
    for (const mark of panel.marks) if (mark.kind !== "heatmap") DRAW[mark.kind](ctx, mark, block, box, theme, panel);
    ctx.restore();
    if (panel.labelled) drawLineLabels(ctx, panel, block, box, theme);
  }

  // Legends and read-outs ----------------------------------------------------------------

  const SVG = "http://www.w3.org/2000/svg";

  function svg(tag, attributes, parent) {
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
  function legend(node, panel, direct, theme) {
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

  /** A gauge over half a circle, with a tick at the target. */
  function dial() {
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

  function textReadout() {
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

  // Controls -----------------------------------------------------------------------------

  let counter = 0;
  const prefix = `ox-${Math.random().toString(36).slice(2, 8)}`; // several copies may share a notebook

  /** A native range input with its label and value. */
  function rangeControl(spec, moved) {
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
  function choiceControl(spec, moved) {
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

  // Figure -------------------------------------------------------------------------------

  const GAP = 20; // between panels, as in the style sheet
  const LEAD = 1.45; // how much wider the first of three panels is in a column of text
  const KEYS = ["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "Home", "End", "PageUp", "PageDown", "Enter", " "];

  /** The figure in the page. `ask(index, started)` is called when a control has moved. */
  function build(root, spec, ask) {
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

  // The two roads ------------------------------------------------------------------------

  /** In a built page: every state is at hand; draw the newest once per frame of the screen. */
  async function mount(root) {
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

  const bytesOf = (b) => (b ? new Uint8Array(b.buffer || b, b.byteOffset || 0, b.byteLength) : new Uint8Array());

  /** In a notebook: one request under way, the newest move next, the rest dropped. */
  function render({ model, el }) {
    const root = element("figure", "otlab-explore ox-on");
    const spec = model.get("spec");
    const view = Math.random().toString(36).slice(2);
    let flight = null, wanted = null, number = 0, clocks = [];

    function send() {
      flight = wanted;
      wanted = null;
      flight.id = ++number;
      model.send({ type: "ask", view, id: flight.id, index: flight.index });
      clocks.forEach(clearTimeout);
      clocks = [
        setTimeout(() => figure.wait("computing…"), 250),
        setTimeout(() => figure.wait("No answer yet. If the kernel is idle, run this cell again."), 12000),
      ];
    }

    const figure = build(root, spec, (index, started) => {
      wanted = { index, started };
      if (!flight) send();
      else if (performance.now() - flight.started > 20000) send(); // its answer was lost
    });

    function answer(message, buffers) {
      if (!message || message.type !== "state" || message.view !== view) return;
      if (!flight || message.id !== flight.id) return;
      clocks.forEach(clearTimeout);
      figure.wait("");
      const done = flight;
      flight = null;
      root.dataset.kernel = message.ms;
      if (message.error) figure.fail(message.error);
      else figure.show(message.state, bytesOf(buffers[0]), done.index, done.started);
      if (wanted) send();
    }

    if (spec.title) root.append(element("p", "otlab-title", spec.title));
    root.append(figure.app, element("figcaption", "", spec.caption));
    const alt = element("p", "ox-unseen", spec.alt);
    root.insertBefore(alt, figure.app);
    el.append(root);
    figure.show(JSON.parse(model.get("first")), bytesOf(model.get("first_bytes")), spec.controls.map((c) => c.start));
    model.on("msg:custom", answer);
    return () => {
      model.off("msg:custom", answer);
      clocks.forEach(clearTimeout);
      figure.forget();
    };
  }

  // Start --------------------------------------------------------------------------------

  function boot() {
    document.querySelectorAll("figure.otlab-explore").forEach((root) =>
      mount(root).catch((problem) => console.error("otlab explore:", problem))
    );
  }

  if (typeof document !== "undefined" && document.currentScript) {
    if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", boot);
    else boot();
  }
  return { render, mount, boot, expand, decode };
})();
