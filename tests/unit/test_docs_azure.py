"""docs/azure.md: every row is complete, every test that it names exists, and nothing of Azure's page is missing.

Azure's page on automatic OS image upgrades was translated, and changed, several times from April 2020 to April 2021.
SUBJECTS says in our words what its sections are about and which row answers for it, EDITIONS which edition has which.
"""

import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
TESTS = ROOT / "tests"
COLUMNS = ["Azure", "here", "difference and reason", "proved by"]
NO_TEST = "nothing to test"


class Row(NamedTuple):
    """A row of a comparison, and the heading that it stands under."""

    group: str
    cells: tuple[str, ...]

    @property
    def azure(self) -> str:
        return self.cells[0]

    @property
    def tests(self) -> list[str]:
        """What the last cell names."""
        return re.findall(r"`([^`]+)`", self.cells[3])


def tables() -> list[tuple[str, list[list[str]]]]:
    """Every table of the page with its heading; cells are stripped, the line of dashes is left out."""
    found: list[tuple[str, list[list[str]]]] = []
    group = ""
    inside = False
    for line in (ROOT / "docs" / "azure.md").read_text().splitlines():
        if line.startswith("## "):
            group = line[3:]
        if not line.startswith("|"):
            inside = False
            continue
        if not inside:
            found.append((group, []))
            inside = True
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if not all(re.fullmatch("-+", cell) for cell in cells):
            found[-1][1].append(cells)
    return found


TABLES = tables()
ROWS = [Row(group, tuple(row)) for group, table in TABLES if table[0] == COLUMNS for row in table[1:]]
COMMANDS = next(table[1:] for group, table in TABLES if group == "az command -> kubectl")

SUBJECTS = {
    # The introduction and its list of properties.
    "no hands needed": ("Switching it on", "without anybody"),
    "every published image": ("Switching it on", "newly published version"),
    "probes and extension are used": ("Health", "integrate"),
    "all sizes": ("Limits", "VM sizes"),
    "both systems": ("Windows", "Windows and Linux"),
    "opting out": ("Switching it on", "given up at any time"),
    "a new disk": ("The process", "OS disk is replaced"),
    "data disks stay": ("Extensions, custom data, data disks", "data disks are kept"),
    "scripts run again": ("Extensions, custom data, data disks", "Custom data scripts"),
    "sequencing": ("Extensions, custom data, data disks", "sequencing"),
    "any number of instances": ("Limits", "any size"),
    # How it works.
    "a fifth at a time": ("Batches", "at any time"),
    "heartbeat": ("The process", "heartbeat"),
    "step 1, gate": ("The process", "1. Before it begins"),
    "step 2, batch": ("The process", "2. A batch is chosen"),
    "step 3, replacement": ("The process", "3. The disks"),
    "step 4, wait": ("The process", "4. Up to 5 minutes"),
    "step 4, restore": ("Restore and failure", "previous OS disk back"),
    "step 5, upgraded ones": ("The process", "5. More than 20 %"),
    "step 6, repeat": ("The process", "6. And so on"),
    "gate before each batch": ("The process", "again before each batch"),
    "stop after the batch": ("The process", "at the end of the running batch"),
    "sku stays": ("Images and galleries", "never changes the SKU"),
    "publisher and offer stay": ("Images and galleries", "Publisher and offer"),
    # Supported images.
    "list of images": ("Supported images", "certain platform images"),
    "Linux images": ("Supported images", "Ubuntu 16.04-LTS"),
    "CoreOS": ("Supported images", "CoreOS"),
    "Windows images": ("Supported images", "Windows Server 2012-R2"),
    "more to come": ("Supported images", "grows"),
    # Requirements.
    "latest": ("Switching it on", "must say"),
    "health signal required": ("Health", "has to have one"),
    "API versions": ("Switching it on", "2018-10-01"),
    "outside resources": ("Switching it on", "points to outside"),
    "Windows Update off": ("Windows", "enableAutomaticUpdates"),
    "Windows Update not needed": ("Windows", "patch itself"),
    "Silver or Gold": ("Service Fabric", "Silver or Gold"),
    "stateless Bronze": ("Service Fabric", "stateless"),
    "handler version": ("Service Fabric", "TypeHandlerVersion"),
    "equal durability": ("Service Fabric", "mismatch"),
    "changing durability": ("Service Fabric", "can be changed"),
    "no extra probe": ("Service Fabric", "No extra probe"),
    # Custom images.
    "preview": ("What does not apply to pods", "preview"),
    "registration": ("What does not apply to pods", "Registering"),
    "a quarter of an hour": ("What does not apply to pods", "15 minutes"),
    "provider": ("What does not apply to pods", "provider is told"),
    "once per subscription": ("What does not apply to pods", "once per subscription"),
    "galleries only": ("Images and galleries", "Shared Image Gallery"),
    "gallery elsewhere": ("Images and galleries", "any subscription"),
    "one configuration": ("Switching it on", "configuration is the same"),
    "published and replicated": ("Images and galleries", "published and replicated"),
    "not replicated": ("Images and galleries", "Not replicated"),
    "replication as control": ("Images and galleries", "control a rollout"),
    "excluded": ("Images and galleries", "excluded from latest"),
    "first delay": ("Switching it on", "3 hours"),
    "later delay": ("Switching it on", "30 to 60 minutes"),
    # Configuring.
    "the switch": ("Switching it on", "property of the scale set's model"),
    "switch by REST": ("Commands and templates", "PUT or PATCH"),
    "switch by PowerShell": ("Commands and templates", "Update-AzVmss"),
    "switch by CLI": ("Commands and templates", "az vmss update"),
    "CLI version": ("Commands and templates", "2.0.47"),
    "mode Manual": ("Switching it on", "upgrade mode Manual"),
    # Health.
    "go on when healthy": ("Batches", "One batch at a time"),
    "tell your health": ("Health", "should tell"),
    "health without a signal": ("Health", "power state"),
    "all extensions": ("Health", "all extensions"),
    "probes from outside": ("Health", "HTTP or TCP"),
    "no probes for Service Fabric": ("Service Fabric", "not supported"),
    "placement groups": ("Health", "placement groups"),
    "a probe of its own": ("Health", "Best practice"),
    "one endpoint": ("Health", "endpoint of one that exists"),
    "two minutes": ("Health", "two minutes"),
    "networkProfile": ("Health", "networkProfile"),
    "domain by domain": ("Service Fabric", "update domain by update domain"),
    "extension inside": ("Health", "inside the instance"),
    "eligibility": ("Health", "may be upgraded"),
    "where probes cannot": ("Health", "cannot be used"),
    "ways to deploy": ("Health", "several ways"),
    # Credentials.
    "keep them current": ("Credentials", "kept current"),
    "expired": ("Credentials", "expired"),
    "new token": ("Credentials", "Recovery 1"),
    "inside the instance": ("Credentials", "Recovery 2"),
    "into the model": ("Credentials", "Recovery 3"),
    "deploy": ("Credentials", "Recovery 4"),
    # History.
    "five of two months": ("History and status", "last five"),
    "three ways to ask": ("History and status", "REST, PowerShell or CLI"),
    "history commands": ("Commands and templates", "osUpgradeHistory"),
    "running status": ("History and status", "runningStatus. has"),
    "counts": ("History and status", "in-progress"),
    "started by": ("History and status", "startedBy"),
    "target image": ("History and status", "targetImageReference. names"),
    "rollback info": ("History and status", "rollbackInfo. counts"),
    # Versions, starting by hand, templates.
    "list of versions": ("Commands and templates", "Get-AzVmImage"),
    "not needed": ("Starting by hand", "not needed"),
    "impatience": ("Starting by hand", "do not want to wait"),
    "no rollback": ("Starting by hand", "No rollback"),
    "to the newest": ("Starting by hand", "moves all instances"),
    "those on it": ("Starting by hand", "not touched"),
    "start commands": ("Commands and templates", "osRollingUpgrade"),
    "subscription and group": ("Commands and templates", "subscription, resource group"),
    "template": ("Commands and templates", "template"),
    "examples": ("Commands and templates", "More examples"),
}
"""What a section is about: the heading of its row, and a pattern that the row's first cell has."""

UNTIL_MAY_2020 = {"preview", "registration", "a quarter of an hour", "provider", "once per subscription", "CoreOS"}
SINCE_JUNE_2020 = {"sku stays", "publisher and offer stay", "no extra probe", "mode Manual"}
SINCE_APRIL_2021 = {"stateless Bronze"}
EDITIONS = {
    "April 2020, Russian": SUBJECTS.keys() - SINCE_JUNE_2020 - SINCE_APRIL_2021,
    "May 2020, Chinese": SUBJECTS.keys() - SINCE_JUNE_2020 - SINCE_APRIL_2021,
    "January 2021, Portuguese": SUBJECTS.keys() - UNTIL_MAY_2020 - SINCE_APRIL_2021,
    "January 2021, Italian": SUBJECTS.keys() - UNTIL_MAY_2020 - SINCE_APRIL_2021,
    "April 2021, Swedish": SUBJECTS.keys() - UNTIL_MAY_2020,
}
"""Which subjects each edition has; the two of January 2021 are one text in two languages."""


@cache
def functions(file: Path) -> frozenset[str]:
    """Names of the tests in a file."""
    return frozenset(re.findall(r"^(?:async )?def (test_\w+)\(", file.read_text(), re.MULTILINE))


def exists(test: str) -> bool:
    name, _, function = test.partition("::")
    file = TESTS / name
    return file.is_file() and (not function or function in functions(file))


def answers(subject: str) -> list[Row]:
    """The rows about that subject."""
    group, pattern = SUBJECTS[subject]
    return [row for row in ROWS if row.group == group and re.search(pattern, row.azure)]


NAMED = sorted({test for row in ROWS for test in row.tests})


def test_there_is_a_page_full_of_rows():
    assert len(ROWS) > 120
    assert len(COMMANDS) > 15


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.azure[:60])
def test_a_row_has_four_cells_and_a_proof(row):
    assert len(row.cells) == len(COLUMNS)
    assert all(row.cells)
    if row.cells[3] == NO_TEST:
        return
    assert row.tests
    assert re.sub(r"`[^`]+`(, )?", "", row.cells[3]) == "", "names of tests, a comma between them"


def test_no_row_is_there_twice():
    seen = [(row.group, row.azure) for row in ROWS]
    assert len(set(seen)) == len(seen)


@pytest.mark.parametrize("test", NAMED)
def test_a_test_that_is_named_exists(test):
    assert re.fullmatch(r"(unit(/\w+)?|cluster|exploration)/test_\w+[.]py(::test_\w+)?", test)
    assert exists(test), f"tests/{test} does not exist"


@pytest.mark.parametrize("edition", EDITIONS)
def test_every_subject_of_an_edition_has_its_row(edition):
    missing = [subject for subject in EDITIONS[edition] if not answers(subject)]
    assert sorted(missing) == []


def test_every_subject_belongs_to_an_edition():
    assert set().union(*EDITIONS.values()) == SUBJECTS.keys()


@pytest.mark.parametrize("row", COMMANDS, ids=lambda row: row[0][:60])
def test_a_command_has_its_counterpart(row):
    assert len(row) == 2
    assert all(row)
    assert row[0].startswith("`az ")
