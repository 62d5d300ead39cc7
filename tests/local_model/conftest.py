"""One embedded model for all tests of a module, with what llama.cpp logs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from webapp.local_model import EmbeddedModel


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("embedded") / "model.log"


@pytest.fixture(scope="module")
def embedded(log: Path) -> Iterator[EmbeddedModel]:
    model = EmbeddedModel(log_file=log).start()
    yield model
    model.stop()
