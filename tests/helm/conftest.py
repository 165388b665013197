"""What several files of tests use."""

import pytest

from chart import VALUES, Document, render


@pytest.fixture(params=VALUES)
def documents(request: pytest.FixtureRequest) -> list[Document]:
    """The objects of each values file in turn."""
    return render(VALUES[request.param])


@pytest.fixture
def default() -> list[Document]:
    """The objects without any values."""
    return render()
