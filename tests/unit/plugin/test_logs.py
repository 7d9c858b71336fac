"""`logs`, and what every verb says of the operator's Lease, against a server that answers as a cluster."""

import subprocess
import sys
from copy import deepcopy
from datetime import UTC, datetime, timedelta

import pytest

from kubectl_scaleset.__main__ import run
from tests.unit.plugin.conftest import Json, listed
from tests.unit.plugin.golden import recorded


@pytest.fixture
def web(answers):
    """The set `web` of ten in a failed rollout, and the logs of its pods."""
    seen = recorded("failing")
    for number in range(10):
        answers(f"/pods/web-{number}/log", f"hello from {number}\nand again\n")
    answers("/pods?", listed(*seen["pods"]))
    answers("/scalesets/web", seen["scaleSet"])
    answers("/leases", listed())
    return answers


def logs(answers) -> list[str]:
    return [path for _, path, _ in answers.asked if "/log" in path]


def test_the_log_of_one_instance_is_printed_as_it_is(web, capsys):
    assert run(["logs", "web", "3"]) == 0
    assert capsys.readouterr().out == "hello from 3\nand again\n"
    assert logs(web) == ["/api/v1/namespaces/shop/pods/web-3/log?container=os"]


def test_lines_of_several_instances_bear_their_pod(web, capsys):
    assert run(["logs", "web", "2-3", "--previous"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "[web-2] hello from 2",
        "[web-2] and again",
        "[web-3] hello from 3",
        "[web-3] and again",
    ]
    assert logs(web)[0].endswith("?container=os&previous=true&tailLines=10")


def test_failed_are_those_that_are_not_healthy(web, capsys):
    assert run(["logs", "web", "--failed", "--tail", "1"]) == 0
    assert {line.split()[0] for line in capsys.readouterr().out.splitlines()} == {"[web-0]", "[web-1]"}
    assert logs(web)[0].endswith("tailLines=1")
    web("/scalesets/web", recorded("healthy")["scaleSet"])
    web("/pods?", listed(*recorded("healthy")["pods"]))
    assert run(["logs", "web", "--failed"]) == 0
    assert "every instance is healthy, none failed" in capsys.readouterr().err


def test_following_reads_all_at_once(web, capsys):
    assert run(["logs", "web", "4", "5", "-f"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert sorted(told) == ["[web-4] and again", "[web-4] hello from 4", "[web-5] and again", "[web-5] hello from 5"]
    assert all("follow=true" in path for path in logs(web))


def test_a_log_that_cannot_be_read_does_not_hide_the_others(web, capsys):
    web("/pods/web-2/log", {"kind": "Status", "message": "container is waiting to start"}, status=400)
    assert run(["logs", "web", "2", "3"]) == 1
    told = capsys.readouterr()
    assert "[web-3] hello from 3" in told.out
    assert "web-2: The API server refused: container is waiting to start." in told.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["logs", "web", "77"], "web has no instance 77: it has 0-9."),
        (["logs", "web", "5-2"], "5-2 is no range: write it as 2-5."),
        (["logs", "web", "0", "-c", "nothing"], "web-0 has no container nothing: it has os."),
    ],
)
def test_what_is_not_there_is_one_sentence(arguments, words, web, capsys):
    assert run(arguments) == 1
    assert words in capsys.readouterr().err


def lease(renewed: datetime, **spec: object) -> Json:
    stamp = renewed.isoformat(timespec="microseconds").replace("+00:00", "Z")
    body = {"holderIdentity": "pod-1", "renewTime": stamp, "leaseDurationSeconds": 15, **spec}
    return {"metadata": {"namespace": "system", "name": "scaleset-operator"}, "spec": body}


@pytest.mark.parametrize(
    "verb", [["list"], ["get", "web"], ["status", "web"], ["history", "web"], ["instances", "web"]]
)
def test_every_verb_says_since_when_no_operator_is_at_work(verb, web, capsys):
    web("/namespaces/shop/scalesets?", listed(recorded("failing")["scaleSet"]))
    dead = datetime.now(UTC) - timedelta(minutes=10)
    web("/leases", listed(lease(dead)))
    run(verb)
    told = capsys.readouterr()
    assert "Warning: no operator has been at work since " in told.err
    assert "the last renewal of Lease system/scaleset-operator" in told.err
    assert "Warning" not in told.out
    web("/leases", listed(lease(dead), lease(datetime.now(UTC))))
    run(verb)
    assert "Warning" not in capsys.readouterr().err


def test_a_lease_that_was_given_back_is_no_operator_at_work(web, capsys):
    web("/leases", listed(lease(datetime.now(UTC), holderIdentity="")))
    run(["get", "web"])
    assert "no operator has been at work" in capsys.readouterr().err


@pytest.mark.parametrize("status", [403, 404, 500])
def test_who_may_not_read_the_lease_is_told_nothing(status, web, capsys):
    web("/leases", {"kind": "Status", "message": "no"}, status=status)
    run(["get", "web"])
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("verb", [["list"], ["get", "web"]], ids=["list", "get"])
def test_what_starts_often_imports_no_model(verb, web):
    web("/namespaces/shop/scalesets?", listed(recorded("failing")["scaleSet"]))
    code = (
        f"import sys\nfrom kubectl_scaleset.__main__ import run\nrun({verb!r})\n"
        f"print([name for name in ('pydantic', 'kubernetes', 'kopf') if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert "web" in done.stdout
    assert done.stderr == "[]\n"


def test_yaml_is_without_managed_fields(web, capsys):
    raw = deepcopy(recorded("failing")["scaleSet"])
    raw["metadata"]["managedFields"] = [{"manager": "x"}]
    web("/scalesets/web", raw)
    web("/namespaces/shop/scalesets?", listed(raw))
    for arguments in (["get", "web", "-o", "yaml"], ["list", "-o", "yaml"], ["list", "-o", "json"]):
        assert run(arguments) == 0
        told = capsys.readouterr().out
        assert "managedFields" not in told
        assert "resourceVersion" in told


def test_status_has_a_document(web, capsys):
    assert run(["status", "web", "-o", "json"]) == 2
    told = capsys.readouterr().out
    assert '"rollout": "RollingForward"' in told
    assert '"exitCode": 2' in told
    assert run(["status", "web", "-o", "json", "-w"]) == 1
    assert "do not go together" in capsys.readouterr().err
