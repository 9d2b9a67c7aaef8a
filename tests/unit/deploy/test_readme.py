"""What the README promises: its configurations load, its links lead somewhere, its commands exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.main import get_group

from ambassador.cli import app
from ambassador.config.load import load_text

ROOT = Path(__file__).parents[3]
TEXTS = (ROOT / "README.md", ROOT / "deploy" / "kubernetes" / "README.md")
README = TEXTS[0].read_text()
COMMANDS = get_group(app).commands


def blocks(language: str) -> list[str]:
    """The README's fenced blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("text", blocks("yaml"))
def test_every_configuration_in_the_readme_loads(text: str, tmp_path: Path) -> None:
    named = re.findall(r"/etc/ambassador/[\w./-]+", text)
    for name in named:
        path = tmp_path / name.removeprefix("/etc/ambassador/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert load_text(text.replace("/etc/ambassador", str(tmp_path))).config.listeners


def test_the_readme_shows_configurations() -> None:
    assert len(blocks("yaml")) >= 5


@pytest.mark.parametrize("document", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    links = [link for link in re.findall(r"\]\(([^)]+)\)", document.read_text()) if "://" not in link]
    assert links
    assert not [link for link in links if not (document.parent / link).exists()]


def test_every_make_target_in_the_readme_exists_and_is_explained() -> None:
    targets = set(re.findall(r"^(\w+):.*## ", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    mentioned = set(re.findall(r"`make (\w+)", README)) | set(re.findall(r"^\$ make (\w+)", README, flags=re.MULTILINE))
    assert {"demo", "test"} <= mentioned <= targets


def test_every_command_in_the_readme_exists() -> None:
    mentioned = set(re.findall(r"`ambassador (\w+)|^\$ ambassador (\w+)", README, flags=re.MULTILINE))
    names = {name for pair in mentioned for name in pair if name}
    assert {"run", "proxy", "check", "status", "reload", "quit", "wait", "schema"} <= names <= COMMANDS.keys()


def test_every_option_in_the_readme_is_one_of_some_command() -> None:
    ours = "\n".join(line for line in README.splitlines() if "curl" not in line)
    mentioned = set(re.findall(r"[ `](--[a-z]+)", ours))
    known = {option for command in COMMANDS.values() for parameter in command.params for option in parameter.opts}
    assert {"--listen", "--json"} <= mentioned <= known


def test_metrics_named_in_the_texts_are_ones_we_have() -> None:
    source = (ROOT / "ambassador" / "telemetry" / "exposition.py").read_text()
    mentioned = {name for text in TEXTS for name in re.findall(r"`ambassador_(\w+)", text.read_text())}
    assert len(mentioned) >= 5
    assert not [name for name in mentioned if f'"{name.removesuffix("_total")}"' not in source]
