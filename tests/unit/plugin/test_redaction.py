"""What must not leave a cluster does not, wherever it stands."""

import base64
import json
from typing import Any

import pytest

from kubectl_scaleset.redaction import REDACTED, Redactor

JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJtZSJ9.c2lnbmF0dXJl"
CODED = base64.b64encode(b"#!/bin/sh\nmysql canary-in-a-line\n").decode()
PEM = "-----BEGIN RSA PRIVATE KEY-----\nMIIcanary\n-----END RSA PRIVATE KEY-----"


def cleaned(*objects: Any) -> str:
    redactor = Redactor()
    for each in objects:
        redactor.collect(each)
    return json.dumps([redactor.clean(each) for each in objects])


@pytest.mark.parametrize(
    "raw",
    [
        {"spec": {"customData": "canary\nmore"}},
        {"data": {"customData": "canary"}},
        {"spec": {"containers": [{"env": [{"name": "A", "value": "canary"}]}]}},
        {"spec": {"initContainers": [{"env": [{"name": "A", "value": '{"key": "canary"}'}]}]}},
        {"spec": {"extensions": [{"settings": {"deep": [{"er": "canary"}]}}]}},
        {"spec": {"extensions": [{"protectedSettings": {"a": "canary"}}]}},
        {"metadata": {"annotations": {"scaleset.dev/custom-data": "canary"}}},
        {"metadata": {"annotations": {"kubectl.kubernetes.io/last-applied-configuration": "canary"}}},
        {"metadata": {"managedFields": [{"fieldsV1": "canary"}]}},
        {"probe": {"httpGet": {"httpHeaders": [{"name": "Authorization", "value": "canary"}]}}},
        {"args": ["--password", "canary", "--verbose"]},
        {"args": ["--api-key=canary"]},
        {"command": ["sh", "-c", "login --token canary-1234"]},
        {"message": "export TOKEN=canary-1234 failed"},
        {"message": f"Authorization: Bearer {'canary' * 4}"},
        {"image": "https://user:canary@example.com/web:1"},
        {"message": f"got {JWT.replace('c2lnbmF0dXJl', 'canary')}"},
        {"message": PEM},
        {"url": "https://store.example/blob?sv=1&sig=canary%3D"},
        {"clientSecret": "canary"},
        {"message": 'password="canary1" failed'},
        {"command": ["sh", "-c", "export DB_PASSWORD='two canary'; run"]},
        {"message": '{"password":"canary-1"}'},
        {"message": '{"password": "canary-1", "user": "me"}'},
        {"message": '{"said": "{\\"password\\": \\"canary-1\\"}"}'},
        {"message": 'Authorization: Bearer "canarycanary"'},
        {"url": "redis://:canary1@host"},
        {"url": "postgres://user:p@canary@host/db"},
        {"command": ["sh", "-c", "curl -u admin:canary https://example.com"]},
        {"command": ["sh", "-c", "curl --user='admin:canary' https://example.com"]},
    ],
)
def test_a_canary_does_not_get_through(raw):
    assert "canary" in json.dumps(raw)
    text = cleaned(raw)
    assert "canary" not in text
    assert "canary".upper() not in text


def test_what_was_taken_out_in_one_place_is_taken_out_everywhere():
    pod = {"spec": {"containers": [{"env": [{"name": "KEY", "value": "hunter2-canary"}]}]}}
    event = {"note": "the program said: hunter2-canary is wrong"}
    script = {"customData": "#!/bin/sh\nlogin canary-in-a-line\n"}
    status = {"message": "last words: login canary-in-a-line"}
    assert "canary" not in cleaned(pod, event, script, status)


@pytest.mark.parametrize(
    "place", [{"customData": CODED}, {"metadata": {"annotations": {"scaleset.dev/custom-data": CODED}}}]
)
def test_what_custom_data_in_base64_says_is_taken_out_too(place):
    assert "canary" not in cleaned(place, {"message": "+ mysql canary-in-a-line: denied"})


def test_what_a_report_is_for_stays():
    raw = {
        "metadata": {
            "name": "web",
            "labels": {"app": "token-service", "scaleset.dev/name": "web"},
            "annotations": {"scaleset.dev/start-upgrade-at": "2026-01-01T00:00:00Z"},
        },
        "spec": {
            "replicas": 5,
            "imagePullSecrets": [{"name": "registry"}],
            "containers": [{"image": "example.com/web@sha256:" + "0" * 64, "args": ["--verbose", "--port=80"]}],
        },
        "status": {"message": "container app: ImagePullBackOff: secret not found", "conditions": [{"reason": "Ready"}]},
    }
    assert json.loads(cleaned(raw)) == [raw]


def test_short_values_are_not_hunted_everywhere():
    pod = {"env": [{"name": "DEBUG", "value": "on"}]}
    assert json.loads(cleaned(pod, {"message": "one is on"}))[1] == {"message": "one is on"}


def test_names_of_environment_variables_stay():
    pod = {
        "env": [{"name": "PASSWORD", "value": "canary"}, {"name": "FROM", "valueFrom": {"secretKeyRef": {"name": "s"}}}]
    }
    assert json.loads(cleaned(pod))[0]["env"] == [{"name": "PASSWORD", "value": REDACTED}, pod["env"][1]]
