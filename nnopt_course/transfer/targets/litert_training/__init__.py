"""A LiteRT file that learns: gradient descent on the target, with nothing but LiteRT there.

The file has four functions (LiteRT calls them signatures): ``train`` makes one step on one batch,
``infer`` answers, ``get`` and ``put`` read and write the weights that are trained. LiteRT itself
knows no gradients. They are written out when the file is made, layer by layer, in operations that
every LiteRT interpreter has.

==================  ================================================================
:mod:`.backward`    each kind of layer: its answer, and its gradient
:mod:`.chain`       a Keras model as a chain of those; what is refused, by name
:mod:`.signatures`  the four functions, converted to a ``.tflite`` file
:mod:`.trainer`     the target's side: needs neither TensorFlow nor Keras
==================  ================================================================

``export(model, path)`` writes the file, ``Artifact.load()`` gives a ``Trainer``::

    trainer = litert_training.export(model, "shipped.tflite", exclude="conv_*").load()
    trainer.train(examples, Descent(epochs=3))
    set_weights(model, trainer.get())

Taught in: part 4, adapt before or after shipping.
"""

from nnopt_course.transfer.targets.litert_training.files import Artifact, export
from nnopt_course.transfer.targets.litert_training.trainer import Trainer

__all__ = ["Artifact", "Trainer", "export"]
