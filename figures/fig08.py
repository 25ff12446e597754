"""Figure 8: loss, parameter distance and trajectory for means 1 apart."""

from functools import partial

from figures import gaussian1d, triptych

compute = partial(gaussian1d.setting, distance=1.0)
TITLE = "Figure 8: Gaussians on the line, means at a distance of 1"
draw = partial(triptych.draw, title=TITLE)
