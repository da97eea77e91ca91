import numpy as np
import pytest
from learnable import dense, error, residual, setting

from nnopt_course.compression import search, stages
from nnopt_course.compression.container import pack, unpack
from nnopt_course.compression.epochs import with_teacher
from nnopt_course.compression.search import Effort, compress
from nnopt_course.pruning.scores import magnitude
from nnopt_course.quantization.sparse_learning import uniform
from nnopt_course.quiet import import_quietly
from nnopt_course.weights import kernels

pytestmark = pytest.mark.keras
keras = import_quietly("keras")
#: 3 points above 3.5 % of 200 images are 13 mistakes, whatever the sum is in floats.
ROUNDING = 1e-9
QUICK = Effort(rounds=3, epochs=2, level_epochs=1, learning_rate=5e-3, bits=(3,))


@pytest.fixture(scope="module")
def given():
    return setting(as_vectors=True)


@pytest.fixture(scope="module")
def trained(given):
    return stages.train(6, learning_rate=3e-3)(dense(), given)


@pytest.fixture
def untrained(monkeypatch):
    """Rounds without training, in a moment: for what the search makes of their files."""
    seen = []

    def pruned(model, own, keep, effort):
        sparsity = 1 - keep / sum(kernel.size for kernel in kernels(model).values())
        after = stages.prune(sparsity, 0, score=lambda model: magnitude)(model, own)
        seen.append((model, keep, after))
        return after

    def leveled(model, own, bits, effort):
        return stages.level(uniform(bits), 0)(model, own)

    monkeypatch.setattr(search, "_pruned", pruned)
    monkeypatch.setattr(search, "_leveled", leveled)
    monkeypatch.setattr(search, "on_litert", lambda model, setting: None)
    monkeypatch.setattr(search, "measure", lambda calls: {})
    return seen


def candidates(report):
    return [row for row in report.rows if row["name"] != "start"]


def test_a_budget_is_kept_and_the_best_within_it_is_chosen(given, trained):
    lines = []
    small = compress(trained, given, budget=300, effort=QUICK, tell=lines.append)
    within = [row for row in small.ledger.rows if row["bytes"] <= 300]
    assert len(small.data) <= 300
    assert small.name == min(within, key=lambda r: (r["val_error_percent"], r["bytes"]))["name"]
    assert len(lines) == len(small.ledger.rows) <= 4
    for line, row in zip(lines, small.ledger.rows, strict=True):
        assert line.startswith(row["name"])
        assert f"{row['bytes']:,} bytes" in line
    measured = {row["name"] for row in small.ledger.rows if row.get("latency_us")}
    assert measured == {"start", small.name}
    again = unpack(small.data)
    chosen = small.ledger.to_frame().loc[small.name]
    assert chosen.val_error_percent == pytest.approx(error(again, given.validation))
    assert chosen.val_error_percent < 20


@pytest.mark.usefixtures("untrained")
def test_a_loss_is_kept_and_the_smallest_within_it_is_chosen(given, trained):
    small = compress(trained, given, max_loss=2.0, effort=QUICK)
    rows = small.ledger.rows
    limit = rows[0]["val_error_percent"] + 2.0 + ROUNDING
    within = [row for row in rows if row["val_error_percent"] <= limit]
    assert len(small.data) == min(row["bytes"] for row in within)
    assert len(small.data) < len(pack(trained)) / 5


LONG = Effort(rounds=12, bits=(3,))


@pytest.mark.usefixtures("untrained")
def test_a_smaller_loss_takes_a_larger_file_never_a_smaller_one(given, trained):
    sizes = [
        len(compress(trained, given, max_loss=loss, effort=LONG).data)
        for loss in (0.0, 1.0, 10.0, 100.0)
    ]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > 2 * sizes[-1]


@pytest.mark.usefixtures("untrained")
@pytest.mark.parametrize("budget", [250, 400, 700])
def test_a_budget_is_used_up(budget, given, trained):
    small = compress(trained, given, budget=budget, effort=LONG)
    sizes = [row["bytes"] for row in candidates(small.ledger)]
    assert 0.85 * budget <= max(size for size in sizes if size <= budget)
    assert len(sizes) < 10  # Guesses are better than halving.


@pytest.mark.usefixtures("untrained")
def test_what_fits_already_is_packed_as_it_is(given, trained):
    small = compress(trained, given, budget=10**6)
    assert (small.name, small.data) == ("start", pack(trained))


@pytest.mark.usefixtures("untrained")
@pytest.mark.parametrize("goal", [{"budget": 400}, {"max_loss": 3.0}], ids=str)
def test_bits_are_picked_too(goal, given, trained):
    effort = Effort(rounds=5, bits=(4, 2, 3))
    small = compress(trained, given, **goal, effort=effort)
    names = [row["name"] for row in candidates(small.ledger)]
    bits = [name.split(", ")[1] for name in names]
    assert bits == sorted(bits)
    assert set(bits) == {"2 bits", "3 bits", "4 bits"}
    assert max(map(bits.count, set(bits))) <= 5
    assert [int(name.split(":")[0]) for name in names] == list(range(1, len(names) + 1))
    within = [
        row
        for row in small.ledger.rows
        if row["bytes"] <= goal.get("budget", np.inf)
        and row["val_error_percent"]
        <= small.ledger.rows[0]["val_error_percent"] + goal.get("max_loss", np.inf) + ROUNDING
    ]
    order = ("val_error_percent", "bytes") if "budget" in goal else ("bytes", "val_error_percent")
    best = min(within, key=lambda row: tuple(row[column] for column in order))
    assert small.name == best["name"]


@pytest.mark.parametrize("goal", [{"budget": 300}, {"max_loss": 3.0}], ids=str)
def test_each_round_removes_from_an_earlier_rounds_network(goal, given, trained, untrained):
    small = compress(trained, given, **goal, effort=LONG)
    limit = small.ledger.rows[0]["val_error_percent"] + goal.get("max_loss", 0) + ROUNDING
    expected = trained
    for (model, keep, after), row in zip(untrained, candidates(small.ledger), strict=True):
        assert model is expected
        assert keep == sum(np.count_nonzero(kernel) for kernel in kernels(after).values())
        passed = (
            row["bytes"] > goal["budget"] if "budget" in goal else row["val_error_percent"] <= limit
        )
        expected = after if passed else expected


@pytest.fixture
def diverging(untrained, monkeypatch):
    """A function that lets the training of some rounds diverge."""

    def let(*rounds):
        pruned, calls = search._pruned, iter(range(1, 100))

        def failing(*arguments):
            if next(calls) in rounds:
                raise FloatingPointError("prune: the loss became nan")
            return pruned(*arguments)

        monkeypatch.setattr(search, "_pruned", failing)

    return let


def test_a_round_that_diverges_does_not_cost_the_others(diverging, given, trained):
    diverging(2)
    lines = []
    small = compress(trained, given, max_loss=10.0, effort=LONG, tell=lines.append)
    names = [row["name"].split(":")[0] for row in candidates(small.ledger)]
    assert names[:2] == ["1", "3"]
    assert [line for line in lines if line.startswith("2: ") and "the loss became nan" in line]
    assert small.name != "start"


def test_where_the_first_training_diverges_there_is_nothing_to_find(diverging, given, trained):
    diverging(1)
    with pytest.raises(FloatingPointError, match="the loss became nan"):
        compress(trained, given, max_loss=10.0, effort=LONG)


@pytest.mark.usefixtures("untrained")
def test_both_goals_are_met_at_once(given, trained):
    small = compress(trained, given, budget=700, max_loss=5.0, effort=LONG)
    row = small.ledger.to_frame().loc[small.name]
    assert row.bytes <= 700
    assert row.val_error_percent <= small.ledger.rows[0]["val_error_percent"] + 5.0


def test_the_same_seed_gives_the_same_file_and_the_model_stays(given, trained):
    before, effort = trained.get_weights(), Effort(rounds=1, epochs=1, level_epochs=1, bits=(3,))
    one, again = (compress(trained, given, max_loss=100.0, effort=effort).data for _ in range(2))
    assert one == again
    assert all(np.array_equal(a, b) for a, b in zip(trained.get_weights(), before, strict=True))


def test_a_model_that_is_not_ours_learns_from_itself_on_moved_images():
    given = setting(shifts=1)
    model = stages.train(6, learning_rate=3e-3)(residual(), given)
    effort = Effort(rounds=2, epochs=2, level_epochs=1, learning_rate=5e-3, bits=(3,))
    small = compress(model, with_teacher(given, model), budget=700, effort=effort)
    assert len(small.data) <= 700
    assert error(small.model, given.validation) < 15


@pytest.mark.parametrize("policy", ["float16", "mixed_bfloat16"])
def test_a_model_of_a_narrow_format_is_taken_as_float32(policy, given, trained):
    config = trained.get_config()
    for layer in config["layers"][1:]:
        layer["config"]["dtype"] = policy
    narrow = keras.Sequential.from_config(config)
    narrow.set_weights(trained.get_weights())
    effort = Effort(rounds=1, epochs=1, level_epochs=1, bits=(3,))
    small = compress(narrow, with_teacher(given, narrow), max_loss=100.0, effort=effort)
    assert small.name != "start"
    assert small.ledger.rows[0]["val_error_percent"] == pytest.approx(
        error(trained, given.validation), abs=1
    )


def test_a_model_that_litert_refuses_is_refused_before_anything_is_trained(
    given, trained, untrained, monkeypatch
):
    def refuses(model, setting):
        raise ValueError("LiteRT's converter refused 'sequential'")

    monkeypatch.setattr(search, "on_litert", refuses)
    with pytest.raises(ValueError, match="converter refused"):
        compress(trained, given, budget=300, effort=LONG)
    assert untrained == []


@pytest.mark.parametrize(
    ("goal", "message"),
    [
        (
            {"budget": 30},
            r"no file of at most 30 bytes was found among \d; the closest is .*: \d+ bytes, .* "
            r"error .* %\. Allow more bytes or a larger loss",
        ),
        (
            {"budget": 60, "max_loss": 0.0},
            r"at most 60 bytes at a validation error of at most \d+\.\d\d %",
        ),
    ],
)
@pytest.mark.usefixtures("untrained")
def test_what_cannot_be_met_says_how_close_it_came(goal, message, given, trained):
    with pytest.raises(ValueError, match=message):
        compress(trained, given, **goal, effort=Effort(rounds=2))


@pytest.mark.parametrize(
    ("goal", "error", "message"),
    [
        ({}, ValueError, "a budget of bytes or a largest loss; received neither"),
        ({"budget": 0}, ValueError, "at least 1 byte; received 0"),
        ({"budget": 5e3}, TypeError, "whole number of bytes; received 5000.0"),
        ({"max_loss": -0.1}, ValueError, r"\[0, 100\] percentage points; received -0.1"),
        ({"max_loss": np.nan}, ValueError, "received nan"),
    ],
)
def test_goals_that_are_none_are_refused(goal, error, message, given, trained):
    with pytest.raises(error, match=message):
        compress(trained, given, **goal)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"rounds": 0}, ValueError, "rounds must be at least 1; received 0"),
        ({"epochs": 0}, ValueError, "epochs must be at least 1"),
        ({"level_epochs": -1}, ValueError, "level_epochs must be at least 1"),
        ({"epochs": 1.5}, TypeError, "float"),
        ({"learning_rate": 0}, ValueError, "above 0 and finite; received 0"),
        ({"bits": ()}, ValueError, "at least one kind of levels"),
        ({"bits": (3, 1)}, ValueError, "bits"),
        ({"bits": (3, 40)}, ValueError, "bits"),
    ],
)
def test_efforts_out_of_range_are_refused(settings, error, message):
    with pytest.raises(error, match=message):
        Effort(**settings)


def test_a_model_that_does_not_fit_is_refused_before_anything_is_trained(trained):
    with pytest.raises(ValueError, match=r"received \(12, 8, 8, 1\)"):
        compress(trained, setting(n=12), budget=100)
