"""The house rules on sizes, as tests (STYLE.md)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "forebay"
FILE_LINES_MAX, FUNCTION_LINES_MAX, PARAMETERS_MAX = 400, 60, 6
FILES = sorted(SOURCE.rglob("*.py"))


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines without decorators, signature and docstring."""
    first = function.body[0]
    is_doc = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and len(function.body) > 1
    start = function.body[1] if is_doc else first
    return (function.end_lineno or start.lineno) - start.lineno + 1


def positional(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return len([a for a in function.args.args if a.arg not in ("self", "cls")])


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_files_and_functions_stay_small(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= FILE_LINES_MAX, f"{path} is longer than {FILE_LINES_MAX} lines: split it"
    for function in functions(ast.parse(text)):
        assert body_lines(function) <= FUNCTION_LINES_MAX, (
            f"{path.name}:{function.lineno} {function.name} is too long"
        )
        if not function.decorator_list:  # a command's parameters are its options
            assert positional(function) <= PARAMETERS_MAX, f"{path.name}:{function.lineno} {function.name}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_every_module_says_what_it_is(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text())), f"{path} has no docstring"


def test_packages_export_at_most_fifteen_names() -> None:
    for path in SOURCE.rglob("__init__.py"):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
                assert isinstance(node.value, ast.List | ast.Tuple)
                assert len(node.value.elts) <= 15, f"{path} exports {len(node.value.elts)} names"
