"""What imports without torch, and what starts at once."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("torch", "torchvision", "timm", "optuna", "mlflow", "sklearn", "scipy", "pandas", "matplotlib", "boto3")


def modules_after(code: str) -> set[str]:
    """Names of the modules loaded after running ``code`` in a fresh process."""
    script = f"{code}\nimport sys; print('\\n'.join(sys.modules))"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(result.stdout.split())


@pytest.mark.parametrize(
    "code",
    [
        "import vizsla",
        "import vizsla.images, vizsla.models.artifact, vizsla.models.engine, vizsla.models.heads",
        "import vizsla; vizsla.load; vizsla.Model; vizsla.Prediction",
        "import vizsla; vizsla.fit",
        "import vizsla.workflow.evaluate, vizsla.workflow.explain, vizsla.workflow.bias",
        "import vizsla.workflow.fit, vizsla.training.heads, vizsla.evaluation, vizsla.jobs.directory",
        "from vizsla.cli.main import app",
        "import vizsla.cli.fit, vizsla.cli.predict",
    ],
)
def test_imports_nothing_heavy(code: str) -> None:
    loaded = modules_after(code)
    assert not loaded & set(HEAVY)


def test_import_vizsla_loads_almost_nothing() -> None:
    assert {m for m in modules_after("import vizsla") if m.startswith("vizsla")} == {"vizsla", "vizsla.version"}


def test_help_needs_no_verb() -> None:
    loaded = modules_after(
        "import sys\nsys.argv = ['vizsla', '--help']\nfrom vizsla.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass"
    )
    assert "vizsla.cli.main" in loaded
    assert not {"numpy", "PIL", "onnxruntime", "vizsla.cli.fit"} & loaded


def test_public_names_are_there() -> None:
    import vizsla

    for name in vizsla.__all__:
        assert getattr(vizsla, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = vizsla.nothing  # type: ignore[attr-defined]
