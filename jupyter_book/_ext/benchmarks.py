"""The page of benchmarks, written from notebooks/results/benchmarks/*.json."""

import html
import json
import math
from pathlib import Path

MARK = "% benchmarks: the build puts the saved tables here"
WIDTH, LEFT, ROW, TICKS = 720, 150, 26, (0.5, 1, 2, 5, 10, 20, 50)
SHAPES = {"gaussians": "circle", "moons to eight gaussians": "triangle",
          "digits to noise": "square"}


def page(folder: Path) -> str:
    """MyST text: Sinkhorn with its plot, larger problems, semidiscrete transport, flows,
    steering, first answers."""
    found = {p.stem: json.loads(p.read_text()) for p in sorted(folder.glob("*.json"))}
    makers = {"sinkhorn": sinkhorn, "exact": exact, "large": large, "semidiscrete": semidiscrete,
              "flows": flows, "steering": steering, "first": first}
    parts = [make(found[name]) + stamp(found[name]) for name, make in makers.items()
             if name in found]
    return "\n".join(parts) or "No benchmark has been saved yet.\n"


def raw(text: str) -> str:
    return f"```{{raw}} html\n{text}\n```\n"


def stamp(data: dict) -> str:
    """Date, machine, versions and command of a saved run."""
    versions = ", ".join(f"{k} {v}" for k, v in data["versions"].items())
    return raw(f'<p class="otlab-footer"><small>{html.escape(data["date"])}; '
               f'{html.escape(data["machine"])}{beside(data)}; {html.escape(versions)}; '
               f'<code>{html.escape(data["command"])}</code></small></p>')


def beside(data: dict) -> str:
    """What ran beside the last cell, if anything did: then only a row's own ratio is fair."""
    load = data.get("load") or 0
    return f" at a load of {load:g}: compare seconds within a row only" if load > 2 else ""


def seconds(value: float) -> str:
    """Milliseconds below one second."""
    return f"{1e3 * value:.3g} ms" if value < 1 else f"{value:.3g} s"


def table(heads: tuple, rows: list, name: str) -> str:
    head = "".join(f'<th scope="col">{h}</th>' for h in heads)
    body = "\n".join('<tr><th scope="row">' + "</td><td>".join(map(str, r)).replace(
        "</td>", "</th>", 1) + "</td></tr>" for r in rows)
    return raw(f'<div class="otlab-scroll" tabindex="0" role="region" aria-label="{name}">'
               f'<table class="otlab-numbers"><thead><tr>{head}</tr></thead>\n<tbody>{body}'
               "</tbody></table></div>")


def mean(gains: list[float]) -> float:
    return math.exp(sum(map(math.log, gains)) / len(gains))


def sinkhorn(data: dict) -> str:
    """How many times faster than the best valid peer of each cell, drawn and listed."""
    cells = list(data["rows"].values())
    judged = [c for c in cells if c["speed-up"]]
    gains = [c["speed-up"] for c in judged]
    lost = [c for c in judged if c["speed-up"] < 1]
    words = (f"In {len(judged)} of {len(cells)} cells a peer reached the accuracy in time. There "
             f"`sinkhorn` is **{mean(gains):.1f} times as fast as the best of them** (geometric "
             f"mean; {min(gains):.1f} to {max(gains):.1f}; by processor seconds "
             f"{mean([c['speed-up, processor'] for c in judged]):.1f}). "
             + (f"It is slower in {len(lost)}." if lost else "It is slower in none."))
    rows = [(f"{c['n']:,}", html.escape(c["clouds"]), c["d"], c["epsilon"],
             seconds(c["seconds"]["otlab"]),
             f"{seconds(c['seconds'][c['best peer']])} <small>{html.escape(c['best peer'])}</small>"
             if c["best peer"] else f"– <small>{late(c)}</small>",
             f"{c['speed-up']:.1f} ×" if c["speed-up"] else "–",
             f"{c['error']['otlab']:.1e}") for c in cells]
    heads = ("n", "clouds", "d", "ε / std(C)", "otlab", "best valid peer", "gain", "our error")
    peers = sorted({p for c in cells for p in c["seconds"] if not p.startswith("otlab")})
    missed = {p: sum(not c["error"].get(p, 0) <= 1.1e-3 for c in cells) for p in peers}
    tried = {p: sum(p in c["seconds"] for c in cells) for p in peers}
    said = "; ".join(f"{p}: tried in {tried[p]}" + (f", missed the accuracy in {missed[p]}"
                                                    if missed[p] else "") for p in peers)
    return (f"## Entropic transport\n\n{words}\n\n{raw(plot(judged))}\n"
            f"{table(heads, rows, 'Sinkhorn and its peers')}\nPeers, by cells: {said}.\n\n")


def late(cell: dict) -> str:
    """Why a cell has no peer: none ran to the end, and when the first would have."""
    predicted = cell["left out, predicted seconds"]
    if not predicted:
        return "none in time"
    name, when = min(predicted.items(), key=lambda item: item[1])
    return f"none in time; the soonest, {html.escape(name)}, predicted at {seconds(when)}"


def plot(cells: list[dict]) -> str:
    """Gains on a log axis, one row for each n and ε, one mark for each cell."""
    keys = sorted({(c["n"], -c["epsilon"]) for c in cells})
    height = ROW * len(keys) + 60
    low, high = math.log(TICKS[0]), math.log(max(TICKS[-1], *(c["speed-up"] for c in cells)))

    def x(gain):
        return LEFT + (math.log(max(gain, TICKS[0])) - low) / (high - low) * (WIDTH - LEFT - 20)

    out = []
    for tick in TICKS:
        wide = ' stroke-width="2"' if tick in (1, 5) else ""
        out.append(f'<path d="M{x(tick):.1f} 8V{height - 48}" stroke="currentColor" opacity=".25"'
                   f'{wide}/><text x="{x(tick):.1f}" y="{height - 32}" text-anchor="middle">'
                   f"{tick:g}</text>")
    for k, (n, e) in enumerate(keys):
        y = 22 + ROW * k
        out.append(f'<text x="{LEFT - 12}" y="{y + 4}" text-anchor="end">n = {n:,}, ε = {-e:g}'
                   "</text>")
        for c in cells:
            if (c["n"], -c["epsilon"]) == (n, e):
                out.append(mark(SHAPES[c["clouds"]], x(c["speed-up"]), y))
    out.append(f'<text x="{(LEFT + WIDTH) / 2}" y="{height - 8}" text-anchor="middle">'
               "times as fast as the best valid peer</text>")
    gains = [c["speed-up"] for c in cells]
    alt = (f"Gains over the best valid peer in {len(cells)} cells, from {min(gains):.1f} to "
           f"{max(gains):.1f}, growing as epsilon falls.")
    legend = "Circles: Gaussians. Triangles: moons to eight Gaussians. Squares: digits to noise."
    return (f'<figure class="otlab-bench"><div class="otlab-scroll" tabindex="0" role="region" '
            f'aria-label="Gains, drawn"><svg viewBox="0 0 {WIDTH} {height}" role="img" '
            f'aria-label="{alt}" font-size="13" fill="currentColor">{"".join(out)}</svg></div>'
            f"<figcaption>The smaller ε, the larger the gain. One mark for each pair of "
            f"clouds and dimension. {legend}</figcaption></figure>")


def mark(shape: str, x: float, y: float) -> str:
    style = 'fill="#009E73" fill-opacity=".75" stroke="currentColor" stroke-width=".6"'
    if shape == "circle":
        return f'<circle cx="{x:.1f}" cy="{y}" r="5" {style}/>'
    if shape == "square":
        return f'<rect x="{x - 4.5:.1f}" y="{y - 4.5}" width="9" height="9" {style}/>'
    return f'<path d="M{x:.1f} {y - 6}l6 10h-12z" {style}/>'


def exact(data: dict) -> str:
    """Exact solvers, for scale."""
    rows = [(f"{r['n']:,}", *(seconds(v) for v in r["seconds"].values()))
            for r in data["rows"].values()]
    names = list(next(iter(data["rows"].values()))["seconds"])
    return ("## Exact transport, for scale\n\nThe same Gaussians in d = 8, ε = 0, in float64.\n\n"
            + table(("n", *names), rows, "Exact solvers"))


def large(data: dict) -> str:
    """Fifty thousand points, and the memory of streaming."""
    out = ["## Larger problems\n"]
    for row in data["rows"].values():
        if "seconds" not in row:
            continue
        rows = [(html.escape(k), seconds(v), seconds(row["processor seconds"][k]),
                 row["steps"].get(k, "–"), f"{row['error'][k]:.1e}")
                for k, v in row["seconds"].items()]
        out += [f"n = m = {row['n']:,}, d = 8, ε / std(C) = 0.1, no table stored, once each:\n",
                table(("solver", "clock", "processor", "sweeps", "error"), rows, "Streaming")]
    if "memory" in data["rows"]:
        peaks = data["rows"]["memory"]["MiB"]
        rows = [(f"{int(n):,}", f"{p['before']:.0f}", f"{p['peak']:.0f}") for n, p in peaks.items()]
        out += [f"\nResident memory of the whole process when streaming, d = "
                f"{data['rows']['memory']['d']}, MiB:\n",
                table(("n = m", "before the call", "peak"), rows, "Memory of streaming")]
    return "\n".join(out)


def semidiscrete(data: dict) -> str:
    """Time to one quality."""
    out = ["## Semidiscrete transport\n\nTime to χ² ≤ 0.02 on 1,797 standardised digits. Peers are "
           "told the least number of steps that gets there; “otlab” finds out by itself and proves "
           "it on fresh noise; “otlab, told” is treated as the peers are. “Our rate” is OTT-JAX "
           "given our schedule of steps, and averaging that its defaults do not do.\n"]
    for key, row in data["rows"].items():
        rows = [(html.escape(k), seconds(v), seconds(row["processor seconds"][k]),
                 f"{row['chi2'][k]:.3f}") for k, v in row["seconds"].items()]
        heads = ("solver", "clock", "processor", "χ²")
        peers = {k: v for k, v in row["seconds"].items() if not k.startswith("otlab")}
        own, told = row["seconds"]["otlab"], row["seconds"]["otlab, told"]
        best, theirs = (min(peers[k] for k in peers if borrowed or "our rate" not in k)
                        for borrowed in (True, False))
        epsilon = float(key.rpartition("=")[2])
        out.append(f"\nε / std(C) = {epsilon:g}: by its own stop {theirs / own:.1f} times as fast "
                   f"as the best peer with a schedule of its own, told {theirs / told:.1f}; "
                   f"beside OTT-JAX with our schedule {best / own:.1f} and {best / told:.1f}.\n\n"
                   + table(heads, rows, "Semidiscrete solvers"))
    return "\n".join(out)


WORDS = {"training": "Training steps a second, batch 256, Adam with cosine decay.",
         "sampling": "Points a second, by Euler's method with 16 evaluations of the network.",
         "pairing": "Batches a second that find their optimal pairs."}


PLAIN = ("TorchCFM", "TorchCFM, torchdiffeq")


def beside_plain(gains: list) -> str:
    """A sentence on TorchCFM as its examples run it."""
    if not gains:
        return ""
    return (f" Beside TorchCFM as its examples run it, ours is {min(gains):.2f} to "
            f"{max(gains):.2f} times as fast in training and sampling, by the clock.")


def flows(data: dict) -> str:
    """Rates of training, sampling and pairing beside TorchCFM."""
    rows = list(data["rows"].values())
    trained, clock = ({f"{r['kind']} of {r['problem']}": max(g[by] for g in r["gain"].values())
                       for r in rows if r["kind"] in ("training", "sampling")}
                      for by in ("processor", "clock"))
    plain = [max(rate[k] for k in row["gain"]) / rate[peer] for row in rows
             for rate in (row["rate"],) for peer in PLAIN if peer in row["valid peers"]]
    lost = ", ".join(f"{html.escape(k)} ({v:.2f}, by the clock {clock[k]:.2f})"
                     for k, v in trained.items() if min(v, clock[k]) < 1)
    cores = data["machine"].split(" (")[0]
    out = [f"## Flow matching\n\nTorchCFM with the same network from the same first weights, in "
           f"float32.{beside_plain(plain)} In training and sampling ours is "
           f"{min(trained.values()):.2f} to "
           f"{max(trained.values()):.2f} "
           "times as fast as the best of TorchCFM, compiled TorchCFM and bare PyTorch, by "
           f"processor seconds ({min(clock.values()):.2f} to {max(clock.values()):.2f} by the "
           f"clock); slower in {lost or 'none'}. The load was {data['load']:g} when "
           f"this was run ({html.escape(cores)}): where it is above the number of cores, read the "
           "processor's column. Each gain is over the best valid peer.\n"]
    for kind, words in WORDS.items():
        for row in (r for r in rows if r["kind"] == kind):
            quality = row.get("alignment", {})
            heads = ("", "by the clock", "by the processor", "gain, clock", "gain, processor",
                     *(["⟨x₀, x₁⟩ / d"] if quality else []))
            body = []
            for k, rate in row["rate"].items():
                gain = row["gain"].get(k)
                mark = "" if gain or k in row["valid peers"] else " <small>pairs nothing</small>"
                body.append((html.escape(k) + mark, f"{rate:,.4g}",
                             f"{row['processor rate'][k]:,.4g}",
                             f"{gain['clock']:.2f} ×" if gain else "–",
                             f"{gain['processor']:.2f} ×" if gain else "–",
                             *([f"{quality[k]:.3f}"] if quality else [])))
            more = "".join(f" {html.escape(k)} needs its potential first: "
                           f"{seconds(v)} of the processor, once."
                           for k, v in row.get("once", {}).items())
            title = f"{kind.capitalize()}, {html.escape(row['problem'])}"
            out.append(f"\n**{title}.** {words}{more}\n\n"
                       + table(heads, body, f"{kind}, {row['problem']}"))
    return "\n".join(out)


def steering(data: dict) -> str:
    """What hooks, maps and LinEAS add to the plain model, and how fast it is loaded."""
    heads = ("", "plain", "with it", "ratio by the clock", "by the processor", "target")
    rows = []
    for key, row in data["rows"].items():
        one, other = row["seconds"].values()
        rows.append((html.escape(key), seconds(one), seconds(other), f"{row['ratio']:.2f}",
                     f"{row['ratio, processor']:.2f}", html.escape(row["target"])))
    return ("## Steering\n\nSmolLM2-135M-Instruct in float32. Recording takes mean-pooled "
            "activations behind all thirty blocks of 64 sentences; generation writes 24 tokens "
            "after 16 prompts with ten blocks steered. A step of LinEAS stops behind the last "
            "block that it reads, so it costs less than the pass forward and back through the "
            "whole model that it is measured by. Loading compares transformers' reading of the "
            "same GGUF file, tokenizer included, with ours: equal tokens, logits within "
            f"{max(r.get('gap', 0) for r in data['rows'].values()):.0e}.\n\n"
            + table(heads, rows, "What steering costs"))


def first(data: dict) -> str:
    """CPU seconds to the first answer, compilation included."""
    parts, asked, gains = [], [], []
    for row in data["rows"].values():
        size, ours = (f"{row['n']:,}", row["d"]), row["processor seconds"]["otlab"]
        for name, cell in row["processor seconds"].items():
            parts.append((*size, html.escape(name), *(seconds(cell[k]) for k in (
                "import", "first", "next size", "steady")), f"{cell['error']:.0e}"))
        asked.append((*size, *map(seconds, ours["asked"].values())))
        gains += [cell["first"] / ours["first"]
                  for name, cell in row["processor seconds"].items() if name == "OTT-JAX"]
    beside = (f" The first `sinkhorn` takes {mean(gains):.1f} times less than OTT-JAX's (geometric "
              f"mean; {min(gains):.1f} to {max(gains):.1f})." if gains else "")
    heads = ("n", "d", "library", "import", "first solve", "another n", "later", "error")
    names = tuple(ours["asked"])
    return ("## The first answer\n\nProcessor seconds in a fresh process, compilation included, no "
            "cache: the least of several runs. Each library stops in its own way; the error is the "
            f"L1 gap of both marginals, in float64.{beside}\n\n"
            + table(heads, parts, "First answers")
            + "\nWhat is asked of our result, each for the first time; the gradient solves again:"
            + "\n\n" + table(("n", "d", *names), asked, "First calls of a result"))
