"""The hook's configuration in a file."""

from __future__ import annotations

from typing import Any

from vizsla.debugging.hook import Hook
from vizsla.debugging.hook_config import DEFAULT_PATH, HookConfig, config_path

DEFAULT_SAGEMAKER_CONFIG_PATH = DEFAULT_PATH


def create_hook_from_json_config(hook_cls: type[Hook], json_config_path: str | None = None, **_: Any) -> Hook:
    """A hook from a configuration."""
    return hook_cls.create_from_json_file(json_config_path)


def collect_hook_config_params(json_file_path: str | None = None) -> HookConfig:
    """What a configuration says."""
    return HookConfig.read(config_path(json_file_path))
