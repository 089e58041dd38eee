"""The adjoint: a program -> its backward program, by reverse mode on the shared graph, linear in its length.

Each function's derivative is written in terms of its output where that is exact (sigmoid: s·(1 − s)), so that the
forward step need not keep its argument. What the backward step needs of the forward one is *saved* where rebuilding it
would take a matrix product, and *rebuilt* otherwise.

A mask is neither: the backward program holds the same node, whose numbers are made again.

The backward program's inputs:  the cell's input and states by their names; `new_h` new states; `saved_7` the saved
value of node 7; `grad_new_h` the gradient of the loss with respect to each new state.
Its outputs, each a vector for one step (sum over steps and batch for the weights' gradients):
    grad_x             the gradient with respect to the input
    grad_h             ... with respect to each old state
    grad_map_i         ... with respect to the value of the affine map i: its bias takes the sum of it, its matrix the
                       sum of outer products with its vectors
    grad_weight_p_i    ... with respect to the per-unit parameter p_i, before summing
    vector_n_1         the vector 1 of map n, where it is a computed one
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

from msgspec.structs import replace

from elman.compiler.build import Builder
from elman.compiler.ir import BINARY, BROADCASTS, REDUCTIONS, UNARY, Node, Program


@dataclass(frozen=True)
class Adjoint:
    """The backward step of a cell."""

    program: Program
    saved: tuple[int, ...]
    """Nodes of the forward program whose values the forward step keeps."""
    rebuilt: tuple[int, ...]
    """Nodes of the forward program that the backward step computes again (per-unit maths on what is at hand)."""


@lru_cache(maxsize=256)
def adjoint(program: Program, *, products_of_input: bool = True) -> Adjoint:
    """The backward step of the cell `program`.

    products_of_input=False leaves the affine maps' part out of the input's gradient: it does not recur, so a caller
    with the whole sequence at hand takes it from `grad_map_*` in one large product.
    """
    return _Reverse(program, products_of_input).run()


@dataclass
class _Reverse:
    forward: Program
    products_of_input: bool
    out: Builder = field(default_factory=Builder)
    values: dict[int, int] = field(default_factory=dict)  # forward node -> its value in the backward program
    saved: set[int] = field(default_factory=set)
    rebuilt: set[int] = field(default_factory=set)
    grads: dict[int, list[int]] = field(default_factory=dict)

    def run(self) -> Adjoint:
        self.new = {p: name for name, p in reversed(self.forward.outputs)}
        self.cheap, self.still = self._cheap(), self._still()
        for name, position in self.forward.outputs:
            size = self.forward.nodes[position].size
            self._give(position, self.out.leaf("input", f"grad_new_{name}", size))
        outputs: dict[str, int] = {}
        for position in reversed(range(len(self.forward.nodes))):
            node = self.forward.nodes[position]
            if node.op in ("input", "state"):
                outputs[f"grad_{node.name}"] = self._total(position)
            elif position in self.grads:
                grad = self._total(position)
                if node.op == "affine":
                    outputs[f"grad_map_{node.name}"] = grad
                    for index, argument in enumerate(node.args):
                        if self.forward.nodes[argument].op not in ("input", "state"):
                            outputs[f"vector_{node.name}_{index}"] = self._value(argument)
                elif node.op == "parameter":
                    outputs[f"grad_weight_{node.name}"] = grad
                self._pass_on(position, node, grad)
        program = self.out.program(f"{self.forward.name}_backward"[:64], tuple(outputs.items()))
        return Adjoint(program, tuple(sorted(self.saved)), tuple(sorted(self.rebuilt)))

    def _cheap(self) -> list[bool]:
        """Which nodes can be rebuilt from input, states (old and new) and parameters without a matrix product."""
        cheap: list[bool] = []
        for position, node in enumerate(self.forward.nodes):
            cheap.append(position in self.new or (node.op != "affine" and all(cheap[a] for a in node.args)))
        return cheap

    def _still(self) -> list[bool]:
        """Which nodes hang on numbers and masks alone: no gradient is wanted of them."""
        still: list[bool] = []
        for node in self.forward.nodes:
            made = bool(node.args) and node.op != "affine" and all(still[a] for a in node.args)
            still.append(node.op in ("constant", "mask") or made)
        return still

    def _value(self, position: int) -> int:
        """The value of a forward node, inside the backward program."""
        open_nodes = [position]  # a stack and no recursion: a chain of rebuilt values may be as long as the program
        while open_nodes:
            here = open_nodes[-1]
            node = self.forward.nodes[here]
            if here in self.values or self._at_hand(here, node):
                open_nodes.pop()
            elif missing := [a for a in node.args if a not in self.values]:
                open_nodes += missing
            else:
                args = tuple(self.values[a] for a in node.args)
                self.values[here] = self.out.add(replace(node, args=args))
                if node.op not in ("constant", "parameter", "mask", "spread"):
                    self.rebuilt.add(here)
        return self.values[position]

    def _at_hand(self, position: int, node: Node) -> bool:
        """True for what the backward program is given: input, states old and new, and what the forward step saves."""
        expensive = node.op == "affine" or (node.op in (*UNARY, *REDUCTIONS) and node.op != "neg")
        if node.op in ("input", "state"):
            name = node.name
        elif position in self.new:
            name = f"new_{self.new[position]}"
        elif expensive and not self.cheap[position]:
            name = f"saved_{position}"
            self.saved.add(position)
        else:
            return False
        self.values[position] = self.out.leaf("input", name, node.size)
        return True

    def _give(self, position: int, grad: int) -> None:
        self.grads.setdefault(position, []).append(grad)

    def _total(self, position: int) -> int:
        if position not in self.grads:
            return self.out.constant(0.0, self.forward.nodes[position].size)
        return self.out.sum_of(self.grads[position])

    def _pass_on(self, position: int, node: Node, grad: int) -> None:
        """The gradient of a node's value, carried to its arguments."""
        apply = self.out.apply
        if node.op == "affine":
            for index, argument in enumerate(node.args):
                size = self.forward.nodes[argument].size
                if self.forward.nodes[argument].op == "input" and not self.products_of_input:
                    continue
                self._give(argument, self.out.add(Node("transpose", (grad,), size, node.name, index=index)))
        elif node.op in UNARY:
            slope = self._slope(position, node)
            if slope is not None:
                self._give(node.args[0], apply("neg", grad) if node.op == "neg" else apply("mul", grad, slope))
        elif node.op in BINARY:
            self._pass_binary(position, node, grad)
        elif node.op in (*REDUCTIONS, *BROADCASTS):
            # Each is the transpose of another: a sum spreads its gradient, a spread sums it, a mean shares it.
            partner = {"sum": "spread", "spread": "sum", "mean": "share", "share": "mean"}[node.op]
            self._give(node.args[0], self.out.add(Node(partner, (grad,), self.forward.nodes[node.args[0]].size)))

    def _slope(self, position: int, node: Node) -> int | None:
        """The derivative of a per-unit function at the node's value (None: zero everywhere)."""
        apply = self.out.apply

        def constant(value: float) -> int:
            return self.out.constant(value, node.size)

        if node.op in ("step", "sign"):
            return None
        if node.op == "neg":
            return constant(-1.0)
        if node.op in ("softplus", "log", "abs"):
            x = self._value(node.args[0])
            return apply({"softplus": "sigmoid", "log": "reciprocal", "abs": "sign"}[node.op], x)
        y = self._value(position)
        if node.op == "exp":
            return y
        if node.op == "relu":
            return apply("step", y)
        square = apply("mul", y, y)
        if node.op == "sigmoid":
            return apply("mul", y, apply("sub", constant(1.0), y))
        if node.op == "tanh":
            return apply("sub", constant(1.0), square)
        if node.op == "rsqrt":
            return apply("mul", constant(-0.5), apply("mul", square, y))
        return apply("neg", square)  # reciprocal

    def _pass_binary(self, position: int, node: Node, grad: int) -> None:
        apply, (a, b) = self.out.apply, node.args
        still = self.still
        if node.op in ("add", "sub"):
            if not still[a]:
                self._give(a, grad)
            if not still[b]:
                self._give(b, grad if node.op == "add" else apply("neg", grad))
        elif node.op == "mul":
            if not still[a]:
                self._give(a, apply("mul", grad, self._value(b)))
            if not still[b]:
                self._give(b, apply("mul", grad, self._value(a)))
        elif node.op == "div":
            share = apply("div", grad, self._value(b))
            if not still[a]:
                self._give(a, share)
            if not still[b]:
                self._give(b, apply("neg", apply("mul", share, self._value(position))))
        elif node.op in ("minimum", "maximum"):
            # 1 to the one that is taken, 0 to the other, and a half to each where they are equal
            below = apply("less", self._value(a), self._value(b))
            above = apply("less", self._value(b), self._value(a))
            takes, leaves = (below, above) if node.op == "minimum" else (above, below)
            one, half = self.out.constant(1.0, node.size), self.out.constant(0.5, node.size)
            to_a = apply("mul", half, apply("add", one, apply("sub", takes, leaves)))
            self._give(a, apply("mul", grad, to_a))
            self._give(b, apply("mul", grad, apply("sub", one, to_a)))
