"""A classifier that is in use gets a new class, and keeps the old ones.

Customers' questions are read by a frozen sentence encoder (the extra ``sentences``). A classifier of three intents is trained and saved.
Later a fourth comes up, of which there are six examples, and the questions that taught the first three are no longer at hand. The saved
classifier is loaded, its outputs grow, and it learns the six: by streaming linear discriminant analysis, which keeps statistics of all that
it has met, and, for comparison, by training the network on what is new.

    python examples/add_a_class.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from lifelong import MLP, SLDA, Finetune, Learner, Method, Stream, Task, Training, featured, minilm, stream_of
from lifelong.checkpoint import Store

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


def questions() -> Stream:
    """Two tasks: three intents, and the one that nobody announced."""
    encoder = minilm()
    old, new = list(SAID)[:3], list(SAID)[3:]

    def part(intents: list[str], rows: slice) -> tuple[object, list[str]]:
        said = [(sentence, intent) for intent in intents for sentence in SAID[intent][rows]]
        return encoder.tokens([sentence for sentence, _ in said]), [intent for _, intent in said]

    train, test = slice(None, -TEST), slice(-TEST, None)
    stream = stream_of(
        [part(old, train), part(new, train)], test=[part(old, test), part(new, test)], announced=False, scenario="class"
    )
    return featured(stream, encoder)


def deployed(method: Method, stream: Stream, first: Task, folder: Path) -> Learner:
    """Trained on the first intents and saved; then, as another process would, made anew and loaded."""
    training = Training(optimizer="adam", lr=0.01, batch_size=8, epochs=20)

    def fresh() -> Learner:
        return Learner(MLP((64,))(stream.shape, stream.outputs), method, training, scenario="class", grows=True)

    learner = fresh()
    learner.learn(first)
    Store(folder).save(learner.state_dict())
    loaded, saved = fresh(), Store(folder).newest()
    assert saved is not None
    loaded.load_state_dict(saved)
    return loaded


def main() -> None:
    stream = questions()
    first, new = stream
    with tempfile.TemporaryDirectory() as folder:
        for method in (Finetune(), SLDA(shrinkage=0.01)):
            learner = deployed(method, stream, first, Path(folder) / method.name)
            before = learner.evaluate([first])[0][0]
            learner.learn(new)
            (old, *_), (added, *_) = learner.evaluate(stream)
            print(f"{method.name:8}  old intents {before:.0%} before, {old:.0%} after; the new one {added:.0%}")


if __name__ == "__main__":
    main()
