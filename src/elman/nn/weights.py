"""Where the engine finds a cell's weights: the blocks of the affine maps in a layer's own tensors or in torch's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from elman.compiler.adjoint import adjoint
from elman.compiler.interpret import column_ranges
from elman.compiler.ir import Program, resolve
from elman.engine.plans import parts
from elman.nn.fused import Fused


@dataclass(frozen=True, eq=False)
class Layout:
    """Places in a row of tensors."""

    parts: tuple[tuple[int, int, int], ...]
    """Of the block for each vector of each map: tensor, first row, first column."""
    biases: tuple[tuple[int, int], ...]
    """Two of each map, which are added: tensor (-1: none), first row."""
    parameters: tuple[int, ...]
    """The tensor of each parameter."""
    shapes: tuple[tuple[int, ...], ...]
    """Of every tensor."""
    sparse: bool
    """Whether some weights get no gradient."""

    def pointers(self, tensors: Sequence[Tensor], size: int) -> dict[str, Sequence[int]]:
        """The engine's tables. size: bytes of a number."""
        return self._tables(tensors, size, "p_weight", "p_weight_row", "p_bias", "p_parameter")

    def gradients(self, tensors: Sequence[Tensor], size: int) -> dict[str, Sequence[int]]:
        """The same of the gradients."""
        return self._tables(tensors, size, "p_grad_weight", "p_grad_weight_row", "p_grad_bias", "p_grad_parameter")

    def _tables(self, tensors: Sequence[Tensor], size: int, *names: str) -> dict[str, Sequence[int]]:
        at = addresses([t.data_ptr() for t in tensors], self.places, size)
        a, b = len(self.parts), len(self.parts) + len(self.biases)
        return dict(zip(names, (at[:a], self.rows, at[a:b], at[b:])))

    @cached_property
    def rows(self) -> list[int]:
        """Of each block, how far its rows lie apart."""
        return [self.shapes[t][-1] for t, _, _ in self.parts]

    @cached_property
    def places(self) -> list[tuple[int, int]]:
        """(tensor, numbers from its beginning) of the blocks, the biases (tensor -1: none) and the parameters."""
        blocks = [(t, r * row + c) for (t, r, c), row in zip(self.parts, self.rows)]
        return [*blocks, *self.biases, *((t, 0) for t in self.parameters)]


def addresses(at: Sequence[int], places: Iterable[tuple[int, int]], size: int) -> list[int]:
    """Of places in tensors at these addresses, numbers of `size` bytes from their beginnings; 0 in the tensor -1."""
    at = [*at, 0]
    return [at[t] + size * place for t, place in places]


def own_layout(program: Program, sizes: tuple[int, int, int], names: tuple[str, ...]) -> Layout:
    """Of tensors by the cell's names (`Program.parameter_shapes`)."""
    place, by_name, maps = {name: k for k, name in enumerate(names)}, resolve(*sizes), program.affine_maps
    columns = [column_ranges(program, node, by_name) for node in maps]
    biases: list[tuple[int, int]] = []
    for node in maps:
        biases += [(place[f"bias_{node.name}"], 0) if node.bias else (-1, 0), (-1, 0)]
    return Layout(
        tuple((place[f"weight_{maps[m].name}"], 0, columns[m][k][0]) for m, k in parts(program)),
        tuple(biases),
        tuple(place[node.name] for node in program.nodes if node.op == "parameter"),
        tuple(program.parameter_shapes(*sizes)[name] for name in names),
        _sparse(program),
    )


def torch_layout(program: Program, sizes: tuple[int, int, int], fused: Fused, tensors: int) -> Layout:
    """Of weight_ih, weight_hh(, bias_ih, bias_hh)(, weight_hr)."""
    maps, hidden = program.affine_maps, sizes[1]
    found: list[tuple[int, int, int]] = []
    for m, k in parts(program):
        name = maps[m].name
        if fused.projected and name == "r":
            found.append((tensors - 1, 0, 0))
        elif program.nodes[maps[m].args[k]].op == "input":
            found.append((0, fused.from_input.index(name) * hidden, 0))
        else:
            found.append((1, fused.from_state.index(name) * hidden, 0))
    biases: list[tuple[int, int]] = []
    for node in maps:
        for which, names in ((2, fused.from_input), (3, fused.from_state)):
            given = tensors > 3 and node.bias and node.name in names
            biases.append((which, names.index(node.name) * hidden) if given else (-1, 0))
    rows, output = len(fused.from_input) * hidden, sizes[2] if fused.projected else hidden
    shapes: list[tuple[int, ...]] = [(rows, sizes[0]), (len(fused.from_state) * hidden, output)]
    shapes += [(rows,), (rows,)] if tensors > 3 else []
    shapes += [(output, hidden)] if fused.projected else []
    return Layout(tuple(found), tuple(biases), (), tuple(shapes), _sparse(program))


def _sparse(program: Program) -> bool:
    outputs = {name for name, _ in adjoint(program, products_of_input=False).program.outputs}
    wanted = {f"grad_map_{node.name}" for node in program.affine_maps}
    wanted |= {f"grad_weight_{node.name}" for node in program.nodes if node.op == "parameter"}
    return not wanted <= outputs
