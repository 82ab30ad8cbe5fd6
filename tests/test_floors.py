"""The house keeps its floors: a room imports only from floors below it, and no file stands in a circle."""

from __future__ import annotations

import ast
from pathlib import Path

import vizsla

ROOT = Path(vizsla.__file__).parent

FLOORS = [
    "version",
    "parameters",
    "errors",
    "optional",
    "settings",
    "files",
    "archives",
    "document",
    "s3_session",
    "cache",
    "shared_cache",
    "findings",
    "notebook",
    "cluster",
    "images",
    "models",
    "data",
    "training",
    "debugging",
    "profiling",
    "evaluation",
    "jobs",
    "tuning",
    "registry",
    "serving",
    "batch",
    "reports",
    "workflow",
    "progress",
    "api",
    "aws",
    "compat",
    "cli",
]
"""Ground floor first, as docs/architecture.md draws them."""


def imports_of(path: Path) -> set[str]:
    """Modules of vizsla that a file imports, at its top or inside a function."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= names
            if node.module != "vizsla" or not names <= FILES.keys():  # of the package itself, not of a file in it
                found.add(node.module or "")
    return {name for name in found if name == "vizsla" or name.startswith("vizsla.")}


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_name(path): path for path in ROOT.rglob("*.py")}


def room(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def test_every_room_has_a_floor() -> None:
    rooms = {room(module) for module in FILES} - {"", "__main__"}
    assert rooms <= set(FLOORS), f"give these rooms a floor: {sorted(rooms - set(FLOORS))}"


def test_no_import_looks_up() -> None:
    upward = [
        f"{module} imports {target}"
        for module, path in FILES.items()
        if room(module) not in ("", "__main__")
        for target in imports_of(path)
        if target == "vizsla" or (room(target) in FLOORS and FLOORS.index(room(target)) > FLOORS.index(room(module)))
    ]
    assert not upward, "\n".join(sorted(upward))


def test_no_circle_between_files() -> None:
    graph = {
        module: {target for target in imports_of(path) if target in FILES and target != module}
        for module, path in FILES.items()
    }
    # A package's __init__ gathers names from its own files: it is not one of their needs.
    for module, targets in graph.items():
        targets -= {module.rsplit(".", 1)[0], "vizsla"}
    done: set[str] = set()

    def visit(module: str, trail: list[str]) -> None:
        assert module not in trail, "circle: " + " -> ".join([*trail[trail.index(module) :], module])
        if module in done:
            return
        for target in graph[module]:
            visit(target, [*trail, module])
        done.add(module)

    for module in graph:
        visit(module, [])


def test_files_stay_readable() -> None:
    long = {module: n for module, path in FILES.items() if (n := len(path.read_text("utf-8").splitlines())) > 400}
    assert not long, f"more than 400 lines: {long}"
