"""`make bench`: what steering costs beside the plain model, and our loader beside transformers'.

Ratios of medians of interleaved runs, of the clock and of the processor; nothing asserts a time.
Report: _build/reports/bench_steering.json, see report.py.
"""

import statistics
import time

import numpy as np
import pytest
import report
import torch

from otlab.core.data.texts import CONCEPTS, bags
from otlab.language import carried
from otlab.language.hooks import activations
from otlab.language.model import carried as carried_model
from otlab.steering import lineas
from otlab.steering.activation_transport import fit
from otlab.steering.maps import steer

REPEATS = 7


def interleaved(named, repeats=REPEATS):
    """{name: (median seconds of the clock, of the processor)} after one run that is not counted."""
    times = {name: [] for name in named}
    for k in range(repeats + 1):
        for name, run in named.items():
            wall, processor = time.perf_counter(), time.process_time()
            run()
            if k:
                times[name].append((time.perf_counter() - wall, time.process_time() - processor))
    return {name: tuple(statistics.median(column) for column in zip(*rows, strict=True))
            for name, rows in times.items()}


def add(key, times, plain, other, **more):
    ratio = [times[other][k] / times[plain][k] for k in (0, 1)]
    print(f"\n{key}: {ratio[0]:.3f} by the clock, {ratio[1]:.3f} by the processor", flush=True)
    report.add("steering", key, {
        "seconds": {name: t[0] for name, t in times.items()},
        "processor seconds": {name: t[1] for name, t in times.items()},
        "ratio": ratio[0], "ratio, processor": ratio[1]} | more)


@pytest.fixture(scope="module")
def model():
    return carried_model()


@pytest.fixture(scope="module")
def maps(model):
    source, target = bags(CONCEPTS["football"], 32, seed=0)
    return fit(model, source, target, model.blocks[15:25], method="mean")


def test_recording(model):
    """Mean-pooled activations of all blocks against the same forward passes."""
    texts = bags(CONCEPTS["football"], 64, seed=0)[1]

    def plain():
        with torch.no_grad():
            for k in range(0, len(texts), 32):
                model.run(model.tokens(texts[k:k + 32]))

    times = interleaved({"plain": plain, "recorded": lambda: activations(model, texts,
                                                                         model.blocks)})
    add("recording 30 blocks", times, "plain", "recorded", target="at most 1.10")


def test_generation(model, maps):
    """Twenty-four tokens after sixteen prompts, ten blocks steered."""
    prompts = ["Once upon a time"] * 16

    def steered():
        with steer(model, maps, 1.0):
            model.generate(prompts, new=24, seed=0)

    times = interleaved({"plain": lambda: model.generate(prompts, new=24, seed=0),
                         "steered": steered}, repeats=5)
    add("generation, 10 blocks", times, "plain", "steered", target="at most 1.10")


def test_a_lineas_step(model):
    """A step of LinEAS on 32 + 32 sentences against a bare forward and backward pass."""
    source, target = bags(CONCEPTS["football"], 32, seed=0)
    names = model.blocks[15:25]

    def bare():
        shifts = [torch.zeros(model.net.shape.width, requires_grad=True) for _ in names]
        hooks = dict(zip(names, shifts, strict=True))
        modules = dict(model.net.named_modules())
        handles = [modules[n].register_forward_hook(lambda m, i, z, s=s: z + s)
                   for n, s in hooks.items()]
        try:
            model.run(model.tokens(source)).square().mean().backward()
        finally:
            for handle in handles:
                handle.remove()

    def steps(count):
        return lambda: lineas.fit(model, source, target, names, steps=count, rate=0.01, seed=0)

    times = interleaved({"bare": bare, "3 steps": steps(3), "1 step": steps(1)}, repeats=3)
    one = tuple((times["3 steps"][k] - times["1 step"][k]) / 2 for k in (0, 1))
    add("a LinEAS step, 10 blocks", {"bare": times["bare"], "step": one}, "bare", "step",
        target="at most 1.3")


def test_the_loader():
    """Model and tokenizer from the same GGUF file; logits and tokens are compared as well."""
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    path = carried.carried_file()

    def theirs():
        return (transformers.AutoModelForCausalLM.from_pretrained(
            path.parent, gguf_file=path.name, dtype=torch.float32),
            transformers.AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name))

    times = interleaved({"transformers": theirs, "otlab": lambda: carried.read_gguf.__wrapped__(
        path)}, repeats=2)
    (net, tokenizer), (ours, ours_tokenizer) = theirs(), carried.read_gguf(path)
    # One space before a digit: of more, transformers forgets that the file splits digits first.
    text = "The capital of France is Paris, 1234.\n\n  It's 5 pm"
    ids = ours_tokenizer.encode(text).ids
    assert tokenizer(text)["input_ids"] == ids
    ids = torch.tensor([ids])
    with torch.no_grad():
        gap = (net(ids).logits - ours(ids, torch.ones_like(ids),
                                      torch.arange(ids.shape[1])[None])).abs().max()
    assert float(gap) < 1e-3
    add("loading, transformers over ours", times, "otlab", "transformers", target="at least 3",
        gap=float(np.float32(gap)))
