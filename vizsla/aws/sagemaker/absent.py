"""What of SageMaker is not on this machine, and what is there instead."""

from __future__ import annotations

_MONITOR = "There is no Model Monitor: endpoints capture data, and `vizsla evaluate` and `vizsla bias` measure them."
_STUDIO = "There is no Studio: `vizsla ui` shows jobs and models."
_LINEAGE = "There is no lineage graph: `vizsla models show` tells where a version comes from."
_FEATURES = "There is no Feature Store: features of pictures are computed once and cached by themselves."
_EDGE = "There is no Edge Manager: `vizsla models export` writes models for other machines."

_WORDS = {
    "InferenceComponent": "An endpoint serves its variants, or many models (Mode MultiModel).",
    "Pipeline": "There are no pipelines: run their steps one after another, from a notebook or a script.",
    "FeatureGroup": _FEATURES,
    "FeatureMetadata": _FEATURES,
    "Monitoring": _MONITOR,
    "JobDefinition": _MONITOR,
    "NotebookInstance": "There are no notebook instances: `vizsla aws run -- jupyter lab` is the notebook.",
    "AutoMLJob": "There is no Autopilot: `vizsla fit DATA --minutes N` finds the best that N minutes allow.",
    "LabelingJob": "There is no Ground Truth: labels lie in folders, tables and annotation files.",
    "CompilationJob": "There is no Neo: models are ONNX, and `vizsla models export` writes other forms.",
    "OptimizationJob": "`vizsla models export --to int8` writes a smaller model.",
    "Hub": "There is no JumpStart: `vizsla fit --backbone NAME` fetches pretrained networks.",
    "Mlflow": "`vizsla ui` shows MLflow's pages of this machine.",
    "Domain": _STUDIO,
    "UserProfile": _STUDIO,
    "Space": _STUDIO,
    "App": _STUDIO,
    "Cluster": "There is no HyperPod: `vizsla train --executor ray` uses many machines.",
    "Edge": _EDGE,
    "Device": _EDGE,
    "Artifact": _LINEAGE,
    "Association": _LINEAGE,
    "Context": _LINEAGE,
    "Action": _LINEAGE,
    "Lineage": _LINEAGE,
}
"""By a part of an operation's name: what to do instead."""


def words_of(operation: str) -> str:
    """What is said of an operation that is not offered.

    Examples
    --------
    >>> words_of("CreateCompilationJob").partition(": ")[0]
    "The operation 'CreateCompilationJob' is not offered here. There is no Neo"
    """
    instead = next((words for part, words in _WORDS.items() if part in operation), "")
    return f"The operation {operation!r} is not offered here. {instead}".strip()
