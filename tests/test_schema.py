"""The published schemas allow what isocost reads, and refuse what it refuses."""

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from isocost.catalog.files import Document, InputError
from isocost.cli.schema import FILES, document
from isocost.profiles.workload import Workload

from .conftest import EXAMPLE, ROOT, Command

EXAMPLES = {
    "workload": EXAMPLE,
    "offers": ROOT / "examples" / "owned.yaml",
    "cluster": ROOT / "examples" / "cluster.yaml",
}


def as_an_editor_reads(path: Path) -> object:
    """YAML 1.2, as editors read it: 184e+6 is a number."""
    text = path.read_text(encoding="utf-8").replace("184e+6", "184000000")
    return yaml.safe_load(text)


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_fit_their_schemas(name: str, isocost: Command) -> None:
    schema = json.loads(isocost("schema", name).stdout)
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(as_an_editor_reads(EXAMPLES[name]), schema)


@pytest.mark.parametrize("name", ["plan", "simulation"])
def test_documents_fit_their_schemas(name: str, isocost: Command, tmp_path: Path) -> None:
    assert isocost("optimize", EXAMPLE).returncode == 0
    if name == "simulation":
        assert isocost("simulate", "plan.json", "--replications", "20").returncode == 0
    schema = document(name).model_json_schema(by_alias=True)
    content = json.loads((tmp_path / f"{name}.json").read_text(encoding="utf-8"))
    jsonschema.validate(content, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(content | {"surprise": 1}, schema)


WORKLOAD = yaml.safe_load(
    "{schema: isocost/workload/v1, name: a, model: cifar10_cnn, samples_per_epoch: 10, epochs: 1}"
)


@pytest.mark.parametrize(
    ("more", "fits"),
    [
        ({"constraints": {"deadline_s": "1h30m"}}, True),
        ({"constraints": {"deadline_s": 5400}}, True),
        ({"constraints": {"deadline_s": "soon"}}, False),
        ({"constraints": {"deadline": "6h"}}, False),
        ({"per_device_batch": 32}, True),
        ({"per_device_batch": [32, 64]}, True),
        ({"per_device_batch": "many"}, False),
        ({"epochs": -1}, False),
        ({"precisions": ["float32", "mixed_bfloat16"]}, True),
        ({"precisions": ["float64"]}, False),
    ],
)
def test_editor_and_isocost_agree(more: dict[str, object], fits: bool) -> None:
    schema = Workload.model_json_schema(by_alias=True)
    agrees = not list(jsonschema.Draft202012Validator(schema).iter_errors(WORKLOAD | more))
    try:
        Workload.parse(WORKLOAD | more, "test")
    except InputError:
        assert not fits
    else:
        assert fits
    assert agrees == fits


def test_every_schema_is_written_and_listed(isocost: Command, tmp_path: Path) -> None:
    assert isocost("schema").stdout.split() == list(FILES)
    assert isocost("schema", "-o", "schemas").returncode == 0
    assert {path.stem for path in (tmp_path / "schemas").iterdir()} == set(FILES)
    for name in FILES:
        assert issubclass(document(name), Document)
    done = isocost("schema", "wokload")
    assert done.returncode == 2
    assert "did you mean 'workload'?" in done.stderr
