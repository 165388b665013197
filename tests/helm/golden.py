"""The golden files: what each values file renders to. `python golden.py` writes them anew."""

import sys
from collections.abc import Sequence

import yaml

from chart import GOLDEN, VALUES, Document, render


def text(documents: Sequence[Document]) -> str:
    """Documents as a golden file has them; the dashboard, which is a file itself, is left out."""
    for document in documents:
        data = document.get("data", {})
        if "polarway.json" in data:
            data["polarway.json"] = "dashboards/polarway.json\n"
    return yaml.safe_dump_all(documents, width=160)


def main() -> None:
    """Writes all files, and removes those whose values file is gone."""
    GOLDEN.mkdir(exist_ok=True)
    for path in GOLDEN.glob("*.yaml"):
        if path.stem not in VALUES:
            path.unlink()
    for name, values in VALUES.items():
        (GOLDEN / f"{name}.yaml").write_text(text(render(values)))
        sys.stdout.write(f"{name}\n")


if __name__ == "__main__":
    main()
