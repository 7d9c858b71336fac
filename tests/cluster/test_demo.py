"""`make demo` without a terminal. It checks its own claims, so its exit code is most of what there is to see."""

import os
import re
import sys

import pytest

from tests.commands import printed

SAID = [
    "Step 1 of 6: start a Kubernetes control plane and the operator",
    "$ kubectl scaleset status web --watch web: no rolling upgrade yet",
    "ok 10 instances are healthy on 1.0.0, and 10 claims are bound",
    "$ kubectl scaleset publish example.com/web:1.1.0 --definition example/web/stable --version 1.1.0 --yes",
    "$ kubectl scaleset get web --watch Name: web",
    "web: RollingForward to version 1.1.0: batch 5 of 5, 8 upgraded, 2 in progress.",
    "web: Completed to version 1.1.0: 10 upgraded.",
    "upgraded in batches 1-5",
    "ok 10 instances run 1.1.0 and are healthy, after 5 batches: 0-1, 2-3, 4-5, 6-7, 8-9",
    "ok never more than 2 of 10 down at a time",
    "ok only web-0 and web-1 got 1.2.0; they have 1.1.0 back and are healthy",
    "ok 8 instances were not touched",
    "ok the rollout is Faulted: MaxUnhealthyUpgradedInstancePercentExceededInRollingUpgrade",
    "2 of 2 upgraded instances failed (limit 20 %): ContainersNotReady: containers with unready status: [web].",
    "Restored; 1.2.0 is not tried again by itself. Next: publish a newer version",
    "ok 1.2.0 is not tried again",
    "ok 10 instances run 1.2.1 and are healthy",
    "Image 1.1.0 → 1.2.0 Platform Faulted 0 2 2 8 too many upgraded instances failed",
    "ok the 10 claims are those of the beginning, by their uids",
    "All 14 claims held",
    "kubectl get sset",
]


@pytest.mark.timeout(180)
def test_demo_holds_its_claims_and_leaves_nothing(tmp_path):
    """One minute: three rolling upgrades at the pace of a person who watches."""
    environment = {**os.environ, "CI": "true", "KEEP": "", "SCALESET_CLUSTERS": str(tmp_path)}
    output = printed(sys.executable, "-m", "hack.demo", env=environment)
    assert "".join(sign for sign in output if not sign.isprintable() and sign != "\n") == ""
    assert max(len(line) for line in output.splitlines() if re.match(r" +\d+\.\d s  ok", line)) <= 100
    said = re.sub(r"\s+", " ", output)
    missing = [sentence for sentence in SAID if sentence not in said]
    assert not missing, output
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == []
