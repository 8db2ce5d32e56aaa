"""What learns from frozen features without a step, against closed forms: streaming LDA and RanPAC."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lifelong import SLDA, MethodError, NearestMean, RanPAC, Stream, Task, Training
from lifelong.core.method import Method
from lifelong.core.state_io import nbytes
from lifelong.methods.slda import _with
from lifelong.training.learner import Learner
from toys import FEATURES, toy_learner, toy_net, toy_stream


def learnt(method: Method, stream: Stream) -> Learner:
    learner = toy_learner(method, stream)
    for task in stream:
        learner.learn(task)
    return learner


def everything(stream: Stream) -> tuple[np.ndarray, np.ndarray]:
    x, y = torch.cat([t.train.x for t in stream]), torch.cat([t.train.labels for t in stream])
    return x.double().numpy(), y.numpy()


# --- streaming LDA ---
@pytest.mark.parametrize("scenario", ["task", "domain", "class"])
def test_slda_is_lda_of_all_examples_at_once(scenario: str) -> None:
    """Means and the pooled covariance as numpy has them, and the discriminant of its definition."""
    stream = toy_stream(scenario)
    x, y = everything(stream)
    learner = learnt(SLDA(0.01), stream)
    means = np.stack([x[y == c].mean(0) for c in range(stream.outputs)])
    covariance = sum(np.cov(x[y == c].T, bias=True) * (y == c).sum() for c in range(stream.outputs)) / len(x)
    state = learner.state
    np.testing.assert_allclose(state.means.numpy(), means, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(state.scatter.numpy() / len(x), covariance, rtol=1e-10, atol=1e-12)
    precision = np.linalg.inv(0.99 * covariance + 0.01 * np.eye(FEATURES))
    for task in stream:
        z = task.test.x.double().numpy()
        expected = z @ precision @ means.T - 0.5 * np.einsum("kd,de,ke->k", means, precision, means)
        scores = learner.scores(task.test.x, task).numpy()
        open_ = np.isfinite(scores)  # the outputs that compete
        assert open_.any(1).all()
        np.testing.assert_allclose(scores[open_], expected[open_], rtol=1e-6)


def test_slda_takes_in_many_examples_as_one_by_one() -> None:
    """The paper's rule, an example at a time in any order, in one batch, and in uneven ones."""
    g = torch.Generator().manual_seed(0)
    z, y = 100 + torch.randn(40, 5, generator=g, dtype=torch.float64), torch.randint(3, (40,), generator=g)
    start = (
        torch.zeros(4, 5).double(),
        torch.zeros(4).double(),
        torch.zeros(5, 5).double(),
    )  # the fourth class never comes
    mu, c, S = (t.clone() for t in start)
    for i in torch.randperm(40, generator=g).tolist():
        k, off = int(y[i]), z[i] - mu[y[i]]
        S = S + c[k] / (c[k] + 1) * torch.outer(off, off)
        mu[k] += off / (c[k] + 1)
        c[k] += 1
    for cuts in ([40], [1, 39], [7, 20, 13], [1] * 40):
        found = start
        for part, labels in zip(z.split(cuts), y.split(cuts)):
            found = _with(*found, part, labels)
        for ours, theirs in zip(found, (mu, c, S)):
            torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


def test_slda_and_the_sums_of_ranpac_know_no_order() -> None:
    stream = toy_stream("class", tasks=4)
    other = stream.reorder([2, 0, 3, 1])
    for method, names in ((SLDA(), ("means", "scatter", "weights", "bias")), (RanPAC(ridges=(1.0,)), ("G", "C", "W"))):
        one, two = learnt(method, stream).state, learnt(method, other).state
        for name in names:
            torch.testing.assert_close(getattr(one, name), getattr(two, name), rtol=1e-8, atol=1e-8)


def test_slda_without_its_covariance_is_the_nearest_mean() -> None:
    stream = toy_stream("class")
    ours, nearest = learnt(SLDA(1.0), stream), learnt(NearestMean(), stream)
    for task in stream:
        assert torch.equal(ours.predict(task.test.x), nearest.predict(task.test.x))
    with pytest.raises(MethodError, match="above 0"):
        SLDA(0.0)


def test_slda_beats_the_nearest_mean_where_features_hang_together() -> None:
    stream = toy_stream("class", tasks=2, examples=300)
    mix = torch.randn(FEATURES, FEATURES, generator=torch.Generator().manual_seed(1))
    for task in stream:
        for part in (task.train, task.test):
            part.x.copy_(part.x @ mix)
    accuracy = [np.mean([a for a, _, _ in learnt(m, stream).evaluate(stream)]) for m in (SLDA(), NearestMean())]
    assert accuracy[0] > accuracy[1] + 0.03


# --- RanPAC ---
def test_ranpac_is_ridge_regression_on_all_examples_at_once() -> None:
    stream = toy_stream("class")
    x, y = everything(stream)
    learner = learnt(RanPAC(width=30, ridges=(0.5,)), stream)
    P = learner.state.P.numpy()
    assert P.shape == (FEATURES, 30)
    H = np.maximum(0, x @ P)
    padded = np.concatenate([H, np.sqrt(0.5) * np.eye(30)])  # least squares of the padded system is the ridge's
    W = np.linalg.lstsq(padded, np.concatenate([np.eye(9)[y], np.zeros((30, 9))]), rcond=None)[0]
    np.testing.assert_allclose(learner.state.W.numpy(), W, rtol=1e-8, atol=1e-10)
    z = stream[1].test.x
    np.testing.assert_allclose(
        learner.scores(z).numpy(), np.maximum(0, z.double().numpy() @ P) @ W, rtol=1e-8, atol=1e-9
    )


def test_ranpac_chooses_its_ridge_on_a_fifth_of_the_present_task() -> None:
    """By the definition: for each λ, W of the past and of four fifths of the task; the squared error on the fifth."""
    stream = toy_stream("class", tasks=2, examples=60)
    method = RanPAC(
        width=40, ridges=tuple((10.0 ** np.linspace(-2, 6, 161)).tolist())
    )  # fine enough to tell other fifths
    learner = toy_learner(method, stream)
    learner.learn(stream[0])
    seen: list[torch.Tensor] = []
    draw = torch.randperm

    def watched(n: int, **more: object) -> torch.Tensor:
        seen.append(draw(n, **more))
        return seen[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "randperm", watched)
        learner.learn(stream[1])
    held, rest = seen[-1][:12].numpy(), seen[-1][12:].numpy()
    P = learner.state.P.numpy()

    def projected(x: torch.Tensor) -> np.ndarray:
        return np.maximum(0, x.double().numpy() @ P)

    H = np.concatenate([projected(stream[0].train.x), projected(stream[1].train.x)[rest]])
    Y = np.eye(6)[np.concatenate([stream[0].train.y.numpy(), stream[1].train.y.numpy()[rest]])]
    errors = {}
    for ridge in method.ridges:
        W = np.linalg.solve(H.T @ H + ridge * np.eye(40), H.T @ Y)
        off = projected(stream[1].train.x)[held] @ W - np.eye(6)[stream[1].train.y.numpy()[held]]
        errors[ridge] = float((off**2).mean())
    assert learner.state.ridge == min(errors, key=errors.__getitem__)
    assert method.ridges[0] < learner.state.ridge < method.ridges[-1]  # a choice, and not an end of the grid


def test_ranpac_projects_with_the_seed_and_says_its_width() -> None:
    stream = toy_stream("class")
    states = [toy_learner(RanPAC(), stream, seed=s) for s in (0, 0, 1)]
    for learner in states:
        learner.learn(stream[0])
    one, same, other = (learner.state.P for learner in states)
    assert one.shape == (FEATURES, 4 * FEATURES)
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    for wrong in ({"width": 0}, {"ridges": ()}, {"ridges": (0.0,)}):
        with pytest.raises(MethodError, match=next(iter(wrong))):
            RanPAC(**wrong)


@pytest.mark.parametrize("method", [SLDA(), RanPAC()], ids=lambda m: m.name)
def test_outputs_that_grow(method: Method) -> None:
    """A network with the first task's outputs ends where one with all of them does; one example of a class is taken in."""
    stream = toy_stream("class")
    whole = learnt(method, stream)
    grown = Learner(toy_net(3), method, Training(), grows=True)
    for task in stream:
        grown.learn(task)
    for task in stream:
        torch.testing.assert_close(grown.scores(task.test.x), whole.scores(task.test.x))
    alone = Learner(toy_net(3), method, Training(), grows=True)
    alone.learn(stream[0])
    one = stream[1].train.subset(torch.tensor([0]))
    alone.learn(Task("one", one, stream[1].test, tuple(one.labels.tolist()), 1))
    scores = alone.scores(one.x[one.rows])[0]
    assert scores[one.labels].isfinite().all()
    assert (
        int(scores.argmax()) == int(one.labels[0]) or method.name == "ranpac"
    )  # one against many: its ridge may say no


@pytest.mark.parametrize("method", [SLDA(), RanPAC(width=200)], ids=lambda m: m.name)
def test_what_answers_holds_no_sums(method: Method) -> None:
    stream = toy_stream("class")
    learner = learnt(method, stream)
    small, x = method.answering(learner.state), stream[0].test.x
    assert torch.equal(method.predict(small, learner.net, x, None), method.predict(learner.state, learner.net, x, None))
    assert nbytes(small) < nbytes(learner.state) / 2
