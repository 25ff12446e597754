"""Networks with hand-written gradients: layers, and energies made of them. ``layer`` says what a layer is."""

from refnce.nn.chain import chain
from refnce.nn.layer import Layer, Params, Pullback
from refnce.nn.leaky_relu import leaky_relu
from refnce.nn.linear import linear
from refnce.nn.mlp import initial, mlp, mlp_shapes

__all__ = ["Layer", "Params", "Pullback", "chain", "initial", "leaky_relu", "linear", "mlp", "mlp_shapes"]
