"""Figure 10: loss, parameter distance and trajectory for means 16 apart."""

from functools import partial

from figures import gaussian1d, triptych

compute = partial(gaussian1d.setting, distance=16.0)
TITLE = "Figure 10: Gaussians on the line, means at a distance of 16"
draw = partial(triptych.draw, title=TITLE)
