"""Networks with hand-written gradients: layers, and log-ratios made of them.

``refnce.nn.layer`` says what a layer is.
"""

from refnce.nn.chain import chain
from refnce.nn.conv import conv3x3
from refnce.nn.leaky_relu import leaky_relu
from refnce.nn.linear import linear
from refnce.nn.mlp import mlp, mlp_shapes
from refnce.nn.params import init_params
from refnce.nn.quadratic_head import quadratic_head
from refnce.nn.resnet import resnet18, resnet18_shapes

__all__ = ["chain", "conv3x3", "init_params", "leaky_relu", "linear", "mlp"]
__all__ += ["mlp_shapes", "quadratic_head", "resnet18", "resnet18_shapes"]
