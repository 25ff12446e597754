"""``figures.mnist.network.log_ratio`` in PyTorch, of parameters by the same names."""

from typing import Any

from refnce.nn.leaky_relu import SLOPE


def log_ratio(torch: Any, params: Any, x: Any, widths: Any, sign: float = -1.0) -> Any:
    """x (n, side^2) -> r (n,)."""
    F, side = torch.nn.functional, round(x.shape[-1] ** 0.5)

    def both(name: str) -> Any:
        return params[f"{name}.weight"], params[f"{name}.bias"]

    def conv(name: str, h: Any, stride: int = 1) -> Any:
        return F.conv2d(h, *both(name), stride=stride, padding=1)

    h, block, before = conv("1.1", x.reshape(-1, 1, side, side)), 2, widths[0]
    for stage, width in enumerate(widths):
        for stride in (1 if stage == 0 else 2, 1):
            name = f"1.{block}"
            y = conv(f"{name}.branch.1", F.leaky_relu(h, SLOPE), stride)
            y = conv(f"{name}.branch.3", F.leaky_relu(y, SLOPE))
            if stride > 1 or before != width:
                h = F.conv2d(h, *both(f"{name}.shortcut"), stride=stride)
            h, block, before = h + y, block + 1, width
    f = F.linear(F.leaky_relu(h, SLOPE).mean(dim=(2, 3)), *both(f"1.{block + 2}"))
    triangle = params["2.triangle"]
    L = torch.tril(triangle, -1) + torch.diag(torch.exp(torch.diagonal(triangle)))
    return sign * ((f @ L) ** 2).sum(dim=-1) + f @ params["2.b"]
