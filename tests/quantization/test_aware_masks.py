"""A pruned model keeps its zeros while it learns to be rounded."""

import numpy as np
import pytest

from nnopt_course.pruning.masked_optimizer import with_masks
from nnopt_course.pruning.one_shot import prune
from nnopt_course.quantization.aware import kernel_masks, prepare, quantized_layers, strip
from nnopt_course.quantization.scheme import Scheme
from nnopt_course.quiet import import_quietly
from nnopt_course.weights import kernels

keras = import_quietly("keras")
layers = keras.layers
pytestmark = pytest.mark.keras

OPTIMIZERS = {
    "adam": lambda: keras.optimizers.Adam(1e-2),
    "momentum": lambda: keras.optimizers.SGD(1e-2, momentum=0.9),
}


def network():
    """A convolution with a normalization that is folded, and one inside another model."""
    keras.utils.set_random_seed(0)
    image = keras.Input((8, 8, 3), name="image")
    x = layers.Conv2D(6, 3, use_bias=False, name="conv")(image)
    x = layers.ReLU(name="relu")(layers.BatchNormalization(name="norm")(x))
    inside = [layers.DepthwiseConv2D(3, name="depthwise"), layers.Flatten(name="flatten")]
    inner = keras.Sequential([keras.Input((6, 6, 6)), *inside], name="inner")
    return keras.Model(image, layers.Dense(5, name="logits")(inner(x)), name="net")


def train(model):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(64, 8, 8, 3)).astype(np.float32)
    model.fit(x, rng.normal(size=(64, 5)), epochs=3, batch_size=16, verbose=0)


@pytest.fixture(scope="module")
def pruned():
    return prune(network(), 0.9).model


def zeros_are_held(model, masks):
    assert {path: mask.shape for path, mask in masks.items()} == {
        "conv/kernel": (3, 3, 3, 6),
        "inner_depthwise/kernel": (3, 3, 6, 1),
        "logits/kernel": (96, 5),
    }
    for layer, mask in zip(quantized_layers(model), masks.values(), strict=True):
        assert not np.asarray(layer.kernel)[~mask].any()
        assert not np.asarray(layer.quantized_kernel())[~mask].any()
    for kernel, mask in zip(kernels(strip(model)).values(), masks.values(), strict=True):
        assert not kernel[~mask].any()
        assert kernel[mask].any()
    return True


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("step", ["max", "learned"])
def test_zeros_stay_in_training_saving_and_training_on(pruned, optimizer, step, tmp_path):
    model = prepare(pruned, Scheme(4, 8, step=step)).model
    masks = kernel_masks(model)
    assert np.mean(np.concatenate([mask.ravel() for mask in masks.values()])) < 0.12
    model.compile(with_masks(OPTIMIZERS[optimizer](), model, masks), "mse")
    before = [np.array(layer.kernel) for layer in quantized_layers(model)]
    train(model)
    assert zeros_are_held(model, masks)
    moved = zip(quantized_layers(model), before, masks.values(), strict=True)
    assert all((np.array(layer.kernel) != old)[mask].any() for layer, old, mask in moved)

    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    train(again)
    assert zeros_are_held(again, masks)
    if keras.backend.backend() == "tensorflow":
        assert_zeros_in_file(again, masks, tmp_path / "model.tflite")


def assert_zeros_in_file(model, masks, path):
    from nnopt_course.quantization.simulated.litert_export import export

    export(model, path)
    interpreter = import_quietly("ai_edge_litert.interpreter").Interpreter(str(path))
    interpreter.allocate_tensors()
    constants = [
        np.squeeze(interpreter.get_tensor(detail["index"]))
        for detail in interpreter.get_tensor_details()
        if detail["dtype"] is np.int8 and _is_constant(interpreter, detail)
    ]
    found = {array.shape: array for array in constants}
    axes = {"conv/kernel": (3, 0, 1, 2), "inner_depthwise/kernel": (0, 1, 2, 3)}
    for name, mask in masks.items():
        kept = np.squeeze(mask.transpose(axes.get(name, (1, 0))))
        assert not found[kept.shape][~kept].any()
        assert found[kept.shape][kept].any()


def _is_constant(interpreter, detail):
    try:
        interpreter.get_tensor(detail["index"])
    except ValueError:  # No data: it is computed.
        return False
    return True


def test_without_masks_zeros_are_lost(pruned):
    model = prepare(pruned, Scheme(4, 8)).model
    masks = kernel_masks(model)
    model.compile(keras.optimizers.Adam(1e-2), "mse")
    train(model)
    after = kernel_masks(model)
    assert all(after[path].mean() > 2 * mask.mean() for path, mask in masks.items())


def test_masks_of_the_pruner_fit_under_the_same_names():
    keras.utils.set_random_seed(0)
    found = prune(
        keras.Sequential([keras.Input((12,)), layers.Dense(8, name="dense")], name="one"), 0.5
    )
    masks = kernel_masks(prepare(found.model).model)
    np.testing.assert_array_equal(masks["dense/kernel"], found.masks["dense/kernel"])


def test_a_model_that_is_not_prepared_is_refused(pruned):
    with pytest.raises(ValueError, match="made by prepare"):
        kernel_masks(pruned)
