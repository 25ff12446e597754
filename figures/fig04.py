"""Figure 4: log of the NCE loss, 8-Gaussians."""

from functools import partial

from figures import curves

compute = partial(curves.compute, system="8-Gaussians")
draw = partial(curves.draw, heading="Figure 4: log of the NCE loss, 8-Gaussians")
