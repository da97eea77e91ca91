"""tfmot as the oracle: where its clustering starts."""

import importlib

import numpy as np
import pytest

from nnopt_course.quantization.clustering import density, linear, share

pytestmark = pytest.mark.keras
W = np.sort(np.random.default_rng(0).normal(size=3000).astype("float32"))


@pytest.fixture(scope="module")
def theirs():
    """tfmot's starts, as functions like ours."""
    bridge = importlib.import_module("nnopt_course.tfmot_bridge.toolkit")
    package = f"{bridge.tfmot.__name__}.python.core.clustering.keras.clustering_centroids"
    centroids = importlib.import_module(package)

    def start(kind):
        make = getattr(centroids, f"{kind}CentroidsInitialisation")
        return lambda w, count: make(w.astype("float32"), count).get_cluster_centroids().numpy()

    return start


@pytest.mark.parametrize("count", [2, 7, 16])
def test_the_linear_start_is_that_of_tfmot(theirs, count):
    np.testing.assert_allclose(linear(W, count), theirs("Linear")(W, count), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("count", [4, 16])
def test_from_either_density_start_k_means_ends_about_as_well(theirs, count):
    """tfmot reads its quantiles from a grid of 30 points, so that the starts differ."""
    starts = density, theirs("DensityBased")
    ours, other = (share(W, count, start=start).relative_error(W) for start in starts)
    np.testing.assert_allclose(ours, other, rtol=0.05)
