"""Which layer follows which rule when its channels are removed.

What is not listed is refused, and so is a layer in a state that its rule does not know: its
channels stay, and the plan says why. A rule for a layer of your own goes in with
``RULES[MyLayer] = Elementwise()``.

Taught in: part 3, neurons against connections.
"""

from __future__ import annotations

from nnopt_course.graph import Call, has_graph
from nnopt_course.pruning.structure.channels import Refused, Rule
from nnopt_course.pruning.structure.mixing import Convolves, Depthwise, Mixes
from nnopt_course.pruning.structure.passing import (
    Concatenates,
    Copies,
    Elementwise,
    Joins,
    Pads,
    Regroups,
)
from nnopt_course.quiet import import_quietly

keras = import_quietly("keras")

__all__ = ["OPERATORS", "RULES", "rule_of"]


def _rules() -> dict[type, Rule]:
    def pick(rule: Rule, names: str) -> dict[type, Rule]:
        return {getattr(keras.layers, name): rule for name in names.split()}

    pools = [
        f"{where}{kind}Pooling{rank}D"
        for where in ("", "Global")
        for kind in ("Max", "Average")
        for rank in (1, 2, 3)
    ]
    return {
        **pick(Mixes(), "Dense"),
        **pick(Convolves(), "Conv1D Conv2D Conv3D"),
        **pick(Depthwise(), "DepthwiseConv1D DepthwiseConv2D"),
        **pick(Elementwise(), "Activation BatchNormalization ELU LeakyReLU PReLU ReLU"),
        **pick(Copies(), " ".join(pools)),
        **pick(Copies(), "Cropping1D Cropping2D Cropping3D UpSampling1D UpSampling2D UpSampling3D"),
        **pick(Copies(), "ActivityRegularization Identity RepeatVector"),
        **pick(Copies(), "AlphaDropout Dropout GaussianDropout GaussianNoise"),
        **pick(Copies(), "SpatialDropout1D SpatialDropout2D SpatialDropout3D"),
        **pick(Pads(), "ZeroPadding1D ZeroPadding2D ZeroPadding3D"),
        **pick(Regroups(), "Flatten Reshape"),
        **pick(Joins(), "Add Average Maximum Minimum Subtract"),
        **pick(Joins(zero_wins=True), "Multiply"),
        **pick(Concatenates(), "Concatenate"),
    }


RULES = _rules()
#: For ``x + y``, ``ops.relu(x)`` and the like, whose classes Keras does not publish.
OPERATORS = {
    **dict.fromkeys(["Add", "Maximum", "Minimum", "Subtract"], Joins()),
    "Multiply": Joins(zero_wins=True),
    **dict.fromkeys(["Elu", "Gelu", "LeakyRelu", "Relu", "Relu6"], Elementwise()),
    **dict.fromkeys(["Sigmoid", "Silu", "Softplus", "Tanh"], Elementwise()),
}


def rule_of(call: Call) -> Rule:
    """Find the rule that a call of a layer follows.

    Args:
        call: a call of the model's graph.

    Returns:
        The rule; :class:`~nnopt_course.pruning.structure.channels.Refused`, with the reason, if
        there is none or the layer is in a state that it does not know.

    Example:
        >>> from nnopt_course import models
        >>> from nnopt_course.graph import read
        >>> for call in read(models.lenet_5()).calls[1:7]:
        ...     print(call.layer.name, type(rule_of(call)).__name__)
        conv_1 Convolves
        pool_1 Copies
        conv_2 Convolves
        pool_2 Copies
        flatten Regroups
        hidden Mixes
    """
    layer, kind = call.layer, type(call.layer)
    rule = RULES.get(kind)
    if rule is None and kind.__module__.startswith("keras.src.ops."):
        rule = OPERATORS.get(kind.__name__)
    if isinstance(layer, keras.layers.InputLayer):
        return Refused("is an input of the model")
    if isinstance(layer, keras.Model):
        shrunk = "only the inside is shrunk" if has_graph(layer) else "the graph cannot be read"
        return Refused(f"is a model of its own, of which {shrunk}")
    if rule is None or len(call.outputs) != 1:
        return Refused(f"is of the type {kind.__name__}, which has no rule")
    if len(call.inputs) > 1 and not rule.joins:
        return Refused(f"is called with {len(call.inputs)} tensors")
    if call.count > 1 and getattr(layer, "weights", ()):
        return Refused(f"is shared by {call.count} calls")
    if call.trains:
        return Refused("is called with training=True")
    if getattr(layer, "data_format", None) == "channels_first":
        return Refused("has its channels first")
    reason = rule.refusal(call)
    return Refused(reason) if reason else rule
