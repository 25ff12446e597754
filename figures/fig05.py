"""Figure 5: learnt densities, 8-Gaussians."""

from functools import partial

from figures import density_maps

compute = partial(density_maps.compute, system="8-Gaussians")
draw = partial(density_maps.draw, title="Figure 5: learnt densities, 8-Gaussians")
