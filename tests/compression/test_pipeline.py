import numpy as np
import pytest
from learnable import dense, error, residual, setting

from nnopt_course.compression import pipeline, stages
from nnopt_course.compression.container import pack, unpack
from nnopt_course.compression.epochs import with_teacher
from nnopt_course.compression.pipeline import run
from nnopt_course.compression.setting import Setting
from nnopt_course.data import Split
from nnopt_course.evaluation.macs import effective
from nnopt_course.quantization.sparse_learning import uniform
from nnopt_course.quiet import import_quietly
from nnopt_course.weights import clone, get_weights, kernels, set_weights

pytestmark = pytest.mark.keras
keras = import_quietly("keras")


@pytest.fixture(scope="module")
def given():
    return setting(as_vectors=True)


@pytest.fixture(scope="module")
def trained(given):
    return stages.train(6, learning_rate=3e-3)(dense(), given)


def halve(model, setting):
    """A stage of one's own."""
    half = clone(model)
    set_weights(half, {path: kernel / 2 for path, kernel in kernels(model).items()})
    return half


def spoil(model, setting):
    broken = clone(model)
    broken.layers[-1].bias.assign([0, np.nan, 0])
    return broken


@pytest.fixture(scope="module")
def small(given, trained):
    return run(
        trained,
        {
            "pruned": stages.prune(0.8, 3, learning_rate=3e-3),
            "shrunk": stages.shrink(),
            "on levels": stages.level(uniform(3), 3),
        },
        given,
    )


def test_the_ledger_tells_of_every_stage(small, trained, given):
    frame = small.ledger.to_frame()
    assert list(frame.index) == ["start", "pruned", "shrunk", "on levels"]
    assert frame.flips["start"] == 0
    assert frame.bytes["start"] == len(pack(trained))
    assert frame.val_error_percent["start"] == pytest.approx(error(trained, given.validation))
    assert frame.sparsity_percent["pruned"] == pytest.approx(80, abs=0.1)
    assert frame.macs["start"] == frame.macs["pruned"] == 64 * 24 + 24 * 3 >= frame.macs["shrunk"]
    assert (frame.latency_us > 0).all()
    assert frame.seconds["start"] == 0 < frame.seconds["pruned"]
    assert frame.bytes["on levels"] < frame.bytes["pruned"] / 2
    np.testing.assert_allclose(frame.ratio, 4 * trained.count_params() / frame.bytes)


def test_what_comes_out_is_what_the_file_holds(small, given):
    row = small.ledger.rows[-1]
    again = unpack(small.data)
    x = given.validation.x
    np.testing.assert_array_equal(again.predict(x, verbose=0), small.model.predict(x, verbose=0))
    assert small.name == row["name"] == "on levels"
    assert len(small.data) == row["bytes"]
    assert row["val_error_percent"] == pytest.approx(error(again, given.validation))
    assert row["val_error_percent"] < 15
    assert row["effective_macs"] == effective(get_weights(again))


def test_the_same_seed_gives_the_same_file_and_the_model_stays(given, trained):
    before = trained.get_weights()
    chain = {"a": stages.prune(0.7, 1), "b": stages.level(uniform(3), 1)}
    one, again = (run(trained, chain, given, time_it=False) for _ in range(2))
    assert one.data == again.data
    assert "latency_us" not in one.ledger.to_frame()
    assert all(np.array_equal(a, b) for a, b in zip(trained.get_weights(), before, strict=True))
    other = Setting(given.train, given.validation, batch_size=50, seed=1)
    assert run(trained, chain, other, time_it=False).data != one.data


def test_no_two_stages_draw_alike(given, trained):
    seeds = []

    def look(model, setting):
        seeds.append(setting.seed)
        return model

    run(trained, {"a": look, "b": look}, given, time_it=False)
    assert len(set(seeds)) == 2


def test_a_stage_of_ones_own_and_another_coder(given, trained):
    small = run(trained, {"half": halve}, given, coder="deep_compression", time_it=False)
    np.testing.assert_array_equal(
        kernels(small.model)["dense_1/kernel"], kernels(trained)["hidden/kernel"] / 2
    )
    assert small.data == pack(halve(trained, given), coder="deep_compression")


def test_no_stage_at_all_packs_the_model(given, trained):
    small = run(trained, {}, given, time_it=False)
    assert (small.name, small.data) == ("start", pack(trained))
    assert small.ledger.rows[0]["flips"] == 0


@pytest.mark.parametrize("kind", ["residual", "softmax"])
def test_a_model_that_is_not_ours(kind):
    given = setting(shifts=1, as_vectors=kind == "softmax")
    model = residual() if kind == "residual" else dense(softmax=True)
    model = stages.train(6, learning_rate=3e-3)(model, given)
    small = run(
        model,
        {
            "pruned": stages.prune(0.7, 3, learning_rate=3e-3),
            "shrunk": stages.shrink(),
            "on levels": stages.level(uniform(4), 3),
        },
        with_teacher(given, model),
    )
    frame = small.ledger.to_frame()
    assert frame.val_error_percent["start"] < 5
    assert frame.val_error_percent["on levels"] < 10
    assert frame.ratio["on levels"] > 8
    assert (frame.latency_us > 0).all()


def lstm():
    layers = keras.layers
    return keras.Sequential(
        [keras.Input((8, 8, 1)), layers.Reshape((8, 8)), layers.LSTM(4, name="remembering"),
         layers.Dense(3)]
    )  # fmt: skip


NEVER = {"never": lambda model, setting: pytest.fail("a stage ran")}


@pytest.mark.parametrize(
    ("build", "chain", "message"),
    [
        (lstm, NEVER, "remembering"),
        (lambda: spoil(residual(), None), NEVER, "finite"),
        (dense, NEVER, r"received \(12, 8, 8, 1\)"),
        (residual, {"start": halve}, "no stage can be called 'start'"),
        (residual, {"spoil": spoil}, "spoil: .*bias holds NaN or infinity"),
    ],
)
def test_what_cannot_be_is_refused(build, chain, message):
    with pytest.raises((ValueError, TypeError), match=message):
        run(build(), chain, setting(n=12), time_it=False)


def test_what_litert_refuses_is_refused_before_a_stage_runs(given, trained, monkeypatch):
    def refuses(model, path):
        raise ValueError("LiteRT's converter refused 'sequential'")

    monkeypatch.setattr(pipeline.litert, "export", refuses)
    with pytest.raises(ValueError, match="converter refused"):
        run(trained, NEVER, given)


def test_a_coder_that_there_is_not_is_refused_before_a_stage_runs(given, trained):
    with pytest.raises(ValueError, match="zip"):
        run(trained, NEVER, given, coder="zip")


def test_one_example_is_enough_to_validate(trained, given):
    one = Setting(given.train, Split(given.validation.x[:1], given.validation.y[:1]))
    assert len(run(trained, {}, one).ledger.rows) == 1
