#!/usr/bin/env python3
"""Writes the tables of values in the Helm chart's README.md from the comments in its values.yaml.

In values.yaml `## Title` begins a section, and `# -- text` (which may go on in `#` lines) documents the key below it. A
key without such a comment has to be a map whose keys have them. README.md keeps all but what is between its two marks.

    helm_readme.py [--check]
"""

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

CHART = Path(__file__).resolve().parent.parent / "helm/polarway"
BEGIN = "<!-- values: made by scripts/helm_readme.py -->"
END = "<!-- values: end -->"


@dataclass
class Value:
    """A documented key."""

    path: str
    default: Any
    text: str


@dataclass
class Section:
    """What stands below one `## Title`."""

    title: str
    values: list[Value] = field(default_factory=list)


class UndocumentedError(Exception):
    """A key that nobody can read about."""


def comments(text: str) -> tuple[dict[int, str], dict[int, str]]:
    """The comment of each line that has one directly above it, and the sections by their lines."""
    about: dict[int, str] = {}
    sections: dict[int, str] = {}
    current: list[str] = []
    for number, line in enumerate(text.splitlines()):
        stripped = line.strip()
        if stripped.startswith("## "):
            sections[number] = stripped.removeprefix("## ")
            current = []
        elif stripped.startswith("# -- "):
            current = [stripped.removeprefix("# -- ")]
        elif stripped.startswith("#") and current:
            current.append(stripped.removeprefix("#").strip())
        elif stripped and current:
            about[number] = " ".join(current)
            current = []
        else:
            current = []
    return about, sections


def read(text: str) -> list[Section]:
    """The sections of a values.yaml.

    Raises:
        UndocumentedError: when a key is neither documented nor a map of documented keys.
    """
    about, titles = comments(text)
    sections = [Section(title) for title in titles.values()]
    begins = list(titles)

    def section(line: int) -> Section:
        found = [number for number, begin in enumerate(begins) if begin < line]
        if not found:
            raise UndocumentedError(f"line {line + 1} of values.yaml is above the first section")
        return sections[found[-1]]

    def walk(node: yaml.MappingNode, prefix: str) -> None:
        for key, value in node.value:
            path = f"{prefix}{key.value}"
            line = key.start_mark.line
            if line in about:
                default = yaml.safe_load(yaml.serialize(value))
                section(line).values.append(Value(path, default, about[line]))
            elif isinstance(value, yaml.MappingNode) and value.value:
                walk(value, f"{path}.")
            else:
                raise UndocumentedError(f"line {line + 1} of values.yaml: `{path}` has no `# --` comment")

    root = yaml.compose(text)
    if not isinstance(root, yaml.MappingNode):
        raise UndocumentedError("values.yaml is no map")
    walk(root, "")
    return sections


def tables(sections: list[Section]) -> str:
    """The sections as Markdown."""
    lines: list[str] = []
    for section in sections:
        lines += [f"### {section.title}", "", "| value | default | meaning |", "|---|---|---|"]
        for value in section.values:
            default = json.dumps(value.default, ensure_ascii=False).replace("|", "\\|")
            lines.append(f"| `{value.path}` | `{default}` | {value.text.replace('|', chr(92) + '|')} |")
        lines.append("")
    return "\n".join(lines)


def made(readme: str, values: str) -> str:
    """The README with its tables anew."""
    before, _, rest = readme.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{tables(read(values))}\n{END}{after}"


def main() -> int:
    """Writes README.md, or with `--check` says whether it is up to date."""
    path = CHART / "README.md"
    readme = path.read_text()
    fresh = made(readme, (CHART / "values.yaml").read_text())
    if "--check" in sys.argv[1:]:
        if readme != fresh:
            print("helm/polarway/README.md is out of date: run `make helm`", file=sys.stderr)
        return int(readme != fresh)
    path.write_text(fresh)
    return 0


if __name__ == "__main__":
    sys.exit(main())
