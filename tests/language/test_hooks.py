"""Hooks look at what modules put out, change it, and are gone when their block ends."""

import pytest
import torch
from residual_toy import Toy

from otlab.language.hooks import hooked


def test_a_hook_changes_the_output_inside_its_block_only():
    toy, x = Toy(d=4, blocks=2), torch.ones(3, 4)
    plain = toy.run(x)
    with hooked(toy, {"1": lambda z: z + 1}):
        assert torch.allclose(toy.run(x), plain + 1)
    assert torch.equal(toy.run(x), plain)


def test_hooks_are_gone_after_an_exception():
    toy, x = Toy(d=4, blocks=2), torch.ones(3, 4)
    plain = toy.run(x)
    with pytest.raises(KeyError), hooked(toy, {"0": lambda z: 2 * z}):
        raise KeyError
    assert torch.equal(toy.run(x), plain)


def test_none_leaves_the_output_as_it_is_and_blocks_nest():
    toy, x, seen = Toy(d=4, blocks=1), torch.ones(2, 4), []
    with hooked(toy, {"0": lambda z: 2 * z}), hooked(toy, {"0": lambda z: seen.append(z)}):
        out = toy.run(x)
    assert torch.equal(seen[0], out)


def test_an_unknown_module_is_named_with_its_nearest():
    with pytest.raises(ValueError, match="no module 'O'"), hooked(Toy(), {"O": lambda z: z}):
        pass
