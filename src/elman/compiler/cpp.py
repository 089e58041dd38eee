"""Prints a cell's program as C++: `run`, a loop over the steps of one sequence. A pure function from program to text.

The step is cut into stages at its affine maps and reductions. A stage takes the products of what earlier stages left
in memory, then walks over the units once, 16 at a time, with everything else in registers. What later stages read is
stored; a number (size 1) is a vector of 16 equal floats.

    void run(const long* sizes, const float* weights, const float* x, long steps,
             float* states, float* scratch, float* out)

sizes: I, H, O. weights: as `weight_layout` orders and `elman.engine.native` packs them. x (steps, I), out (steps, units
of the first state). states: one after the other, each padded to whole vectors. scratch: `scratch_slots` padded vectors,
zeros at first.

Programs come out of model files: of their texts only names that the verifier knows are printed, never doc or source,
and each name behind a word of ours (`state_h`), so that none is a keyword or a name of the header.
"""

from __future__ import annotations

from elman.compiler.ir import Node, Program

ABI = 2
"""Goes up whenever the printed text and what calls it no longer fit to older ones."""

MOST_PRINTED = 500
"""Values and their arguments in a program that is printed: beyond, a compiler takes gigabytes, and a file may claim
thousands. The longest cell of the catalogue has less than half."""

_FORMS = {
    "neg": "-{0}", "sigmoid": "sigmoid({0})", "tanh": "tanh_({0})", "relu": "rectify({0})", "softplus": "softplus({0})",
    "exp": "exponential({0})", "log": "logarithm({0})", "abs": "absolute({0})", "rsqrt": "1.0f / root({0})",
    "reciprocal": "1.0f / {0}", "step": "step({0})", "sign": "sign({0})",
    "add": "{0} + {1}", "sub": "{0} - {1}", "mul": "{0} * {1}", "div": "{0} / {1}",
    "minimum": "least({0}, {1})", "maximum": "most({0}, {1})", "less": "pick({0} < {1}, all(1.0f), V{{}})",
}  # fmt: skip

_HEAD = """\
extern "C" void run(const long* sizes, const float* weights, const float* x, long steps,
                    float* states, float* scratch, float* out)
{{
    const long size_I = sizes[0], size_H = sizes[1], size_O = sizes[2];
    const long wide_I = (size_I + L - 1) / L * L, wide_H = (size_H + L - 1) / L * L, wide_O = (size_O + L - 1) / L * L;
    const float* at = weights;
{weights}
    float* room = scratch;
{slots}
    room = states;
{states}
    for (long t = 0; t < steps; t++, x += size_I, out += size_{first}) {{
{stages}
    }}
}}
"""


def weight_layout(program: Program) -> list[tuple[str, Node]]:
    """What stands in the packed weights, in order: ("matrix" | "bias" | "parameter", its node)."""
    found: list[tuple[str, Node]] = []
    for node in program.nodes:
        if node.op == "affine":
            found += [("matrix", node), ("bias", node)]
        elif node.op == "parameter":
            found.append(("parameter", node))
    return found


def scratch_slots(program: Program) -> int:
    """How many padded vectors of the widest size the step needs beside its states."""
    return len(_Printer(program).stored)


def printable(program: Program) -> bool:
    """False for a program that is too long for a compiler."""
    return sum(1 + len(node.args) for node in program.nodes) <= MOST_PRINTED


def as_cpp(program: Program, vector_header: str) -> str:
    """The whole translation unit; `vector_header` is the text of engine/vector.h."""
    return f"{vector_header}\n{_Printer(program).text()}"


class _Printer:
    def __init__(self, program: Program) -> None:
        self.program = program
        self.stage = self._stages()
        self.stored = self._stored()

    def _stages(self) -> list[int]:
        stages: list[int] = []
        for node in self.program.nodes:
            before = max((stages[a] for a in node.args), default=0)
            stages.append(before + (node.op in ("affine", "sum", "mean")))
        return stages

    def _stored(self) -> list[int]:
        """Vectors that need room of their own: results of products, and what products, reductions and later stages
        read. Inputs, states and parameters have theirs, but for those that are copied."""
        needed = {position for _, position in self.program.outputs}
        for position, node in enumerate(self.program.nodes):
            if node.op == "affine":
                needed.add(position)
            for argument in node.args:
                if node.op in ("affine", "sum", "mean") or self.stage[argument] < self.stage[position]:
                    needed.add(argument)
        nodes = self.program.nodes
        return sorted(
            {p for p in needed if nodes[p].size != "1" and nodes[p].op not in ("input", "state", "parameter")}
            | self._copied()
        )

    def _copied(self) -> set[int]:
        """What is copied when a step begins: an input that is read by whole vectors, as nothing need follow the last
        row, and a state whose old value becomes a new one of another name, which may be written first."""
        nodes = self.program.nodes
        read = {a for node in nodes if node.op not in ("affine", "sum", "mean") for a in node.args}
        read |= {p for name, p in self.program.outputs if nodes[p].op == "input"}
        moved = {p for name, p in self.program.outputs if nodes[p].op == "state" and nodes[p].name != name}
        return {p for p in read if nodes[p].op == "input"} | moved

    def text(self) -> str:
        nodes, states = self.program.nodes, self.program.state_sizes()
        weights = []
        for kind, node in weight_layout(self.program):
            name = f"{kind}_{node.name}"
            rows = " + ".join(f"size_{nodes[a].size}" for a in node.args) if kind == "matrix" else "1"
            weights.append(f"const float* {name} = at; at += ({rows}) * wide_{node.size};")
        slots = [f"float* s{p} = room; room += wide_{nodes[p].size};" for p in self.stored]
        rooms = [f"float* state_{name} = room; room += wide_{size};" for name, size in states.items()]
        body = [
            f"for (long u = 0; u < size_{nodes[p].size}; u++) s{p}[u] = {self._given(p)}[u];"
            for p in self.stored
            if nodes[p].op in ("input", "state")
        ]
        for stage in range(max(self.stage) + 1):
            body += self._stage(stage)
        for name, position in self.program.outputs:
            source = self._memory(position)
            if source != f"state_{name}":
                body.append(
                    f"for (long u = 0; u < wide_{states[name]}; u += L) store(state_{name} + u, load({source} + u));"
                )
        first = self.program.states[0]
        body.append(f"for (long u = 0; u < size_{states[first]}; u++) out[u] = state_{first}[u];")
        return _HEAD.format(
            weights=_indented(weights, 1), slots=_indented(slots, 1), states=_indented(rooms, 1), first=states[first],
            stages=_indented(body, 2),
        )  # fmt: skip

    def _memory(self, position: int) -> str:
        return f"s{position}" if position in self.stored else self._given(position)

    def _given(self, position: int) -> str:
        node = self.program.nodes[position]
        return "x" if node.op == "input" else f"{node.op}_{node.name}"

    def _stage(self, stage: int) -> list[str]:
        here = [p for p in range(len(self.program.nodes)) if self.stage[p] == stage]
        lines: list[str] = []
        for position in here:
            lines += self._product_or_number(position)
        for size in ("I", "H", "O"):
            lines += self._loop([p for p in here if self.program.nodes[p].size == size], size, stage)
        return lines

    def _product_or_number(self, position: int) -> list[str]:
        node, nodes = self.program.nodes[position], self.program.nodes
        if node.op == "affine":
            wide, lines = f"wide_{node.size}", []
            lines.append(f"for (long u = 0; u < {wide}; u += L) store(s{position} + u, load(bias_{node.name} + u));")
            rows = "0"
            for argument in node.args:
                size = f"size_{nodes[argument].size}"
                start = f"matrix_{node.name} + ({rows}) * {wide}"
                lines.append(f"product({start}, {self._memory(argument)}, {size}, s{position}, {wide} / L);")
                rows += f" + {size}"
            return lines
        if node.size != "1":
            return []
        if node.op in ("sum", "mean"):
            units = f"size_{nodes[node.args[0]].size}"
            share = f" / {units}" if node.op == "mean" else ""
            return [f"const V n{position} = all(total({self._memory(node.args[0])}, {units}){share});"]
        if node.op == "constant":
            return [f"const V n{position} = all({float(node.value)!r}f);"]
        return [f"const V n{position} = {self._formula(node)};"]

    def _formula(self, node: Node) -> str:
        names = [f"n{a}" for a in node.args]
        if node.op == "spread":
            return names[0]
        if node.op == "share":
            return f"{names[0]} / float(size_{node.size})"
        return _FORMS[node.op].format(*names)

    def _loop(self, here: list[int], size: str, stage: int) -> list[str]:
        """One walk over the units for all that a stage computes of one size."""
        nodes = self.program.nodes
        work = [p for p in here if nodes[p].op not in ("input", "state", "parameter", "affine", "transpose")]
        if not work:
            return []
        inside = set(work)
        read = sorted({a for p in work for a in nodes[p].args if nodes[a].size != "1" and a not in inside})
        lines = [f"for (long u = 0; u < wide_{size}; u += L) {{"]
        lines += [f"    const V n{a} = load({self._memory(a)} + u);" for a in read]
        for position in work:
            lines.append(f"    const V n{position} = {self._formula(nodes[position])};")
            if position in self.stored:
                lines.append(f"    store(s{position} + u, n{position});")
        return [*lines, "}"]


def _indented(lines: list[str], depth: int) -> str:
    return "\n".join("    " * depth + line for line in lines)
