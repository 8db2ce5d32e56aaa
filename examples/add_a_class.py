"""A classifier that is in use gets a new class, and keeps the old ones.

Customers' questions are read by a frozen sentence encoder (the extra ``sentences``). A classifier of three intents is trained and saved.
Later a fourth comes up, of which there are six examples, and the questions that taught the first three are no longer at hand. The saved
classifier is loaded, its outputs grow, and it learns the six: by streaming linear discriminant analysis, which keeps statistics of all that
it has met, and, for comparison, by training the network on what is new.

    python examples/add_a_class.py
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from lifelong import MLP, SLDA, Finetune, Learner, Method, Stream, Training, featured, minilm, stream_of
from lifelong.runs.checkpoint import Store

SAID = {
    "refund": [
        "I would like my money back",
        "how do I get a refund for this order?",
        "the shoes do not fit, please return my payment",
        "you charged me twice, I want that back",
        "when will the refund be on my account?",
        "this arrived broken and I want to be reimbursed",
        "cancel the purchase and pay me back",
        "can I have a full refund?",
    ],
    "opening hours": [
        "when do you open on Sunday?",
        "are you closed on public holidays?",
        "how late is the shop open tonight?",
        "what are your opening times?",
        "is anybody there at eight in the morning?",
        "until when can I come by today?",
        "do you close over lunch?",
        "at what time does the store open?",
    ],
    "delivery": [
        "where is my parcel?",
        "my order has not arrived yet",
        "how long does shipping take?",
        "can you deliver to my office instead?",
        "the courier left the package with nobody",
        "track the shipment for me",
        "when will my parcel be delivered?",
        "do you ship abroad?",
    ],
    "gift card": [
        "how much is left on my gift card?",
        "can I pay with a voucher?",
        "my gift card code is not accepted",
        "I want to buy a gift card for a friend",
        "does the voucher expire?",
        "how do I redeem a gift card?",
        "can I use two gift cards at once?",
        "where do I enter the voucher code?",
    ],
}
TEST = 2  # of each intent, the last ones
OLD, NEW = list(SAID)[:3], list(SAID)[3:]


def questions(intents: list[str], known: Sequence[str] = ()) -> Stream:
    """One task: some intents' questions as features. `known` are the intents that a classifier has outputs for."""
    encoder = minilm()

    def part(rows: slice) -> tuple[Tensor, list[str]]:
        said = [(sentence, intent) for intent in intents for sentence in SAID[intent][rows]]
        return encoder.tokens([sentence for sentence, _ in said]), [intent for _, intent in said]

    stream = stream_of([part(slice(None, -TEST))], test=[part(slice(-TEST, None))], announced=False, classes=known)
    return featured(stream, encoder)


def classifier(method: Method) -> Learner:
    """As it was first built: 384 features, an output for each of the old intents, and more as they come. What was saved later is loaded into the
    same: it grows again as it grew."""
    training = Training(optimizer="adam", lr=0.01, batch_size=8, epochs=20)
    return Learner(MLP((64,))((384,), len(OLD)), method, training, grows=True)


def first(method: Method, folder: Path) -> None:
    """What was done back then: the old intents are learnt, the classifier is saved."""
    learner = classifier(method)
    learner.learn(questions(OLD)[0])
    Store(folder).save(learner.state_dict())


def later(method: Method, folder: Path) -> Learner:
    """Today: from the folder and the new questions alone."""
    learner, saved = classifier(method), Store(folder).newest()
    assert saved is not None
    learner.load_state_dict(saved)
    learner.learn(questions(NEW, learner.class_names)[0])
    Store(folder).save(learner.state_dict())  # for the next time; it is loaded into `classifier(method)` again
    return learner


def main() -> None:
    for method in (Finetune(), SLDA(shrinkage=0.01)):
        with tempfile.TemporaryDirectory() as folder:
            first(method, Path(folder))
            learner = later(method, Path(folder))
        old, new = learner.evaluate([questions(OLD)[0], questions(NEW, learner.class_names)[0]])
        print(
            f"{method.name:8}  knows {', '.join(learner.class_names)}; old intents {old[0]:.0%}, the new one {new[0]:.0%}"
        )


if __name__ == "__main__":
    main()
