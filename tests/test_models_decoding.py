"""Beam search against all sequences there are and against a slow twin; the decoder's steps against its parallel run."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from elman.errors import OptionError
from elman.models.write.decoder import Carried, DecoderNetwork
from elman.models.write.decoding import Hypothesis, beam_search, rows
from elman.nn import Attention, Recurrent
from elman.nn.attention import Memory

V, E, H, M = 5, 4, 6, 7
START, END = 0, 1


def network(attention: str | None = "additive", feeding: bool = False, cell: str = "gru", tied: bool = False) -> Any:
    torch.manual_seed(3)
    looks = None if attention is None else Attention(attention, H, M)
    decoder = DecoderNetwork(
        torch.nn.Embedding(V, E), Recurrent(cell, E * (1 + feeding), H, 2), M, looks, feeding=feeding, tied=tied
    ).double()
    decoder.output.bias.data.normal_()
    decoder.output.weight.data.mul_(3)
    return decoder.eval()


def begun(decoder: DecoderNetwork, batch: int, lengths: list[int] | None = None) -> tuple[Carried, Memory | None]:
    values = torch.randn(3, batch, M, dtype=torch.float64)
    return decoder.begin(values[0]), decoder.remember(values, lengths)


@torch.no_grad()
def nats(decoder: DecoderNetwork, carried: Carried, memory: Memory | None, tokens: tuple[int, ...]) -> list[float]:
    """log P of each of the tokens, by one parallel run for the first of the batch."""
    given = torch.tensor([START, *tokens[:-1]])[:, None]
    first = torch.zeros(1, dtype=torch.long)
    one = None if memory is None else Memory(*(part[:1] for part in memory))
    readouts, _, _ = decoder(given, rows(carried, first), one)
    found = decoder.output(readouts)[:, 0].log_softmax(-1)
    return [float(found[t, token]) for t, token in enumerate(tokens)]


# -- beam search -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("penalty", [0.0, 0.6, 1.0, 2.0])
@pytest.mark.parametrize(("attention", "feeding"), [(None, False), ("dot", False), ("additive", True)])
def test_a_wide_beam_finds_the_best_of_all_sequences(attention: str | None, feeding: bool, penalty: float) -> None:
    decoder = network(attention, feeding)
    carried, memory = begun(decoder, 1)
    limit, letters = 3, [2, 3, 4]
    every = []
    for n in range(limit):
        for tokens in itertools.product(letters, repeat=n):
            total = sum(nats(decoder, carried, memory, (*tokens, END)))
            every.append((total / (n + 1) ** penalty, total, tokens))
    every.sort(reverse=True)
    found = beam_search(
        lambda t, c: decoder.step(t, c, memory), carried, [limit], start=START, end=END, beam_size=40, n_best=10,
        length_penalty=penalty, never=[START],
    )[0]  # fmt: skip
    assert [h.tokens for h in found] == [tokens for _, _, tokens in every[:10]]
    assert [h.score for h in found] == pytest.approx([score for score, _, _ in every[:10]], abs=1e-12)
    assert [h.log_probability for h in found] == pytest.approx([total for _, total, _ in every[:10]], abs=1e-12)
    assert all(h.ended for h in found)


def slow_beam(
    decoder: DecoderNetwork, carried: Carried, memory: Memory | None, limit: int, beam: int, wanted: int, penalty: float
) -> list[tuple[tuple[int, ...], float, bool]]:
    """One input, lists alone, every prefix read anew: the definition."""
    still, ended = [((), 0.0)], []  # type: list[tuple[tuple[int, ...], float]], list[tuple[tuple[int, ...], float, bool]]
    for n in range(1, limit + 1):
        more = [
            ((*tokens, token), sum(nats(decoder, carried, memory, (*tokens, token))))
            for tokens, _ in still
            for token in range(V)
            if token != START
        ]
        more.sort(key=lambda pair: -pair[1])
        ended += [(tokens[:-1], total / n**penalty, True) for tokens, total in more[:beam] if tokens[-1] == END]
        still = [pair for pair in more if pair[0][-1] != END][:beam]
        ended.sort(key=lambda h: -h[1])
        if len(ended) >= beam and still[0][1] / n**penalty <= ended[beam - 1][1]:
            break
    else:
        ended += [
            (tokens, total / limit**penalty, False) for tokens, total in still[: max(0, wanted - len(ended))] if limit
        ]
    return ended[:wanted]


@pytest.mark.parametrize("beam", [1, 2, 3, 7])
@pytest.mark.parametrize("feeding", [False, True])
def test_narrow_beams_of_a_batch_are_those_of_each_alone(beam: int, feeding: bool) -> None:
    decoder, limits, wanted = network("additive", feeding), [4, 1, 6, 0, 5], min(beam, 3)
    carried, memory = begun(decoder, 5, [3, 2, 1, 3, 0])
    found = beam_search(
        lambda t, c: decoder.step(t, c, memory), carried, limits, start=START, end=END, beam_size=beam, n_best=wanted,
        never=[START],
    )  # fmt: skip
    for b, limit in enumerate(limits):
        own = torch.tensor([b])
        assert memory is not None
        one = Memory(*(part[b : b + 1] for part in memory))
        expected = slow_beam(decoder, rows(carried, own), one, limit, beam, wanted, 1.0)
        assert [(h.tokens, h.ended) for h in found[b]] == [(tokens, ended) for tokens, _, ended in expected]
        assert [h.score for h in found[b]] == pytest.approx([score for _, score, _ in expected], abs=1e-12)


def fixed(table: dict[tuple[int, ...], list[float]]) -> Any:
    """A step whose probabilities are written down for each prefix; it carries the prefix."""

    def step(tokens: Tensor, carried: Tensor) -> tuple[Tensor, Tensor]:
        carried = torch.cat([carried, tokens[:, None]], 1)
        shares = [table.get(tuple(row[1:].tolist()), [0.0, 1.0, 0.0, 0.0]) for row in carried]
        return torch.tensor(shares, dtype=torch.float64).log(), carried

    return step


GARDEN = {  # the likeliest first token leads nowhere; a long sequence has the best mean
    (): [0.0, 0.1, 0.5, 0.4],
    (2,): [0.0, 0.34, 0.33, 0.33],
    (3,): [0.0, 0.0, 0.0, 1.0],
    (3, 3): [0.0, 0.6, 0.0, 0.4],
    (3, 3, 3): [0.0, 1.0, 0.0, 0.0],
}


def searched(**options: Any) -> list[Hypothesis]:
    return beam_search(fixed(GARDEN), torch.zeros(1, 0).long(), [6], start=START, end=END, **options)[0]


def test_greedy_takes_the_likeliest_token_and_a_beam_looks_further() -> None:
    assert searched(beam_size=1)[0].tokens == (2,)
    assert searched(beam_size=3, length_penalty=0.0)[0].tokens == (3, 3)
    assert searched(beam_size=3, length_penalty=0.0)[0].log_probability == pytest.approx(math.log(0.24))


def test_the_length_penalty_favours_longer_sequences() -> None:
    """P = 0.24 for 3 tokens, 0.17 for 2, 0.16 for 4, 0.1 for 1: their means are in another order."""
    plain = searched(beam_size=4, n_best=4, length_penalty=0.0)
    assert [h.tokens for h in plain] == [(3, 3), (2,), (2, 2), (2, 3)]
    means = searched(beam_size=4, n_best=2, length_penalty=1.0)
    assert [h.tokens for h in means] == [(3, 3, 3), (3, 3)]
    assert [h.score for h in means] == pytest.approx([math.log(0.16) / 4, math.log(0.24) / 3])


def test_what_has_no_end_is_cut_at_the_limit_and_stands_last() -> None:
    def step(tokens: Tensor, carried: Any) -> tuple[Tensor, Any]:
        return torch.tensor([[0.0, 0.01, 0.98, 0.01]]).log().expand(len(tokens), -1), carried

    (found,) = beam_search(step, None, [4], start=START, end=END, beam_size=1)
    assert [(h.tokens, h.ended) for h in found] == [((2, 2, 2, 2), False)]
    (found,) = beam_search(step, None, [2], start=START, end=END, beam_size=3, n_best=3, length_penalty=0.0)
    assert {h.tokens for h in found[:2]} == {(), (2,)}
    assert (found[2].tokens, [h.ended for h in found]) == ((2, 2), [True, True, False])


def test_no_input_and_no_room() -> None:
    decoder = network()
    carried, memory = begun(decoder, 0)
    assert beam_search(lambda t, c: decoder.step(t, c, memory), carried, [], start=START, end=END) == []
    carried, memory = begun(decoder, 1)
    assert beam_search(lambda t, c: decoder.step(t, c, memory), carried, [0], start=START, end=END) == [[]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beam_size": 0}, "--beam-size must be a whole number, 1 or more, not 0"),
        ({"beam_size": True}, "--beam-size must be a whole number"),
        ({"n_best": 2.0}, "--n-best must be a whole number"),
        ({"beam_size": 2, "n_best": 3}, "--n-best 3 needs a --beam-size of 3 or more, not 2"),
        ({"length_penalty": -1.0}, "--length-penalty must be a number, 0 or more, not -1.0"),
        ({"length_penalty": math.nan}, "--length-penalty must be a number"),
    ],
)
def test_impossible_searches(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        searched(**options)


# -- the decoder -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("cell", ["rnn", "lstm", "slstm", "jordan", "lstm_multiplicative"])
@pytest.mark.parametrize(("attention", "feeding"), [(None, False), ("additive", False), ("dot", True)])
def test_steps_are_the_parallel_run(cell: str, attention: str | None, feeding: bool) -> None:
    decoder = network(attention, feeding, cell)
    carried, memory = begun(decoder, 2, [3, 2])
    tokens = torch.randint(0, V, (5, 2))
    readouts, last, weights = decoder(tokens, carried, memory)
    assert (weights is None) == (attention is None)
    for t, given in enumerate(tokens):
        logits, carried = decoder.step(given, carried, memory)
        assert torch.allclose(logits, decoder.output(readouts[t]), atol=1e-12)
    for one, other in zip(carried.state, last.state):
        assert all(torch.allclose(a, b, atol=1e-12) for a, b in zip(one, other))


def test_the_recurrent_layers_run_once_unless_input_is_fed() -> None:
    for feeding, calls in ((False, 1), (True, 5)):
        decoder = network("dot", feeding)
        seen: list[int] = []
        decoder.decoder.register_forward_hook(lambda _, given, __, seen=seen: seen.append(len(given[0])))
        carried, memory = begun(decoder, 2)
        decoder(torch.zeros(5, 2).long(), carried, memory)
        assert (len(seen), sum(seen)) == (calls, 5)


def test_sampling_never_is_teacher_forcing_and_always_is_the_network_itself() -> None:
    decoder = network()
    carried, memory = begun(decoder, 3)
    tokens = torch.randint(0, V, (6, 3))
    expected, _, _ = decoder(tokens, carried, memory)
    assert torch.allclose(decoder.sampled(tokens, carried, memory, 0.0), expected, atol=1e-12)
    decoder.output.weight.data.zero_()
    decoder.output.bias.data = torch.tensor([0.0, 0.0, 1e4, 0.0, 0.0]).double()  # it would write 2 for ever
    own = torch.cat([tokens[:1], torch.full((5, 3), 2)])
    expected, _, _ = decoder(own, carried, memory)
    assert torch.allclose(decoder.sampled(tokens, carried, memory, 1.0), expected, atol=1e-12)


def test_the_summary_begins_all_states_but_a_normaliser() -> None:
    for cell, given in (("gru", [1]), ("lstm", [1, 1]), ("slstm", [1, 0, 0, 0])):
        decoder = network(cell=cell)
        state = decoder.begin(torch.ones(2, M, dtype=torch.float64)).state
        assert [[int(bool(s.any())) for s in part] for part in state] == [given, given]


def test_the_loss_is_that_of_the_true_steps() -> None:
    decoder = network(tied=True)
    assert decoder.output.weight is decoder.target.weight
    carried, memory = begun(decoder, 3)
    tokens, targets, lengths = torch.randint(0, V, (4, 3)), torch.randint(0, V, (4, 3)), [4, 0, 2]
    readouts, _, _ = decoder(tokens, carried, memory)
    logits = decoder.output(readouts).log_softmax(-1)
    each = [-logits[t, b, targets[t, b]] for b in range(3) for t in range(lengths[b])]
    assert torch.allclose(decoder.loss(readouts, targets, lengths), torch.stack(each).mean())


def test_impossible_decoders() -> None:
    with pytest.raises(OptionError, match="--input-feeding feeds on what attention finds"):
        network(None, feeding=True)
    embedding = torch.nn.Embedding(V, E)
    with pytest.raises(OptionError, match="its layers run forward only"):
        DecoderNetwork(embedding, Recurrent("gru", E, H, bidirectional=True), M)
    with pytest.raises(OptionError, match="the decoder takes 3 inputs, but its tokens give 4"):
        DecoderNetwork(embedding, Recurrent("gru", 3, H), M)
