"""The CRF's loss with its gradient, and its best sequences, beside pytorch-crf's, in float32.

    python benchmarks/speed/crf.py [--threads 1] [--repeats 9]

Batches of ragged sentences, half to whole of T words long. Gradients and sequences are compared first.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
from torch import Tensor
from torchcrf import CRF as Other

from elman.bench import report
from elman.bench.turns import ratio, spread, turns
from elman.nn import CRF

SHAPES = [(25, 32, 9), (50, 32, 9), (50, 32, 17), (100, 8, 9), (50, 32, 50), (400, 4, 9)]
"""(T, B, V): a batch of short sentences, of long ones, parts of speech, few long ones, many tags, a document."""


def case(steps: int, batch: int, tags: int) -> dict[str, Callable[[], object]]:
    """What is timed for one shape, by name, once it has been seen to agree."""
    own, other = CRF(tags), Other(tags)
    names = {"transitions": "transitions", "start": "start_transitions", "end": "end_transitions"}
    own.load_state_dict({ours: other.state_dict()[theirs] for ours, theirs in names.items()})
    logits = torch.randn(steps, batch, tags, requires_grad=True)
    targets = torch.randint(0, tags, (steps, batch))
    lengths = torch.randint(steps // 2, steps + 1, (batch,))
    mask = torch.arange(steps)[:, None] < lengths

    def loss() -> tuple[Tensor, ...]:
        return torch.autograd.grad(own(logits, targets, lengths), [logits, *own.parameters()])

    def other_loss() -> tuple[Tensor, ...]:
        weights = [getattr(other, theirs) for theirs in names.values()]
        return torch.autograd.grad(-other(logits, targets, mask, reduction="token_mean"), [logits, *weights])

    for one, two in zip(loss(), other_loss(), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-5)  # logits of 1: float32 on both sides
    with torch.no_grad():
        best = own.viterbi(logits, lengths)[0][0]
        if [best[:n, b].tolist() for b, n in enumerate(lengths.tolist())] != other.decode(logits, mask):
            raise SystemExit("the best sequences differ")
    return {
        "loss": loss,
        "pytorch-crf's loss": other_loss,
        "best": lambda: own.viterbi(logits.detach(), lengths),
        "pytorch-crf's best": lambda: other.decode(logits.detach(), mask),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=9)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    rows = []
    for shape in SHAPES:
        times = turns(case(*shape), options.repeats)
        for name in ("loss", "best"):
            rival = f"pytorch-crf's {name}"
            own, theirs = (report.quartiles(spread(times[one]).times(1e3)) for one in (name, rival))
            rows.append([",".join(map(str, shape)), name, own, theirs, f"{ratio(times, rival, name):.1f}"])
    print(f"{report.about()}; threads: {options.threads}; milliseconds (quartiles)\n")
    print(report.markdown(("T,B,V", "what", "elman", "pytorch-crf", "times as fast"), rows))


if __name__ == "__main__":
    main()
