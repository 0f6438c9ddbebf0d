"""Submitting to Kubernetes: the official client against a server that answers as the API does."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from isocost.catalog.files import InputError
from isocost.execution.engines.base import EngineFailed
from isocost.execution.engines.kubernetes import Kubernetes

from .api_server import Api, serving
from .orders import order

pytest.importorskip("kubernetes")


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    config = tmp_path / "kubeconfig"
    monkeypatch.setenv("KUBECONFIG", str(config))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    # The client reads the place of the file when it is imported.
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(config))
    monkeypatch.setattr("isocost.execution.engines.kubernetes.POLL_S", 0.02)
    with serving(Api(), config) as server:
        yield server


MAIN = {"kubernetes": "Job", "jobset": "JobSet", "trainjob": "TrainJob", "ack": "Job"}


@pytest.mark.parametrize("form", MAIN)
def test_a_run_is_submitted_watched_and_leaves_nothing_behind(api: Api, form: str) -> None:
    offer = "alibaba A10" if form == "ack" else "gcp T4"
    placement = Kubernetes(form, order(offer, 2, code={"train.py": "x = 1\n"})).submit()
    assert len(api.named("ConfigMap")) == 1
    assert len(api.named(MAIN[form])) == 1
    assert "0 of 2 workers run (Unschedulable: 0/3 nodes" in (placement.waiting() or "")
    assert placement.codes() == [None, None]
    assert placement.hosts() == ()
    api.run_pods()
    assert placement.waiting() is None
    assert len(placement.hosts()) == 2
    assert placement.ended() is None
    api.log = "step 1\nisocost-result {}\n"
    api.finish(MAIN[form])
    assert placement.ended() is True
    assert placement.codes() == [0, 0]
    assert placement.fault() is None
    assert placement.last_words().endswith("isocost-result {}\n")
    placement.kill()
    assert api.objects == {}
    placement.kill()  # may be called again


def test_a_wish_to_end_suspends_the_job_and_a_failure_says_why(api: Api) -> None:
    placement = Kubernetes("jobset", order(workers=2)).submit()
    placement.terminate()
    (jobset,) = api.named("JobSet")
    assert jobset["spec"]["suspend"] is True
    api.finish("JobSet", failed="DeadlineExceeded")
    assert placement.ended() is False
    assert "DeadlineExceeded: what the controller says" in (placement.fault() or "")


def test_what_exists_already_is_said_and_what_was_made_before_is_removed(api: Api) -> None:
    Kubernetes("kubernetes", order(workers=2)).submit()
    before = set(api.objects)
    with pytest.raises(InputError, match=r"exists already in namespace default; .*--name"):
        Kubernetes("kubernetes", order(workers=2)).submit()
    assert set(api.objects) == before
    api.objects.clear()
    api.forbidden.add("Job")
    with pytest.raises(InputError, match="forbidden: User"):
        Kubernetes("kubernetes", order(workers=2)).submit()
    assert api.objects == {}


def test_a_cluster_that_lacks_the_controller_is_said_with_the_remedy(api: Api) -> None:
    api.unknown.add("JobSet")
    with pytest.raises(InputError, match="knows no JobSet; install the JobSet controller"):
        Kubernetes("jobset", order(workers=2)).submit()
    assert api.objects == {}


def test_a_manifest_with_a_mistake_is_not_submitted(api: Api) -> None:
    from isocost.execution.manifests.order import NO_IMAGE

    with pytest.raises(InputError, match="no real image"):
        Kubernetes("kubernetes", order(image=NO_IMAGE)).submit()
    assert api.asked == []


def test_no_cluster_and_a_cluster_that_is_away_are_sentences(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = "kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION"
    monkeypatch.setattr(where, str(tmp_path / "none"))
    engine = Kubernetes("kubernetes", order())
    assert "set KUBECONFIG, or use --dry-run" in (engine.available() or "")
    with pytest.raises(InputError, match="no cluster is configured"):
        engine.submit()
    config = tmp_path / "kubeconfig"
    with serving(Api(), config):
        pass
    monkeypatch.setattr(where, str(config))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert engine.available() is None
    with pytest.raises(EngineFailed, match="the cluster does not answer"):
        engine.submit()
