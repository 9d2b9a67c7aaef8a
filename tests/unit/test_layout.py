"""The tests mirror the house: `ambassador/x/y.py` has `tests/unit/x/test_y.py`, and the other way round."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "tests" / "unit"

# Tests of things that are no modules of the package, by the place they test.
ELSEWHERE = ("support", "deploy")

MODULES = [path for path in sorted((ROOT / "ambassador").rglob("*.py")) if path.name != "__init__.py"]
ROOMS = sorted((ROOT / "ambassador").rglob("__init__.py"))


def mirror(module: Path) -> Path:
    """The place of a module's tests; `_scan.py` and `__main__.py` lose their leading underscores."""
    inside = module.relative_to(ROOT / "ambassador")
    return UNIT / inside.with_name(f"test_{module.stem.strip('_')}.py")


def test_every_module_has_its_tests() -> None:
    missing = [str(mirror(module).relative_to(ROOT)) for module in MODULES if not mirror(module).exists()]
    assert not missing


def test_every_unit_test_has_its_module() -> None:
    expected = {mirror(module) for module in MODULES} | {Path(__file__)}
    strays = [
        str(path.relative_to(ROOT))
        for path in sorted(UNIT.rglob("test_*.py"))
        if path not in expected and path.relative_to(UNIT).parts[0] not in ELSEWHERE
    ]
    assert not strays


def test_every_helper_has_its_tests() -> None:
    missing = [
        path.name
        for path in sorted((ROOT / "tests" / "support").glob("*.py"))
        if not (UNIT / "support" / f"test_{path.name}").exists()
    ]
    assert not missing


@pytest.mark.parametrize("room", ROOMS[1:], ids=lambda path: path.parent.name)
def test_a_room_s_front_page_is_prose_and_no_code(room: Path) -> None:
    body = ast.parse(room.read_text()).body
    assert len(body) == 1, f"{room} holds code"
    assert isinstance(body[0], ast.Expr)
    assert isinstance(body[0].value, ast.Constant)


@pytest.mark.parametrize("module", [*MODULES, *ROOMS], ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_is_longer_than_four_hundred_lines(module: Path) -> None:
    assert len(module.read_text().splitlines()) <= 400


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_function_is_longer_than_forty_lines_of_code(module: Path) -> None:
    long = []
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node, clean=False) is not None else node.body
            lines = (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0
            if lines > 40:
                long.append(f"{node.name}: {lines}")
    assert not long
