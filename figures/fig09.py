"""Figure 9: loss, parameter distance and trajectory for means 4 apart."""

from functools import partial

from figures import gaussian1d, triptych

compute = partial(gaussian1d.setting, distance=4.0)
TITLE = "Figure 9: Gaussians on the line, means at a distance of 4"
draw = partial(triptych.draw, title=TITLE)
