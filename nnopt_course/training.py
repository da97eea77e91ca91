"""One training loop for the whole course: seeds, progress, and a test set that is never looked at.

``fit`` sees the training and the validation images. When it stops early, it stops on the validation
loss."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from tqdm.std import tqdm

from nnopt_course.data import Mnist
from nnopt_course.quiet import import_quietly

keras = import_quietly("keras")
TqdmCallback = import_quietly("tqdm.keras").TqdmCallback

__all__ = ["compile_classifier", "fit", "set_seed"]

# A bar of fixed width: the default one gives its room to the numbers.
BAR = "{desc} {bar:10} {n_fmt}/{total_fmt} epochs [{elapsed}<{remaining}{postfix}]"


def set_seed(seed: int) -> None:
    """Seed Python, NumPy and the Keras backend: a run then repeats bit for bit on one machine.

    Args:
        seed: any integer in [0, 2³²).
    """
    keras.utils.set_random_seed(seed)


def compile_classifier(model: Any, optimizer: Any = None) -> Any:
    """Compile a model that outputs logits: cross-entropy, accuracy, Adam (learning rate 10⁻³).

    Args:
        model: a Keras 3 model whose last layer has no softmax.
        optimizer: a Keras optimizer in place of Adam.

    Returns:
        The same model, compiled.

    References:
        D. P. Kingma, J. Ba. Adam: a method for stochastic optimization. ICLR 2015.
    """
    model.compile(
        optimizer=keras.optimizers.Adam(1e-3) if optimizer is None else optimizer,
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


def fit(
    model: Any,
    data: Mnist,
    *,
    epochs: int,
    batch_size: int = 128,
    patience: int | None = None,
    callbacks: Sequence[Any] = (),
) -> Any:
    """Train a model, in place, and show one progress bar.

    The order of the batches follows the global seed: call :func:`set_seed` first for a run that
    repeats.

    Args:
        model: a Keras 3 model; if it is not compiled, :func:`compile_classifier` does it.
        data: the splits; ``data.test`` is not touched.
        epochs: passes over ``data.train``.
        batch_size: examples in a step.
        patience: stop after this many epochs without a lower validation loss, and go back to the
            best weights. ``None`` trains all epochs.
        callbacks: further Keras callbacks, for instance a pruner.

    Returns:
        Keras' ``History``: ``history["loss"]``, ``["accuracy"]``, ``["val_loss"]``,
        ``["val_accuracy"]``.

    Raises:
        ValueError: a label that the model has no output for, or fewer than one epoch.
    """
    if epochs < 1 or batch_size < 1:
        raise ValueError(
            f"epochs and batch_size must be at least 1; received {epochs} and {batch_size}"
        )
    classes = model.output_shape[-1]
    for split in (data.train, data.validation):
        if split.y.min() < 0 or split.y.max() >= classes:
            raise ValueError(
                f"labels must be in [0, {classes}), one for each output of the model; "
                f"received labels from {split.y.min()} to {split.y.max()}"
            )
    if not model.compiled:
        compile_classifier(model)
    early = []
    if patience is not None:
        early = [
            keras.callbacks.EarlyStopping("val_loss", patience=patience, restore_best_weights=True)
        ]
    return model.fit(
        data.train.x,
        data.train.y,
        validation_data=(data.validation.x, data.validation.y),
        epochs=epochs,
        batch_size=batch_size,
        verbose=0,
        callbacks=[*callbacks, *early, _progress(model.name)],
    )


def _progress(name: str) -> Any:
    """One bar over the epochs, on standard output: in a page, standard error looks like one."""

    class Bar(tqdm):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            fixed = {"desc": name, "file": sys.stdout, "bar_format": BAR}
            super().__init__(*args, **{**kwargs, **fixed})

        def set_postfix(self, logs: Any = None, refresh: bool = True, **_: Any) -> None:
            """Two numbers fit on a page's line; all of them are in the history."""
            shown = {key: logs[key] for key in ("loss", "val_accuracy") if key in logs}
            super().set_postfix(shown, refresh=refresh)

    return TqdmCallback(verbose=0, tqdm_class=Bar)
