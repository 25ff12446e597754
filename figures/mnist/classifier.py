"""A small classifier of digits, whose features and classes judge samples of images."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from figures.mnist.dequantize import dequantize
from figures.mnist.frechet import frechet
from refnce import nn, optim
from refnce.array import make_rng
from refnce.nn.params import Flat

__all__ = ["Classifier", "Judgement", "cross_entropy", "judge"]
__all__ += ["train_classifier"]

WIDTHS = (784, 256, 64, 10)
LAST = ("4.weight", "4.bias")


@dataclass(frozen=True)
class Classifier:
    """A perceptron of three affine layers, `refnce.nn.mlp`.

    Parameters
    ----------
    params : dict
        Of NumPy arrays, as ``nn.mlp_shapes(784, 256, 64, 10)`` names them.

    Examples
    --------
    >>> import numpy as np
    >>> from figures.mnist.classifier import Classifier
    >>> from refnce import nn
    >>> shapes = nn.mlp_shapes(784, 256, 64, 10)
    >>> classifier = Classifier(nn.init_params(shapes, np.random.default_rng(0)))
    >>> x = np.zeros((5, 784))
    >>> classifier.features(x).shape, classifier.probabilities(x).shape
    ((5, 64), (5, 10))
    """

    params: dict[str, Any]

    def features(self, x: Any) -> Any:
        """Return what the last layer sees, (n, 64), of images x (n, 784)."""
        below = {name: v for name, v in self.params.items() if name not in LAST}
        dtype = self.params[LAST[0]].dtype
        y, _ = nn.mlp(below, np.asarray(x, dtype))
        return nn.leaky_relu({}, y)[0]

    def probabilities(self, x: Any) -> Any:
        """Return the probabilities of the ten classes (n, 10) of images x (n, 784)."""
        weight, bias = (self.params[name] for name in LAST)
        y, _ = nn.linear({"weight": weight, "bias": bias}, self.features(x))
        return _softmax(y)


def train_classifier(
    images: Any, labels: Any, *, seed: int, epochs: int = 6, batch: int = 128
) -> Classifier:
    """Return the classifier that Adam finds, at the rate 1e-3 and then 1e-4.

    Parameters
    ----------
    images : uint8 array (n, 784)
        Dequantized anew in every epoch.
    labels : integer array (n,)
        0 to 9.
    seed : int
        Of the first parameters, the order of the images and their dequantization.
    epochs : int
        The last third has the lower rate.
    batch : int
        At most n.

    Returns
    -------
    Classifier
        In float32. After the 60,000 training digits and 6 epochs it errs on 2% of the
        test digits.

    Examples
    --------
    >>> import numpy as np
    >>> from figures.mnist.classifier import train_classifier
    >>> labels = np.arange(200) % 2
    >>> images = np.repeat(labels[:, None] * 200, 784, axis=1).astype(np.uint8)
    >>> classifier = train_classifier(images, labels, seed=0, batch=20)
    >>> p = classifier.probabilities(images / 256)
    >>> bool(np.all(p.argmax(axis=-1) == labels))
    True
    """
    flat, rng = Flat(nn.mlp_shapes(*WIDTHS)), make_rng(seed)
    theta = flat.ravel(nn.init_params(flat.shapes, rng)).astype(np.float32)
    state = None
    for epoch in range(epochs):
        rate = 1e-3 if 3 * epoch < 2 * epochs else 1e-4
        order = rng.permutation(len(images))
        for start in range(0, len(images) - batch + 1, batch):
            rows = order[start : start + batch]
            x = dequantize(images[rows], rng).astype(np.float32)
            logits, pullback = nn.mlp(flat.unravel(theta), x)
            dlogits = cross_entropy(logits, labels[rows])[1]
            gradient = flat.ravel(pullback(dlogits, dx=False)[1])
            state, change = optim.adam(state, gradient, rate=rate)
            theta = theta + change
    return Classifier(flat.unravel(theta))


def cross_entropy(logits: Any, labels: Any) -> tuple[float, Any]:
    """Return the mean of -log p(label) and its derivative in the logits (n, 10).

    Examples
    --------
    >>> import numpy as np
    >>> from figures.mnist.classifier import cross_entropy
    >>> loss, dlogits = cross_entropy(np.zeros((1, 10)), np.array([3]))
    >>> round(float(loss), 4), dlogits.round(1)[0, 2:5]
    (2.3026, array([ 0.1, -0.9,  0.1]))
    """
    n, p = len(labels), _softmax(logits)
    own = np.arange(n), labels
    loss = -np.log(p[own]).mean()
    p[own] -= 1.0
    return loss, p / n


@dataclass(frozen=True)
class Judgement:
    """What a classifier says of a sample of images.

    Attributes
    ----------
    frechet : float
        Frechet distance of its features to those of digits.
    confidence : float
        Mean probability of the likeliest class.
    class_entropy : float
        Entropy in nats of the mean probabilities of the classes; log 10 = 2.303 where
        every class is as frequent.
    """

    frechet: float
    confidence: float
    class_entropy: float


def judge(classifier: Classifier, x: Any, digits: Any) -> Judgement:
    """Return the judgement of images x (n, 784) beside digits (m, 784).

    Values of x are cut to [0, 1].

    Examples
    --------
    >>> import numpy as np
    >>> from figures.mnist.classifier import Classifier, judge
    >>> from refnce import nn
    >>> rng = np.random.default_rng(0)
    >>> shapes = nn.mlp_shapes(784, 256, 64, 10)
    >>> classifier = Classifier(nn.init_params(shapes, rng))
    >>> x = rng.random((100, 784))
    >>> abs(round(judge(classifier, x, x).frechet, 6))
    0.0
    """
    x = np.clip(x, 0.0, 1.0)
    p = classifier.probabilities(x).astype(float)
    mean = p.mean(axis=0)
    logs = np.log(np.where(mean > 0, mean, 1.0))
    distance = frechet(classifier.features(x), classifier.features(digits))
    return Judgement(distance, float(p.max(axis=-1).mean()), float(-mean @ logs))


def _softmax(logits: Any) -> Any:
    terms = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return terms / terms.sum(axis=-1, keepdims=True)
