"""Convolution and ResNet-18 against PyTorch: ``python -m tests.bench.bench_conv``.

Forward and both gradients of a 3x3 convolution, batch 64, against
``torch.nn.functional.conv2d`` in its faster memory layout. Then a training step of the
network on 64 + 64 images: forward, BAR update of F, gradient, Adam; PyTorch's eagerly
with its autograd. One thread, interleaved, medians; the outputs are compared.
"""

from typing import Any

from tests.bench.timing import ratios, row

import numpy as np
import torch

from figures.mnist import network
from refnce import optim, train
from refnce.nn.conv import convolution, hwcn_to_nchw, nchw_to_hwcn
from refnce.nn.params import Flat
from refnce.nn.resnet import FULL
from refnce.train import Method, Training, models
from tests import torch_resnet

torch.set_num_threads(1)
BATCH = 64
RATE = 1e-4


def conv_ratio(side: int, channels: int) -> float:
    """Time of a convolution over the better of PyTorch's two."""
    g = np.random.Generator(np.random.PCG64(0))
    weight = g.normal(size=(channels, channels, 3, 3)) / (3 * channels**0.5)
    params = {"weight": weight.astype("float32"), "bias": np.zeros(channels, "float32")}
    images, dimages = g.normal(size=(2, BATCH, channels, side, side)).astype("float32")
    x, dy, layer = nchw_to_hwcn(images), nchw_to_hwcn(dimages), convolution()

    def ours() -> Any:
        y, pullback = layer(params, x)
        return y, *pullback(dy)

    def theirs(layout: Any) -> Any:
        tensors = map(torch.tensor, (images, params["weight"], dimages))
        image, w, slope = (a.contiguous(memory_format=layout) for a in tensors)
        image.requires_grad_()
        w.requires_grad_()

        def run() -> Any:
            image.grad = w.grad = None
            y = torch.nn.functional.conv2d(image, w, padding=1)
            y.backward(slope)
            return y.detach(), image.grad, w.grad

        return run

    planes, channels_last = map(theirs, (torch.contiguous_format, torch.channels_last))
    works = {"ours": ours, "planes": planes, "channels": channels_last}
    y, dx, dparams = ours()
    results = hwcn_to_nchw(y), hwcn_to_nchw(dx), dparams["weight"]
    for got, right in zip(results, planes(), strict=True):
        error = np.max(np.abs(got - right.numpy())) / float(right.abs().max())
        assert error < 1e-5, error  # sums of up to 5e4 terms in float32
    over = ratios(works, "planes", rounds=9)
    return over["ours"] / min(1.0, over["channels"])


def step_ratio(widths: tuple[int, ...], dtype: str) -> float:
    """Time of a training step over PyTorch's."""
    g = np.random.Generator(np.random.PCG64(0))
    shapes = network.log_ratio_shapes(widths)
    params = network.log_ratio_init_params(shapes, g)
    theta = Flat(shapes).ravel(params).astype(dtype)
    x, y = (g.uniform(size=(BATCH, 784)).astype(dtype) for _ in range(2))
    model = models.network(network.log_ratio(widths), shapes, None)
    training = Training(model, Method("bar"), optim.adam, RATE)
    begin = train.start(training, theta, np.zeros((), dtype))
    kind = getattr(torch, dtype)
    options = {"dtype": kind, "requires_grad": True}
    leaves = {k: torch.tensor(p, **options) for k, p in params.items()}
    adam = torch.optim.Adam(leaves.values(), lr=RATE)
    both = torch.tensor(np.concatenate([x, y]), dtype=kind)
    state: dict[str, Any] = {"F": torch.zeros((), dtype=kind), "ours": begin}

    def theirs() -> None:
        softplus, sigmoid = torch.nn.functional.softplus, torch.sigmoid
        r = torch_resnet.log_ratio(torch, leaves, both, widths)
        data, noise = r[:BATCH] - state["F"], r[BATCH:] - state["F"]
        adam.zero_grad()
        (0.5 * softplus(-data).mean() + 0.5 * softplus(noise).mean()).backward()
        adam.step()
        with torch.no_grad():
            ratio = sigmoid(noise).mean() / sigmoid(-data).mean()
            state["F"] = state["F"] + torch.log(ratio)

    def ours() -> None:
        state["ours"] = train.step(state["ours"], x, y)

    ours()
    theirs()
    F, right = float(state["ours"].F), float(state["F"])
    assert abs(F - right) < 1e-3 * (1 + abs(right)), (F, right)
    state["ours"] = begin
    return ratios({"ours": ours, "torch": theirs}, "torch", rounds=5)["ours"]


if __name__ == "__main__":
    # Products may take 1.6 times the time of Winograd's transforms (355 lines): 1.5
    # for the narrow network, 1.0 for the standard one, 0.5 for it in float64.
    narrow, standard, double = (2.4, 1.5), (1.6, 1.0), (0.8, 0.5)
    for side, full in ((28, 64), (14, 128), (7, 256), (4, 512)):
        for channels in (full, full // 4):  # the standard network and the narrow
            work = f"conv3x3 of {side} x {side}, {channels} channels"
            ratio, peer = conv_ratio(side, channels), "PyTorch conv2d, better layout"
            bounds = standard if channels == full else narrow
            print(row(work, peer, ratio, *bounds, less_is_better=True), flush=True)
    for label, widths, dtype, bounds in (
        ("narrow", network.NARROW, "float32", narrow),
        ("standard", FULL, "float32", standard),
        ("standard", FULL, "float64", double),
    ):
        work, ratio = f"step of ResNet-18, {label}, {dtype}", step_ratio(widths, dtype)
        print(row(work, "PyTorch eager", ratio, *bounds, less_is_better=True))
