"""Which layer a tensor of a converted file belongs to, read from the tensor's name.

Converters keep the path of Keras' name scopes: ``mlp_1/hidden_1/BiasAdd`` was computed in layer
``hidden`` of model ``mlp``. Keras 3 appends ``_1`` to every scope that belongs to a layer; what
follows without it (``batchnorm``, ``MatMul``) is inside the layer. A tensor that several layers
were merged into lists them all, separated by ``;``.

Taught in: part 4, full transfer.
"""

from __future__ import annotations

__all__ = ["JOINT", "OUTPUT", "layer_of", "layers_of"]

#: Stands between the names of layers that a target computes as one.
JOINT = ";"
#: The name of what a network answers, where a file has no better one.
OUTPUT = "output"
_SCOPE = "_1"


def layer_of(scope: str) -> str:
    """The layer that one path belongs to; in a nested model ``outer/inner``; empty if none is sure.

    A layer that is called a second time has another ending there: it is left out.

    Example:
        >>> layer_of("lenet_5_1/conv_1_1/BiasAdd"), layer_of("m_1/inner_1/norm_1/batchnorm/add_1")
        ('conv_1', 'inner/norm')
        >>> layer_of("StatefulPartitionedCall_1:0"), layer_of("m_1/shared_3/MatMul")
        ('', '')
    """
    model, *scopes = scope.split("/")[:-1] or [""]
    names = []
    for name in scopes if model.endswith(_SCOPE) else ():
        if not name.endswith(_SCOPE):
            break
        names.append(name.removesuffix(_SCOPE))
    return "/".join(names)


def layers_of(name: str) -> list[str]:
    """The layers that a tensor's name lists, each once.

    Example:
        >>> layers_of("m_1/relu_1/Relu;m_1/norm_1/batchnorm/add_1;m_1/relu_1/Const")
        ['relu', 'norm']
    """
    return list(dict.fromkeys(filter(None, map(layer_of, name.split(JOINT)))))
