"""Convolution and ResNet-18 against PyTorch: ``python -m tests.bench.bench_conv`` prints the table of ratios.

Forward and both gradients of a 3x3 convolution, batch 64, against ``torch.nn.functional.conv2d`` in its better memory layout;
then a training step of the network on 64 + 64 images: forward, BAR update of F, gradient, Adam, PyTorch's eagerly with its
autograd. One thread, interleaved, medians; outputs are checked against each other.
"""

from __future__ import annotations

import os
import resource

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"

from typing import Any  # noqa: E402

import numpy as np  # noqa: E402
import torch  # noqa: E402

from refnce import optim, train  # noqa: E402
from refnce.train import models  # noqa: E402
from refnce.nn import resnet  # noqa: E402
from refnce.nn.conv3x3 import convolution  # noqa: E402
from refnce.nn.params import Flat  # noqa: E402
from refnce.nn.images import images_first, images_last  # noqa: E402
from refnce.train import Method, Training  # noqa: E402
from tests import torch_resnet  # noqa: E402
from tests.bench.timing import ratios, row  # noqa: E402

torch.set_num_threads(1)
BATCH = 64
RATE = 1e-4


def rng(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


def conv(side: int, channels: int) -> float:
    """Time of a convolution over the better of PyTorch's two."""
    g = rng(0)
    weight = (g.normal(size=(channels, channels, 3, 3)) / (3 * channels**0.5)).astype(
        "float32"
    )
    params = {"weight": weight, "bias": np.zeros(channels, "float32")}
    x = np.ascontiguousarray(
        images_last(g.normal(size=(BATCH, channels, side, side)).astype("float32"))
    )
    dy = np.ascontiguousarray(
        images_last(g.normal(size=(BATCH, channels, side, side)).astype("float32"))
    )
    layer = convolution()

    def ours() -> Any:
        y, pullback = layer(params, x)
        return y, *pullback(dy)

    def theirs(layout: Any) -> Any:
        image, w, slope = (
            torch.tensor(np.ascontiguousarray(a)).contiguous(memory_format=layout)
            for a in (images_first(x), weight, images_first(dy))
        )
        image.requires_grad_()
        w.requires_grad_()

        def run() -> Any:
            image.grad = w.grad = None
            y = torch.nn.functional.conv2d(image, w, padding=1)
            y.backward(slope)
            return y, image.grad, w.grad

        return run

    works = {
        "ours": ours,
        "planes": theirs(torch.contiguous_format),
        "channels": theirs(torch.channels_last),
    }
    y, dx, dparams = ours()
    z, dz, dw = works["planes"]()
    for got, expected in (
        (images_first(y), z.detach()),
        (images_first(dx), dz),
        (dparams["weight"], dw),
    ):
        error = np.max(np.abs(got - expected.numpy())) / np.max(
            np.abs(expected.numpy())
        )
        assert (
            error < 1e-4
        ), error  # Winograd's transforms: about 100 eps of the outputs' size
    over = ratios(works, "planes", rounds=9)
    return over["ours"] / min(1.0, over["channels"])


def step(widths: tuple[int, ...], dtype: str) -> float:
    """A training step over PyTorch's."""
    g, shapes = rng(0), resnet.log_ratio_shapes(widths)
    flat = Flat(shapes)
    theta = flat.pack(resnet.log_ratio_initial(shapes, g, 1)).astype(dtype)
    x, y = (g.uniform(size=(BATCH, 784)).astype(dtype) for _ in range(2))
    training = Training(
        models.network(resnet.log_ratio(widths), shapes, None),
        Method("bar"),
        optim.adam,
        RATE,
    )
    begin = train.start(training, theta, np.zeros(1, dtype))
    kind = getattr(torch, dtype)
    params = {
        k: torch.tensor(p[0], dtype=kind, requires_grad=True)
        for k, p in flat.unpack(theta).items()
    }
    adam = torch.optim.Adam(params.values(), lr=RATE)
    both = torch.tensor(np.concatenate([x, y]), dtype=kind)
    state: dict[str, Any] = {"F": torch.zeros((), dtype=kind), "ours": begin}

    def theirs() -> None:
        r = torch_resnet.log_ratio(torch, params, both, widths)
        data, noise = r[:BATCH] - state["F"], r[BATCH:] - state["F"]
        loss = (
            0.5 * torch.nn.functional.softplus(-data).mean()
            + 0.5 * torch.nn.functional.softplus(noise).mean()
        )
        adam.zero_grad()
        loss.backward()
        adam.step()
        with torch.no_grad():
            state["F"] = (
                state["F"]
                + torch.log(torch.sigmoid(noise).mean())
                - torch.log(torch.sigmoid(-data).mean())
            )

    def ours() -> None:
        state["ours"] = train.step(state["ours"], x, y)

    ours()
    theirs()
    assert abs(float(state["ours"].F[0]) - float(state["F"])) < 1e-3 * (
        1 + abs(float(state["F"]))
    )
    state["ours"] = begin
    return ratios({"ours": ours, "torch": theirs}, "torch", rounds=5)["ours"]


def main() -> None:
    for side, channels, must, aim in (
        (28, 64, 1.0, 0.65),
        (14, 128, 1.0, 0.65),
        (7, 256, 1.0, 0.65),
        (4, 512, 1.0, 0.65),
        (28, 16, 1.5, 1.0),
        (14, 32, 1.5, 1.0),
        (7, 64, 1.5, 1.0),
        (4, 128, 1.5, 1.0),
    ):
        work = f"conv3x3 of {side} x {side}, {channels} channels"
        print(
            row(
                work,
                "PyTorch conv2d, better layout",
                conv(side, channels),
                must,
                aim,
                less_is_better=True,
            ),
            flush=True,
        )
    for label, widths, dtype, must, aim in (
        ("narrow", resnet.NARROW, "float32", 1.5, 1.0),
        ("standard", resnet.FULL, "float32", 1.0, 0.65),
        ("standard", resnet.FULL, "float64", 0.5, 0.27),
    ):
        work = f"step of ResNet-18, {label} widths, {dtype}"
        print(
            row(
                work,
                "PyTorch eager",
                step(widths, dtype),
                must,
                aim,
                less_is_better=True,
            ),
            flush=True,
        )
        print(
            f"    peak memory of this process so far {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB"
        )


if __name__ == "__main__":
    main()
