"""What was recorded in tmux fits its terminal and says what there is to say: docs/cli/SCENE-COLUMNS.txt."""

import pytest

from tests.unit.plugin.screens import FOLDER, HEIGHT, SCENES, WIDTHS


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scene", SCENES)
def test_a_screen_fits_its_terminal(scene, width):
    command, *lines = (FOLDER / f"{scene}-{width}.txt").read_text().splitlines()
    assert command.startswith("$ kubectl scaleset ")
    assert len(lines) <= HEIGHT
    assert max(map(len, lines)) <= width
    titles = next(line for line in lines if line.startswith("NAME  ")).split()
    assert {"NAME", "VERSION", "STATUS" if scene == "list" else "HEALTH"} <= set(titles)


@pytest.mark.parametrize("width", WIDTHS)
def test_two_hundred_instances_are_a_few_lines(width):
    text = (FOLDER / f"many-{width}.txt").read_text()
    alone = [line for line in text.splitlines() if "□ many-" in line]
    assert len(alone) <= 9, "at most three of a kind have lines of their own"
    assert "200 healthy" in text
    assert "batch 2 of 5" in text


@pytest.mark.parametrize("width", WIDTHS)
def test_a_fault_says_what_failed_and_what_is_next(width):
    text = " ".join((FOLDER / f"fault-{width}.txt").read_text().split())
    assert "upgraded instances failed (limit 20 %): [os] " in text
    assert "Next: publish a newer version" in text
