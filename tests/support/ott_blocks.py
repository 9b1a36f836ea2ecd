"""OTT-JAX in its streaming mode (batch_size), in an interpreter of its own.

OTT-JAX 0.6.0 cannot stream from JAX 0.9 on (`is_vmappable` was removed), so the benchmark keeps a
second, small environment in .cache/peers with JAX 0.8. Called as a script, this file is the
worker there: it reads one JSON line a request and answers with one.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

HOME = Path(".cache/peers")
WANTED = ("jax==0.8.2", "jaxlib==0.8.2", "ott-jax==0.6.0")
BLOCK = 1024


def python() -> Path | None:
    """The other environment's interpreter, installed on first use; None where that fails."""
    path = HOME / "bin" / "python"
    if not path.is_file():
        uv = [sys.executable, "-m", "uv"]
        made = [[*uv, "venv", "--quiet", "--python", sys.executable, str(HOME)],
                [*uv, "pip", "install", "--quiet", "--python", str(path), *WANTED]]
        if any(subprocess.run(command).returncode for command in made):
            return None
    return path


class Worker:
    """One problem at a time: load(x, y, epsilon), then solve() as often as one likes."""

    def __init__(self, interpreter: Path):
        self.process = subprocess.Popen([str(interpreter), __file__], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)
        self.folder = tempfile.TemporaryDirectory()
        self.path = str(Path(self.folder.name) / "problem.npz")

    def ask(self, **request) -> dict:
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError("the worker for OTT's streaming mode has stopped")
        return json.loads(answer)

    def load(self, x, y, epsilon, tolerance):
        import numpy as np

        np.savez(self.path, x=x, y=y)
        self.ask(load=self.path, epsilon=float(epsilon), tolerance=tolerance)

    def solve(self):
        """Solve the loaded problem; potentials stay with the worker until asked for."""
        return self.ask(solve=True)

    def potentials(self):
        import numpy as np

        self.ask(save=self.path)
        with np.load(self.path) as file:
            return file["f"], file["g"]

    def close(self):
        self.process.stdin.close()
        self.process.wait(timeout=60)
        self.folder.cleanup()


def serve():
    """The worker's loop."""
    import time

    import jax
    import numpy as np
    from ott.geometry import costs, pointcloud
    from ott.solvers import linear

    @jax.jit
    def run(x, y, epsilon, tolerance):
        geometry = pointcloud.PointCloud(x, y, cost_fn=costs.NegDotProduct(), epsilon=epsilon,
                                         batch_size=BLOCK)
        out = linear.solve(geometry, threshold=tolerance, max_iterations=20_000)
        return out.f, out.g, out.n_iters

    for line in sys.stdin:
        request = json.loads(line)
        answer = {}
        if "load" in request:
            with np.load(request["load"]) as file:
                x, y = jax.numpy.asarray(file["x"]), jax.numpy.asarray(file["y"])
            epsilon, tolerance = request["epsilon"], request["tolerance"]
        elif "solve" in request:
            wall, cpu = time.perf_counter(), time.process_time()
            f, g, steps = jax.block_until_ready(run(x, y, epsilon, tolerance))
            answer = {"seconds": time.perf_counter() - wall, "cpu": time.process_time() - cpu,
                      "steps": int(steps)}
        else:
            np.savez(request["save"], f=f, g=g)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    serve()
