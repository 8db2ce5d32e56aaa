"""Questions and answers: the format, the generator, the networks, and every method on them."""

from __future__ import annotations

import hashlib
import io
import re
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lifelong import EWC, GEM, SI, DataError, Finetune, Learner, LwF, MethodError, Replay, Stream, Training, chain, fit
from lifelong.checkpoint import Store
from lifelong.cli import main
from lifelong.growth import Growth, grow
from lifelong.method import Edge, Method
from lifelong.nets import MemoryNetwork, Reader
from lifelong.nets.memory_network import Attentive, _with_blanks
from lifelong.parts.fisher import fisher
from lifelong.random import generator
from lifelong.registry import METHODS
from lifelong.streams import babi, sources, stories
from lifelong.streams.made_stories import KINDS, NUMBERS, texts
from lifelong.streams.stories import Question, encode, read, sentence, story
from lifelong.vector import Vector

TEXT = """\
1 Mary moved to the bathroom.
2 John went to the hallway.
3 Where is Mary? \tbathroom\t1
4 John took the milk, and the ball.
5 What does John carry?\tmilk,ball\t2 4
1 The cat's name is Tom.
2 Who is it?\ttom\t1
"""


# --- the format ---------------------------------------------------------------------------------------------------------
def test_reading_keeps_stories_answers_and_what_they_rest_on() -> None:
    first, second, third = read(TEXT)
    mary, john = ("mary", "moved", "to", "the", "bathroom"), ("john", "went", "to", "the", "hallway")
    assert first == Question((mary, john), ("where", "is", "mary"), "bathroom", (0,))
    assert second.story == (mary, john, ("john", "took", "the", "milk", "and", "the", "ball"))
    assert (second.answer, second.supporting) == ("milk,ball", (1, 2))  # line 4 is the third sentence
    assert (third.story, third.answer) == ((("the", "cat's", "name", "is", "tom"),), "tom")


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("Mary moved.", 1, "expected a number"),
        ("1 Mary moved.\n3 John went.", 2, "expected the number 2, or 1"),
        ("1 Mary moved.\n2 .", 2, "expected words"),
        ("1 Mary moved.\n2 Where is Mary?\t\t1", 2, "its answer"),
        ("1 Mary moved.\n2 Where is Mary?\tattic\t1\tmore", 2, "its answer"),
        ("1 Mary moved.\n2 Where is Mary?\tattic\t2", 2, "numbers of earlier sentences"),
        ("1 Mary moved.\n2 Where is Mary?\tattic\tone", 2, "numbers of earlier sentences"),
        ("1 Mary moved.\n\n1 Where is Mary?\tattic", 3, "a sentence before the first question"),
    ],
)
def test_a_malformed_line_is_named(text: str, line: int, message: str) -> None:
    with pytest.raises(DataError, match=rf"^story\.txt, line {line}: .*{re.escape(message)}"):
        read(text, "story.txt")


def test_sources_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no question"):
        read("1 Mary moved.")
    with pytest.raises(DataError, match="no folder of bAbI tasks"):
        babi(str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match="no files qaN"):
        babi(str(tmp_path))
    (tmp_path / "qa1_where_train.txt").write_text(TEXT)
    with pytest.raises(DataError, match="qa1_where_test"):
        babi(str(tmp_path))
    with pytest.raises(DataError, match=r"no task 6 .*1, 2, 3, 4, 5"):
        babi(tasks=(1, 6), examples=5, test_examples=5)
    with pytest.raises(DataError, match="at most once"):
        babi(tasks=(1, 1), examples=5, test_examples=5)
    with pytest.raises(DataError, match="memory 0"):
        babi(memory=0)


def test_the_archive_is_fetched_once_and_its_files_are_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def packed(**files: str) -> bytes:
        made = io.BytesIO()
        with tarfile.open(fileobj=made, mode="w:gz") as tar:
            for name, text in files.items():
                info = tarfile.TarInfo(f"tasks_1-20_v1-2/{name}")
                info.size = len(text.encode())
                tar.addfile(info, io.BytesIO(text.encode()))
        return made.getvalue()

    names = ("qa1_where_train.txt", "qa1_where_test.txt")
    inside = {f"{folder}/{name}": text for folder, text in (("hn", "not this"), ("en", TEXT)) for name in names}
    sums = {f"en/{names[0]}": hashlib.sha256(TEXT.encode()).hexdigest()}
    sums[f"en/{names[1]}"] = hashlib.sha1(f"blob {len(TEXT)}\0{TEXT}".encode()).hexdigest()  # as git has it
    fetched, served = [], [b""]

    def download(url: str, output_file: Any, pooch: Any) -> None:
        fetched.append(url)
        Path(output_file).write_bytes(served[0])

    monkeypatch.delenv("LIFELONG_DATA", raising=False)
    monkeypatch.setattr("pooch.os_cache", lambda project: tmp_path / project)
    monkeypatch.setattr("pooch.core.choose_downloader", lambda *_, **__: download)
    monkeypatch.setattr(stories, "_sums", lambda source: sums)
    archive = tmp_path / "lifelong" / "babi" / "tasks_1-20_v1-2.tar.gz"
    for content, message in (
        (b"<html>sign in first</html>", "no archive that can be read"),
        (packed(**{**inside, f"en/{names[0]}": TEXT.replace("Mary", "Anna")}), "not the file that was published"),
        (packed(**{f"en/{names[0]}": TEXT}), "lacks en/qa1_where_test.txt"),
    ):
        served[0] = content
        with pytest.raises(DataError, match=message):
            babi("en")
        archive.unlink()
    served[0] = packed(**inside)
    assert len(babi("en")[0].train) == len(babi("en")[0].train) == 3
    assert fetched == [stories.ARCHIVE] * 4

    def refuse(*_: Any, **__: Any) -> None:
        raise ConnectionError("down")

    monkeypatch.setattr("pooch.os_cache", lambda project: tmp_path / "empty")
    monkeypatch.setattr("pooch.core.choose_downloader", lambda *_, **__: refuse)
    with pytest.raises(DataError, match=r"could not be downloaded from https://.*set LIFELONG_DATA"):
        babi("en")


def test_sums_of_the_published_files(real_data: Path) -> None:
    there = 0
    for source in ("en", "en-10k"):
        sums = stories._sums(source)
        assert len(sums) == 40
        for name, value in sums.items():
            path = real_data / "tasks_1-20_v1-2" / name
            if path.exists():
                assert sources._sum(path.read_bytes(), value) == value, name
                there += 1
    assert there >= 40


def test_a_stream_of_ones_own_files(tmp_path: Path) -> None:
    for part in ("train", "test"):
        (tmp_path / f"qa2_where_{part}.txt").write_text(TEXT)
        (tmp_path / f"qa10_who_{part}.txt").write_text("1 Ann sings.\n2 Who sings?\tAnn\t1\n")
    stream = babi(str(tmp_path), memory=2)
    assert [t.name for t in stream] == ["qa2 where", "qa10 who"]  # 2 before 10
    words = ["", *stream.class_names]
    x, y = stream[0].train.x, stream[0].train.y
    assert x.dtype == torch.int16
    said = [[" ".join(words[w] for w in row if w) for row in question] for question in x.tolist()]
    assert said == [
        ["mary moved to the bathroom", "john went to the hallway", "where is mary"],
        ["john went to the hallway", "john took the milk and the ball", "what does john carry"],
        ["", "the cat's name is tom", "who is it"],
    ]
    assert [stream.class_names[c] for c in y] == ["bathroom", "milk,ball", "tom"]
    assert stream.notes["longer"] == {"qa2 where": [1, 1]}
    assert "2 of 8 stories have more than 2 sentences" in stream.notes["remarks"][0]
    turned = babi(str(tmp_path), tasks=(10, 2))
    assert [t.name for t in turned] == ["qa10 who", "qa2 where"]
    assert turned.class_names[:3] == ("ann", "sings", "who")  # words of later tasks come behind
    assert "longer" not in turned.notes
    assert [stream.class_names[c] for c in babi(str(tmp_path), scenario="task")[1].classes] == ["ann"]


def test_the_published_tasks(real_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIFELONG_DATA", str(real_data))
    stream = babi("en", tasks=(8, 1, 19))
    assert [t.name for t in stream] == ["qa8 lists-sets", "qa1 single-supporting-fact", "qa19 path-finding"]
    assert all((len(t.train), len(t.test)) == (1000, 1000) for t in stream)
    words = stream.class_names
    assert {words[c] for c in stream[1].classes} == {"bathroom", "hallway", "kitchen", "garden", "office", "bedroom"}
    assert {words[c] for c in stream[2].classes} == {f"{a},{b}" for a in "nesw" for b in "nesw"} - {
        *("n,s", "s,n", "e,w", "w,e")
    }
    assert stream.notes["longer"] == {"qa8 lists-sets": [0, 2]}
    few = babi("en", tasks=(1,), examples=10, test_examples=7)
    assert (len(few[0].train), len(few[0].test)) == (10, 7)
    path = next(real_data.glob("tasks_1-20_v1-2/en/qa3_*_train.txt"))
    assert all(len(q.supporting) == 3 for q in read(path.read_text()))


# --- the generator ------------------------------------------------------------------------------------------------------
def answered(kind: str, told: tuple[tuple[str, ...], ...], question: tuple[str, ...]) -> str:
    """The answer by going through the story sentence by sentence."""
    room: dict[str, str] = {}
    holder: dict[str, str] = {}
    path: dict[str, list[str]] = {}
    for who, *verb, _, what in told:
        if verb[0] in ("took", "picked"):
            holder[what] = who
        elif verb[0] in ("left", "put"):
            del holder[what]
        else:
            room[who] = what
        for thing, person in holder.items():
            if person in room and path.setdefault(thing, [room[person]])[-1] != room[person]:
                path[thing].append(room[person])
    if kind == "one-fact":
        return room[question[2]]
    if kind == "yes-no":
        return "yes" if room[question[1]] == question[4] else "no"
    if kind == "counting":
        return NUMBERS[sum(person == question[4] for person in holder.values())]
    if kind == "two-facts":
        return path[question[3]][-1]
    *_, before, now = path[question[3]]
    assert now == question[6]
    return before


@pytest.mark.parametrize("kind", KINDS)
def test_made_answers_are_right_and_rest_on_what_they_say(kind: str) -> None:
    questions = read(texts(300, 1, seed=3)[kind]["train"])
    assert len(questions) == 300
    for q in questions:
        assert answered(kind, q.story, q.question) == q.answer
        alone = tuple(q.story[i] for i in q.supporting)
        if "put" not in {s[1] for s in alone} and "left" not in {s[1] for s in alone}:
            assert answered(kind, alone, q.question) == q.answer  # the supporting sentences are enough
    if kind == "three-facts":
        assert max(len(q.supporting) for q in questions) >= 3
    counts = {a: sum(q.answer == a for q in questions) / 300 for a in {q.answer for q in questions}}
    assert len(counts) == {"yes-no": 2, "counting": 4}.get(kind, 6)
    assert max(counts.values()) < 0.66


def test_made_stories_depend_on_the_seed() -> None:
    one, again, other = (babi(examples=20, test_examples=20, seed=s) for s in (0, 0, 1))
    assert torch.equal(one[0].train.x, again[0].train.x)
    assert not torch.equal(one[0].train.x, other[0].train.x)
    assert not torch.equal(one[0].train.x[:20], one[0].test.x[:20])
    assert len(one) == 5


# --- the memory network -------------------------------------------------------------------------------------------------
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


# --- the methods on it --------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def short() -> Stream:
    return babi(tasks=(1, 4), memory=5, examples=40, test_examples=20)


# they need a plain stack of layers, or inputs that can be drawn
NOT_ON_STORIES = {"fearnet", "generative_replay", "grow", "hat", "progressive"}


@pytest.mark.parametrize("name", sorted(NOT_ON_STORIES))
def test_what_cannot_learn_from_stories_says_so(name: str, short: Stream) -> None:
    method: Method = METHODS[name].load()()
    stream = replace(short, scenario="task" if "task" in method.scenarios else "domain")
    with pytest.raises(MethodError, match=r"nn\.Sequential|words of a text"):
        fit(method, MemoryNetwork(4, 2), stream, training=Training(lr=0.1, epochs=1, batch_size=10))


@pytest.mark.parametrize("name", sorted(set(METHODS) - NOT_ON_STORIES))
def test_every_method_learns_from_stories(name: str, short: Stream) -> None:
    options = {"independent": {"oracle": True}, "gdumb": {"passes": 2}}.get(name, {})
    method: Method = METHODS[name].load()(**options)
    training = Training(lr=0.1, clip=1.25, epochs=2, batch_size=10)
    scenario = "domain" if "domain" in method.scenarios else "task"
    run = fit(method, MemoryNetwork(4, 2), replace(short, scenario=scenario), training=training)
    assert 0 <= run.matrix(method.name).acc <= 1
    learner = Learner(small(MemoryNetwork(4), 5, short.outputs).float(), method, training, scenario=scenario)
    for task in short if not method.once else ():
        learner.learn(task)
    memory = getattr(learner.state, "memory", None)
    if memory is not None:  # held as they came
        held = memory.slots["x"][: memory.filled]
        assert held.dtype == torch.int16
        known = {tuple(row.flatten().tolist()) for task in short for row in task.train.x}
        assert {tuple(row.flatten().tolist()) for row in held} <= known


@pytest.mark.parametrize("about", [MemoryNetwork(4, 2), MemoryNetwork(4, 2, "layerwise"), Reader("gru", 4, 3)])
def test_importance_is_of_single_questions(about, short: Stream) -> None:
    torch.manual_seed(0)
    net = about(short.shape, short.outputs).double()
    examples = short[0].train.subset(torch.arange(12))
    edge = Edge(net, Vector.of(net), examples, None, 0, None, generator(0, "edge"), lambda: None)
    found = fisher(edge, "empirical").dict()
    expected = {name: torch.zeros_like(p) for name, p in net.named_parameters()}
    for x, y in zip(short[0].train.x[:12], short[0].train.y[:12]):
        net.eval().zero_grad()
        F.cross_entropy(net(x[None]), y[None]).backward()
        for name, p in net.named_parameters():
            expected[name] += p.grad.square() / 12
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value)


def test_a_method_holds_what_it_learnt_from_stories() -> None:
    """With a strength that is far too large the network stays where the first task left it."""
    stream = babi(tasks=(1, 4), memory=5, examples=200, test_examples=50)
    training = Training(lr=0.3, clip=1.25, epochs=10, batch_size=32)
    held, free = (
        fit(m, MemoryNetwork(10), stream, training=training).matrix()
        for m in (EWC(1e6, importance="sampled", implicit=True), Finetune())
    )
    assert held.R[1, 0] > 0.3
    assert held.R[2, 0] > held.R[1, 0] - 0.1
    assert free.R[2, 0] < 0.1


# --- ask ----------------------------------------------------------------------------------------------------------------
def test_ask(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, told = tmp_path / "run", tmp_path / "story.txt"
    run = ["run", "--stream", "babi", "--stream.tasks", "1", "--stream.memory", "6", "--stream.examples", "600"]
    run += ["--stream.test_examples", "50", "--epochs", "15", "--net.units", "20", "--threads", "1"]
    assert main([*run, "--out", str(out)]) == 0
    assert "stories have more than 6 sentences" in capsys.readouterr().err
    told.write_text("1 Ada went to the attic.\n2 Emil moved to the porch.\n3 Ada walked to the pantry.\n")
    asked = ["ask", str(out), "--story", str(told), "--question"]
    assert main([*asked, "Where is Ada?"]) == 0
    answer, head, *rows = capsys.readouterr().out.splitlines()
    assert answer.startswith("pantry  (probability 0.")
    assert head.split() == ["hop", "1", "hop", "2", "hop", "3", "sentence"]
    seen = torch.tensor([[float(p) for p in row.split()[:3]] for row in rows])
    assert [" ".join(row.split()[3:]) for row in rows][2] == "ada walked to the pantry"
    assert rows[3].endswith("(none)")
    assert seen.sum(0).tolist() == pytest.approx([1.0] * 3, abs=0.03)
    assert seen[2].sum() > seen[:2].sum()  # it looked where the answer is
    told.write_text("\n".join(["Emil moved to the porch."] * 7 + ["Ada walked to the pantry."]))
    assert main([*asked, "Where is Ada?"]) == 0
    assert "first 2 sentences were left out" in capsys.readouterr().out
    for question, words in (("Where is Adaa?", "did you mean 'ada'"), ("?", "has no words")):
        assert main([*asked, question]) == 1
        assert words in capsys.readouterr().err
    told.write_text("\n")
    assert main([*asked, "Where is Ada?"]) == 1
    assert "is empty: expected one sentence a line" in capsys.readouterr().err
    for more, words in ((["--method", "ewc"], "has no ewc with seed 0"), (["--task", "3"], "one of 1")):
        told.write_text("Ada went to the attic.")
        assert main([*asked, "Where is Ada?", *more]) == 2
        assert words in capsys.readouterr().err


def test_ask_in_the_scenario_task_and_of_other_streams(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = tmp_path / "story.txt"
    told.write_text("Ada went to the attic.")
    small_run = ["--epochs", "1", "--threads", "1", "--stream.examples", "20", "--stream.test_examples", "20"]
    out = tmp_path / "run"
    words = ["run", "--stream", "babi", "--scenario", "task", "--net", "reader", "--method", "independent"]
    assert main([*words, *small_run, "--out", str(out)]) == 0
    asked = ["ask", str(out), "--story", str(told), "--question", "Is Ada in the attic?"]
    assert main(asked) == 2
    assert "expected the number of the kind of question, one of 1, 2, 3, 4, 5" in capsys.readouterr().err
    assert main([*asked, "--task", "4"]) == 0
    assert capsys.readouterr().out.split()[0] in ("yes", "no")
    other = tmp_path / "other"
    images = ["run", "--stream", "split", "--stream.source", "digits", "--net", "mlp", *small_run[:4]]
    assert main([*images, "--out", str(other)]) == 0
    assert main(["ask", str(other), *asked[2:]]) == 2
    assert "has no questions" in capsys.readouterr().err
    assert main(["ask", str(tmp_path), *asked[2:]]) == 1
    assert "is no run directory" in capsys.readouterr().err


def test_stories_as_people_write_them() -> None:
    assert story("1 Ada went.\n2 Where is Ada?\tattic\t1\n\nEmil left!") == (("ada", "went"), ("emil", "left"))
    assert sentence("Where's  the Blue-ish lamp?") == ("where's", "the", "blue-ish", "lamp")
    with pytest.raises(DataError, match=r"did you mean 'ada'"):
        encode([Question((("ada",),), ("adda",), "", ())], {"ada": 1}, 3, 4)


def test_chains_on_stories(short: Stream) -> None:
    both = chain(METHODS["replay"].load()(20, fill="herding"), METHODS["ewc"].load()(1.0, importance="sampled"))
    assert fit(both, MemoryNetwork(4), short, training=Training(batch_size=20)).matrix().R.shape == (3, 2)


def test_what_a_memory_network_is_made_of() -> None:
    """What linear start switches is no weight, the places of words are not saved, and C^K is the last layer."""
    net = small(MemoryNetwork(6))
    assert set(net.state_dict()) == {*(f"words.{k}" for k in range(3)), *(f"times.{k}" for k in range(4)), "out.weight"}
    assert list(dict(net.named_parameters()))[-1] == "out.weight"  # what methods take for the head
    assert isinstance(net.out, nn.Linear)


# --- a vocabulary that grows --------------------------------------------------------------------------------------------
NETS = [MemoryNetwork(units=10), MemoryNetwork(units=10, tying="layerwise"), Reader(units=10)]


def growing() -> Stream:
    return babi(tasks=(1, 4, 2), examples=60, test_examples=20, memory=6, scenario="class", announced=False)


@pytest.mark.parametrize("net", NETS, ids=["adjacent", "layerwise", "reader"])
def test_a_vocabulary_that_grows_leaves_what_was_said_as_it_was(net: MemoryNetwork | Reader) -> None:
    stream = growing()
    sizes = [t.outputs for t in stream]
    assert stream.outputs == sizes[0] < sizes[1] < sizes[2] == len(stream.class_names)
    assert all(int(t.train.x.max()) <= t.outputs for t in stream)
    built = net(stream.shape, stream.outputs).eval()
    x, later = stream[0].test.x, stream[2].test.x
    with torch.no_grad():
        before, unknown = built(x), built(later)
        assert torch.equal(unknown, built(torch.where(later > stream.outputs, 0, later)))  # no words yet
        mapping = grow(built, Growth("outputs", size=sizes[2], seed=1))
        after = built(x)
    assert mapping.outputs == sizes[2] == after.shape[1]
    torch.testing.assert_close(after[:, : before.shape[1]], before)
    assert not torch.equal(built(later)[:, : before.shape[1]], unknown)  # now they are
    grown = {n for n, p in built.named_parameters() if sizes[2] in (len(p), len(p) - 1)}
    assert grown >= set(built.vocabulary)  # type: ignore[arg-type]
    assert all(p.requires_grad for p in built.parameters())


@pytest.mark.parametrize("net", NETS, ids=["adjacent", "layerwise", "reader"])
@pytest.mark.parametrize(
    "method", [Finetune(), EWC(1.0, importance="sampled"), SI(0.1), Replay(20), GEM(10), LwF()], ids=lambda m: m.name
)
def test_methods_follow_a_vocabulary_and_so_does_a_checkpoint(
    method: Method, net: MemoryNetwork | Reader, tmp_path: Path
) -> None:
    stream, training = growing(), Training("adam", lr=0.01, batch_size=20, epochs=1)

    def learner(seed: int) -> Learner:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return Learner(net(stream.shape, stream.outputs), method, training, scenario="class", grows=True)

    whole = learner(0)
    for task in stream.tasks[:2]:
        whole.learn(task)
    Store(tmp_path).save(whole.state_dict())
    other = learner(0)
    saved = Store(tmp_path).newest()
    assert saved is not None
    other.load_state_dict(saved)
    for each in (whole, other):
        each.learn(stream[2])
        assert each.spec is not None
        assert each.spec.outputs == len(stream.class_names)
    for (name, p), (_, q) in zip(whole.net.named_parameters(), other.net.named_parameters()):
        assert torch.equal(p, q), name
