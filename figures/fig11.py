"""Figure 11: log of the NCE loss, pinwheel."""

from functools import partial

from figures import curves

compute = partial(curves.compute, system="pinwheel")
draw = partial(curves.draw, heading="Figure 11: log of the NCE loss, pinwheel")
