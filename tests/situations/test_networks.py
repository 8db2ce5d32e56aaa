"""Networks of all kinds: several heads, sparse embeddings, padding masks, ragged batches, what was trained elsewhere, one's own criterion."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lifelong import (
    DER,
    EWC,
    GEM,
    L2,
    MAS,
    SI,
    DataError,
    ICaRL,
    Learner,
    LifelongWarning,
    LwF,
    Method,
    MethodError,
    NearestMean,
    Replay,
    Task,
    Tensors,
    Training,
    chain,
    fit,
    protect,
    stream_of,
)
from lifelong.nets.net2net import widen, widenable
from toys import same, toy_net, toy_stream, weights

X, Y = torch.randn(64, 4, generator=torch.Generator().manual_seed(0)), torch.arange(64) % 2


def once(model: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor) -> None:
    optimizer.zero_grad()
    F.cross_entropy(model(x), y).backward()
    optimizer.step()


# --- the width is asked of the network -----------------------------------------------------------------------------------
class Heads(nn.Module):
    """Two heads side by side, and a decoder that was registered last."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.decoder = nn.Linear(4, 2), nn.Linear(4, 2), nn.Linear(4, 7)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            self.decoder(x)  # of no part in the answer
        return torch.cat([self.a(x), self.b(x)], 1)


@pytest.mark.parametrize(
    "method", [EWC(1.0), SI(1.0), L2(0.1), LwF(), Replay(20), DER(20), GEM(8)], ids=lambda m: m.name
)
@pytest.mark.parametrize("scenario", ["task", "class"])
def test_heads_side_by_side_and_a_decoder_behind_the_classifier(method: Method, scenario: str) -> None:
    torch.manual_seed(0)
    model = Heads()
    model.decoder.requires_grad_(False)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    guard = protect(model, optimizer, method, scenario=scenario)
    for classes in ([0, 1], [2, 3]):
        guard.begin(classes=classes)
        y = Y + classes[0]
        for _ in range(3):
            batch = guard.mix(X, y)
            optimizer.zero_grad()
            guard.loss(model(batch.x), batch).backward()
            optimizer.step()
        guard.consolidate((X, y))
    assert guard.learnt == 2
    assert guard.spec.outputs == 4
    again = protect(model, torch.optim.SGD(model.parameters(), 0.1), method, scenario=scenario)
    again.load_state_dict(guard.state_dict())
    again.begin(classes=[0, 1])


def test_classes_beyond_the_outputs_are_refused_when_the_network_has_answered() -> None:
    model = Heads()
    guard = protect(model, torch.optim.SGD(model.parameters(), 0.1), Replay(5), scenario="class")
    guard.begin(classes=[2, 9])
    with pytest.raises(MethodError, match="expected output indices, as labels are, from 0 to 3"):
        guard.mix(X, Y)


def test_more_outputs_for_a_network_whose_last_linear_layer_is_not_its_head() -> None:
    stream = stream_of([(X, [str(int(c)) for c in Y]), (X + 1, [str(int(c) + 2) for c in Y])], announced=False)

    class Decoding(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.classifies, self.decoder = nn.Linear(4, 2), nn.Linear(4, 7)

        def forward(self, x: Tensor) -> Tensor:
            return self.classifies(x)

    learner = Learner(Decoding(), grows=True)
    learner.learn(stream[0])
    with pytest.raises(MethodError, match=r"cannot grow|net\.head"):
        learner.learn(stream[1])


# --- the end of a task ---------------------------------------------------------------------------------------------------
class Words(nn.Module):
    def __init__(self, sparse: bool = False) -> None:
        super().__init__()
        self.embed, self.says = nn.Embedding(20, 4, sparse=sparse), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.says(self.embed(x).mean(1))


@pytest.mark.parametrize("method", [EWC(10.0), EWC(10.0, implicit=True), MAS(0.1), SI(1.0)], ids=repr)
def test_an_embedding_with_sparse_gradients(method: Method) -> None:
    """As with dense ones."""
    ends = []
    x = torch.randint(0, 20, (64, 3), generator=torch.Generator().manual_seed(0))
    for sparse in (False, True):
        torch.manual_seed(0)
        model = Words(sparse)
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        guard = protect(model, optimizer, method)
        for task in range(2):
            for _ in range(3):
                once(model, optimizer, x, (Y + task) % 2)
            guard.consolidate((x, Y))
        ends.append(torch.cat([p.flatten() for p in model.parameters()]))
    torch.testing.assert_close(*ends)


class Padded(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.says = nn.Embedding(20, 8), nn.Linear(8, 2)
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, dropout=0.0)
        self.encodes = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.says(self.encodes(self.embed(x), src_key_padding_mask=x == 0).mean(1))


def test_a_transformer_encoder_with_a_padding_mask() -> None:
    torch.manual_seed(0)
    model = Padded()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    guard = protect(model, optimizer, EWC(1.0, importance="empirical"))
    x = torch.randint(1, 20, (12, 5))
    x[::2, 3:] = 0
    once(model, optimizer, x, Y[:12])
    guard.consolidate((x, Y[:12]))
    model.eval()
    total = [torch.zeros_like(p) for p in model.parameters()]
    for i in range(12):
        found = torch.autograd.grad(F.cross_entropy(model(x[i : i + 1]), Y[i : i + 1]), list(model.parameters()))
        total = [t + g.square() / 12 for t, g in zip(total, found)]
    for truth, A in zip(total, guard.state.A.tensors):
        torch.testing.assert_close(A, truth, rtol=1e-3, atol=1e-8)


def test_batches_padded_to_different_lengths_of_which_some_examples_are_looked_at() -> None:
    torch.manual_seed(0)
    model = Words()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    batches = [(torch.randint(0, 20, (8, k)), torch.arange(8) % 2) for k in (3, 5, 3, 7)]
    found = []
    for method in (EWC(1.0, fisher_examples=31), EWC(1.0)):
        guard = protect(model, optimizer, method)
        guard.begin()
        guard.consolidate(batches)
        found.append(guard.state.A.flat())
        guard.remove()
    torch.testing.assert_close(*found, rtol=0.5, atol=1e-3)  # all but one example
    guard = protect(model, optimizer, Replay(10, fill="random"))
    guard.begin()
    with pytest.raises(DataError, match="of one shape; pad all batches"):
        guard.consolidate(batches)


class Unread(nn.Module):
    """Its answer is a dictionary."""

    def __init__(self) -> None:
        super().__init__()
        self.says = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"logits": self.says(x)}


def test_an_end_that_cannot_be_is_refused_before_the_first_step() -> None:
    class Strange(nn.Module):
        """Differentiable in a batch of 64 alone."""

        def __init__(self) -> None:
            super().__init__()
            self.says = nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.says(x.view(64, 4))

    model = Strange()
    before = weights(model)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    protect(model, optimizer, EWC(1.0))
    with pytest.raises(MethodError, match=r"at the end of a task fails with this network.*si, l2, replay"):
        once(model, optimizer, X, Y)
    assert same(before, weights(model))
    with pytest.raises(MethodError, match="the network must give logits"):
        fit(EWC(1.0), Unread(), stream_of([(X, Y)], scenario="domain"))


# --- a classifier that was trained elsewhere -----------------------------------------------------------------------------
def trained() -> tuple[nn.Module, Tensor, Tensor, Tensor]:
    draws = torch.Generator().manual_seed(0)
    old = torch.cat([torch.randn(100, 4, generator=draws) + 2, torch.randn(100, 4, generator=draws) - 2])
    y = torch.arange(2).repeat_interleave(100)
    new = torch.randn(100, 4, generator=draws) + torch.tensor([3.0, -3.0, 3.0, -3.0])
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    optimizer = torch.optim.Adam(model.parameters(), 0.05)
    for _ in range(50):
        once(model, optimizer, old, y)
    return model, old, y, new


def test_two_classes_known_from_before_and_new_images_of_a_third() -> None:
    model, old, y, new = trained()
    stream = stream_of([(new, ["pig"] * 100)], classes=["cat", "dog"], announced=False)
    learner = Learner(model, LwF(), Training(epochs=20, lr=0.05, batch_size=20), grows=True)
    learner.learn(stream[0])
    assert learner.seen == (0, 1, 2)
    assert learner.class_names == ("cat", "dog", "pig")
    assert float((learner.predict(old) == y).float().mean()) > 0.95
    assert float((learner.predict(new) == 2).float().mean()) > 0.95
    fresh = Learner(trained()[0], LwF(), Training(epochs=20, lr=0.05, batch_size=20), grows=True, known=2)
    assert float((fresh.predict(old) == y).float().mean()) > 0.95
    again = Learner(trained()[0], LwF(), Training(epochs=20, lr=0.05, batch_size=20), grows=True)
    again.load_state_dict(learner.state_dict())
    assert again.known == 2


def test_a_method_that_cannot_hold_what_it_has_not_met_says_so() -> None:
    model, _, _, new = trained()
    stream = stream_of([(new, ["pig"] * 100)], classes=["cat", "dog"], announced=False)
    training = Training(lr=0.05, batch_size=20)
    with pytest.warns(LifelongWarning, match="replay holds nothing of the 2 outputs that the network knew before"):
        Learner(model, Replay(20), training, grows=True).learn(stream[0])
    for method in (NearestMean(), ICaRL(20)):
        with pytest.raises(MethodError, match=r"2 outputs of this network were learnt elsewhere.*lwf"):
            Learner(trained()[0], method, training, grows=True).learn(stream[0])
    Learner(trained()[0], ICaRL(20, classifier="network"), training, grows=True).learn(stream[0])


def test_a_network_made_anew_knows_nothing_of_the_classes_named_before_it() -> None:
    stream = stream_of([(X, ["pig", "cow"] * 32)], classes=["cat", "dog"])
    run = fit(NearestMean(), lambda shape, outputs: nn.Linear(4, outputs), stream)
    assert run.matrix().R.shape == (2, 1)


def test_in_ones_own_loop_outputs_known_before_are_held_by_lwf() -> None:
    model, old, y, new = trained()
    grown = nn.Sequential(model[0], model[1], nn.Linear(8, 3))
    with torch.no_grad():
        grown[2].weight[:2], grown[2].bias[:2] = model[2].weight, model[2].bias
    optimizer = torch.optim.SGD(grown.parameters(), 0.05)
    guard = protect(grown, optimizer, LwF(), scenario="class", known=2)
    guard.begin([2])
    assert guard.seen == (0, 1, 2)
    for _ in range(100):
        batch = guard.mix(new, torch.full((100,), 2))
        optimizer.zero_grad()
        guard.loss(grown(batch.x), batch).backward()
        optimizer.step()
    assert float((grown(old).argmax(1) == y).float().mean()) > 0.95
    assert float((grown(new).argmax(1) == 2).float().mean()) > 0.95


# --- one's own criterion -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("method", [Replay(20), LwF(), DER(20), chain(EWC(1.0), Replay(20))], ids=lambda m: m.name)
def test_class_weights_or_a_criterion_of_ones_own_beside_replay_and_lwf(method: Method) -> None:
    """With the loss that the guard would take anyway it is the same to the bit; with weights it is another."""
    ends = []
    for weight in (None, torch.ones(2), torch.tensor([1.0, 5.0])):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        guard = protect(model, optimizer, method)
        for task in range(2):
            for _ in range(3):
                batch = guard.mix(X + task, Y)
                output = model(batch.x)
                losses = None if weight is None else F.cross_entropy(output, batch.y, weight=weight, reduction="none")
                optimizer.zero_grad()
                guard.loss(output, batch, losses).backward()
                optimizer.step()
            guard.consolidate((X + task, Y))
        ends.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    torch.testing.assert_close(ends[0], ends[1])
    assert float((ends[0] - ends[2]).abs().max()) > 1e-3


def test_a_criterion_of_ones_own_that_the_method_could_not_hold_its_past_to_is_refused() -> None:
    model = toy_net(3)
    guard = protect(model, torch.optim.SGD(model.parameters(), 0.1), GEM(8))
    x, y = torch.randn(6, 12), torch.arange(6) % 3
    batch = guard.mix(x, y)
    with pytest.raises(MethodError, match="gem takes the cross-entropy of stored examples itself"):
        guard.loss(model(x), batch, F.cross_entropy(model(x), y, reduction="none"))


# --- numbers -------------------------------------------------------------------------------------------------------------
def test_where_tasks_are_known_an_old_head_is_distilled_alone() -> None:
    """normaliser "all" summed over the old head and the outputs of the present task."""
    found = []
    for normaliser in ("old", "all"):
        torch.manual_seed(0)
        model = nn.Linear(4, 4)
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        guard = protect(model, optimizer, LwF(normaliser=normaliser), scenario="task")
        guard.begin([0, 1])
        batch = guard.mix(X, Y)
        guard.loss(model(X), batch).backward()
        optimizer.step()
        guard.consolidate((X, Y))
        guard.begin([2, 3])
        batch = guard.mix(X, Y + 2)
        found.append(float(guard.loss(model(X), batch).detach()))
        old = model(X)[:, :2].detach().div(2).log_softmax(1)
        head = float(-(old.exp() * old).sum(1).mean()) + float(F.cross_entropy(model(X)[:, 2:], Y).detach())
        assert found[-1] == pytest.approx(head, rel=1e-5)
    assert found[0] == pytest.approx(found[1], rel=1e-6)


def test_a_batch_norm_over_positions_is_not_taken_for_one_over_units() -> None:
    positions = nn.Sequential(nn.Linear(3, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Flatten(), nn.Linear(36, 2))
    with pytest.raises(MethodError, match="normalises positions"):
        widen(positions, "0", 9)
    pooled = nn.Sequential(nn.Linear(3, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 2))
    x = torch.randn(5, 6, 3)  # of as many positions as units
    before = pooled.eval()(x).clone()
    with pytest.raises(MethodError, match="answers otherwise"):
        widen(pooled, "0", 9, x=x)
    assert torch.equal(pooled(x), before)
    assert "0" not in widenable(pooled, x)
    rows = torch.randn(5, 3)
    before = pooled(rows).clone()
    widen(pooled, "0", 9, x=rows)
    torch.testing.assert_close(pooled(rows), before)


def test_a_second_task_in_half_precision_or_not() -> None:
    stream = toy_stream("domain")
    task = Task("t", Tensors(stream[0].train.x, stream[0].train.y), stream[0].test, stream[0].classes)
    learner = Learner(toy_net(3), chain(EWC(1.0), Replay(20)), scenario="domain", dtype=torch.bfloat16)
    learner.learn(task)
    learner.learn(stream[1])
    assert all(p.dtype == torch.bfloat16 for p in learner.net.parameters())
    again = Learner(toy_net(3), chain(EWC(1.0), Replay(20)), scenario="domain", dtype=torch.bfloat16)
    again.load_state_dict(learner.state_dict())
    assert again.state[0].A.tensors[0].dtype == torch.float32


@pytest.mark.parametrize("begins", ["Learner", "protect"])
def test_lazy_layers_are_refused_until_they_have_shapes(begins: str) -> None:
    net = nn.Sequential(nn.LazyLinear(5), nn.Linear(5, 2))

    def begun() -> object:
        return (
            Learner(net, L2(0.1))
            if begins == "Learner"
            else protect(net, torch.optim.SGD(net.parameters(), 0.1), L2(0.1))
        )

    with pytest.raises(MethodError, match=r"0\.weight has no shape yet.*once on a batch"):
        begun()
    net(torch.zeros(2, 3))
    begun()
