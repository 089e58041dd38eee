"""onnxruntime's side: a model of one LSTM, GRU or RNN node, written by hand, and buffers bound to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from elman.bench.task import Task

Floats = npt.NDArray[np.float32]
OPSET, IR_VERSION = 17, 9
# kind of node, its gates as places in torch's order, its other attributes
NODES: dict[str, tuple[str, tuple[int, ...], dict[str, Any]]] = {
    "lstm": ("LSTM", (0, 3, 1, 2), {}),  # i o f c of torch's i f g o
    "gru": ("GRU", (1, 0, 2), {"linear_before_reset": 1}),  # z r h of torch's r z n
    "rnn_tanh": ("RNN", (0,), {"activations": ["Tanh"]}),
    "rnn_relu": ("RNN", (0,), {"activations": ["Relu"]}),
}


def session(task: Task, threads: int, *, states: bool = False) -> Any:
    """The session of a model with the input x (T, B, I) and the output `output` (T, 1, B, H).

    states: also the inputs h and c, the states before, and the outputs new_h and new_c, the states after: (1, B, H).
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model(task, states), options, providers=["CPUExecutionProvider"])


class Bound:
    """A session with the arrays that it reads and writes without copies; calling it runs the model."""

    def __init__(self, session: Any, inputs: Mapping[str, Floats], outputs: Mapping[str, Floats]) -> None:
        self._session, self._binding = session, session.io_binding()
        self._arrays = (*inputs.values(), *outputs.values())  # the binding knows their addresses and keeps none alive
        for bind, arrays in ((self._binding.bind_input, inputs), (self._binding.bind_output, outputs)):
            for name, array in arrays.items():
                bind(name, "cpu", 0, np.float32, array.shape, array.ctypes.data)

    def __call__(self) -> None:
        self._session.run_with_iobinding(self._binding)


def model(task: Task, states: bool) -> bytes:
    """The model's file."""
    assert task.fused is not None
    kind, order, attributes = NODES[task.fused.name]
    weight_ih, weight_hh, bias_ih, bias_hh = (_gates(w.numpy(), order) for w in task.torch_weights())
    weights = {"W": weight_ih[None], "R": weight_hh[None], "B": np.concatenate([bias_ih, bias_hh])[None]}
    names = ["h", "c"][: 2 if kind == "LSTM" else 1] if states else []
    own = (1, task.batch, task.hidden)
    node = helper.make_node(
        kind,
        ["x", *weights, *(["", *names] if states else [])],
        ["output", *(f"new_{name}" for name in names)],
        hidden_size=task.hidden,
        **attributes,
    )
    graph = helper.make_graph(
        [node],
        task.cell.name,
        [_info("x", (task.steps, task.batch, task.inputs)), *(_info(name, own) for name in names)],
        [_info("output", (task.steps, *own)), *(_info(f"new_{name}", own) for name in names)],
        [numpy_helper.from_array(np.ascontiguousarray(array), name) for name, array in weights.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    return bytes(made.SerializeToString())


def _gates(weight: Floats, order: tuple[int, ...]) -> Floats:
    """The rows of each gate in another order."""
    return np.concatenate([np.split(weight, len(order))[place] for place in order])


def _info(name: str, shape: tuple[int, ...]) -> Any:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
