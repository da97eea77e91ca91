"""Bit for bit the same as ONNX Runtime's QuantizeLinear and DequantizeLinear."""

import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from nnopt_course.quantization.affine import (
    choose_params,
    dequantize,
    fake_quantize,
    params_for,
    quantize,
)
from nnopt_course.quantization.params import QuantParams

KINDS = {
    "int8": (8, True),
    "uint8": (8, False),
    "int16": (16, True),
    "uint16": (16, False),
}


def sessions(params):
    """Two networks of one operation each, for one kind of integers."""
    integer = getattr(TensorProto, params.dtype.name.upper())
    axis = {} if params.axis is None else {"axis": params.axis}
    made = []
    for operation, source, target in [
        ("QuantizeLinear", TensorProto.FLOAT, integer),
        ("DequantizeLinear", integer, TensorProto.FLOAT),
    ]:
        inputs = [
            helper.make_tensor_value_info("x", source, None),
            helper.make_tensor_value_info("scale", TensorProto.FLOAT, None),
            helper.make_tensor_value_info("zero_point", integer, None),
        ]
        node = helper.make_node(operation, ["x", "scale", "zero_point"], ["y"], **axis)
        output = helper.make_tensor_value_info("y", target, None)
        graph = helper.make_graph([node], operation, inputs, [output])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
        made.append(onnxruntime.InferenceSession(model.SerializeToString()))
    return made


def run(session, x, params):
    zero_point = params.zero_point.astype(params.dtype)
    return session.run(None, {"x": x, "scale": params.scale, "zero_point": zero_point})[0]


def assert_same(x, params):
    quantizer, dequantizer = sessions(params)
    q = quantize(x, params)
    theirs = run(quantizer, x, params)
    assert q.dtype == theirs.dtype
    np.testing.assert_array_equal(q, theirs)
    np.testing.assert_array_equal(dequantize(q, params), run(dequantizer, q, params))


@pytest.mark.parametrize(("bits", "signed"), KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("axis", [None, 0, 1, 2])
def test_random_values_per_tensor_and_per_channel(bits, signed, axis):
    x = np.random.default_rng(0).normal(size=(5, 6, 70)).astype(np.float32)
    assert_same(x, params_for(x, bits=bits, signed=signed, axis=axis))
    symmetric = params_for(x, bits=bits, signed=signed, symmetric=True, axis=axis)
    assert_same(x, symmetric)


@pytest.mark.parametrize(("bits", "signed"), KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("zero_point", [0, 1, 7, 100])
def test_ties_and_what_lies_outside(bits, signed, zero_point):
    """Half steps everywhere, far beyond both ends."""
    ends = 1 << (bits + 1)
    steps = np.arange(-ends, ends) if bits == 8 else np.arange(-ends, ends, 3)
    x = np.concatenate([(steps + 0.5) * 0.25, steps * 0.25, [3e38, -3e38, 1e-40, -0.0]])
    assert_same(x.astype(np.float32), QuantParams(0.25, zero_point, bits, signed))


@given(
    st.lists(st.floats(-(2.0**100), 2.0**100, width=32), min_size=1, max_size=40),
    st.floats(-1e6, 1e6),
    st.floats(2.0**-20, 1e6),
    st.booleans(),
)
@settings(max_examples=200)
def test_any_values_in_any_range(values, lo, width, signed):
    params = choose_params(lo, lo + width, signed=signed)
    quantizer, dequantizer = UINT8 if not signed else INT8
    x = np.array(values, np.float32)
    q = quantize(x, params)
    np.testing.assert_array_equal(q, run(quantizer, x, params))
    np.testing.assert_array_equal(dequantize(q, params), run(dequantizer, q, params))


INT8, UINT8 = (sessions(QuantParams(1.0, 0, signed=signed)) for signed in (True, False))


@pytest.mark.parametrize(("bits", "signed"), KINDS.values(), ids=KINDS)
def test_every_integer_stands_for_the_same_number(bits, signed):
    params = choose_params(-0.7, 1.9, bits=bits, signed=signed)
    q = np.arange(params.qmin, params.qmax + 1).astype(params.dtype)
    np.testing.assert_array_equal(dequantize(q, params), run(sessions(params)[1], q, params))


@pytest.mark.parametrize("signed", [True, False], ids=["signed", "unsigned"])
@pytest.mark.parametrize("bits", [2, 4])
@pytest.mark.parametrize("axis", [None, 0, 1])
def test_few_bits_there_and_back(bits, signed, axis):
    """NumPy has no such integers, so ONNX Runtime keeps them to itself."""
    x = np.random.default_rng(0).normal(size=(8, 50)).astype(np.float32)
    params = params_for(x, bits=bits, signed=signed, axis=axis)
    integer = getattr(TensorProto, f"{'INT' if signed else 'UINT'}{bits}")
    zero_points = params.zero_point.ravel().tolist()
    constants = [
        numpy_helper.from_array(params.scale, "scale"),
        helper.make_tensor("zero_point", integer, params.zero_point.shape, zero_points),
    ]
    where = {} if axis is None else {"axis": axis}
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero_point"], ["q"], **where),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero_point"], ["y"], **where),
    ]
    x_info, y_info = (helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in "xy")
    graph = helper.make_graph(nodes, "there_and_back", [x_info], [y_info], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 25)], ir_version=11)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    x *= np.float32(1.3)  # Some values now lie outside.
    np.testing.assert_array_equal(fake_quantize(x, params), session.run(None, {"x": x})[0])


def test_symmetric_leaves_out_one_integer_that_onnx_uses():
    """As LiteRT does for weights: −128 is no weight. In the range, nothing differs."""
    params = choose_params(-1.0, 1.0, symmetric=True)
    x = np.array([-1.0, 1.0, -2.0], np.float32)
    assert quantize(x, params).tolist() == [-127, 127, -127]
    assert run(INT8[0], x, params).tolist() == [-127, 127, -128]
