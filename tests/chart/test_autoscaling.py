"""The VerticalPodAutoscaler of the operator's Deployment."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from hack.chart import CHART
from tests.chart.helm import FOREIGN_KINDS, Helm, HelmError, Json, of_kind, the

KIND = "VerticalPodAutoscaler"


def autoscaler(helm: Helm, **values: Any) -> Json:
    return the(helm.render({"verticalPodAutoscaler": {"enabled": True, **values}}), KIND)


def test_there_is_none_unless_asked_for(helm: Helm):
    assert not of_kind(helm.render(apis=FOREIGN_KINDS), KIND)


def test_it_is_about_the_operators_container_and_no_other(helm: Helm):
    values = {"verticalPodAutoscaler": {"enabled": True}, "extraContainers": [{"name": "beside", "image": "b"}]}
    objects = helm.render(values)
    spec = the(objects, KIND)["spec"]
    deployment = the(objects, "Deployment")
    assert the(objects, KIND)["metadata"]["namespace"] == deployment["metadata"]["namespace"]
    target = {"apiVersion": deployment["apiVersion"], "kind": "Deployment", "name": deployment["metadata"]["name"]}
    assert spec["targetRef"] == target
    own, others = spec["resourcePolicy"]["containerPolicies"]
    operator, beside = deployment["spec"]["template"]["spec"]["containers"]
    assert (own["containerName"], beside["name"]) == (operator["name"], "beside")
    assert others == {"containerName": "*", "mode": "Off"}


def test_by_default_it_recommends_no_less_than_the_chart_requests(helm: Helm):
    spec = autoscaler(helm)["spec"]
    assert spec["updatePolicy"] == {"updateMode": "Recreate"}
    own = spec["resourcePolicy"]["containerPolicies"][0]
    requests = yaml.safe_load((CHART / "values.yaml").read_text())["resources"]["requests"]
    assert own["minAllowed"] == requests
    assert "maxAllowed" not in own
    assert "recommenders" not in spec


def test_a_mode_stays_a_word(helm: Helm):
    """Without quotes YAML would read `Off` as `false`, which the API server refuses."""
    assert autoscaler(helm, updateMode="Off")["spec"]["updatePolicy"]["updateMode"] == "Off"


def test_a_cluster_that_does_not_serve_it(helm: Helm):
    def found(mode: str, apis: tuple[str, ...] = ()) -> int:
        values = {"verticalPodAutoscaler": {"enabled": True, "renderMode": mode}}
        return len(of_kind(helm.render(values, apis=apis), KIND))

    assert found("alwaysRender") == 1
    assert found("skipIfMissing") == 0
    for mode in ("skipIfMissing", "failIfMissing"):
        assert found(mode, FOREIGN_KINDS) == 1
    sentence = (
        r"does not serve autoscaling.k8s.io/v1/VerticalPodAutoscaler\. "
        r"Install its CustomResourceDefinition, or set verticalPodAutoscaler.renderMode to skipIfMissing"
    )
    with pytest.raises(HelmError, match=sentence):
        found("failIfMissing")
    # Each group of values decides for its own kinds.
    helm.render({"metrics": {"renderMode": "failIfMissing"}, "verticalPodAutoscaler": {"enabled": True}})


def test_the_modes_are_those_of_the_autoscaler(foreign_crds: list[Path]):
    """But `Auto`, its old word for `Recreate`."""
    schema = json.loads((CHART / "values.schema.json").read_text())["properties"]["verticalPodAutoscaler"]["properties"]
    definitions = [crd for path in foreign_crds for crd in yaml.safe_load_all(path.read_text())]
    (crd,) = [each for each in definitions if each["spec"]["names"]["kind"] == KIND]
    (served,) = [each for each in crd["spec"]["versions"] if each["name"] == "v1"]
    spec = served["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    modes = spec["updatePolicy"]["properties"]["updateMode"]["enum"]
    assert {*schema["updateMode"]["enum"], "Auto"} == set(modes)
    policy = spec["resourcePolicy"]["properties"]["containerPolicies"]["items"]["properties"]
    assert set(schema["controlledValues"]["enum"]) == set(policy["controlledValues"]["enum"])
