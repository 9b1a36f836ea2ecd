"""The Sinkhorn divergence: entropic transport without the entropic bias."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from otlab.couplings.entropic_ot.sinkhorn import SinkhornResult, sinkhorn


class SinkhornDivergence(eqx.Module):
    """OT_eps(x, y) - (OT_eps(x, x) + OT_eps(y, y)) / 2 and the three solutions behind it.

    value: in units of the cost; zero when the clouds are equal.
    status: the worst `Status` of the three.   steps: Sinkhorn iterations of all three.
    """

    value: Float[Array, ""]
    results: tuple[SinkhornResult, SinkhornResult, SinkhornResult]

    @property
    def status(self) -> Int[Array, ""]:
        """0 when all three converged."""
        return jnp.max(jnp.stack([r.status for r in self.results]))

    @property
    def steps(self) -> Int[Array, ""]:
        """Sinkhorn iterations of the three solvers together."""
        return sum(r.steps for r in self.results)

    def require_converged(self) -> "SinkhornDivergence":
        """Return self, or raise RuntimeError saying what to change."""
        for r in self.results:
            r.require_converged()
        return self


def sinkhorn_divergence(x, y, *, epsilon, a=None, b=None, cost="sqeuclidean", tol=1e-3,
                        max_steps=2_000, block=None) -> SinkhornDivergence:
    """A distance between clouds x (n, d) and y (m, d) that vanishes only when they are equal.

    Three dual values of `sinkhorn`; differentiable, with all potentials held fixed.

    Args: as in `sinkhorn`. epsilon is in units of the cost and the same for all three.

    Source: Feydy et al. (2019), arXiv 1810.08278, equation 3.
    """
    settings = dict(epsilon=epsilon, cost=cost, tol=tol, max_steps=max_steps, block=block)
    xy = sinkhorn(x, y, a=a, b=b, **settings)
    xx = sinkhorn(x, x, a=a, b=a, **settings)
    yy = sinkhorn(y, y, a=b, b=b, **settings)
    value = xy.dual_value() - (xx.dual_value() + yy.dual_value()) / 2
    return SinkhornDivergence(value, (xy, xx, yy))
