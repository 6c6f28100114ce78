import json
from pathlib import Path

import pytest

from policylearn import load_policy
from policylearn.cluster.pool import LocalPool
from policylearn.runs.run import Run


class Backwards(LocalPool):
    """The newest call first: what a round ahead has to say arrives before it is asked, and of expected credits every
    point but the last is asked for by a worker that is past it."""

    def _next(self):
        self._waiting.reverse()
        try:
            return super()._next()
        finally:
            self._waiting.reverse()


@pytest.fixture(scope="session")
def backwards():
    return Backwards


@pytest.fixture
def stopped_after_a_round(monkeypatch):
    """Call something, and stop it, as by Ctrl-C, when the first round is kept."""

    def call(work, *arguments):
        save = Run.save_round

        def stop(run, state):
            save(run, state)
            raise KeyboardInterrupt

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(Run, "save_round", stop)
            work(*arguments)

    return call


@pytest.fixture(scope="session")
def told():
    """What the artefact of a run, its card, the page and the result say of it."""

    def read(folder: Path) -> dict[str, str]:
        return {
            "artefact": str(load_policy(folder / "policy").provenance),
            "card": (folder / "policy" / "README.md").read_text(encoding="utf-8"),
            "page": (folder / "report.html").read_text(encoding="utf-8"),
            "result": str(json.loads((folder / "result.json").read_text(encoding="utf-8"))["provenance"]),
        }

    return read
