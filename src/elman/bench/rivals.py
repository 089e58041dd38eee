"""The rivals: torch.nn's layers, onnxruntime for inference, jax; the last two where they are installed.

Each is a function (task, threads) -> how to compute the task, or in a few words why it cannot.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from elman.bench.task import Arrays, Rival, Task

NOT_INSTALLED, NO_SUCH_CELL = "not installed", "no such cell"
_TORCH: dict[str, Callable[[int, int], nn.Module]] = {
    "lstm": nn.LSTM,
    "gru": nn.GRU,
    "rnn_tanh": nn.RNN,
    "rnn_relu": lambda inputs, hidden: nn.RNN(inputs, hidden, nonlinearity="relu"),
}


def of_torch(task: Task, threads: int) -> Rival | str:
    """torch.nn.LSTM, GRU or RNN with the same weights; on as many threads as torch is set to."""
    if task.fused is None:
        return NO_SUCH_CELL
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        layer = _TORCH[task.fused.name](task.inputs, task.hidden)
        for parameter, weight in zip(layer.parameters(), task.torch_weights(), strict=True):
            parameter.copy_(weight)
    return task.rival(layer)


def of_onnxruntime(task: Task, threads: int) -> Rival | str:
    """One node LSTM, GRU or RNN, its input and output bound to buffers."""
    if task.fused is None:
        return NO_SUCH_CELL
    if task.train:
        return "inference only"
    try:
        from elman.bench.onnx_node import Bound, session
    except ImportError:
        return NOT_INSTALLED
    output = np.zeros((task.steps, 1, task.batch, task.hidden), np.float32)
    run = Bound(session(task, threads), {"x": task.tensors()[0].numpy()}, {"output": output})
    return Rival(run, lambda _: {"output": output[:, 0]})


_jax_threads: list[int] = []  # how many jax was started with, in this process


def of_jax(task: Task, threads: int) -> Rival | str:
    """A jitted lax.scan, its input projection in one product beforehand, as one writes it by hand."""
    if task.fused is None:
        return NO_SUCH_CELL
    try:
        import jax
    except ImportError:
        return NOT_INSTALLED
    if not _jax_threads:
        _start_jax(jax, threads)
        _jax_threads.append(threads)
    if _jax_threads[0] != threads:
        return f"keeps the number of threads it starts with, {_jax_threads[0]} in this process"
    cpu = jax.devices("cpu")[0]
    x, grad = (jax.device_put(t.numpy(), cpu) for t in task.tensors())
    weights = [jax.device_put(weight.numpy(), cpu) for weight in task.torch_weights()]
    outputs = _jax_layer(jax, task)

    def loss(x: Any, weights: Any) -> Any:
        output = outputs(x, weights)
        return (output * grad).sum(), output

    if not task.train:
        infer = jax.jit(outputs)
        return Rival(lambda: infer(x, weights).block_until_ready(), lambda made: {"output": np.asarray(made)})
    step = jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))

    def arrays(made: Any) -> Arrays:
        (_, output), (of_x, of_weights) = made
        return {name: np.asarray(a) for name, a in zip(task.names(), (output, of_x, *of_weights))}

    wait: Any = jax.block_until_ready
    return Rival(lambda: wait(step(x, weights)), arrays)


def _start_jax(jax: Any, threads: int) -> None:
    """jax makes its pool of threads once, as large as the variable NPROC says."""
    before = os.environ.get("NPROC")
    os.environ["NPROC"] = str(threads)
    try:
        jax.devices("cpu")
    finally:
        del os.environ["NPROC"]
        if before is not None:
            os.environ["NPROC"] = before


def _jax_layer(jax: Any, task: Task) -> Callable[[Any, Any], Any]:
    """(x, torch's weights) -> output (T, B, H) of the task's cell."""
    numpy, nn, name = jax.numpy, jax.nn, task.fused.name if task.fused is not None else ""
    zeros = np.zeros((task.batch, task.hidden), np.float32)

    def lstm(states: Any, a: Any, product: Any) -> Any:
        h, c = states
        i, f, g, o = numpy.split(a + product(h), 4, -1)
        c = nn.sigmoid(f) * c + nn.sigmoid(i) * numpy.tanh(g)
        h = nn.sigmoid(o) * numpy.tanh(c)
        return (h, c), h

    def gru(h: Any, a: Any, product: Any) -> Any:
        (ar, az, an), (mr, mz, mn) = numpy.split(a, 3, -1), numpy.split(product(h), 3, -1)
        r, z = nn.sigmoid(ar + mr), nn.sigmoid(az + mz)
        h = (1 - z) * numpy.tanh(an + r * mn) + z * h
        return h, h

    def rnn(h: Any, a: Any, product: Any) -> Any:
        h = (numpy.tanh if name == "rnn_tanh" else nn.relu)(a + product(h))
        return h, h

    step, first = {"lstm": (lstm, (zeros, zeros)), "gru": (gru, zeros)}.get(name, (rnn, zeros))

    def layer(x: Any, weights: Any) -> Any:
        weight_ih, weight_hh, bias_ih, bias_hh = weights
        from_input, from_state = x @ weight_ih.T + bias_ih, weight_hh.T
        return jax.lax.scan(lambda s, a: step(s, a, lambda h: h @ from_state + bias_hh), first, from_input)[1]

    return layer


RIVALS: dict[str, Callable[[Task, int], Rival | str]] = {
    "torch": of_torch,
    "onnxruntime": of_onnxruntime,
    "jax": of_jax,
}
"""In the order of the tables."""
