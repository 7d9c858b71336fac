"""What an UpgradePolicy says of itself."""

from scaleset.api.upgrade_policy import UpgradePolicySpec
from scaleset.controllers.upgrade_policy import usable


def spec(**fields: str) -> UpgradePolicySpec:
    return UpgradePolicySpec.model_validate(fields)


def test_a_policy_that_believes_health_after_no_time_says_so():
    """Operators before 1.1 wrote PT0S into every policy; what somebody means cannot be told from that."""
    assert "minReadyTime is PT0S" in usable(spec(minReadyTime="PT0S"))


def test_one_that_leaves_it_out_or_sets_it_does_not():
    assert usable(spec()) == usable(spec(minReadyTime="PT1S")) == "The policy can be used."
