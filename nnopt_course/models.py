"""The three networks of the course, and their trained weights.

==============  ========================  ==========  ===================================
name            layers                    parameters  from
==============  ========================  ==========  ===================================
mlp             784-256-10                   203,530  the source article
lenet_300_100   784-300-100-10               266,610  LeCun et al. 1998, Han et al. 2015
lenet_5         20C5-P2-50C5-P2-500-10       431,080  Caffe's variant of LeCun et al. 1998
==============  ========================  ==========  ===================================

Every builder takes the Keras module to build with, so that the same network can be made in Keras 3
and in tf_keras. The last layer gives logits (no softmax): what is compared across runtimes is then
not squeezed into [0, 1].

References:
    Y. LeCun, L. Bottou, Y. Bengio, P. Haffner. Gradient-based learning applied to document
    recognition. 1998. S. Han, J. Pool, J. Tran, W. Dally. Learning both weights and connections for
    efficient neural networks. 2015.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import platformdirs
from filelock import FileLock

from nnopt_course import data, training, weights
from nnopt_course.quiet import import_quietly
from nnopt_course.whole_file import whole_file

keras = import_quietly("keras")

__all__ = ["RECIPES", "Recipe", "input_shape", "lenet_5", "lenet_300_100", "mlp", "trained"]


def mlp(K: ModuleType = keras, *, seed: int = 0) -> Any:
    """The article's multilayer perceptron: 784-256-10, ReLU.

    Args:
        K: the Keras module to build with, ``keras`` or ``tf_keras``.
        seed: of the initial weights (Glorot uniform; biases zero).

    Returns:
        A built, uncompiled Sequential model: (n, 784) → logits (n, 10).

    Example:
        >>> mlp().count_params()
        203530
    """
    return _dense_network(K, "mlp", {"hidden": 256}, seed)


def lenet_300_100(K: ModuleType = keras, *, seed: int = 0) -> Any:
    """LeNet-300-100: 784-300-100-10, ReLU. The network on which pruning papers report.

    Args and returns: as :func:`mlp`.

    Example:
        >>> lenet_300_100().count_params()
        266610
    """
    return _dense_network(K, "lenet_300_100", {"hidden_1": 300, "hidden_2": 100}, seed)


def lenet_5(K: ModuleType = keras, *, seed: int = 0) -> Any:
    """LeNet-5 as Caffe defines it: two 5×5 convolutions with max pooling, 500 units, 10 logits.

    Args:
        K: the Keras module to build with, ``keras`` or ``tf_keras``.
        seed: of the initial weights.

    Returns:
        A built, uncompiled Sequential model: (n, 28, 28, 1) → logits (n, 10).

    Example:
        >>> lenet_5().count_params()
        431080
    """
    layers, glorot = K.layers, _glorot(K, seed)
    return K.Sequential(
        [
            K.Input((28, 28, 1)),
            layers.Conv2D(20, 5, kernel_initializer=next(glorot), name="conv_1"),
            layers.MaxPooling2D(2, name="pool_1"),
            layers.Conv2D(50, 5, kernel_initializer=next(glorot), name="conv_2"),
            layers.MaxPooling2D(2, name="pool_2"),
            layers.Flatten(name="flatten"),
            layers.Dense(500, activation="relu", kernel_initializer=next(glorot), name="hidden"),
            layers.Dense(10, kernel_initializer=next(glorot), name="logits"),
        ],
        name="lenet_5",
    )


@dataclass(frozen=True)
class Recipe:
    """How :func:`trained` trains: cross-entropy, Adam, no early stopping.

    ``cosine`` lets the learning rate fall to zero along half a cosine. It makes the two LeNets as
    good as the literature's; the article's network is trained as the article does, without.
    """

    input_shape: str
    epochs: int
    batch_size: int = 128
    learning_rate: float = 1e-3
    cosine: bool = False


RECIPES: dict[str, Recipe] = {
    "mlp": Recipe("flat", epochs=10),
    "lenet_300_100": Recipe("flat", epochs=10, learning_rate=2e-3, cosine=True),
    "lenet_5": Recipe("image", epochs=5, learning_rate=2e-3, cosine=True),
}
BUILDERS: dict[str, Callable[..., Any]] = {
    "mlp": mlp,
    "lenet_300_100": lenet_300_100,
    "lenet_5": lenet_5,
}


def input_shape(name: str) -> str:
    """``"flat"`` or ``"image"``: the ``shape`` to load MNIST in for a network.

    Example:
        >>> input_shape("lenet_5")
        'image'
    """
    return _recipe(name).input_shape


def trained(name: str, *, seed: int = 0, cache_dir: str | os.PathLike[str] | None = None) -> Any:
    """A trained network of the course: trained the first time, read from a cache after that.

    The cache is keyed by everything that the weights depend on: the recipe, the seed, the data and
    the library versions. Two processes that ask at once train once: the second one waits.

    Args:
        name: ``"mlp"``, ``"lenet_300_100"`` or ``"lenet_5"``.
        seed: of the initial weights and of the order of the batches.
        cache_dir: a folder for the weights. Without it, the environment variable ``NNOPT_CACHE``,
            and then the user's cache folder.

    Returns:
        A new, compiled model on every call.

    Raises:
        ValueError: the name is not one of the above.
        PermissionError: the weights have to be trained and the cache folder cannot be written to;
            raised before any training.
    """
    recipe = _recipe(name)
    model = BUILDERS[name](seed=seed)
    folder = _cache_folder(cache_dir)
    file = folder / f"{name}-{seed}-{_cache_key(name, recipe, seed)}.weights.h5"
    if not file.exists():
        _require_writable(folder)
        with FileLock(file.with_suffix(".lock")):
            if not file.exists():
                _save_weights(_train(weights.clone(model), recipe, seed), file)
    model.load_weights(file)
    return training.compile_classifier(model)


def _train(model: Any, recipe: Recipe, seed: int) -> Any:
    mnist = data.load_mnist(shape=recipe.input_shape)
    rate = recipe.learning_rate
    if recipe.cosine:
        steps = recipe.epochs * math.ceil(len(mnist.train) / recipe.batch_size)
        rate = keras.optimizers.schedules.CosineDecay(rate, steps)
    training.compile_classifier(model, keras.optimizers.Adam(rate))
    training.set_seed(seed)
    training.fit(model, mnist, epochs=recipe.epochs, batch_size=recipe.batch_size)
    return model


def _save_weights(model: Any, file: Path) -> None:
    with whole_file(file) as beside:
        # The copy has no optimizer, so neither has the file.
        weights.clone(model).save_weights(beside)


def _cache_folder(cache_dir: str | os.PathLike[str] | None) -> Path:
    given = (
        cache_dir or os.environ.get("NNOPT_CACHE") or platformdirs.user_cache_dir("nnopt_course")
    )
    return Path(given).expanduser()


def _cache_key(name: str, recipe: Recipe, seed: int) -> str:
    """A short hash of everything that the trained weights depend on."""
    ingredients = {
        # The layers and not the model: the latter counts the inputs that this process has made so
        # far.
        "network": [layer.get_config() for layer in BUILDERS[name](seed=seed).layers],
        "recipe": asdict(recipe),
        "data": data.SHA256,
        "keras": keras.__version__,
        "backend": keras.backend.backend(),
        "backend_version": import_quietly(keras.backend.backend()).__version__,
    }
    return hashlib.sha256(json.dumps(ingredients, sort_keys=True).encode()).hexdigest()[:12]


def _require_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise PermissionError(
            f"the trained weights are kept in {folder}, which cannot be written to "
            f"({error.strerror}); "
            "name another folder with the environment variable NNOPT_CACHE or with cache_dir"
        ) from error


def _recipe(name: str) -> Recipe:
    if name not in RECIPES:
        raise ValueError(f"expected one of {', '.join(RECIPES)}; received {name!r}")
    return RECIPES[name]


def _dense_network(K: ModuleType, name: str, hidden: dict[str, int], seed: int) -> Any:
    layers, glorot = K.layers, _glorot(K, seed)
    return K.Sequential(
        [
            K.Input((784,)),
            *(
                layers.Dense(units, activation="relu", kernel_initializer=next(glorot), name=layer)
                for layer, units in hidden.items()
            ),
            layers.Dense(10, kernel_initializer=next(glorot), name="logits"),
        ],
        name=name,
    )


def _glorot(K: ModuleType, seed: int) -> Any:
    """One initializer a layer, each with a seed of its own: equal seeds would give equal layers."""
    count = 0
    while True:
        yield K.initializers.GlorotUniform(seed=1000 * seed + count)
        count += 1
