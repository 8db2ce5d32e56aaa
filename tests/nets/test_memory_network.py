"""Networks that answer questions about a story, against their equations one sum at a time."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from lifelong import Finetune, Learner, MethodError, Training, fit
from lifelong.nets import MemoryNetwork, Reader
from lifelong.nets.memory_network import Attentive, _with_blanks
from lifelong.streams import babi


def small(about: MemoryNetwork, memory: int = 4, V: int = 9, seed: int = 0) -> Attentive:
    torch.manual_seed(seed)
    net = about((memory + 1, 5), V).double()
    assert isinstance(net, Attentive)
    return net


STORIES: list[list[list[int]]] = [
    [[1, 2, 3], [4, 5], [6, 7, 8, 9, 1], [1, 3]],
    [[9, 9], [2]],
    [[5]],
    [[4, 3, 2], [8], [7]],
]
ASKED = [[3, 1], [2, 2, 5], [7], [1, 2, 3, 4]]


def laid_out(memory: int, J: int) -> Tensor:
    x = torch.zeros(len(STORIES), memory + 1, J, dtype=torch.int16)
    for i, (told, question) in enumerate(zip(STORIES, ASKED)):
        for r, words in enumerate([*told, question]):
            x[i, memory - len(told) + r, : len(words)] = torch.tensor(words)
    return x


def by_the_paper(net: Attentive, told: list[list[int]], question: list[int]) -> tuple[Tensor, list[list[float]]]:
    """The equations of the module's docstring, one sum at a time."""
    about, (d, K) = net.about, (net.about.units, net.about.hops)

    def bag(E: Tensor, words: list[int]) -> Tensor:
        total, J = torch.zeros(d, dtype=torch.float64), len(words)
        for j, word in enumerate(words, 1):
            for k in range(1, d + 1):
                l_kj = 1 + 4 * (k - (d + 1) / 2) * (j - (J + 1) / 2) / (d * J) if about.position else 1.0
                total[k - 1] += l_kj * E[word - 1, k - 1]
        return total

    words, times = [*net.words, net.out.weight], list(net.times)
    if about.tying == "adjacent":
        A, C, B, W = words[:-1], words[1:], words[0], words[-1]
        T_A, T_C = times[:-1], times[1:]
    else:
        A, C, B, W = [words[0]] * K, [words[1]] * K, words[2], words[3]
        T_A, T_C = times[:1] * K, times[1:] * K
    u = bag(B, question)
    looked = []
    for k in range(K):
        after = [len(told) - 1 - i for i in range(len(told))]  # sentences that came after
        m = [bag(A[k], s) + (T_A[k][a] if about.temporal else 0) for s, a in zip(told, after)]
        c = [bag(C[k], s) + (T_C[k][a] if about.temporal else 0) for s, a in zip(told, after)]
        scores = torch.stack([m_i @ u for m_i in m])
        p = scores if net.linear else scores.exp() / (scores.exp().sum() + net.memory - len(told))
        o = sum(p_i * c_i for p_i, c_i in zip(p, c))
        u = (u if net.H is None else net.H @ u) + o
        looked.append(p.tolist())
    return W @ u, looked


@pytest.mark.parametrize("tying", ["adjacent", "layerwise"])
@pytest.mark.parametrize("hops", [1, 2, 3])
@pytest.mark.parametrize("options", [{}, {"position": False}, {"temporal": False}, {"linear": True}])
@torch.no_grad()
def test_the_equations(tying: str, hops: int, options: dict[str, bool]) -> None:
    net = small(MemoryNetwork(6, hops, tying, **options)).eval()
    logits, seen = net.attend(laid_out(4, 5))
    for i, (told, question) in enumerate(zip(STORIES, ASKED)):
        expected, looked = by_the_paper(net, told, question)
        torch.testing.assert_close(logits[i], expected)
        for p, by_hand in zip(seen, looked):
            assert p[i, 4 - len(told) :].tolist() == pytest.approx(by_hand, abs=1e-8)
            assert p[i, : 4 - len(told)].tolist() == [0.0] * (4 - len(told))


@pytest.mark.parametrize(
    "about", [MemoryNetwork(6), MemoryNetwork(6, 2, "layerwise"), Reader("lstm", 6, 4), Reader("gru", 6, 4)]
)
@pytest.mark.parametrize("training", [False, True])
def test_padding_has_no_part(about, training: bool) -> None:
    torch.manual_seed(0)
    if isinstance(about, MemoryNetwork):
        about = MemoryNetwork(about.units, about.hops, about.tying, noise=0.0)
    net = about((8, 9), 9).double().train(training)
    tight, wide = net(laid_out(4, 5)), net(laid_out(7, 9))
    torch.testing.assert_close(tight, wide, rtol=0, atol=1e-12)
    grads = [torch.autograd.grad(f.square().sum(), list(net.parameters())) for f in (tight, wide)]
    for a, b in zip(*grads):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-11)
    with torch.no_grad():  # alone as in company
        each = torch.cat([net(laid_out(4, 5)[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(each, tight.detach(), rtol=0, atol=1e-12)
    with torch.no_grad(), pytest.raises(MethodError, match="8 rows for a memory of 7"):
        small(MemoryNetwork(6), 7)(laid_out(8, 5))


@pytest.mark.parametrize("about", [MemoryNetwork(6), MemoryNetwork(6, linear=True), Reader("lstm", 6, 4)])
def test_an_empty_story_is_answered_from_the_question(about) -> None:
    torch.manual_seed(0)
    net = about((5, 5), 9)
    x = torch.zeros(2, 5, 5, dtype=torch.int16)
    x[0, 4, :2] = torch.tensor([3, 1])
    for training in (True, False):
        f = net.train(training)(x)
        assert bool(f.isfinite().all())
        f.square().sum().backward()
        assert all(bool(p.grad.isfinite().all()) for p in net.parameters() if p.grad is not None)
    if isinstance(net, Attentive):
        with torch.no_grad():
            assert all(not p.any() for p in net.attend(x)[1])


def test_the_order_of_words_and_of_sentences_counts_only_where_it_should() -> None:
    x = laid_out(4, 5)[:1]
    words, sentences = x.clone(), x.clone()
    words[0, 0, :3] = x[0, 0, [2, 0, 1]]
    sentences[0, :4] = x[0, [1, 0, 3, 2]]
    for options, by_word, by_time in (
        ({}, True, True),
        ({"position": False}, False, True),
        ({"temporal": False}, True, False),
    ):
        net = small(MemoryNetwork(6, **options)).eval()
        with torch.no_grad():
            f, a, b = net(x), net(words), net(sentences)
        assert torch.allclose(f, a) is not by_word
        assert torch.allclose(f, b) is not by_time


def test_blanks_are_slipped_in_at_random() -> None:
    torch.manual_seed(0)
    n = torch.tensor([3, 0, 5]).repeat(4000)
    age = _with_blanks(n, 5, 0.4)
    found: dict[int, dict[tuple[int, ...], int]] = {3: {}, 5: {}}
    for count, row in zip(n.tolist(), age.tolist()):
        own = tuple(row[:count])
        assert list(own) == sorted(set(own))
        if count:
            found[count][own] = found[count].get(own, 0) + 1
    # of 3 sentences: none, one or two blanks (⌈0.4·3⌉ = 2), each a third of the time, then every choice of 3 of the slots alike
    expected = {
        (0, 1, 2): 1 / 3 + 1 / 12 + 1 / 30,
        (0, 1, 3): 1 / 12 + 1 / 30,
        (2, 3, 4): 1 / 30,
        (1, 2, 3): 1 / 12 + 1 / 30,
    }
    assert len(found[3]) == 10
    assert len(found[5]) == 21
    for slots, share in expected.items():
        assert found[3][slots] / 4000 == pytest.approx(share, abs=0.02)
    assert torch.equal(_with_blanks(n, 5, 0.0)[0, :3], torch.arange(3))


def test_noise_acts_in_training_alone_and_draws_from_the_learner() -> None:
    stream = babi(tasks=(1,), examples=64, test_examples=10)
    ends = []
    for noise in (0.0, 0.5, 0.5):
        torch.manual_seed(int(torch.randint(1000, ())))  # whatever the caller's generator is
        net = small(MemoryNetwork(6, noise=noise), 50, stream.outputs).float()
        x = stream[0].test.x
        assert torch.equal(net.eval()(x), net(x))
        Learner(net, None, Training(batch_size=16), scenario="domain").learn(stream[0])
        ends.append(net.words[0].detach().clone())
    assert torch.equal(ends[1], ends[2])
    assert not torch.equal(ends[0], ends[1])


def test_networks_say_what_they_need() -> None:
    with pytest.raises(MethodError, match=r"learns from stories .* got inputs \[784\]"):
        MemoryNetwork()((784,), 10)
    with pytest.raises(MethodError, match="learns from stories"):
        Reader()((3, 32, 32), 10)
    for wrong in ({"hops": 0}, {"tying": "none"}, {"noise": -0.1}):
        with pytest.raises(MethodError, match="expected"):
            MemoryNetwork(**wrong)
    with pytest.raises(MethodError, match="expected 'lstm' or 'gru'"):
        Reader("rnn")


@pytest.mark.parametrize("about", [MemoryNetwork(20), MemoryNetwork(20, tying="layerwise"), Reader("gru", 32, 16)])
def test_they_learn(about) -> None:
    stream = babi(tasks=(1,), memory=6, examples=600, test_examples=200)
    reader = isinstance(about, Reader)
    training = Training("adam" if reader else "sgd", lr=0.01 if reader else 0.3, clip=1.25, epochs=12, batch_size=32)
    run = fit(Finetune(), about, stream, training=training)
    assert run.matrix().acc > (0.3 if reader else 0.7)  # by chance 0.17


def test_what_a_memory_network_is_made_of() -> None:
    """What linear start switches is no weight, the places of words are not saved, and C^K is the last layer."""
    net = small(MemoryNetwork(6))
    assert set(net.state_dict()) == {*(f"words.{k}" for k in range(3)), *(f"times.{k}" for k in range(4)), "out.weight"}
    assert list(dict(net.named_parameters()))[-1] == "out.weight"  # what methods take for the head
    assert isinstance(net.out, nn.Linear)
