"""Configs: YAML files and the command line, read into the settings of a run. Unknown keys are refused."""

from __future__ import annotations

import difflib
import functools
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from orl_explore.errors import OrlError
from orl_explore.runs.files import atomic_write
from orl_explore.settings import Config

CONFIGS = Path(__file__).parent / "configs"


def config_names() -> list[str]:
    """Names of the configs that come with the project."""
    return sorted(path.stem for path in CONFIGS.glob("*.yaml"))


def find_config(name: str) -> Path:
    """Path of a config by name or path.

    Raises:
        OrlError: there is none.
    """
    path = Path(name)
    if path.suffix in (".yaml", ".yml"):
        if not path.is_file():
            raise OrlError(f"no config file {name}")
        return path
    if name not in config_names():
        near = difflib.get_close_matches(name, config_names(), n=1)
        hint = f"did you mean {near[0]}?" if near else f"choose one of {', '.join(config_names())}, or a .yaml file"
        raise OrlError(f"no config {name!r}: {hint}")
    return CONFIGS / f"{name}.yaml"


def load_config(name: str | Path | None = None, overrides: Sequence[str] = ()) -> Config:
    """Read a config and apply command-line overrides such as `--stage1.epochs 5`.

    Args:
        name: a config's name, a YAML file, or None for the paper's values.
        overrides: arguments as typed on the command line.

    Raises:
        OrlError: an unknown key (with the nearest valid one), a value of the wrong type or out of range.
    """
    import jsonargparse

    arguments = list(overrides)
    for argument in arguments:
        if argument.startswith("--"):
            check_key(argument[2:].partition("=")[0], where="on the command line")
    _check_stray(arguments)
    if name is None and not arguments:
        return Config()
    parser = _parser()
    parsed = None
    try:
        if name is not None:
            path = find_config(str(name))
            for key in _leaves(_read_yaml(path)):
                check_key(key, where=f"in {path}")
            parsed = parser.parse_path(str(path))
        if arguments:
            parsed = parser.parse_args(arguments, namespace=parsed)
        parsed = parser.instantiate(parsed)
    except jsonargparse.ArgumentError as error:
        raise OrlError(f"config: {' '.join(str(error).split())}") from None
    return Config(**vars(parsed))


def to_yaml(config: Config) -> str:
    """The resolved config, every value written out."""
    return yaml.safe_dump(config.as_dict(), sort_keys=False)


def save_config(config: Config, path: Path) -> None:
    """Write a config as a YAML file, atomically."""
    with atomic_write(path) as temporary:
        temporary.write_text(to_yaml(config), encoding="utf-8")


def config_parser(**options: Any) -> Any:
    """A parser of every setting, with its docstring as help; options go to jsonargparse.ArgumentParser."""
    import jsonargparse

    jsonargparse.set_parsing_settings(docstring_parse_attribute_docstrings=True)
    parser = jsonargparse.ArgumentParser(exit_on_error=False, **options)
    parser.add_class_arguments(Config)
    return parser


@functools.cache
def _keys() -> tuple[str, ...]:
    return tuple(_leaves(Config().as_dict()))


@functools.cache
def _parser() -> Any:
    return config_parser()  # most of the time that reading a config takes, and nothing that is parsed stays in it


def check_key(key: str, *, where: str) -> None:
    """Refuse a dotted key that is no setting.

    Raises:
        OrlError: names the nearest valid key.
    """
    known = _keys()
    if key in known:
        return
    if inside := [k for k in known if k.startswith(f"{key}.")]:
        raise OrlError(
            f"{key!r} {where} is a group of settings: set {inside[0]} and others by their own names;"
            " `orl config` lists them all"
        )
    near = _near(key)
    hint = f"did you mean {' or '.join(near)}?" if near else "`orl config` lists them all"
    raise OrlError(f"unknown setting {key!r} {where}: {hint}")


def _near(key: str) -> list[str]:
    """The settings that may be meant: all whose own name it is, else the one that is written most like it."""
    named = [known for known in _keys() if known.rpartition(".")[2] == key.rpartition(".")[2]]
    return named or difflib.get_close_matches(key, _keys(), n=1, cutoff=0.5)


def _check_stray(words: Sequence[str]) -> None:
    """Refuse words that are neither a setting nor the value of one.

    Raises:
        OrlError: says how the setting that seems to be meant is typed.
    """
    for argument, before in zip(words, ["", *words], strict=False):
        if argument.startswith("--") or (before.startswith("--") and "=" not in before):
            continue
        key, equals, value = argument.partition("=")
        near = _near(key)
        meant = (shlex.join([f"--{setting}={value}"]) for setting in near)
        hint = (
            f"`{'` or `'.join(meant)}`"
            if equals and near
            else "`--stage1.epochs 5`, and images are named with --images"
        )
        raise OrlError(f"{argument!r} belongs to no setting: settings are typed as {hint}")


def check_foreign_config(file: Path, *, where: Path) -> None:
    """Refuse YAML that is no text, nested deeply, or has aliases, which can stand for any size, and for themselves.

    Args:
        file: a config.yaml that came from elsewhere.
        where: what it came in, for the error message.

    Raises:
        OrlError: it is nothing that `orl` wrote.
    """
    try:
        text = file.read_text(encoding="utf-8")
        fine = text.count("[") + text.count("{") <= 100  # many open ones take quadratic time, and `orl` writes none
        fine = fine and not any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text))
        if fine:
            yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError):
        fine = False
    if not fine:
        raise OrlError(f"{where}: config.yaml is no config that `orl` wrote: fetch the bundle again")


class _Loader(yaml.SafeLoader):
    """Refuses a mapping that has a key twice, of which YAML's own loaders keep the last alone."""

    def __init__(self, stream: str):
        super().__init__(stream)
        self.flattened: set[yaml.MappingNode] = set()

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Look at a mapping's own keys, before those of others are merged into it."""
        own: set[str] = set()
        for key, _ in [] if node in self.flattened else node.value:
            if str(key.value) in own and key.tag != "tag:yaml.org,2002:merge":
                problem = f"the key {key.value!r} is there a second time: put both under one"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
            own.add(str(key.value))
        self.flattened.add(node)
        super().flatten_mapping(node)


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), _Loader)  # safe: it is a SafeLoader
    except yaml.YAMLError as error:
        raise OrlError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise OrlError(f"{path} must hold keys and values, such as `seed: 0`")
    return values


def _leaves(values: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """Dotted keys of nested dictionaries."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"
