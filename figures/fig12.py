"""Figure 12: learnt densities, pinwheel."""

from functools import partial

from figures import density_maps

compute = partial(density_maps.compute, system="pinwheel")
draw = partial(density_maps.draw, title="Figure 12: learnt densities, pinwheel")
