"""The command line. Help and lists import neither torch nor anything heavy."""

from __future__ import annotations

import argparse
import inspect
import json
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from .errors import LifelongError, MethodError, enough_memory, nearest
from .progress import doing, say
from .registry import METHODS, NETS, OWN_LOOP, RANKS, STREAMS, Entry, find
from .warned import heard

__all__ = ["main"]

EPILOG = """\
A first look:           lifelong demo
Ten permuted tasks:     lifelong run --stream permuted --method finetune,ewc,joint --ewc.strength 100 --ewc.implicit true
The options of a run:   lifelong run --stream permuted --method ewc --help
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command; gives its exit status: 0, 1 failure, 2 usage, 130 Ctrl-C or SIGTERM."""
    args = list(sys.argv[1:] if argv is None else argv)
    try:
        with _terminable(), enough_memory("lifelong"), _telling(args):
            return _main(args)
    except KeyboardInterrupt:
        print("\nlifelong: stopped before anything was learnt; nothing was written", file=sys.stderr)
        return 130
    except MethodError as error:
        print(f"lifelong: {error}", file=sys.stderr)
        return 2
    except LifelongError as error:
        print(f"lifelong: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        sys.stderr.close()
        return 1
    except OSError as error:
        print(f"lifelong: {error}", file=sys.stderr)
        return 1


_warned: set[str] = set()  # of what this command has warned


@contextmanager
def _telling(args: Sequence[str]) -> Iterator[None]:
    """Within it each warning of the library is a line, and a command that is at work without a word says so now and then."""
    began = time.monotonic()
    _warned.clear()

    def tell(text: str) -> None:
        _warned.add(text)
        say(f"lifelong: warning: {text}")

    with ExitStack() as stack:
        stack.enter_context(heard(tell))
        if args and args[0] not in ("watch", "track"):  # these wait for others
            stack.enter_context(doing(lambda: f"lifelong {args[0]}: at work, {time.monotonic() - began:.0f} s"))
        yield


@contextmanager
def _terminable() -> Iterator[None]:
    """Within it SIGTERM ends a command as Ctrl-C does."""

    def handle(number: int, frame: Any) -> NoReturn:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _main(args: list[str]) -> int:
    if args[:1] and args[0] in _OWN:
        return _run(args[1:], args[0])
    parser = _Parser(
        prog="lifelong",
        description="One network learns many tasks in a row without forgetting, and is measured.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="store_true", help="print the version")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")

    def command(name: str, what: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=what, description=f"{what[0].upper()}{what[1:]}.")

    demo = commands.add_parser(
        "demo", help="a network forgets; L2, EWC and replay compared (offline, about a minute on two idle cores)"
    )
    demo.add_argument("--out", type=Path, help="directory to make (default: runs/DATE_demo)")
    commands.add_parser("run", help="a stream, one or several methods, some seeds (run --help tells the options)")
    commands.add_parser("order", help="how much the order of a stream's tasks matters (order --help tells the options)")
    commands.add_parser("affinity", help="which task of a stream helps which (affinity --help tells the options)")
    commands.add_parser("sweep", help="search for the constants of methods (sweep --help tells the options)")
    solved = command(
        "taxonomy", "which tasks to learn from, and in which order: the best transfers within a budget, exactly"
    )
    solved.add_argument(
        "affinities",
        type=Path,
        metavar="DIR|FILE",
        help="a directory of `lifelong affinity`, a JSON file of affinities, or the word taskonomy: the published ones",
    )
    solved.add_argument(
        "--budget", required=True, help="how many sources may be supervised: 3, or several: 1,2,5 or 1-22"
    )
    solved.add_argument(
        "--sources", type=int, help="most sources of one transfer, 1 or 2 (default: as many as were measured)"
    )
    solved.add_argument(
        "--goal",
        choices=("acc", "fwt"),
        default="acc",
        help="of the recommended order: accuracy at the end, or forward transfer",
    )
    solved.add_argument("--out", type=Path, help="directory for the graph and order.json (default: DIR)")
    resumed = command("resume", "go on exactly where a run was stopped, with the processes it was begun with")
    resumed.add_argument("dir", type=Path, metavar="DIR", help="the run's directory")
    _add_engine(resumed)
    compared = command(
        "compare", "methods of several runs side by side: table, paired differences on the same seeds, pictures"
    )
    compared.add_argument("dirs", type=Path, nargs="+", metavar="DIR", help="a run's directory (runs/DATE_STREAM)")
    compared.add_argument(
        "--out", type=Path, help="a page FILE.html, or a directory for page, table and pictures (default: print only)"
    )
    _add_budgets(compared, "runs that cost more are left out, and named")
    reported = command("report", "write a run's report.html again from its stored results")
    reported.add_argument("dir", type=Path, metavar="DIR", help="the run's directory")
    watched = command("watch", "a page that shows the runs below a directory as they are, on this machine alone")
    watched.add_argument("dir", type=Path, metavar="DIR", help="a run's directory, or one that holds runs")
    watched.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen on (default: 127.0.0.1); anything but this machine's own asks visitors for a token",
    )
    watched.add_argument("--port", type=int, default=8765, help="0 takes a free one (default: 8765)")
    tracked = command("track", "a run's numbers as TensorBoard, MLflow or Weights & Biases (offline) keep them")
    tracked.add_argument("dir", type=Path, metavar="DIR", help="the run's directory")
    tracked.add_argument("--to", required=True, metavar="NAME", help="tensorboard, mlflow or wandb")
    tracked.add_argument("--out", help="the tracker's directory (default: DIR/NAME); of mlflow also a server's address")
    tracked.add_argument("--follow", action="store_true", help="go on until the run ends")
    asked = command("ask", "a question about a story, to what a run on the stream babi has learnt so far")
    asked.add_argument("dir", type=Path, metavar="DIR", help="the run's directory")
    asked.add_argument("--story", type=Path, required=True, metavar="FILE", help="one sentence a line")
    asked.add_argument("--question", required=True, metavar="TEXT", help="in words that the stream has")
    asked.add_argument("--method", help="whose answer (default: the run's first method)")
    asked.add_argument("--seed", type=int, help="of which seed (default: the run's first)")
    asked.add_argument("--task", type=int, metavar="N", help="the number of the kind of question (scenario task only)")
    _release_commands(command)
    for kind in ("methods", "streams", "nets"):
        listed = commands.add_parser(kind, help=f"the {kind} there are")
        listed.add_argument("--json", action="store_true", help="as JSON")
    said = parser.parse_args(args)
    if said.version:
        from importlib.metadata import version

        print(version("lifelong"))
        return 0
    if said.command is None:
        parser.print_help()
        return 0
    if said.command in ("methods", "streams", "nets"):
        return _list({"methods": METHODS, "streams": STREAMS, "nets": NETS}[said.command], said.json)
    if said.command == "demo":
        _imports()
        from .demo import demo as tell_story

        return tell_story(said.out or _fresh("demo"))
    if said.command == "taxonomy":
        from .studies import taxonomy

        taxonomy(said.affinities, _budgets(said.budget), said.sources, said.goal, said.out)
        return 0
    if said.command == "ask":
        from .ask import ask

        print(ask(said.dir, said.story, said.question, said.method, said.seed, said.task))
        return 0
    if said.command == "watch":
        from .watch import serve

        serve(said.dir, said.host, said.port)
        return 0
    if said.command == "track":
        from .track import track

        print(track(said.dir, said.to, said.out, said.follow))
        return 0
    if said.command in ("gate", "export", "predict"):
        return {"gate": _gate, "export": _export, "predict": _predict}[said.command](said)
    if said.command == "resume":
        return _resume(said.dir, vars(said))
    from . import report

    if said.command == "compare":
        from .budget import Budget, amount

        budget = Budget(amount(said.budget_compute, "--budget-compute"), amount(said.budget_memory, "--budget-memory"))
        print(report.compare(said.dirs, said.out, budget=budget))
    else:
        print(report.write(said.dir))
    return 0


# --- release -----------------------------------------------------------------------------------------------------------
def _release_commands(command: Callable[[str, str], argparse.ArgumentParser]) -> None:
    gated = command(
        "gate", "did a new model forget what an old one knew? Exit status 0: passed, 1: failed, 2: nothing was decided"
    )
    for which in ("old", "new"):
        gated.add_argument(
            f"--{which}",
            type=Path,
            required=True,
            metavar="DIR|CSV",
            help=f"the {which} model: a run's directory, or its answers: columns label, prediction, and if known task and id",
        )
        gated.add_argument(f"--{which}-method", metavar="NAME", help=f"of the {which} run (default: its first)")
        gated.add_argument(f"--{which}-seed", type=int, metavar="N", help=f"of the {which} run (default: its first)")
    gated.add_argument(
        "--max-drop",
        default="0.01",
        metavar="X|none",
        help="most that the accuracy may drop, over all and in each task (default: 0.01)",
    )
    gated.add_argument(
        "--max-negative-flips",
        default="none",
        metavar="X|none",
        help="most examples that may be right before and wrong now (default: none)",
    )
    gated.add_argument(
        "--worst-class", default="none", metavar="X|none", help="most that any class may drop (default: none)"
    )
    gated.add_argument(
        "--max-error",
        default="none",
        metavar="X|none",
        help="most examples that the new model may get wrong, over all and in each task (default: none)",
    )
    gated.add_argument(
        "--decide",
        choices=("point", "shown", "excluded"),
        default="point",
        help="on the measured numbers; or on the intervals, failing where more than the limit is shown, or passing only where it is excluded",
    )
    gated.add_argument("--confidence", type=float, default=0.95, help="of the intervals (default: 0.95)")
    gated.add_argument("--markdown", type=Path, metavar="FILE", help="write the findings there (default: print them)")
    gated.add_argument("--json", type=Path, metavar="FILE", help="write them there as JSON")
    exported = command("export", "what a run has learnt to predict, as a folder to be shipped, with a model card")
    exported.add_argument("dir", type=Path, metavar="DIR", help="the run's directory")
    exported.add_argument(
        "--to",
        choices=("safetensors", "torch", "onnx"),
        default="safetensors",
        help="safetensors (reading it runs nothing), a torch.export program, or ONNX (default: safetensors)",
    )
    exported.add_argument("--out", type=Path, required=True, help="folder to make")
    exported.add_argument("--method", help="whose (default: the run's first method)")
    exported.add_argument("--seed", type=int, help="of which seed (default: the run's first)")
    exported.add_argument(
        "--tolerance",
        type=float,
        default=1e-4,
        help="most that a program's scores may differ from the run's (default: 1e-4)",
    )
    asked = command("predict", "answers of an export, as CSV: id, answer, probability")
    asked.add_argument("dir", type=Path, metavar="EXPORT", help="a folder that `lifelong export` made")
    asked.add_argument(
        "inputs", metavar="FILE|FOLDER|-", help="CSV, images, or text, as the export takes it; - reads standard input"
    )
    asked.add_argument("--task", help="name or number of the task that the inputs belong to, where it must be known")
    asked.add_argument("--resize", action="store_true", help="resize images of other sizes")
    asked.add_argument("--trust", action="store_true", help="run a program (torch, onnx), whose maker you trust")
    asked.add_argument("--out", type=Path, metavar="FILE", help="write the answers there (default: print them)")


def _gate(said: argparse.Namespace) -> int:
    from .checkpoint import write_atomically
    from .options import convert
    from .release.answers import Answers
    from .release.gate import LIMITED, Limits, gate

    def answers(path: Path, method: str | None, seed: int | None, tasks: Sequence[str] | None = None) -> Answers:
        if path.is_dir():
            return Answers.of_run(path, method, seed, tasks)
        if method is not None or seed is not None:
            raise MethodError(f"{path} is no run's directory: a file of answers has no methods and seeds")
        return Answers.read(path)

    try:
        named = {k: convert(float | None, getattr(said, k), k) for k in LIMITED}
        limits = Limits(**named, decide=said.decide, confidence=said.confidence)
        old = answers(said.old, said.old_method, said.old_seed)
        tasks = list(dict.fromkeys(old.task or ())) if old.inputs else None
        found = gate(old, answers(said.new, said.new_method, said.new_seed, tasks), limits)
        if said.json is not None:
            write_atomically(said.json, found.to_json())
        if said.markdown is not None:
            write_atomically(said.markdown, found.to_markdown())
    except LifelongError as error:  # 1 means that the new model forgot, and nothing else
        print(f"lifelong: {error}", file=sys.stderr)
        return 2
    if said.markdown is None:
        print(found.to_markdown())
    failed = sum(not c.passed for c in found.checks)
    for remark in found.remarks:
        print(f"note: {remark}", file=sys.stderr)
    print(f"gate {'failed' if failed else 'passed'}: {failed} of {len(found.checks)} limits exceeded", file=sys.stderr)
    return 0 if found.passed else 1


def _export(said: argparse.Namespace) -> int:
    from .release.export import export

    done = export(said.dir, said.out, said.to, said.method, said.seed, said.tolerance)
    for name, size in done.files.items():
        print(f"{size:>12,} bytes  {done.folder / name}")
    print(
        f"read back: {done.inputs} test inputs, largest difference of the scores from the run's {done.difference:.2e}"
    )
    print(f"model card: {done.folder / 'README.md'}")
    return 0


def _predict(said: argparse.Namespace) -> int:
    from .checkpoint import write_atomically
    from .release.export import reader
    from .release.inputs import answers_csv, read_inputs

    about, scores = reader(said.dir, said.trust)
    text = answers_csv(about, scores, read_inputs(about, said.inputs, said.resize), said.task)
    if said.out is None:
        print(text, end="")
    else:
        write_atomically(said.out, text)
    return 0


class _Parser(argparse.ArgumentParser):
    """Takes - and _ in names for each other, and says the nearest name of what it does not know."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        known = {o.replace("_", "-"): o for a in self._actions for o in a.option_strings}

        def spelt(word: str) -> str:
            name, equals, value = word.partition("=")
            return known.get(name.replace("_", "-"), name) + equals + value if word.startswith("--") else word

        return super().parse_known_args(None if args is None else [spelt(w) for w in args], namespace)

    def error(self, message: str) -> NoReturn:
        known = [o for a in self._actions for o in a.option_strings]
        unknown = [w for w in message.split() if w.startswith("--")]
        hint = ""
        if unknown and "unrecognized" in message:
            flag = unknown[0].split("=")[0]
            method = flag[2:].partition(".")[0]
            near = nearest(flag, known)
            there = any(o.startswith(f"--{method}.") for o in known)
            hint = f"; it belongs to --method {method}" if method in METHODS and not there else near
            if method == "stream" and not near:
                hint = "; the stream that was named (--stream) has no such option"
        self.exit(2, f"{self.prog}: {message}{hint}; see {self.prog} --help\n")


def _list(table: Mapping[str, Entry], as_json: bool) -> int:
    marks = table is METHODS
    if as_json:
        said = [
            {"name": n, "summary": e.summary, "source": e.source}
            | ({"scenarios": list(e.scenarios), "own_loop": n in OWN_LOOP, "ranks": n in RANKS} if marks else {})
            for n, e in table.items()
        ]
        print(json.dumps(said, indent=1))
        return 0
    width = max(map(len, table))
    for name, entry in table.items():
        where = f"{'loop' if name in OWN_LOOP else '':4}  {'ranks' if name in RANKS else '':5}  " if marks else ""
        fits = f"  ({', '.join(entry.scenarios)})" if marks else ""
        print(f"{name:{width}}  {where}{entry.summary}" + (f" [{entry.source}]" if entry.source else "") + fits)
    if marks:
        print(
            "\nloop: works in your own training loop (protect); ranks: several processes give what one gives; (...): its scenarios"
        )
    return 0


def _add_engine(parser: Any) -> None:
    parser.add_argument(
        "--jobs", type=int, help="processes, each with one thread (default: 1; ray: as many as there are)"
    )
    parser.add_argument(
        "--engine",
        choices=("local", "ray"),
        help="who does the jobs: local processes, or a Ray cluster (default: local)",
    )
    parser.add_argument("--address", help="of the Ray cluster, HOST:PORT (default: the one that runs on this machine)")


def _add_budgets(parser: Any, what: str) -> None:
    parser.add_argument(
        "--budget-compute", metavar="PASSES", help=f"examples forward and back in training (50000, 2M): {what}"
    )
    parser.add_argument("--budget-memory", metavar="BYTES", help=f"kept because of past tasks (64kB, 2M): {what}")


def _engine_again(begun: Mapping[str, Any], said: Mapping[str, Any]) -> dict[str, Any]:
    """What flags say of the engine, and what they leave out as it was when the run was begun."""
    own = {key: said[key] for key in ("jobs", "engine", "address")}
    if own["engine"] not in (None, begun.get("name")):
        return own
    before = {"engine": begun.get("name"), "jobs": begun.get("jobs"), "address": begun.get("address")}
    return {key: before[key] if value is None else value for key, value in own.items()}


def _engine(said: Mapping[str, Any], threads: int = 1) -> Any:
    """The engine that flags name.

    Raises:
        MethodError: an address without ray, fewer than one process.
    """
    from .pool import Local

    jobs = said["jobs"]
    if jobs is not None and jobs < 1:
        raise MethodError(f"jobs {jobs}: expected at least 1 process")
    if said["engine"] == "ray":
        from .cluster import Ray

        return Ray(said["address"] or "auto", jobs, threads)
    if said["address"]:
        raise MethodError(f"address {said['address']}: local processes have none; say --engine ray")
    return Local(jobs or 1)


# --- run ---------------------------------------------------------------------------------------------------------------
def _run(args: list[str], command: str) -> int:
    if not {"-h", "--help"} & set(args):
        _imports()
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for flag in ("--config", "--stream", "--method", "--net"):
        first.add_argument(flag)
    names, _ = first.parse_known_args(args)
    from .config import Config, read_yaml

    filed = read_yaml(Path(names.config)) if names.config else {}
    for key in ("stream", "method", "net"):
        if getattr(names, key) is not None:
            filed[key] = getattr(names, key)
    parser = _run_parser(filed, command)
    given = vars(parser.parse_args(args))
    ours = ("out", "jobs", "engine", "address", "config", "print_config", *_OWN[command])
    own = {k: given.pop(k) for k in ours if k in given}
    if command == "affinity":
        filed.pop("method", None)
    config = Config.from_keys({**filed, **{k: v for k, v in given.items() if v is not None}})
    if own["print_config"]:
        print(config.to_yaml(), end="")
        return 0
    config = replace(config, threads=config.threads or 1) if command == "sweep" else _with_threads(config, _engine(own))
    engine = _engine(own, config.threads or 1)
    out = own["out"] or _fresh(config.stream if command == "run" else f"{command}_{config.stream}")
    if command == "run":
        return _execute(config, out, engine, again=False)
    return _study(command, config, out, own, engine)


_OWN: dict[str, tuple[str, ...]] = {
    "run": (),
    "order": ("orders",),
    "affinity": ("few", "pairs", "how", "fraction", "decay"),
    "sweep": ("try", "protocol", "tasks", "fraction", "on", "trials", "trial_seeds", "together"),
}


def _study(command: str, config: Any, out: Path, own: Mapping[str, Any], engine: Any) -> int:
    import torch

    from . import studies
    from .affinity import Probe
    from .options import convert, options

    torch.set_num_threads(config.threads)
    try:
        if command == "order":
            studies.order(config, own["orders"], out, engine)
        elif command == "sweep":
            print(_sweep(config, out, own, engine))
        else:
            hints = {o.name: o.hint for o in options(Probe)}
            said = {k: convert(hints[k], own[k], k) for k in _OWN[command] if own[k] is not None}
            studies.affinity(config, Probe(**said), out, engine)
    except KeyboardInterrupt:
        print(f"\nstopped; what was measured is kept. Say the same again with --out {out} to go on", file=sys.stderr)
        return 130
    return 0


def _sweep(config: Any, out: Path, own: Mapping[str, Any], engine: Any) -> str:
    from .config import Config, seeds_of
    from .options import convert, options
    from .sweep import Protocol, sweep

    hints = {o.name: o.hint for o in options(Protocol)}
    said = {k: convert(hints[k], own[k], k) for k in hints if own[k] is not None}
    other = None
    if own["on"]:
        pairs = [(key.strip(), value) for key, _, value in (word.partition("=") for word in own["on"])]
        wrong = [k for k, v in pairs if not v or not (k in ("stream", "scenario", "order") or k.startswith("stream."))]
        if wrong or "stream" not in dict(pairs):
            raise MethodError(
                f"on {' '.join(own['on'])}: expected stream=NAME, and stream.OPTION=VALUE and scenario=... as needed"
            )
        # what trains is that of the stream which is tuned for
        there = Config.from_keys(
            {"scenario": config.scenario, **dict(pairs), "net": config.net}
            if config.scenario
            else {**dict(pairs), "net": config.net}
        )
        other = replace(
            config, stream=there.stream, stream_options=there.stream_options, scenario=there.scenario, order=there.order
        )
    protocol = Protocol(**said)
    return sweep(
        config,
        other,
        own["try"] or [],
        protocol,
        out,
        trials=own["trials"],
        seeds=seeds_of(own["trial_seeds"] or (config.seeds if protocol.peeks else [1000])),
        together=own["together"],
        engine=engine,
        say=say,
    )


def _budgets(said: str) -> list[float]:
    """``3``, ``1,2,5`` or ``1-22``."""
    first, dash, last = said.partition("-")
    try:
        found = [float(b) for b in range(int(first), int(last) + 1)] if dash else [float(b) for b in said.split(",")]
    except ValueError:
        found = []
    if not found or not all(b >= 0 for b in found):
        raise MethodError(f"budget {said!r}: expected a number (3), several (1,2,5) or a range (1-22)")
    return found


_WHAT = {
    "run": "Learns the tasks of a stream one after another, once for each method and seed, measures every task "
    "after each, and writes a directory of results with a report.",
    "order": "Learns the tasks of a stream in several orders, and shows what the order does: accuracy and transfer by order, which "
    "tasks want to come early or late. Said again with the same --out it goes on where it was.",
    "affinity": "Measures which task of a stream helps which, on held-out training examples: a network learns each task, and its "
    "features are read out for every other from few examples. Said again with the same --out it goes on where it was.",
    "sweep": "Searches for the constants of methods on data that may be used for it, runs the best of each method on the test sets, and "
    "prints its command. Said again with the same --out it goes on where it was.",
}


def _run_parser(filed: Mapping[str, Any], command: str) -> argparse.ArgumentParser:
    """The options of a run (or a study) of these methods on this stream."""
    from .affinity import Probe
    from .config import Config, _names, _parts, defaults_of, net_of, options_of
    from .options import options
    from .training import Training

    stream = str(filed.get("stream", Config.stream))
    methods = _names(filed.get("method", "finetune"))
    net = net_of(filed)
    entry, usual = find("stream", STREAMS, stream), defaults_of(stream, net)
    parser = _Parser(
        prog=f"lifelong {command}",
        description=_WHAT[command],
        epilog="Several methods: --method finetune,ewc; composed: --method ewc+l2. Options of a method that runs alone may "
        "be written --method.NAME. The options shown are those of the stream, methods and network named.",
        allow_abbrev=False,
    )
    what = parser.add_argument_group("what to run")
    what.add_argument("--stream", help=f"one of {', '.join(STREAMS)} (default: {Config.stream})")
    if command != "affinity":
        what.add_argument("--method", help=f"one or several of {', '.join(METHODS)} (default: finetune)")
    what.add_argument("--net", help=f"one of {', '.join(NETS)} (default: the stream's, {net_of({'stream': stream})})")
    what.add_argument("--scenario", help="task|domain|class: what is known at test time (default: the stream's)")
    what.add_argument("--seeds", help="how many (5 means 0 to 4) or a list (3,7) (default: 1)")
    if command == "run":
        what.add_argument(
            "--order",
            help="learned, random, hard-first, easy-first, or a file with a task's name a line: in which order the tasks come "
            "(default: the stream's); what it takes to find out counts as a cost of the run",
        )
    elif command == "order":
        what.add_argument("--orders", type=int, default=20, help="how many, all if there are not more (default: 20)")
    elif command == "sweep":
        _add_sweep(what)
    else:
        for o in options(Probe):
            what.add_argument(f"--{o.name}", metavar=o.metavar, help=_help(o.help, o.default))
    how = parser.add_argument_group("how and where")
    how.add_argument("--out", type=Path, help="directory to make (default: runs/DATE_STREAM)")
    _add_engine(how)
    if command != "affinity":
        _add_budgets(how, "of each method and seed; training is cut, memory beyond it refused")
    how.add_argument("--threads", help="threads of a process (default: torch's; 1 with several jobs)")
    how.add_argument("--device", help="cpu, cuda, ... (default: cpu)")
    how.add_argument("--precision", help="float32|float64|bfloat16 (default: float32)")
    how.add_argument("--every", help="seconds between checkpoints within a task (default: 30)")
    if command == "run":
        how.add_argument(
            "--tuned",
            metavar="PROTOCOL",
            help="how constants were chosen: first, held-out, two-phase, or oracle, whose results are labelled as peeking",
        )
        how.add_argument(
            "--evaluate_every",
            metavar="N",
            help="measure all tasks so far after every N steps within a task, too (default: at its end only)",
        )
    how.add_argument("--config", help="a YAML file that says what flags say; flags win")
    how.add_argument("--print_config", action="store_true", help="print the whole configuration as YAML and stop")
    training = parser.add_argument_group("training", "defaults belong to the stream")
    groups: list[tuple[str, Any, str]] = [
        ("stream", entry, f"stream {stream}"),
        ("net", find("net", NETS, net), f"net {net}"),
    ]
    if command != "affinity":
        groups += [(m, find("method", METHODS, m), f"method {m}") for m in dict.fromkeys(_parts(methods))]
    for o in options(Training):
        default = usual.get(o.name, o.default)
        training.add_argument(f"--{o.name}", dest=o.name, metavar=o.metavar, help=_help(o.help, default))
    alone = len(set(_parts(methods))) == 1
    for prefix, found, title in groups:
        section = parser.add_argument_group(title, found.summary)
        for o in options_of(prefix, found):
            flags = [f"--{prefix}.{o.name}"]
            if alone and prefix == _parts(methods)[0]:
                flags.append(f"--method.{o.name}")
            default = usual.get(f"{prefix}.{o.name}", o.default)
            section.add_argument(*flags, dest=f"{prefix}.{o.name}", metavar=o.metavar, help=_help(o.help, default))
    return parser


def _add_sweep(group: Any) -> None:
    from .options import options
    from .sweep import Protocol

    group.add_argument(
        "--try",
        action="append",
        metavar="NAME=RANGE",
        help="a constant and what is tried of it, once for each: ewc.strength=1e-2:1e4:log, replay.slots=10:500, lr=0.01,0.03,0.1",
    )
    for o in options(Protocol):
        group.add_argument(f"--{o.name}", metavar=o.metavar, help=_help(o.help, o.default))
    group.add_argument(
        "--on",
        action="append",
        metavar="KEY=VALUE",
        help="the other stream of the protocol two-phase: --on stream=NAME, --on stream.OPTION=VALUE",
    )
    group.add_argument("--trials", type=int, default=20, help="how many for each method (default: 20)")
    group.add_argument(
        "--trial_seeds", help="seeds of a trial (default: 1000, none of the run's; of an oracle: the run's)"
    )
    group.add_argument(
        "--together", type=int, default=4, help="trials that are asked before any of them is told (default: 4)"
    )


def _help(text: str, default: Any) -> str:
    if default is inspect.Parameter.empty:
        return f"{text.rstrip('.')} (must be given)".replace("%", "%%")
    shown = (
        ",".join(map(str, default)) or "none"
        if isinstance(default, tuple)
        else str(default).lower()
        if default is None
        else default
    )
    return f"{text.rstrip('.')} (default: {shown})".replace("%", "%%")


def _imports() -> None:
    """What takes long to import, and is not to be broken off."""
    from .system import held_back

    with held_back():
        for name in (
            "torch",
            *(f"lifelong.{part}" for part in ("demo", "jobs", "fitting", "methods", "nets", "streams", "report")),
        ):
            import_module(name)


def _with_threads(config: Any, engine: Any) -> Any:
    import torch

    return replace(config, threads=config.threads or (torch.get_num_threads() if engine.here else 1))


def _resume(folder: Path, said: Mapping[str, Any]) -> int:
    _imports()
    from .jobs import begun_with, recorded, resume
    from .run import Job

    config = resume(folder)
    engine = _engine(_engine_again(begun_with(folder), said), config.threads or 1)
    records = [recorded(folder, Job(m, s)) for m in config.methods for s in config.seeds]
    complete = all(record is not None and record.complete for record in records)
    if complete and (folder / "results.csv").exists() and (folder / "report.html").exists():
        print(f"{folder} is finished: there is nothing to go on with", file=sys.stderr)
        return 0
    return _execute(config, folder, engine, again=True)


def _execute(config: Any, folder: Path, engine: Any, again: bool) -> int:
    from . import report
    from .fitting import graceful
    from .jobs import execute, refuse
    from .progress import Progress

    if not again:
        refuse(folder)
    more: dict[str, str] = {}
    if isinstance(config.order, str):
        from .curriculum import settle

        config, more["order.json"] = settle(config, engine, say)
    stream = config.build_stream(config.seeds[0])
    for name in config.methods:  # refused before it is announced
        config.build_method(name).check(stream.scenario)
    training = config.build_training()
    about = [
        f"stream   {stream.name}, scenario {stream.scenario}, {len(stream)} tasks, {stream.outputs} outputs",
        f"data     {stream.source}",
        f"net      {config.build_net()}",
        f"training {training}",
        f"method   {', '.join(str(config.build_method(m)) for m in config.methods)}",
        f"seeds    {', '.join(map(str, config.seeds))}; {engine}, {config.threads} thread(s) a process",
        f"out      {folder}",
    ]
    say("\n".join(about))
    for remark in stream.notes.get("remarks", ()):
        if remark not in _warned:
            say(f"note     {remark}")
    for name in config.methods:
        advice = config.build_method(name).advice(stream.scenario)
        if advice:
            say(f"note     {advice}")
    if again:
        say(f"goes on  {_standing(config, folder, len(stream))}")
    try:
        with Progress(len(config.methods) * len(config.seeds), len(stream)) as progress:
            _, failed = execute(config, folder, engine, progress, again=again, **more)
        for message in failed:
            print(f"lifelong: {message.job.method}, seed {message.job.seed}: {message.text}", file=sys.stderr)
        with graceful():  # a second or two: it is finished
            if (folder / "summary.json").exists() and json.loads((folder / "summary.json").read_text())["methods"]:
                print(report.as_text(report.read(folder)))
                print(report.write(folder), file=sys.stderr)
        return 1 if failed else 0
    except KeyboardInterrupt:
        if not (folder / "config.yaml").exists():
            raise  # nothing was written
        print(f"\nstopped; everything learnt is saved. Go on with: lifelong resume {folder}", file=sys.stderr)
        return 130


def _standing(config: Any, folder: Path, tasks: int) -> str:
    """How far the jobs of a run are by their checkpoints."""
    from .jobs import recorded
    from .run import Job

    far = []
    for job in (Job(m, s) for m in config.methods for s in config.seeds):
        record = recorded(folder, job)
        done = 0 if record is None else len(record.accuracy) - 1
        far.append(f"{job.method} seed {job.seed}: {max(done, 0)} of {tasks} tasks")
    shown = "; ".join(far[:6])
    return shown if len(far) <= 6 else f"{shown}; and {len(far) - 6} more"


def _fresh(what: str) -> Path:
    return Path("runs") / f"{time.strftime('%Y-%m-%d_%H-%M-%S')}_{what}"


if __name__ == "__main__":
    sys.exit(main())
