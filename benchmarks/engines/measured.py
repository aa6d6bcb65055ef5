"""Everything that is measured of the contestants, in turns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.corpus import Corpus, data_folder
from benchmarks.engines.contestants import CONTESTANTS, REFERENCE, Contestant
from benchmarks.engines.processor import has_bfloat16
from benchmarks.engines.quality import judged
from benchmarks.engines.runner import RunError, run
from benchmarks.engines.setting import Setting
from benchmarks.engines.vectors import vectors_file
from benchmarks.engines.weights import WeightsError, weights
from benchmarks.job import Result

_PACKAGE = "benchmarks.engines"
_EMULATED = (
    "this processor has no instructions for bfloat16 and emulates it, many times slower than "
    "float32; --only measures it all the same"
)


@dataclass
class Measured:
    """What was found about one contestant.

    Attributes
    ----------
    contestant : Contestant
        Who.
    runs : list of dict
        What `speed` gives, one a round.
    quality : dict
        What `quality` gives.
    failure : str
        Why it was not measured; empty if it was.
    """

    contestant: Contestant
    runs: list[Result] = field(default_factory=list)
    quality: Result = field(default_factory=dict)
    failure: str = ""


class Measuring:
    """Measures contestants, and the machine beside them.

    Parameters
    ----------
    corpus : Corpus
        Texts to embed, and queries.
    model : pathlib.Path
        Folder of the model.
    folder : pathlib.Path
        An empty folder to work in.
    report : callable
        Told what runs now.
    busy : bool
        Whether to measure single calls also while all cores have other work.
    """

    def __init__(
        self,
        corpus: Corpus,
        model: Path,
        folder: Path,
        report: Callable[[str], None],
        busy: bool = False,
    ) -> None:
        self._corpus = corpus
        self._model = model
        self._folder = folder
        self._report = report
        self._busy = busy
        self._kept = folder / "vectors"
        self._kept.mkdir()

    def measure(
        self, chosen: Sequence[Contestant], rounds: int, asked: bool = False
    ) -> tuple[list[Measured], Result]:
        """Return what was found about each, and the limit of the machine.

        `asked` tells that the contestants were chosen by name.
        """
        found = [Measured(contestant) for contestant in chosen]
        for one in found:
            if one.contestant.emulated and not (asked or has_bfloat16()):
                one.failure = _EMULATED
            elif one.contestant.settings.get("ENGINE") == "openvino":
                # At first use a graph is made and kept; that is no part of a start.
                self._report(f"first use: {one.contestant.name}")
                one.failure = self._job("vectors", one.contestant, ["a"], judge=False)[1]
        limit: Result = {}
        for number in range(1, rounds + 1):
            self._report(f"limit of the machine, round {number} of {rounds}")
            setting = Setting(weights=str(self._model))
            again = run(f"{_PACKAGE}.limit", self._folder, setting=setting)
            # Other work on the machine can only lower it.
            limit = {name: max(value, limit.get(name, 0)) for name, value in again.items()}
            for one in found:
                if not one.failure:
                    self._report(f"{one.contestant.name}, round {number} of {rounds}")
                    result, one.failure = self._job(
                        "speed", one.contestant, self._corpus.texts, judge=number == 1
                    )
                    if not one.failure:
                        one.runs.append(result)
        self._judge(found)
        return found, limit

    def _judge(self, found: Sequence[Measured]) -> None:
        """Compare the vectors that were kept with the reference's, and with people."""
        failure = ""
        if not vectors_file(self._kept, REFERENCE).is_file():
            self._report(f"vectors: {REFERENCE}")
            reference = CONTESTANTS[REFERENCE]
            failure = self._job("vectors", reference, self._corpus.texts)[1]
        for one in found:
            if not one.failure and failure:
                one.failure = f"{REFERENCE}, which it is compared with, fails: {failure}"
            elif not one.failure:
                # Not in its environment, which need not have what that takes.
                here = Contestant(one.contestant.name, one.contestant.label)
                one.quality, one.failure = self._job("quality", here, self._corpus.texts)

    def _job(
        self, part: str, contestant: Contestant, texts: Sequence[str], judge: bool = True
    ) -> tuple[Result, str]:
        """Run a part for a contestant; returns its figures, and why there are none.

        `judge` tells that its vectors are kept, or read, to be judged.
        """
        try:
            setting = Setting(
                weights=str(weights(contestant.weights, self._model)),
                queries=tuple(self._corpus.queries),
                judged=judged(data_folder()) if judge else (),
                keep=str(self._kept) if judge else "",
                busy=self._busy,
            )
            return run(f"{_PACKAGE}.{part}", self._folder, contestant, texts, setting), ""
        except (RunError, WeightsError) as error:
            return {}, str(error)
