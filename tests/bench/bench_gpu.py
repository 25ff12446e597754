"""Formulas and solvers on CuPy arrays, against NumPy on one thread of the same machine.

``python -m tests.bench.bench_gpu`` prints how many times faster the GPU is. It is
awaited after every call.
"""

from functools import partial

from tests.bench.timing import ratios

import numpy as np

from refnce import logz, nce
from refnce.array import backend

SHAPES = (512,), (100, 512), (1000, 4096), (10**6,), (10**7,)
WORKS = {"loss": nce.loss, "grad_F": nce.grad_F, "grad_r": nce.grad_r}
WORKS = {name: partial(f, F=0.3) for name, f in WORKS.items()}
WORKS |= {"newton": logz.newton, "bar": logz.bar, "bisect": logz.bisect}

if __name__ == "__main__":
    cupy = backend.load("cupy")
    wait = cupy.cuda.get_current_stream().synchronize
    for shape in SHAPES:
        rng = np.random.Generator(np.random.PCG64(1))
        host = rng.normal(1.0, 1.0, shape), rng.normal(0.0, 1.0, shape)
        device = [cupy.asarray(r) for r in host]
        for name, f in WORKS.items():
            works = {"cpu": lambda: f(*host), "gpu": lambda: (f(*device), wait())}
            faster = ratios(works, "gpu", rounds=3)["cpu"]
            print(f"{name:10} {shape!s:13} {faster:7.2f}", flush=True)
