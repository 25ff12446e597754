"""Beyond the paper, digits: a quick run on made-up digits."""

import json

import numpy as np
import pytest

from figures import beyond03
from figures.io import to_json
from tests.test_log_ratio import settings  # noqa: F401

pytest.importorskip("sklearn", reason="the figures need sklearn")


def test_quick_run_on_made_up_digits(settings, monkeypatch):  # noqa: F811
    # Workers of another process would read the folder.
    plain = lambda f, jobs, backend: map(f, jobs)  # noqa: E731
    monkeypatch.setattr(beyond03, "parallel_map", plain)
    found = json.loads(to_json(beyond03.compute(settings)))
    assert set(found["measures"]) == set(found["pictures"])
    for own in found["measures"].values():
        assert 0.0 <= own["nearest_error"] <= 1.0 and own["frechet"] > 0.0
        assert 0.1 <= own["confidence"] <= 1.0 and own["class_entropy"] <= 2.3027
    assert tuple(found["rules"]) == tuple(beyond03.RULES)
    models = [run for runs in found["rules"].values() for run in runs]
    for run in [*models, found[beyond03.BRIDGES]]:
        alone, both, gain = (run["nats"][k] for k in ("noise alone", "model", "gain"))
        # Seven digits of numbers of some hundred nats.
        assert alone[0] - both[0] == pytest.approx(gain[0], abs=1e-3)
        assert all(error > 0.0 for _, error in (alone, both, gain))
        assert run["curve"]["step"] == [0, 3]
    for run in models:
        at = run["F"]
        assert at["held-out loss"] <= at["held-out loss, own F"]
    assert len(found[beyond03.BRIDGES]["F"]["of bridges"]) == 6
    figure = beyond03.draw(found)
    assert len(figure.axes) == 10
    assert np.shape(found["pictures"][beyond03.DIGITS]) == (64,)
