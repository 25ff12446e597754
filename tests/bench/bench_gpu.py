"""Formulas and solvers on CuPy arrays, against NumPy on one thread of the same machine.

``python -m tests.bench.bench_gpu`` prints how many times faster the GPU is. It is
awaited after every call.
"""

from functools import partial

from tests.bench.timing import ratios

from refnce.array import backend
from tests.libraries import function
from tests.regimes import rng

SHAPES = (512,), (100, 512), (1000, 4096), (10**6,), (10**7,)
NAMES = "nce.loss nce.grad_F nce.grad_r logz.newton logz.bar logz.bisect".split()

if __name__ == "__main__":
    cupy = backend.load("cupy")
    wait = cupy.cuda.get_current_stream().synchronize
    for shape in SHAPES:
        host = rng(1).normal(1.0, 1.0, shape), rng(2).normal(0.0, 1.0, shape)
        device = [cupy.asarray(r) for r in host]
        for name in NAMES:
            f = function(name) if "logz" in name else partial(function(name), F=0.3)
            works = {"cpu": lambda: f(*host), "gpu": lambda: (f(*device), wait())}
            print(f"{name:12} {shape} {ratios(works, 'gpu', rounds=3)['cpu']:.2f}")
