/* Packed arrays: the bytes of a page or of a kernel as numbers. */

/** The values of a packed array; on a log axis these are logarithms. */
export function decode(spec, block) {
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
export async function expand(text) {
  const stream = new Blob([fromBase64(text)]).stream();
  const raw = new Uint8Array(
    await new Response(stream.pipeThrough(new DecompressionStream("deflate"))).arrayBuffer()
  );
  const n = raw[0] | (raw[1] << 8) | (raw[2] << 16) | (raw[3] << 24);
  const header = JSON.parse(new TextDecoder().decode(raw.subarray(4, 4 + n)));
  return { header, block: raw.subarray(4 + n) };
}
