"""Two tasks and two weights: what each penalty does, and that the surfaces are those of a model."""

from __future__ import annotations

import torch


def test_two_weights_show_what_the_guards_do() -> None:
    from lifelong.report.surfaces import caption, surfaces

    numbers = surfaces()[1]
    task_1 = {name: numbers[f"{name}/loss_1"] for name in ("start", "no constraint", "L2", "EWC")}
    task_2 = {name: numbers[f"{name}/loss_2"] for name in ("start", "no constraint", "L2", "EWC")}
    assert task_1["no constraint"] > 3 * task_1["start"]  # forgets
    assert task_1["EWC"] < 1.1 * task_1["start"]
    assert task_1["EWC"] <= task_1["L2"]  # L2 keeps task 1 no better, and yet
    assert task_2["L2"] > 3 * task_2["EWC"]  # does not learn task 2
    assert task_2["EWC"] < 1.2 * task_2["no constraint"]
    assert numbers["EWC/b_1"] > 10 * numbers["EWC/b_2"]
    assert numbers["L2/b_1"] == numbers["L2/b_2"]
    said = caption(numbers)
    for claim in (
        "No constraint forgets task 1 (1.27) but learns task 2 (0.31).",
        "L2 keeps task 1 (0.41) but does not learn task 2 (1.19).",
        "EWC keeps task 1 (0.40) and learns task 2 (0.34).",
    ):
        assert claim in said


def test_the_surfaces_are_those_of_a_model_with_two_weights() -> None:
    from lifelong.report.surfaces import paths, tasks

    first, second = tasks()
    before = torch.random.get_rng_state()
    again = tasks()
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(first.x, again[0].x)
    start, ways = paths(first, second)
    assert float(first.gradient(start).norm()) < 1e-3  # an optimum
    w = torch.tensor([0.3, -0.7], dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(second.gradient(w.detach()), torch.autograd.grad(second.loss(w), w)[0])
    # The Fisher as its definition has it: the expected squared score, label by label.
    p = (first.x @ start).sigmoid()[:, None]
    scores = {y: ((y - p) * first.x) ** 2 for y in (0, 1)}
    torch.testing.assert_close(first.fisher(start), (p * scores[1] + (1 - p) * scores[0]).mean(0))
    for way in ways[1:]:  # the guarded paths have settled
        end = way.w[-1]
        assert float((second.gradient(end) + 2 * way.b * (end - start)).norm()) < 1e-5
