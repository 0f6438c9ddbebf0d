"""Documents that are wrong come back with one sentence, never with a traceback."""

from pathlib import Path

import pytest

from isocost.catalog.files import InputError, read_mapping
from isocost.profiles.workload import read_workload

from .conftest import EXAMPLE


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.yaml", "name: a\nname: b\n", "line 2: the key 'name' stands twice"),
        ("a.yaml", "data: {bytes: 1, bytes: 2}\n", "the key 'bytes' stands twice"),
        ("a.json", '{"a": 1, "b": {"c": 1, "c": 2}}', "the key 'c' stands twice"),
        ("a.yaml", "a: !!python/object:os.system x\n", "only plain YAML"),
        ("a.yaml", "a: !!int x\n", "not valid YAML"),
        ("a.yaml", "a: " + "9" * 5000 + "\n", "not valid YAML"),
        ("a.yaml", "? [1, 2]\n: 3\n? {a: 1}\n: 4\n", "unhashable"),
    ],
)
def test_what_is_no_plain_document_is_refused(
    tmp_path: Path, name: str, text: str, words: str
) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=words):
        read_mapping(path)


def test_a_timestamp_is_left_as_text(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("a: !!timestamp nonsense\nb: 2026-11-24\n<<: {c: 1}\n", encoding="utf-8")
    assert read_mapping(path) == {"a": "nonsense", "b": "2026-11-24", "c": 1}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("epochs: 10 ", "epochs: 1.0e+300 "),
        ("samples_per_epoch: 50000", "samples_per_epoch: 1" + "0" * 300),
        ("bytes: 184e+6", "bytes: 1.0e+300"),
        ("alpha: 0.4", "alpha: 1.0e+308"),
        ("max_global_batch: 1024", "max_global_batch: 1" + "0" * 30),
        ("budget_usd: 5", "budget_usd: !!timestamp x"),
        ("deadline_s: 1h", "deadline_s: .inf"),
        ("name: cifar10-cnn", "name: cifar10-cnn\nname: again"),
    ],
)
def test_a_workload_with_an_absurd_value_is_refused_in_a_sentence(
    tmp_path: Path, old: str, new: str
) -> None:
    text = EXAMPLE.read_text(encoding="utf-8")
    assert old in text
    path = tmp_path / "job.yaml"
    path.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(InputError, match=r"job\.yaml"):
        read_workload(path)
