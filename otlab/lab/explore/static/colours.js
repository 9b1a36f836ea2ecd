/* Colour maps: a value between 0 and 1 as a colour. */

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
export function table(name) {
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
export function mapOf(mark, theme) {
  const own = `${mark.cmap} ${theme.dark ? "dark" : "light"}`;
  return mark.kind !== "heatmap" && own in STOPS ? own : mark.cmap;
}

export function shade(name, level) {
  const lut = table(name);
  const i = 3 * Math.max(0, Math.min(255, Math.round(level)));
  return `rgb(${lut[i]},${lut[i + 1]},${lut[i + 2]})`;
}

export function gradient(name) {
  const stops = [];
  for (let i = 0; i <= 8; i++) stops.push(shade(name, (255 * i) / 8));
  return `linear-gradient(to right, ${stops.join(", ")})`;
}
