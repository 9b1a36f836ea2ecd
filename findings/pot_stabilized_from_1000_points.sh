#!/usr/bin/env bash
# Claim: `sinkhorn_stabilized` of POT 0.9.7.post1, at a regularisation that needs stabilising and
#   with its default `tau`, converges on 999 points and never on 1,000 or more: its plan then has
#   a mass of 1e-6.
# Expected: `tau` says when scalings are moved into the potentials, a matter of overflow; the
#   stabilised solver should converge wherever the plain one does, here after 60 iterations.
# Why: after an absorption the scalings start at 1/n on a kernel that is already a plan, so with
#   equal weights the next ones are about n. From n = tau = 1e3 on that is absorbed again, in
#   every iteration, and the plan that is tested and returned is built from the scalings 1/n just
#   restarted.
# Instead: give `tau` far above n, such as 1e9, or call `sinkhorn_log`; and look at the plan's
#   mass.
# Seen on 2026-11-30:
#   POT 0.9.7.post1
#   n = 999 {}: 60 iterations, mass of the plan 1
#   n = 1000 {}: 99 iterations, mass of the plan 1e-06
#   n = 1000 {'tau': 1000000000.0}: 60 iterations, mass of the plan 1
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q pot==0.9.7.post1 numpy==2.4.6 scipy==1.17.1
"$folder/venv/bin/python" -I - <<'PYTHON'
import sys
import warnings
from importlib.metadata import version

import numpy as np
import ot

warnings.simplefilter("ignore")
print("POT", version("pot"))
seen = {}
for n, settings in ((999, {}), (1000, {}), (1000, {"tau": 1e9})):
    rng = np.random.default_rng(0)
    cost = ot.dist(rng.normal(size=(n, 2)), rng.normal(size=(n, 2)) + 1)
    weights = np.full(n, 1 / n)
    plan, log = ot.bregman.sinkhorn_stabilized(weights, weights, cost, 0.1 * cost.mean(),
                                               numItermax=100, log=True, **settings)
    seen[n, *settings] = log["n_iter"], plan.sum()
    print(f"n = {n} {settings}: {log['n_iter']} iterations, mass of the plan {plan.sum():.3g}")
below, at, told = seen.values()
if not (below[0] < 100 and told[0] < 100 and at[0] == 99 and at[1] < 1e-3
        and abs(below[1] - 1) + abs(told[1] - 1) < 1e-6):
    sys.exit("changed: sinkhorn_stabilized no longer fails from n = tau on")
PYTHON
